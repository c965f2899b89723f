//! Hostile paths and directories against [`Root`], with and without `openat2`.

use super::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

struct Arena {
    directory: tempfile::TempDir,
}

impl Arena {
    /// A root `in/` beside an `out/` that must stay as it is.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("in")).unwrap();
        fs::create_dir(directory.path().join("out")).unwrap();
        fs::write(directory.path().join("out/kept"), b"kept").unwrap();
        Self { directory }
    }

    fn inside(&self) -> std::path::PathBuf {
        self.directory.path().join("in")
    }

    fn roots(&self) -> [Root; 2] {
        let root = Root::open(self.inside()).unwrap();
        let old_kernel = Root {
            has_openat2: false,
            ..root.clone()
        };
        [root, old_kernel]
    }

    fn assert_outside_untouched(&self) {
        let outside = self.directory.path().join("out");
        let names: Vec<_> = fs::read_dir(&outside)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["kept"]);
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(self.directory.path()).unwrap().count(), 2);
    }
}

fn write(place: &Place, content: &[u8]) -> io::Result<()> {
    place.create_file()?.write_all(content)
}

#[test]
fn files_and_parents_are_made_below_the_root() {
    for number in 0..2 {
        let arena = Arena::new();
        let [kernel, walk] = arena.roots();
        let mut root = if number == 0 { kernel } else { walk };
        for path in [
            "top",
            "a/b/c/one",
            "a/b/c/two",
            "a/b/three",
            "a//./b/four",
            "z/y/x",
        ] {
            let place = root.place(path.as_bytes(), Parents::Create).unwrap();
            write(&place, path.as_bytes()).unwrap();
            let found = fs::read(arena.inside().join(path)).unwrap();
            assert_eq!(found, path.as_bytes(), "way {number}");
        }
        let missing = root.place(b"a/missing/file", Parents::Require).unwrap_err();
        assert!(
            matches!(missing, BeneathError::Io(error) if error.kind() == io::ErrorKind::NotFound)
        );
        assert!(matches!(
            root.place(b"top/file", Parents::Create),
            Err(BeneathError::Io(_))
        ));
        let dot = root.place(b".", Parents::Require).unwrap();
        assert_eq!(
            dot.stat().unwrap().unwrap().inode,
            fs::metadata(arena.inside()).unwrap().ino()
        );
        assert!(dot.open_directory().is_ok());
    }
}

#[test]
fn paths_that_lead_out_are_refused() {
    let arena = Arena::new();
    for mut root in arena.roots() {
        for path in [
            "..",
            "../out/new",
            "a/../../out/new",
            "a/..",
            "./../out/new",
        ] {
            let outcome = root.place(path.as_bytes(), Parents::Create);
            assert!(matches!(outcome, Err(BeneathError::Traversal)), "{path}");
        }
        for path in ["/", "/etc/passwd", "//x"] {
            let outcome = root.place(path.as_bytes(), Parents::Create);
            assert!(matches!(outcome, Err(BeneathError::Absolute)), "{path}");
        }
        for path in [b"".as_slice(), b"a\0b", b"a/b\0/c"] {
            assert!(matches!(
                root.place(path, Parents::Create),
                Err(BeneathError::Invalid)
            ));
        }
    }
    arena.assert_outside_untouched();
}

