//! The whole command line of real Borg, beside ours and beside `docs/parity.md`.
//!
//! The lists of commands, options and variables come from Borg itself, so that nothing is missed
//! because nobody thought of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fastness_borg::commands::COMMANDS;
use fastness_testkit::{Exit, Run, Sandbox};
use serde_json::Value;

use crate::{ours, reference};

/// What Borg says of itself.
fn borgs_list() -> Value {
    let sandbox = Sandbox::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/parity.py");
    sandbox
        .run_of(&reference().python())
        .arg(script)
        .go()
        .ok()
        .json()
}

/// The names in the first column of each table of `docs/parity.md`, by heading, with the rest of
/// the row.
fn table() -> BTreeMap<String, BTreeMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/parity.md");
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.trim_matches('`').to_owned();
            sections.entry(heading.clone()).or_default();
        } else if let Some((first, rest)) = line
            .strip_prefix("| `")
            .and_then(|row| row.split_once(" |"))
        {
            let rows = sections.get_mut(&heading).unwrap();
            for name in first.split(", ") {
                let name = name.trim_matches('`').to_owned();
                assert!(
                    rows.insert(name, rest.to_owned()).is_none(),
                    "{heading}: {first} twice"
                );
            }
        }
    }
    sections
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().unwrap();
    values
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

/// Names of options and whether they take a value, as our parser knows them.
fn our_options(words: &[String]) -> Option<BTreeMap<String, bool>> {
    let entry = COMMANDS.iter().find(|entry| entry.words == words)?;
    let mut options = BTreeMap::new();
    for option in entry.command().get_arguments() {
        let takes_value = option.get_action().takes_values();
        let long = option
            .get_long()
            .into_iter()
            .chain(option.get_all_aliases().unwrap_or_default());
        options.extend(long.map(|name| (format!("--{name}"), takes_value)));
        options.extend(
            option
                .get_short()
                .map(|name| (format!("-{name}"), takes_value)),
        );
    }
    Some(options)
}

#[test]
fn every_command_and_option_of_borg_is_known_and_in_the_table() {
    let list = borgs_list();
    let table = table();
    let common = &table["Options of all commands"];
    let absent = &table["Not here"];
    let mut commands = BTreeSet::new();
    for command in list["commands"].as_array().unwrap() {
        let words = texts(&command["words"]);
        let title = format!("borg {}", words.join(" "));
        if absent.contains_key(&title) {
            assert!(our_options(&words).is_none(), "{title} is here");
            continue;
        }
        let ours = our_options(&words).unwrap_or_else(|| panic!("{title} is missing"));
        let rows = table
            .get(&title)
            .unwrap_or_else(|| panic!("{title} is not in the table"));
        let mut told: BTreeSet<&String> = rows.keys().collect();
        let mut names = Vec::new();
        for option in command["options"].as_array().unwrap() {
            for name in texts(&option["names"]) {
                let takes_value = option["takes_value"] == true;
                assert_eq!(ours.get(&name), Some(&takes_value), "{title} {name}");
                let known = told.remove(&name) || common.contains_key(&name);
                assert!(known, "{title} {name} is not in the table");
                names.push(name);
            }
        }
        assert!(
            told.is_empty(),
            "in the table, but not in Borg: {title} {told:?}"
        );
        for shown in texts(&command["shown"]) {
            assert!(names.contains(&shown), "{title} --help shows {shown}");
        }
        commands.insert(title);
    }
    assert!(commands.len() >= 40, "{commands:?}");
    let more = &table["Only here"];
    for entry in COMMANDS {
        let title = entry.title();
        assert!(
            commands.contains(&title) != more.contains_key(&title),
            "{title} is not one of Borg's, or told to be only here"
        );
    }
}

#[test]
fn every_variable_of_borg_is_in_the_table() {
    let list = borgs_list();
    let table = table();
    let rows = &table["Environment variables"];
    let variables = texts(&list["variables"]);
    assert!(variables.len() > 30, "{variables:?}");
    for name in variables {
        assert!(rows.contains_key(&name), "{name} is not in the table");
    }
}

/// Runs a command line in a sandbox of its own, with a repository and an archive in it.
struct Pair {
    sandbox: Sandbox,
}

