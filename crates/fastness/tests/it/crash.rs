//! SIGKILL at any moment costs nothing that was committed, and the next run needs no help.
//!
//! Each attempt starts from the same repository and home, runs one command until it
//! is killed at a durable system call or at a random time, and lets official Borg judge.
//! The short form takes a few points of each sweep; `FASTNESS_LONG=1` takes all of
//! them, and 300 random moments for each command. What was killed where is printed.

use std::fs;
use std::time::{Duration, Instant};

use fastness_testkit::kill::{self, Sweep};
use fastness_testkit::{Borg, NonceLedger, Outcome, Run, Sandbox, long, source_tree};

use crate::{ours, reference};

/// A command to be killed, and what must be there whether it came to its end or not.
struct Operation {
    arguments: &'static [&'static str],
    /// The next run, when it is not the same command.
    again: Option<&'static [&'static str]>,
    /// Committed archives that the command does not touch.
    survivors: &'static [&'static str],
    /// What is damaged before: only the end of the command makes that clean.
    repairs: Option<Damage>,
}

const CREATE: Operation = Operation {
    arguments: &["create", "repository::fresh", "source"],
    again: None,
    survivors: &["one", "two", "three"],
    repairs: None,
};
/// Commits unfinished archives on its way, with an unfinished file in each.
const CHECKPOINTS: Operation = Operation {
    arguments: &[
        "create",
        "--checkpoint-interval",
        "1",
        "--chunker-params",
        "12,16,14,4095",
        "--content-from-command",
        "repository::fresh",
        "--",
        "sh",
        "-c",
        "cat source/bin/random; sleep 1.1; cat source/log/app.log; head -c 900000 source/bin/repeated; \
         sleep 1.1; cat source/many/*",
    ],
    again: Some(&["create", "repository::fresh", "source"]),
    survivors: &["one", "two", "three"],
    repairs: None,
};
const DELETE: Operation = Operation {
    arguments: &["delete", "repository::two"],
    again: None,
    survivors: &["one", "three"],
    repairs: None,
};
const PRUNE: Operation = Operation {
    arguments: &["prune", "--keep-last", "1", "repository"],
    again: None,
    survivors: &["three"],
    repairs: None,
};
const COMPACT: Operation = Operation {
    arguments: &["compact", "--threshold", "0", "repository"],
    again: None,
    survivors: &["one", "two", "three"],
    repairs: None,
};
const REPAIR: Operation = Operation {
    arguments: &["check", "--repair", "repository"],
    again: None,
    survivors: &["one", "two", "three"],
    repairs: Some(Damage::FlippedBit),
};

const REPAIR_WITHOUT_MANIFEST: Operation = Operation {
    repairs: Some(Damage::NoManifest),
    ..REPAIR
};
const RENAME: Operation = Operation {
    arguments: &["rename", "repository::two", "other"],
    again: None,
    survivors: &["one", "three"],
    repairs: None,
};
/// Commits unfinished archives on its way: the archiver pauses for a second now and then.
const IMPORT: Operation = Operation {
    arguments: &[
        "import-tar",
        "--checkpoint-interval",
        "1",
        "--tar-filter",
        "sh -c 'cat > /dev/null; tar --checkpoint=60 --checkpoint-action=sleep=1 -c source'",
        "repository::fresh",
        "source/bin/random",
    ],
    again: Some(&["create", "repository::fresh", "source"]),
    survivors: &["one", "two", "three"],
    repairs: None,
};
/// The archive that is made anew is there at any time.
const RECREATE: Operation = Operation {
    arguments: &[
        "recreate",
        "--recompress",
        "always",
        "--compression",
        "zlib,1",
        "repository::two",
    ],
    again: None,
    survivors: &["one", "two", "three"],
    repairs: None,
};

/// Damage that a check repairs.
#[derive(Clone, Copy)]
enum Damage {
    /// One bit in the middle of the largest segment is turned.
    FlippedBit,
    /// The manifest is deleted: the archives are found again by their metadata.
    NoManifest,
}

/// Where attempts start from: a repository with three archives and something to compact.
struct Stage {
    sandbox: Sandbox,
    borg: Borg,
    reference: Borg,
    ledger: NonceLedger,
}

