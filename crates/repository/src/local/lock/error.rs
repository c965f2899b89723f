//! What can go wrong with a lock, in words that tell who holds it and what to do.
//!
//! Names and exit codes are Borg's: [`LockError::msgid`] travels over the wire and into JSON logs.

use fastness_format::lock_roster::{LockIdentity, LockKind};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Somebody who holds a lock that was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// How the lock is held.
    pub kind: LockKind,
    /// Who holds it; `Err` with the name of its file when that is of no known form.
    pub identity: Result<LockIdentity, String>,
    /// How long it is held, where that is known.
    pub age: Option<Duration>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identity {
            Ok(holder) => write!(f, "process {} on {}", holder.pid, holder.host_id)?,
            Err(name) => write!(f, "a holder with the unknown name {name:?}")?,
        }
        match (self.kind, self.age.map(|age| age.as_secs())) {
            (LockKind::Shared, _) => f.write_str(" (reading)"),
            (LockKind::Exclusive, None) => Ok(()),
            (_, Some(seconds @ ..120)) => write!(f, " (for {seconds} seconds)"),
            (_, Some(seconds @ ..7200)) => write!(f, " (for {} minutes)", seconds / 60),
            (_, Some(seconds @ ..172_800)) => write!(f, " (for {} hours)", seconds / 3600),
            (_, Some(seconds)) => write!(f, " (for {} days)", seconds / 86400),
        }
    }
}

/// A lock could not be taken, changed or released.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Others hold the lock, and did so for as long as the caller would wait.
    #[error(
        "Failed to create/acquire the lock {} (timeout).{} \
         Wait for it to end or give a longer --lock-wait. \
         Only if no such process runs any more anywhere: borg break-lock {}",
        path.display(), held_by(holders), guarded(path).display()
    )]
    Timeout {
        /// The lock file or directory.
        path: PathBuf,
        /// Those who hold it.
        holders: Vec<Holder>,
    },
    /// The file system refused.
    #[error("Failed to create/acquire the lock {} ({source}).", path.display())]
    Failed {
        /// The lock file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The lock to release is not there any more: somebody broke it.
    #[error(
        "Failed to release the lock {} (was not locked). \
         Somebody removed it while it was held, probably with borg break-lock.",
        path.display()
    )]
    NotLocked {
        /// The lock directory.
        path: PathBuf,
    },
    /// The lock to release belongs to somebody else now: the own one was broken.
    #[error(
        "Failed to release the lock {} (was/is locked, but not by me).{}",
        path.display(), held_by(holders)
    )]
    NotMyLock {
        /// The lock directory.
        path: PathBuf,
        /// Those who hold it now.
        holders: Vec<Holder>,
    },
}

impl LockError {
    /// Returns Borg's name of this error.
    pub fn msgid(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "LockTimeout",
            Self::Failed { .. } => "LockFailed",
            Self::NotLocked { .. } => "NotLocked",
            Self::NotMyLock { .. } => "NotMyLock",
        }
    }

    /// Returns the lock file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Timeout { path, .. }
            | Self::Failed { path, .. }
            | Self::NotLocked { path }
            | Self::NotMyLock { path, .. } => path,
        }
    }
}

fn held_by(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let names: Vec<_> = holders.iter().map(Holder::to_string).collect();
    format!(" It is held by {}.", names.join(", "))
}

fn guarded(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
