//! Golden repositories read as recorded; damaged ones end as real Borg ends.
//!
//! The records were made by the release that wrote the repository. Where 1.1 and
//! 1.2 print less or otherwise than 1.4, Borg 1.4.5 is asked instead.

use std::fs;
use std::path::Path;

use fastness_testkit::golden::{self, Golden};
use fastness_testkit::{Borg, Outcome, Sandbox, Tree};
use serde_json::Value;

use crate::{ours, reference};

const ALL_FIELDS: &str = "{type}{mode}{uid}{gid}{user}{group}{path}{bpath}{source}{linktarget}{flags}{size}{csize}\
                          {num_chunks}{mtime}{ctime}{atime}{isomtime}{isoctime}{isoatime}{sha256}{xxh64}{archivename}\
                          {archiveid}{extra}{health}";

/// Made through Borg's classes without archives: there is only its object to look at.
const WITHOUT_ARCHIVES: &str = "v14-passphrase-premigration";

fn repositories() -> Vec<String> {
    let names = golden::all("repositories");
    assert!(
        names.len() >= 24,
        "golden repositories are missing: {names:?}"
    );
    names
        .into_iter()
        .filter(|name| name != WITHOUT_ARCHIVES)
        .collect()
}

fn run(sandbox: &Sandbox, golden: &Golden, borg: &Borg, arguments: &[&str]) -> Outcome {
    golden
        .prepare(sandbox.command(borg))
        .args(arguments)
        .in_directory(golden.repository().parent().unwrap())
        .go()
}

#[test]
fn archives_are_listed_as_recorded() {
    let (sandbox, ours) = (Sandbox::new(), ours());
    for name in repositories() {
        let golden = Golden::unpack(&sandbox, "repositories", &name);
        let listed = run(
            &sandbox,
            &golden,
            &ours,
            &["list", "--json", "--consider-checkpoints", "repo"],
        )
        .ok();
        let (listed, recorded) = (listed.json(), golden.expected_json("repo-list.json"));
        for field in ["archives", "encryption"] {
            let keyfile = |value: &Value| value.get("keyfile").is_some();
            if keyfile(&recorded[field]) {
                // The key file's path is that of the machine that made it.
                assert_eq!(
                    listed[field]["mode"], recorded[field]["mode"],
                    "{name}: {field}"
                );
            } else {
                assert_eq!(listed[field], recorded[field], "{name}: {field}");
            }
        }
        for field in ["id", "last_modified"] {
            assert_eq!(
                listed["repository"][field], recorded["repository"][field],
                "{name}: {field}"
            );
        }
    }
}

#[test]
fn items_are_listed_as_recorded_down_to_their_hashes() {
    let (sandbox, ours) = (Sandbox::new(), ours());
    for name in repositories() {
        let golden = Golden::unpack(&sandbox, "repositories", &name);
        for archive in golden.listed_archives() {
            let arguments = [
                "list",
                "--json-lines",
                "--format",
                ALL_FIELDS,
                &format!("repo::{archive}"),
            ];
            let listed = run(&sandbox, &golden, &ours, &arguments).ok().json_lines();
            let expected = if name.starts_with("v14") {
                let recorded = golden.expected(&format!("list.{archive}.jsonl")).unwrap();
                recorded
                    .lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect()
            } else {
                run(&sandbox, &golden, &reference(), &arguments)
                    .ok()
                    .json_lines()
            };
            assert_eq!(listed.len(), expected.len(), "{name}::{archive}");
            for (listed, expected) in listed.iter().zip(&expected) {
                assert_eq!(listed, expected, "{name}::{archive}");
            }
        }
    }
}

