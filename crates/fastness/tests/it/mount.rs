//! Archives as a file system, beside what official Borg mounts.
//!
//! Needs `/dev/fuse` and root; where they are missing the tests say so and assert nothing.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastness_testkit::source_tree::{self, Bytes};
use fastness_testkit::{Borg, Exit, Kind, Outcome, Run, Sandbox, Tree, is_root};

use crate::{ours, reference};

/// Whether file systems can be mounted here.
pub(crate) fn can_mount() -> bool {
    let can = is_root()
        && File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .is_ok();
    if !can {
        eprintln!("NOT TESTED: mounting needs root and /dev/fuse");
    }
    can
}

/// Whatever is mounted there goes at the end.
pub(crate) struct Place(pub PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        if is_mounted(&self.0) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
}

pub(crate) fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == path.to_str())
}

/// A run of `mount`; not by a waiting process, whose child would go to the background.
fn mount_run(sandbox: &Sandbox, borg: &Borg, words: &[&str]) -> Run {
    sandbox
        .command(borg)
        .under(["env"])
        .arg("mount")
        .args(words)
}

fn mounted(sandbox: &Sandbox, borg: &Borg, words: &[&str]) -> Place {
    let place = Place(sandbox.directory("mountpoint"));
    let outcome = mount_run(sandbox, borg, words).go();
    assert_eq!(outcome.exit, Exit::Code(0), "{outcome}");
    assert!(is_mounted(&place.0), "{outcome}");
    place
}

fn unmounted(sandbox: &Sandbox, place: Place) {
    let _ = sandbox.run(&ours(), &["umount", "mountpoint"]).ok();
    assert!(!is_mounted(&place.0));
    wait_for("the lock to go", || {
        !sandbox.path("repository/lock.roster").exists()
    });
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waiting for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A repository of official Borg with archives of a tree that changes.
fn world() -> Sandbox {
    let sandbox = Sandbox::new();
    let source = sandbox.path("source");
    source_tree::create(&source, 5);
    fs::write(source.join(".hidden"), "hidden").unwrap();
    fs::write(source.join("archive.tar.gz"), "one").unwrap();
    let run = |words: &[&str]| drop(sandbox.run(&reference(), words).ok());
    run(&["init", "--encryption", "repokey-blake2", "repository"]);
    run(&["create", "repository::first", "source"]);
    source_tree::change(&source, 6);
    fs::write(source.join("archive.tar.gz"), "two").unwrap();
    run(&["create", "repository::second", "source"]);
    run(&[
        "create",
        "repository::second.checkpoint",
        "source/archive.tar.gz",
    ]);
    sandbox
}

/// A mounted tree without what belongs to the moment of mounting.
pub(crate) fn look(place: &Place, begun: SystemTime) -> Tree {
    let begun = begun.duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    Tree::read(&place.0).map(|_, entry| {
        if entry.kind == Kind::Directory {
            let (seconds, nanoseconds) = entry.mtime;
            entry.mtime = match seconds >= begun {
                true => (0, 0),
                // Borg takes the time of an archive through a floating point number.
                false => (seconds, (nanoseconds + 500) / 1000),
            };
        }
    })
}

#[test]
fn what_is_mounted_is_what_was_archived() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let words = ["repository::second", "mountpoint"];
    let place = mounted(&sandbox, &ours(), &words);
    // ACLs and flags are not shown, and holes are not known.
    let shown = |tree: Tree| {
        tree.map(|_, entry| {
            entry
                .xattrs
                .retain(|name, _| !name.starts_with(b"system.posix_acl"));
            entry.flags = 0;
            entry.sparse = false;
        })
    };
    let expected = shown(Tree::read(&sandbox.path("source")).as_archived());
    let expected = expected.without(|_, entry| entry.kind == Kind::Socket);
    let found = shown(Tree::read(&place.0.join("source")));
    let difference = expected.differences(&found);
    assert!(difference.is_empty(), "{difference:#?}");
    unmounted(&sandbox, place);
}

