//! Reads a directory tree with all its metadata and tells two trees apart.
//!
//! What counts: kind, content, mode, owners, mtime in nanoseconds, device numbers,
//! symlink targets, extended attributes (POSIX ACLs are attributes too), hardlink
//! groups, the flags that Borg stores, and holes when asked for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{IFlags, ioctl_getflags, lgetxattr, llistxattr};

/// What kind of thing an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A socket.
    Socket,
}

/// One entry of a tree, with everything that a backup must bring back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its kind.
    pub kind: Kind,
    /// Permission bits with suid, sgid and sticky; 0 for symlinks.
    pub mode: u32,
    /// Owner and group, by number.
    pub owner: (u32, u32),
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Size of a regular file.
    pub size: u64,
    /// Hash of a regular file's content.
    pub content: u64,
    /// Target of a symbolic link.
    pub target: Vec<u8>,
    /// Device number of a device.
    pub rdev: u64,
    /// Extended attributes, ACLs among them.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path, in order, of the same inode, when it has several in the tree.
    pub hardlink_of: Option<Vec<u8>>,
    /// Inode flags that Borg stores: nodump, immutable, append only.
    pub flags: u32,
    /// Whether blocks are missing, that is, the file has holes.
    pub sparse: bool,
}

/// A whole tree: path relative to its root → entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Tree {
    /// Reads the tree below `root`; the root itself is the entry `""`.
    pub fn read(root: &Path) -> Tree {
        let mut entries = BTreeMap::new();
        add(root, Vec::new(), &mut entries);
        let mut first = BTreeMap::new();
        for (path, (metadata, _)) in &entries {
            if metadata.nlink() > 1 && !metadata.is_dir() {
                first
                    .entry((metadata.dev(), metadata.ino()))
                    .or_insert_with(Vec::new)
                    .push(path.clone());
            }
        }
        let link = |metadata: &Metadata| {
            let group = first.get(&(metadata.dev(), metadata.ino()))?;
            (group.len() > 1).then(|| group[0].clone())
        };
        let linked = entries.iter().map(|(path, (metadata, entry))| {
            (
                path.clone(),
                Entry {
                    hardlink_of: link(metadata),
                    ..entry.clone()
                },
            )
        });
        Tree {
            entries: linked.collect(),
        }
    }

    /// Returns the entry at a path.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Entry> {
        self.entries.get(path.as_ref())
    }

    /// Returns how many entries there are, the root included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is nothing, not even a root.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns all paths in order.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(Vec::as_slice)
    }

    /// Returns the tree without the entries for which `drop` holds.
    pub fn without(mut self, drop: impl Fn(&[u8], &Entry) -> bool) -> Tree {
        self.entries.retain(|path, entry| !drop(path, entry));
        self
    }

    /// Returns the tree with each entry changed, to leave out what a program never promised.
    pub fn map(mut self, mut change: impl FnMut(&[u8], &mut Entry)) -> Tree {
        self.entries
            .iter_mut()
            .for_each(|(path, entry)| change(path, entry));
        self
    }

    /// Returns the tree as Borg 1.x can bring it back: times are kept between 1970 and 2038,
    /// and a symlink with several names becomes several symlinks.
    pub fn as_archived(self) -> Tree {
        const LAST_SECOND: i64 = 2_147_310_847;
        self.map(|_, entry| {
            match entry.mtime.0 {
                ..0 => entry.mtime = (0, 0),
                LAST_SECOND.. => entry.mtime = (LAST_SECOND, 0),
                _ => {}
            }
            if entry.kind == Kind::Symlink {
                entry.hardlink_of = None;
            }
        })
    }

    /// Lists the differences in words; empty when the trees are equal. Holes do not count.
    pub fn differences(&self, other: &Tree) -> Vec<String> {
        let mut found = Vec::new();
        for (path, entry) in &self.entries {
            let name = OsStr::from_bytes(path).display().to_string();
            match other.entries.get(path) {
                None => found.push(format!("{name:?} is missing")),
                Some(theirs) => compare(&name, entry, theirs, &mut found),
            }
        }
        let extra = other
            .entries
            .keys()
            .filter(|path| !self.entries.contains_key(*path));
        found.extend(extra.map(|path| format!("{:?} is new", OsStr::from_bytes(path))));
        found
    }

    /// Asserts that the other tree is equal to this one.
    #[track_caller]
    pub fn assert_same(&self, other: &Tree, about: &str) {
        let found = self.differences(other);
        assert!(
            found.is_empty(),
            "{about}: the trees differ:\n{}",
            found.join("\n")
        );
    }
}