impl Stage {
    fn new(damage: Option<Damage>) -> Stage {
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
        match damage {
            None => {}
            Some(Damage::FlippedBit) => flip_a_bit(&sandbox),
            Some(Damage::NoManifest) => {
                let manifest = "0".repeat(64);
                drop(run(&["debug", "delete-obj", "repository", &manifest]));
            }
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

    fn command(&self, arguments: &[&str]) -> Run {
        let run = self.sandbox.command(&self.borg).args(arguments);
        run.env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")
            .env("BORG_EXIT_CODES", "legacy")
    }

    /// Kills one run and judges what it left; returns how that run ended.
    fn attempt(
        &mut self,
        operation: &Operation,
        about: &str,
        kill: impl Fn(Run) -> Outcome,
    ) -> Outcome {
        self.reset();
        let outcome = kill(self.command(operation.arguments));
        if !outcome.was_killed() {
            let _ = outcome.clone().ok();
        }
        // Attempts start from one template and may use the same counters as each other, but none may use
        // one of the template, and the next run none of a killed one. Borg 1.4.5 itself fails here: while
        // it repairs, it goes on counting from whatever it decrypted last.
        let counts = operation.repairs.is_none() || self.borg.label() == "ours";
        let (mut ledger, repository) = (self.ledger.clone(), self.sandbox.path("repository"));
        if counts {
            ledger.observe(&repository);
        }
        if operation.repairs.is_none() {
            self.judge(operation.survivors, about);
        }
        // The same command again, without manual help: a create may have come to its end already.
        let again = operation.again.unwrap_or(operation.arguments);
        let again = self.command(again).go().tidy();
        if again.code() != 0 {
            // It may have come to its end the first time.
            let text = again.err();
            let done = ["already exists", "not found", "does not exist"];
            let done = done.iter().any(|words| text.contains(words));
            assert!(done, "{about}: again: {again}");
        }
        if counts {
            ledger.observe(&repository);
        }
        self.judge(operation.survivors, about);
        outcome
    }

    /// Official Borg finds the repository clean and every survivor complete: it says which it analyzed.
    fn judge(&self, survivors: &[&str], about: &str) {
        let arguments = ["check", "--verify-data", "--verbose", "repository"];
        let check = self.sandbox.run(&self.reference, &arguments);
        assert_eq!(check.code(), 0, "{about}: {check}");
        let text = check.err();
        for archive in survivors {
            let analyzed = text.contains(&format!("Analyzing archive {archive} ("));
            assert!(analyzed, "{about}: {archive} is lost: {check}");
        }
    }
}

/// Turns one bit in the middle of the largest segment.
fn flip_a_bit(sandbox: &Sandbox) {
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
    let sweep = match operation.again {
        _ if long() => Sweep::FULL,
        None => Sweep { step: 7, first: 2 },
        // It takes seconds each time.
        Some(_) => Sweep { step: 20, first: 5 },
    };
    let kills = sweep.over(|nth| {
        let about = format!("{:?} killed at durable call {nth}", operation.arguments);
        stage.attempt(operation, &about, |run| kill::at(run, nth))
    });
    eprintln!("{:?}: killed at {kills:?}", operation.arguments);
    assert!(
        !kills.is_empty(),
        "nothing was killed: does the program change anything?"
    );
}

fn killed_at_random_moments(operation: &Operation, seed: u64) {
    let mut stage = Stage::new(operation.repairs);
    let start = Instant::now();
    let _ = stage.command(operation.arguments).go().ok();
    let mut usual = start.elapsed();
    let mut random = source_tree::Bytes::new(seed);
    let (wanted, mut kills, mut attempts) = (if long() { 300 } else { 3 }, 0, 0);
    while kills < wanted {
        attempts += 1;
        assert!(attempts < 10 * wanted, "{usual:?} is too late to kill it");
        let delay = usual.mul_f64((random.number() % 1000) as f64 / 1000.0);
        let delay = delay.max(Duration::from_micros(100));
        let about = format!("{:?} killed after {delay:?}", operation.arguments);
        let outcome = stage.attempt(operation, &about, |run| run.killed_after(delay).go());
        if outcome.was_killed() {
            kills += 1;
        } else {
            usual = usual.min(delay);
        }
    }
    eprintln!(
        "{:?}: killed at {kills} random moments in {attempts} attempts",
        operation.arguments
    );
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
    create_with_checkpoints: CHECKPOINTS, 6;
    delete: DELETE, 2;
    prune: PRUNE, 3;
    compact: COMPACT, 4;
    check_repair: REPAIR, 5;
    check_repair_without_manifest: REPAIR_WITHOUT_MANIFEST, 8;
    rename: RENAME, 9;
    import_tar_with_checkpoints: IMPORT, 10;
    recreate: RECREATE, 11;
}

/// One program is killed, the other goes on, and then the other way round, on the same repository.
#[test]
fn two_programs_killed_in_turn_lose_nothing() {
    let mut stage = Stage::new(None);
    let (ours, reference) = (ours(), reference());
    let mut random = source_tree::Bytes::new(7);
    let rounds = if long() { 60 } else { 8 };
    let (mut kills, mut last) = (0, "one".to_owned());
    for round in 0..rounds {
        let (killed, other) = if round % 2 == 0 {
            (&ours, &reference)
        } else {
            (&reference, &ours)
        };
        source_tree::change(&stage.sandbox.path("source"), 20 + round);
        let outcome = stage.killed_somewhere(killed, round, &last, &mut random);
        kills += u32::from(outcome.was_killed());
        stage.ledger.observe(&stage.sandbox.path("repository"));
        last = format!("other-{round}");
        let archive = format!("repository::{last}");
        let create = ["create", &archive, "source"];
        let _ = stage.sandbox.run(other, &create).ok();
        stage.ledger.observe(&stage.sandbox.path("repository"));
        let about = format!("round {round}: {} killed: {outcome}", killed.label());
        stage.judge(&["one", "two", "three", &last], &about);
    }
    eprintln!("killed in turn: {kills} of {rounds} rounds");
}

impl Stage {
    /// Starts a command that changes the repository and kills it at some durable call or moment.
    fn killed_somewhere(
        &self,
        borg: &Borg,
        round: u64,
        last: &str,
        random: &mut source_tree::Bytes,
    ) -> Outcome {
        let (fresh, last) = (
            format!("repository::killed-{round}"),
            format!("repository::{last}"),
        );
        let commands: [&[&str]; 4] = [
            &["create", &fresh, "source"],
            &["compact", "--threshold", "0", "repository"],
            &["delete", &last],
            &["prune", "-a", "other-*", "--keep-last", "2", "repository"],
        ];
        let command = commands[(round / 2 % 4) as usize];
        let run = self.sandbox.command(borg).args(command);
        let number = random.number();
        if number.is_multiple_of(3) {
            let start_up = if borg.is_official() { 450 } else { 0 };
            let delay = Duration::from_millis(start_up + number / 3 % 150);
            run.killed_after(delay).go()
        } else {
            kill::at(run, 1 + (number / 3 % 14) as u32)
        }
    }
}
