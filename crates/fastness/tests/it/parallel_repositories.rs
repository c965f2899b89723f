//! `fastness: parallel_repositories`: archives in two repositories, side by side, of one dump.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fastness_testkit::{Outcome, RamDisk, is_root};
use serde_json::Value;

use crate::borgmatic::Place;
use crate::databases::configure;

const NAMES: [&str; 2] = ["repository", "second"];

/// A place with two repositories, and a program that dumps a database.
struct Two(Place);

impl Two {
    /// `more` is what the configuration says besides, `script` what the dump program does.
    fn new(more: &str, script: &str) -> Self {
        Self::at("TOP/second", more, script)
    }

    /// As [`Self::new`], with the second repository reached by this path.
    fn at(second: &str, more: &str, script: &str) -> Self {
        let mut place = Place::new();
        let yes = "BORG_RELOCATED_REPO_ACCESS_IS_OK";
        place.sandbox.set_env(yes, "yes");
        let path = place.sandbox.path("config.yaml");
        let top = place.sandbox.root().to_str().unwrap().to_owned();
        let second = second.replace("TOP", &top);
        let text = fs::read_to_string(&path).unwrap().replace(
            "encryption_passphrase",
            &format!(
                "    - path: {second}\n      label: other\n      encryption: repokey-blake2\nencryption_passphrase"
            ),
        );
        fs::write(&path, text).unwrap();
        let two = Self(place);
        two.script("dump", &format!("cd {top}\necho run >> runs\n{script}"));
        two.configure(&format!(
            "fastness: {{parallel_repositories: true}}\n{DUMP}{more}"
        ));
        let program = env!("CARGO_BIN_EXE_fastness");
        two.script(
            "ssh",
            &format!("echo $$ > {top}/server\nexec {program} borg serve"),
        );
        let _ = two.0.fastness(&["repo-create"]).ok();
        two
    }