#[test]
fn info_tells_what_was_recorded() {
    let (sandbox, ours) = (Sandbox::new(), ours());
    for name in repositories() {
        let golden = Golden::unpack(&sandbox, "repositories", &name);
        for archive in golden.listed_archives() {
            let arguments = ["info", "--json", &format!("repo::{archive}")];
            let told = run(&sandbox, &golden, &ours, &arguments).ok().json();
            let expected = if name.starts_with("v14") {
                golden.expected_json(&format!("info.{archive}.json"))
            } else {
                run(&sandbox, &golden, &reference(), &arguments).ok().json()
            };
            assert_eq!(told["archives"], expected["archives"], "{name}::{archive}");
            // The repository's totals were recorded with the archives that there were at that moment.
            if golden.listed_archives().len() == 1 && !name.contains("uncompacted") {
                assert_eq!(
                    told["cache"]["stats"], expected["cache"]["stats"],
                    "{name}::{archive}"
                );
            }
        }
    }
}

#[test]
fn files_come_out_as_real_borg_extracts_them() {
    let (sandbox, ours, reference) = (Sandbox::new(), ours(), reference());
    for name in repositories() {
        let golden = Golden::unpack(&sandbox, "repositories", &name);
        // Sixteen archives of one tree: their contents are compared by hash in the listing.
        let count = if name == "v14-compression" {
            2
        } else {
            usize::MAX
        };
        for archive in golden.listed_archives().iter().take(count) {
            let extracted = extract(&sandbox, &golden, &ours, archive);
            let expected = extract(&sandbox, &golden, &reference, archive);
            expected.assert_same(&extracted, &format!("{name}::{archive}"));
        }
    }
}

fn extract(sandbox: &Sandbox, golden: &Golden, borg: &Borg, archive: &str) -> Tree {
    let target = sandbox.directory("target");
    let archive = format!("{}::{archive}", golden.repository().display());
    let run = golden
        .prepare(sandbox.command(borg))
        .args(["extract", &archive])
        .in_directory(&target);
    let _ = run.go().ok();
    // The target itself is the test's, not the archive's.
    let tree = Tree::read(&target).without(|path, _| path.is_empty());
    fs::remove_dir_all(&target).unwrap();
    tree
}

#[test]
fn intact_repositories_check_clean() {
    let (sandbox, ours) = (Sandbox::new(), ours());
    // The object of `v14-passphrase-migrated` that was made through Borg's classes belongs to no archive.
    for name in repositories()
        .into_iter()
        .filter(|name| name != "v14-passphrase-migrated")
    {
        let golden = Golden::unpack(&sandbox, "repositories", &name);
        let text = run(
            &sandbox,
            &golden,
            &ours,
            &["check", "--verify-data", "-v", "repo"],
        )
        .ok()
        .err();
        assert!(
            text.contains("Archive consistency check complete, no problems found."),
            "{name}: {text}"
        );
    }
}

/// A damaged repository: what is run on a fresh copy of it, what after the last of these, with exit codes.
struct Case {
    name: &'static str,
    fresh: &'static [(&'static str, i32)],
    then: &'static [(&'static str, i32)],
}

const LIST: &str = "list --json repo";
const LIST_A1: &str = "list --json-lines --format {path}{size}{health} repo::a1";
const REPAIR: &str = "check -v --repair repo";

