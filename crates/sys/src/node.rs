//! One file as a target of metadata calls: open, or named within an open directory.
//!
//! Reading and restoring of attributes use this, so that each is written once for
//! files that are open anyway and for those that cannot or must not be opened
//! (symlinks, devices, unchanged files). A named node is never followed if it is a
//! symlink, and its directory is pinned by a descriptor: nothing here walks a path
//! that somebody else could change.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, Uid, chmodat, chownat,
    fchmod, fchown, futimens, openat, utimensat,
};

use crate::inode_flags::{self, InodeFlags};
use crate::stat::{self, FileKind, Stat};

/// A file by its descriptor or by its place.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// An open file.
    Open(BorrowedFd<'a>),
    /// The entry of an open directory; a symlink stands for itself.
    Entry {
        /// The open directory.
        directory: BorrowedFd<'a>,
        /// One name in it. An absolute path is taken as such.
        name: &'a CStr,
    },
}

/// A new time for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Nanoseconds since the epoch.
    At(i64),
    /// The moment of the call.
    Now,
}

impl Time {
    fn timespec(self) -> Timespec {
        match self {
            Self::At(nanoseconds) => Timespec {
                tv_sec: nanoseconds.div_euclid(1_000_000_000),
                tv_nsec: nanoseconds.rem_euclid(1_000_000_000),
            },
            Self::Now => Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
        }
    }
}

impl<'a> Node<'a> {
    /// Returns the node of an open file.
    pub fn open(file: &'a impl AsFd) -> Self {
        Self::Open(file.as_fd())
    }

    /// Returns the node `name` in `directory`.
    pub fn entry(directory: &'a impl AsFd, name: &'a CStr) -> Self {
        Self::Entry {
            directory: directory.as_fd(),
            name,
        }
    }

    /// Returns the file's metadata.
    ///
    /// # Errors
    /// The error of `statx`.
    pub fn stat(self) -> io::Result<Stat> {
        match self {
            Self::Open(file) => stat::stat_open(file),
            Self::Entry { directory, name } => stat::stat_entry(directory, name),
        }
    }