#[test]
fn views_are_those_of_official_borg() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let cases: [&[&str]; 12] = [
        &["repository", "mountpoint"],
        &["--consider-checkpoints", "repository", "mountpoint"],
        &["-a", "fir*", "repository", "mountpoint"],
        &["--numeric-ids", "repository::first", "mountpoint"],
        &[
            "repository::first",
            "mountpoint",
            "source/hardlinks",
            "source/bin",
        ],
        &[
            "-e",
            "source/hardlinks/a",
            "repository::first",
            "mountpoint",
        ],
        &["--strip-components", "2", "repository::first", "mountpoint"],
        &[
            "-o",
            "uid=0,gid=0,umask=0277",
            "repository::first",
            "mountpoint",
        ],
        // Official Borg cannot merge archives that have further names of anything but files.
        &[
            "-o",
            "versions",
            "-e",
            "source/fifo*",
            "repository",
            "mountpoint",
        ],
        &[
            "-o",
            "versions",
            "-e",
            "source/fifo*",
            "-e",
            "source/hardlinks/a",
            "repository",
            "mountpoint",
        ],
        &[
            "-o",
            "versions",
            "-e",
            "source/fifo*",
            "--strip-components",
            "1",
            "repository",
            "mountpoint",
        ],
        &[
            "-o",
            "rw,noatime,ignore_permissions",
            "repository",
            "mountpoint",
        ],
    ];
    for words in cases {
        let begun = SystemTime::now() - Duration::from_secs(1);
        let [ours, theirs] = [ours(), reference()].map(|borg| {
            let place = mounted(&sandbox, &borg, words);
            let tree = look(&place, begun);
            let links = links(&place.0);
            unmounted(&sandbox, place);
            (tree, links)
        });
        let difference = theirs.0.differences(&ours.0);
        assert!(difference.is_empty(), "{words:?}: {difference:#?}");
        assert_eq!(ours.1, theirs.1, "{words:?}");
    }
}

/// What is not a tree's to compare: numbers of names, blocks and block sizes.
fn links(root: &Path) -> Vec<(PathBuf, u64, u64, u64, i64)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                open.push(path.clone());
            } else {
                let (blocks, unit) = (metadata.blocks(), metadata.blksize());
                found.push((path, metadata.nlink(), blocks, unit, metadata.ctime_nsec()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_cannot_be_mounted_ends_as_with_official_borg() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let _place = Place(sandbox.directory("mountpoint"));
    fs::write(sandbox.path("file"), "").unwrap();
    // The last word tells whether the text is the same, too.
    let cases: [(&[&str], bool); 13] = [
        (&["repository", "nowhere"], true),
        (&["repository", "file"], true),
        (&["repository::missing", "mountpoint"], true),
        (&["no-repository", "mountpoint"], false),
        (&["-o", "versions", "repository::first", "mountpoint"], true),
        (&["-o", "uid=3999999", "repository", "mountpoint"], true),
        (&["-o", "gid=3999999", "repository", "mountpoint"], true),
        (&["-o", "bogus", "repository", "mountpoint"], false),
        (&["-o", "versions=bogus", "repository", "mountpoint"], false),
        (&["-o", "umask=9", "repository", "mountpoint"], false),
        (&["-o", "ro", "-o", "ro", "repository", "mountpoint"], false),
        (
            &["--first", "1", "--last", "1", "repository", "mountpoint"],
            false,
        ),
        (&["repository"], false),
    ];
    for (words, same_text) in cases {
        let run = |borg: &Borg| mount_run(&sandbox, borg, words).go();
        let (ours, theirs) = (run(&ours()), run(&reference()));
        assert_eq!(ours.exit, theirs.exit, "{ours}\n{theirs}");
        if same_text {
            assert_eq!(ours.err(), theirs.err(), "{words:?}");
        }
        assert!(
            !ours.err().is_empty() && !ours.err().contains("panicked"),
            "{ours}"
        );
        assert!(!is_mounted(&sandbox.path("mountpoint")), "{words:?}");
        assert!(
            !sandbox.path("repository/lock.roster").exists(),
            "{words:?}"
        );
    }
    let umount = |borg: &Borg| sandbox.run(borg, &["umount", "mountpoint"]).exit;
    assert_eq!(umount(&ours()), umount(&reference()));
    let wrong = mount_run(&sandbox, &ours(), &["repository", "mountpoint"]);
    let wrong = wrong.env("BORG_PASSPHRASE", "wrong").go();
    assert_eq!(wrong.exit, Exit::Code(2), "{wrong}");
    assert!(wrong.err().contains("BORG_PASSPHRASE"), "{wrong}");
}

/// The process that has the repository locked.
fn lock_holder(sandbox: &Sandbox) -> u32 {
    let roster = fs::read(sandbox.path("repository/lock.roster")).unwrap();
    let roster: serde_json::Value = serde_json::from_slice(&roster).unwrap();
    roster["shared"][0][1].as_u64().unwrap() as u32
}

#[test]
fn the_command_returns_when_the_mount_stands_and_nothing_is_left_afterwards() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let words = ["--show-rc", "repository", "mountpoint"];
    let place = Place(sandbox.directory("mountpoint"));
    let outcome = mount_run(&sandbox, &ours(), &words).go();
    assert_eq!(outcome.exit, Exit::Code(0));
    assert_eq!(outcome.err(), "terminating with success status, rc 0\n");
    let daemon = lock_holder(&sandbox);
    let link = |name: &str| fs::read_link(format!("/proc/{daemon}/{name}")).unwrap();
    assert_eq!(link("cwd"), Path::new("/"));
    wait_for("standard error to be left", || {
        link("fd/2") == Path::new("/dev/null")
    });
    assert_eq!([link("fd/0"), link("fd/1")], [Path::new("/dev/null"); 2]);
    // Others still read, and nobody writes.
    for borg in [ours(), reference()] {
        let _ = sandbox.run(&borg, &["list", "repository::first"]).ok();
        let create = sandbox.run(&borg, &["create", "repository::third", "source"]);
        assert_eq!(create.exit, Exit::Code(2), "{create}");
    }
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 2);
    unmounted(&sandbox, place);
    wait_for("the daemon to end", || {
        !Path::new(&format!("/proc/{daemon}")).exists()
    });
}

