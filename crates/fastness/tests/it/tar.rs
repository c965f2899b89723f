//! Tar streams: what we write is byte for byte what official Borg writes, what we read gives the
//! archives that it makes.

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

const FIELDS: &str = "{type}{mode}{uid}{gid}{user}{group}{path}{bpath}{source}{linktarget}{size}{csize}{num_chunks}{mtime}{sha256}";

/// A repository in which archives are made of tars.
fn importer() -> Sandbox {
    let sandbox = Sandbox::new();
    let init = ["init", "--encryption", "repokey-blake2", "repository"];
    let _ = sandbox.run(&reference(), &init).ok();
    sandbox
}

fn items(sandbox: &Sandbox, archive: &str) -> Vec<serde_json::Value> {
    let archive = format!("repository::{archive}");
    let list = ["list", "--json-lines", "--format", FIELDS, &archive];
    sandbox.run(&reference(), &list).ok().json_lines()
}

fn unique_chunks(sandbox: &Sandbox) -> u64 {
    let info = sandbox.run(&reference(), &["info", "--json", "repository"]);
    let info = info.ok().json();
    info["cache"]["stats"]["total_unique_chunks"]
        .as_u64()
        .unwrap()
}

/// Imports a tar with official Borg and with ours, and compares all that can be seen of it.
fn imports_alike(sandbox: &Sandbox, file: &str, options: &[&str]) {
    let import = |borg: &Borg, archive: &str| {
        let run = sandbox.command(borg).args(["import-tar", "--list"]);
        let archive = format!("repository::{archive}");
        run.args(options).args([archive.as_str(), file]).go()
    };
    let (theirs_name, ours_name) = (format!("theirs-{file}"), format!("ours-{file}"));
    let theirs = import(&reference(), &theirs_name);
    let before = unique_chunks(sandbox);
    let ours = import(&ours(), &ours_name);
    assert_eq!(ours.exit, theirs.exit, "{file}: {}", ours.err());
    assert_eq!(ours.err(), theirs.err(), "{file}");
    let (listed, expected) = (items(sandbox, &ours_name), items(sandbox, &theirs_name));
    assert_eq!(listed.len(), expected.len(), "{file}");
    for (listed, expected) in listed.iter().zip(&expected) {
        assert_eq!(listed, expected, "{file}");
    }
    // The metadata of the archive is all that is new.
    assert_eq!(unique_chunks(sandbox), before + 1, "{file}");
    let facts = |name: &str| {
        let archive = format!("repository::{name}");
        let info = sandbox.run(&reference(), &["info", "--json", &archive]);
        let mut archive = info.ok().json()["archives"][0].take();
        let stats = archive["stats"].take();
        let keys = ["original_size", "compressed_size", "nfiles"];
        keys.map(|key| stats[key].clone())
    };
    assert_eq!(facts(&ours_name), facts(&theirs_name), "{file}");
}

#[test]
fn imports_are_those_of_official_borg() {
    let sandbox = importer();
    let source = sandbox.path("source");
    source_tree::create(&source, 5);
    names_at_the_limits(&source);
    let formats: [(&str, &[&str]); 6] = [
        ("gnu.tar", &["--format=gnu"]),
        ("oldgnu.tar.gz", &["--format=oldgnu", "--sparse"]),
        (
            "pax00.tar",
            &[
                "--format=pax",
                "--sparse",
                "--sparse-version=0.0",
                "--xattrs",
            ],
        ),
        (
            "pax01.tar",
            &["--format=pax", "--sparse", "--sparse-version=0.1"],
        ),
        (
            "pax10.tar.xz",
            &["--format=pax", "--sparse", "--sparse-version=1.0"],
        ),
        ("gnu-sparse.tar", &["--format=gnu", "--sparse"]),
    ];
    for (file, options) in formats {
        let tar = sandbox.run_of(Path::new("tar")).args(["-caf", file]);
        let _ = tar.args(options).arg("source").go().ok();
        imports_alike(&sandbox, file, &[]);
    }
    let tar = sandbox
        .run_of(Path::new("tar"))
        .args(["-cf", "v7.tar", "--format=v7"]);
    let _ = tar
        .args(["-C", "source", "./hardlinks", "./many", "./bin"])
        .go()
        .ok();
    imports_alike(
        &sandbox,
        "v7.tar",
        &["--chunker-params", "10,16,12,4095", "-C", "zstd"],
    );
    let check = sandbox.run(&reference(), &["check", "--verify-data", "repository"]);
    let _ = check.ok();
}

