//! What is remembered of runs, and what is told of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::borgmatic::Place;

/// The files of one kind where runs are remembered.
fn remembered(place: &Place, ending: &str) -> Vec<PathBuf> {
    let directory = place.sandbox.path("state/fastness/runs");
    let entries = fs::read_dir(directory).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    paths
}

fn record(place: &Place) -> Value {
    let files = remembered(place, "json");
    let [file] = files.as_slice() else {
        panic!("{files:?}");
    };
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A place whose state has a directory of its own, with a database.
fn place() -> Place {
    let place = Place::new();
    let top = place.sandbox.root().to_str().unwrap().to_owned();
    let made = Command::new("sqlite3")
        .arg(place.sandbox.path("shop.db"))
        .arg("create table goods (name text); insert into goods values ('tea')")
        .status();
    assert!(made.unwrap().success());
    let config = place.sandbox.path("config.yaml");
    let mut text = fs::read_to_string(&config).unwrap();
    text += &format!(
        "user_state_directory: {top}/state\nsqlite_databases:\n    - {{name: shop, path: {top}/shop.db}}\n"
    );
    fs::write(&config, text).unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    place
}

#[test]
fn a_run_is_remembered_with_sizes_databases_and_checks() {
    let place = place();
    assert!(remembered(&place, "json").is_empty());
    let _ = place.fastness(&["create", "--dry-run"]).ok();
    assert!(remembered(&place, "json").is_empty(), "nothing was done");
    let run = place
        .fastness(&["create", "prune", "compact", "check"])
        .ok();
    assert_eq!(run.out() + &run.err(), "");
    let record = record(&place);
    let archive = &record["archive"];
    let told = place.borg(&["info", "--json", "--last", "1", "repository"]);
    let told = told.json();
    let [borgs] = told["archives"].as_array().unwrap().as_slice() else {
        panic!("{told}");
    };
    assert_eq!(archive["name"], borgs["name"]);
    assert_eq!(archive["id"], borgs["id"]);
    for (ours, theirs) in [
        ("files", "nfiles"),
        ("original_bytes", "original_size"),
        ("compressed_bytes", "compressed_size"),
        ("deduplicated_bytes", "deduplicated_size"),
    ] {
        assert_eq!(archive[ours], borgs["stats"][theirs], "{ours}");
    }
    let stored = &told["cache"]["stats"]["unique_csize"];
    assert_eq!(&archive["repository_bytes"], stored);
    assert_eq!(record["repository"]["id"], told["repository"]["id"]);
    assert_eq!(record["repository"]["label"], "local");
    let database = &record["databases"]["sqlite_databases/localhost/shop"];
    assert!(database["bytes"].as_u64().unwrap() > 20, "{database}");
    assert!(database["last_success"].is_string());
    for action in ["create", "prune", "compact", "check"] {
        assert!(
            record["actions"][action]["last_success"].is_string(),
            "{action}"
        );
    }
    assert!(record["checks"]["repository"].is_string());
    assert!(record["checks"]["archives"].is_string());
    let pruned = &record["last_run"]["actions"][1]["pruned"];
    assert_eq!(pruned["kept"], 1, "{record}");
    assert_eq!(record["running"], Value::Null);
}

#[test]
fn a_failure_is_remembered_by_its_kind_beside_the_last_success() {
    let place = place();
    let _ = place.fastness(&["create"]).ok();
    let before = record(&place);
    fs::rename(place.sandbox.path("shop.db"), place.sandbox.path("gone.db")).unwrap();
    let _ = place.fastness(&["create", "prune"]).exits(1);
    let after = record(&place);
    assert_eq!(after["archive"], before["archive"]);
    let database = &after["databases"]["sqlite_databases/localhost/shop"];
    assert!(
        database["error"]
            .as_str()
            .unwrap()
            .contains("there is no file")
    );
    assert_eq!(
        database["last_success"],
        before["databases"]["sqlite_databases/localhost/shop"]["last_success"]
    );
    assert_eq!(after["actions"]["create"]["failures"], 1);
    assert_eq!(after["last_run"]["actions"][1]["outcome"], "not_done");
    fs::rename(place.sandbox.path("repository"), place.sandbox.path("away")).unwrap();
    let _ = place.fastness(&["create"]).exits(1);
    let gone = record(&place);
    assert_eq!(gone["failures"]["kinds"]["repository"], 1, "{gone}");
    assert_eq!(gone["last_run"]["error"]["exit_code"], 13);
    assert_eq!(gone["repository"]["id"], before["repository"]["id"]);
    let history = fs::read_to_string(&remembered(&place, "jsonl")[0]).unwrap();
    assert_eq!(history.lines().count(), 3);
}

#[test]
fn no_backup_fails_because_it_cannot_be_remembered() {
    let place = place();
    fs::create_dir_all(place.sandbox.path("state/fastness")).unwrap();
    fs::write(place.sandbox.path("state/fastness/runs"), "in the way").unwrap();
    let told = place.fastness(&["create"]).ok().err();
    assert!(told.contains("cannot be remembered"), "{told}");
    let list = place.borg(&["list", "--short", "repository"]).lines();
    assert_eq!(list.len(), 1);
}

#[test]
fn a_hook_before_all_repositories_that_fails_is_remembered_for_each() {
    let place = place();
    let config = place.sandbox.path("config.yaml");
    let mut text = fs::read_to_string(&config).unwrap();
    text += "commands:\n    - {before: configuration, run: [exit 3]}\n";
    fs::write(&config, text).unwrap();
    let _ = place.fastness(&["create"]).exits(1);
    let record = record(&place);
    assert_eq!(record["failures"]["kinds"]["hook"], 1);
    assert_eq!(record["last_run"]["actions"][0]["outcome"], "not_done");
    let file = &remembered(&place, "json")[0];
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn status_tells_people_programs_and_monitoring_how_repositories_stand() {
    let place = place();
    let config = place.sandbox.path("config.yaml");
    let status = |more: &[&str]| {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_fastness"));
        let run = place.sandbox.run_of(program).args(["status", "--config"]);
        run.arg(&config).args(more).go()
    };
    let told = status(&[]).exits(2).out();
    assert!(told.contains("no archive was made yet"), "{told}");
    let _ = place.fastness(&["create", "check"]).ok();
    // Nobody has a copy of the key.
    let told = status(&[]).exits(1).out();
    for part in [
        "REPOSITORY",
        "local",
        "warning",
        "seconds ago",
        "key confirm",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = status(&["--json"]).exits(1).out();
    let told: Value = serde_json::from_str(&told).unwrap();
    let standing = &told["repositories"][0];
    assert_eq!(standing["health"], "warning");
    assert_eq!(standing["findings"][0]["kind"], "key");
    assert_eq!(standing["repository"]["encryption"], "repokey-blake2");
    assert!(standing["checks"]["archives"]["last"].is_string());
    assert_eq!(standing["archive"], record(&place)["archive"]);
    let said = status(&["--repository", "nobody"]).exits(3).err();
    assert!(said.contains("\"nobody\" not found"), "{said}");
    fs::write(&config, "repositories: [{path: /a}]\nwrong: 1\n").unwrap();
    let said = status(&[]).exits(3).err();
    assert!(said.contains("wrong"), "{said}");
}

#[test]
fn checks_by_borgmatic_count_in_the_status_too() {
    let place = place();
    let _ = place.fastness(&["create"]).ok();
    let _ = place.borgmatic(&["check"]).ok();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_fastness"));
    let run = place
        .sandbox
        .run_of(program)
        .args(["status", "--json", "--config"]);
    let told = run
        .arg(place.sandbox.path("config.yaml"))
        .go()
        .exits(1)
        .out();
    let told: Value = serde_json::from_str(&told).unwrap();
    let checks = &told["repositories"][0]["checks"];
    for name in ["repository", "archives"] {
        assert!(checks[name]["last"].is_string(), "{checks}");
    }
}

#[test]
fn each_run_writes_the_files_for_those_who_watch() {
    let place = place();
    let top = place.sandbox.root().to_str().unwrap().to_owned();
    let collector = place.sandbox.directory("collector");
    let text = format!("metrics: {top}/collector\nstatus_file: {top}/status.json\n");
    fs::write(place.sandbox.path("config.yaml.fastness"), text).unwrap();
    let _ = place.fastness(&["create"]).ok();
    let file = collector.join("fastness-config.prom");
    let metrics = fs::read_to_string(&file).unwrap();
    for part in [
        "fastness_last_run_success{",
        "fastness_database_failed{",
        "database=\"sqlite_databases/localhost/shop\"} 0\n",
        "# TYPE fastness_archive_deduplicated_bytes gauge\n",
    ] {
        assert!(metrics.contains(part), "{part}: {metrics}");
    }
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let status = place.sandbox.path("status.json");
    let status: Value = serde_json::from_slice(&fs::read(status).unwrap()).unwrap();
    assert_eq!(
        status["repositories"][0]["archive"],
        record(&place)["archive"]
    );
    fs::remove_dir_all(&collector).unwrap();
    fs::write(&collector, "").unwrap();
    let text = format!("metrics: {top}/collector/metrics.prom\n");
    fs::write(place.sandbox.path("config.yaml.fastness"), text).unwrap();
    let said = place.fastness(&["create"]).ok().err();
    assert!(said.contains("collector/metrics.prom"), "{said}");
}
