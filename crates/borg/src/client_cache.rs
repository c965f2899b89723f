//! What this machine remembers of a repository: the references to chunks, the files last seen.
//!
//! It is loaded when a command needs it, counted anew from the archives when it does not belong to
//! the manifest the repository has, and saved after a commit, together with Borg's own cache
//! beside it. Losing it costs time and nothing else, so a failure to save is a warning.

use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

use fastness_engine::cache::chunks::PreparedTable;
use fastness_engine::cache::files::DEFAULT_TTL;
use fastness_engine::cache::{
    BorgCache, CacheDirectory, ChunkTable, FilesCache, FilesCacheMode, FilesCacheWriter, sync,
};
use fastness_engine::directories::replace_file;
use fastness_engine::error::EngineError;
use fastness_engine::event::Level;
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockIdentity;

use crate::access::Opened;
use crate::borg_cache::PreparedBorgs;
use crate::context::Context;
use crate::error::{CommandError, system_text, with_causes};
use crate::output::progress::Share;

/// Marks the directory of all caches as one that need not be archived.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This directory holds caches of Borg-compatible backup programs; all of it can be made anew.
";

impl Context<'_> {
    /// Returns the cache directory of a repository.
    ///
    /// It is not Borg's, which has its own beside it ([`Self::borg_cache`]).
    pub fn cache_directory(&self, id: &RepositoryId) -> CacheDirectory {
        let ours = self.environment.directories.cache.join("fastness");
        CacheDirectory::new(ours.join(id.to_string()))
    }

    /// Loads the references to all chunks, or counts them anew from the archives.
    ///
    /// # Errors
    /// When an archive is damaged: then no count can be trusted.
    pub fn load_chunks(&self, opened: &Opened) -> Result<ChunkTable, CommandError> {
        let directory = self.cache_directory(&opened.id());
        let catalogue = &opened.session.catalogue;
        let path = directory.chunk_table();
        let manifest = &catalogue.manifest_id;
        let saved = opened.early_chunks.take(manifest);
        if let Some(table) = saved.or_else(|| ChunkTable::load(&path, &opened.id(), manifest)) {
            return Ok(table);
        }
        // The archives have to be read for it.
        catalogue
            .manifest
            .check_features(&[Operation::Read])
            .map_err(|error| CommandError::from(EngineError::from(error)))?;
        let archives: Vec<ChunkId> = catalogue
            .manifest
            .archives
            .values()
            .map(|entry| entry.id)
            .collect();
        self.info("Synchronizing chunks cache...");
        let total = archives.len() as u64;
        let mut progress = |done: usize| {
            self.reporter.share(Share {
                msgid: "cache.sync",
                label: "Syncing chunks cache.",
                current: done as u64,
                total,
                path: None,
            });
        };
        let (repository, crypto) = (opened.session.repository.as_ref(), &opened.session.crypto);
        let table = sync::rebuild(repository, crypto, &archives, self.threads(), &mut progress);
        self.reporter.share_finished("cache.sync");
        let table = table.map_err(|error| damaged(&error))?;
        // Reading commands profit from it the next time, too.
        self.save_chunks(opened, &table);
        self.info("Done.");
        Ok(table)
    }

    /// Loads the references to all chunks for a command that only reads. Borg's cache is brought
    /// up to date where Borg would do that.
    ///
    /// # Errors
    /// As [`Self::load_chunks`].
    pub fn load_chunks_to_read(&self, opened: &Opened) -> Result<ChunkTable, CommandError> {
        let table = self.load_chunks(opened)?;
        if self.borgs_cache_is_old(opened) {
            let borgs = self.writer(opened).borgs;
            let prepared = borgs.map(|cache| cache.prepare(&table, self.lock_identity()));
            self.finish_borgs_cache(opened, prepared);
        }
        Ok(table)
    }

    /// Saves the references to all chunks as those of the manifest that is now committed, for us
    /// and for Borg.
    pub fn save_chunks(&self, opened: &Opened, table: &ChunkTable) {
        let mut writer = self.writer(opened);
        if !self.borgs_cache_is_old(opened) {
            writer.borgs = None;
        }
        let prepared = writer.prepare(table, &opened.session.catalogue.manifest_id);
        self.save_prepared(opened, prepared);
    }

    /// Puts the caches that were written beside a commit in their places.
    pub fn save_prepared(&self, opened: &Opened, prepared: PreparedCaches) {
        self.reporter.step("cache.commit", "Saving chunks cache");
        self.tag_caches();
        let directory = self.cache_directory(&opened.id());
        let facts = facts(opened, Some(&opened.place.canonical));
        let saved = prepared
            .own
            .and_then(PreparedTable::finish)
            .and_then(|()| replace_file(&facts_path(&directory), &facts));
        if let Err(error) = saved {
            self.cannot_save(&directory.chunk_table(), &error);
        }
        self.finish_borgs_cache(opened, prepared.borgs);
        self.reporter.step("cache.commit", "");
    }

    /// Returns what writes both caches of a repository, on any thread.
    pub fn writer(&self, opened: &Opened) -> CacheWriter {
        CacheWriter {
            repository: opened.id(),
            own: self.cache_directory(&opened.id()),
            borgs: self.borgs_cache_to_write(opened),
            identity: self.lock_identity(),
        }
    }

    /// Opens what the last run remembered of files, and begins what this one will; nothing when
    /// the mode says so.
    pub fn files_cache(
        &self,
        opened: &Opened,
        mode: FilesCacheMode,
    ) -> (Arc<FilesCache>, Option<FilesCacheWriter>) {
        if !mode.is_enabled() {
            return (Arc::new(FilesCache::empty(mode)), None);
        }
        let directory = self.cache_directory(&opened.id());
        let path = directory.files_cache(self.environment.files_cache_suffix.as_deref());
        let old = Arc::new(FilesCache::open(&path, &opened.id(), mode));
        let ttl = self.environment.files_cache_ttl.unwrap_or(DEFAULT_TTL);
        self.tag_caches();
        let new = directory
            .create()
            .and_then(|()| FilesCacheWriter::create(&path, &opened.id(), Arc::clone(&old), ttl));
        match new {
            Ok(new) => (old, Some(new)),
            Err(error) => {
                self.cannot_save(&path, &error);
                (old, None)
            }
        }
    }

    /// Opens what the last run remembered of files, and leaves it as it is.
    pub fn known_files(&self, opened: &Opened, mode: FilesCacheMode) -> FilesCache {
        let directory = self.cache_directory(&opened.id());
        let path = directory.files_cache(self.environment.files_cache_suffix.as_deref());
        match mode.is_enabled() {
            true => FilesCache::open(&path, &opened.id(), mode),
            false => FilesCache::empty(mode),
        }
    }

    /// Tells that what the next run will know of files was written, or why it was not.
    pub fn tell_files_cache(&self, mode: FilesCacheMode, written: std::io::Result<()>) {
        if !mode.is_enabled() {
            return;
        }
        self.reporter.step("cache.commit", "Saving files cache");
        if let Err(error) = written {
            self.cannot_save(Path::new("files cache"), &error);
        }
        self.reporter.step("cache.commit", "");
    }

    /// Returns how many threads work at once.
    pub fn threads(&self) -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }

    pub(crate) fn tag_caches(&self) {
        let tag = self.environment.directories.cache.join("CACHEDIR.TAG");
        if !tag.exists() {
            // Without the tag backups of the home directory are bigger, that is all.
            let _ = std::fs::create_dir_all(&self.environment.directories.cache)
                .and_then(|()| std::fs::write(&tag, TAG));
        }
    }

    pub(crate) fn cannot_save(&self, path: &Path, error: &std::io::Error) {
        let text = format!(
            "{}: cannot be saved: {}",
            path.display(),
            system_text(error)
        );
        self.log().log(Level::Warning, "borg.cache", &text, None);
    }
}

