//! How bad input and accidents end: Borg's exit code, in both forms, and its message id.
//!
//! Every case starts from the same repository and home. The expected ends are
//! those of Borg 1.4.5; run with it as the candidate, the table proves itself.

use std::fs;
use std::path::{Path, PathBuf};

use fastness_testkit::{Borg, Exit, Outcome, RamDisk, Run, Sandbox, forge, is_root, source_tree};
use serde_json::json;

use crate::{ours, reference};

/// What goes wrong, what is run then, and how it ends.
struct Case {
    name: &'static str,
    arguments: &'static [&'static str],
    /// A variable and its value; without one it is removed.
    environment: &'static [(&'static str, Option<&'static str>)],
    accident: fn(&Sandbox),
    legacy: i32,
    modern: i32,
    /// Empty where Borg reports before it logs.
    message_id: &'static str,
}

const NOTHING: fn(&Sandbox) = |_| {};

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "wrong passphrase", arguments: &["list", "repository"], environment: &[("BORG_PASSPHRASE", Some("wrong"))],
           accident: NOTHING, legacy: 2, modern: 52, message_id: "PassphraseWrong" },
    Case { name: "failing passcommand", arguments: &["list", "repository"],
           environment: &[("BORG_PASSPHRASE", None), ("BORG_PASSCOMMAND", Some("false"))],
           accident: NOTHING, legacy: 2, modern: 51, message_id: "PasscommandFailure" },
    Case { name: "missing key file", arguments: &["list", "keyfile"], environment: &[],
           accident: |sandbox| fs::remove_dir_all(sandbox.path("home/.config/borg/keys")).unwrap(),
           legacy: 2, modern: 42, message_id: "KeyfileNotFoundError" },
    Case { name: "missing key in the repository", arguments: &["list", "repository"], environment: &[],
           accident: |sandbox| edit_config(sandbox, |text| keep_lines(text, |line| !line.starts_with("key =") && !line.starts_with('\t'))),
           legacy: 2, modern: 44, message_id: "RepoKeyNotFoundError" },
    Case { name: "no such repository", arguments: &["list", "nowhere"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 13, message_id: "Repository.DoesNotExist" },
    Case { name: "a directory that is no repository", arguments: &["list", "source"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 15, message_id: "Repository.InvalidRepository" },
    Case { name: "repository of a future version", arguments: &["list", "repository"], environment: &[],
           accident: |sandbox| edit_config(sandbox, |text| text.replace("version = 1", "version = 9")),
           legacy: 2, modern: 16, message_id: "Repository.InvalidRepositoryConfig" },
    Case { name: "config without its section", arguments: &["list", "repository"], environment: &[],
           accident: |sandbox| edit_config(sandbox, |_| String::from("[other]\nversion = 1\n")),
           legacy: 2, modern: 16, message_id: "Repository.InvalidRepositoryConfig" },
    Case { name: "feature of the future", arguments: &["list", "repository"], environment: &[],
           accident: |sandbox| forge::manifest_config(sandbox, &sandbox.path("repository"),
               &json!({"feature_flags": {"read": {"mandatory": ["from-the-future"]}}})),
           legacy: 2, modern: 25, message_id: "MandatoryFeatureUnsupported" },
    Case { name: "no such archive", arguments: &["list", "repository::nothing"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 31, message_id: "Archive.DoesNotExist" },
    Case { name: "archive exists already", arguments: &["create", "repository::one", "source"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 30, message_id: "Archive.AlreadyExists" },
    Case { name: "repository exists already", arguments: &["init", "-e", "none", "repository"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 10, message_id: "Repository.AlreadyExists" },
    Case { name: "init where a directory has files", arguments: &["init", "-e", "none", "source"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 19, message_id: "Repository.PathAlreadyExists" },
    Case { name: "init below a missing directory", arguments: &["init", "-e", "none", "no/such/place"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 18, message_id: "Repository.ParentPathDoesNotExist" },
    Case { name: "moved repository, nobody to ask", arguments: &["list", "moved"], environment: &[],
           accident: |sandbox| fs::rename(sandbox.path("repository"), sandbox.path("moved")).unwrap(),
           legacy: 2, modern: 62, message_id: "Cache.RepositoryAccessAborted" },
    Case { name: "unknown unencrypted repository", arguments: &["list", "stranger"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 60, message_id: "Cache.CacheInitAbortedError" },
    Case { name: "older copy of the repository", arguments: &["list", "repository"], environment: &[],
           accident: replace_by_older_copy, legacy: 2, modern: 64, message_id: "Cache.RepositoryReplay" },
    Case { name: "encryption changed behind our back", arguments: &["list", "repository"], environment: &[],
           accident: change_remembered_key_type, legacy: 2, modern: 61, message_id: "Cache.EncryptionMethodMismatch" },
    Case { name: "flipped bit in file data", arguments: &["extract", "--dry-run", "repository::one"], environment: &[],
           accident: |sandbox| flip_largest_segment(sandbox), legacy: 2, modern: 90, message_id: "IntegrityError" },
    Case { name: "missing source", arguments: &["create", "repository::new", "source", "not-there"], environment: &[],
           accident: NOTHING, legacy: 1, modern: 107, message_id: "BackupFileNotFoundError" },
    Case { name: "pattern that matches nothing", arguments: &["extract", "--dry-run", "repository::one", "no/such/file"], environment: &[],
           accident: NOTHING, legacy: 1, modern: 101, message_id: "IncludePatternNeverMatchedWarning" },
    Case { name: "quota exceeded", arguments: &["create", "repository::new", "source"], environment: &[],
           accident: |sandbox| {
               edit_config(sandbox, |text| text.replace("storage_quota = 0", "storage_quota = 3000000"));
               fs::write(sandbox.path("source/more"), source_tree::Bytes::new(5).random(1_500_000)).unwrap();
           }, legacy: 2, modern: 20, message_id: "Repository.StorageQuotaExceeded" },
    Case { name: "unknown placeholder", arguments: &["create", "repository::{nonsense}", "source"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 6, message_id: "" },
    Case { name: "nothing confirms deleting a repository", arguments: &["delete", "repository"], environment: &[],
           accident: NOTHING, legacy: 2, modern: 3, message_id: "CancelledByUser" },
];

/// The state that every case starts from.
struct Stage {
    sandbox: Sandbox,
}

const TEMPLATES: [&str; 5] = ["home", "repository", "keyfile", "stranger", "source"];

impl Stage {
    fn new() -> Stage {
        let (sandbox, reference) = (Sandbox::new(), reference());
        let source = sandbox.directory("source");
        fs::write(source.join("text"), source_tree::Bytes::new(1).text(40_000)).unwrap();
        fs::write(
            source.join("random"),
            source_tree::Bytes::new(2).random(2_000_000),
        )
        .unwrap();
        let run = |arguments: &[&str]| drop(sandbox.run(&reference, arguments).ok());
        run(&["init", "-e", "repokey-blake2", "repository"]);
        run(&["create", "repository::one", "source"]);
        sandbox.copy(&sandbox.path("repository"), &sandbox.path("older"));
        run(&["create", "repository::two", "source/text"]);
        run(&["init", "-e", "keyfile", "keyfile"]);
        run(&["init", "-e", "none", "stranger"]);
        fs::remove_dir_all(
            sandbox
                .path("home/.config/borg/security")
                .join(id(&sandbox.path("stranger"))),
        )
        .unwrap();
        for name in TEMPLATES {
            sandbox.copy(
                &sandbox.path(name),
                &sandbox.path(format!("{name}.template")),
            );
        }
        Stage { sandbox }
    }

    fn reset(&self) {
        let _ = fs::remove_dir_all(self.sandbox.path("moved"));
        for name in TEMPLATES {
            let _ = fs::remove_dir_all(self.sandbox.path(name));
            self.sandbox.copy(
                &self.sandbox.path(format!("{name}.template")),
                &self.sandbox.path(name),
            );
        }
    }

    fn run(&self, case: &Case, exit_codes: &str) -> Outcome {
        self.reset();
        (case.accident)(&self.sandbox);
        let (command, arguments) = case.arguments.split_first().expect("a command");
        let run = self
            .sandbox
            .command(&ours())
            .args(["--log-json", *command])
            .args(arguments);
        let run = run.env("BORG_EXIT_CODES", exit_codes);
        case.environment
            .iter()
            .fold(run, |run, (name, value)| match value {
                Some(value) => run.env(name, value),
                None => run.without_env(name),
            })
            .go()
    }
}

#[test]
fn accidents_end_with_borgs_exit_code_and_message() {
    let stage = Stage::new();
    let mut problems = Vec::new();
    for case in CASES {
        let modern = stage.run(case, "modern").tidy();
        let legacy = stage.run(case, "legacy").tidy();
        let known = case.message_id.is_empty()
            || modern.message_ids().iter().any(|id| id == case.message_id);
        if modern.exit != Exit::Code(case.modern)
            || legacy.exit != Exit::Code(case.legacy)
            || !known
        {
            problems.push(format!(
                "{}: expected {}/{} {}, legacy {:?}, modern {modern}",
                case.name, case.legacy, case.modern, case.message_id, legacy.exit
            ));
        }
    }
    assert!(
        problems.is_empty(),
        "{} of {} cases:\n{}",
        problems.len(),
        CASES.len(),
        problems.join("\n")
    );
}

#[test]
fn accidents_leave_the_repository_clean() {
    let stage = Stage::new();
    for case in CASES.iter().filter(|case| case.arguments[0] == "create") {
        let _ = stage.run(case, "legacy");
        is_clean(&stage.sandbox, "repository", case.name);
    }
}

#[test]
fn an_unreadable_source_file_is_a_warning_and_the_rest_is_saved() {
    let stage = Stage::new();
    let source = stage.sandbox.path("source/random");
    let create = || {
        stage
            .sandbox
            .command(&ours())
            .args(["create", "--log-json", "repository::new", "source"])
    };
    let run = create().env("BORG_EXIT_CODES", "modern");
    let outcome = run
        .failing(
            "read,pread64,readv,preadv,preadv2",
            "EIO",
            "1+",
            Some(&source),
        )
        .go()
        .exits(106);
    assert!(outcome.err().contains("source/random"), "{outcome}");
    let listed = stage
        .sandbox
        .run(&ours(), &["list", "--short", "repository::new"])
        .ok()
        .lines();
    assert!(listed.contains(&"source/text".to_owned()), "{listed:?}");
    assert!(!listed.contains(&"source/random".to_owned()), "{listed:?}");
    is_clean(&stage.sandbox, "repository", "after EIO in a source file");
}

#[test]
fn a_repository_that_cannot_be_written_stops_the_run_and_commits_nothing() {
    let stage = Stage::new();
    let run = |error: &str, nth: &str, syscalls: &str| {
        stage.reset();
        let run = stage
            .sandbox
            .command(&ours())
            .args(["create", "repository::new", "source"]);
        let outcome = run.failing(syscalls, error, nth, None).go().tidy();
        if outcome.code() == 0 {
            return; // the call that fails was never made
        }
        assert_eq!(outcome.code(), 2, "{error} at {syscalls} {nth}: {outcome}");
        is_clean(
            &stage.sandbox,
            "repository",
            &format!("after {error} at {syscalls} {nth}"),
        );
        let again = stage
            .sandbox
            .run(&ours(), &["create", "repository::again", "source"]);
        let _ = again.ok();
    };
    for nth in ["1+", "2+", "4+"] {
        run("EIO", nth, "fsync,fdatasync");
    }
    for nth in ["1+", "2+"] {
        run("ENOSPC", nth, "?rename,?renameat,renameat2");
    }
}

#[test]
fn a_full_disk_stops_the_run_and_making_room_is_all_it_takes() {
    if !is_root() {
        eprintln!("left out: mounting needs root");
        return;
    }
    let sandbox = Sandbox::new();
    let disk = RamDisk::mount(&sandbox.path("disk"), 24 << 20);
    let source = sandbox.directory("source");
    fs::write(
        source.join("first"),
        source_tree::Bytes::new(1).random(3_000_000),
    )
    .unwrap();
    let ours = ours();
    let run = |borg: &Borg, arguments: &[&str]| sandbox.run(borg, arguments);
    let _ = run(&ours, &["init", "-e", "repokey", "disk/repository"]).ok();
    let _ = run(&ours, &["create", "disk/repository::first", "source"]).ok();
    for seed in 2..9 {
        fs::write(
            source.join(seed.to_string()),
            source_tree::Bytes::new(seed).random(4_000_000),
        )
        .unwrap();
    }
    let full = run(&ours, &["create", "disk/repository::too-much", "source"]).tidy();
    assert_eq!(full.code(), 2, "{full}");
    // Nothing by hand but room: the next run cleans up what the failed one left.
    disk.resize(96 << 20);
    is_clean(&sandbox, "disk/repository", "after a full disk");
    let _ = run(&ours, &["create", "disk/repository::second", "source"]).ok();
    is_clean(&sandbox, "disk/repository", "after the next run");
    let listed = run(&reference(), &["list", "--short", "disk/repository"])
        .ok()
        .lines();
    assert_eq!(listed, ["first", "second"]);
}

/// Official Borg finds no problem, and the archive that was committed first is there.
fn is_clean(sandbox: &Sandbox, repository: &str, about: &str) {
    let run = |arguments: &[&str]| -> Run { sandbox.command(&reference()).args(arguments) };
    let check = run(&["check", repository]).go();
    assert_eq!(check.code(), 0, "{about}: {check}");
    let listed = run(&["list", "--short", repository]).go().ok().lines();
    assert!(
        listed.iter().any(|name| name == "one" || name == "first"),
        "{about}: {listed:?}"
    );
}

fn edit_config(sandbox: &Sandbox, edit: impl Fn(&str) -> String) {
    let path = sandbox.path("repository/config");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, edit(&text)).unwrap();
}

fn keep_lines(text: &str, keep: impl Fn(&str) -> bool) -> String {
    text.lines()
        .filter(|line| keep(line))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn replace_by_older_copy(sandbox: &Sandbox) {
    fs::remove_dir_all(sandbox.path("repository")).unwrap();
    sandbox.copy(&sandbox.path("older"), &sandbox.path("repository"));
}

fn change_remembered_key_type(sandbox: &Sandbox) {
    let directory = sandbox
        .path("home/.config/borg/security")
        .join(id(&sandbox.path("repository")));
    fs::write(directory.join("key-type"), "2").unwrap();
}

fn flip_largest_segment(sandbox: &Sandbox) {
    let segments = fs::read_dir(sandbox.path("repository/data/0"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let largest: PathBuf = segments
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .expect("segments");
    let mut bytes = fs::read(&largest).unwrap();
    let place = 1_000_000;
    bytes[place] ^= 0x10;
    fs::write(&largest, bytes).unwrap();
}

/// Returns the id in a repository's config.
fn id(repository: &Path) -> String {
    let text = fs::read_to_string(repository.join("config")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("id = "))
        .expect("a repository id");
    line.trim().to_owned()
}
