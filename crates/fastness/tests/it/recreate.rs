//! Archives made anew: what official Borg makes of an archive, ours makes too.

use std::fs;

use fastness_testkit::{Borg, Exit, Sandbox, source_tree};
use serde_json::Value;

use crate::{ours, reference};

/// A repository of official Borg with three archives, and a copy of it.
fn world() -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    sandbox.set_env("PYTHONHASHSEED", "0");
    let source = sandbox.path("source");
    source_tree::create(&source, 7);
    for directory in ["cache/below", "marked", "linked"] {
        fs::create_dir_all(source.join(directory)).unwrap();
        fs::write(source.join(directory).join("file"), directory).unwrap();
    }
    let tag = "Signature: 8a477f597d28d172789f06886806bc55 and more";
    fs::write(source.join("cache/CACHEDIR.TAG"), tag).unwrap();
    fs::hard_link(
        source.join("cache/CACHEDIR.TAG"),
        source.join("linked/CACHEDIR.TAG"),
    )
    .unwrap();
    fs::write(source.join("marked/.nobackup"), "").unwrap();
    let commands: [&[&str]; 4] = [
        &["init", "--encryption", "repokey-blake2", "theirs"],
        &["create", "--comment", "first", "theirs::one", "source"],
        &[
            "create",
            "-C",
            "zstd",
            "theirs::two",
            "source/bin",
            "source/cache",
        ],
        &[
            "create",
            "-C",
            "none",
            "--chunker-params",
            "10,16,12,4095",
            "theirs::three",
            "source/log",
        ],
    ];
    for command in commands {
        let _ = sandbox.run(&reference(), command).ok();
    }
    let _ = fs::remove_dir_all(sandbox.home().join(".config"));
    sandbox
}

/// Everything that an archive says of itself and its items, but for what is new each time.
fn dump(sandbox: &Sandbox, repository: &str, archive: &str) -> Value {
    let archive = format!("{repository}::{archive}");
    let run = sandbox.run(&reference(), &["debug", "dump-archive", &archive, "dump"]);
    let _ = run.ok();
    let dump = fs::read(sandbox.path("dump")).unwrap();
    let mut dump: Value = serde_json::from_slice(&dump).unwrap();
    let metadata = dump["_meta"].as_object_mut().unwrap();
    for key in ["tam", "items", "recreate_cmdline"] {
        metadata.remove(key);
    }
    // What is not cut anew stays as it was cut; Borg writes the default of the day.
    metadata.remove("chunker_params");
    // Compressors differ by a few bytes from one version to the next.
    metadata.remove("csize");
    for item in dump["_items"].as_array_mut().unwrap() {
        let chunks = item.get_mut("chunks").and_then(Value::as_array_mut);
        for chunk in chunks.into_iter().flatten() {
            chunk[2].take();
        }
    }
    dump.as_object_mut().unwrap().remove("_manifest_entry");
    dump
}