    fn configure(&self, entries: &str) {
        configure(&self.0, entries);
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.0.sandbox.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn create(&self, more: &[&str]) -> Outcome {
        let mut words = vec!["create", "--archive-name-format", "night"];
        words.extend(more);
        self.0.fastness(&words)
    }

    /// How many lines a file has that commands append to.
    fn count(&self, name: &str) -> usize {
        let text = fs::read_to_string(self.0.sandbox.path(name));
        text.unwrap_or_default().lines().count()
    }

    fn archives(&self, repository: &str) -> Vec<String> {
        let list = self.0.borg(&["list", "--short", repository]);
        let lines = list.lines().into_iter();
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// The dump that an archive holds, by real Borg.
    fn dump(&self, repository: &str) -> Vec<u8> {
        let archive = format!("{repository}::night");
        let path = "borgmatic/sqlite_databases/localhost/shop";
        let extracted = self.0.borg(&["extract", "--stdout", &archive, path]);
        extracted.stdout
    }
}

const DUMP: &str = "\
sqlite_databases:
    - {name: shop, path: shop.db, sqlite_command: TOP/dump}
";

/// A dump that says which run it is of.
const DATA: &str = "\
echo \"-- run $(wc -l < runs), $$\"
head -c 3000000 /dev/zero | tr '\\0' x
printf '\\nCOMMIT;\\n'";

/// Waits until both repositories are locked by a run; fails if that never happens.
const BARRIER: &str = "\
n=0
until test -e repository/lock.exclusive && test -e second/lock.exclusive; do
    n=$((n + 1)); test $n -lt 500 || exit 9
    sleep 0.02
done
";

#[test]
fn one_dump_that_ends_when_both_are_at_work_is_in_both_archives() {
    let two = Two::new("", &format!("{BARRIER}{DATA}"));
    let outcome = two.create(&["--verbosity", "1"]).ok();
    assert_eq!(two.count("runs"), 1, "{outcome}");
    let [one, other] = NAMES.map(|name| two.dump(name));
    assert!(one.len() > 3_000_000);
    assert!(one == other, "the dumps differ");
    for name in ["local: Creating archive", "other: Creating archive"] {
        assert!(outcome.out().contains(name), "{outcome}");
    }
    assert!(
        outcome
            .out()
            .contains("config.yaml: Dumping SQLite database \"shop\""),
        "{outcome}"
    );
    for name in NAMES {
        let _ = two.0.borg(&["check", "--verify-data", name]);
    }
}

#[test]
fn without_the_option_each_repository_has_its_own_dump_in_turn() {
    let two = Two::new("", DATA);
    two.configure(DUMP);
    let _ = two.create(&[]).ok();
    assert_eq!(two.count("runs"), 2);
    let [one, other] = NAMES.map(|name| two.dump(name));
    assert!(one.starts_with(b"-- run 1,") && other.starts_with(b"-- run 2,"));
}

/// The run failed for the second repository, and for that one alone.
fn assert_only_the_other_failed(outcome: &Outcome) {
    assert_eq!(outcome.code(), 1, "{outcome}");
    let said = outcome.err();
    let error = "Error running actions for repository";
    assert!(said.contains(&format!("other: {error}")), "{outcome}");
    assert!(!said.contains(&format!("local: {error}")), "{outcome}");
}

#[test]
fn a_destination_that_is_down_costs_the_other_nothing_and_is_told() {
    let two = Two::new("retries: 1\n", DATA);
    let second = two.0.sandbox.path("second");
    fs::rename(&second, two.0.sandbox.path("away")).unwrap();
    let outcome = two.create(&[]);
    assert_only_the_other_failed(&outcome);
    assert_eq!(two.archives("repository"), ["night"]);
    // It is there again: the same call gives it its archive.
    fs::rename(two.0.sandbox.path("away"), second).unwrap();
    let _ = two
        .0
        .fastness(&[
            "create",
            "--repository",
            "other",
            "--archive-name-format",
            "night",
        ])
        .ok();
    assert_eq!(two.archives("second"), ["night"]);
}

#[test]
fn a_destination_that_comes_back_gets_its_archive_by_a_retry_alone() {
    let hook = "\
retries: 1
commands:
    - {before: action, when: [create], run: [\"echo before >> TOP/before\"]}
    - {before: repository, when: [create], run: [\"test {repository_label} != other || test $(wc -l < TOP/before) -gt 0\"]}
    - {after: action, when: [create], run: [\"echo after >> TOP/after\"]}
";
    let two = Two::new(hook, DATA);
    fs::write(two.0.sandbox.path("before"), "").unwrap();
    let outcome = two.create(&[]).ok();
    assert!(
        outcome.err().contains("Retrying... attempt 1/1"),
        "{outcome}"
    );
    for name in NAMES {
        assert_eq!(two.archives(name), ["night"]);
    }
    assert_eq!(two.count("runs"), 2, "the retry made its own dump");
    assert_eq!((two.count("before"), two.count("after")), (2, 2));
}

#[test]
fn a_server_that_dies_in_the_middle_costs_the_other_nothing() {
    let script = format!(
        "if test $(wc -l < runs) = 1; then kill -9 $(cat server); fi\nhead -c 3000000 /dev/urandom | od\n{DATA}"
    );
    let more = "ssh_command: TOP/ssh\nretries: 1\n";
    let two = Two::at("ssh://nas/TOP/second", more, &script);
    let outcome = two.create(&[]).ok();
    let said = outcome.err();
    assert!(
        said.contains("other: Error running actions for repository"),
        "{outcome}"
    );
    assert!(!said.contains("local: Error"), "{outcome}");
    for name in NAMES {
        assert_eq!(two.archives(name), ["night"]);
        let _ = two.0.borg(&["check", "--verify-data", name]);
    }
    assert_eq!(two.count("runs"), 2, "the retry made its own dump");
}

#[test]
fn a_destination_that_is_full_costs_the_other_nothing() {
    if !is_root() {
        eprintln!("left out: only root can mount a small disk");
        return;
    }
    let two = Two::new("", &format!("head -c 3000000 /dev/urandom | od\n{DATA}"));
    let (second, away) = (two.0.sandbox.path("second"), two.0.sandbox.path("away"));
    fs::rename(&second, &away).unwrap();
    let disk = RamDisk::mount(&second, 2 << 20);
    two.0.sandbox.copy(&away, disk.path());
    let outcome = two.create(&[]);
    assert_only_the_other_failed(&outcome);
    assert!(outcome.err().contains("No space left"), "{outcome}");
    assert_eq!(two.archives("repository"), ["night"]);
    let _ = two.0.borg(&["check", "--verify-data", "repository"]);
}

#[test]
fn a_dump_that_fails_fails_for_both_and_both_try_again() {
    let script = format!("if test $(wc -l < runs) = 1; then echo begin; exit 3; fi\n{DATA}");
    let two = Two::new("retries: 1\n", &script);
    let outcome = two.create(&[]).ok();
    assert!(outcome.err().contains("ended with code 3"), "{outcome}");
    for name in NAMES {
        assert_eq!(two.archives(name), ["night"]);
    }
    assert_eq!(two.count("runs"), 3);
}

#[test]
fn hooks_around_create_run_once_and_those_about_a_repository_for_each() {
    let hooks = "\
commands:
    - {before: action, when: [create], run: [\"echo before >> TOP/hooks\"]}
    - {before: action, when: [create], run: [\"echo before {repository_label} >> TOP/hooks\"]}
    - {after: action, when: [create], states: [finish], run: [\"echo after >> TOP/hooks\"]}
    - {after: action, when: [create], states: [fail], run: [\"echo failed >> TOP/hooks\"]}
    - {after: repository, run: [\"echo done {repository_label} >> TOP/hooks\"]}
";
    let two = Two::new(hooks, DATA);
    let _ = fs::remove_file(two.0.sandbox.path("hooks"));
    let _ = two.create(&[]).ok();
    let text = fs::read_to_string(two.0.sandbox.path("hooks")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let expected = [
        "before",
        "before local",
        "before other",
        "after",
        "done local",
        "done other",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn json_is_that_of_all_repositories_in_the_order_of_the_configuration() {
    let two = Two::new("", DATA);
    let value: Value = two.create(&["--json"]).ok().json();
    let labels: Vec<&str> = value
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["repository"]["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["local", "other"]);
    for one in value.as_array().unwrap() {
        assert_eq!(one["archive"]["name"], "night");
    }
}

#[test]
fn a_run_that_is_killed_leaves_repositories_that_the_next_one_uses() {
    let slow = format!("if test $(wc -l < runs) = 1; then echo begin; sleep 60; fi\n{DATA}");
    let two = Two::new("", &slow);
    let words = ["create", "--archive-name-format", "night"];
    let killed = two.0.fastness_run(&words);
    let killed = killed.killed_after(Duration::from_millis(1500)).go();
    assert!(killed.was_killed(), "{killed}");
    assert_eq!(two.count("runs"), 1);
    let _ = two.create(&[]).ok();
    for name in NAMES {
        assert_eq!(two.archives(name), ["night"]);
        let _ = two.0.borg(&["check", name]);
    }
}