#[test]
fn symlinked_parents_are_refused_wherever_they_lead() {
    let arena = Arena::new();
    let inside = arena.inside();
    fs::create_dir_all(inside.join("real/deep")).unwrap();
    symlink("../out", inside.join("relative")).unwrap();
    symlink(arena.directory.path().join("out"), inside.join("absolute")).unwrap();
    symlink("real", inside.join("harmless")).unwrap();
    symlink("nowhere", inside.join("dangling")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    symlink("/proc/self/cwd", inside.join("magic")).unwrap();
    symlink("../../../out", inside.join("real/deep/nested")).unwrap();
    for mut root in arena.roots() {
        for parent in [
            "relative",
            "absolute",
            "harmless",
            "dangling",
            "loop",
            "magic",
            "real/deep/nested",
        ] {
            for rest in ["new", "sub/new"] {
                let path = format!("{parent}/{rest}");
                for parents in [Parents::Require, Parents::Create] {
                    let outcome = root.place(path.as_bytes(), parents);
                    assert!(
                        matches!(outcome, Err(BeneathError::SymlinkParent)),
                        "{path}: {outcome:?}"
                    );
                }
            }
        }
    }
    arena.assert_outside_untouched();
}

#[test]
fn a_symlink_at_the_final_name_is_never_followed() {
    let arena = Arena::new();
    for mut root in arena.roots() {
        let place = root.place(b"victim", Parents::Require).unwrap();
        place.create_symlink(b"../out/kept").unwrap();
        let exists = |outcome: io::Result<()>| {
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        };
        exists(write(&place, b"overwritten"));
        exists(place.create_directory(0o755));
        exists(place.create_fifo());
        exists(place.create_symlink(b"x"));
        assert!(place.open_directory().is_err());
        assert_eq!(place.stat().unwrap().unwrap().kind(), FileKind::Symlink);
        place.node().set_permissions(0o777).unwrap();
        place
            .node()
            .set_times(crate::node::Time::At(1), crate::node::Time::At(1))
            .unwrap();
        let linked = root.place(b"linked", Parents::Require).unwrap();
        linked.create_hard_link(&place).unwrap();
        assert_eq!(linked.stat().unwrap().unwrap().kind(), FileKind::Symlink);
        linked.remove_file().unwrap();
        place.remove_file().unwrap();
        assert_eq!(place.stat().unwrap(), None);
    }
    assert!(
        fs::metadata(arena.directory.path().join("out/kept"))
            .unwrap()
            .mtime()
            > 1
    );
    arena.assert_outside_untouched();
}

#[test]
fn a_directory_replaced_by_a_symlink_between_two_items_is_noticed() {
    let arena = Arena::new();
    for mut root in arena.roots() {
        let place = root.place(b"a/b/file", Parents::Create).unwrap();
        place.remove_file().unwrap_err();
        root.remove_directory(b"a/b").unwrap();
        let b = root.place(b"a/b", Parents::Require).unwrap();
        b.create_symlink(b"../../out").unwrap();
        let outcome = root.place(b"a/b/file", Parents::Create);
        assert!(matches!(outcome, Err(BeneathError::SymlinkParent)));
        b.remove_file().unwrap();
        assert!(root.place(b"a/b/file", Parents::Create).is_ok());
        root.remove_directory(b"a/b").unwrap();
        root.remove_directory(b"a").unwrap();
    }
    arena.assert_outside_untouched();
}

#[test]
fn every_kind_of_node_is_made() {
    let arena = Arena::new();
    for mut root in arena.roots() {
        let mut place = |name: &str| root.place(name.as_bytes(), Parents::Require).unwrap();
        let (file, link, fifo) = (place("file"), place("link"), place("fifo"));
        write(&file, b"x").unwrap();
        link.create_hard_link(&file).unwrap();
        fifo.create_fifo().unwrap();
        let path = |name: &str| arena.inside().join(name);
        assert_eq!(fs::metadata(path("link")).unwrap().nlink(), 2);
        assert_eq!(fs::metadata(path("file")).unwrap().mode() & 0o777, 0o600);
        assert!(fs::metadata(path("fifo")).unwrap().file_type().is_fifo());
        if rustix::process::geteuid().is_root() {
            let device = place("null");
            device
                .create_device(FileKind::CharacterDevice, 1 << 8 | 3)
                .unwrap();
            let made = fs::metadata(path("null")).unwrap();
            assert!(made.file_type().is_char_device());
            assert_eq!(made.rdev(), fs::metadata("/dev/null").unwrap().rdev());
            device.remove_file().unwrap();
        }
        assert!(file.create_device(FileKind::Regular, 0).is_err());
        for place in [file, link, fifo] {
            place.remove_file().unwrap();
        }
    }
}

#[test]
fn very_deep_and_very_long_paths_neither_fail_wrongly_nor_exhaust_descriptors() {
    let arena = Arena::new();
    for (number, mut root) in arena.roots().into_iter().enumerate() {
        let name = format!("{number}{}", "n".repeat(200));
        let mut path = Vec::new();
        for depth in 0..100 {
            path.extend_from_slice(name.as_bytes());
            let place = root.place(&path, Parents::Create).unwrap();
            place.create_directory(0o755).unwrap();
            assert!(root.held.len() <= MOST_HELD, "depth {depth}");
            path.push(b'/');
        }
        path.extend_from_slice(b"file");
        let again = Root::open(arena.inside())
            .unwrap()
            .place(&path, Parents::Require)
            .unwrap();
        write(&again, b"deep").unwrap();
        assert!(
            root.place(&path, Parents::Require)
                .unwrap()
                .stat()
                .unwrap()
                .is_some()
        );
        let long = "x".repeat(256);
        let outcome = root.place(format!("{long}/file").as_bytes(), Parents::Create);
        assert!(matches!(outcome, Err(BeneathError::Io(_))));
    }
}

/// The racing process of the threat model: one thread keeps exchanging a directory of
/// the root with a symlink to the outside, the other extracts into it.
#[test]
fn a_racing_swap_of_directory_and_symlink_never_leads_out() {
    let arena = Arena::new();
    let inside = arena.inside();
    fs::create_dir_all(inside.join("swapped/sub")).unwrap();
    fs::create_dir(inside.join("hidden")).unwrap();
    symlink("../out", inside.join("hidden/link")).unwrap();
    fs::create_dir(arena.directory.path().join("out/sub")).unwrap();
    let done = AtomicBool::new(false);
    let mut placed = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (inside.join("swapped"), inside.join("hidden/link"));
            while !done.load(Ordering::Relaxed) {
                exchange(&a, &b);
            }
        });
        for round in 0..4000 {
            for mut root in arena.roots() {
                let path = format!("swapped/sub/{round}");
                match root.place(path.as_bytes(), Parents::Require) {
                    Ok(place) => {
                        placed += 1;
                        write(&place, b"x").unwrap();
                        place.remove_file().unwrap();
                    }
                    Err(BeneathError::SymlinkParent) => {}
                    Err(BeneathError::Io(error)) => assert!(error.raw_os_error().is_some()),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(placed > 0);
    assert_eq!(
        fs::read_dir(arena.directory.path().join("out/sub"))
            .unwrap()
            .count(),
        0
    );
    fs::remove_dir(arena.directory.path().join("out/sub")).unwrap();
    arena.assert_outside_untouched();
}

fn exchange(a: &Path, b: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let _ = renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
}
