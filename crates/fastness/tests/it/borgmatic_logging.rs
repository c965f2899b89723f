//! Log files and records as JSON, beside those of the real borgmatic.

use std::fs;
use std::path::Path;

use fastness_testkit::Outcome;
use serde_json::Value;

use crate::borgmatic::Place;

const HOOK: &str =
    "commands: [{before: action, run: ['echo a word of the hook', 'echo warning: careful >&2']}]\n";

/// A place with a repository and a hook that says something.
fn place() -> Place {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let config = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&config).unwrap() + HOOK;
    fs::write(config, text).unwrap();
    place
}

/// Runs both programs, ours first, and returns what each left in its log file.
fn logs(place: &Place, arguments: &[&str], exit: i32) -> [String; 2] {
    let run = |name: &str, run: &dyn Fn(&[&str]) -> Outcome| {
        let path = place.sandbox.path(name);
        let file = ["--log-file", path.to_str().unwrap()];
        let _ = run(&[arguments, &file].concat()).exits(exit);
        fs::read_to_string(path).unwrap()
    };
    [
        run("ours.log", &|words| place.fastness(words)),
        run("theirs.log", &|words| place.borgmatic(words)),
    ]
}

#[test]
fn a_log_file_has_the_lines_of_borgmatics() {
    let place = place();
    let config = place.sandbox.path("config.yaml");
    let config = config.to_str().unwrap();
    let format = ["--log-file-format", "{levelname:<7}|{prefix}{message}"];
    for log in logs(&place, &[&["create"][..], &format].concat(), 0) {
        for line in [
            "ANSWER |a word of the hook",
            "WARNING|warning: careful",
            "INFO   |local: Creating archive",
            "INFO   |summary:",
            &format!("INFO   |{config}: Successfully ran configuration file"),
        ] {
            assert!(log.lines().any(|one| one == line), "{line}: {log}");
        }
    }
    let failing = [
        "create",
        "--source-directories",
        "[/does/not/exist]",
        "--log-file-verbosity",
        "-1",
    ];
    for log in logs(&place, &[&failing[..], &format].concat(), 1) {
        let new = log.rsplit("Successfully").next().unwrap();
        assert!(
            new.contains("CRITICAL|local: Error running actions for repository\n"),
            "{log}"
        );
        assert!(!new.contains("\nINFO") && !new.contains("WARNING"), "{new}");
    }
}

#[test]
fn lines_begin_with_time_and_level_unless_asked_otherwise() {
    for log in logs(&place(), &["create"], 0) {
        let line = log
            .lines()
            .find(|line| line.ends_with("a word of the hook"))
            .unwrap();
        // [2026-11-23 04:38:11,123] ANSWER: a word of the hook
        let (time, rest) = line.split_at_checked(25).unwrap();
        assert_eq!(rest, " ANSWER: a word of the hook");
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "[0000-00-00 00:00:00,000]");
    }
}

#[test]
fn records_are_json_on_the_terminal_and_in_the_file_when_asked_for() {
    let place = place();
    let path = place.sandbox.path("log");
    let log = ["--log-file", path.to_str().unwrap(), "--log-json"];
    let arguments = [&["create", "--stats", "--verbosity", "1"][..], &log].concat();
    assert_json(&place.fastness(&arguments).ok(), &path);
    assert_json(&place.borgmatic(&arguments).ok(), &path);
}

/// The terminal and the log file got records, and nothing else.
fn assert_json(run: &Outcome, path: &Path) {
    let file = fs::read_to_string(path).unwrap();
    fs::remove_file(path).unwrap();
    for text in [run.out() + &run.err(), file] {
        let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let records: Vec<Value> = records.collect();
        for (level, message) in [
            ("ANSWER", "a word of the hook"),
            ("INFO", "Creating archive"),
            ("INFO", "summary:"),
        ] {
            // borgmatic gives what a command says no name.
            let known = records.iter().any(|record| {
                record["type"] == "log_message"
                    && record["levelname"] == level
                    && record["message"] == message
                    && record["time"].is_number()
                    && (level == "ANSWER" || record["name"].is_string())
            });
            assert!(known, "{level} {message}: {text}");
        }
    }
}

#[test]
fn logs_that_cannot_be_kept_are_told_before_anything_runs() {
    let place = place();
    let nowhere = ["create", "--log-file", "/does/not/exist/log"];
    for run in [place.fastness(&nowhere), place.borgmatic(&nowhere)] {
        let told = run.exits(1).err();
        assert!(told.contains("Error configuring logging: "), "{told}");
        assert!(told.contains("/does/not/exist/log"), "{told}");
    }
    let other = place.sandbox.path("other.yaml");
    fs::write(&other, "repositories: [{path: /x}]\nlog_file: /tmp/b\n").unwrap();
    let config = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&config).unwrap() + "log_file: /tmp/a\n";
    fs::write(config, text).unwrap();
    let both = ["--config", other.to_str().unwrap(), "create"];
    for run in [place.fastness(&both), place.borgmatic(&both)] {
        let told = run.exits(1).err();
        assert!(
            told.contains("The log_file option has conflicting values"),
            "{told}"
        );
    }
    assert_eq!(place.borg(&["list", "repository"]).lines().len(), 0);
    let format = ["config", "validate", "--log-file-format", "{nonsense}"];
    let told = place.fastness(&format).exits(1).err();
    assert!(
        told.contains("\"log_file_format\": names {nonsense}"),
        "{told}"
    );
}
