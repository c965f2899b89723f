//! What the kernel knows about one file, by one `statx` call.
//!
//! Sits under directory walking and attribute collection. Besides the classic
//! fields `statx` tells the inode flags that Borg archives, so that an unchanged
//! file needs no `open` and no `ioctl` (see [`Stat::flags`]).
//! Times are nanoseconds since the epoch; numbers are as Python's `os.stat` gives
//! them, because Borg stores those.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Statx, StatxAttributes, StatxFlags, statx};
use rustix::path::Arg;

use crate::inode_flags::InodeFlags;

/// Kind of a file, from the type bits of its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Character device.
    CharacterDevice,
    /// Block device.
    BlockDevice,
    /// Socket.
    Socket,
    /// Anything else, for example a door or a whiteout of a foreign system.
    Other,
}

impl FileKind {
    /// Returns the kind that the type bits of `mode` stand for.
    #[must_use]
    pub fn from_mode(mode: u32) -> Self {
        match mode & libc::S_IFMT {
            libc::S_IFREG => Self::Regular,
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFCHR => Self::CharacterDevice,
            libc::S_IFBLK => Self::BlockDevice,
            libc::S_IFSOCK => Self::Socket,
            _ => Self::Other,
        }
    }

    /// Says whether Borg keeps hard links of this kind together.
    #[must_use]
    pub fn is_hardlinkable(self) -> bool {
        matches!(
            self,
            Self::Regular | Self::BlockDevice | Self::CharacterDevice | Self::Fifo
        )
    }
}

/// Metadata of one file at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device holding the file, encoded as glibc does.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Allocated space in units of 512 bytes.
    pub blocks: u64,
    /// Device number of a device node, encoded as glibc does.
    pub rdev: u64,
    /// Last access in ns.
    pub atime: i64,
    /// Last change of the content in ns.
    pub mtime: i64,
    /// Last change of the inode in ns.
    pub ctime: i64,
    /// Creation in ns, where the file system records it.
    pub birthtime: Option<i64>,
    /// The inode flags that Borg archives; `None` where this file system does not
    /// tell them by `statx` and only [`crate::inode_flags::read`] can.
    pub flags: Option<InodeFlags>,
}

impl Stat {
    /// Returns the kind of the file.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        FileKind::from_mode(self.mode)
    }

    /// Says whether both describe the same inode.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode && self.device == other.device
    }
}

/// Returns the metadata of `name` in `directory`; a symlink is described itself.
///
/// # Errors
/// The error of `statx`.
pub fn stat_entry(directory: impl AsFd, name: impl Arg) -> io::Result<Stat> {
    call(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Returns the metadata of what `name` in `directory` leads to through symlinks.
///
/// # Errors
/// The error of `statx`.
pub fn stat_followed(directory: impl AsFd, name: impl Arg) -> io::Result<Stat> {
    call(directory, name, AtFlags::empty())
}

/// Returns the metadata of an open file.
///
/// # Errors
/// The error of `statx`.
pub fn stat_open(file: impl AsFd) -> io::Result<Stat> {
    const EMPTY: &CStr = c"";
    call(file, EMPTY, AtFlags::EMPTY_PATH)
}

/// Returns the metadata of a path given by the user; symlinks are not followed at its end.
///
/// # Errors
/// The error of `statx`.
pub fn stat_path(path: impl Arg) -> io::Result<Stat> {
    stat_entry(rustix::fs::CWD, path)
}

fn call(directory: impl AsFd, name: impl Arg, flags: AtFlags) -> io::Result<Stat> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    // The classic stat calls never trigger an automount, so neither does this one.
    let raw = statx(directory, name, flags | AtFlags::NO_AUTOMOUNT, wanted)?;
    Ok(from_raw(&raw))
}

fn from_raw(raw: &Statx) -> Stat {
    let has_birthtime = raw.stx_mask & StatxFlags::BTIME.bits() != 0;
    Stat {
        device: rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
        inode: raw.stx_ino,
        mode: u32::from(raw.stx_mode),
        links: u64::from(raw.stx_nlink),
        uid: raw.stx_uid,
        gid: raw.stx_gid,
        size: raw.stx_size,
        blocks: raw.stx_blocks,
        rdev: rustix::fs::makedev(raw.stx_rdev_major, raw.stx_rdev_minor),
        atime: nanoseconds(raw.stx_atime.tv_sec, raw.stx_atime.tv_nsec),
        mtime: nanoseconds(raw.stx_mtime.tv_sec, raw.stx_mtime.tv_nsec),
        ctime: nanoseconds(raw.stx_ctime.tv_sec, raw.stx_ctime.tv_nsec),
        birthtime: has_birthtime.then(|| nanoseconds(raw.stx_btime.tv_sec, raw.stx_btime.tv_nsec)),
        flags: flags_of(raw.stx_attributes, raw.stx_attributes_mask),
    }
}

/// A file system that knows one of the three flags but does not report it here would
/// make Borg's item differ from ours, so all three bits must be in the mask.
fn flags_of(attributes: StatxAttributes, mask: StatxAttributes) -> Option<InodeFlags> {
    let known = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND | StatxAttributes::NODUMP;
    if !mask.contains(known) {
        return None;
    }
    Some(InodeFlags {
        immutable: attributes.contains(StatxAttributes::IMMUTABLE),
        append: attributes.contains(StatxAttributes::APPEND),
        nodump: attributes.contains(StatxAttributes::NODUMP),
    })
}

/// Times outside the range of an `i64` of nanoseconds (years 1677 to 2262) end at its limits.
fn nanoseconds(seconds: i64, nanoseconds: u32) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(nanoseconds))
}

