//! Where a run keeps its own files: for as long as it runs, and between runs.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags};

use crate::config::paths::{Variables, expand_home};
use crate::config::typed::Access;

/// Why there is no runtime directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A relative path would mean another place in each command.
    #[error("the runtime directory {0:?} must be an absolute path")]
    Relative(String),
    /// It cannot be made.
    #[error("the runtime directory {} cannot be made", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Returns the directory of what is remembered between runs.
pub fn state_directory(access: &Access, variable: Variables<'_>) -> PathBuf {
    let base = access
        .user_state_directory
        .clone()
        .or_else(|| set(variable, "XDG_STATE_HOME"))
        .or_else(|| systemd(variable, "STATE_DIRECTORY"))
        .unwrap_or_else(|| "~/.local/state".to_owned());
    Path::new(&expand_home(&base, variable)).join("borgmatic")
}

/// A private directory that is gone when the run is over.
///
/// As long as the run lives it holds a lock on it: one without a lock was left by a run that was
/// killed, and the next run removes it.
#[derive(Debug)]
pub struct RuntimeDirectory {
    temporary: PathBuf,
    _lock: OwnedFd,
}

/// What tells our directories from those of borgmatic, which has the same names for them.
pub const MARK: &str = ".fastness";

impl RuntimeDirectory {
    /// Makes it.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn create(
        access: &Access,
        variable: Variables<'_>,
        unique: &str,
    ) -> Result<Self, DirectoryError> {
        use std::os::unix::fs::DirBuilderExt;
        let base = access
            .user_runtime_directory
            .clone()
            .or_else(|| set(variable, "XDG_RUNTIME_DIR"))
            .or_else(|| systemd(variable, "RUNTIME_DIRECTORY"))
            .or_else(|| set(variable, "TMPDIR"))
            .or_else(|| set(variable, "TEMP"))
            .unwrap_or_else(|| "/tmp".to_owned());
        let base = expand_home(&base, variable);
        if !base.starts_with('/') {
            return Err(DirectoryError::Relative(base));
        }
        let temporary = Path::new(&base).join(format!("borgmatic-{unique}"));
        let failed = |path: &Path, source| DirectoryError::Make {
            path: path.to_owned(),
            source,
        };
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder
            .create(&base)
            .map_err(|error| failed(Path::new(&base), error))?;
        remove_leftovers(Path::new(&base));
        // Not recursive: an existing directory may be someone else's trap.
        builder.recursive(false);
        // It gets its name when it is marked and locked.
        let nameless = Path::new(&base).join(format!(".borgmatic-{unique}"));
        builder
            .create(&nameless)
            .map_err(|error| failed(&nameless, error))?;
        let lock = prepared(&nameless, &temporary).map_err(|error| {
            let _ = std::fs::remove_dir_all(&nameless);
            failed(&temporary, error)
        })?;
        let directory = Self {
            temporary,
            _lock: lock,
        };
        let inner = directory.path();
        builder
            .create(&inner)
            .map_err(|error| failed(&inner, error))?;
        Ok(directory)
    }

    /// The directory itself. Its `/./` lets Borg store contents as `borgmatic/…`.
    pub fn path(&self) -> PathBuf {
        self.temporary.join("./borgmatic")
    }
}

/// Marks and locks a new directory, and gives it its name if nothing has it.
fn prepared(nameless: &Path, name: &Path) -> std::io::Result<OwnedFd> {
    std::fs::write(nameless.join(MARK), "")?;
    let lock = OwnedFd::from(std::fs::File::open(nameless)?);
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let (from, to) = (nameless, name);
    rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?;
    Ok(lock)
}

/// Removes what killed runs left behind, as far as that can be done.
fn remove_leftovers(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().as_bytes().starts_with(b"borgmatic-")
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && path.join(MARK).exists();
        let Some(directory) = ours.then(|| std::fs::File::open(&path).ok()).flatten() else {
            continue;
        };
        if rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&path);
        }
    }
}

