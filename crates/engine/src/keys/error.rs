//! What can go wrong with keys, under the names that Borg gives it.

use std::io;
use std::path::PathBuf;

use fastness_format::crypto::key_blob::KeyBlobError;
use fastness_repository::RepositoryError;

/// Why a repository's key could not be opened, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is nobody to ask for a passphrase.
    #[error("Cannot acquire a passphrase: {0}")]
    NoPassphrase(String),
    /// The command that should print the passphrase failed.
    #[error("Passcommand supplied in BORG_PASSCOMMAND failed: {0}")]
    Passcommand(String),
    /// The passphrase that was given is not that of the key.
    #[error(
        "Passphrase supplied in BORG_PASSPHRASE, by BORG_PASSCOMMAND, or via BORG_PASSPHRASE_FD is incorrect."
    )]
    PassphraseWrong,
    /// All attempts at the terminal failed.
    #[error("Exceeded the maximum password retries.")]
    PasswordRetriesExceeded,
    /// The repository is in a mode that is not known.
    #[error("Unsupported payload type {0}. A newer version is required to access this repository.")]
    UnsupportedPayload(u8),
    /// No file in the keys directory belongs to the repository.
    #[error("No key file for repository {repository} found in {}.", searched.display())]
    KeyfileNotFound {
        /// The repository.
        repository: String,
        /// The directory that was searched, or the file that should be there.
        searched: PathBuf,
    },
    /// A file that should hold a key does not.
    #[error("Invalid key data for repository {repository} found in {found_in}.")]
    KeyfileInvalid {
        /// The repository.
        repository: String,
        /// The file, or `(repokey)`.
        found_in: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key file given is that of another repository.
    #[error("Mismatch between repository {repository} and key file {}.", path.display())]
    KeyfileMismatch {
        /// The repository.
        repository: String,
        /// The file.
        path: PathBuf,
    },
    /// The key should be in the repository and is not.
    #[error("No key entry found in the config of repository {0}.")]
    RepoKeyNotFound(String),
    /// There is a key file where a new one is to be written.
    #[error("Aborting because key in \"{}\" already exists.", .0.display())]
    KeyExists(PathBuf),
    /// A new key cannot share secrets with one of another id hash.
    #[error("You must keep the same ID hash (HMAC-SHA256 or BLAKE2b) or deduplication will break.")]
    UnrelatedIdHash,
    /// The key was written in a way that is not known.
    #[error(transparent)]
    Unsupported(KeyBlobError),
    /// The repository has no key whose passphrase could be changed.
    #[error("This repository is not encrypted, cannot change the passphrase.")]
    Unencrypted,
    /// The repository has no key that could be copied.
    #[error("Key management not available for unencrypted repositories.")]
    UnencryptedRepository,
    /// What should be imported is no key.
    #[error("This file is not a Borg key backup, aborting.")]
    NotAKeyFile,
    /// What should be imported is the key of another repository.
    #[error("This key backup seems to be for a different backup repository, aborting.")]
    OtherRepository,
    /// The manifest is not an object of this key.
    #[error("Data integrity error: Manifest: Invalid encryption envelope")]
    InvalidManifestEnvelope,
    /// The system has no random bytes.
    #[error("no random bytes for a key")]
    Random(#[source] io::Error),
    /// A key file cannot be read or written.
    #[error("{}: {action}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The key in the repository cannot be read or written.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl KeyError {
    /// Borg's name of the error, for messages to other programs and for the exit code.
    pub fn msgid(&self) -> &str {
        match self {
            Self::NoPassphrase(_) => "NoPassphraseFailure",
            Self::Passcommand(_) => "PasscommandFailure",
            Self::PassphraseWrong => "PassphraseWrong",
            Self::PasswordRetriesExceeded => "PasswordRetriesExceeded",
            Self::UnsupportedPayload(_) => "UnsupportedPayloadError",
            Self::KeyfileNotFound { .. } => "KeyfileNotFoundError",
            Self::KeyfileInvalid { .. } => "KeyfileInvalidError",
            Self::KeyfileMismatch { .. } => "KeyfileMismatchError",
            Self::RepoKeyNotFound(_) => "RepoKeyNotFoundError",
            Self::InvalidManifestEnvelope => "IntegrityError",
            Self::Unencrypted => "CommandError",
            Self::UnencryptedRepository => "UnencryptedRepo",
            Self::NotAKeyFile => "NotABorgKeyFile",
            Self::OtherRepository => "RepoIdMismatch",
            Self::Repository(error) => error.msgid(),
            Self::KeyExists(_)
            | Self::UnrelatedIdHash
            | Self::Unsupported(_)
            | Self::Random(_)
            | Self::Io { .. } => "Error",
        }
    }
}
