//! What a lock promises, within one process and against what other programs leave behind.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use fastness_repository::local::lock::{
    Lock, LockError, LockIdentity, LockKind, LockWait, break_lock,
};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const NO_WAIT: LockWait = LockWait::UpTo(Duration::ZERO);

fn me() -> LockIdentity {
    LockIdentity {
        host_id: "here.example@42".to_owned(),
        pid: std::process::id(),
        thread: 0,
    }
}

/// Another process that is alive: the parent of this one.
fn other() -> LockIdentity {
    LockIdentity {
        pid: std::os::unix::process::parent_id(),
        ..me()
    }
}

/// A process that has ended.
fn dead() -> LockIdentity {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    LockIdentity { pid, ..me() }
}

fn acquire(dir: &Path, kind: LockKind, identity: LockIdentity) -> Result<Lock, LockError> {
    Lock::acquire(dir, kind, NO_WAIT, identity)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Leaves the exclusive lock of another process, as Borg would.
fn plant_exclusive(dir: &Path, holder: &LockIdentity) {
    fs::create_dir(dir.join("lock.exclusive")).unwrap();
    fs::write(dir.join("lock.exclusive").join(holder.to_string()), "").unwrap();
    let roster = format!(
        r#"{{"exclusive": [["{}", {}, 0]]}}"#,
        holder.host_id, holder.pid
    );
    fs::write(dir.join("lock.roster"), roster).unwrap();
}

fn plant_reader(dir: &Path, holder: &LockIdentity) {
    let roster = format!(
        r#"{{"shared": [["{}", {}, 0]]}}"#,
        holder.host_id, holder.pid
    );
    fs::write(dir.join("lock.roster"), roster).unwrap();
}

#[test]
fn files_of_a_held_lock_are_those_of_borg_and_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let lock = acquire(dir.path(), LockKind::Exclusive, me()).unwrap();
    assert!(lock.is_exclusive_on_disk());
    assert_eq!(names(dir.path()), ["lock.exclusive", "lock.roster"]);
    let file = format!("here.example@42.{}-0", std::process::id());
    assert_eq!(names(&dir.path().join("lock.exclusive")), [file]);
    lock.release().unwrap();
    assert!(names(dir.path()).is_empty());

    let lock = acquire(dir.path(), LockKind::Shared, me()).unwrap();
    assert_eq!(names(dir.path()), ["lock.roster"]);
    drop(lock);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn two_locks_of_one_process_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let lock = acquire(dir.path(), LockKind::Exclusive, me()).unwrap();
    for kind in [LockKind::Exclusive, LockKind::Shared] {
        let error = acquire(dir.path(), kind, me()).unwrap_err();
        assert_eq!(error.msgid(), "LockTimeout");
    }
    lock.release().unwrap();
    acquire(dir.path(), LockKind::Exclusive, me())
        .unwrap()
        .release()
        .unwrap();
}

#[test]
fn two_readers_of_one_process_are_both_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = acquire(dir.path(), LockKind::Shared, me()).unwrap();
    let second = acquire(dir.path(), LockKind::Shared, me()).unwrap();
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_err());
    assert!(first.upgrade().is_err());
    assert_eq!(first.kind(), LockKind::Shared);
    first.release().unwrap();
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_err());
    second.release().unwrap();
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_ok());
}

#[test]
fn living_holders_are_named_with_host_pid_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    plant_exclusive(dir.path(), &other());
    let text = acquire(dir.path(), LockKind::Exclusive, me())
        .unwrap_err()
        .to_string();
    let holder = format!("process {} on here.example@42 (for 0 seconds)", other().pid);
    assert!(text.contains(&holder), "{text}");
    assert!(text.contains(&format!("borg break-lock {}", dir.path().display())));
    assert_eq!(names(dir.path()), ["lock.exclusive", "lock.roster"]);
}

#[test]
fn living_readers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    plant_reader(dir.path(), &other());
    let text = acquire(dir.path(), LockKind::Exclusive, me())
        .unwrap_err()
        .to_string();
    assert!(text.contains(&format!("process {}", other().pid)), "{text}");
    assert_eq!(names(dir.path()), ["lock.roster"]);
    assert!(acquire(dir.path(), LockKind::Shared, me()).is_ok());
}

#[test]
fn locks_of_dead_processes_of_this_host_are_removed_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dead();
    plant_exclusive(dir.path(), &dead);
    let mut lock = acquire(dir.path(), LockKind::Exclusive, me()).unwrap();
    let notes = lock.take_notes();
    assert_eq!(notes.first(), Some(&format!("Killed stale lock {dead}.")));
    assert_eq!(notes.len(), 2);
    drop(lock);
    plant_reader(dir.path(), &dead);
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_ok());
}

