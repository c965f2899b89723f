//! The inode flags that Borg archives: immutable, append-only, no-dump.
//!
//! Linux keeps them per inode (`chattr`); Borg stores them as the BSD `UF_*` bits in
//! an item's `bsdflags`. [`crate::stat`] usually tells them for free; the `ioctl`
//! here serves file systems that do not, and restoring.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, openat};
use rustix::io::Errno;
use rustix::path::Arg;

const UF_NODUMP: u32 = 1;
const UF_IMMUTABLE: u32 = 2;
const UF_APPEND: u32 = 4;

/// The three flags of one inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InodeFlags {
    /// `chattr +i`: cannot be changed, renamed or removed.
    pub immutable: bool,
    /// `chattr +a`: can only be appended to.
    pub append: bool,
    /// `chattr +d`: asks backup programs to leave the file out.
    pub nodump: bool,
}

impl InodeFlags {
    /// Returns the flags as the BSD bits that Borg stores.
    #[must_use]
    pub fn to_bsd(self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        bit(self.nodump, UF_NODUMP)
            | bit(self.immutable, UF_IMMUTABLE)
            | bit(self.append, UF_APPEND)
    }

    /// Returns the flags named by BSD bits; bits without a Linux equal are dropped.
    #[must_use]
    pub fn from_bsd(bits: u32) -> Self {
        Self {
            immutable: bits & UF_IMMUTABLE != 0,
            append: bits & UF_APPEND != 0,
            nodump: bits & UF_NODUMP != 0,
        }
    }
}

/// Returns the flags of an open file or directory.
///
/// # Errors
/// The error of the `ioctl`; `ENOTTY` and its like mean "this file system has none".
pub fn read(file: impl AsFd) -> io::Result<InodeFlags> {
    let flags = ioctl_getflags(file)?;
    Ok(InodeFlags {
        immutable: flags.contains(IFlags::IMMUTABLE),
        append: flags.contains(IFlags::APPEND),
        nodump: flags.contains(IFlags::NODUMP),
    })
}

/// Sets the three flags of an open file or directory and leaves every other flag alone.
///
/// Nothing is written when they are as wanted already.
///
/// # Errors
/// The error of reading or of setting: without knowledge of the present flags nothing
/// is written, because writing replaces all of them.
pub fn write(file: impl AsFd, wanted: InodeFlags) -> io::Result<()> {
    let file = file.as_fd();
    let present = ioctl_getflags(file)?;
    let mut new = present;
    new.set(IFlags::IMMUTABLE, wanted.immutable);
    new.set(IFlags::APPEND, wanted.append);
    new.set(IFlags::NODUMP, wanted.nodump);
    if new != present {
        ioctl_setflags(file, new)?;
    }
    Ok(())
}

/// Returns the flags of a regular file or directory by name, opening it for the question.
///
/// The caller has seen by `stat` that it is one: opening other kinds may have effects.
///
/// # Errors
/// The error of opening; a file system without flags answers with none.
pub fn read_entry(directory: impl AsFd, name: impl Arg) -> io::Result<InodeFlags> {
    let how =
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(directory, name, how, Mode::empty())?;
    match read(&file) {
        Err(error) if is_unsupported(&error) => Ok(InodeFlags::default()),
        other => other,
    }
}

/// Says whether an error of [`read`] or [`write()`] means that there are no flags here.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::NOTTY, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::stat_open;

    #[test]
    fn bsd_bits_are_those_borg_stores() {
        for bits in 0..8 {
            assert_eq!(InodeFlags::from_bsd(bits).to_bsd(), bits);
        }
        let nodump = InodeFlags {
            nodump: true,
            ..Default::default()
        };
        assert_eq!(nodump.to_bsd(), 1);
        assert_eq!(
            InodeFlags::from_bsd(0x20).to_bsd(),
            0,
            "UF_COMPRESSED has no Linux equal"
        );
    }

    #[test]
    fn flags_set_are_flags_read_by_both_ways() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        let wanted = InodeFlags {
            nodump: true,
            ..Default::default()
        };
        match write(&file, wanted) {
            Err(error) if is_unsupported(&error) => {
                assert_eq!(
                    stat_open(&file).unwrap().flags.unwrap_or_default(),
                    InodeFlags::default()
                );
            }
            outcome => {
                outcome.unwrap();
                assert_eq!(read(&file).unwrap(), wanted);
                if let Some(flags) = stat_open(&file).unwrap().flags {
                    assert_eq!(flags, wanted);
                }
                let directory = std::fs::File::open(root.path()).unwrap();
                assert_eq!(read_entry(&directory, "file").unwrap(), wanted);
                write(&file, InodeFlags::default()).unwrap();
                assert_eq!(read(&file).unwrap(), InodeFlags::default());
            }
        }
    }
}