impl Drop for RuntimeDirectory {
    fn drop(&mut self) {
        remove(&self.temporary);
    }
}

/// Removes a temporary directory. While something is mounted in it, it stays: what is there is no
/// part of it.
fn remove(path: &Path) {
    if !mounts().iter().any(|mount| mount.starts_with(path)) {
        // What cannot be removed is temporary anyway.
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Returns the mount points that this process sees.
pub fn mounts() -> Vec<PathBuf> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|path| PathBuf::from(OsString::from_vec(unescaped(path))))
        .collect()
}

/// Blanks and the like stand there as a backslash with three octal digits.
fn unescaped(mut path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((first, rest)) = path.split_first() {
        let digits = rest.first_chunk::<3>().filter(|_| *first == b'\\');
        let value = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let value = value.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(value.unwrap_or(*first));
        path = match value {
            Some(_) => rest.get(3..).unwrap_or_default(),
            None => rest,
        };
    }
    out
}

fn set(variable: Variables<'_>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.is_empty())
}

/// systemd gives a list; the first is ours.
fn systemd(variable: Variables<'_>, name: &str) -> Option<String> {
    let list = set(variable, name)?;
    list.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_directory_follows_option_environment_systemd_home() {
        let none = Access::default();
        let option = Access {
            user_state_directory: Some("/option".into()),
            ..Access::default()
        };
        let home = |name: &str| (name == "HOME").then(|| "/home/user".to_owned());
        let unit = |name: &str| (name == "STATE_DIRECTORY").then(|| "/var/lib/a:/var/lib/b".into());
        assert_eq!(
            state_directory(&option, &home),
            Path::new("/option/borgmatic")
        );
        assert_eq!(
            state_directory(&none, &unit),
            Path::new("/var/lib/a/borgmatic")
        );
        let default = Path::new("/home/user/.local/state/borgmatic");
        assert_eq!(state_directory(&none, &home), default);
    }

    #[test]
    fn the_runtime_directory_is_private_and_goes_with_its_guard() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let access = Access {
            user_runtime_directory: base.path().to_str().map(str::to_owned),
            ..Access::default()
        };
        let directory = RuntimeDirectory::create(&access, &|_| None, "x1").unwrap();
        let path = directory.path();
        assert_eq!(path, base.path().join("borgmatic-x1/./borgmatic"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(directory);
        assert!(!base.path().join("borgmatic-x1").exists());
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_others_use_is_not() {
        let base = tempfile::tempdir().unwrap();
        let access = Access {
            user_runtime_directory: base.path().to_str().map(str::to_owned),
            ..Access::default()
        };
        let used = RuntimeDirectory::create(&access, &|_| None, "used").unwrap();
        for name in ["borgmatic-killed", "borgmatic-of-borgmatic"] {
            std::fs::create_dir_all(base.path().join(name).join("borgmatic")).unwrap();
        }
        std::fs::write(base.path().join("borgmatic-killed").join(MARK), "").unwrap();
        let new = RuntimeDirectory::create(&access, &|_| None, "new").unwrap();
        let names = std::fs::read_dir(base.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(
            names,
            ["borgmatic-new", "borgmatic-of-borgmatic", "borgmatic-used"]
        );
        drop((used, new));
    }

    #[test]
    fn escaped_bytes_of_mount_points_are_restored() {
        assert_eq!(unescaped(b"/a\\040b\\134c\\x"), b"/a b\\c\\x");
        assert!(!mounts().is_empty() && mounts().iter().all(|mount| mount.is_absolute()));
    }

    #[test]
    fn an_existing_directory_is_never_taken_over() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("borgmatic-x1")).unwrap();
        let access = Access {
            user_runtime_directory: base.path().to_str().map(str::to_owned),
            ..Access::default()
        };
        assert!(RuntimeDirectory::create(&access, &|_| None, "x1").is_err());
        assert!(base.path().join("borgmatic-x1").exists());
    }
}
