//! Opening and reading regular files for backup.
//!
//! Files are opened relative to their directory, never through a symlink, never
//! waiting (a fifo put in a file's place must not stop the run), and without
//! touching the access time where allowed. Data goes straight into the spare room of
//! a vector: no zeroing before, no copy after.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::directory::open_quietly;

/// Opens `name` in `directory` for reading; symlinks are refused with `ELOOP`.
///
/// The caller checks with [`crate::stat::stat_open`] that it got what it had seen.
///
/// # Errors
/// The error of `openat`.
pub fn open_for_reading(directory: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    open_quietly(directory, name, OFlags::NOFOLLOW | OFlags::NONBLOCK)
}

/// Opens a device or fifo whose content is wanted; waits for a writer if need be.
///
/// # Errors
/// The error of `openat`.
pub fn open_special(directory: impl AsFd, name: impl Arg, links: Links) -> io::Result<OwnedFd> {
    match links {
        Links::Refuse => open_quietly(directory, name, OFlags::NOFOLLOW),
        Links::Follow => open_quietly(directory, name, OFlags::empty()),
    }
}

/// What to do with a symlink at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Fail.
    Refuse,
    /// Go where it leads.
    Follow,
}

/// Appends up to `limit` bytes from the file's position to `buffer`, in one call.
///
/// Returns the number of bytes; 0 is the end of the file.
///
/// # Errors
/// The error of `read`; an interrupted call is repeated.
pub fn read_some(file: impl AsFd, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    transfer(buffer, limit, |room| {
        rustix::io::read(file.as_fd(), room).map(|(filled, _)| filled.len())
    })
}

/// Tells whether nothing can be read of `file` for this time: not even that it ended.
///
/// When the system does not say, the answer is no, and whoever reads learns why.
pub fn stays_silent(file: impl AsFd, time: Duration) -> bool {
    let Ok(timeout) = rustix::event::Timespec::try_from(time) else {
        return false;
    };
    let mut files = [PollFd::new(&file, PollFlags::IN)];
    match rustix::event::poll(&mut files, Some(&timeout)) {
        Ok(ready) => ready == 0,
        Err(error) => error == Errno::INTR,
    }
}

/// Appends up to `limit` bytes found at `offset` to `buffer`, in one call.
///
/// Returns the number of bytes; 0 is the end of the file.
///
/// # Errors
/// The error of `pread`; an interrupted call is repeated.
pub fn read_some_at(
    file: impl AsFd,
    offset: u64,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> io::Result<usize> {
    transfer(buffer, limit, |room| {
        rustix::io::pread(file.as_fd(), room, offset).map(|(filled, _)| filled.len())
    })
}

/// Appends `limit` bytes from the file's position, fewer only at the end of the file.
///
/// # Errors
/// The error of `read`; what was read before it stays in `buffer`.
pub fn read_full(file: impl AsFd, buffer: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    let mut done = 0;
    while done < limit {
        match read_some(file.as_fd(), buffer, limit.saturating_sub(done))? {
            0 => break,
            count => done = done.saturating_add(count),
        }
    }
    Ok(done)
}

/// Appends `limit` bytes found at `offset`, fewer only at the end of the file.
///
/// # Errors
/// The error of `pread`; what was read before it stays in `buffer`.
pub fn read_full_at(
    file: impl AsFd,
    offset: u64,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> io::Result<usize> {
    let mut done = 0;
    while done < limit {
        let at = offset.saturating_add(done as u64);
        match read_some_at(file.as_fd(), at, buffer, limit.saturating_sub(done))? {
            0 => break,
            count => done = done.saturating_add(count),
        }
    }
    Ok(done)
}

fn transfer(
    buffer: &mut Vec<u8>,
    limit: usize,
    call: impl Fn(&mut [MaybeUninit<u8>]) -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    buffer.reserve(limit);
    let length = buffer.len();
    let spare = buffer.spare_capacity_mut();
    let room = spare.get_mut(..limit).ok_or(io::ErrorKind::InvalidInput)?;
    let count = loop {
        match call(room) {
            Err(Errno::INTR) => {}
            other => break other?.min(limit),
        }
    };
    // SAFETY: `reserve` made room for `length + limit` bytes, and the kernel has
    // written the first `count <= limit` of those after `length`.
    unsafe { buffer.set_len(length + count) };
    Ok(count)
}

/// What will be done with a range of a file, told to the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Read from front to back: read ahead further.
    Sequential,
    /// Read soon: begin now.
    WillNeed,
    /// Done with: may leave the cache.
    DontNeed,
}

/// Advises the page cache about `length` bytes at `offset` (0 = to the end).
///
/// Never fails: advice that cannot be followed changes speed only.
pub fn advise(file: impl AsFd, offset: u64, length: u64, usage: Usage) {
    let advice = match usage {
        Usage::Sequential => Advice::Sequential,
        Usage::WillNeed => Advice::WillNeed,
        Usage::DontNeed => Advice::DontNeed,
    };
    let _ = fadvise(file, offset, std::num::NonZeroU64::new(length), advice);
}

/// Returns the target of the symlink `name` in `directory`.
///
/// # Errors
/// The error of `readlinkat`.
pub fn read_link(directory: impl AsFd, name: impl Arg) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::open_directory_path;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn reads_append_and_never_pass_their_limit() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), b"0123456789").unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let file = open_for_reading(&top, "file").unwrap();
        let mut buffer = Vec::with_capacity(1000);
        buffer.extend_from_slice(b"<");
        assert_eq!(read_some(&file, &mut buffer, 4).unwrap(), 4);
        assert_eq!(buffer, b"<0123");
        assert_eq!(read_full(&file, &mut buffer, 100).unwrap(), 6);
        assert_eq!(read_some(&file, &mut buffer, 4).unwrap(), 0);
        assert_eq!(buffer, b"<0123456789");
        assert_eq!(read_full_at(&file, 7, &mut buffer, 2).unwrap(), 2);
        assert_eq!(read_some_at(&file, 99, &mut buffer, 2).unwrap(), 0);
        assert_eq!(read_some(&file, &mut buffer, 0).unwrap(), 0);
        assert_eq!(buffer, b"<012345678978");
    }

    #[test]
    fn a_symlink_is_refused_and_a_fifo_does_not_block() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), b"x").unwrap();
        symlink("file", root.path().join("link")).unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let error = open_for_reading(&top, "link").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ELOOP));
        assert_eq!(read_link(&top, "link").unwrap(), b"file");
        assert!(open_special(&top, "link", Links::Refuse).is_err());
        assert!(open_special(&top, "link", Links::Follow).is_ok());
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(&top, "fifo", mode).unwrap();
        let fifo = open_for_reading(&top, "fifo").unwrap();
        assert_eq!(
            crate::stat::stat_open(&fifo).unwrap().kind(),
            crate::stat::FileKind::Fifo
        );
    }

    #[test]
    fn reading_leaves_the_access_time_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), b"x").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let times = fs::FileTimes::new().set_accessed(old);
        fs::File::options()
            .write(true)
            .open(root.path().join("file"))
            .unwrap()
            .set_times(times)
            .unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let file = open_for_reading(&top, "file").unwrap();
        let mut buffer = Vec::new();
        assert_eq!(read_full(&file, &mut buffer, 10).unwrap(), 1);
        advise(&file, 0, 0, Usage::DontNeed);
        assert_eq!(
            crate::stat::stat_open(&file).unwrap().atime,
            1_000_000_000_000_000
        );
    }
}