fn compare(name: &str, ours: &Entry, theirs: &Entry, found: &mut Vec<String>) {
    let mut field = |what: &str, equal: bool, left: String, right: String| {
        if !equal {
            found.push(format!("{name:?}: {what} {left} became {right}"));
        }
    };
    macro_rules! fields {
        ($($what:ident),*) => {$(
            field(stringify!($what), ours.$what == theirs.$what, format!("{:?}", ours.$what), format!("{:?}", theirs.$what));
        )*};
    }
    fields!(
        kind,
        mode,
        owner,
        mtime,
        size,
        content,
        target,
        rdev,
        xattrs,
        hardlink_of,
        flags
    );
}

fn add(path: &Path, name: Vec<u8>, entries: &mut BTreeMap<Vec<u8>, (Metadata, Entry)>) {
    let metadata =
        fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let entry = read(path, &metadata);
    if metadata.is_dir() {
        for child in
            fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        {
            let child = child.unwrap();
            let mut below = name.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(child.file_name().as_bytes());
            add(&child.path(), below, entries);
        }
    }
    entries.insert(name, (metadata, entry));
}

fn read(path: &Path, metadata: &Metadata) -> Entry {
    let kind = kind(metadata);
    let is_file = kind == Kind::File;
    let target = match kind {
        Kind::Symlink => fs::read_link(path)
            .unwrap()
            .into_os_string()
            .as_bytes()
            .to_vec(),
        _ => Vec::new(),
    };
    let is_device = matches!(kind, Kind::CharacterDevice | Kind::BlockDevice);
    Entry {
        kind,
        mode: if kind == Kind::Symlink {
            0
        } else {
            metadata.mode() & 0o7777
        },
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        size: if is_file { metadata.size() } else { 0 },
        content: if is_file { content(path) } else { 0 },
        target,
        rdev: if is_device { metadata.rdev() } else { 0 },
        xattrs: xattrs(path),
        hardlink_of: None,
        flags: if is_file || kind == Kind::Directory {
            flags(path)
        } else {
            0
        },
        sparse: is_file && metadata.blocks() * 512 < metadata.size(),
    }
}

fn kind(metadata: &Metadata) -> Kind {
    let kind = metadata.file_type();
    if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Symlink
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_char_device() {
        Kind::CharacterDevice
    } else if kind.is_block_device() {
        Kind::BlockDevice
    } else {
        Kind::Socket
    }
}

fn content(path: &Path) -> u64 {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        // Whole buffers only: the hash must not depend on how a read was cut.
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]).unwrap() {
                0 => break,
                count => filled += count,
            }
        }
        hasher.write(&buffer[..filled]);
        if filled < buffer.len() {
            return hasher.finish();
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0_u8; 65536];
    let Ok(length) = llistxattr(path, &mut names) else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for name in names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0_u8; 65536];
        if let Ok(length) = lgetxattr(path, OsStr::from_bytes(name), &mut value) {
            value.truncate(length);
            found.insert(name.to_vec(), value);
        }
    }
    found
}

fn flags(path: &Path) -> u32 {
    let stored = IFlags::NODUMP | IFlags::IMMUTABLE | IFlags::APPEND;
    let flags = File::open(path)
        .ok()
        .and_then(|file| ioctl_getflags(&file).ok());
    flags.map_or(0, |flags| (flags & stored).bits())
}
