//! What the help of `create` promises, beside official Borg doing the same.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fastness_testkit::{Borg, Sandbox, Version};
use serde_json::Value;

use crate::ours;

const MIB: u64 = 1 << 20;

/// A sandbox with a repository that official Borg made.
fn with_repository() -> (Sandbox, Borg) {
    let (sandbox, official) = (Sandbox::new(), Borg::official(Version::V14));
    let _ = sandbox
        .run(&official, &["init", "-e", "repokey-blake2", "repository"])
        .ok();
    (sandbox, official)
}

/// Path, size and chunks of each item, as official Borg finds them in an archive.
fn items(sandbox: &Sandbox, official: &Borg, archive: &str) -> Vec<(Value, Value, Value)> {
    let archive = format!("repository::{archive}");
    let _ = sandbox
        .run(official, &["debug", "dump-archive", &archive, "dump.json"])
        .ok();
    let dump = std::fs::read(sandbox.path("dump.json")).unwrap();
    std::fs::remove_file(sandbox.path("dump.json")).unwrap();
    let json: Value = serde_json::from_slice(&dump).unwrap();
    let items = json["_items"].as_array().expect("a list of items");
    let of = |item: &Value, key: &str| item.get(key).cloned().unwrap_or_default();
    items
        .iter()
        .map(|item| (of(item, "path"), of(item, "size"), of(item, "chunks")))
        .collect()
}

/// Offsets and lengths of what is no hole.
type Data = &'static [(u64, u64)];

/// A file of some size with data at some places.
fn write_with_holes(path: &Path, size: u64, data: &[(u64, u64)]) {
    let file = File::create(path).unwrap();
    for (number, (offset, len)) in data.iter().enumerate() {
        let bytes: Vec<u8> = (0..*len)
            .map(|at| (at * 31 / 7 + at / 4096 + number as u64) as u8 | 1)
            .collect();
        file.write_all_at(&bytes, *offset).unwrap();
    }
    file.set_len(size).unwrap();
}

fn files_with_holes(directory: &Path) {
    const PAGE: u64 = 4096;
    let files: &[(&str, u64, Data)] = &[
        ("empty", 0, &[]),
        ("tiny", 100, &[(0, 100)]),
        ("no-hole", MIB + 5, &[(0, MIB + 5)]),
        ("only-hole", 2 * MIB, &[]),
        ("only-a-small-hole", 70_001, &[]),
        ("hole-first", 3 * MIB, &[(MIB + 3 * PAGE, MIB)]),
        ("hole-within", 3 * MIB, &[(0, 5 * PAGE), (2 * MIB, MIB)]),
        ("hole-last", 2 * MIB + 77, &[(0, 7 * PAGE + 1)]),
        (
            "unaligned",
            9 * MIB + 1,
            &[(17, 9), (6 * MIB + 123, 54_321), (9 * MIB, 1)],
        ),
        (
            "many",
            18 * MIB,
            &[
                (MIB, PAGE),
                (3 * MIB, PAGE),
                (5 * MIB, 9 * MIB),
                (15 * MIB, 3),
            ],
        ),
        ("zeros-in-data", 8 * MIB, &[(0, MIB), (6 * MIB, MIB)]),
    ];
    for (name, size, data) in files {
        write_with_holes(&directory.join(name), *size, data);
    }
    // Zeros that are stored, next to a hole.
    let file = File::options()
        .write(true)
        .open(directory.join("zeros-in-data"));
    file.unwrap()
        .write_all_at(&vec![0; 1 << 20], 2 * MIB)
        .unwrap();
}

#[test]
fn holes_are_cut_as_official_borg_cuts_them() {
    let (sandbox, official) = with_repository();
    files_with_holes(&sandbox.directory("source"));
    let ways: &[&[&str]] = &[
        &["--sparse", "--chunker-params", "fixed,1048576"],
        &["--sparse", "--chunker-params", "fixed,65536"],
        &["--sparse", "--chunker-params", "fixed,300000,4096"],
        &["--sparse", "--chunker-params", "fixed,1048576,2100000"],
        &["--chunker-params", "fixed,1048576,8192"],
        &["--sparse", "--chunker-params", "buzhash,10,23,16,4095"],
        &[],
    ];
    for (number, way) in ways.iter().enumerate() {
        let mut found = Vec::new();
        for (borg, name) in [(&official, "theirs"), (&ours(), "ours")] {
            let archive = format!("repository::{name}-{number}");
            let run = sandbox
                .command(borg)
                .args(["create", "--files-cache", "disabled"]);
            let _ = run.args(*way).args([&archive, "source"]).go().ok();
            found.push(items(&sandbox, &official, &format!("{name}-{number}")));
        }
        assert!(found[0] == found[1], "{way:?}: {found:#?}");
    }
    let check = sandbox.run(&official, &["check", "--verify-data", "repository"]);
    let _ = check.ok();
}

#[test]
fn holes_of_standard_input_are_cut_as_official_borg_cuts_them() {
    let (sandbox, official) = with_repository();
    files_with_holes(&sandbox.directory("source"));
    let mut found = Vec::new();
    for (borg, name) in [(&official, "theirs"), (&ours(), "ours")] {
        let shell = sandbox.run_of(Path::new("/bin/sh"));
        let run = shell.arg("-c").arg(format!(
            "{} create --sparse --chunker-params fixed,65536,8192 repository::{name} - <source/many",
            borg.path().display()
        ));
        let _ = run.go().ok();
        found.push(items(&sandbox, &official, name));
    }
    assert!(found[0] == found[1], "{found:#?}");
}