#[test]
fn ctrl_c_unmounts_and_other_signals_leave_no_empty_directory() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let heard = ["env", "--default-signal=INT", "--default-signal=HUP"];
    let place = Place(sandbox.directory("mountpoint"));
    for signal in ["INT", "TERM", "HUP"] {
        let run = sandbox.command(&ours()).under(heard);
        let run = run.args(["mount", "--foreground", "repository", "mountpoint"]);
        let mut child = run.spawn();
        wait_for("the mount", || is_mounted(&place.0));
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 2);
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        assert_eq!(is_mounted(&place.0), signal != "INT", "{signal}");
        if signal != "INT" {
            let error = fs::read_dir(&place.0).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(107), "dead: {error}");
            assert!(
                Command::new("umount")
                    .arg(&place.0)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        assert!(!sandbox.path("repository/lock.roster").exists(), "{signal}");
    }
}

#[test]
fn large_files_are_read_from_any_place_by_many_at_once() {
    if !can_mount() {
        return;
    }
    let mut sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("source")).unwrap();
    let content = Bytes::new(9).random(24 << 20);
    fs::write(sandbox.path("source/large"), &content).unwrap();
    let init = ["init", "--encryption", "repokey-blake2", "repository"];
    let _ = sandbox.run(&ours(), &init).ok();
    let create = [
        "create",
        "--chunker-params",
        "14,18,16,4095",
        "repository::a",
        "source",
    ];
    let _ = sandbox.run(&ours(), &create).ok();
    // Fewer chunks are remembered than readers use.
    sandbox.set_env("BORG_MOUNT_DATA_CACHE_ENTRIES", "2");
    let place = mounted(&sandbox, &ours(), &["repository::a", "mountpoint"]);
    let path = place.0.join("source/large");
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (path, content) = (&path, &content);
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut numbers = Bytes::new(reader);
                for _ in 0..60 {
                    let from = numbers.number() as usize % content.len();
                    let size = 1 + numbers.number() as usize % 300_000;
                    let end = content.len().min(from + size);
                    let mut buffer = vec![0; end - from];
                    file.read_exact_at(&mut buffer, from as u64).unwrap();
                    assert!(buffer == content[from..end], "{from}..{end}");
                }
            });
        }
    });
    assert!(fs::read(&path).unwrap() == content);
    unmounted(&sandbox, place);
}

