//! What this client knows of a repository, and the alarms it raises by it.
//!
//! `<security directory>/<repository id>/` holds small text files without a newline, the ones Borg
//! keeps there:
//!
//! | file | content |
//! |---|---|
//! | `location` | canonical address; another one than last time: the user is asked |
//! | `key-type` | type byte in decimal; another one: access is refused |
//! | `manifest-timestamp` | of the newest manifest seen; an older one now: a replay, refused |
//! | `nonce` | see [`crate::keys::nonce`] |
//! | `tam_required` | empty; there if manifests of this repository must be authenticated |
//!
//! The cache's config keeps some of these as well ([`CachedFacts`]); the newer timestamp and the
//! cache's location count. All of it matters only with an attacker around: losing it breaks
//! nothing, but takes the alarms away until the next access.

mod authenticity;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fastness_format::crypto::KeyType;
use fastness_format::id::RepositoryId;

use crate::directories::{self, Directories};
use crate::event::{Level, Monitor};

pub use authenticity::{Authenticity, WrongTag, requirement, verify_archive, verify_manifest};

const LOGGER: &str = "borg.cache";
const LOCATION: &str = "location";
const KEY_TYPE: &str = "key-type";
const TIMESTAMP: &str = "manifest-timestamp";
const TAM_REQUIRED: &str = "tam_required";
/// Longer files are not read: none of them has more than a path in it.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why access to a repository is refused.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The user does not want to use an unknown repository without encryption.
    #[error("Cache initialization aborted")]
    InitAborted,
    /// The repository is in another mode than it was.
    #[error("Repository encryption method changed since last access, refusing to continue")]
    EncryptionMethodMismatch,
    /// The user does not want to use a repository that was elsewhere before.
    #[error("Repository access aborted")]
    AccessAborted,
    /// The repository is older than it was; it has no key that would tell copies apart.
    #[error(
        "Cache is newer than repository - do you have multiple, independently updated repos with same ID?"
    )]
    IdNotUnique,
    /// The repository is older than it was.
    #[error(
        "Cache, or information obtained from the security directory is newer than repository - this is either an attack or unsafe (multiple repos with same ID)"
    )]
    Replay,
    /// The manifest has no authentication, though it has to have one.
    #[error("Manifest is unauthenticated, but it is required for this repository.")]
    TamRequired,
    /// An archive has no authentication, though it has to have one.
    #[error("Archive '{0}' is unauthenticated, but it is required for this repository.")]
    ArchiveTamRequired(String),
    /// The authentication of the manifest is wrong.
    #[error("Data integrity error: Manifest authentication did not verify")]
    TamInvalid,
    /// The authentication of an archive is wrong.
    #[error("Data integrity error: Archive authentication did not verify")]
    ArchiveTamInvalid,
    /// The authentication is of a kind that is not known.
    #[error("Could not verify manifest: Unsupported suite \"'{0}'\"; a newer version is needed.")]
    TamUnsupportedSuite(String),
    /// The manifest is of a later format.
    #[error(
        "Unsupported manifest envelope. A newer version is required to access this repository."
    )]
    UnsupportedManifest,
    /// The security database cannot be read or written.
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
}

impl SecurityError {
    /// Borg's name of the error, for messages to other programs and for the exit code.
    pub fn msgid(&self) -> &'static str {
        match self {
            Self::InitAborted => "Cache.CacheInitAbortedError",
            Self::EncryptionMethodMismatch => "Cache.EncryptionMethodMismatch",
            Self::AccessAborted => "Cache.RepositoryAccessAborted",
            Self::IdNotUnique => "Cache.RepositoryIDNotUnique",
            Self::Replay => "Cache.RepositoryReplay",
            Self::TamRequired => "TAMRequiredError",
            Self::ArchiveTamRequired(_) => "ArchiveTAMRequiredError",
            Self::TamInvalid => "TAMInvalid",
            Self::ArchiveTamInvalid => "ArchiveTAMInvalid",
            Self::TamUnsupportedSuite(_) => "TAMUnsupportedSuiteError",
            Self::UnsupportedManifest => "UnsupportedManifestError",
            Self::Io { .. } => "Error",
        }
    }
}

/// A question to the user that is answered with yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The whole text.
    pub message: String,
    /// The environment variable that answers it; also its message id.
    pub variable: &'static str,
    /// Said after a no.
    pub no_message: &'static str,
    /// Said after an answer that is none; it counts as no.
    pub invalid_message: &'static str,
}

/// Asks the user. Implemented above the engine.
pub trait Questions {
    /// Returns whether the answer was yes.
    fn ask(&self, question: &Question) -> bool;
}

/// Answers every question with no, as when there is nobody to ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct NobodyToAsk;

impl Questions for NobodyToAsk {
    fn ask(&self, _question: &Question) -> bool {
        false
    }
}

