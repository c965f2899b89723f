//! One repository, two programs: what either writes, the other reads, in every mode.
//!
//! Official Borg and ours share the repository, the key files and the security
//! directory of one sandbox, as on a machine where both are installed.

use fastness_testkit::{Borg, NonceLedger, Sandbox, Tree, Version, source_tree};
use serde_json::Value;

use crate::ours;

/// Every field that `list` knows of an item in an archive, but for what changes with each archive.
const FIELDS: &str = "{type}{mode}{uid}{gid}{user}{group}{path}{bpath}{source}{linktarget}{flags}{size}{csize}\
                      {dsize}{dcsize}{num_chunks}{unique_chunks}{mtime}{ctime}{isomtime}{isoctime}{sha256}{xxh64}{health}";

/// A source tree in a sandbox and a repository to put it in.
struct World {
    sandbox: Sandbox,
    source: Tree,
    ledger: NonceLedger,
}

impl World {
    fn new() -> World {
        let sandbox = Sandbox::new();
        source_tree::create(&sandbox.path("source"), 1);
        let source = Tree::read(&sandbox.path("source")).as_archived();
        World {
            sandbox,
            source,
            ledger: NonceLedger::new(),
        }
    }

    fn init(&self, borg: &Borg, mode: &str) {
        let run = self
            .sandbox
            .run(borg, &["init", "--encryption", mode, "repository"]);
        let _ = run.ok();
    }

    fn create(&mut self, borg: &Borg, archive: &str) {
        let archive = format!("repository::{archive}");
        let run = self.sandbox.run(
            borg,
            &["create", "--compression", "zstd,1", &archive, "source"],
        );
        let _ = run.ok();
        self.ledger.observe(&self.sandbox.path("repository"));
    }

    fn extracts_the_source(&self, borg: &Borg, archive: &str) {
        let target = self.sandbox.directory("target");
        let archive = format!("{}::{archive}", self.sandbox.path("repository").display());
        let run = self
            .sandbox
            .command(borg)
            .args(["extract", "--sparse", &archive]);
        let _ = run.in_directory(&target).go().ok();
        let extracted = Tree::read(&target.join("source")).as_archived();
        let about = format!("{archive} extracted by {}", borg.label());
        self.source.assert_same(&extracted, &about);
        // Only a chunk of nothing but zeros becomes a hole, so a file of zeros it is.
        let zeros = extracted
            .get("bin/zeros")
            .expect("the file of zeros is there");
        assert!(zeros.sparse, "{about}: --sparse left no hole");
        std::fs::remove_dir_all(&target).unwrap();
    }

    fn finds_no_problem(&self, borg: &Borg) {
        let run = self
            .sandbox
            .run(borg, &["check", "--verify-data", "--verbose", "repository"])
            .ok();
        let text = run.err();
        assert!(
            text.contains("Archive consistency check complete, no problems found."),
            "{run}"
        );
    }

    fn items(&self, borg: &Borg, archive: &str) -> Vec<Value> {
        let archive = format!("repository::{archive}");
        let run = self.sandbox.run(
            borg,
            &["list", "--json-lines", "--format", FIELDS, &archive],
        );
        run.ok().json_lines()
    }

    /// The number of different chunks that archives use, by official Borg's count.
    fn unique_chunks(&self, official: &Borg) -> u64 {
        let run = self
            .sandbox
            .run(official, &["info", "--json", "repository"])
            .ok();
        run.json()["cache"]["stats"]["total_unique_chunks"]
            .as_u64()
            .expect("a number of chunks")
    }

    /// A second create of the same tree by another program may add metadata, but not one chunk of a file.
    fn adds_only_metadata(&mut self, official: &Borg, borg: &Borg, archive: &str) {
        let before = self.unique_chunks(official);
        self.create(borg, archive);
        let added = self.unique_chunks(official) - before;
        // The archive's own object, and what differs in the stream of items between releases.
        assert!(
            (1..=2).contains(&added),
            "{} added {added} chunks",
            borg.label()
        );
    }
}

fn official_reads_ours(mode: &str, version: Version) {
    let (ours, official) = (ours(), Borg::official(version));
    let mut world = World::new();
    world.init(&ours, mode);
    world.create(&ours, "ours");
    world.finds_no_problem(&official);
    world.extracts_the_source(&official, "ours");
    world.adds_only_metadata(&official, &official, "theirs");
    assert_eq!(world.items(&official, "ours").len(), world.source.len());
}

fn ours_reads_official(mode: &str, version: Version) {
    let (ours, official) = (ours(), Borg::official(version));
    let mut world = World::new();
    world.init(&official, mode);
    world.create(&official, "theirs");
    world.finds_no_problem(&ours);
    world.extracts_the_source(&ours, "theirs");
    let (listed, expected) = (
        world.items(&ours, "theirs"),
        world.items(&official, "theirs"),
    );
    assert_eq!(listed.len(), expected.len());
    for (listed, expected) in listed.iter().zip(&expected) {
        assert_eq!(listed, expected);
    }
    world.adds_only_metadata(&official, &ours, "ours");
    world.finds_no_problem(&official);
}

/// Twenty rounds: one program creates, the other deletes, prunes or compacts; then they change places.
fn taking_turns(mode: &str, version: Version) {
    let (ours, official) = (ours(), Borg::official(version));
    let mut world = World::new();
    world.init(&ours, mode);
    for round in 0..20_u64 {
        let (creator, cleaner) = if round % 2 == 0 {
            (&ours, &official)
        } else {
            (&official, &ours)
        };
        source_tree::change(&world.sandbox.path("source"), round);
        world.create(creator, &format!("round-{round}"));
        match round % 6 {
            1 | 4 => {
                let archive = format!("repository::round-{}", round - 1);
                drop(world.sandbox.run(cleaner, &["delete", &archive]).ok());
            }
            2 | 5 => drop(
                world
                    .sandbox
                    .run(cleaner, &["prune", "--keep-last", "3", "repository"])
                    .ok(),
            ),
            _ => drop(
                world
                    .sandbox
                    .run(cleaner, &["compact", "--threshold", "1", "repository"])
                    .ok(),
            ),
        }
        world.ledger.observe(&world.sandbox.path("repository"));
        if round % 5 == 4 {
            world.finds_no_problem(&official);
            world.finds_no_problem(&ours);
        }
    }
    world.source = Tree::read(&world.sandbox.path("source")).as_archived();
    for borg in [&ours, &official] {
        world.extracts_the_source(borg, "round-19");
    }
    assert_eq!(
        world.ledger.is_empty(),
        mode.starts_with("auth") || mode == "none"
    );
}

macro_rules! modes {
    ($($name:ident: $mode:literal),* $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn official_1_4_reads_ours() {
                official_reads_ours($mode, Version::V14);
            }

            #[test]
            fn official_1_2_reads_ours() {
                official_reads_ours($mode, Version::V12);
            }

            #[test]
            fn ours_reads_official_1_4() {
                ours_reads_official($mode, Version::V14);
            }

            #[test]
            fn ours_reads_official_1_2() {
                ours_reads_official($mode, Version::V12);
            }

            #[test]
            fn twenty_turns_with_1_4_stay_clean() {
                taking_turns($mode, Version::V14);
            }

            #[test]
            fn twenty_turns_with_1_2_stay_clean() {
                taking_turns($mode, Version::V12);
            }
        }
    )*};
}

modes! {
    none: "none",
    authenticated: "authenticated",
    authenticated_blake2: "authenticated-blake2",
    repokey: "repokey",
    keyfile: "keyfile",
    repokey_blake2: "repokey-blake2",
    keyfile_blake2: "keyfile-blake2",
}
