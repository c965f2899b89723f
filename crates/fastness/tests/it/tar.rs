//! Tar streams: what we write is byte for byte what official Borg writes.

use std::ffi::OsStr;
use std::fs::{self, hard_link};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;

use fastness_testkit::{Borg, Exit, Outcome, Sandbox, is_root, source_tree};

use crate::{ours, reference};

/// A repository of official Borg with one archive, `repository::archive` of `source`.
fn world() -> Sandbox {
    let sandbox = Sandbox::new();
    let source = sandbox.path("source");
    source_tree::create(&source, 3);
    names_at_the_limits(&source);
    let reference = reference();
    let init = ["init", "--encryption", "repokey-blake2", "repository"];
    let _ = sandbox.run(&reference, &init).ok();
    let create = ["create", "repository::archive", "source"];
    let _ = sandbox.run(&reference, &create).ok();
    sandbox
}

/// Names, links and owners around the lengths where the format changes.
fn names_at_the_limits(source: &Path) {
    let at = |bytes: &[u8]| source.join(OsStr::from_bytes(bytes));
    for length in [92, 93, 94, 99, 200] {
        fs::write(at(&vec![b'f'; length]), b"file").unwrap();
        fs::create_dir(at(&vec![b'd'; length])).unwrap();
        symlink(
            OsStr::from_bytes(&vec![b't'; length + 7]),
            at(format!("to-{length}").as_bytes()),
        )
        .unwrap();
    }
    hard_link(at(&[b'f'; 200]), source.join("linked-to-a-long-name")).unwrap();
    hard_link(source.join("bin/random"), source.join("zz-linked")).unwrap();
    for (length, name) in [(511, "511"), (512, "512"), (513, "513")] {
        fs::write(source.join(name), vec![b'z'; length]).unwrap();
    }
    for (name, uid) in [
        ("uid-1", 2_097_151),
        ("uid-2", 2_097_152),
        ("uid-3", u32::MAX - 5),
    ] {
        fs::write(source.join(name), name).unwrap();
        if is_root() {
            lchown(source.join(name), Some(uid), Some(uid)).unwrap();
        }
    }
}

/// Exports to standard output; Borg wants the options before everything else.
fn export(sandbox: &Sandbox, borg: &Borg, options: &[&str], paths: &[&str]) -> Outcome {
    let run = sandbox.command(borg).arg("export-tar").args(options);
    run.args(["repository::archive", "-"]).args(paths).go()
}

#[test]
fn exports_are_those_of_official_borg() {
    let sandbox = world();
    let cases: [(&[&str], &[&str]); 12] = [
        (&[], &[]),
        (&["--list"], &[]),
        (&["--strip-components", "1"], &[]),
        (&["--strip-components", "2", "--list"], &[]),
        (&["--strip-components", "99"], &[]),
        // The first of several names is left out in various ways.
        (&["--exclude", "source/bin/random"], &[]),
        (
            &[
                "--exclude",
                "source/hardlinks/a",
                "--exclude",
                "source/fifo",
            ],
            &[],
        ),
        (&["--list"], &["source/hardlinks/b", "source/other-name"]),
        (
            &["--list"],
            &["source/zz-linked", "source/linked-to-a-long-name"],
        ),
        (&["--strip-components", "2"], &["source/hardlinks"]),
        (&["--pattern=+sh:**/many", "--pattern=-*"], &[]),
        (&[], &["source/nowhere", "source/one-byte"]),
    ];
    for (options, paths) in cases {
        let theirs = export(&sandbox, &reference(), options, paths);
        let ours = export(&sandbox, &ours(), options, paths);
        assert_eq!(ours.exit, theirs.exit, "{options:?} {paths:?}");
        assert_eq!(ours.err(), theirs.err(), "{options:?} {paths:?}");
        assert!(
            ours.stdout == theirs.stdout,
            "{options:?} {paths:?}: another stream"
        );
    }
}

#[test]
fn filters_go_by_the_ending_and_failing_ones_are_told() {
    let sandbox = world();
    for (file, magic) in [
        ("a.tar.gz", &b"\x1f\x8b"[..]),
        ("a.tbz", b"BZh"),
        ("a.txz", b"\xfd7zXZ"),
        ("a.tar.zst", b"\x28\xb5\x2f\xfd"),
    ] {
        let run = sandbox.run(&ours(), &["export-tar", "repository::archive", file]);
        let _ = run.ok();
        let written = fs::read(sandbox.path(file)).unwrap();
        assert!(written.starts_with(magic), "{file}");
    }
    let plain = export(&sandbox, &ours(), &[], &[]);
    let mut tar = sandbox.run_of(Path::new("tar")).args(["-tzf", "a.tar.gz"]);
    tar = tar.stdin(&[]);
    let listed = tar.go().ok();
    assert!(listed.out().contains("source/hardlinks/a"), "{listed}");
    assert_eq!(plain.stdout.len() % 10_240, 0);

    for filter in [
        "sh -c 'cat >/dev/null; exit 3'",
        "sh -c 'cat >/dev/null; kill -9 $$'",
        "no-such-program",
        "'",
        "  ",
    ] {
        let schemes: &[&str] = match filter {
            "no-such-program" => &["legacy", "modern"],
            _ => &["legacy"],
        };
        for scheme in schemes {
            let run = |borg| {
                let run = sandbox.command(borg).env("BORG_EXIT_CODES", scheme);
                let run = run.args(["export-tar", "--tar-filter", filter]);
                run.args(["repository::archive", "x.tar"]).go()
            };
            let (ours, theirs) = (run(&ours()), run(&reference()));
            assert_eq!(ours.exit, theirs.exit, "{ours}");
            assert_eq!(ours.err(), theirs.err(), "{filter}");
        }
    }
    // Ends while we write: told by its exit code, where Borg has a traceback.
    let run = [
        "export-tar",
        "--tar-filter",
        "false",
        "repository::archive",
        "x.tar",
    ];
    let failed = sandbox.run(&ours(), &run);
    assert_eq!(failed.exit, Exit::Code(2));
    assert_eq!(failed.err(), "Error: filter false failed, rc=1\n");
}

#[test]
fn a_file_that_cannot_be_made_is_told() {
    let sandbox = world();
    let run = ["export-tar", "repository::archive", "nowhere/x.tar"];
    let failed = sandbox.run(&ours(), &run);
    assert_eq!(failed.exit, Exit::Code(2));
    assert!(
        failed
            .err()
            .contains("No such file or directory: 'nowhere/x.tar'")
    );
    let full = sandbox.run(&ours(), &["export-tar", "repository::archive", "/dev/full"]);
    assert_eq!(full.exit, Exit::Code(2), "{full}");
}