/// Returns the major and the minor number in a device number.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

/// Returns the device number made of a major and a minor number.
pub fn device_number(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn fields_agree_with_the_standard_library() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, b"twelve bytes").unwrap();
        let directory = fs::File::open(root.path()).unwrap();
        let ours = stat_entry(&directory, "file").unwrap();
        let theirs = fs::metadata(&path).unwrap();
        assert_eq!(ours.inode, theirs.ino());
        assert_eq!(ours.device, theirs.dev());
        assert_eq!(ours.mode, theirs.mode());
        assert_eq!((ours.size, ours.blocks), (12, theirs.blocks()));
        assert_eq!(ours.links, theirs.nlink());
        assert_eq!((ours.uid, ours.gid), (theirs.uid(), theirs.gid()));
        assert_eq!(
            ours.mtime,
            theirs.mtime() * 1_000_000_000 + theirs.mtime_nsec()
        );
        assert_eq!(
            ours.ctime,
            theirs.ctime() * 1_000_000_000 + theirs.ctime_nsec()
        );
        assert_eq!(ours.kind(), FileKind::Regular);
        assert!(ours.is_same_file(&stat_open(fs::File::open(&path).unwrap()).unwrap()));
    }

    #[test]
    fn symlinks_are_followed_only_on_request() {
        let root = tempfile::tempdir().unwrap();
        let directory = fs::File::open(root.path()).unwrap();
        fs::create_dir(root.path().join("target")).unwrap();
        symlink("target", root.path().join("link")).unwrap();
        symlink("nowhere", root.path().join("dangling")).unwrap();
        assert_eq!(
            stat_entry(&directory, "link").unwrap().kind(),
            FileKind::Symlink
        );
        assert_eq!(
            stat_followed(&directory, "link").unwrap().kind(),
            FileKind::Directory
        );
        assert_eq!(
            stat_entry(&directory, "dangling").unwrap().kind(),
            FileKind::Symlink
        );
        let missing = stat_followed(&directory, "dangling").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn device_numbers_are_those_of_the_classic_stat() {
        let ours = stat_path("/dev/null").unwrap();
        let theirs = fs::metadata("/dev/null").unwrap();
        assert_eq!(ours.rdev, theirs.rdev());
        assert_eq!(ours.rdev, 1 << 8 | 3);
        assert_eq!(ours.kind(), FileKind::CharacterDevice);
    }

    #[test]
    fn times_before_the_epoch_and_beyond_the_range_do_not_wrap() {
        assert_eq!(nanoseconds(-1, 999_999_999), -1);
        assert_eq!(nanoseconds(i64::MAX, 0), i64::MAX);
        assert_eq!(nanoseconds(i64::MIN, 0), i64::MIN);
    }
}
