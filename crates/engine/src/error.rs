//! Why an operation of the engine ended, and why a file could not be archived or restored.
//!
//! The two never mix: a [`SourceError`] concerns one file system object, is told as a warning, and
//! the operation goes on; an [`EngineError`] ends it, and the transaction is rolled back.

use std::io;

use fastness_format::archive::ArchiveError;
use fastness_format::id::ChunkId;
use fastness_format::item::ItemError;
use fastness_format::manifest::{ManifestError, ManifestLimit, UnsupportedFeatures};
use fastness_repository::RepositoryError;

pub use crate::attributes::SourceError;
use crate::cache::sync::SyncError;
use crate::keys::{KeyError, NonceError};
use crate::objects::ObjectError;
use crate::security::SecurityError;

/// Why an operation ended without success.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An object of the repository is damaged or missing.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Counter values cannot be reserved.
    #[error(transparent)]
    Nonce(#[from] NonceError),
    /// There is no usable key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The repository is not what this machine knows of it.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The repository has no manifest.
    #[error("Repository has no manifest.")]
    NoManifest,
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest cannot be written.
    #[error(transparent)]
    ManifestLimit(#[from] ManifestLimit),
    /// The repository needs what we do not know.
    #[error("{}", features_text(.0))]
    Features(UnsupportedFeatures),
    /// The metadata of an archive cannot be read.
    #[error("archive metadata of {archive:?}")]
    Archive {
        /// The archive.
        archive: String,
        /// What is wrong.
        #[source]
        source: ArchiveError,
    },
    /// The items of an archive cannot be read.
    #[error("items of archive {archive:?}")]
    Items {
        /// The archive.
        archive: String,
        /// What is wrong.
        #[source]
        source: ItemError,
    },
    /// An archive with this name is there already.
    #[error("Archive {0} already exists")]
    ArchiveExists(String),
    /// No archive has this name.
    #[error("Archive {0} does not exist")]
    ArchiveDoesNotExist(String),
    /// The metadata of the archive does not fit into one object.
    #[error("archive {0:?} is too big: its metadata does not fit into one object")]
    ArchiveTooBig(String),
    /// An archive refers to a chunk that the chunk table does not know, or more often than it does.
    #[error(
        "Chunk ID {0} missing from chunks index, corrupted chunks index - aborting transaction."
    )]
    MissingReference(ChunkId),
    /// References cannot be counted.
    #[error(transparent)]
    Counting(#[from] SyncError),
    /// The files cache cannot be written.
    #[error("cannot write the files cache")]
    FilesCache(#[source] io::Error),
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random(#[source] io::Error),
    /// Data that was to be produced is missing, so what there is is no archive for good.
    #[error(
        "the archive is not complete: {} failed; what there is was stored as {checkpoint:?}, which counts as unfinished",
        paths.join(", ")
    )]
    Incomplete {
        /// The archive that holds the rest.
        checkpoint: String,
        /// What is missing in it.
        paths: Vec<String>,
    },
    /// The user wanted it to end.
    #[error("Got Ctrl-C / SIGINT.")]
    Interrupted,
    /// Another part of the operation failed first; never the error that is reported.
    #[error("the operation was abandoned")]
    Abandoned,
    /// A thread ended by a mistake in the program.
    #[error("a worker thread died")]
    WorkerDied,
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl EngineError {
    /// Borg's name of the error; the exit code follows from it.
    pub fn msgid(&self) -> &str {
        match self {
            Self::Repository(error) => error.msgid(),
            Self::Object(error) => error.msgid(),
            Self::Key(error) => error.msgid(),
            Self::Nonce(error) => error.msgid(),
            Self::Security(error) => error.msgid(),
            Self::NoManifest => "NoManifestError",
            Self::Manifest(ManifestError::Future) => "UnsupportedManifestError",
            Self::Features(_) => "MandatoryFeatureUnsupported",
            Self::ArchiveExists(_) => "Archive.AlreadyExists",
            Self::ArchiveDoesNotExist(_) => "Archive.DoesNotExist",
            Self::Counting(SyncError::Object(error)) => error.msgid(),
            Self::Counting(SyncError::Abandoned) => "Error",
            Self::Manifest(_) | Self::Archive { .. } | Self::Items { .. } | Self::Counting(_) => {
                "IntegrityError"
            }
            _ => "Error",
        }
    }
}

impl From<UnsupportedFeatures> for EngineError {
    fn from(features: UnsupportedFeatures) -> Self {
        Self::Features(features)
    }
}

fn features_text(features: &UnsupportedFeatures) -> String {
    format!(
        "Unsupported repository feature(s) {}. A newer version of borg is required to access this repository.",
        features.0.join(", ")
    )
}