#[test]
fn locks_of_other_hosts_and_unknown_names_are_never_stale() {
    let foreign = LockIdentity {
        host_id: "there.example@43".to_owned(),
        ..dead()
    };
    let dir = tempfile::tempdir().unwrap();
    plant_exclusive(dir.path(), &foreign);
    assert!(acquire(dir.path(), LockKind::Shared, me()).is_err());
    break_lock(dir.path()).unwrap();
    plant_reader(dir.path(), &foreign);
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_err());
    break_lock(dir.path()).unwrap();

    fs::create_dir(dir.path().join("lock.exclusive")).unwrap();
    fs::write(dir.path().join("lock.exclusive/what is this"), "").unwrap();
    let error = acquire(dir.path(), LockKind::Exclusive, me()).unwrap_err();
    assert!(error.to_string().contains("what is this"), "{error}");
}

#[test]
fn a_lock_left_by_a_dead_process_with_our_pid_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    plant_exclusive(dir.path(), &me());
    acquire(dir.path(), LockKind::Exclusive, me())
        .unwrap()
        .release()
        .unwrap();
    plant_reader(dir.path(), &me());
    acquire(dir.path(), LockKind::Exclusive, me())
        .unwrap()
        .release()
        .unwrap();
    assert!(names(dir.path()).is_empty());
}

#[test]
fn an_empty_lock_directory_gets_time_for_its_owners_name() {
    let dir = tempfile::tempdir().unwrap();
    let mutex = dir.path().join("lock.exclusive");
    fs::create_dir(&mutex).unwrap();
    let slow_owner = {
        let file = mutex.join(other().to_string());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            fs::write(file, "").unwrap();
        })
    };
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_err());
    slow_owner.join().unwrap();
    break_lock(dir.path()).unwrap();

    fs::create_dir(&mutex).unwrap();
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_ok());
}

#[test]
fn upgrade_and_downgrade_keep_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let mut lock = acquire(dir.path(), LockKind::Shared, me()).unwrap();
    lock.upgrade().unwrap();
    assert!(lock.is_exclusive_on_disk());
    assert!(acquire(dir.path(), LockKind::Shared, me()).is_err());
    lock.downgrade().unwrap();
    assert!(!lock.is_exclusive_on_disk());
    assert!(acquire(dir.path(), LockKind::Shared, me()).is_ok());
    assert!(acquire(dir.path(), LockKind::Exclusive, me()).is_err());
    lock.release().unwrap();
    assert!(names(dir.path()).is_empty());
}

#[test]
fn migration_changes_the_owner_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [LockKind::Shared, LockKind::Exclusive] {
        let mut lock = acquire(dir.path(), kind, other()).unwrap();
        lock.migrate(me()).unwrap();
        let roster = fs::read_to_string(dir.path().join("lock.roster")).unwrap();
        assert!(roster.contains(&format!(r#"["here.example@42",{},0]"#, me().pid)));
        assert!(!roster.contains(&format!(",{},0]", other().pid)));
        lock.release().unwrap();
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn releasing_a_broken_lock_is_an_error_and_leaves_the_new_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let lock = acquire(dir.path(), LockKind::Exclusive, me()).unwrap();
    break_lock(dir.path()).unwrap();
    assert!(names(dir.path()).is_empty());
    assert!(!lock.is_exclusive_on_disk());
    assert_eq!(lock.release().unwrap_err().msgid(), "NotLocked");

    let lock = acquire(dir.path(), LockKind::Exclusive, me()).unwrap();
    break_lock(dir.path()).unwrap();
    plant_exclusive(dir.path(), &other());
    assert_eq!(lock.release().unwrap_err().msgid(), "NotMyLock");
    assert_eq!(names(dir.path()), ["lock.exclusive", "lock.roster"]);
}

#[test]
fn waiting_ends_when_the_holder_goes() {
    let dir = tempfile::tempdir().unwrap();
    let lock = acquire(dir.path(), LockKind::Exclusive, me()).unwrap();
    let path = dir.path().to_owned();
    let waiting = std::thread::spawn(move || {
        let wait = LockWait::UpTo(Duration::from_secs(30));
        Lock::acquire(&path, LockKind::Exclusive, wait, me()).is_ok()
    });
    std::thread::sleep(Duration::from_millis(50));
    drop(lock);
    assert!(waiting.join().unwrap());
}

#[test]
fn waiting_ends_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    plant_exclusive(dir.path(), &other());
    let begin = Instant::now();
    let wait = LockWait::UpTo(Duration::from_millis(300));
    let error = Lock::acquire(dir.path(), LockKind::Shared, wait, me()).unwrap_err();
    assert_eq!(error.msgid(), "LockTimeout");
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_directory_that_is_not_there_is_an_error_of_the_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("gone");
    let error = acquire(&gone, LockKind::Exclusive, me()).unwrap_err();
    assert_eq!(error.msgid(), "LockFailed");
    assert_eq!(error.path(), gone.join("lock.exclusive"));
    break_lock(&gone).unwrap();
}

#[test]
fn what_killed_processes_prepared_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    for (name, owner) in [("a", dead()), ("b", other())] {
        let prepared = dir.path().join(format!("lock.exclusive.{name}.tmp"));
        fs::create_dir(&prepared).unwrap();
        fs::write(prepared.join(owner.to_string()), "").unwrap();
    }
    acquire(dir.path(), LockKind::Exclusive, me())
        .unwrap()
        .release()
        .unwrap();
    assert_eq!(names(dir.path()), ["lock.exclusive.b.tmp"]);
}