/// What a repository shows of itself when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented<'a> {
    /// Its mode.
    pub key_type: KeyType,
    /// Whether reading it takes a secret; see [`crate::keys::Key::logically_encrypted`].
    pub logically_encrypted: bool,
    /// The time of its manifest.
    pub manifest_timestamp: &'a str,
}

/// What the cache's config says, if there is a cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CachedFacts {
    /// `previous_location`.
    pub previous_location: Option<Vec<u8>>,
    /// `key_type`.
    pub key_type: Option<String>,
    /// `timestamp`.
    pub timestamp: Option<String>,
}

/// Whether a repository is used or has just been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It existed before.
    Existing,
    /// It is being created: nothing is asked about it.
    New,
}

/// What the checks changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing the cache has to know.
    Unchanged,
    /// The user accepted a new location: the cache's config has to name it, too.
    Relocated,
}

/// Keeps and checks what is known of one repository.
pub struct SecurityManager<'a> {
    directory: PathBuf,
    location: &'a [u8],
    id: RepositoryId,
    monitor: &'a dyn Monitor,
}

impl<'a> SecurityManager<'a> {
    /// Begins with a repository at its canonical address.
    pub fn new(
        directories: &Directories,
        id: RepositoryId,
        location: &'a [u8],
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self {
            directory: directories.security_of(&id),
            location,
            id,
            monitor,
        }
    }

    /// Returns the directory of this repository.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Tells whether the repository was used here before.
    pub fn known(&self) -> bool {
        [LOCATION, KEY_TYPE, TIMESTAMP]
            .iter()
            .all(|name| self.directory.join(name).exists())
    }

    /// Checks a repository that is being opened, and remembers it if it was unknown.
    ///
    /// # Errors
    /// When it must not be used: moved, swapped, replayed or unknown without encryption, and the
    /// user does not want it.
    pub fn assert_secure(
        &self,
        presented: &Presented<'_>,
        cached: Option<&CachedFacts>,
        access: Access,
        questions: &dyn Questions,
    ) -> Result<Outcome, SecurityError> {
        self.assert_access_unknown(presented, access, questions)?;
        let outcome = self.assert_location_matches(cached, questions)?;
        self.assert_key_type(presented.key_type, cached)?;
        self.assert_no_replay(presented, cached)?;
        if !self.known() {
            self.debug("security: remembering previously unknown repository".to_owned());
            self.save(presented.key_type, presented.manifest_timestamp)?;
        }
        self.debug("security: repository checks ok, allowing access".to_owned());
        Ok(outcome)
    }

