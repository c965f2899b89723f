//! Golden repositories read as recorded; damaged ones end as real Borg ends.
//!
//! The records were made by the release that wrote the repository. Where 1.1 and
//! 1.2 print less or otherwise than 1.4, Borg 1.4.5 is asked instead.

use std::fs;

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