/// Exit codes as recorded in `testdata/README.md`.
const DAMAGED: [Case; 9] = [
    Case {
        name: "bad-index",
        fresh: &[("check -v repo", 0), (LIST, 0)],
        then: &[("check -v repo", 0)],
    },
    Case {
        name: "flip-data",
        fresh: &[
            ("check -v repo", 1),
            ("check -v --repository-only repo", 1),
            ("check -v --archives-only repo", 0),
            ("check -v --verify-data repo", 1),
            ("extract --dry-run repo::a1", 2),
            (REPAIR, 0),
        ],
        then: &[("check -v repo", 0), (LIST_A1, 0)],
    },
    Case {
        name: "flip-size",
        fresh: &[
            ("check -v repo", 1),
            ("check -v --repository-only repo", 1),
            ("check -v --archives-only repo", 0),
            ("check -v --verify-data repo", 1),
            ("extract --dry-run repo::a1", 2),
            (REPAIR, 0),
        ],
        then: &[("check -v repo", 0), (LIST_A1, 0)],
    },
    Case {
        name: "manifest",
        fresh: &[("check -v repo", 1), (REPAIR, 0)],
        then: &[("check -v repo", 0), (LIST, 0)],
    },
    Case {
        name: "missing-chunk",
        fresh: &[
            ("check -v repo", 1),
            ("check -v --repository-only repo", 0),
            ("check -v --archives-only repo", 1),
            ("check -v --verify-data repo", 1),
            ("extract --dry-run repo::a1", 2),
            (REPAIR, 0),
        ],
        then: &[("check -v repo", 0), (LIST_A1, 0)],
    },
    Case {
        name: "missing-hints",
        fresh: &[("check -v repo", 0), (LIST, 0)],
        then: &[("check -v repo", 0), ("create repo::new repo/README", 0)],
    },
    Case {
        name: "missing-index",
        fresh: &[("check -v repo", 0), (LIST, 0)],
        then: &[("check -v repo", 0)],
    },
    Case {
        name: "missing-segment",
        fresh: &[
            ("check -v repo", 1),
            ("check -v --repository-only repo", 1),
            ("check -v --archives-only repo", 2),
            ("check -v --verify-data repo", 1),
            ("extract --dry-run repo::a1", 2),
            (REPAIR, 0),
        ],
        then: &[("check -v repo", 0), (LIST_A1, 2)],
    },
    Case {
        name: "uncommitted",
        fresh: &[("check -v repo", 0), (LIST, 0)],
        then: &[("check -v repo", 0), ("create repo::new repo/README", 0)],
    },
];

#[test]
fn damage_is_answered_with_the_recorded_exit_codes() {
    let (sandbox, ours, reference) = (Sandbox::new(), ours(), reference());
    let mut problems = Vec::new();
    for case in &DAMAGED {
        let name = format!("v14-damage-{}", case.name);
        let mut golden = unpack_damaged(&sandbox, &name);
        let mut step = |golden: &Golden, command: &str, code: i32| {
            let words: Vec<&str> = command.split(' ').collect();
            let outcome = run(&sandbox, golden, &ours, &words).tidy();
            if outcome.code() != code {
                problems.push(format!("{name}: {command}: expected {code}, got {outcome}"));
            }
            outcome
        };
        for (command, code) in case.fresh {
            golden = unpack_damaged(&sandbox, &name);
            drop(step(&golden, command, *code));
        }
        for (command, code) in case.then {
            let outcome = step(&golden, command, *code);
            if *command == LIST_A1 && *code == 0 {
                // Which files a repair has hurt is a fact as well.
                let recorded = golden.expected("list-after-repair.txt").unwrap();
                assert_eq!(
                    lines_of_items(&outcome.out()),
                    lines_of_items(&recorded),
                    "{name}"
                );
            }
        }
        clean_in_real_borg(&sandbox, &golden, &reference);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn unpack_damaged(sandbox: &Sandbox, name: &str) -> Golden {
    let golden = Golden::unpack(sandbox, "damaged", name);
    // The records end with a create in these two; the client remembers it, the repository came before.
    if ["v14-damage-missing-hints", "v14-damage-uncommitted"].contains(&name) {
        golden.forget();
    }
    golden
}

fn lines_of_items(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| line.starts_with("{\"type\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn clean_in_real_borg(sandbox: &Sandbox, golden: &Golden, reference: &Borg) {
    let check = run(
        sandbox,
        golden,
        reference,
        &["check", "--verify-data", "-v", "repo"],
    )
    .ok();
    assert!(
        check.err().contains("no problems found"),
        "{}: {check}",
        golden.name()
    );
    assert!(Path::new(&golden.repository()).join("config").exists());
}
