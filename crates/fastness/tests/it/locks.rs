//! Locks between ours and official Borg: whoever holds one, the other waits, gives up or takes over.
//!
//! An exclusive lock is held by a create whose content comes from a command that waits, a shared one
//! by an extraction to a pipe that nobody empties. Both programs are on one host and see that the
//! other one lives; a holder of another host is made by hand.

use std::fs;
use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use fastness_testkit::{Borg, Outcome, Sandbox, Version, source_tree};

use crate::{ours, reference};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lock {
    Exclusive,
    Shared,
}

/// A sandbox with a repository of one archive.
struct Stage {
    sandbox: Sandbox,
}

impl Stage {
    fn new() -> Stage {
        let (sandbox, reference) = (Sandbox::new(), reference());
        let source = sandbox.directory("source");
        let big = source_tree::Bytes::new(3).random(2_000_000);
        fs::write(source.join("big"), big).unwrap();
        let run = |arguments: &[&str]| drop(sandbox.run(&reference, arguments).ok());
        run(&["init", "-e", "repokey", "repository"]);
        run(&["create", "repository::one", "source"]);
        Stage { sandbox }
    }

    /// Starts a command that keeps a lock until it is killed, or released when it is exclusive.
    fn holder(&self, borg: &Borg, lock: Lock) -> Holder<'_> {
        for word in ["held", "release"] {
            let _ = fs::remove_file(self.sandbox.path(word));
        }
        let wait = "touch held; n=0; while [ ! -e release ] && [ $n -lt 1200 ]; do sleep 0.05; n=$((n+1)); done";
        // Of its own each time: a holder that is released commits its archive.
        let archive = "repository::held-{now:%H%M%S%f}";
        let waiting = [
            "create",
            "--content-from-command",
            archive,
            "--",
            "sh",
            "-c",
            wait,
        ];
        let blocked = ["extract", "--stdout", "repository::one"];
        let run = self.sandbox.command(borg).args(match lock {
            Lock::Exclusive => waiting.as_slice(),
            Lock::Shared => &blocked,
        });
        let mut child = run.spawn();
        match lock {
            Lock::Exclusive => wait_for(|| self.sandbox.path("held").exists()),
            Lock::Shared => {
                let stdout = child.stdout.as_mut().expect("stdout is piped");
                stdout.read_exact(&mut [0]).unwrap();
            }
        }
        Holder { stage: self, child }
    }

    /// Runs a command that wants a lock and does not wait for it.
    fn attempt(&self, borg: &Borg, wanted: Lock, exit_codes: &str) -> Outcome {
        let run = self.wanting(borg, wanted, "0");
        run.env("BORG_EXIT_CODES", exit_codes).go().tidy()
    }

    fn wanting(&self, borg: &Borg, wanted: Lock, patience: &str) -> fastness_testkit::Run {
        let run = self
            .sandbox
            .command(borg)
            .args(["--log-json", "--lock-wait", patience]);
        match wanted {
            // Compaction leaves no archive behind, however often it runs.
            Lock::Exclusive => run.args(["compact", "repository"]),
            Lock::Shared => run.args(["list", "repository"]),
        }
    }

    /// A lock of a process on another host, which nobody here may call dead.
    fn plant_foreign_lock(&self, lock: Lock) {
        let repository = self.sandbox.path("repository");
        let roster = match lock {
            Lock::Exclusive => {
                let mutex = repository.join("lock.exclusive");
                fs::create_dir(&mutex).unwrap();
                fs::write(mutex.join("elsewhere@1234.77-0"), b"").unwrap();
                r#"{"exclusive": [["elsewhere@1234", 77, 0]]}"#
            }
            Lock::Shared => r#"{"shared": [["elsewhere@1234", 77, 0]]}"#,
        };
        fs::write(repository.join("lock.roster"), roster).unwrap();
    }

    /// Nobody holds anything, and official Borg finds no problem.
    fn is_free_and_clean(&self, about: &str) {
        let check = self
            .sandbox
            .run(&reference(), &["check", "--lock-wait", "0", "repository"]);
        assert_eq!(check.code(), 0, "{about}: {check}");
        let left: Vec<_> = fs::read_dir(self.sandbox.path("repository"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with("lock.") && name != "lock.roster")
            .collect();
        assert!(left.is_empty(), "{about}: {left:?}");
    }
}

/// A running command that holds a lock; killed when dropped.
struct Holder<'a> {
    stage: &'a Stage,
    child: Child,
}

