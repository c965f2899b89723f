//! Where a user's own files are, and how they are replaced.
//!
//! Keys, security database and caches live on the client, outside all repositories. The caller
//! finds the directories (environment and home directory are its business); the engine makes those
//! it writes into.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fastness_format::id::RepositoryId;

/// The directories of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directories {
    /// Configuration (`BORG_CONFIG_DIR`).
    pub config: PathBuf,
    /// Key files (`BORG_KEYS_DIR`).
    pub keys: PathBuf,
    /// What is known of repositories, a directory for each (`BORG_SECURITY_DIR`).
    pub security: PathBuf,
    /// Caches, a directory for each repository (`BORG_CACHE_DIR`).
    pub cache: PathBuf,
}

impl Directories {
    /// Returns the security directory of a repository.
    pub fn security_of(&self, repository: &RepositoryId) -> PathBuf {
        self.security.join(repository.to_string())
    }

    /// Returns the cache directory of a repository.
    pub fn cache_of(&self, repository: &RepositoryId) -> PathBuf {
        self.cache.join(repository.to_string())
    }
}

/// Makes a directory with its parents, if it is not there yet.
///
/// # Errors
/// When it cannot be made.
pub fn ensure(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// Puts a file in the place of another one: after a crash either is there, and whole.
///
/// When this returns, the new content survives a loss of power.
///
/// # Errors
/// When it cannot be written; the old file is there then.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    write_beside(path, content, None, |temporary| fs::rename(temporary, path))
}

/// As [`replace_file`], with these permissions whatever the umask is.
///
/// # Errors
/// As [`replace_file`].
pub fn replace_file_with_mode(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let put = |temporary: &Path| fs::rename(temporary, path);
    write_beside(path, content, Some(mode), put)
}

/// Creates a file, whole and durable, where there must be none.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when there is one; it is unchanged then.
pub fn create_file(path: &Path, content: &[u8]) -> io::Result<()> {
    write_beside(path, content, None, |temporary| {
        match fs::hard_link(temporary, path) {
            Ok(()) => fs::remove_file(temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // A file system without hard links: a look first has to do.
            Err(_) if path.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(temporary, path),
        }
    })
}

fn write_beside(
    path: &Path,
    content: &[u8],
    mode: Option<u32>,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = temporary_name(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let written = options
        .open(&temporary)
        .and_then(|mut file| {
            if let Some(mode) = mode {
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            file.write_all(content)?;
            file.sync_data()
        })
        .and_then(|()| put(&temporary));
    if let Err(error) = written {
        // The error that matters is the one before; an orphaned temporary file does no harm.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// `NAME-PID-N.tmp`: no other writer has it, in this process or another.
fn temporary_name(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        let error = create_file(&path, b"third").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"second");
        create_file(&directory.path().join("new"), b"x").unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
