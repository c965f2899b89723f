//! Commands side by side: the same lines given to official Borg and to ours, from the same start,
//! have the same end and print the same.
//!
//! Official Borg closes its standard output when it exports to it, which a process that waits for
//! further runs does not survive: such lines ask for modern exit codes, which get one of their own.

use std::fs;
use std::path::{Path, PathBuf};

use fastness_testkit::golden::Golden;
use fastness_testkit::{Borg, Exit, Outcome, Sandbox, forge, source_tree};

use crate::{ours, reference};

/// What every sequence of lines starts from: a repository with two archives, `one` and `two`.
pub struct Start {
    pub sandbox: Sandbox,
}

/// A line with this setting gets a process of its own.
const ALONE: &str = "BORG_EXIT_CODES=modern";

const KEPT: [&str; 3] = ["home", "repository", "keyfile"];

impl Start {
    pub fn new() -> Start {
        let (sandbox, reference) = (Sandbox::new(), reference());
        let run = |arguments: &[&str]| drop(sandbox.run(&reference, arguments).ok());
        run(&["init", "-e", "repokey-blake2", "repository"]);
        run(&["init", "-e", "keyfile", "keyfile"]);
        first_state(&sandbox.directory("source"));
        run(&["create", "repository::one", "source"]);
        run(&["create", "keyfile::one", "source"]);
        second_state(&sandbox.path("source"));
        run(&["create", "repository::two", "source"]);
        for name in KEPT {
            let template = sandbox.path(format!("{name}.template"));
            sandbox.copy(&sandbox.path(name), &template);
        }
        Start { sandbox }
    }

    /// Puts everything back as it was.
    pub fn reset(&self) {
        let _ = fs::remove_dir_all(self.sandbox.path("plain"));
        for name in KEPT {
            let _ = fs::remove_dir_all(self.sandbox.path(name));
            let template = self.sandbox.path(format!("{name}.template"));
            self.sandbox.copy(&template, &self.sandbox.path(name));
        }
    }

    /// Runs the lines with one program, each ending before the next begins.
    pub fn run(&self, borg: &Borg, lines: &[&str]) -> Vec<Outcome> {
        self.reset();
        lines.iter().map(|line| self.line(borg, line)).collect()
    }

    /// Runs one line: words, `NAME=value` before them.
    pub fn line(&self, borg: &Borg, line: &str) -> Outcome {
        let words = shlex::split(line).expect("a line");
        let is_setting = |word: &&String| word.starts_with("BORG_") && word.contains('=');
        let settings: Vec<&String> = words.iter().take_while(is_setting).collect();
        let run = self
            .sandbox
            .command(borg)
            .args(words.iter().skip(settings.len()));
        let run = settings.iter().fold(run, |run, setting| {
            let (name, value) = setting.split_once('=').expect("name and value");
            run.env(name, value)
        });
        let alone = settings.iter().any(|setting| *setting == ALONE);
        let run = if alone { run.under(["env"]) } else { run };
        run.go().tidy()
    }

