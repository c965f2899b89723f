//! How commands get at repositories: where they are, who locks them, which key opens them.
//!
//! The pieces are the engine's; here they are put together with what the environment, the options
//! and the person say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use fastness_engine::cache::ChunkTable;
use fastness_engine::cache::chunks::SavedTable;
use fastness_engine::catalogue::{Catalogue, ReadArchive};
use fastness_engine::keys::{KeyContext, KeyTarget, keyfile};
use fastness_engine::security::{CachedFacts, SecurityManager, WrongTag};
use fastness_engine::session::{Opening, Session, open_catalogue};
use fastness_format::crypto::{KeyStorage, KeyType};
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::location::Location;
use fastness_format::manifest::Operation;
use fastness_repository::Repository;
use fastness_repository::local::lock::{LockIdentity, LockKind, LockWait};
use fastness_repository::local::{LocalRepository, LockOptions, OpenOptions};
use fastness_repository::remote::client::Ahead;

use crate::client_cache::facts_path;
use crate::context::{Context, Wanted};
use crate::error::CommandError;

/// A repository by its address, with the names that follow from it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address.
    pub location: Location,
    /// The path, if it is on this machine.
    pub path: Option<PathBuf>,
    /// The form by which it is recognised.
    pub canonical: Vec<u8>,
    /// The same as text.
    pub name: String,
    key_file_name: String,
}

impl Place {
    /// Returns the path on this machine, for what can only be done there.
    ///
    /// # Errors
    /// When it is on another one.
    pub fn local_path(&self) -> Result<&Path, CommandError> {
        self.path.as_deref().ok_or_else(|| {
            CommandError::general(format!(
                "{}: this needs a repository on this machine",
                self.location.repository_text()
            ))
        })
    }

    /// Returns the name of the archive in the address.
    ///
    /// # Errors
    /// When there is none.
    pub fn archive_name(&self) -> Result<&[u8], CommandError> {
        let name = self.location.require_archive();
        name.map_err(|error| CommandError::usage(error.to_string()))
    }
}

impl Context<'_> {
    /// Finds the names of a repository.
    pub fn place(&self, location: Location) -> Place {
        let canonical = location.canonical(self.directory.as_os_str().as_bytes());
        let path = location.is_local().then(|| os(&location.path));
        Place {
            path: path.map(|path| self.directory.join(path)),
            name: String::from_utf8_lossy(&canonical).into_owned(),
            key_file_name: location.key_file_name(),
            canonical,
            location,
        }
    }

    /// Finds the repository that the argument `REPOSITORY` names, or else `BORG_REPO`.
    ///
    /// # Errors
    /// When neither does.
    pub fn repository_place(&self, argument: Option<&OsStr>) -> Result<Place, CommandError> {
        let location = self.location("REPOSITORY", argument, Wanted::Repository)?;
        Ok(self.place(location))
    }

    /// Returns how this process takes locks.
    pub fn lock_options(&self, kind: LockKind) -> LockOptions {
        LockOptions {
            kind,
            wait: self.lock_wait(),
            identity: self.lock_identity(),
        }
    }

    /// Returns how long to wait for a lock.
    pub fn lock_wait(&self) -> LockWait {
        let seconds = u64::try_from(self.common.lock_wait).unwrap_or(0);
        LockWait::UpTo(Duration::from_secs(seconds))
    }

    /// Returns who holds the locks of this run.
    pub fn lock_identity(&self) -> LockIdentity {
        let host_id = self.environment.host_id.clone().unwrap_or_else(|| {
            let full = fastness_sys::host::full_name(&fastness_sys::host::host_name());
            let number = fastness_sys::host::hardware_address().unwrap_or_default();
            format!("{}@{number}", String::from_utf8_lossy(&full))
        });
        LockIdentity {
            host_id,
            pid: fastness_sys::process::own_pid(),
            thread: 0,
        }
    }

    /// Returns how a repository is opened; without a kind of lock, unlocked.
    pub fn open_options(&self, kind: Option<LockKind>) -> OpenOptions {
        OpenOptions {
            lock: kind
                .filter(|_| !self.common.bypass_lock)
                .map(|kind| self.lock_options(kind)),
            append_only: false,
            storage_quota: None,
            monitor: Arc::<crate::reporter::Reporter>::clone(&self.reporter),
            now: SystemTime::now,
        }
    }

    /// Opens a repository, without a key.
    ///
    /// # Errors
    /// When it cannot be reached, opened or locked.
    pub fn open_repository(
        &self,
        place: &Place,
        kind: Option<LockKind>,
    ) -> Result<Box<dyn Repository>, CommandError> {
        self.open_repository_ahead(place, kind, Ahead::Nothing)
    }

    /// As [`Self::open_repository`], for those who know what they are going to ask for first.
    ///
    /// # Errors
    /// As [`Self::open_repository`].
    pub fn open_repository_ahead(
        &self,
        place: &Place,
        kind: Option<LockKind>,
        ahead: Ahead,
    ) -> Result<Box<dyn Repository>, CommandError> {
        let repository: Box<dyn Repository> = match &place.path {
            Some(path) => Box::new(LocalRepository::open(path, self.open_options(kind))?),
            None => Box::new(self.open_remote(&place.location, kind, ahead)?),
        };
        if let Some(notes) = &self.notes {
            notes.note(|facts| facts.repository = Some(repository.id()));
        }
        Ok(repository)
    }

    /// Opens a repository for what only one on this machine can do, without a key.
    ///
    /// # Errors
    /// When it is on another machine, or cannot be opened or locked.
    pub fn open_local(
        &self,
        place: &Place,
        kind: Option<LockKind>,
    ) -> Result<LocalRepository, CommandError> {
        let options = self.open_options(kind);
        Ok(LocalRepository::open(place.local_path()?, options)?)
    }

    /// Returns what keys need to know of their surroundings.
    pub fn key_context<'b>(&'b self, place: &'b Place) -> KeyContext<'b> {
        KeyContext {
            directories: &self.environment.directories,
            key_file: self.environment.key_file.as_deref(),
            key_file_name: &place.key_file_name,
            repository: &place.name,
            passphrases: &self.person,
            monitor: self.reporter.as_ref(),
            without_key: self.environment.workarounds.authenticated_no_key,
        }
    }

    /// Returns what keeps and checks what is known of a repository.
    pub fn security<'b>(&'b self, place: &'b Place, id: RepositoryId) -> SecurityManager<'b> {
        let directories = &self.environment.directories;
        SecurityManager::new(directories, id, &place.canonical, self.reporter.as_ref())
    }

    /// Returns what local caches say about a repository, Borg's or ours: the one that is newer.
    pub fn cached_facts(&self, id: &RepositoryId) -> Option<CachedFacts> {
        let theirs = self.environment.directories.cache_of(id).join("config");
        let ours = facts_path(&self.cache_directory(id));
        let read = |path| cached_facts(&std::fs::read(path).ok()?);
        let newer = |one: &CachedFacts, other: &CachedFacts| one.timestamp.cmp(&other.timestamp);
        [read(theirs), read(ours)]
            .into_iter()
            .flatten()
            .max_by(newer)
    }
}