/// A header block.
fn header(name: &[u8], kind: u8, size: &[u8; 12]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    for at in [108, 116] {
        block[at..at + 8].copy_from_slice(b"0000000\0");
    }
    block[124..136].copy_from_slice(size);
    block[136..148].copy_from_slice(b"00000000001\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Content filled up to whole blocks.
fn blocks(content: &[u8]) -> Vec<u8> {
    let mut blocks = content.to_vec();
    blocks.resize(content.len().next_multiple_of(512), 0);
    blocks
}

/// Extended headers with these records.
fn extended(kind: u8, records: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}\0", records.len());
    let size: [u8; 12] = size.into_bytes().try_into().unwrap();
    [header(b"pax", kind, &size), blocks(records)].concat()
}

const NOTHING: &[u8; 12] = b"00000000000\0";
const THREE: &[u8; 12] = b"00000000003\0";

fn odd_tars() -> Vec<(&'static str, Vec<u8>)> {
    let file = |name: &[u8]| [header(name, b'0', THREE), blocks(b"abc")].concat();
    let end = vec![0; 1024];
    let mut damaged = file(b"second");
    damaged[0] = b'S';
    vec![
        ("empty", Vec::new()),
        ("short", vec![b'x'; 100]),
        ("zeros", end.clone()),
        ("noise", source_tree::Bytes::new(9).random(4096)),
        ("without-end", file(b"a")),
        (
            "absolute",
            [
                file(b"/etc/passwd"),
                file(b"../../up"),
                file(b"./a/../b"),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "two",
            [file(b"a"), end.clone(), file(b"b"), end.clone()].concat(),
        ),
        (
            "damaged",
            [file(b"a"), damaged, file(b"c"), end.clone()].concat(),
        ),
        ("cut-header", [&file(b"a")[..], &file(b"b")[..99]].concat()),
        ("cut-data", header(b"a", b'0', THREE)),
        (
            "giant",
            [header(b"a", b'0', b"77777777777\0"), blocks(b"x")].concat(),
        ),
        (
            "giant-256",
            header(
                b"a",
                b'0',
                b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
        ),
        ("giant-name", header(b"a", b'L', b"77777777777\0")),
        ("giant-record", header(b"a", b'x', b"77777777777\0")),
        (
            "many-headers",
            extended(b'x', b"12 path=abc\n").repeat(5000),
        ),
        (
            "no-length",
            [extended(b'x', b"0 path=abc\n"), file(b"a"), end.clone()].concat(),
        ),
        (
            "wrong-length",
            [extended(b'x', b"99 path=abc\n"), file(b"a"), end.clone()].concat(),
        ),
        (
            "global",
            [extended(b'g', b"14 uname=some\n"), file(b"a"), end.clone()].concat(),
        ),
        (
            "only-global",
            [extended(b'g', b"14 uname=some\n"), end.clone()].concat(),
        ),
        (
            "not-a-time",
            [extended(b'x', b"13 mtime=nan\n"), file(b"a"), end.clone()].concat(),
        ),
        (
            "fraction",
            [
                extended(b'x', b"28 mtime=1234567890.1234567\n"),
                file(b"a"),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "unknown",
            [header(b"v", b'V', NOTHING), file(b"a"), end.clone()].concat(),
        ),
        (
            "sparse-lie",
            [
                extended(
                    b'x',
                    b"26 GNU.sparse.map=0,20000\n25 GNU.sparse.size=20000\n",
                ),
                file(b"a"),
                file(b"b"),
                end.clone(),
            ]
            .concat(),
        ),
        (
            "sparse-nonsense",
            [
                extended(b'x', b"22 GNU.sparse.map=0,x\n24 GNU.sparse.size=2000\n"),
                file(b"a"),
                end,
            ]
            .concat(),
        ),
    ]
}

#[test]
fn odd_tars_end_as_with_official_borg() {
    let sandbox = importer();
    for (name, tar) in odd_tars() {
        fs::write(sandbox.path(name), tar).unwrap();
        for ignore_zeros in [false, true] {
            let import = |borg: &Borg, archive: &str| {
                let run = sandbox.command(borg).args(["import-tar", "--list"]);
                let run = run.args(ignore_zeros.then_some("--ignore-zeros"));
                run.args([archive, name]).go()
            };
            let archives = [
                format!("theirs-{name}-{ignore_zeros}"),
                format!("ours-{name}-{ignore_zeros}"),
            ];
            let theirs = import(&reference(), &format!("repository::{}", archives[0]));
            let ours = import(&ours(), &format!("repository::{}", archives[1]));
            if name == "wrong-length" {
                // Versions of Python, and with them Borg, do not agree about this one.
                assert!(matches!(ours.exit, Exit::Code(0 | 2)), "{ours}");
                continue;
            }
            assert_eq!(ours.exit, theirs.exit, "{name}: {}", ours.err());
            if ours.exit == Exit::Code(2) {
                assert!(ours.err().contains("Error: tar stream: "), "{ours}");
            } else {
                let [theirs, ours] = archives.map(|archive| items(&sandbox, &archive));
                assert_eq!(ours, theirs, "{name}");
            }
        }
    }
}

#[test]
fn a_stream_that_ends_before_its_end_is_told() {
    let sandbox = importer();
    let tars = odd_tars();
    let (_, tar) = tars.iter().find(|(name, _)| *name == "damaged").unwrap();
    let run = sandbox
        .command(&ours())
        .args(["import-tar", "repository::a", "-"]);
    let run = run.stdin(tar).go().ok();
    let told = "tar stream: bad checksum at offset 1024, what comes after that was not imported\n";
    assert_eq!(run.err(), told);
}

#[test]
fn no_archive_is_made_of_what_a_failing_filter_gave() {
    let sandbox = importer();
    fs::create_dir(sandbox.path("source")).unwrap();
    fs::write(
        sandbox.path("source/file"),
        source_tree::Bytes::new(3).random(300_000),
    )
    .unwrap();
    let tar = sandbox
        .run_of(Path::new("tar"))
        .args(["-czf", "a.tar.gz", "source"]);
    let _ = tar.go().ok();
    let whole = fs::read(sandbox.path("a.tar.gz")).unwrap();
    fs::write(sandbox.path("cut.tar.gz"), &whole[..whole.len() / 2]).unwrap();
    let cases: [&[&str]; 4] = [
        &["repository::a", "cut.tar.gz"],
        &[
            "--tar-filter",
            "sh -c 'gzip -d; exit 3'",
            "repository::a",
            "a.tar.gz",
        ],
        &[
            "--tar-filter",
            "no-such-program",
            "repository::a",
            "a.tar.gz",
        ],
        &["repository::a", "no-such-file"],
    ];
    for case in cases {
        let failed = sandbox.command(&ours()).arg("import-tar").args(case).go();
        assert_eq!(failed.exit, Exit::Code(2), "{failed}");
        assert!(failed.err().contains("Error: "), "{failed}");
    }
    let list = sandbox.run(&reference(), &["list", "repository"]).ok();
    assert_eq!(list.out(), "");
    let json = ["import-tar", "--json", "repository::a", "a.tar.gz"];
    let made = sandbox.run(&ours(), &json).ok().json();
    assert_eq!(made["archive"]["name"], "a");
    assert_eq!(made["archive"]["stats"]["original_size"], 300_000);
}