    /// Asserts that both programs end the same and print the same.
    pub fn assert_same(&self, lines: &[&str]) {
        let theirs = self.run(&reference(), lines);
        let ours = self.run(&ours(), lines);
        let mut problems = Vec::new();
        for ((line, theirs), ours) in lines.iter().zip(&theirs).zip(&ours) {
            if theirs.exit != ours.exit || theirs.out() != ours.out() {
                problems.push(format!("{line}\nofficial {theirs}\nours {ours}\n"));
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

fn first_state(source: &Path) {
    let path = |name: &str| -> PathBuf { source.join(name) };
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("text"), "one line\n").unwrap();
    fs::write(path("gone"), source_tree::Bytes::new(1).text(5_000)).unwrap();
    fs::write(
        path("folder/big"),
        source_tree::Bytes::new(2).random(3_000_000),
    )
    .unwrap();
    fs::write(path("folder/same"), "never changes\n").unwrap();
    fs::write(path("becomes a folder"), "").unwrap();
    fs::write(path("linked"), "content\n").unwrap();
    fs::hard_link(path("linked"), path("linked too")).unwrap();
    fs::hard_link(path("linked"), path("unlinked later")).unwrap();
    std::os::unix::fs::symlink("text", path("symlink")).unwrap();
    std::os::unix::fs::symlink("text", path("symlink gone")).unwrap();
}

fn second_state(source: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let path = |name: &str| -> PathBuf { source.join(name) };
    fs::write(path("text"), "one line\nand another\n").unwrap();
    fs::remove_file(path("gone")).unwrap();
    fs::write(path("new"), source_tree::Bytes::new(3).text(20_000)).unwrap();
    let mode = fs::Permissions::from_mode(0o4711);
    fs::set_permissions(path("folder/big"), mode).unwrap();
    fs::remove_file(path("becomes a folder")).unwrap();
    fs::create_dir(path("becomes a folder")).unwrap();
    fs::write(path("linked"), "other content\n").unwrap();
    fs::remove_file(path("unlinked later")).unwrap();
    for name in ["symlink", "symlink gone"] {
        fs::remove_file(path(name)).unwrap();
    }
    std::os::unix::fs::symlink("new", path("symlink")).unwrap();
    std::os::unix::fs::symlink("new", path("symlink new")).unwrap();
}

#[test]
fn settings_are_shown_changed_and_refused_as_by_borg() {
    Start::new().assert_same(&[
        "config --list repository",
        "config repository id",
        "config repository nothing",
        "config repository",
        "BORG_EXIT_CODES=modern config repository",
        "config repository append_only 5",
        "config repository append_only 1",
        "config repository append_only",
        "config repository repository.append_only",
        "config repository other.append_only",
        "config repository other.append_only 1",
        "config -d repository append_only",
        "config -d -l repository",
        "config -l repository",
        "config repository append_only",
        "config repository max_segment_size 5000000000",
        "config repository max_segment_size 100M",
        "config repository storage_quota 5M",
        "config repository storage_quota 5G",
        "config repository segments_per_dir many",
        "config repository id 12",
        "config repository version 2",
        "config repository last_segment_checked 4",
        "config -l repository",
        "config -d repository last_segment_checked",
        "config -d repository nothing",
        "config ssh://somewhere/else id",
        "config nowhere id",
        "config --cache repository previous_location",
        "config --cache repository nothing",
        "config --cache repository nothing 1",
        "config --cache --list repository",
        "config --cache repository previous_location /somewhere/else",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes config --cache repository previous_location",
        "config --cache --delete repository previous_location",
        "config --cache repository previous_location",
        "check repository",
    ]);
}

#[test]
fn the_version_is_that_of_borg_for_client_and_server() {
    Start::new().assert_same(&["version", "version nowhere", "BORG_REPO=x version"]);
}

#[test]
fn a_command_under_lock_gives_its_exit_code_and_sees_no_passphrase() {
    let start = Start::new();
    start.assert_same(&[
        "with-lock repository sh -c 'echo $BORG_VERSION:$BORG_PASSPHRASE; exit 3'",
        "with-lock repository true",
        "with-lock repository false",
        "with-lock repository sh -c 'exit 150'",
        "with-lock repository no-such-command",
        "BORG_EXIT_CODES=modern with-lock repository no-such-command",
        "with-lock repository",
        "with-lock nowhere true",
        "with-lock repository printf '%s ' -a --info -- --",
        "with-lock repository -- ls keyfile",
        "with-lock repository ls repository/data/0",
        "list --short repository",
        "check repository",
    ]);
    let inner = "with-lock repository sh -c 'ls -d repository/lock.exclusive'";
    let held = start.line(&ours(), inner).ok();
    assert_eq!(held.out(), "repository/lock.exclusive\n");
    let killed = start.line(&ours(), "with-lock repository sh -c 'kill -9 $$'");
    assert_eq!(killed.exit, Exit::Code(137), "{killed}");
    assert!(!start.sandbox.path("repository/lock.exclusive").exists());
}

#[test]
fn archives_differ_as_by_borg_in_text_json_and_order() {
    Start::new().assert_same(&[
        "diff repository::one two",
        "diff --json-lines repository::one two",
        "diff --content-only repository::one two",
        "diff --content-only --json-lines repository::one two",
        "diff --numeric-ids --same-chunker-params repository::two one",
        "diff repository::one one",
        "diff --sort repository::one two",
        "diff --sort-by path repository::one two",
        "diff --sort-by '>size_diff,path' repository::one two",
        "diff --sort-by '<size,>path' --json-lines repository::one two",
        "diff --sort-by size_added,size_removed,path repository::one two",
        "diff --sort-by user,group,uid,gid,>mtime_diff,>ctime_diff,path repository::one two",
        "diff --sort-by mtime,ctime,path repository::one two",
        "diff --sort-by nothing repository::one two",
        "diff --sort-by '' repository::one two",
        "diff --sort-by path --sort-by size repository::one two",
        "diff repository::one two source/folder",
        "diff repository::one two 'sh:**/big' --exclude sh:source/sym*",
        "diff --exclude source/linked repository::one two",
        "BORG_EXIT_CODES=modern diff repository::one two no/such/path",
        "diff repository::one nothing",
        "diff repository two",
        "diff repository::one other::two",
        "diff repository::one",
    ]);
}

#[test]
fn archives_cut_by_different_rules_are_compared_by_their_bytes() {
    let start = Start::new();
    let create =
        "create --files-cache disabled --chunker-params fixed,65536 repository::fixed source";
    start.assert_same(&[
        create,
        "diff --content-only repository::two fixed",
        "diff --content-only repository::one fixed",
        "diff --content-only --json-lines --sort repository::fixed one",
        "diff --content-only --same-chunker-params --sort repository::two fixed",
    ]);
    let warned = start
        .line(&ours(), "diff --content-only repository::two fixed")
        .ok();
    assert!(
        warned.err().contains("--chunker-params are different"),
        "{warned}"
    );
}

#[test]
fn keys_are_exported_and_imported_as_by_borg() {
    Start::new().assert_same(&[
        "BORG_EXIT_CODES=modern key export repository",
        "BORG_EXIT_CODES=modern key export repository -",
        "BORG_EXIT_CODES=modern key export keyfile",
        "BORG_EXIT_CODES=modern key export --paper repository",
        "BORG_EXIT_CODES=modern key export --paper keyfile",
        "key export repository copy",
        "key export repository source",
        "BORG_EXIT_CODES=modern key export repository source",
        "key import repository copy",
        "BORG_EXIT_CODES=modern key import keyfile copy",
        "BORG_EXIT_CODES=modern key import repository source/text",
        "BORG_EXIT_CODES=modern key import repository no-such-file",
        "key import repository",
        "key import --paper repository copy",
        "key import --paper repository",
        "BORG_EXIT_CODES=modern key export-related-secrets repository -",
        "key export-related-secrets repository",
        "key export nowhere",
        "init -e none plain",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_EXIT_CODES=modern key export plain",
        "BORG_EXIT_CODES=modern key import plain copy",
        "list --short repository",
    ]);
}

#[test]
fn a_key_that_one_program_exported_is_imported_by_the_other() {
    let start = Start::new();
    for (from, to) in [(ours(), reference()), (reference(), ours())] {
        start.reset();
        for repository in ["repository", "keyfile"] {
            let run = |borg: &Borg, line: &str| start.line(borg, &line.replace("REPO", repository));
            let _ = run(&from, "key export REPO copy").ok();
            let paper = run(&from, "BORG_EXIT_CODES=modern key export --paper REPO").ok();
            if repository == "keyfile" {
                fs::remove_dir_all(start.sandbox.path("home/.config/borg/keys")).unwrap();
            } else {
                let _ = run(&reference(), "config REPO repository.id").ok();
                remove_key(&start.sandbox.path("repository/config"));
            }
            let _ = run(&to, "list REPO").exits(2);
            let _ = run(&to, "key import REPO copy").ok();
            let _ = run(&from, "list REPO").ok();
            // The same once more, typed in, with a mistake in the first line.
            let typed: Vec<String> = paper
                .lines()
                .iter()
                .skip(3)
                .map(|line| typed(line))
                .collect();
            let input = format!("1 - 00\n{}\n", typed.join("\n"));
            let arguments = ["key", "import", "--paper", repository];
            let import = start
                .sandbox
                .command(&to)
                .args(arguments)
                .stdin(input.as_bytes());
            let _ = import.go().ok();
            let _ = run(&from, "list REPO").ok();
            let _ = run(&to, "check REPO").ok();
        }
    }
}

/// What is typed of a line of a key on paper.
fn typed(line: &str) -> String {
    line.split_once(':')
        .map_or(line, |(_, digits)| digits)
        .to_owned()
}

fn remove_key(config: &Path) {
    let text = fs::read_to_string(config).unwrap();
    let kept = text
        .lines()
        .filter(|line| !line.starts_with("key =") && !line.starts_with('\t'));
    fs::write(config, kept.collect::<Vec<_>>().join("\n") + "\n").unwrap();
}

#[test]
fn a_printable_key_holds_the_key_and_its_code() {
    let start = Start::new();
    let page = start
        .line(&ours(), "key export --qr-html repository")
        .ok()
        .out();
    let key = start.line(&ours(), "key export repository").ok().out();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(page.contains(&key) && page.contains("<svg"));
}

#[test]
fn related_repositories_are_made_with_secrets_of_the_other_program() {
    let start = Start::new();
    for (from, to, name) in [(ours(), reference(), "a"), (reference(), ours(), "b")] {
        let _ = start
            .line(&from, "key export-related-secrets repository secrets")
            .ok();
        let init = format!("init -e keyfile-blake2 --import-related-secrets secrets {name}");
        let _ = start.line(&to, &init).ok();
        let _ = start.line(&to, &format!("create {name}::x source")).ok();
        let [theirs, own] = ["repository::two", &format!("{name}::x")].map(|archive| {
            let line = format!("debug dump-archive {archive} dumped");
            let _ = start.line(&reference(), &line).ok();
            let dumped = fs::read(start.sandbox.path("dumped")).unwrap();
            let dumped: serde_json::Value = serde_json::from_slice(&dumped).unwrap();
            let big = |item: &&serde_json::Value| item["path"] == "source/folder/big";
            dumped["_items"]
                .as_array()
                .unwrap()
                .iter()
                .find(big)
                .unwrap()["chunks"]
                .clone()
        });
        let ids = |chunks: &serde_json::Value| -> Vec<String> {
            let chunks = chunks.as_array().unwrap().iter();
            chunks.map(|chunk| chunk[0].to_string()).collect()
        };
        assert_eq!(ids(&theirs), ids(&own));
    }
}

#[test]
fn a_repository_in_passphrase_mode_becomes_one_in_repokey_mode() {
    let sandbox = Sandbox::new();
    let golden = Golden::unpack(&sandbox, "repositories", "v14-passphrase-premigration");
    let run = |borg: &Borg, command: &[&str]| {
        let run = golden.prepare(sandbox.command(borg)).args(command);
        run.arg(golden.repository()).go().tidy()
    };
    let _ = run(&reference(), &["list"]).exits(2);
    let _ = run(&ours(), &["key", "migrate-to-repokey"]).ok();
    let _ = run(&reference(), &["list"]).ok();
}

#[test]
fn dumps_of_a_repository_are_those_of_borg() {
    let start = Start::new();
    start.assert_same(&[
        "debug dump-manifest repository manifest.json",
        "debug dump-archive repository::two archive.json",
        "debug dump-archive repository::nothing archive.json",
        "BORG_EXIT_CODES=modern debug dump-archive repository::one -",
        "BORG_EXIT_CODES=modern debug dump-manifest repository -",
        "debug dump-archive-items repository::one",
        "debug id-hash repository source/text",
        "debug put-obj repository 00 source/text",
        "BORG_EXIT_CODES=modern debug put-obj repository zz source/text",
        "debug search-repo-objs repository 'str:one line\n'",
        "debug search-repo-objs repository hex:736f7572",
        "debug search-repo-objs repository nothing",
        "debug dump-repo-objs repository",
        "debug dump-repo-objs --ghost keyfile",
        "debug dump-repo-objs --ghost --segment 3 --offset 8 repository",
        "debug delete-obj repository 12",
        "debug refcount-obj repository 12",
        "debug get-obj repository 12 object",
        "check repository",
    ]);
    for borg in [reference(), ours()] {
        start.reset();
        let _ = start
            .line(&borg, "debug dump-hints repository hints.json")
            .ok();
        let hints = start.sandbox.path("hints.json");
        fs::rename(hints, start.sandbox.path(format!("{}.hints", borg.label()))).unwrap();
    }
    let [theirs, ours] = [reference(), ours()].map(|borg| -> serde_json::Value {
        let path = start.sandbox.path(format!("{}.hints", borg.label()));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    });
    assert_eq!(theirs, ours);
}

#[test]
fn objects_are_put_read_counted_and_deleted_one_by_one() {
    let start = Start::new();
    let id = "a5".repeat(32);
    let line = |line: &str| line.replace("ID", &id);
    let lines = [
        "debug put-obj repository ID source/text",
        "debug get-obj repository ID object",
        "debug refcount-obj repository ID 12",
        "debug delete-obj repository ID ID 12",
        "debug get-obj repository ID object",
        "BORG_EXIT_CODES=modern debug get-obj repository ID object",
        "debug delete-obj repository ID",
    ]
    .map(line);
    start.assert_same(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let text = fs::read(start.sandbox.path("source/text")).unwrap();
    assert_eq!(fs::read(start.sandbox.path("object")).unwrap(), text);
    let info = start.line(&ours(), "debug info").ok().out();
    assert!(info.contains("CRC implementation"), "{info}");
}

#[test]
fn authentication_is_required_checked_and_given_up_as_by_borg() {
    let start = Start::new();
    start.assert_same(&[
        "upgrade --check-tam repository",
        "upgrade --tam repository",
        "upgrade --check-archives-tam repository",
        "upgrade --archives-tam repository",
        "upgrade --disable-tam repository",
        "upgrade --check-tam repository",
        "BORG_EXIT_CODES=modern upgrade --check-tam repository",
        "upgrade --tam repository",
        "upgrade --check-tam repository",
        "upgrade --disable-tam keyfile",
        "upgrade --tam keyfile",
        "upgrade --tam nowhere",
        "list --short repository",
        "check repository",
    ]);
    // What one program gave up, the other requires again.
    for (one, other) in [(ours(), reference()), (reference(), ours())] {
        let _ = start.line(&one, "upgrade --disable-tam repository").ok();
        let _ = start
            .line(&other, "upgrade --check-tam repository")
            .exits(1);
        let _ = start.line(&other, "upgrade --tam repository").ok();
        let _ = start.line(&one, "upgrade --check-tam repository").ok();
    }
}

#[test]
fn archives_of_older_versions_get_authentication() {
    let start = Start::new();
    start.reset();
    forge::untagged(&start.sandbox, &start.sandbox.path("repository"), &["one"]);
    let run = |borg: &Borg, option: &str| start.line(borg, &format!("upgrade {option} repository"));
    let missing = run(&ours(), "--check-archives-tam").exits(1).out();
    let theirs = run(&reference(), "--check-archives-tam").exits(1).out();
    assert_eq!(missing, theirs);
    assert!(missing.contains("Archive TAM missing: one"), "{missing}");
    let added = run(&ours(), "--archives-tam").ok().out();
    let end = "Fixed 1 archives with TAM issues!\nAll archives are TAM authenticated now.\n";
    assert!(
        added.contains("Added archive TAM:   one") && added.ends_with(end),
        "{added}"
    );
    let present = run(&reference(), "--check-archives-tam").ok().out();
    assert!(!present.contains("missing"), "{present}");
    let _ = start
        .line(&reference(), "check --verify-data repository")
        .ok();
    let _ = start
        .line(&reference(), "extract --dry-run repository::one")
        .ok();
}

#[test]
fn a_benchmark_measures_and_leaves_nothing_behind() {
    let start = Start::new();
    let shape = |borg: &Borg| {
        start.reset();
        let run = start
            .sandbox
            .command(borg)
            .env("_BORG_BENCHMARK_CRUD_TEST", "yes");
        let out = run
            .args(["benchmark", "crud", "repository", "bench"])
            .go()
            .ok()
            .out();
        let _ = fs::remove_dir(start.sandbox.path("bench"));
        assert!(!start.sandbox.path("bench").exists(), "something is left");
        out.replace(|digit: char| digit.is_ascii_digit(), "0")
    };
    assert_eq!(shape(&ours()), shape(&reference()));
    let archives = start.line(&ours(), "list --short repository").ok().lines();
    assert_eq!(archives, ["one", "two"]);
}

#[test]
fn arguments_that_cannot_be_are_refused_in_borgs_words() {
    let start = Start::new();
    for line in [
        "create --files-changed nonsense repository::x source",
        "prune --keep-13weekly 1 --keep-3monthly 1 repository",
        "config -d -l repository",
        "rename repository::one",
        "diff --sort-by path --sort-by size repository::one two",
    ] {
        let [theirs, ours] = [reference(), ours()].map(|borg| {
            let said = start.line(&borg, line).exits(2).err();
            said.trim_end()
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned()
        });
        assert_eq!(theirs, ours, "{line}");
    }
}