/// Writes the references to all chunks, in our form and in Borg's.
#[derive(Debug)]
pub struct CacheWriter {
    repository: RepositoryId,
    own: CacheDirectory,
    borgs: Option<BorgCache>,
    identity: LockIdentity,
}

/// Both caches as they were written beside their places; dropped, they vanish.
#[derive(Debug)]
pub struct PreparedCaches {
    own: io::Result<PreparedTable>,
    borgs: Option<PreparedBorgs>,
}

impl CacheWriter {
    /// Writes both at the same time.
    pub fn prepare(&self, table: &ChunkTable, manifest: &ChunkId) -> PreparedCaches {
        std::thread::scope(|scope| {
            let identity = self.identity.clone();
            let borgs = self.borgs.as_ref();
            let borgs = borgs.map(|cache| scope.spawn(|| cache.prepare(table, identity)));
            let path = self.own.chunk_table();
            let own = self.own.create();
            let own = own.and_then(|()| table.prepare(&path, &self.repository, manifest));
            let join = |thread: ScopedJoinHandle<'_, PreparedBorgs>| {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            let borgs = borgs.map(join);
            PreparedCaches { own, borgs }
        })
    }
}

/// Where is remembered what the repository was like, in the form of the config of Borg's cache.
pub fn facts_path(directory: &CacheDirectory) -> PathBuf {
    directory.path().join("config")
}

const LOCATION: &[u8] = b"previous_location = ";

/// What the config of our cache says.
pub(crate) fn facts(opened: &Opened, location: Option<&[u8]>) -> Vec<u8> {
    let location = location.map(|location| [LOCATION, location].concat());
    let location = location.unwrap_or_default();
    let rest = format!(
        "\nkey_type = {}\ntimestamp = {}\n",
        opened.key_type().byte(),
        opened.session.catalogue.manifest.timestamp
    );
    [b"[cache]\n".as_slice(), &location, rest.as_bytes()].concat()
}

fn damaged(error: &sync::SyncError) -> CommandError {
    match error {
        sync::SyncError::Object(error) => CommandError::told(error.msgid(), error).hinted(CHECK),
        error => CommandError::new("IntegrityError", with_causes(error)).hinted(CHECK),
    }
}

const CHECK: &str = "find out what is damaged with: borg check --verify-data";