impl Pair {
    fn new() -> Pair {
        let sandbox = Sandbox::new();
        let source = sandbox.directory("source");
        fs::write(source.join("file"), "content").unwrap();
        let _ = sandbox
            .run(&reference(), &["init", "-e", "none", "repository"])
            .ok();
        let _ = sandbox
            .run(&reference(), &["create", "repository::a", "source"])
            .ok();
        let _ = sandbox
            .run(&reference(), &["create", "repository::b", "source"])
            .ok();
        Pair { sandbox }
    }

    fn runs(&self, words: &[&str]) -> [Run; 2] {
        [ours(), reference()].map(|borg| {
            let run = self.sandbox.command(&borg);
            run.env("BORG_EXIT_CODES", "modern").args(words)
        })
    }
}

#[test]
fn mistakes_in_arguments_are_told_as_borg_tells_them() {
    let pair = Pair::new();
    for line in [
        "list --js repository",
        "list --nosuch repository",
        "--sho list",
        "list --first 0 repository",
        "list -a x -P y repository",
        "frobnicate",
        "key frobnicate",
        "rename repository::a",
        "prune repository",
        "recreate --recompress sometimes repository",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let [ours, theirs] = pair.runs(&words).map(Run::go);
        assert_eq!(ours.exit, theirs.exit, "{line}");
        // The choices are in another order.
        let last = |text: String| {
            text.lines()
                .last()
                .unwrap()
                .split(" (choose")
                .next()
                .unwrap()
                .to_owned()
        };
        assert_eq!(last(ours.err()), last(theirs.err()), "{line}");
    }
}

#[test]
fn failures_have_the_ids_and_texts_of_borgs_in_json() {
    let pair = Pair::new();
    for line in [
        "list nowhere",
        "list repository::nosuch",
        "info repository::nosuch",
        "create repository::a source",
        "create repository::{pid}-1 nosuch",
        "create --list repository::{pid}-2 nosuch source",
        "rename repository::a b",
        "rename repository::nosuch c",
        "extract repository::nosuch",
        "extract --dry-run repository::a nosuch",
        "diff repository::a nosuch",
        "init -e none repository",
        "init -e none no/such/parent",
        "config repository nosuch",
        "delete repository::nosuch",
        "key export repository",
        "key change-passphrase repository",
        "export-tar repository::nosuch -",
        "recreate repository::nosuch",
        "check repository::nosuch",
        "mount nowhere source",
        "upgrade nowhere",
        "compact nowhere",
    ] {
        let words: Vec<&str> = ["--log-json"].into_iter().chain(line.split(' ')).collect();
        let [ours, theirs] = pair.runs(&words).map(Run::go);
        assert_eq!(
            ours.exit,
            theirs.exit,
            "{line}\n{}\n{}",
            ours.err(),
            theirs.err()
        );
        assert_eq!(told(&ours.err()), told(&theirs.err()), "{line}");
    }
}

/// What a program that reads the log sees, without what changes from run to run.
fn told(log: &str) -> Vec<(String, Value, Value, Value)> {
    let lines = log
        .lines()
        .map(|line| match serde_json::from_str::<Value>(line) {
            Ok(line) => line,
            // Mistakes in arguments are no JSON, and only the last line counts.
            Err(_) => Value::Null,
        });
    let of_line = |line: Value| {
        (
            line["type"].as_str().unwrap_or_default().to_owned(),
            line["levelname"].clone(),
            line["msgid"].clone(),
            if line["type"] == "file_status" {
                line.clone()
            } else {
                line["message"].clone()
            },
        )
    };
    lines
        .map(of_line)
        .filter(|(kind, ..)| !kind.is_empty())
        .collect()
}

#[test]
fn roots_that_patterns_name_are_paths_of_stored_items_too() {
    let pair = Pair::new();
    let other = pair.sandbox.directory("other");
    fs::write(other.join("file"), "content").unwrap();
    let _ = pair
        .sandbox
        .run(
            &reference(),
            &["create", "repository::two", "source", "other"],
        )
        .ok();
    fs::write(pair.sandbox.path("patterns"), "R source\n- **/none\n").unwrap();
    for command in [
        &[
            "list",
            "--short",
            "--patterns-from",
            "patterns",
            "repository::two",
        ][..],
        &[
            "list",
            "--short",
            "repository::two",
            "other",
            "--patterns-from",
            "patterns",
        ],
        &[
            "recreate",
            "-n",
            "--list",
            "--patterns-from",
            "patterns",
            "repository::two",
        ],
        &[
            "extract",
            "-n",
            "--list",
            "--pattern",
            "R source",
            "repository::two",
        ],
    ] {
        let [ours, theirs] = pair.runs(command).map(|run| run.go().ok());
        assert_eq!(ours.out(), theirs.out(), "{command:?}");
        assert_eq!(ours.err(), theirs.err(), "{command:?}");
        assert!(ours.out().contains("source") || ours.err().contains("source"));
    }
}

