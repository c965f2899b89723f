//! `fastness key confirm`: copies that real Borg made, typed in and read from files.

use std::fs;
use std::path::Path;

use fastness_testkit::{Run, Sandbox};
use serde_json::Value;

use crate::borgmatic::Place;

const PASSPHRASE: &str = "words of the configuration";

/// A place with a repository of two archives, whose state is in `state/`.
fn place(mode: &str) -> Place {
    let place = Place::new();
    let path = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let state = place.sandbox.directory("state");
    let state = format!("user_state_directory: {}\n", state.display());
    fs::write(&path, text.replace("repokey-blake2", mode) + &state).unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place.fastness(&["create"]).ok();
    fs::write(place.sandbox.path("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
    place
}

fn confirm(sandbox: &Sandbox, words: &[&str]) -> Run {
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    let run = sandbox.run_of(program).without_env("BORG_PASSPHRASE");
    run.args(["key", "confirm", "--config", "config.yaml"])
        .args(words)
}

/// The files about keys: their number and the last one.
fn remembered(sandbox: &Sandbox) -> (usize, Value) {
    let files = fs::read_dir(sandbox.path("state/fastness/keys"));
    let files: Vec<_> = files
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path())
        .collect();
    let last = files.last().map(|path| fs::read(path).unwrap());
    let last = last.map(|text| serde_json::from_slice(&text).unwrap());
    (files.len(), last.unwrap_or_default())
}

#[test]
fn copies_that_borg_exports_are_proved_and_remembered() {
    for mode in ["repokey-blake2", "keyfile"] {
        let place = place(mode);
        let sandbox = &place.sandbox;
        let _ = place.borg(&["key", "export", "repository", "copy"]);
        let _ = place.borg(&["key", "export", "--paper", "repository", "paper"]);
        let _ = place.borg(&["key", "export", "--qr-html", "repository", "page.html"]);
        for (copy, kind) in [("copy", "file"), ("paper", "paper")] {
            let outcome = confirm(sandbox, &[copy, "--passphrase-file=passphrase"])
                .go()
                .ok();
            assert!(
                outcome.out().contains("Confirmed"),
                "{mode} {copy}: {}",
                outcome.out()
            );
            let (files, remembered) = remembered(sandbox);
            assert_eq!(
                (files, &remembered["confirmed"]["kind"]),
                (1, &Value::from(kind))
            );
            let location = sandbox.path("repository").display().to_string();
            assert_eq!(remembered["location"], location);
        }
        // Nothing but the copy is needed.
        let _ = fs::remove_dir_all(sandbox.path("home/.config/borg/keys"));
        let _ = confirm(sandbox, &["copy", "--passphrase-file=passphrase"])
            .go()
            .ok();
    }
}

#[test]
fn a_key_on_paper_is_typed_in_and_mistakes_are_told_line_by_line() {
    let place = place("keyfile-blake2");
    let _ = place.borg(&["key", "export", "--paper", "repository", "paper"]);
    let paper = fs::read_to_string(place.sandbox.path("paper")).unwrap();
    let paper: Vec<&str> = paper
        .lines()
        .skip_while(|line| !line.starts_with("id:"))
        .collect();
    let mut steps = vec![
        ("id: ", format!("{}\n", paper[0].trim_start_matches("id:"))),
        (" 1: ", "abcdef - 00\n".to_owned()),
        ("line 1 again", String::new()),
    ];
    let lines = paper
        .iter()
        .skip(1)
        .map(|line| line.split_once(':').unwrap());
    let prompts: Vec<String> = (1..paper.len()).map(|n| format!("{n:2}: ")).collect();
    for (prompt, (_, digits)) in prompts.iter().zip(lines) {
        steps.push((prompt, format!("{digits}\n")));
    }
    steps.push(("passphrase for key", "not this one\n".to_owned()));
    steps.push(("passphrase for key", format!("{PASSPHRASE}\n")));
    let steps: Vec<(&str, &str)> = steps
        .iter()
        .map(|(text, typed)| (*text, &**typed))
        .collect();
    let outcome = confirm(&place.sandbox, &[]).in_terminal(&steps).ok();
    assert!(
        outcome.out().contains("the copy (paper)"),
        "{}",
        outcome.out()
    );
    assert!(!outcome.out().contains(PASSPHRASE));
    assert_eq!(remembered(&place.sandbox).1["confirmed"]["kind"], "paper");
}

#[test]
fn what_proves_nothing_is_not_remembered() {
    let place = place("keyfile-blake2");
    let sandbox = &place.sandbox;
    let _ = place.borg(&["key", "export", "--paper", "repository", "paper"]);
    let paper = fs::read_to_string(sandbox.path("paper")).unwrap();
    fs::write(
        sandbox.path("short"),
        paper
            .rsplit_once('\n')
            .unwrap()
            .0
            .rsplit_once('\n')
            .unwrap()
            .0,
    )
    .unwrap();
    fs::write(sandbox.path("wrong"), "something else\n").unwrap();
    fs::write(sandbox.path("text"), "no key\n").unwrap();
    let keys = sandbox.path("home/.config/borg/keys");
    let in_use = fs::read_dir(keys).unwrap().next().unwrap().unwrap().path();
    let in_use = in_use.to_str().unwrap();
    for (words, told) in [
        (&["paper", "--passphrase-file=wrong"][..], "incorrect"),
        (&["short", "--passphrase-file=passphrase"], "is missing"),
        (
            &["text", "--passphrase-file=passphrase"],
            "no copy of a key",
        ),
        (
            &["nowhere", "--passphrase-file=passphrase"],
            "does not exist",
        ),
        (&[in_use, "--passphrase-file=passphrase"], "not a copy"),
        (&["paper", "--passphrase-file=nowhere"], "nowhere: "),
        (&["paper", "--repository=other"], "\"other\""),
        (&["paper", "--config=nowhere"], "nowhere"),
    ] {
        let outcome = confirm(sandbox, words).go().exits(2);
        assert!(outcome.err().contains(told), "{told}: {}", outcome.err());
        assert_eq!(remembered(sandbox).0, 0);
    }
}
