//! Making written data durable: files, directories, early write-back.
//!
//! The order of these calls is what a repository's crash safety rests on, so errors
//! are always given to the caller, who must treat them as loss: a failed `fsync` may
//! have dropped the dirty pages and is not to be repeated.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, fdatasync, fsync, open};
use rustix::io::Errno;
use rustix::path::Arg;

/// Waits until the data of `file`, and the metadata needed to read it, are on disk.
///
/// # Errors
/// The error of `fdatasync`.
pub fn sync_data(file: impl AsFd) -> io::Result<()> {
    Ok(fdatasync(file)?)
}

/// Waits until data and all metadata of `file` are on disk.
///
/// # Errors
/// The error of `fsync`.
pub fn sync_all(file: impl AsFd) -> io::Result<()> {
    Ok(fsync(file)?)
}

/// Waits until creations, renames and removals in the directory `path` are on disk.
///
/// # Errors
/// The error of opening or of `fsync`; network file systems that cannot sync a
/// directory (`EINVAL`) are taken as having done it, as Borg does.
pub fn sync_directory(path: impl Arg) -> io::Result<()> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(path, how, Mode::empty())?;
    sync_open_directory(directory)
}

/// [`sync_directory`] for a directory that is open already.
///
/// # Errors
/// The error of `fsync`, but for `EINVAL`.
pub fn sync_open_directory(directory: impl AsFd) -> io::Result<()> {
    match fsync(directory) {
        Err(Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// Starts writing dirty pages of a range to disk without waiting for them.
///
/// A hint to keep the later `fdatasync` short: promises nothing, so it cannot fail.
pub fn start_writeback(file: impl AsFd, offset: u64, length: u64) {
    use std::os::fd::AsRawFd;
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else {
        return;
    };
    let file = file.as_fd();
    // SAFETY: takes plain numbers and a descriptor that is open for the whole call.
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset,
            length,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_and_directories_sync_and_what_is_missing_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, b"data").unwrap();
        let file = fs::File::open(&path).unwrap();
        start_writeback(&file, 0, 4);
        sync_data(&file).unwrap();
        sync_all(&file).unwrap();
        sync_directory(root.path()).unwrap();
        assert!(sync_directory(root.path().join("missing")).is_err());
        assert!(sync_directory(&path).is_err(), "a file is no directory");
    }
}
