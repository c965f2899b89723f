//! Golden repositories read as recorded; `damage.rs` has what checks say of them.
//!
//! The records were made by the release that wrote the repository. Where 1.1 and
//! 1.2 print less or otherwise than 1.4, Borg 1.4.5 is asked instead.

use std::fs;

use fastness_testkit::golden::{self, Golden};
use fastness_testkit::{Borg, Outcome, Run, Sandbox, Tree};
use serde_json::Value;

use crate::{ours, reference};

const ALL_FIELDS: &str = "{type}{mode}{uid}{gid}{user}{group}{path}{bpath}{source}{linktarget}{flags}{size}{csize}\
                          {num_chunks}{mtime}{ctime}{atime}{isomtime}{isoctime}{isoatime}{sha256}{xxh64}{archivename}\
                          {archiveid}{extra}{health}";

/// Made through Borg's classes without archives: there is only its object to look at.
const WITHOUT_ARCHIVES: &str = "v14-passphrase-premigration";

pub(crate) fn repositories() -> Vec<String> {
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

/// One golden repository in a sandbox of its own.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) golden: Golden,
}

impl Stage {
    pub(crate) fn new(set: &str, name: &str) -> Stage {
        let sandbox = Sandbox::new();
        let golden = Golden::unpack(&sandbox, set, name);
        Stage { sandbox, golden }
    }

    /// Prepares a command beside the repository, which is `repo` there.
    pub(crate) fn command(&self, borg: &Borg, arguments: &[&str]) -> Run {
        let place = self.golden.repository();
        self.golden
            .prepare(self.sandbox.command(borg))
            .args(arguments)
            .in_directory(place.parent().expect("it is in its golden directory"))
    }

    pub(crate) fn run(&self, borg: &Borg, arguments: &[&str]) -> Outcome {
        self.command(borg, arguments).go()
    }

    /// Runs ours, and returns with what it says what was recorded, or what Borg 1.4.5 says of a
    /// repository of an older release.
    fn ours_and_expected(&self, arguments: &[&str], record: &str) -> (Outcome, String) {
        let ours = self.run(&ours(), arguments).ok();
        let expected = match self.golden.expected(record) {
            Some(text) if self.golden.name().starts_with("v14") => text,
            _ => self.run(&reference(), arguments).ok().out(),
        };
        (ours, expected)
    }

    /// Extracts a whole archive; returns the exit code, which tells whether files are hurt, and the files.
    pub(crate) fn extracted(&self, borg: &Borg, archive: &str) -> (i32, Tree) {
        let target = self.sandbox.directory("target");
        let archive = format!("{}::{archive}", self.golden.repository().display());
        let run = self.command(borg, &["extract", &archive]);
        let outcome = run.in_directory(&target).go().tidy();
        // The target itself is the test's, not the archive's.
        let tree = Tree::read(&target).without(|path, _| path.is_empty());
        fs::remove_dir_all(&target).unwrap();
        (outcome.code(), tree)
    }
}

/// Does something with each golden repository that has archives.
fn with_each(mut action: impl FnMut(&Stage, &str)) {
    for name in repositories() {
        action(&Stage::new("repositories", &name), &name);
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn archives_are_listed_as_recorded() {
    with_each(|stage, name| {
        let arguments = ["list", "--json", "--consider-checkpoints", "repo"];
        let listed = stage.run(&ours(), &arguments).ok().json();
        let mut recorded = stage.golden.expected_json("repo-list.json");
        // The key file's path is that of the machine that made it.
        if recorded["encryption"].get("keyfile").is_some() {
            recorded["encryption"]["keyfile"] = listed["encryption"]["keyfile"].clone();
        }
        for field in ["archives", "encryption"] {
            assert_eq!(listed[field], recorded[field], "{name}: {field}");
        }
        for field in ["id", "last_modified"] {
            let (listed, recorded) = (&listed["repository"], &recorded["repository"]);
            assert_eq!(listed[field], recorded[field], "{name}: {field}");
        }
    });
}

#[test]
fn items_are_listed_as_recorded_down_to_their_hashes() {
    with_each(|stage, name| {
        for archive in stage.golden.listed_archives() {
            let place = format!("repo::{archive}");
            let arguments = ["list", "--json-lines", "--format", ALL_FIELDS, &place];
            let record = format!("list.{archive}.jsonl");
            let (listed, expected) = stage.ours_and_expected(&arguments, &record);
            let (listed, expected) = (listed.json_lines(), json_lines(&expected));
            assert_eq!(listed.len(), expected.len(), "{name}::{archive}");
            for (listed, expected) in listed.iter().zip(&expected) {
                assert_eq!(listed, expected, "{name}::{archive}");
            }
        }
    });
}

#[test]
fn info_tells_what_was_recorded() {
    with_each(|stage, name| {
        let archives = stage.golden.listed_archives();
        for archive in &archives {
            let arguments = ["info", "--json", &format!("repo::{archive}")];
            let record = format!("info.{archive}.json");
            let (told, expected) = stage.ours_and_expected(&arguments, &record);
            let (told, expected) = (told.json(), serde_json::from_str::<Value>(&expected));
            let expected = expected.unwrap();
            assert_eq!(told["archives"], expected["archives"], "{name}::{archive}");
            // The repository's totals were recorded with the archives that there were at that moment.
            if archives.len() == 1 && !name.contains("uncompacted") {
                let (told, expected) = (&told["cache"]["stats"], &expected["cache"]["stats"]);
                assert_eq!(told, expected, "{name}::{archive}");
            }
        }
    });
}

#[test]
fn files_come_out_as_real_borg_extracts_them() {
    with_each(|stage, name| {
        // Sixteen archives of one tree: their contents are compared by hash in the listing.
        let count = if name == "v14-compression" {
            2
        } else {
            usize::MAX
        };
        for archive in stage.golden.listed_archives().iter().take(count) {
            let (code, expected) = stage.extracted(&reference(), archive);
            let (our_code, extracted) = stage.extracted(&ours(), archive);
            assert_eq!((code, our_code), (0, 0), "{name}::{archive}");
            expected.assert_same(&extracted, &format!("{name}::{archive}"));
        }
    });
}
