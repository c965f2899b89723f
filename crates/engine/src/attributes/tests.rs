//! Attributes of real files: read, restored elsewhere, read again, and against Borg's facts.

use std::ffi::CStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use fastness_format::item::Item;
use fastness_sys::beneath::{Parents, Root};
use fastness_sys::directory::open_directory_path;
use fastness_sys::node::{Node, Time};
use fastness_sys::stat::{FileKind, stat_entry};
use fastness_sys::xattr;

use super::*;

const ALL: AttributeOptions = AttributeOptions {
    numeric_ids: false,
    atime: false,
    no_ctime: false,
    no_flags: false,
    no_acls: false,
    no_xattrs: false,
};

fn read_with(options: AttributeOptions, directory: &Path, name: &CStr) -> Item {
    let directory = open_directory_path(directory).unwrap();
    let stat = stat_entry(&directory, name).unwrap();
    let mut item = Item {
        path: name.to_bytes().to_vec(),
        ..Item::default()
    };
    let names = Names::new();
    let attributes = Attributes {
        options,
        names: &names,
    };
    let warnings = read_entry(directory.as_fd(), name, &stat, &attributes, &mut item);
    assert!(warnings.unwrap().is_empty());
    item
}

fn restore_all(node: Node<'_>, item: &Item) -> Result<Vec<XattrWarning>, SourceError> {
    let attributes = Attributes {
        options: ALL,
        names: &Names::new(),
    };
    restore(node, item, &attributes)
}

fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    fastness_sys::process::is_root()
}

#[test]
fn a_plain_file_has_the_fields_that_borg_archives() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), b"x").unwrap();
    set_mode(&root.path().join("file"), 0o4751);
    let directory = open_directory_path(root.path()).unwrap();
    Node::entry(&directory, c"file")
        .set_times(Time::At(-5), Time::At(i64::MAX))
        .unwrap();
    let item = read_with(ALL, root.path(), c"file");
    assert_eq!(item.mode, 0o104_751);
    assert_eq!(item.atime, None);
    assert!(item.ctime.is_some());
    assert!(item.mtime.unwrap() <= 2_147_310_847_000_000_000);
    let others = (item.birthtime, item.rdev, item.bsdflags);
    assert_eq!(others, (None, None, None));
    let others = (item.xattrs, item.acl_access, item.acl_default);
    assert_eq!(others, (None, None, None));
    if is_root() {
        let name = b"root".to_vec();
        assert_eq!((item.uid, item.user), (Some(0), Some(name.clone())));
        assert_eq!((item.gid, item.group), (Some(0), Some(name)));
    }
    let options = AttributeOptions {
        numeric_ids: true,
        atime: true,
        no_ctime: true,
        ..ALL
    };
    let item = read_with(options, root.path(), c"file");
    assert_eq!((item.user, item.group, item.ctime), (None, None, None));
    assert_eq!(item.atime, Some(0), "times before 1970 are cut to 0");
}

/// The texts are what Borg 1.4.5 archived for the same `setfacl` calls.
#[test]
fn acls_are_the_texts_that_borg_archives() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    for name in ["access", "default"] {
        fs::create_dir(path.join(name)).unwrap();
        set_mode(&path.join(name), 0o755);
    }
    fs::write(path.join("file"), b"").unwrap();
    set_mode(&path.join("file"), 0o644);
    run(path, "setfacl", &["-m", "u:4711:rwx", "access"]);
    run(path, "setfacl", &["-d", "-m", "u:0:rwx", "default"]);
    run(path, "setfacl", &["-m", "u:0:rw,m::r", "file"]);
    let access = read_with(ALL, path, c"access");
    let text = b"user::rwx\nuser:4711:rwx:4711\ngroup::r-x\nmask::rwx\nother::r-x";
    assert_eq!(access.acl_access.unwrap(), text);
    assert_eq!(access.acl_default.unwrap(), b"");
    let default = read_with(ALL, path, c"default");
    let text = b"user::rwx\ngroup::r-x\nother::r-x";
    assert_eq!(default.acl_access.unwrap(), text);
    let text = b"user::rwx\nuser:root:rwx:0\ngroup::r-x\nmask::rwx\nother::r-x";
    assert_eq!(default.acl_default.unwrap(), text);
    let file = read_with(ALL, path, c"file");
    let text = b"user::rw-\nuser:root:rw-\t:0\ngroup::r--\nmask::r--\nother::r--";
    assert_eq!(file.acl_access.unwrap(), text);
    assert_eq!((file.acl_default, file.xattrs), (None, None));
    let numeric = AttributeOptions {
        numeric_ids: true,
        ..ALL
    };
    let file = read_with(numeric, path, c"file");
    let text = file.acl_access.unwrap();
    assert!(text.starts_with(b"user::rw-\nuser:0:rw-\t:0\n"));
    let without = AttributeOptions {
        no_acls: true,
        ..ALL
    };
    assert_eq!(read_with(without, path, c"file").acl_access, None);
}