/// An open repository with the names that belong to it.
pub struct Opened {
    /// The repository, its key, its manifest.
    pub session: Session,
    /// The repository's names.
    pub place: Place,
    /// The references to all chunks as they were saved, being loaded while the key is opened.
    pub early_chunks: EarlyChunks,
}

/// A chunk table that is being loaded before it is known to be the right one.
#[derive(Default)]
pub struct EarlyChunks(Mutex<Option<JoinHandle<Option<SavedTable>>>>);

impl EarlyChunks {
    fn begin(path: PathBuf, id: RepositoryId) -> Self {
        let loading = std::thread::spawn(move || ChunkTable::load_saved(&path, &id));
        Self(Mutex::new(Some(loading)))
    }

    /// Returns the table if one was loaded and belongs to this manifest.
    pub fn take(&self, manifest: &ChunkId) -> Option<ChunkTable> {
        let loading = self.0.lock().ok()?.take()?;
        let saved = loading.join().ok()??;
        (saved.manifest == *manifest).then_some(saved.table)
    }
}

impl Opened {
    /// Returns the mode of the repository.
    pub fn key_type(&self) -> KeyType {
        self.session.crypto.key_type()
    }

    /// Returns the id of the repository.
    pub fn id(&self) -> RepositoryId {
        self.session.repository.id()
    }
}

