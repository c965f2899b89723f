//! Copying archives when it is not easy: over a slow way, from a damaged source, with parts of
//! files that were never finished, beside archives that only look the same.

use std::fs;
use std::time::{Duration, Instant};

use fastness_testkit::golden::{self, Golden};
use fastness_testkit::{Outcome, Sandbox, Sshd};

use crate::transfer::{assert_copied, facts, source, transfer};
use crate::{ours, reference};

fn archives(sandbox: &Sandbox, repository: &str) -> Vec<String> {
    let run = sandbox.run(
        &reference(),
        &["list", "--consider-checkpoints", "--short", repository],
    );
    run.ok().lines()
}

fn init(sandbox: &Sandbox, repository: &str) {
    let words = ["init", "--encryption", "repokey", repository];
    let _ = sandbox.run(&reference(), &words).ok();
}

/// Changes one archive's bytes on disk: those in the middle of the largest segment.
fn damage(sandbox: &Sandbox, repository: &str) {
    let data = sandbox.path(repository).join("data/0");
    let segments = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let largest = segments
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].fill(0x55);
    fs::write(largest, bytes).unwrap();
}

/// The index of a repository gets another name with each commit.
fn index(sandbox: &Sandbox, repository: &str) -> Option<String> {
    let names = fs::read_dir(sandbox.path(repository)).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.find(|name| name.starts_with("index.") && !name.ends_with(".tmp"))
}

#[test]
fn over_a_slow_way_checkpoints_are_made_and_the_next_run_goes_on_from_them() {
    let mut sandbox = source("repokey-blake2");
    let sshd = Sshd::start();
    sandbox.set_env("BORG_RSH", sshd.rsh("client", None));
    sandbox.set_env("BORG_REMOTE_PATH", ours().path());
    sandbox.set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    let big = sandbox.directory("big");
    // Several times what is under way at once, which a checkpoint waits for.
    let script = "for n in $(seq 100); do head -c 600000 /dev/urandom > $n; done";
    let run = sandbox.run_of("/bin/sh".as_ref()).args(["-c", script]);
    let _ = run.in_directory(&big).go().ok();
    let _ = sandbox.run(&ours(), &["create", "from::big", "big"]).ok();
    init(&sandbox, "to");
    let [from, to] = ["from", "to"].map(|name| sshd.address(sandbox.path(name)));
    let archive = format!("{from}::big");
    let words = ["--checkpoint-interval", "1", "--other-repo", &archive, &to];
    let slow = [&["transfer", "--download-ratelimit", "15000"], &words[..]].concat();
    let before = index(&sandbox, "to");
    let mut child = sandbox.command(&ours()).args(slow).spawn();
    let begun = Instant::now();
    while index(&sandbox, "to").is_none_or(|now| Some(now) == before) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no checkpoint came"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    let _ = child.wait().unwrap();
    for repository in ["from", "to"] {
        let _ = sandbox.run(&reference(), &["break-lock", repository]).ok();
    }
    assert_eq!(archives(&sandbox, "to"), ["big.checkpoint"]);
    let _ = sandbox
        .run(&reference(), &["check", "--verify-data", "to"])
        .ok();
    let again = sandbox
        .run(&ours(), &[&["transfer"], &words[..]].concat())
        .ok();
    // Of what the first run has brought nothing is stored again.
    let told = again.out();
    let (whole, new) = told.trim().split_once(", ").expect("two sizes");
    let size = |text: &str| text.split(' ').find_map(|word| word.parse::<f64>().ok());
    assert!(new.contains("kB") || size(new) < size(whole), "{again}");
    let all = ["transfer", "--other-repo", &from, &to];
    let _ = sandbox.run(&ours(), &all).ok();
    assert_eq!(archives(&sandbox, "to"), ["first", "second", "big"]);
    assert_copied(&sandbox);
}

