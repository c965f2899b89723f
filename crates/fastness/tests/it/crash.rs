//! SIGKILL at any moment costs nothing that was committed, and the next run needs no help.
//!
//! Each attempt starts from the same repository and home, runs one command until it
//! is killed at a system call or at a random time, and lets official Borg judge.
//! The short form takes a few points of each sweep; `FASTNESS_LONG=1` takes all of
//! them, and 300 random moments for each command.

use std::fs;
use std::time::{Duration, Instant};

use fastness_testkit::kill::{self, KillPoint, Sweep};
use fastness_testkit::{Borg, NonceLedger, Outcome, Run, Sandbox, long, source_tree};

use crate::{ours, reference};

/// A command to be killed, and what must be there whether it came to its end or not.
struct Operation {
    arguments: &'static [&'static str],
    /// Committed archives that the command does not touch.
    survivors: &'static [&'static str],
    /// Whether it starts from a damaged repository, which only its end makes clean.
    repairs: bool,
}

const CREATE: Operation = Operation {
    arguments: &["create", "repository::fresh", "source"],
    survivors: &["one", "two", "three"],
    repairs: false,
};
const DELETE: Operation = Operation {
    arguments: &["delete", "repository::two"],
    survivors: &["one", "three"],
    repairs: false,
};
const PRUNE: Operation = Operation {
    arguments: &["prune", "--keep-last", "1", "repository"],
    survivors: &["three"],
    repairs: false,
};
const COMPACT: Operation = Operation {
    arguments: &["compact", "--threshold", "0", "repository"],
    survivors: &["one", "two", "three"],
    repairs: false,
};
const REPAIR: Operation = Operation {
    arguments: &["check", "--repair", "repository"],
    survivors: &["one", "two", "three"],
    repairs: true,
};

/// Where attempts start from: a repository with three archives and something to compact.
struct Stage {
    sandbox: Sandbox,
    borg: Borg,
    reference: Borg,
    ledger: NonceLedger,
}

impl Stage {
    fn new(damaged: bool) -> Stage {
        let (sandbox, reference) = (Sandbox::new(), reference());
        let source = sandbox.path("source");
        source_tree::create(&source, 3);
        let run = |arguments: &[&str]| sandbox.run(&reference, arguments).ok();
        drop(run(&["init", "--encryption", "repokey", "repository"]));
        for (number, archive) in ["one", "superseded", "two", "three"]
            .into_iter()
            .enumerate()
        {
            source_tree::change(&source, number as u64);
            drop(run(&[
                "create",
                "--chunker-params",
                "14,18,16,4095",
                &format!("repository::{archive}"),
                "source",
            ]));
        }
        drop(run(&["delete", "repository::superseded"]));
        source_tree::change(&source, 9);
        if damaged {
            damage(&sandbox);
        }
        for name in ["repository", "home"] {
            sandbox.copy(
                &sandbox.path(name),
                &sandbox.path(format!("{name}.template")),
            );
        }
        let mut ledger = NonceLedger::new();
        ledger.observe(&sandbox.path("repository"));
        Stage {
            sandbox,
            borg: ours(),
            reference,
            ledger,
        }
    }

    fn reset(&self) {
        for name in ["repository", "home"] {
            let path = self.sandbox.path(name);
            fs::remove_dir_all(&path).unwrap();
            self.sandbox
                .copy(&self.sandbox.path(format!("{name}.template")), &path);
        }
    }

    fn command(&self, operation: &Operation) -> Run {
        let run = self.sandbox.command(&self.borg).args(operation.arguments);
        run.env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")
            .env("BORG_EXIT_CODES", "legacy")
    }

    /// Kills one run and judges what it left; returns whether it was killed before its end.
    fn attempt(
        &mut self,
        operation: &Operation,
        about: &str,
        kill: impl Fn(Run) -> Outcome,
    ) -> bool {
        self.reset();
        let outcome = kill(self.command(operation));
        let killed = outcome.was_killed();
        if !killed {
            let _ = outcome.ok();
        }
        // Borg 1.4.5 itself fails here: while it repairs, it goes on counting from whatever it decrypted last.
        if !operation.repairs || self.borg.label() == "ours" {
            self.no_counter_is_used_twice();
        }
        if !operation.repairs {
            self.judge(operation, about);
        }
        // The same command again, without manual help: a create may have come to its end already.
        let again = self.command(operation).go().tidy();
        if again.code() != 0 {
            // It may have come to its end the first time.
            let text = again.err();
            let done = text.contains("already exists") || text.contains("not found");
            assert!(done, "{about}: again: {again}");
        }
        self.judge(operation, about);
        killed
    }

    /// Official Borg finds the repository clean and every survivor complete: it says which it analyzed.
    fn judge(&self, operation: &Operation, about: &str) {
        let arguments = ["check", "--verify-data", "--verbose", "repository"];
        let check = self.sandbox.run(&self.reference, &arguments);
        assert_eq!(check.code(), 0, "{about}: {check}");
        let text = check.err();
        for archive in operation.survivors {
            let analyzed = text.contains(&format!("Analyzing archive {archive} ("));
            assert!(analyzed, "{about}: {archive} is lost: {check}");
        }
    }

    /// Attempts start from one template and may use the same counters as each other; but none may use
    /// one that the template used.
    fn no_counter_is_used_twice(&self) {
        self.ledger
            .clone()
            .observe(&self.sandbox.path("repository"));
    }
}

/// Turns one bit in the middle of the largest segment.
fn damage(sandbox: &Sandbox) {
    let directory = sandbox.path("repository/data/0");
    let segments = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let largest = segments
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .expect("there are segments");
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&largest, bytes).unwrap();
}

fn killed_at_system_calls(operation: &Operation) {
    let mut stage = Stage::new(operation.repairs);
    let sweep = if long() {
        Sweep::FULL
    } else {
        Sweep {
            step: 5,
            first: 2,
            limit: 2000,
        }
    };
    let kills = sweep.over(|point: KillPoint| {
        let about = format!("{:?} killed at {point:?}", operation.arguments);
        stage.attempt(operation, &about, |run| kill::at(run, point))
    });
    assert!(
        kills > 0,
        "nothing was killed: does the program change anything?"
    );
}

fn killed_at_random_moments(operation: &Operation, seed: u64) {
    let mut stage = Stage::new(operation.repairs);
    let start = Instant::now();
    let _ = stage.command(operation).go().ok();
    let usual = start.elapsed();
    let mut random = source_tree::Bytes::new(seed);
    for number in 0..if long() { 300 } else { 3 } {
        let delay = usual.mul_f64((random.number() % 1000) as f64 / 950.0);
        let about = format!(
            "{:?} killed after {delay:?} (moment {number})",
            operation.arguments
        );
        stage.attempt(operation, &about, |run| {
            run.killed_after(delay.max(Duration::from_micros(100))).go()
        });
    }
}

macro_rules! operations {
    ($($name:ident: $operation:ident, $seed:literal);* $(;)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn survives_a_kill_at_any_durable_system_call() {
                killed_at_system_calls(&$operation);
            }

            #[test]
            fn survives_a_kill_at_any_moment() {
                killed_at_random_moments(&$operation, $seed);
            }
        }
    )*};
}

operations! {
    create: CREATE, 1;
    delete: DELETE, 2;
    prune: PRUNE, 3;
    compact: COMPACT, 4;
    check_repair: REPAIR, 5;
}
