//! What the help of `create` promises, beside official Borg doing the same.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use fastness_testkit::{Borg, Outcome, Sandbox, Version, source_tree};
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

/// Runs a command line in a shell, with `borg` for the program.
fn in_shell(sandbox: &Sandbox, borg: &Borg, line: &str) -> Outcome {
    let line = line.replace("borg ", &format!("{} ", borg.path().display()));
    let shell = sandbox.run_of(Path::new("/bin/sh"));
    shell.arg("-c").arg(line).go()
}

#[test]
fn standard_input_is_archived_at_its_place_among_the_paths() {
    let (sandbox, official) = with_repository();
    std::fs::create_dir_all(sandbox.path("source/below")).unwrap();
    std::fs::write(sandbox.path("source/file"), "file").unwrap();
    for (number, paths) in ["source/below - source/file", "- source", "source - -"]
        .iter()
        .enumerate()
    {
        let mut found = Vec::new();
        for (borg, name) in [(&official, "theirs"), (&ours(), "ours")] {
            let line = format!(
                "echo content | borg create --list --files-cache disabled repository::{name}-{number} {paths}"
            );
            let run = in_shell(&sandbox, borg, &line).ok();
            let items = items(&sandbox, &official, &format!("{name}-{number}"));
            found.push((run.err(), items));
        }
        assert!(found[0] == found[1], "{paths}: {found:#?}");
    }
}

#[test]
fn a_dry_run_needs_neither_repository_nor_passphrase() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("source/below")).unwrap();
    std::fs::write(sandbox.path("source/file"), "file").unwrap();
    let line = "unset BORG_PASSPHRASE; echo content | \
        borg create --dry-run --progress --list nowhere::archive source/below - source/file";
    let theirs = in_shell(&sandbox, &Borg::official(Version::V14), line);
    let ours = in_shell(&sandbox, &ours(), line);
    assert_eq!(theirs.exit, ours.exit, "{theirs}{ours}");
    assert_eq!(theirs.err(), ours.err());
    assert!(ours.err().contains("- stdin\n"), "{ours}");
    assert!(!sandbox.path("nowhere").exists());
}

/// What a run logged: each line's fields but for its time, and `<FD 6>` and the like left out.
fn log_lines(run: &Outcome) -> Vec<Value> {
    let mut lines: Vec<Value> = (run.err().lines())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{run}")))
        .collect();
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("time");
        let message = line.get("message").and_then(Value::as_str);
        if let Some((message, _)) = message.and_then(|text| text.rsplit_once(": ")) {
            line["message"] = message.into();
        }
    }
    lines
}

#[test]
fn attributes_that_cannot_be_read_are_told_and_the_rest_is_saved() {
    let (sandbox, official) = with_repository();
    std::fs::create_dir_all(sandbox.path("source/below")).unwrap();
    std::fs::write(sandbox.path("source/file"), "file").unwrap();
    std::fs::write(sandbox.path("source/below/plain"), "plain").unwrap();
    for name in ["source/below", "source/file", "source/below/plain"] {
        for attribute in ["user.one", "user.two"] {
            let path = sandbox.path(name);
            source_tree::set_attribute(&path, attribute, b"value");
        }
    }
    let mut found = Vec::new();
    for (borg, name) in [(&official, "theirs"), (&ours(), "ours")] {
        let archive = format!("repository::{name}");
        let create = ["create", "--noacls", "--list", "--log-json", &archive];
        let run = sandbox.command(borg).args(create).arg("source");
        let run = run.failing("getxattr,lgetxattr,fgetxattr", "EIO", "1+", None);
        let run = run.env("BORG_EXIT_CODES", "modern").go().ok();
        found.push(log_lines(&run));
        assert_eq!(items(&sandbox, &official, name).len(), 4, "{run}");
    }
    assert!(found[0] == found[1], "{found:#?}");
    let told = |line: &&Value| line["name"] == "borg.xattr";
    assert_eq!(found[1].iter().filter(told).count(), 6, "{found:#?}");
}

#[test]
fn options_without_effect_are_taken_and_change_nothing() {
    let (sandbox, official) = with_repository();
    std::fs::create_dir_all(sandbox.path("source/below")).unwrap();
    std::fs::write(sandbox.path("source/file"), "file").unwrap();
    let create = |borg: &Borg, name: &str, options: &[&str]| {
        let archive = format!("repository::{name}");
        let run = sandbox.command(borg).arg("create").args(options);
        let _ = run.args([&archive, "source"]).go().ok();
        items(&sandbox, &official, name)
    };
    let plain = create(&official, "plain", &[]);
    for (number, option) in ["--nobirthtime", "--no-cache-sync"].iter().enumerate() {
        // Borg's stored sizes are wrong in archives that it makes without its cache.
        let theirs = create(&official, &format!("theirs-{number}"), &[option]);
        assert_eq!(theirs.len(), plain.len());
        // The cache of either is out of step with what the other has just committed.
        assert_eq!(create(&ours(), &format!("ours-{number}"), &[option]), plain);
    }
    for arguments in [
        &["delete", "--save-space", "repository::plain"][..],
        &["prune", "--save-space", "--keep-yearly", "1", "repository"],
        &["check", "--save-space", "repository"],
    ] {
        let run = sandbox.run(&ours(), arguments).ok();
        assert_eq!(run.err(), "", "{run}");
    }
    let left = sandbox
        .run(&official, &["list", "--short", "repository"])
        .ok();
    assert_eq!(left.out(), "ours-1\n");
}

#[test]
fn what_only_python_understands_is_told_to_have_no_effect() {
    let (sandbox, official) = with_repository();
    let logged = |borg: &Borg| {
        let run = sandbox
            .command(borg)
            .args(["--log-json", "list", "repository"]);
        let run = run.env("BORG_LOGGING_CONF", "logging.conf").go().ok();
        let lines: Vec<Value> = run
            .err()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 1, "{run}");
        lines[0].clone()
    };
    let (theirs, ours_line) = (logged(&official), logged(&ours()));
    for key in ["type", "levelname", "name"] {
        assert_eq!(theirs[key], ours_line[key]);
    }
    let expected = format!(
        "setup_logging for {:?} failed with ",
        sandbox.path("logging.conf")
    );
    assert!(
        ours_line["message"]
            .as_str()
            .unwrap()
            .starts_with(&expected),
        "{ours_line}"
    );
    assert!(
        theirs["message"].as_str().unwrap().starts_with(&expected),
        "{theirs}"
    );
}

#[test]
fn an_absolute_path_is_known_again_from_another_directory() {
    let (sandbox, _) = with_repository();
    let source = sandbox.directory("somewhere");
    for name in ["one", "two"] {
        fs::write(source.join(name), name).unwrap();
        // The youngest file is not remembered.
        std::thread::sleep(Duration::from_millis(20));
    }
    let source = source.to_str().unwrap();
    let repository = sandbox.path("repository");
    let create = |archive: &str, directory: &str| {
        let archive = format!("{}::{archive}", repository.display());
        let run = sandbox.command(&ours()).in_directory(Path::new(directory));
        run.args(["create", "--list", &archive, source])
            .go()
            .ok()
            .err()
    };
    assert!(create("first", "/").contains(&format!("A {source}/one")));
    assert!(create("second", "/usr").contains(&format!("U {source}/one")));
}
