//! Archives copied from one repository to another; real Borg then reads the copies.

use std::fs;
use std::process::Command;

use fastness_testkit::{Outcome, Sandbox, Tree, kill, source_tree};
use serde_json::Value;

use crate::borgmatic::Place;
use crate::{ours, reference};

const FORMAT: &str = "--format={type}{mode} {user} {group} {uid} {gid} {size} {mtime} {atime} {ctime} \
                      {flags} {health} {source} {num_chunks} {sha256} {path}{NL}";

/// What real Borg says of an archive, without what depends on keys and on the moment.
pub fn facts(sandbox: &Sandbox, archive: &str) -> (Value, Vec<String>) {
    let mut info = sandbox
        .run(&reference(), &["info", "--json", archive])
        .ok()
        .json();
    let mut info = info["archives"][0].take();
    let members = info.as_object_mut().unwrap();
    members.remove("id");
    members.remove("limits");
    for name in ["compressed_size", "deduplicated_size"] {
        members["stats"].as_object_mut().unwrap().remove(name);
    }
    let words = ["list", "--consider-part-files", FORMAT, archive];
    (info, sandbox.run(&reference(), &words).ok().lines())
}

/// A source repository of real Borg with two archives, and the tree of the second one.
pub fn source(encryption: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    source_tree::create(&tree, 7);
    let run = |words: &[&str]| drop(sandbox.run(&reference(), words).ok());
    run(&["init", "--encryption", encryption, "from"]);
    run(&[
        "create",
        "--comment",
        "a comment",
        "-C",
        "zstd",
        "from::first",
        "tree",
    ]);
    source_tree::change(&tree, 8);
    run(&[
        "create",
        "--chunker-params",
        "buzhash,10,16,12,4095",
        "-C",
        "lzma",
        "from::second",
        "tree",
    ]);
    sandbox
}

pub fn transfer(sandbox: &Sandbox, more: &[&str]) -> Outcome {
    let words = [&["transfer", "--other-repo", "from", "to"][..], more].concat();
    sandbox.run(&ours(), &words)
}

