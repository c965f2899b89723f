//! Whole commands, run in this process: what they write, and how they end.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use fastness_borg::console::{Output, Prompt, Streams};
use fastness_borg::environment::{Environment, Secret};

/// Nobody is there.
struct Nobody;

impl Prompt for Nobody {
    fn line(&mut self) -> Option<String> {
        None
    }

    fn secret(&mut self, _prompt: &str) -> Option<Secret> {
        None
    }
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a command ended.
#[must_use]
struct Ended {
    code: u8,
    stdout: String,
    stderr: String,
}

/// A home directory of its own.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Ended {
        let base = self.path().join("base");
        let mut all: Vec<(OsString, OsString)> = vec![
            ("BORG_BASE_DIR".into(), base.into()),
            ("BORG_REPO".into(), self.path().join("repository").into()),
        ];
        all.extend(
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let environment = Environment::from_variables(all, None, 1000);
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let streams = Streams {
            stdout: Output::new(Box::new(stdout.clone())),
            stderr: Box::new(stderr.clone()),
            stderr_columns: None,
            prompt: Box::new(Nobody),
        };
        let words: Vec<OsString> = std::iter::once(&"borg")
            .chain(words)
            .map(OsString::from)
            .collect();
        let code = fastness_borg::run(&words, streams, &environment).code();
        Ended {
            code,
            stdout: stdout.text(),
            stderr: stderr.text(),
        }
    }

    fn ok(&self, words: &[&str]) -> Ended {
        let ended = self.run(words, &[("BORG_PASSPHRASE", "secret")]);
        assert_eq!(ended.code, 0, "{words:?}: {}", ended.stderr);
        ended
    }
}

const MODERN: (&str, &str) = ("BORG_EXIT_CODES", "modern");

#[test]
fn errors_end_with_two_or_with_a_code_of_their_own() {
    let home = Home::new();
    let legacy = home.run(&["list"], &[]);
    assert_eq!(legacy.code, 2);
    let place = home.path().join("repository");
    let expected = format!("Repository {} does not exist.\n", place.display());
    assert_eq!(legacy.stderr, expected);
    assert_eq!(home.run(&["list"], &[MODERN]).code, 13);
    assert_eq!(home.run(&["list", "--no-such-option"], &[MODERN]).code, 2);
}

#[test]
fn a_passphrase_that_nobody_gives_is_an_error_and_not_a_wait() {
    let home = Home::new();
    let ended = home.run(&["init", "-e", "repokey-blake2"], &[MODERN]);
    assert_eq!(ended.code, 50);
    assert!(
        ended.stderr.contains("BORG_PASSPHRASE is not set."),
        "{}",
        ended.stderr
    );
    assert!(
        !home.path().join("repository").exists(),
        "nobody could ever open it"
    );
    let _ = home.ok(&["init", "-e", "repokey-blake2"]);
    let wrong = home.run(&["list"], &[MODERN, ("BORG_PASSPHRASE", "other")]);
    assert_eq!(wrong.code, 52);
}

#[test]
fn every_line_is_json_when_asked_for() {
    let home = Home::new();
    let _ = home.ok(&["init", "-e", "none"]);
    let source = home.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "content").unwrap();
    let source = source.to_str().unwrap();
    let command = [
        "--log-json",
        "create",
        "--list",
        "--progress",
        "-v",
        "--json",
        "--show-rc",
        "::one",
    ];
    let ended = home.ok(&[&command[..], &[source]].concat());
    let types: Vec<String> = ended
        .stderr
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect(line);
            line["type"].as_str().unwrap().to_owned()
        })
        .collect();
    for wanted in [
        "log_message",
        "file_status",
        "archive_progress",
        "progress_message",
    ] {
        assert!(
            types.iter().any(|kind| kind == wanted),
            "{wanted}: {types:?}"
        );
    }
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["archive"]["name"], "one");
    assert_eq!(document["archive"]["stats"]["nfiles"], 1);
    assert_eq!(document["encryption"]["mode"], "none");
    assert!(document["cache"]["stats"]["total_chunks"].as_u64() >= Some(2));
}

#[test]
fn a_missing_source_is_a_warning_and_the_rest_is_stored() {
    let home = Home::new();
    let _ = home.ok(&["init", "-e", "none"]);
    let source = home.path().join("file");
    std::fs::write(&source, "content").unwrap();
    let source = source.to_str().unwrap();
    let ended = home.run(&["create", "::one", "/no/such/file", source], &[MODERN]);
    assert_eq!(ended.code, 107, "{}", ended.stderr);
    assert!(
        ended.stderr.starts_with("/no/such/file: stat: [Errno 2] "),
        "{}",
        ended.stderr
    );
    assert_eq!(home.ok(&["list", "--short"]).stdout, "one\n");
    let path = source.trim_start_matches('/');
    assert_eq!(
        home.ok(&["list", "--short", "::one"]).stdout,
        format!("{path}\n")
    );
}

#[test]
fn a_command_that_fails_leaves_no_archive() {
    let home = Home::new();
    let _ = home.ok(&["init", "-e", "none"]);
    let command = [
        "create",
        "--content-from-command",
        "::bad",
        "--",
        "sh",
        "-c",
        "echo x; exit 7",
    ];
    let ended = home.run(&command, &[]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .ends_with("Command 'sh' exited with status 7\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(home.ok(&["list", "--short"]).stdout, "");
    let good = [
        "create",
        "--content-from-command",
        "--stdin-name",
        "dump.sql",
        "::good",
        "--",
    ];
    let _ = home.ok(&[&good[..], &["sh", "-c", "echo data"]].concat());
    assert_eq!(home.ok(&["extract", "--stdout", "::good"]).stdout, "data\n");
}

#[test]
fn a_dry_run_stores_nothing() {
    let home = Home::new();
    let _ = home.ok(&["init", "-e", "none"]);
    let source = home.path().join("file");
    std::fs::write(&source, "content").unwrap();
    let ended = home.ok(&["create", "-n", "--list", "::one", source.to_str().unwrap()]);
    assert_eq!(ended.stderr, format!("- {}\n", source.display()));
    assert_eq!(home.ok(&["list", "--short"]).stdout, "");
}

#[test]
fn the_exit_code_is_told_when_asked_for() {
    let home = Home::new();
    let ended = home.run(&["--show-rc", "--show-version", "list"], &[]);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.first(), Some(&"borgbackup version 1.4.5"));
    assert_eq!(lines.last(), Some(&"terminating with error status, rc 2"));
}