#[test]
fn extended_attributes_are_sorted_and_an_empty_value_is_none() {
    let root = tempfile::tempdir().unwrap();
    let file = File::create(root.path().join("file")).unwrap();
    for (name, value) in [(c"user.z", "1"), (c"user.a", ""), (c"user.m", "middle")] {
        xattr::write(Node::open(&file), name, value.as_bytes()).unwrap();
    }
    let expected = vec![
        (b"user.a".to_vec(), None),
        (b"user.m".to_vec(), Some(b"middle".to_vec())),
        (b"user.z".to_vec(), Some(b"1".to_vec())),
    ];
    let item = read_with(ALL, root.path(), c"file");
    assert_eq!(item.xattrs, Some(expected));
    let without = AttributeOptions {
        no_xattrs: true,
        no_acls: true,
        ..ALL
    };
    assert_eq!(read_with(without, root.path(), c"file").xattrs, None);
}

/// Borg asks by `ioctl`, so a fifo or symlink in a no-dump directory has no flags for it, though
/// ext4 lets them inherit the flag and `statx` tells.
#[test]
fn flags_are_those_of_files_and_directories_only() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    fs::create_dir(path.join("directory")).unwrap();
    let set = Command::new("chattr")
        .args(["+d", "directory"])
        .current_dir(path)
        .output();
    if !set.is_ok_and(|output| output.status.success()) {
        return assert_eq!(read_with(ALL, path, c"directory").bsdflags, None);
    }
    let directory = path.join("directory");
    run(&directory, "mkfifo", &["fifo"]);
    symlink("x", directory.join("link")).unwrap();
    fs::write(directory.join("file"), b"").unwrap();
    assert_eq!(read_with(ALL, path, c"directory").bsdflags, Some(1));
    assert_eq!(read_with(ALL, &directory, c"file").bsdflags, Some(1));
    assert_eq!(read_with(ALL, &directory, c"fifo").bsdflags, None);
    assert_eq!(read_with(ALL, &directory, c"link").bsdflags, None);
    let without = AttributeOptions {
        no_flags: true,
        ..ALL
    };
    assert_eq!(read_with(without, path, c"directory").bsdflags, None);
}

#[test]
fn a_file_gone_since_it_was_seen_is_an_error_of_borgs_kind() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), b"").unwrap();
    let directory = open_directory_path(root.path()).unwrap();
    let stat = stat_entry(&directory, c"file").unwrap();
    fs::remove_file(root.path().join("file")).unwrap();
    let attributes = Attributes {
        options: ALL,
        names: &Names::new(),
    };
    let mut item = Item::default();
    let error = read_entry(directory.as_fd(), c"file", &stat, &attributes, &mut item).unwrap_err();
    assert_eq!(error.msgid(), "BackupFileNotFoundError");
    assert!(error.to_string().starts_with("extended stat ("));
    fs::create_dir(root.path().join("file")).unwrap();
    let other = stat_entry(&directory, c"file").unwrap();
    assert!(check_same_file(&stat, &stat).is_ok());
    let error = check_same_file(&stat, &other).unwrap_err();
    assert_eq!(error.msgid(), "BackupRaceConditionError");
}

/// Everything that was read is put on fresh objects, and reading those gives it again.
#[test]
fn what_is_restored_reads_the_same_again() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path();
    let names = make_objects(path);
    let options = AttributeOptions {
        atime: true,
        no_ctime: true,
        ..ALL
    };
    let target = tempfile::tempdir().unwrap();
    let mut root = Root::open(target.path()).unwrap();
    for name in names {
        let item = read_with(options, path, name);
        let place = root.place(name.to_bytes(), Parents::Require).unwrap();
        let warnings = match FileKind::from_mode(item.mode) {
            FileKind::Regular => {
                let file = place.create_file().unwrap();
                restore_all(Node::open(&file), &item)
            }
            FileKind::Directory => {
                place.create_directory(0o700).unwrap();
                let opened = place.open_directory().unwrap();
                restore_all(Node::open(&opened), &item)
            }
            kind => {
                match kind {
                    FileKind::Symlink => place.create_symlink(b"nowhere").unwrap(),
                    FileKind::Fifo => place.create_fifo().unwrap(),
                    kind => place.create_device(kind, item.rdev.unwrap()).unwrap(),
                }
                restore_all(place.node(), &item)
            }
        };
        assert!(warnings.unwrap().is_empty());
        assert_eq!(read_with(options, target.path(), name), item);
    }
}