fn all_bytes(sandbox: &Sandbox, repository: &str) -> String {
    let output = Command::new("sh")
        .arg("-c")
        .arg("find . -type f | sort | xargs sha256sum")
        .current_dir(sandbox.path(repository))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

pub fn assert_copied(sandbox: &Sandbox) {
    let borg = reference();
    let _ = sandbox.run(&borg, &["check", "--verify-data", "to"]).ok();
    for name in ["first", "second"] {
        let (old, new) = (format!("from::{name}"), format!("to::{name}"));
        assert_eq!(facts(sandbox, &old), facts(sandbox, &new));
    }
    let extract = |archive: &str, name: &str| {
        let directory = sandbox.directory(name);
        let run = sandbox.command(&borg).args(["extract", archive]);
        let _ = run.in_directory(&directory).go().ok();
        Tree::read(&directory.join("tree"))
    };
    let old = extract(sandbox.path("from::second").to_str().unwrap(), "old");
    let new = extract(sandbox.path("to::second").to_str().unwrap(), "new");
    new.assert_same(&old, "what is extracted of the copy");
}

#[test]
fn copies_are_what_they_were_with_another_key() {
    for (from, to) in [("repokey-blake2", "repokey"), ("none", "keyfile-blake2")] {
        let sandbox = source(from);
        let _ = sandbox
            .run(&reference(), &["init", "--encryption", to, "to"])
            .ok();
        let before = all_bytes(&sandbox, "from");
        let dry = transfer(&sandbox, &["--dry-run"]).ok();
        assert_eq!(dry.lines(), ["Would copy first", "Would copy second"]);
        let _ = transfer(&sandbox, &[]).ok();
        assert_copied(&sandbox);
        let again = transfer(&sandbox, &[]).ok();
        let there = ["Is there already: first", "Is there already: second"];
        assert_eq!(again.lines(), there);
        assert_eq!(all_bytes(&sandbox, "from"), before);
    }
}

#[test]
fn related_repositories_share_their_chunks() {
    let sandbox = source("repokey-blake2");
    let run = |words: &[&str]| drop(sandbox.run(&ours(), words).ok());
    run(&["key", "export-related-secrets", "from", "secrets"]);
    let import = "--import-related-secrets";
    run(&[
        "init",
        "--encryption",
        "keyfile-blake2",
        import,
        "secrets",
        "to",
    ]);
    let first = sandbox
        .run(&ours(), &["transfer", "--other-repo", "from::first", "to"])
        .ok();
    assert_eq!(first.lines().len(), 1, "{first}");
    let _ = transfer(&sandbox, &["--recompress", "always", "-C", "lz4"]).ok();
    assert_copied(&sandbox);
    let _ = sandbox.run(&ours(), &["create", "to::third", "tree"]).ok();
    let info = sandbox
        .run(&reference(), &["info", "--json", "to::third"])
        .ok()
        .json();
    let stats = &info["archives"][0]["stats"];
    let (whole, new) = (&stats["original_size"], &stats["deduplicated_size"]);
    assert!(new.as_u64() < whole.as_u64(), "{stats}");
}

#[test]
fn a_copy_that_was_interrupted_goes_on() {
    let sandbox = source("repokey-blake2");
    let borg = reference();
    let _ = sandbox
        .run(&borg, &["init", "--encryption", "repokey", "to"])
        .ok();
    let mut killed = 0;
    for moment in [4, 9, 14, 19] {
        let run = sandbox.command(&ours());
        let run = run.args(["transfer", "--other-repo", "from", "to"]);
        killed += usize::from(kill::at(run, moment).was_killed());
        for repository in ["from", "to"] {
            let _ = sandbox.run(&borg, &["break-lock", repository]);
        }
        let _ = sandbox.run(&borg, &["check", "--verify-data", "to"]).ok();
    }
    assert!(killed > 1, "{killed} runs were killed");
    let _ = transfer(&sandbox, &[]).ok();
    assert_copied(&sandbox);
}

#[test]
fn what_cannot_be_copied_is_told_before_anything_is() {
    let sandbox = source("repokey-blake2");
    let _ = sandbox
        .run(&ours(), &["init", "--encryption", "repokey", "to"])
        .ok();
    let _ = sandbox.run(&ours(), &["create", "to::second", "tree"]).ok();
    let other = transfer(&sandbox, &[]).exits(2);
    let names = "has other archives with these names: second (another time)";
    assert!(other.err().contains(names), "{other}");
    let names = sandbox.run(&reference(), &["list", "--short", "to"]).ok();
    assert_eq!(names.lines(), ["second"]);
    let itself = sandbox
        .run(&ours(), &["transfer", "--other-repo", "to", "to"])
        .exits(2);
    assert!(
        itself.err().contains("is the repository itself"),
        "{itself}"
    );
    sandbox.copy(&sandbox.path("to"), &sandbox.path("copy"));
    let words = ["transfer", "--other-repo", "copy", "to"];
    let run = sandbox.command(&ours()).args(words);
    let run = run.env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    let same = run.go().exits(2);
    assert!(same.err().contains("are the same repository"), "{same}");
}

#[test]
fn a_configuration_copies_between_its_repositories_and_from_others() {
    let place = Place::new();
    let path = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let top = place.sandbox.root().to_str().unwrap();
    let second = format!(
        "    - path: {top}/second\n      label: second\n      encryption: repokey\n      encryption_passphrase: other\n"
    );
    let text = text.replace(
        "encryption_passphrase: words",
        &(second + "encryption_passphrase: words"),
    );
    fs::write(&path, text).unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    let name = ["--archive-name-format", "one"];
    let _ = place
        .fastness(&[&["create", "--repository", "second"][..], &name].concat())
        .ok();
    let words = [
        "transfer",
        "--source-repository",
        "second",
        "--match-archives",
        "*",
    ];
    let copied = place.fastness(&words).ok();
    assert!(copied.out().contains("Copied one: "), "{copied}");
    let again = place.fastness(&words).ok();
    assert!(again.out().contains("Is there already: one"), "{again}");
    let _ = place.borg(&["check", "--verify-data", "repository"]).ok();
    assert!(place.items("one").len() > 40);
    let refused = place
        .fastness(&["transfer", "--source-repository", "x", "--from-borg1"])
        .exits(1);
    assert!(
        refused.err().contains("repositories of Borg 2"),
        "{refused}"
    );
    let without = place.fastness(&["transfer"]).exits(1);
    assert!(without.err().contains("--source-repository"), "{without}");
}