    /// Remembers the state of the repository. Called when a transaction is complete; the
    /// timestamp must be that of the manifest in the repository, never a later one.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, key_type: KeyType, manifest_timestamp: &str) -> Result<(), SecurityError> {
        let (id, directory) = (self.id, self.directory.display());
        self.debug(format!("security: saving state for {id} to {directory}"));
        let location = String::from_utf8_lossy(self.location);
        self.debug(format!("security: current location   {location}"));
        let byte = key_type.byte().to_string();
        self.debug(format!("security: key type           {byte}"));
        self.debug(format!("security: manifest timestamp {manifest_timestamp}"));
        self.write(LOCATION, self.location)?;
        self.write(KEY_TYPE, byte.as_bytes())?;
        self.write(TIMESTAMP, manifest_timestamp.as_bytes())
    }

    /// Forgets the repository.
    ///
    /// # Errors
    /// When the directory cannot be removed.
    pub fn destroy(&self) -> Result<(), SecurityError> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| SecurityError::Io {
                action: "cannot remove the security information",
                path: self.directory.clone(),
                source,
            }),
        }
    }

    /// Tells whether manifests of this repository have to be authenticated, by what was seen here.
    pub fn tam_required(&self) -> bool {
        self.directory.join(TAM_REQUIRED).is_file()
    }

    /// Follows a manifest that was verified: from now on authentication is required, or not.
    ///
    /// # Errors
    /// When the file cannot be made or removed.
    pub fn follow_manifest(&self, tam_required: bool) -> Result<(), SecurityError> {
        let path = self.directory.join(TAM_REQUIRED);
        match (tam_required, self.tam_required()) {
            (true, false) => {
                self.tam_changed("TAM is required");
                self.write(TAM_REQUIRED, b"")
            }
            (false, true) => {
                self.tam_changed("TAM is *not* required");
                fs::remove_file(&path).map_err(|source| SecurityError::Io {
                    action: "cannot update the security database",
                    path,
                    source,
                })
            }
            _ => Ok(()),
        }
    }

    fn tam_changed(&self, what: &str) {
        let text =
            format!("Manifest is TAM verified and says {what}, updating security database...");
        self.monitor.log(Level::Debug, "borg.helpers", text);
    }

    fn assert_access_unknown(
        &self,
        presented: &Presented<'_>,
        access: Access,
        questions: &dyn Questions,
    ) -> Result<(), SecurityError> {
        if presented.logically_encrypted || self.known() {
            return Ok(());
        }
        let question = Question {
            message: "Warning: Attempting to access a previously unknown unencrypted repository!\n\
                      Do you want to continue? [yN] "
                .to_owned(),
            variable: "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK",
            no_message: "Aborting.",
            invalid_message: "Invalid answer, aborting.",
        };
        let text = match access {
            Access::New => "security: initializing unencrypted repository",
            Access::Existing if questions.ask(&question) => {
                "security: remembering unknown unencrypted repository (explicitly allowed)"
            }
            Access::Existing => return Err(SecurityError::InitAborted),
        };
        self.debug(text.to_owned());
        self.save(presented.key_type, presented.manifest_timestamp)
    }

    fn assert_location_matches(
        &self,
        cached: Option<&CachedFacts>,
        questions: &dyn Questions,
    ) -> Result<Outcome, SecurityError> {
        let mut previous = self.read(LOCATION, "previous location");
        if let Some(previous) = &previous {
            let shown = String::from_utf8_lossy(previous);
            self.debug(format!("security: read previous location '{shown}'"));
        }
        if let Some(location) = cached.and_then(|facts| facts.previous_location.as_ref())
            && !location.is_empty()
            && previous.as_ref() != Some(location)
        {
            let shown = String::from_utf8_lossy(location);
            self.debug(format!(
                "security: using previous_location of cache: '{shown}'"
            ));
            previous = Some(location.clone());
        }
        let moved_from = previous.filter(|from| !from.is_empty() && from != self.location);
        let Some(from) = moved_from else {
            return Ok(Outcome::Unchanged);
        };
        let question = Question {
            message: format!(
                "Warning: The repository at location {} was previously located at {}\n\
                 Do you want to continue? [yN] ",
                String::from_utf8_lossy(self.location),
                String::from_utf8_lossy(&from)
            ),
            variable: "BORG_RELOCATED_REPO_ACCESS_IS_OK",
            no_message: "Aborting.",
            invalid_message: "Invalid answer, aborting.",
        };
        if !questions.ask(&question) {
            return Err(SecurityError::AccessAborted);
        }
        let text = "security: updating location stored in cache and security dir";
        self.debug(text.to_owned());
        self.write(LOCATION, self.location)?;
        Ok(Outcome::Relocated)
    }

    fn assert_key_type(
        &self,
        key_type: KeyType,
        cached: Option<&CachedFacts>,
    ) -> Result<(), SecurityError> {
        let byte = key_type.byte().to_string();
        let in_cache = cached.and_then(|facts| facts.key_type.as_ref());
        if in_cache.is_some_and(|cached| *cached != byte) {
            return Err(SecurityError::EncryptionMethodMismatch);
        }
        if self.known() && self.read(KEY_TYPE, "key type") != Some(byte.into_bytes()) {
            return Err(SecurityError::EncryptionMethodMismatch);
        }
        Ok(())
    }

    fn assert_no_replay(
        &self,
        presented: &Presented<'_>,
        cached: Option<&CachedFacts>,
    ) -> Result<(), SecurityError> {
        let here = self
            .read(TIMESTAMP, "manifest timestamp")
            .unwrap_or_default();
        let here = String::from_utf8_lossy(&here);
        self.debug(format!("security: read manifest timestamp '{here}'"));
        let in_cache = cached.and_then(|facts| facts.timestamp.as_deref());
        let newest = in_cache.unwrap_or_default().max(&here);
        self.debug(format!(
            "security: determined newest manifest timestamp as {newest}"
        ));
        if newest <= presented.manifest_timestamp {
            Ok(())
        } else if presented.key_type == KeyType::Plaintext {
            Err(SecurityError::IdNotUnique)
        } else {
            Err(SecurityError::Replay)
        }
    }

    /// Reads a file; what cannot be read counts as not there, with a warning.
    fn read(&self, name: &str, what: &str) -> Option<Vec<u8>> {
        let path = self.directory.join(name);
        let content = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "file is too large",
            )),
            Ok(_) => fs::read(&path),
            Err(error) => Err(error),
        };
        match content {
            Ok(content) => Some(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.debug(format!(
                    "security: {what} file {} not found",
                    path.display()
                ));
                None
            }
            Err(error) => {
                let text = format!("Could not read {what} file: {}: {error}", path.display());
                self.monitor.log(Level::Warning, LOGGER, text);
                None
            }
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), SecurityError> {
        let path = self.directory.join(name);
        directories::ensure(&self.directory)
            .and_then(|()| directories::replace_file(&path, content))
            .map_err(|source| SecurityError::Io {
                action: "cannot update the security database",
                path,
                source,
            })
    }

    fn debug(&self, text: String) {
        self.monitor.log(Level::Debug, LOGGER, text);
    }
}

/// Returns the file whose existence says that manifests of a repository have to be authenticated.
pub fn tam_required_file(directories: &Directories, id: &RepositoryId) -> PathBuf {
    directories.security_of(id).join(TAM_REQUIRED)
}

#[cfg(test)]
mod tests;
