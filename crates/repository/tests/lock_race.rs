//! Eight processes want the same lock: there is never a writer beside another holder.
//!
//! The test starts itself again as the processes; a file that is created and removed while a
//! writer holds the lock, and never otherwise, is the witness.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use fastness_repository::local::lock::{Lock, LockIdentity, LockKind, LockWait};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const PROCESSES: usize = 8;
const ROUNDS: usize = 60;
const DIR: &str = "LOCK_RACE_DIR";

#[test]
fn writers_are_alone_among_eight_processes() {
    if let Some(dir) = std::env::var_os(DIR) {
        return race(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("count"), "0").unwrap();
    let racers: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "writers_are_alone_among_eight_processes"])
                .env(DIR, dir.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for racer in racers {
        assert!(racer.wait_with_output().unwrap().status.success());
    }
    let writes = PROCESSES * ROUNDS.div_ceil(2);
    let count = fs::read_to_string(dir.path().join("count")).unwrap();
    assert_eq!(count, writes.to_string());
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "nothing but the counter is left");
}

fn race(dir: &Path) {
    let identity = LockIdentity {
        host_id: "race".to_owned(),
        pid: std::process::id(),
        thread: 0,
    };
    let wait = LockWait::UpTo(Duration::from_secs(100));
    for round in 0..ROUNDS {
        let writes = round % 2 == 0;
        let mut lock = match round % 6 {
            0 | 2 => Lock::acquire(dir, LockKind::Exclusive, wait, identity.clone()).unwrap(),
            4 => Lock::acquire(dir, LockKind::Exclusive, wait, identity.clone()).unwrap(),
            _ => Lock::acquire(dir, LockKind::Shared, wait, identity.clone()).unwrap(),
        };
        if writes {
            write_alone(dir);
            if round % 6 == 4 {
                lock.downgrade().unwrap();
                assert!(!dir.join("writing").exists());
            }
        } else {
            assert!(!dir.join("writing").exists());
            std::thread::yield_now();
            assert!(!dir.join("writing").exists());
        }
        lock.release().unwrap();
    }
}

fn write_alone(dir: &Path) {
    File::create_new(dir.join("writing")).expect("no other writer");
    let count = fs::read_to_string(dir.join("count")).unwrap();
    let next = count.parse::<usize>().unwrap() + 1;
    fs::write(dir.join("count"), next.to_string()).unwrap();
    fs::remove_file(dir.join("writing")).unwrap();
}
