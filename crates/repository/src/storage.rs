//! The file system under a repository, and the order in which things become durable.
//!
//! Everything that a repository creates, replaces or removes goes through here. A file that is
//! replaced is written beside its place, synced, renamed over it, and its directory synced. A
//! failed sync is final: the kernel may have dropped the data and would call the next one good.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::{Path, PathBuf};

use fastness_sys::{file, sync};
use rustix::fs::Advice;

use crate::error::{RepositoryError, Result};

/// Makes an error of this crate of one of the system.
pub(crate) fn failed(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> RepositoryError {
    let path = path.to_owned();
    move |source| RepositoryError::Io {
        action,
        path,
        source,
    }
}

/// Creates a file that must not exist yet.
pub(crate) fn create_new(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed("create", path))
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(failed("open", path))
}

/// Opens a file for reading if it exists.
pub(crate) fn open_if_exists(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some).map_err(failed("open", path)),
    }
}

/// Returns the length of a file if it exists.
pub(crate) fn file_len(path: &Path) -> Result<Option<u64>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result
            .map(|metadata| Some(metadata.len()))
            .map_err(failed("stat", path)),
    }
}

/// Reads a whole small file if it exists; one longer than `limit` is an error.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(file) = open_if_exists(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        let error = io::Error::from(ErrorKind::FileTooLarge);
        return Err(failed("read", path)(error));
    }
    Ok(Some(bytes))
}

/// Reads into the spare room of `buffer` until it has `len` bytes or the file ends.
pub(crate) fn read_at(
    from: &File,
    path: &Path,
    offset: u64,
    len: usize,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    // A buffer that was used before may have far more room than is wanted.
    buffer.reserve_exact(len);
    file::read_full_at(from, offset, buffer, len).map_err(failed("read", path))?;
    Ok(())
}

/// Writes several buffers one after the other, with as few calls as possible.
pub(crate) fn write_all(mut file: &File, path: &Path, buffers: &[&[u8]]) -> Result<()> {
    let mut slices: Vec<_> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
    let mut left = slices.as_mut_slice();
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(failed("write", path)(ErrorKind::WriteZero.into())),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("write", path)(error)),
        }
    }
    Ok(())
}

/// Makes the content of a file durable.
pub(crate) fn sync_data(file: &File, path: &Path) -> Result<()> {
    sync::sync_data(file).map_err(failed("fdatasync", path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    sync::sync_directory(path).map_err(failed("fsync", path))
}

/// Tells the kernel how a part of a file is used; it may do nothing.
pub(crate) fn advise(file: &File, offset: u64, len: u64, advice: Advice) {
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(len), advice);
}

/// The name beside `path` under which this process writes what is to replace it.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Replaces a file: whatever happens, it has the old content or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    replace_with(path, |file, temporary| {
        write_all(file, temporary, &[content])
    })
}

/// As [`replace`], with content that `write` writes.
pub(crate) fn replace_with(
    path: &Path,
    write: impl FnOnce(&File, &Path) -> Result<()>,
) -> Result<()> {
    let temporary = temporary(path);
    remove_if_exists(&temporary)?;
    let result = (|| {
        let file = create_new(&temporary)?;
        write(&file, &temporary)?;
        sync_data(&file, &temporary)?;
        rename(&temporary, path)
    })();
    if result.is_err() {
        // Nobody needs it; the next writer removes it if this fails.
        let _ = fs::remove_file(&temporary);
        return result;
    }
    sync_dir(parent(path))
}

/// Writes a new file and makes it durable, but not its name.
pub(crate) fn write_synced(path: &Path, parts: &[&[u8]]) -> Result<()> {
    remove_if_exists(path)?;
    let file = create_new(path)?;
    write_all(&file, path, parts)?;
    sync_data(&file, path)
}

/// Appends a line to a file, which is created if it does not exist.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<()> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed("open", path))?;
    write_all(&file, path, &[line.as_bytes(), b"\n"])
}

/// Gives a file another name, in place of the file that has it.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(failed("rename", to))
}

/// Removes a file if it exists.
pub(crate) fn remove_if_exists(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // A full file system that cannot even remove: give up the content first.
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            let file = OpenOptions::new().write(true).open(path);
            file.and_then(|file| file.set_len(0))
                .and_then(|()| fs::remove_file(path))
                .map_err(failed("unlink", path))
        }
        result => result.map_err(failed("unlink", path)),
    }
}

/// Removes a file whose content must not remain: it is overwritten, unless it has another name.
pub(crate) fn erase(path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    if metadata.nlink() == 1 && metadata.is_file() {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(failed("open", path))?;
        let zeros = vec![0; metadata.len().min(1 << 20) as usize];
        write_all(&file, path, &[&zeros])?;
        sync_data(&file, path)?;
    }
    remove_if_exists(path)
}

/// The names in a directory. An error in the middle is an error: a short list would make files
/// look missing.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(path).map_err(failed("list", path))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", path))?;
        // Names that are no UTF-8 are none of ours.
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Creates a directory unless it exists; tells whether it did not.
pub(crate) fn create_dir(path: &Path) -> Result<bool> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        result => result.map(|()| true).map_err(failed("mkdir", path)),
    }
}

/// Bytes that an ordinary user may still write.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The directory that a file is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_nothing_beside_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        replace(&path, b"first").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(dir.path()).unwrap(), ["config"]);
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        replace(&path, b"first").unwrap();
        let result = replace_with(&path, |_, path| {
            Err(failed("write", path)(ErrorKind::StorageFull.into()))
        });
        assert!(result.unwrap_err().is_disk_full());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(dir.path()).unwrap(), ["config"]);
    }

    #[test]
    fn reading_beyond_the_end_gives_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = create_new(&path).unwrap();
        write_all(&file, &path, &[b"ab", b"", b"cdef"]).unwrap();
        let mut buffer = b"x".to_vec();
        read_at(&file, &path, 1, 3, &mut buffer).unwrap();
        assert_eq!(buffer, b"xbcd");
        read_at(&file, &path, 4, 100, &mut buffer).unwrap();
        assert_eq!(buffer, b"xbcdef");
        assert!(read_small(&path, 5).is_err());
        assert_eq!(read_small(&path, 6).unwrap().unwrap(), b"abcdef");
    }

    #[test]
    fn erasing_overwrites_only_files_without_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, "secret").unwrap();
        fs::hard_link(&one, &two).unwrap();
        erase(&two).unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"secret");
        assert!(!two.exists());
        erase(&one).unwrap();
        erase(&one).unwrap();
        assert!(!one.exists());
    }
}