impl Holder<'_> {
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn release(mut self) {
        fs::write(self.stage.sandbox.path("release"), b"").unwrap();
        // Its end is what gives the lock back.
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        let _ = fs::write(self.stage.sandbox.path("release"), b"");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Official Borg 1.2 has no modern exit codes.
fn scheme(borg: &Borg) -> (&'static str, i32) {
    if borg.label().ends_with(Version::V12.number()) {
        ("legacy", 2)
    } else {
        ("modern", 73)
    }
}

fn excludes(stage: &Stage, holder: &Borg, held: Lock, contender: &Borg) {
    for wanted in [Lock::Exclusive, Lock::Shared] {
        let (exit_codes, timeout) = scheme(contender);
        let about = format!(
            "{} {wanted:?} while {} {held:?}",
            contender.label(),
            holder.label()
        );
        let outcome = stage.attempt(contender, wanted, exit_codes);
        if (held, wanted) == (Lock::Shared, Lock::Shared) {
            assert_eq!(outcome.code(), 0, "{about}: {outcome}");
        } else {
            assert_eq!(outcome.code(), timeout, "{about}: {outcome}");
            assert_eq!(outcome.message_ids(), ["LockTimeout"], "{about}: {outcome}");
        }
    }
}

/// Each pair of programs that meet: who holds, who wants.
fn pairs() -> Vec<(Borg, Borg)> {
    let officials = Version::ALL.map(Borg::official);
    let both = |official: Borg| [(official.clone(), ours()), (ours(), official)];
    let mut pairs: Vec<_> = officials.into_iter().flat_map(both).collect();
    pairs.push((ours(), ours()));
    pairs
}

#[test]
fn a_held_lock_excludes_the_other_program_until_its_holder_dies() {
    let stage = Stage::new();
    for (holder, contender) in pairs() {
        for held in [Lock::Exclusive, Lock::Shared] {
            let running = stage.holder(&holder, held);
            excludes(&stage, &holder, held, &contender);
            running.kill();
            let about = format!("{} took over from {}", contender.label(), holder.label());
            for wanted in [Lock::Shared, Lock::Exclusive] {
                // Borg needs a second attempt after it removed what a dead process left.
                let outcome = stage.wanting(&contender, wanted, "5").go().tidy();
                assert_eq!(outcome.code(), 0, "{about}: {outcome}");
            }
            stage.is_free_and_clean(&about);
        }
    }
}

#[test]
fn who_waits_goes_on_when_the_other_program_is_done() {
    let stage = Stage::new();
    for (holder, contender) in pairs() {
        for wanted in [Lock::Exclusive, Lock::Shared] {
            let running = stage.holder(&holder, Lock::Exclusive);
            let mut waiting = stage.wanting(&contender, wanted, "60").spawn();
            std::thread::sleep(Duration::from_millis(300));
            let about = format!("{} waits for {}", contender.label(), holder.label());
            assert!(waiting.try_wait().unwrap().is_none(), "{about}: it did not");
            running.release();
            assert!(waiting.wait().unwrap().success(), "{about} in vain");
            stage.is_free_and_clean(&about);
        }
    }
}

#[test]
fn locks_of_other_hosts_stay_until_somebody_breaks_them() {
    let stage = Stage::new();
    for lock in [Lock::Exclusive, Lock::Shared] {
        for breaker in [ours(), reference()] {
            stage.plant_foreign_lock(lock);
            let about = format!("{lock:?} lock broken by {}", breaker.label());
            for borg in [ours(), reference()] {
                let outcome = stage.attempt(&borg, Lock::Exclusive, "legacy");
                assert_eq!(outcome.code(), 2, "{about}: {outcome}");
                let listed = stage.attempt(&borg, Lock::Shared, "legacy");
                let expected = if lock == Lock::Shared { 0 } else { 2 };
                assert_eq!(listed.code(), expected, "{about}: {listed}");
            }
            let bypassing = ["list", "--bypass-lock", "repository"];
            let _ = stage.sandbox.run(&ours(), &bypassing).ok();
            let outcome = stage.sandbox.run(&breaker, &["break-lock", "repository"]);
            let _ = outcome.ok();
            for borg in [ours(), reference()] {
                let outcome = stage.attempt(&borg, Lock::Exclusive, "legacy");
                assert_eq!(outcome.code(), 0, "{about}: {outcome}");
            }
            stage.is_free_and_clean(&about);
        }
    }
}

#[test]
fn a_lock_that_the_file_system_refuses_is_an_error_of_its_own() {
    let stage = Stage::new();
    for borg in [ours(), reference()] {
        for (exit_codes, code) in [("modern", 72), ("legacy", 2)] {
            let run = stage
                .wanting(&borg, Lock::Exclusive, "1")
                .env("BORG_EXIT_CODES", exit_codes);
            let outcome = run
                .failing("?mkdir,mkdirat", "EROFS", "1+", None)
                .go()
                .tidy();
            assert_eq!(outcome.code(), code, "{outcome}");
            assert_eq!(outcome.message_ids(), ["LockFailed"], "{outcome}");
        }
    }
}
