//! What can go wrong with a repository, under the names that Borg gives it.
//!
//! The names ([`RepositoryError::msgid`]) travel over the wire and decide the exit code. The texts
//! are those of Borg where Borg has one, because scripts look for them.

use std::io;
use std::path::PathBuf;

use fastness_format::id::ChunkId;

use crate::local::lock::LockError;
use crate::remote::client::Ending;

/// Why an operation on a repository failed.
///
/// Every one of them ends the operation: what was not committed is rolled back.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is a repository where one is to be created, or above it.
    #[error("A repository already exists at {0}.")]
    AlreadyExists(String),
    /// The repository was made by Borg's ancestor.
    #[error("Attic repository detected. Please run \"borg upgrade {0}\".")]
    AtticRepository(String),
    /// Committed data is damaged or missing.
    #[error("Inconsistency detected. Please run \"borg check {location}\". ({reason})")]
    CheckNeeded {
        /// The repository.
        location: String,
        /// What was found.
        reason: String,
    },
    /// There is nothing.
    #[error("Repository {0} does not exist.")]
    DoesNotExist(String),
    /// A commit, and the compaction after it, may not find the space they need.
    #[error(
        "Insufficient free space to complete transaction (required: {}, available: {}).",
        format_bytes(*required), format_bytes(*available)
    )]
    InsufficientFreeSpace {
        /// Bytes demanded.
        required: u64,
        /// Bytes free.
        available: u64,
    },
    /// There is something, but no repository.
    #[error("{0} is not a valid repository. Check repo config.")]
    InvalidRepository(String),
    /// The config file cannot be used.
    #[error("{location} does not have a valid configuration. Check repo config [{reason}].")]
    InvalidRepositoryConfig {
        /// The repository.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No object has this id.
    #[error("Object with key {id} not found in repository {location}.")]
    ObjectNotFound {
        /// The id asked for.
        id: ChunkId,
        /// The repository.
        location: String,
    },
    /// The directory in which the repository is to be created does not exist.
    #[error("The parent path of the repo directory [{0}] does not exist.")]
    ParentPathDoesNotExist(String),
    /// Something else stands where a repository is to be created.
    #[error("There is already something at {0}.")]
    PathAlreadyExists(String),
    /// The system denies access.
    #[error("Permission denied to {0}.")]
    PathPermissionDenied(String),
    /// The transaction would use more than the quota; it can only be rolled back.
    #[error(
        "The storage quota ({}) has been exceeded ({}). Try deleting some archives.",
        format_bytes(*quota), format_bytes(*used)
    )]
    StorageQuotaExceeded {
        /// Bytes allowed.
        quota: u64,
        /// Bytes used, with what this transaction added.
        used: u64,
    },
    /// The operation would destroy history.
    #[error("{0} is in append-only mode")]
    AppendOnly(String),
    /// Stored data is not what was once written.
    #[error("Data integrity error: {0}")]
    Integrity(String),
    /// A segment file that the index knows is gone: more than damage to an object.
    #[error("Data integrity error: {0}")]
    SegmentMissing(String),
    /// A nonce reservation does not continue the last one: somebody else wrote in between.
    #[error("nonce space reservation with mismatched previous state")]
    NonceMismatch,
    /// The nonce file holds something else than a number.
    #[error("Repository has an invalid nonce file: {0}")]
    InvalidNonce(String),
    /// An earlier step of the transaction failed; it can only be rolled back.
    #[error("an earlier write to {0} failed, nothing of this transaction is kept")]
    Aborted(String),
    /// The lock could not be taken or released.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A server reported an error that has no form of its own here.
    #[error("{message}")]
    Remote {
        /// Borg's name of it.
        class: String,
        /// The text.
        message: String,
    },
    /// The session with a server ended before it should.
    #[error(
        "Connection closed by remote host.{}{}",
        hint.map(|hint| format!(" {hint}")).unwrap_or_default(), ending.reason()
    )]
    ConnectionClosed {
        /// What Borg asks when the server did not even say hello.
        hint: Option<&'static str>,
        /// What is known of the end.
        ending: Box<Ending>,
    },
    /// The program that reaches the server cannot be started.
    #[error("{program}: cannot be started: {}", describe(source))]
    Unreachable {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The system failed.
    #[error("{}: {action}: {}", path.display(), describe(source))]
    Io {
        /// What was tried, such as `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// The result of an operation on a repository.
pub type Result<T, E = RepositoryError> = std::result::Result<T, E>;

impl RepositoryError {
    /// Borg's name of the error, for messages to other programs and for the exit code.
    ///
    /// What Borg raises as an ordinary Python exception is `Error`.
    pub fn msgid(&self) -> &str {
        match self {
            Self::AlreadyExists(_) => "Repository.AlreadyExists",
            Self::AtticRepository(_) => "Repository.AtticRepository",
            Self::CheckNeeded { .. } => "Repository.CheckNeeded",
            Self::DoesNotExist(_) => "Repository.DoesNotExist",
            Self::InsufficientFreeSpace { .. } => "Repository.InsufficientFreeSpaceError",
            Self::InvalidRepository(_) => "Repository.InvalidRepository",
            Self::InvalidRepositoryConfig { .. } => "Repository.InvalidRepositoryConfig",
            Self::ObjectNotFound { .. } => "Repository.ObjectNotFound",
            Self::ParentPathDoesNotExist(_) => "Repository.ParentPathDoesNotExist",
            Self::PathAlreadyExists(_) => "Repository.PathAlreadyExists",
            Self::PathPermissionDenied(_) => "Repository.PathPermissionDenied",
            Self::StorageQuotaExceeded { .. } => "Repository.StorageQuotaExceeded",
            Self::Integrity(_) | Self::SegmentMissing(_) => "IntegrityError",
            Self::Lock(error) => error.msgid(),
            Self::Remote { class, .. } => class,
            Self::ConnectionClosed { hint: None, .. } => "ConnectionClosed",
            Self::ConnectionClosed { hint: Some(_), .. } => "ConnectionClosedWithHint",
            Self::AppendOnly(_)
            | Self::NonceMismatch
            | Self::InvalidNonce(_)
            | Self::Aborted(_)
            | Self::Unreachable { .. }
            | Self::Io { .. } => "Error",
        }
    }

    /// Tells whether the file system had no space left.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self,
            Self::Io { source, .. } if matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
        )
    }
}

/// The system's text for an error, without Rust's number after it.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

/// A number of bytes in decimal units with two digits after the point, as Borg prints them.
pub(crate) fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1000.0;
    let mut unit = "kB";
    for next in UNITS.iter().skip(1) {
        if (amount * 100.0).round() / 100.0 < 1000.0 {
            break;
        }
        amount /= 1000.0;
        unit = next;
    }
    format!("{amount:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_printed_in_decimal_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (999_999, "1.00 MB"),
            (524_288_000, "524.29 MB"),
            (12_345_678_901, "12.35 GB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn system_errors_name_the_file_and_the_reason() {
        let error = RepositoryError::Io {
            action: "write",
            path: "/repo/data/0/7".into(),
            source: io::Error::from_raw_os_error(28),
        };
        assert_eq!(
            error.to_string(),
            "/repo/data/0/7: write: No space left on device"
        );
        assert!(error.is_disk_full());
        assert_eq!(error.msgid(), "Error");
    }
}