impl Context<'_> {
    /// Opens a repository with its key and its manifest.
    ///
    /// # Errors
    /// When one of them cannot be opened, is not authentic, or when the repository is not the one
    /// that was known under its address.
    pub fn open(
        &self,
        place: Place,
        kind: LockKind,
        operations: &[Operation],
    ) -> Result<Opened, CommandError> {
        let ahead = match kind {
            LockKind::Exclusive => Ahead::ToWrite,
            LockKind::Shared => Ahead::ToRead,
        };
        let repository = self.open_repository_ahead(&place, Some(kind), ahead)?;
        let id = repository.id();
        // Who locks all others out is going to change references.
        let early_chunks = match kind {
            LockKind::Exclusive => EarlyChunks::begin(self.cache_directory(&id).chunk_table(), id),
            LockKind::Shared => EarlyChunks::default(),
        };
        let security = self.security(&place, id);
        let opening = self.opening(&place, &security, &id, operations);
        let session = Session::open(repository, &opening)?;
        let opened = Opened {
            session,
            place,
            early_chunks,
        };
        self.follow_location(&opened);
        if let Some(notes) = &self.notes {
            let mode = opened.key_type().argument().to_owned();
            notes.note(|facts| facts.encryption = Some(mode));
        }
        Ok(opened)
    }

    /// Opens the key and the manifest of a repository that is open, without asking whether it is
    /// the one that is known.
    ///
    /// # Errors
    /// When one of them cannot be opened or is not authentic.
    pub fn catalogue(
        &self,
        place: &Place,
        repository: &dyn Repository,
    ) -> Result<Catalogue, CommandError> {
        let id = repository.id();
        let security = self.security(place, id);
        let opening = self.opening(place, &security, &id, &[]);
        Ok(open_catalogue(repository, &opening)?.0)
    }

    /// Returns how a repository is opened for these operations.
    pub fn opening<'b>(
        &'b self,
        place: &'b Place,
        security: &'b SecurityManager<'b>,
        id: &RepositoryId,
        operations: &'b [Operation],
    ) -> Opening<'b> {
        let ignore_wrong_tag = self.environment.workarounds.ignore_invalid_archive_tam;
        Opening {
            keys: self.key_context(place),
            security,
            cached: self.cached_facts(id),
            questions: &self.person,
            operations,
            requirement: None,
            wrong_tag: if ignore_wrong_tag {
                WrongTag::Ignore
            } else {
                WrongTag::Refuse
            },
        }
    }

    /// Reads the metadata of an archive.
    ///
    /// # Errors
    /// When there is no such archive, or it is damaged or not authentic.
    pub fn archive(&self, opened: &Opened, name: &[u8]) -> Result<ReadArchive, CommandError> {
        let (session, monitor) = (&opened.session, self.reporter.as_ref());
        let repository = session.repository.as_ref();
        Ok(session.catalogue.archive(repository, name, monitor)?)
    }

    /// Remembers the state of a repository after a commit.
    ///
    /// # Errors
    /// When the security database cannot be written.
    pub fn remember(&self, opened: &Opened) -> Result<(), CommandError> {
        let security = self.security(&opened.place, opened.id());
        Ok(opened.session.remember(&security)?)
    }

    /// Finds where the key of a repository is kept.
    ///
    /// # Errors
    /// When it should be in a file and is not found.
    pub fn key_target(&self, opened: &Opened) -> Result<KeyTarget, CommandError> {
        Ok(match opened.key_type().storage() {
            KeyStorage::None | KeyStorage::Derived => KeyTarget::None,
            KeyStorage::Repository => KeyTarget::Repository,
            KeyStorage::Keyfile => {
                let keys = self.key_context(&opened.place);
                KeyTarget::File(keyfile::find(&keys, &opened.id())?)
            }
        })
    }
}

/// Reads the config of a cache.
fn cached_facts(config: &[u8]) -> Option<CachedFacts> {
    let mut facts = None;
    for line in config.split(|byte| *byte == b'\n') {
        if let Some(section) = line.strip_prefix(b"[") {
            facts = match section.trim_ascii_end() {
                b"cache]" => Some(CachedFacts::default()),
                _ if facts.is_some() => break,
                _ => None,
            };
            continue;
        }
        let (Some(facts), Some(at)) = (&mut facts, line.iter().position(|byte| *byte == b'='))
        else {
            continue;
        };
        let Some((name, value)) = line.split_at_checked(at) else {
            continue;
        };
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        match name.trim_ascii() {
            b"previous_location" => facts.previous_location = Some(value.to_vec()),
            b"key_type" => facts.key_type = text(),
            b"timestamp" => facts.timestamp = text(),
            _ => {}
        }
    }
    facts
}

/// Returns bytes as the system takes them.
pub fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_of_a_cache_is_read_up_to_the_next_section() {
        let facts = cached_facts(
            b"[cache]\nversion = 1\nprevious_location = /mnt/r = x\ntimestamp = 2026\n\
              key_type = 5\n[integrity]\nkey_type = 9\n",
        )
        .unwrap();
        assert_eq!(
            facts.previous_location.as_deref(),
            Some(b"/mnt/r = x".as_slice())
        );
        assert_eq!(facts.timestamp.as_deref(), Some("2026"));
        assert_eq!(facts.key_type.as_deref(), Some("5"));
        assert_eq!(cached_facts(b"nothing"), None);
    }
}