#[test]
fn groups_tell_the_options_of_all_commands() {
    let pair = Pair::new();
    for words in [
        &["--help"][..],
        &["key", "--help"],
        &["debug"],
        &["benchmark", "-h"],
    ] {
        let [ours, _] = pair.runs(words);
        let text = ours.go().ok().out();
        for option in ["--lock-wait", "--remote-path", "--log-json", "--show-rc"] {
            assert!(text.contains(option), "{words:?}: {text}");
        }
    }
}

/// What Python's own reader of profiles finds: functions called, with how often and how long.
fn read_profile(sandbox: &Sandbox, path: &str) -> Value {
    let script = "import json, pstats, sys\n\
        stats = pstats.Stats(sys.argv[1]).strip_dirs().sort_stats('cumtime').stats\n\
        print(json.dumps({name: [calls, total, [c[2] for c in callers]] \
        for (_, _, name), (_, calls, _, total, callers) in stats.items()}))";
    sandbox
        .run_of(&reference().python())
        .args(["-c", script, path])
        .go()
        .ok()
        .json()
}

#[test]
fn profiles_are_read_by_the_tools_that_read_borgs() {
    let pair = Pair::new();
    let sandbox = &pair.sandbox;
    let [create, _] = pair.runs(&["create", "--debug-profile=own", "repository::c", "source"]);
    let _ = create.go().ok();
    let [check, _] = pair.runs(&["check", "--debug-profile", "own.pyprof", "repository"]);
    let _ = check.go().ok();
    for (run, name) in pair
        .runs(&["debug", "convert-profile", "own", "created.pyprof"])
        .into_iter()
        .zip(["ours", "theirs"])
    {
        let _ = run.go().ok();
        let stages = read_profile(sandbox, "created.pyprof");
        assert_eq!(stages["command"][0], 1, "{name}: {stages}");
        assert_eq!(
            stages["create"][2],
            serde_json::json!(["command"]),
            "{name}"
        );
        let [inner, outer] = ["create", "command"].map(|stage| stages[stage][1].as_f64().unwrap());
        assert!(0.0 < inner && inner <= outer, "{name}: {stages}");
        for stage in ["walk", "hash", "append", "commit", "sync"] {
            assert!(
                stages[stage][0].as_u64() > Some(0),
                "{name}: {stage}: {stages}"
            );
        }
    }
    assert_eq!(read_profile(sandbox, "own.pyprof")["check_segments"][0], 1);
}

#[test]
fn what_is_no_profile_is_refused() {
    let pair = Pair::new();
    let sandbox = &pair.sandbox;
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("cut", b"\x82\xa1a"),
        ("number", b"\x01"),
        ("more", b"\x80\x80"),
    ] {
        fs::write(sandbox.path(name), bytes).unwrap();
        let [ours, _] = pair.runs(&["debug", "convert-profile", name, "output"]);
        let outcome = ours.go();
        assert_eq!(outcome.exit, Exit::Code(2), "{outcome}");
        assert!(
            outcome.err().contains(&format!("{name}: not a profile")),
            "{outcome}"
        );
        assert!(!sandbox.path("output").exists(), "{name}");
    }
    let [ours, _] = pair.runs(&["list", "--debug-profile", "no/where", "repository"]);
    let outcome = ours.go();
    assert_eq!(outcome.exit, Exit::Code(2), "{outcome}");
    assert!(outcome.err().contains("no/where"), "{outcome}");
    assert!(outcome.out().is_empty(), "{outcome}");
}

#[test]
fn a_check_of_nothing_ends_as_borgs_and_says_so() {
    let pair = Pair::new();
    let words = [
        "check",
        "--repository-only",
        "--archives-only",
        "repository",
    ];
    let [ours, theirs] = pair.runs(&words).map(Run::go);
    assert_eq!(ours.exit, theirs.exit, "{ours}");
    assert!(ours.err().contains("nothing was checked"), "{ours}");
}
