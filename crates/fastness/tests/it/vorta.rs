//! The code of Vorta, a desktop front-end, reads what we say as it reads what Borg says.

use std::fs;
use std::path::Path;

use fastness_testkit::{Borg, Sandbox};
use serde_json::Value;

use crate::{ours, reference};

/// What Vorta made of each of its commands, run with this program.
fn made(borg: &Borg) -> Vec<Value> {
    let sandbox = Sandbox::new();
    let source = sandbox.directory("source");
    fs::write(source.join("file"), "content").unwrap();
    fs::write(source.join("näme"), vec![7; 3_000_000]).unwrap();
    let words = ["init", "-e", "repokey-blake2", "repository"];
    let _ = sandbox.run(&reference(), &words).ok();
    let peers = reference().path().ancestors().nth(3).unwrap().to_owned();
    let python = peers.join("vorta-0.11.6/bin/python");
    assert!(python.exists(), "{}: run scripts/setup", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vorta_jobs.py");
    let run = sandbox.run_of(&python).arg(script).arg(borg.path());
    let document = run.args(["repository", "source"]).go().ok().json();
    document.as_array().unwrap().clone()
}

/// The keys of all objects, in order, without the values.
fn keys(value: &Value) -> Value {
    match value {
        Value::Object(pairs) => pairs
            .iter()
            .map(|(key, value)| (key.clone(), keys(value)))
            .collect(),
        Value::Array(values) => values.iter().map(keys).collect(),
        _ => Value::Null,
    }
}

#[test]
fn vorta_understands_ours_as_it_understands_borg() {
    let (ours, theirs) = (made(&ours()), made(&reference()));
    assert_eq!(ours.len(), 5);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours["code"], theirs["code"], "{ours}\n{theirs}");
        assert_eq!(ours["errors"], theirs["errors"]);
        assert_eq!(keys(&ours["data"]), keys(&theirs["data"]));
        assert_eq!(keys(&ours["stored"]), keys(&theirs["stored"]));
    }
    let created = &ours[1];
    assert_eq!(created["code"], 1, "/nowhere is missing");
    let log = created["log"].to_string();
    assert!(
        log.contains("source/näme (A)") && log.contains("Files: "),
        "{log}"
    );
    assert_eq!(ours[3]["stored"][2]["name"], "first", "{}", ours[3]);
}