/// Lets both change a copy of the repository, and compares the results.
fn recreate_alike(sandbox: &Sandbox, archive: Option<&str>, options: &[&str], paths: &[&str]) {
    let about = format!("{archive:?} {options:?} {paths:?}");
    let _ = fs::remove_dir_all(sandbox.path("copies"));
    sandbox.directory("copies");
    let run = |borg: &Borg, copy: &str| {
        let to = sandbox.path("copies").join(copy);
        sandbox.copy(&sandbox.path("theirs"), &to);
        let repository = format!("copies/{copy}");
        let place = match archive {
            Some(archive) => format!("{repository}::{archive}"),
            None => repository.clone(),
        };
        let run = sandbox.command(borg).arg("recreate").args(options);
        let outcome = run.arg(place).args(paths).go();
        let list = sandbox.run(&reference(), &["list", "--short", &repository]);
        let names = list.ok().lines();
        let dumps: Vec<Value> = names
            .iter()
            .map(|name| dump(sandbox, &repository, name))
            .collect();
        if !borg.is_official() {
            let check = ["check", "--verify-data", repository.as_str()];
            let _ = sandbox.run(&reference(), &check).ok();
            let _ = sandbox.run(&ours(), &check).ok();
        }
        // The copies share their id, and caches would take one for the other.
        for known in [".cache", ".config"] {
            let _ = fs::remove_dir_all(sandbox.home().join(known));
        }
        (outcome, dumps)
    };
    let (theirs, expected) = run(&reference(), "theirs");
    let (ours, made) = run(&ours(), "ours");
    assert_eq!(ours.exit, theirs.exit, "{about}: {}", ours.err());
    assert_eq!(ours.out(), theirs.out(), "{about}");
    let unlocated = |text: String, copy: &str| {
        let lines = text.lines().map(|line| line.replace(copy, "copy"));
        // Where a copy was before is told to whoever opens it.
        let lines = lines
            .filter(|line| !line.contains("previously located") && !line.contains("Do you want"));
        lines.collect::<Vec<_>>()
    };
    if theirs.exit != Exit::Code(2) {
        let (ours, theirs) = (
            unlocated(ours.err(), "ours"),
            unlocated(theirs.err(), "theirs"),
        );
        assert_eq!(ours, theirs, "{about}");
    }
    assert_eq!(made.len(), expected.len(), "{about}");
    for (made, expected) in made.iter().zip(&expected) {
        assert_eq!(made, expected, "{about}");
    }
}

#[test]
fn what_is_left_out_is_what_official_borg_leaves_out() {
    let sandbox = world();
    let one = Some("one");
    recreate_alike(&sandbox, one, &["--list"], &["source/hardlinks"]);
    recreate_alike(
        &sandbox,
        one,
        &["--list"],
        &["source/hardlinks/b", "source/other-name"],
    );
    recreate_alike(
        &sandbox,
        None,
        &["--list", "--exclude", "source/hardlinks/a"],
        &[],
    );
    recreate_alike(
        &sandbox,
        None,
        &["--list", "--dry-run", "--exclude", "sh:**/a*"],
        &[],
    );
    recreate_alike(
        &sandbox,
        one,
        &["--list", "--filter", "x", "--exclude-caches"],
        &[],
    );
    let keep = ["--list", "--exclude-caches", "--keep-exclude-tags"];
    recreate_alike(&sandbox, one, &keep, &[]);
    let marked = ["--exclude-if-present", ".nobackup", "--comment", "unmarked"];
    recreate_alike(&sandbox, one, &marked, &[]);
    recreate_alike(&sandbox, one, &["--target", "four"], &["source/many"]);
}

#[test]
fn data_is_stored_again_as_official_borg_stores_it() {
    let sandbox = world();
    let one = Some("one");
    recreate_alike(&sandbox, one, &["--recompress=always", "-C", "lzma,1"], &[]);
    recreate_alike(
        &sandbox,
        None,
        &["--recompress=if-different", "-C", "zstd"],
        &[],
    );
    recreate_alike(&sandbox, one, &["--chunker-params", "10,16,12,4095"], &[]);
    recreate_alike(
        &sandbox,
        Some("three"),
        &["--chunker-params", "default"],
        &[],
    );
    let both = [
        "--chunker-params",
        "fixed,100000",
        "--recompress=always",
        "-C",
        "zlib",
    ];
    recreate_alike(&sandbox, None, &both, &[]);
}

#[test]
fn mistakes_are_told_as_by_official_borg() {
    let sandbox = world();
    let cases: [(Option<&str>, &[&str]); 6] = [
        (None, &[]),
        (None, &["--target", "x"]),
        (Some("one"), &[]),
        (Some("one"), &["--target", "two"]),
        (Some("nowhere"), &["--comment", "x"]),
        (Some("one.recreate"), &["--comment", "x"]),
    ];
    for (archive, options) in cases {
        recreate_alike(&sandbox, archive, options, &[]);
    }
}
