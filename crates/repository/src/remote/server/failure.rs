//! Errors, as clients know them: a class, and the texts it is made of.
//!
//! Clients make their own message of the classes that they know. Of all others they show what the
//! server sends, with Python's traceback; what has no class in Borg is therefore sent as `Error`,
//! which is a message and nothing else.

use fastness_format::msgpack::Value;
use fastness_format::rpc::{CallError, Failure};

use crate::RepositoryError;
use crate::error::format_bytes;
use crate::local::lock::LockError;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The client may not go there.
    #[error("Repository path not allowed: {0}")]
    PathNotAllowed(String),
    /// The call itself is wrong.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It cannot be done now.
    #[error("{0}")]
    Other(String),
    /// The client asked for a failure.
    #[error("{class}: {}", args.join(", "))]
    Injected {
        class: &'static str,
        args: Vec<&'static str>,
    },
}

impl Refusal {
    /// Tells whether clients of all ages make a message of their own of it, so that nothing need
    /// be logged here.
    pub(super) fn speaks_for_itself(&self) -> bool {
        matches!(
            self,
            Self::PathNotAllowed(_)
                | Self::Repository(
                    RepositoryError::InvalidRepository(_)
                        | RepositoryError::InvalidRepositoryConfig { .. }
                        | RepositoryError::DoesNotExist(_)
                        | RepositoryError::AlreadyExists(_)
                        | RepositoryError::PathAlreadyExists(_)
                        | RepositoryError::InsufficientFreeSpace { .. }
                        | RepositoryError::StorageQuotaExceeded { .. }
                )
        )
    }

    /// What is sent.
    pub(super) fn failure(&self, sysinfo: &str) -> Failure {
        let message = self.to_string();
        let (class, args) = self.exception();
        Failure {
            class,
            args: Some(args.iter().map(|arg| Value::text(arg)).collect()),
            full: vec![message.clone()],
            short: vec![message],
            trace: false,
            sysinfo: sysinfo.to_owned(),
        }
    }

    fn exception(&self) -> (String, Vec<String>) {
        match self {
            Self::Repository(error) => {
                let name = error.msgid();
                let class = name.rsplit('.').next().unwrap_or(name);
                (class.to_owned(), arguments(error))
            }
            Self::PathNotAllowed(path) => ("PathNotAllowed".to_owned(), vec![path.clone()]),
            Self::Call(CallError::UnknownMethod(method)) => {
                ("InvalidRPCMethod".to_owned(), vec![method.clone()])
            }
            Self::Injected { class, args } => {
                let args = args.iter().map(|&arg| arg.to_owned()).collect();
                ((*class).to_owned(), args)
            }
            Self::Call(_) | Self::Other(_) => ("Error".to_owned(), vec![self.to_string()]),
        }
    }
}

/// What the exception of an error is made of, in Borg.
fn arguments(error: &RepositoryError) -> Vec<String> {
    use RepositoryError as Failed;
    match error {
        Failed::AlreadyExists(path)
        | Failed::AtticRepository(path)
        | Failed::DoesNotExist(path)
        | Failed::InvalidRepository(path)
        | Failed::ParentPathDoesNotExist(path)
        | Failed::PathAlreadyExists(path)
        | Failed::PathPermissionDenied(path) => vec![path.clone()],
        Failed::CheckNeeded { location, .. } => vec![location.clone()],
        Failed::ObjectNotFound { id, location } => vec![id.to_string(), location.clone()],
        Failed::InvalidRepositoryConfig { location, reason } => {
            vec![location.clone(), reason.clone()]
        }
        Failed::InsufficientFreeSpace {
            required,
            available,
        } => vec![format_bytes(*required), format_bytes(*available)],
        Failed::StorageQuotaExceeded { quota, used } => {
            vec![format_bytes(*quota), format_bytes(*used)]
        }
        Failed::Integrity(reason) | Failed::SegmentMissing(reason) => vec![reason.clone()],
        Failed::Lock(LockError::Failed { path, source }) => {
            vec![path.display().to_string(), source.to_string()]
        }
        Failed::Lock(error) => vec![error.path().display().to_string()],
        Failed::Remote { .. }
        | Failed::AppendOnly(_)
        | Failed::NonceMismatch
        | Failed::InvalidNonce(_)
        | Failed::Aborted(_)
        | Failed::ConnectionClosed { .. }
        | Failed::Unreachable { .. }
        | Failed::Io { .. } => vec![error.to_string()],
    }
}