    /// Changes the owner, the group, or both.
    ///
    /// # Errors
    /// The error of `chown`; `(u32)-1` is no id.
    pub fn set_owner(self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let valid = |id: Option<u32>| id != Some(u32::MAX);
        if !valid(uid) || !valid(gid) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(file) => fchown(file, uid, gid)?,
            Self::Entry { directory, name } => {
                chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }

    /// Sets the permission bits of `mode`; on a symlink, which has none, does nothing.
    ///
    /// # Errors
    /// The error of `chmod`, or of finding the inode by name.
    pub fn set_permissions(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let (directory, name) = match self {
            Self::Open(file) => return Ok(fchmod(file, mode)?),
            Self::Entry { directory, name } => (directory, name),
        };
        // The classic call would follow a symlink put here meanwhile, so the inode is
        // pinned without opening it for use, and changed through its descriptor.
        let how = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pinned = openat(directory, name, how, Mode::empty())?;
        if stat::stat_open(&pinned)?.kind() == FileKind::Symlink {
            return Ok(());
        }
        let path = format!("/proc/self/fd/{}", pinned.as_raw_fd());
        Ok(chmodat(CWD, path, mode, AtFlags::empty())?)
    }

    /// Sets access and modification time.
    ///
    /// # Errors
    /// The error of `utimensat`.
    pub fn set_times(self, access: Time, modification: Time) -> io::Result<()> {
        let times = Timestamps {
            last_access: access.timespec(),
            last_modification: modification.timespec(),
        };
        match self {
            Self::Open(file) => futimens(file, &times)?,
            Self::Entry { directory, name } => {
                utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }

    /// Sets the inode flags; kinds that cannot have any are left alone.
    ///
    /// # Errors
    /// The error of opening or of the `ioctl`.
    pub fn set_flags(self, flags: InodeFlags) -> io::Result<()> {
        let (directory, name) = match self {
            Self::Open(file) => return inode_flags::write(file, flags),
            Self::Entry { directory, name } => (directory, name),
        };
        // Opening a device may wake hardware up, and a symlink cannot be opened.
        let kind = self.stat()?.kind();
        if !matches!(kind, FileKind::Regular | FileKind::Directory) {
            return Ok(());
        }
        let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        inode_flags::write(openat(directory, name, how, Mode::empty())?, flags)
    }
}

/// Calls `use_path` with a path of an entry that no symlink planted meanwhile can bend:
/// the directory is entered through its descriptor. For calls that take paths only.
pub(crate) fn with_path<T>(
    directory: BorrowedFd<'_>,
    name: &CStr,
    use_path: impl FnOnce(&CStr) -> io::Result<T>,
) -> io::Result<T> {
    let bytes = name.to_bytes_with_nul();
    if bytes.starts_with(b"/") || directory.as_raw_fd() == CWD.as_raw_fd() {
        return use_path(name);
    }
    // A name has at most 255 bytes on nearly every file system: no allocation then.
    let mut stack = [0u8; 320];
    let room = stack.len();
    let mut rest = stack.as_mut_slice();
    let written = write!(rest, "/proc/self/fd/{}/", directory.as_raw_fd())
        .and_then(|()| rest.write_all(bytes));
    if written.is_ok() {
        let length = room - rest.len();
        let path = stack.get(..length).unwrap_or_default();
        let path = CStr::from_bytes_with_nul(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        return use_path(path);
    }
    let mut long = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    long.extend_from_slice(name.to_bytes());
    let path = CString::new(long).map_err(|_| io::ErrorKind::InvalidInput)?;
    use_path(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::open_directory_path;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn an_entry_is_changed_without_following_it() {
        let root = tempfile::tempdir().unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let target = root.path().join("target");
        fs::write(&target, b"").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("target", root.path().join("link")).unwrap();
        let before = stat::stat_path(&target).unwrap();
        let link = Node::entry(&top, c"link");
        link.set_permissions(0o777).unwrap();
        link.set_times(Time::At(-1), Time::At(1_234_567_890_123_456_789))
            .unwrap();
        link.set_flags(InodeFlags {
            nodump: true,
            ..Default::default()
        })
        .unwrap();
        if rustix::process::geteuid().is_root() {
            link.set_owner(Some(12345), Some(54321)).unwrap();
            let changed = link.stat().unwrap();
            assert_eq!((changed.uid, changed.gid), (12345, 54321));
        }
        assert_eq!(link.stat().unwrap().mtime, 1_234_567_890_123_456_789);
        assert_eq!(link.stat().unwrap().atime, -1);
        assert_eq!(stat::stat_path(&target).unwrap(), before);
    }

    #[test]
    fn files_devices_and_open_nodes_get_modes_and_times() {
        let root = tempfile::tempdir().unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let path = root.path().join("file");
        let file = fs::File::create(&path).unwrap();
        rustix::fs::mkfifoat(&top, c"fifo", Mode::from_raw_mode(0o600)).unwrap();
        for node in [
            Node::open(&file),
            Node::entry(&top, c"fifo"),
            Node::entry(&top, c"file"),
        ] {
            node.set_permissions(0o100_4750).unwrap();
            node.set_times(Time::Now, Time::At(77)).unwrap();
            assert_eq!(node.stat().unwrap().mode & 0o7777, 0o4750);
            assert_eq!(node.stat().unwrap().mtime, 77);
        }
        assert!(fs::metadata(&path).unwrap().atime() > 1_000_000_000);
        let invalid = Node::open(&file)
            .set_owner(Some(u32::MAX), None)
            .unwrap_err();
        assert_eq!(invalid.kind(), io::ErrorKind::InvalidInput);
    }
}