#[test]
fn a_damaged_archive_is_not_copied_until_its_source_is_repaired() {
    let mut sandbox = source("repokey-blake2");
    sandbox.set_env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES");
    init(&sandbox, "to");
    damage(&sandbox, "from");
    let failed = transfer(&sandbox, &[]);
    assert!(failed.code() >= 2, "{failed}");
    assert!(failed.err().contains("ntegrity"), "{failed}");
    let there = archives(&sandbox, "to");
    assert!(
        there.iter().all(|name| name.ends_with(".checkpoint")),
        "{there:?}"
    );
    let _ = sandbox
        .run(&reference(), &["check", "--verify-data", "to"])
        .ok();
    let repair = sandbox.run(&reference(), &["check", "--repair", "from"]);
    assert!(repair.code() < 2, "{repair}");
    let _ = transfer(&sandbox, &[]).ok();
    assert_eq!(archives(&sandbox, "to"), ["first", "second"]);
    let broken = |outcome: &Outcome| outcome.out().matches("broken").count();
    let listed = ["from", "to"].map(|repository| {
        let archive = format!("{repository}::first");
        let words = ["list", "--format={health} {path}{NL}", &archive];
        sandbox.run(&reference(), &words).ok()
    });
    assert!(broken(&listed[0]) > 0, "{}", listed[0]);
    assert_eq!(listed[0].out(), listed[1].out());
}

#[test]
fn a_source_whose_items_or_metadata_are_lost_ends_with_one_error() {
    for segment in ["metadata", "items"] {
        let mut sandbox = source("none");
        sandbox.set_env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        init(&sandbox, "to");
        let archive = sandbox
            .run(&reference(), &["list", "--format={id}{NL}", "from"])
            .ok()
            .lines();
        let id = match segment {
            "metadata" => archive[1].clone(),
            _ => {
                // It goes on to the items, of which one has a name that is no text.
                let dump = ["debug", "dump-archive", "from::second", "-"];
                let text = sandbox.run(&reference(), &dump).out();
                let (_, items) = text.split_once("\"items\": [").unwrap();
                let id = items.trim_start().trim_start_matches("\"\\u007f");
                id[..64].to_owned()
            }
        };
        let words = ["debug", "delete-obj", "from", &id];
        let _ = sandbox.run(&reference(), &words).ok();
        let failed = transfer(&sandbox, &[]);
        assert!(
            failed.code() >= 2 && !failed.err().contains("panicked"),
            "{failed}"
        );
        assert!(failed.err().contains(&id), "{failed}");
        assert!(!archives(&sandbox, "to").contains(&"second".to_owned()));
        let _ = sandbox
            .run(&reference(), &["check", "--verify-data", "to"])
            .ok();
    }
}

#[test]
fn parts_of_files_come_along() {
    for name in ["v11-partfiles", "v14-partfiles"] {
        let mut sandbox = Sandbox::new();
        sandbox.set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        sandbox.set_env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        sandbox.set_env("BORG_PASSPHRASE", golden::PASSPHRASE);
        sandbox.set_env("BORG_KEYS_DIR", sandbox.path(name).join("keys"));
        let golden = Golden::unpack(&sandbox, "repositories", name);
        fs::rename(golden.repository(), sandbox.path("from")).unwrap();
        init(&sandbox, "to");
        let _ = transfer(&sandbox, &["--consider-checkpoints"]).ok();
        let names = archives(&sandbox, "from");
        assert_eq!(archives(&sandbox, "to"), names);
        for archive in &names {
            let [old, new] = ["from", "to"].map(|repository| format!("{repository}::{archive}"));
            assert_eq!(
                facts(&sandbox, &old),
                facts(&sandbox, &new),
                "{name} {archive}"
            );
        }
        let _ = sandbox
            .run(&reference(), &["check", "--verify-data", "to"])
            .ok();
    }
}

#[test]
fn an_archive_of_the_same_name_and_time_with_other_content_is_told() {
    let sandbox = source("repokey-blake2");
    init(&sandbox, "to");
    let _ = transfer(&sandbox, &[]).ok();
    // Both are made anew in the destination, with the times they had.
    let recreate = |words: &[&str]| drop(sandbox.run(&reference(), words).ok());
    recreate(&["recreate", "--exclude", "tree/many", "to::second"]);
    recreate(&[
        "recreate",
        "--recompress",
        "always",
        "-C",
        "zlib",
        "to::first",
    ]);
    let refused = transfer(&sandbox, &[]).exits(2);
    assert!(
        refused.err().contains(": second (another number of files)"),
        "{refused}"
    );
    // How data is stored does not matter.
    assert_eq!(refused.lines(), ["Is there already: first"]);
    recreate(&["recreate", "--comment", "mine", "to::first"]);
    let refused = transfer(&sandbox, &[]).exits(2);
    assert!(
        refused.err().contains("first (another comment)"),
        "{refused}"
    );
}