/// Makes an object of each kind with every attribute this user may give it.
fn make_objects(path: &Path) -> Vec<&'static CStr> {
    fs::write(path.join("file"), b"").unwrap();
    fs::create_dir(path.join("directory")).unwrap();
    symlink("nowhere", path.join("link")).unwrap();
    run(path, "mkfifo", &["fifo"]);
    let mut names = vec![c"file", c"directory", c"link", c"fifo"];
    if is_root() {
        run(path, "mknod", &["null", "c", "1", "3"]);
        run(path, "chown", &["-h", "1:4711", "link", "null", "file"]);
        run(path, "chmod", &["6711", "file"]);
        let _ = Command::new("chattr")
            .args(["+d", "directory"])
            .current_dir(path)
            .output();
        let capability =
            b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let file = File::open(path.join("file")).unwrap();
        xattr::write(Node::open(&file), c"security.capability", capability).unwrap();
        names.push(c"null");
    }
    run(path, "setfacl", &["-m", "u:1:rw,g:4711:rwx,m::r", "file"]);
    run(path, "setfacl", &["-m", "u:1:rw,d:u:2:r", "directory"]);
    run(path, "setfattr", &["-n", "user.one", "-v", "1", "file"]);
    run(path, "setfattr", &["-n", "user.two", "directory"]);
    let directory = open_directory_path(path).unwrap();
    for (number, name) in names.iter().enumerate() {
        let mtime = Time::At(1_000_000_007 + number as i64);
        let node = Node::entry(&directory, name);
        node.set_times(Time::At(77), mtime).unwrap();
    }
    names
}

#[test]
fn names_win_over_numbers_and_unknown_names_fall_back() {
    let item = |user: &[u8]| Item {
        user: Some(user.to_vec()),
        uid: Some(55),
        group: Some(user.to_vec()),
        gid: Some(56),
        ..Item::default()
    };
    let names = Names::new();
    let mut attributes = Attributes {
        options: ALL,
        names: &names,
    };
    assert_eq!(owner(&item(b"root"), &attributes), (0, 0));
    assert_eq!(owner(&item(b"nobody is called so"), &attributes), (55, 56));
    assert_eq!(owner(&Item::default(), &attributes), (0, 0));
    attributes.options.numeric_ids = true;
    assert_eq!(owner(&item(b"root"), &attributes), (55, 56));
}

#[test]
fn attributes_that_cannot_be_set_warn_and_do_not_stop_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let file = File::create(root.path().join("file")).unwrap();
    let stat = Node::open(&file).stat().unwrap();
    let item = Item {
        path: b"file".to_vec(),
        mode: 0o100_640,
        mtime: Some(123_456_789),
        uid: Some(stat.uid),
        gid: Some(stat.gid),
        xattrs: Some(vec![
            (b"no.such.namespace".to_vec(), Some(b"x".to_vec())),
            (b"user.\0zero".to_vec(), None),
            (b"user.good".to_vec(), Some(b"y".to_vec())),
        ]),
        ..Item::default()
    };
    let warnings = restore_all(Node::open(&file), &item).unwrap();
    let text = "when setting extended attribute no.such.namespace: \
        [Errno 95] Operation not supported: 'file'";
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[0].text(&item.path), text);
    let again = read_with(ALL, root.path(), c"file");
    assert_eq!(again.mtime, Some(123_456_789));
    assert_eq!(again.xattrs.unwrap()[0].0, b"user.good");
    let broken = Item {
        acl_access: Some(b"user::rwq".to_vec()),
        ..item
    };
    let error = restore_all(Node::open(&file), &broken).unwrap_err();
    assert_eq!(error.to_string(), "attrs: [Errno 22] Invalid argument");
}

/// Where the owner cannot be restored, set-uid would lend the rights of who extracts.
#[test]
fn set_uid_is_dropped_with_an_owner_that_could_not_be_restored() {
    let root = tempfile::tempdir().unwrap();
    let file = File::create(root.path().join("file")).unwrap();
    let node = Node::open(&file);
    let (uid, gid) = (node.stat().unwrap().uid, node.stat().unwrap().gid);
    let mode = |uid, gid| restore::harmless_mode(node, 0o106_755, uid, gid);
    assert_eq!(mode(uid, gid), 0o106_755);
    assert_eq!(mode(uid + 1, gid), 0o102_755);
    assert_eq!(mode(uid + 1, gid + 1), 0o100_755);
    let directory = File::open(root.path()).unwrap();
    let mode = restore::harmless_mode(Node::open(&directory), 0o042_755, uid + 1, gid + 1);
    assert_eq!(mode, 0o042_755);
}
