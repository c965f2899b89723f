//! `--dry-run --estimate`: what is foretold is what then happens.

use std::fs;

use fastness_testkit::Tree;
use serde_json::Value;

use crate::borgmatic::Place;

/// A place with archives that share some of their content.
fn place() -> Place {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    for (index, day) in ["01", "02", "03"].into_iter().enumerate() {
        let data: Vec<u8> = (0..90_000u32)
            .map(|byte| (byte.wrapping_mul(byte).wrapping_mul(index as u32 + 3) >> 7) as u8)
            .collect();
        fs::write(place.sandbox.path("source/changing"), data).unwrap();
        let archive = format!("repository::day-{day}");
        let time = format!("2024-05-{day}T12:00:00");
        let _ = place.borg(&["create", "--timestamp", &time, &archive, "source"]);
    }
    place
}

const KEEP: [&str; 4] = ["--keep-daily", "1", "--match-archives", "sh:day-*"];

#[test]
fn pruning_gives_back_what_was_foretold() {
    let place = place();
    let dry = |more: &[&str]| {
        let words = [&["--dry-run", "prune"][..], &KEEP, more].concat();
        place.fastness(&words).ok().out()
    };
    let told: Value = serde_json::from_str(&dry(&["--estimate", "--json"])).unwrap();
    let estimate = &told[0]["estimate"];
    assert_eq!(told[0]["repository"]["label"], "local");
    assert_eq!(estimate["archives_kept"], 1);
    assert_eq!(estimate["archives_removed"], 2);
    let freed = estimate["deduplicated_size"].as_u64().unwrap();
    assert!(freed > 10_000, "{told}");
    let text = dry(&["--estimate"]);
    assert!(
        text.contains("2 archives would be removed, which frees"),
        "{text}"
    );
    // The rest is what Borg says without it.
    let listed = dry(&["--list"]);
    let both = dry(&["--list", "--estimate"]);
    assert_eq!(both.lines().count(), listed.lines().count() + 1, "{both}");
    assert!(both.starts_with(&listed), "{both}");
    assert_eq!(
        place.borg(&["list", "--short", "repository"]).lines().len(),
        3
    );
    let before = stored(&place);
    let _ = place.fastness(&[&["prune"][..], &KEEP].concat()).ok();
    assert_eq!(before - stored(&place), freed);
}

/// The size of all chunks of the repository, as the real Borg counts it.
fn stored(place: &Place) -> u64 {
    let info = place.borg(&["info", "--json", "repository"]).json();
    info["cache"]["stats"]["unique_csize"].as_u64().unwrap()
}

#[test]
fn an_estimate_is_for_dry_runs() {
    let place = Place::new();
    let refused = |words: &[&str], reason: &str| {
        let outcome = place.fastness(words);
        let text = format!("{}{}", outcome.out(), outcome.err());
        assert!(text.contains(reason), "{words:?}: {text}");
        let _ = outcome.exits(1);
    };
    refused(&["prune", "--estimate"], "--estimate is for --dry-run");
    refused(&["--dry-run", "prune", "--json"], "--dry-run --estimate");
    let listed = ["--dry-run", "prune", "--estimate", "--json", "--list"];
    refused(&listed, "does not go with --list");
}

/// What `create --dry-run --estimate --json` tells.
fn estimated(place: &Place) -> Value {
    let words = ["--dry-run", "create", "--estimate", "--json"];
    let told: Value = serde_json::from_str(&place.fastness(&words).ok().out()).unwrap();
    told[0]["estimate"].clone()
}

/// What `create --json` tells of the archive it makes.
fn created(place: &Place, name: &str) -> Value {
    let words = ["create", "--json", "--archive-name-format", name];
    let told: Value = serde_json::from_str(&place.fastness(&words).ok().out()).unwrap();
    told[0]["archive"]["stats"].clone()
}

#[test]
fn an_archive_adds_what_was_foretold() {
    let place = Place::new();
    // The list of configuration files is made for the archive, and in no dry run.
    let config = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + "store_config_files: false\n").unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    // Locks come and go beside it.
    let repository = place.sandbox.path("repository/data");
    let mut files = Vec::new();
    for archive in ["first", "second", "third"] {
        let before = (Tree::read(&repository), caches(&place));
        let estimate = estimated(&place);
        assert_eq!(estimate, without_time(&estimated(&place), &estimate));
        let after = Tree::read(&repository);
        before.0.assert_same(&after, archive);
        assert_eq!(before.1, caches(&place), "{archive}");
        let stats = created(&place, archive);
        assert_eq!(estimate["deduplicated_size"], stats["deduplicated_size"]);
        assert_eq!(estimate["original_size"], stats["original_size"]);
        assert_eq!(estimate["files"], stats["nfiles"]);
        files.push(estimate["new_files"].as_u64().unwrap());
        let top = estimate["directories"][0].clone();
        if archive == "second" {
            assert!(top["path"].as_str().unwrap().len() > 1, "{estimate}");
            assert_eq!(top["deduplicated_size"], estimate["deduplicated_size"]);
            assert!(
                top["deduplicated_size"].as_u64().unwrap() > 150_000,
                "{top}"
            );
        }
        if archive == "first" {
            let new = place.sandbox.directory("source/new");
            let mut state = 1u32;
            let noise = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            let noise: Vec<u8> = noise.take(200_000).collect();
            fs::write(new.join("one"), &noise).unwrap();
            // The same again is stored once.
            fs::write(new.join("two"), &noise).unwrap();
        }
    }
    assert!(files[0] > 20, "{files:?}");
    // Files of the last instant before an archive are read once more for the next one.
    assert!(files[1] < files[0], "{files:?}");
    assert!((1..5).contains(&files[2]), "{files:?}");
    let text = place
        .fastness(&["--dry-run", "create", "--estimate"])
        .ok()
        .out();
    assert!(text.contains("are new or changed and would add"), "{text}");
    // What is listed is what any dry run lists.
    let listed = place
        .fastness(&["--dry-run", "create", "--list"])
        .ok()
        .out();
    let words = ["--dry-run", "create", "--list", "--estimate"];
    let both = place.fastness(&words).ok().out();
    assert!(both.starts_with(&listed), "{both}");
    let _ = place.borg(&["check", "--verify-data", "repository"]);
}

/// The same estimate with the time of another.
fn without_time(estimate: &Value, other: &Value) -> Value {
    let mut estimate = estimate.clone();
    estimate["seconds"] = other["seconds"].clone();
    estimate
}

/// Files caches and nonces of this machine, which an estimate leaves as they are.
fn caches(place: &Place) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut pending = vec![place.sandbox.home()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                pending.push(path);
            } else if name.contains("files") || name == "nonce" {
                found.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
