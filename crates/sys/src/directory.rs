//! Reading directories: every entry's name, inode and kind, in Borg's order.
//!
//! The walk of `create` and of a mount sits on this. Entries come from `getdents64`
//! through a buffer that is used again for every directory; the names of one
//! directory share one allocation and keep their terminating zero, so that the next
//! system call takes them as they are.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::stat::FileKind;

/// Bytes asked of the kernel at once; a few hundred entries.
const BUFFER_BYTES: usize = 64 * 1024;

/// Order of the entries of a [`Listing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the kernel gives them.
    Unsorted,
    /// By inode number, as Borg 1.4 walks: neighbours on disk are read together.
    Inode,
    /// By the bytes of the name.
    Name,
}

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Name without any directory part.
    pub name: &'a CStr,
    /// Inode number; for a mount point that of the directory below the mount.
    pub inode: u64,
    /// Kind, where the file system tells it here.
    pub kind: Option<FileKind>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    inode: u64,
    start: usize,
    /// Including the terminating zero.
    length: u32,
    kind: Option<FileKind>,
}

/// The entries of one directory, without `.` and `..`; reusable.
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    records: Vec<Record>,
}

impl Listing {
    /// Returns an empty listing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Says whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the entry at `position` of the chosen order.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Entry<'_>> {
        let record = self.records.get(position)?;
        Some(Entry {
            name: self.name(record),
            inode: record.inode,
            kind: record.kind,
        })
    }

    /// Returns the entries in the chosen order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        (0..self.len()).filter_map(|position| self.get(position))
    }

    fn name(&self, record: &Record) -> &CStr {
        let end = record.start.saturating_add(record.length as usize);
        let bytes = self.names.get(record.start..end).unwrap_or(b"\0");
        CStr::from_bytes_with_nul(bytes).unwrap_or(c"")
    }

    fn clear(&mut self) {
        self.names.clear();
        self.records.clear();
    }

    fn push(&mut self, name: &CStr, inode: u64, kind: Option<FileKind>) {
        let bytes = name.to_bytes_with_nul();
        let start = self.names.len();
        self.names.extend_from_slice(bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        self.records.push(Record {
            inode,
            start,
            length,
            kind,
        });
    }

    fn sort(&mut self, order: Order) {
        match order {
            Order::Unsorted => {}
            // Stable, as Borg's sort: equal inode numbers stay in the kernel's order.
            Order::Inode => self.records.sort_by_key(|record| record.inode),
            Order::Name => {
                let mut records = std::mem::take(&mut self.records);
                records.sort_by(|a, b| self.name(a).cmp(self.name(b)));
                self.records = records;
            }
        }
    }
}

/// Reads directories through one buffer.
#[derive(Debug)]
pub struct DirectoryReader {
    buffer: Vec<MaybeUninit<u8>>,
}

impl Default for DirectoryReader {
    fn default() -> Self {
        Self::new()
    }
}

impl DirectoryReader {
    /// Returns a reader with its own buffer.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffer: vec![MaybeUninit::uninit(); BUFFER_BYTES],
        }
    }

    /// Replaces what `listing` holds by the entries of the open `directory`.
    ///
    /// Reads from the descriptor's position on: a directory just opened is read whole.
    ///
    /// # Errors
    /// The error of `getdents64`; the listing then holds what came before it.
    pub fn read(
        &mut self,
        directory: impl AsFd,
        order: Order,
        listing: &mut Listing,
    ) -> io::Result<()> {
        listing.clear();
        let mut raw = RawDir::new(directory, &mut self.buffer);
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            listing.push(name, entry.ino(), kind_of(entry.file_type()));
        }
        listing.sort(order);
        Ok(())
    }
}

fn kind_of(kind: FileType) -> Option<FileKind> {
    Some(match kind {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Socket => FileKind::Socket,
        FileType::Unknown => return None,
    })
}

/// The working directory, as what relative paths refer to.
pub const HERE: BorrowedFd<'static> = rustix::fs::CWD;

/// Opens the directory `name` in `directory` for reading; a symlink is refused.
///
/// The access time stays as it is where the kernel allows that (owner or root).
///
/// # Errors
/// The error of `openat`, `ENOTDIR` for a symlink or any other kind.
pub fn open_directory(directory: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    open_quietly(directory, name, OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

/// Opens a directory given by the user; symlinks are followed.
///
/// # Errors
/// The error of `openat`.
pub fn open_directory_path(path: impl Arg) -> io::Result<OwnedFd> {
    open_quietly(rustix::fs::CWD, path, OFlags::DIRECTORY)
}

/// Opens for reading without touching the access time, where allowed.
pub(crate) fn open_quietly(
    directory: impl AsFd,
    name: impl Arg,
    how: OFlags,
) -> io::Result<OwnedFd> {
    let how = how | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let directory = directory.as_fd();
    Ok(name.into_with_c_str(|name| {
        match openat(directory, name, how | OFlags::NOATIME, Mode::empty()) {
            // Only the owner and root may leave the access time alone; EPERM has no
            // other cause for a plain reading open.
            Err(Errno::PERM) => openat(directory, name, how, Mode::empty()),
            other => other,
        }
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{DirEntryExt, symlink};

    #[test]
    fn every_entry_is_listed_with_inode_and_kind_in_inode_order() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..1500 {
            fs::write(
                root.path()
                    .join(format!("a file with a rather long name {number}")),
                b"",
            )
            .unwrap();
        }
        fs::create_dir(root.path().join("directory")).unwrap();
        symlink("x", root.path().join("link")).unwrap();
        fs::write(
            root.path()
                .join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff")),
            b"",
        )
        .unwrap();
        let mut reader = DirectoryReader::new();
        let mut listing = Listing::new();
        let directory = open_directory_path(root.path()).unwrap();
        reader.read(&directory, Order::Inode, &mut listing).unwrap();
        let expected: BTreeSet<(Vec<u8>, u64)> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().as_bytes().to_vec(), entry.ino()))
            .collect();
        let found: Vec<_> = listing
            .iter()
            .map(|entry| (entry.name.to_bytes().to_vec(), entry.inode))
            .collect();
        assert!(found.is_sorted_by_key(|(_, inode)| *inode));
        assert_eq!(found.len(), 1503);
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        let link = listing.iter().find(|entry| entry.name == c"link").unwrap();
        assert!(matches!(link.kind, Some(FileKind::Symlink) | None));
    }

    #[test]
    fn a_listing_used_again_forgets_the_old_entries_and_sorts_by_name() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("empty")).unwrap();
        for name in ["b", "c", "a"] {
            fs::write(root.path().join(name), b"").unwrap();
        }
        let mut reader = DirectoryReader::new();
        let mut listing = Listing::new();
        let top = open_directory_path(root.path()).unwrap();
        reader.read(&top, Order::Name, &mut listing).unwrap();
        let names: Vec<_> = listing.iter().map(|entry| entry.name.to_owned()).collect();
        assert_eq!(names, [c"a", c"b", c"c", c"empty"].map(CStr::to_owned));
        let empty = open_directory(&top, c"empty").unwrap();
        reader.read(&empty, Order::Name, &mut listing).unwrap();
        assert!(listing.is_empty());
    }

    #[test]
    fn symlinks_and_files_are_not_opened_as_directories() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("real")).unwrap();
        fs::write(root.path().join("file"), b"").unwrap();
        symlink("real", root.path().join("link")).unwrap();
        let top = open_directory_path(root.path()).unwrap();
        assert!(open_directory(&top, "real").is_ok());
        for name in ["link", "file"] {
            let error = open_directory(&top, name).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR), "{name}");
        }
    }
}
