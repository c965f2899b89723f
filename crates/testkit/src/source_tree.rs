//! Makes a tree with one of everything that Borg archives on Linux.
//!
//! The content follows from a seed. What a file system or an unprivileged user
//! cannot have (devices, foreign owners, attributes on an old tmpfs) is left out:
//! tests compare with what was made, not with a list.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, IFlags, Mode, Timespec, Timestamps, XattrFlags, ioctl_getflags,
    ioctl_setflags, lsetxattr, makedev, mknodat, utimensat,
};

use crate::is_root;

/// A small, fast source of reproducible bytes (SplitMix64).
#[derive(Clone, Debug)]
pub struct Bytes(u64);

impl Bytes {
    /// Starts the sequence of a seed.
    pub fn new(seed: u64) -> Bytes {
        Bytes(seed)
    }

    /// Returns the next number of the sequence.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns `len` bytes that do not compress.
    pub fn random(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Returns about `len` bytes of words in lines, which compress.
    pub fn text(&mut self, len: usize) -> Vec<u8> {
        const WORDS: [&str; 8] = [
            "request ",
            "from ",
            "127.0.0.1 ",
            "answered ",
            "in ",
            "0.3 ms ",
            "error ",
            "\n",
        ];
        let mut bytes = Vec::with_capacity(len + 16);
        while bytes.len() < len {
            let word = WORDS[(self.number() % 8) as usize];
            bytes.extend(word.as_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// Makes the tree below `root` (about 6 MiB, 50 entries).
pub fn create(root: &Path, seed: u64) {
    let mut bytes = Bytes::new(seed);
    fs::create_dir_all(root).unwrap();
    regular_files(root, &mut bytes);
    odd_names(root);
    links(root);
    special_files(root);
    attributes(root);
    permissions(root);
    times(root);
}

/// Changes the tree as a day of use would: one file grows, one is new, one goes, one is rewritten.
pub fn change(root: &Path, seed: u64) {
    let mut bytes = Bytes::new(seed ^ 0xc0ff_ee00);
    let mut log = fs::OpenOptions::new()
        .append(true)
        .open(root.join("log/app.log"))
        .unwrap();
    log.write_all(&bytes.text(5000)).unwrap();
    let fresh = format!("new-{seed}");
    fs::write(root.join(&fresh), bytes.random(70_000)).unwrap();
    let _ = fs::remove_file(root.join(format!("new-{}", seed.wrapping_sub(2))));
    fs::write(
        root.join("rewritten"),
        bytes.text(3000 + (seed % 100) as usize),
    )
    .unwrap();
    set_mtime(
        &root.join("rewritten"),
        1_700_000_000 + seed as i64,
        123_456_789,
    );
}

fn regular_files(root: &Path, bytes: &mut Bytes) {
    for directory in ["log", "bin", "many", "deep/er/and/deeper", "empty"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("empty-file"), b"").unwrap();
    fs::write(root.join("one-byte"), b"x").unwrap();
    fs::write(root.join("rewritten"), bytes.text(3000)).unwrap();
    fs::write(root.join("log/app.log"), bytes.text(300_000)).unwrap();
    fs::write(root.join("bin/random"), bytes.random(3_000_000)).unwrap();
    fs::write(root.join("bin/zeros"), vec![0; 1_200_000]).unwrap();
    let repeated: Vec<u8> = bytes.random(1000).repeat(1500);
    fs::write(root.join("bin/repeated"), repeated).unwrap();
    fs::copy(root.join("bin/random"), root.join("bin/random-again")).unwrap();
    fs::write(root.join("deep/er/and/deeper/file"), b"at the bottom").unwrap();
    for number in 0..12 {
        fs::write(
            root.join(format!("many/{number:03}")),
            bytes.text(100 * number),
        )
        .unwrap();
    }
    let mut sparse = File::create(root.join("bin/sparse")).unwrap();
    sparse.write_all(&bytes.random(5000)).unwrap();
    sparse.seek(SeekFrom::Start(1 << 20)).unwrap();
    sparse.write_all(&bytes.random(5000)).unwrap();
    sparse.set_len(2 << 20).unwrap();
}

fn odd_names(root: &Path) {
    let names: [&[u8]; 9] = [
        b"with space",
        b"new\nline",
        b"quote\"'s",
        b"back\\slash",
        b"-starts-with-dash",
        b"latin1-\xe4\xff",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        "\u{1f4be} percent %s {path}".as_bytes(),
    ];
    for name in names {
        let path = root.join(OsStr::from_bytes(name));
        fs::write(path, name).unwrap();
    }
    let long = "n".repeat(255);
    fs::write(root.join(long), b"the longest name").unwrap();
}

fn links(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("hardlinks")).unwrap();
    fs::write(at("hardlinks/a"), b"three names").unwrap();
    fs::hard_link(at("hardlinks/a"), at("hardlinks/b")).unwrap();
    fs::hard_link(at("hardlinks/a"), at("other-name")).unwrap();
    symlink("one-byte", at("symlink")).unwrap();
    symlink("../nowhere/at all", at("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"latin1-\xe4\xff"), at("symlink-latin1")).unwrap();
    symlink("deep", at("symlink-to-directory")).unwrap();
    fs::hard_link(at("symlink"), at("symlink-hardlinked")).unwrap();
}

fn special_files(root: &Path) {
    let node = |name: &str, kind, device| {
        let mode = Mode::from_bits_truncate(0o640);
        mknodat(CWD, root.join(name), kind, mode, device)
    };
    node("fifo", FileType::Fifo, 0).unwrap();
    fs::hard_link(root.join("fifo"), root.join("fifo-hardlinked")).unwrap();
    if is_root() {
        // A container may forbid devices even to root.
        let _ = node("character-device", FileType::CharacterDevice, makedev(1, 3));
        let _ = node("block-device", FileType::BlockDevice, makedev(7, 300));
    }
}

/// Sets an extended attribute of a file; panics where the file system keeps none.
pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn attributes(root: &Path) {
    let file = root.join("with-xattrs");
    fs::write(&file, b"has attributes").unwrap();
    let binary: Vec<u8> = (0..=255).collect();
    let values: [(&str, &[u8]); 3] = [
        ("user.empty", b""),
        ("user.text", b"value"),
        ("user.binary", &binary),
    ];
    for (name, value) in values {
        let _ = lsetxattr(&file, name, value, XattrFlags::empty());
    }
    let _ = lsetxattr(
        root.join("empty"),
        "user.of-directory",
        b"yes",
        XattrFlags::empty(),
    );

    let (user, group, named, mask, other) = (0x01, 0x04, 0x02, 0x10, 0x20);
    const NOBODY: u32 = u32::MAX;
    fs::write(root.join("with-acl"), b"has an access list").unwrap();
    let access = acl(&[
        (user, 6, NOBODY),
        (named, 4, 4711),
        (group, 4, NOBODY),
        (mask, 4, NOBODY),
        (other, 0, NOBODY),
    ]);
    let _ = lsetxattr(
        root.join("with-acl"),
        "system.posix_acl_access",
        &access,
        XattrFlags::empty(),
    );
    fs::create_dir_all(root.join("with-default-acl")).unwrap();
    let default = acl(&[
        (user, 7, NOBODY),
        (named, 5, 4711),
        (group, 5, NOBODY),
        (mask, 5, NOBODY),
        (other, 0, NOBODY),
    ]);
    let directory = root.join("with-default-acl");
    let _ = lsetxattr(
        &directory,
        "system.posix_acl_default",
        &default,
        XattrFlags::empty(),
    );

    fs::write(root.join("nodump"), b"flagged").unwrap();
    if let Ok(file) = File::open(root.join("nodump"))
        && let Ok(flags) = ioctl_getflags(&file)
    {
        let _ = ioctl_setflags(&file, flags | IFlags::NODUMP);
    }
}

/// Encodes an access list as the kernel takes it: version 2, then tag, permissions, id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn permissions(root: &Path) {
    let owned: [(&str, u32, u32); 3] = [
        ("owned-unnamed", 4711, 4712),
        ("owned-daemon", 1, 1),
        ("symlink", 33, 33),
    ];
    for (name, uid, gid) in owned {
        let path = root.join(name);
        if fs::symlink_metadata(&path).is_err() {
            fs::write(&path, name).unwrap();
        }
        if is_root() {
            lchown(&path, Some(uid), Some(gid)).unwrap();
        }
    }
    let modes: [(&str, u32); 6] = [
        ("suid", 0o4755),
        ("sgid", 0o2755),
        ("private", 0o600),
        ("unreadable-to-most", 0o400),
        ("sticky", 0o1777),
        ("open", 0o666),
    ];
    for (name, mode) in modes {
        let path = root.join(name);
        if name == "sticky" {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::write(&path, name).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Gives every entry a fixed mtime with nanoseconds; directories last, from the deepest up.
fn times(root: &Path) {
    let mut paths = Vec::new();
    collect(root, &mut paths);
    for (number, path) in paths.iter().enumerate() {
        let number = number as i64;
        set_mtime(
            path,
            1_600_000_000 + 1000 * number,
            (number * 7_654_321 + 1) % 1_000_000_000,
        );
    }
    set_mtime(&root.join("open"), -86_400, 500);
    set_mtime(&root.join("suid"), 4_102_444_800, 999_999_999);
    set_mtime(root, 1_500_000_000, 42);
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    let mut children: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    children.sort();
    for child in children {
        if fs::symlink_metadata(&child).unwrap().is_dir() {
            collect(&child, paths);
        }
        paths.push(child);
    }
}

/// Sets the modification time of a path, not following symlinks; the access time likewise.
pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as _,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Tree};

    #[test]
    fn the_same_seed_makes_the_same_tree() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("1"), directory.path().join("2"));
        create(&first, 7);
        create(&second, 7);
        Tree::read(&first).assert_same(&Tree::read(&second), "made twice");
    }

    #[test]
    fn a_change_is_seen_by_the_comparison() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("tree");
        create(&root, 7);
        let before = Tree::read(&root);
        change(&root, 1);
        let found = before.differences(&Tree::read(&root));
        assert!(found.iter().any(|line| line.contains("new-1")), "{found:?}");
        assert!(
            found
                .iter()
                .any(|line| line.contains("\"rewritten\": mtime")),
            "{found:?}"
        );
    }

    #[test]
    fn the_tree_has_links_holes_and_odd_kinds() {
        let directory = tempfile::tempdir().unwrap();
        create(directory.path(), 7);
        let tree = Tree::read(directory.path());
        assert_eq!(
            tree.get("other-name").unwrap().hardlink_of.as_deref(),
            Some(b"hardlinks/a".as_slice())
        );
        assert_eq!(tree.get("fifo").unwrap().kind, Kind::Fifo);
        assert!(tree.get("bin/sparse").unwrap().sparse);
        assert_eq!(tree.get("suid").unwrap().mode, 0o4755);
        assert_ne!(tree.get("log/app.log").unwrap().mtime.1 % 1000, 0);
    }

    #[test]
    fn the_tree_has_owners_devices_attributes_and_flags() {
        if !is_root() {
            eprintln!("left out: owners and devices need root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        create(directory.path(), 7);
        let tree = Tree::read(directory.path());
        let get = |path: &str| tree.get(path).unwrap();
        assert_eq!(get("owned-unnamed").owner, (4711, 4712));
        assert_eq!(get("symlink").owner, (33, 33));
        assert_eq!(get("character-device").kind, Kind::CharacterDevice);
        assert_eq!(get("block-device").rdev, makedev(7, 300));
        assert_eq!(get("with-xattrs").xattrs.len(), 3);
        assert_eq!(get("empty").xattrs.len(), 1);
        let list = |path: &str, name: &[u8]| get(path).xattrs.get(name).map(Vec::len);
        assert_eq!(
            list("with-acl", b"system.posix_acl_access"),
            Some(4 + 5 * 8)
        );
        assert_eq!(
            list("with-default-acl", b"system.posix_acl_default"),
            Some(4 + 5 * 8)
        );
        assert_eq!(get("nodump").flags, IFlags::NODUMP.bits());
    }

    /// What a backup could bring back wrongly, done to a fresh tree.
    type Harm = fn(&Path);

    const HARMS: [(&str, Harm); 12] = [
        ("one-byte\": content", |root| {
            fs::write(root.join("one-byte"), b"y").unwrap()
        }),
        ("suid\": mode", |root| {
            fs::set_permissions(root.join("suid"), fs::Permissions::from_mode(0o755)).unwrap()
        }),
        ("symlink\": owner", |root| {
            lchown(root.join("symlink"), Some(34), None).unwrap()
        }),
        ("bin\": mtime", |root| {
            set_mtime(&root.join("bin"), 1_600_000_000, 7)
        }),
        ("empty-file\": size", |root| {
            fs::write(root.join("empty-file"), b"1").unwrap()
        }),
        ("dangling\": target", |root| {
            fs::remove_file(root.join("dangling")).unwrap();
            symlink("elsewhere", root.join("dangling")).unwrap();
        }),
        ("block-device\": rdev", |root| {
            fs::remove_file(root.join("block-device")).unwrap();
            let mode = Mode::from_bits_truncate(0o640);
            let path = root.join("block-device");
            mknodat(CWD, path, FileType::BlockDevice, mode, makedev(7, 44)).unwrap();
        }),
        ("with-xattrs\": xattrs", |root| {
            rustix::fs::removexattr(root.join("with-xattrs"), "user.empty").unwrap()
        }),
        ("with-default-acl\": xattrs", |root| {
            let path = root.join("with-default-acl");
            rustix::fs::removexattr(path, "system.posix_acl_default").unwrap();
        }),
        ("other-name\": hardlink_of", |root| {
            fs::remove_file(root.join("other-name")).unwrap();
            fs::write(root.join("other-name"), b"three names").unwrap();
        }),
        ("nodump\": flags", |root| {
            let file = File::open(root.join("nodump")).unwrap();
            ioctl_setflags(&file, ioctl_getflags(&file).unwrap() & !IFlags::NODUMP).unwrap();
        }),
        ("fifo\": kind", |root| {
            fs::remove_file(root.join("fifo")).unwrap();
            fs::write(root.join("fifo"), b"").unwrap();
        }),
    ];

    #[test]
    fn every_kind_of_harm_is_seen_by_the_comparison() {
        if !is_root() {
            eprintln!("left out: owners and devices need root");
            return;
        }
        for (expected, harm) in HARMS {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("tree");
            create(&root, 7);
            let before = Tree::read(&root);
            harm(&root);
            let found = before.differences(&Tree::read(&root));
            assert!(
                found.iter().any(|line| line.contains(expected)),
                "{expected}: {found:?}"
            );
        }
    }
}