fn first_chunk(sandbox: &Sandbox, path: &str) -> String {
    let list = ["debug", "dump-archive", "repository::first", "dump"];
    let _ = sandbox.run(&reference(), &list).ok();
    let dump = fs::read(sandbox.path("dump")).unwrap();
    let dump: serde_json::Value = serde_json::from_slice(&dump).unwrap();
    let items = dump["_items"].as_array().unwrap();
    let item = items.iter().find(|item| item["path"] == path).unwrap();
    // Borg marks bytes shown as hexadecimal digits.
    let id = item["chunks"][0][0].as_str().unwrap();
    id.trim_start_matches('\u{7f}').to_owned()
}

#[test]
fn damage_is_an_error_of_the_file_that_has_it() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let chunk = first_chunk(&sandbox, "source/one-byte");
    let delete = ["debug", "delete-obj", "repository", &chunk];
    let _ = sandbox.run(&reference(), &delete).ok();
    let words = ["repository::first", "mountpoint"];
    let read = |place: &Place| fs::read(place.0.join("source/one-byte"));
    for repaired in [false, true] {
        if repaired {
            let repair = sandbox
                .command(&reference())
                .args(["check", "--repair", "repository"]);
            let _ = repair.env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").go();
        }
        let place = mounted(&sandbox, &ours(), &words);
        let error = read(&place).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
        assert_eq!(fs::read(place.0.join("source/.hidden")).unwrap(), b"hidden");
        unmounted(&sandbox, place);
    }
    let words = [
        "-o",
        "allow_damaged_files",
        "repository::first",
        "mountpoint",
    ];
    let place = mounted(&sandbox, &ours(), &words);
    assert_eq!(read(&place).unwrap(), [0]);
    unmounted(&sandbox, place);
}

/// Reads a file as somebody who may do little.
fn read_as_nobody(path: &Path) -> Outcome {
    let run = Run::new(Path::new("setpriv"), Path::new("/"), Vec::new());
    let run = run.env("PATH", "/usr/bin:/bin");
    let run = run.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "cat",
    ]);
    run.arg(path).go()
}

#[test]
fn others_read_only_what_they_may() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.root(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(sandbox.path("source")).unwrap();
    for (name, mode) in [("private", 0o600), ("public", 0o644)] {
        let path = sandbox.path("source").join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let init = ["init", "--encryption", "none", "repository"];
    let _ = sandbox.run(&ours(), &init).ok();
    let _ = sandbox
        .run(&ours(), &["create", "repository::a", "source"])
        .ok();
    for (options, private, public) in [
        ("ro", false, false),
        ("allow_other", false, true),
        ("allow_other,ignore_permissions", true, true),
    ] {
        let words = ["-o", options, "repository::a", "mountpoint"];
        let place = mounted(&sandbox, &ours(), &words);
        for (name, may) in [("private", private), ("public", public)] {
            let read = read_as_nobody(&place.0.join("source").join(name));
            assert_eq!(read.exit == Exit::Code(0), may, "{options}: {read}");
            assert_eq!(read.out(), if may { name } else { "" });
        }
        unmounted(&sandbox, place);
    }
}

#[test]
fn borgfs_is_mount_under_another_name() {
    if !can_mount() {
        return;
    }
    let sandbox = world();
    let borgfs = sandbox.path("borgfs");
    symlink(env!("CARGO_BIN_EXE_fastness"), &borgfs).unwrap();
    let place = Place(sandbox.directory("mountpoint"));
    // As mount(8) calls it for a line of fstab.
    let words = [
        "repository",
        "mountpoint",
        "-o",
        "rw,nosuid,nodev,user=root",
    ];
    let _ = sandbox.run_of(&borgfs).args(words).go().ok();
    let mut text = String::new();
    let file = place.0.join("second/source/archive.tar.gz");
    File::open(file).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "two");
    assert!(fs::write(place.0.join("second/new"), "").is_err());
    unmounted(&sandbox, place);
    let run = |words: &[&str]| sandbox.run_of(&borgfs).args(words).go();
    assert_eq!(run(&["--version"]).ok().out(), "borgfs 1.4.5\n");
    assert!(run(&[]).ok().out().contains("borgfs"));
    let wrong = run(&["-o", "bogus", "repository", "mountpoint"]);
    assert_eq!(wrong.exit, Exit::Code(2));
    let last = wrong.err();
    assert!(
        last.ends_with("borgfs: error: argument -o: unknown mount option: bogus\n"),
        "{last}"
    );
}
