//! What this machine remembers of a repository: the references to chunks, the files last seen.
//!
//! It is loaded when a command needs it, counted anew from the archives when it does not belong to
//! the manifest the repository has, and saved after a commit. Losing it costs time and nothing
//! else, so a failure to save is a warning.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness_engine::cache::files::DEFAULT_TTL;
use fastness_engine::cache::{
    CacheDirectory, ChunkTable, FilesCache, FilesCacheMode, FilesCacheWriter, sync,
};
use fastness_engine::directories::replace_file;
use fastness_engine::error::EngineError;
use fastness_engine::event::Level;
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::manifest::Operation;

use crate::access::Opened;
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
    /// It is not Borg's, which has its own beside it: real Borg 1.4 ends with a traceback when the
    /// directory of its cache is there without a config that it wrote.
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

    /// Saves the references to all chunks as those of the manifest that is now committed.
    pub fn save_chunks(&self, opened: &Opened, table: &ChunkTable) {
        self.reporter.step("cache.commit", "Saving chunks cache");
        let directory = self.cache_directory(&opened.id());
        let manifest = &opened.session.catalogue.manifest_id;
        self.tag_caches();
        let saved = directory
            .create()
            .and_then(|()| table.save(&directory.chunk_table(), &opened.id(), manifest))
            .and_then(|()| {
                replace_file(
                    &facts_path(&directory),
                    &facts(opened, Some(&opened.place.canonical)),
                )
            });
        if let Err(error) = saved {
            self.cannot_save(&directory.chunk_table(), &error);
        }
        self.reporter.step("cache.commit", "");
    }

    /// Lets our cache name the place where the repository is now, as the security database does
    /// once a move was accepted.
    pub fn follow_location(&self, opened: &Opened) {
        let here = opened.place.canonical.as_slice();
        let known = self.cached_facts(&opened.id());
        if known.is_some_and(|facts| facts.previous_location.as_deref() != Some(here)) {
            self.set_cached_location(opened, Some(here));
        }
    }

    /// Lets our cache say that the repository was last used at `location`, or nothing about it.
    pub fn set_cached_location(&self, opened: &Opened, location: Option<&[u8]>) {
        let directory = self.cache_directory(&opened.id());
        let path = facts_path(&directory);
        let saved = directory
            .create()
            .and_then(|()| replace_file(&path, &facts(opened, location)));
        if let Err(error) = saved {
            self.cannot_save(&path, &error);
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

    fn tag_caches(&self) {
        let tag = self.environment.directories.cache.join("CACHEDIR.TAG");
        if !tag.exists() {
            // Without the tag backups of the home directory are bigger, that is all.
            let _ = std::fs::create_dir_all(&self.environment.directories.cache)
                .and_then(|()| std::fs::write(&tag, TAG));
        }
    }

    fn cannot_save(&self, path: &Path, error: &std::io::Error) {
        let text = format!(
            "{}: cannot be saved: {}",
            path.display(),
            system_text(error)
        );
        self.log().log(Level::Warning, "borg.cache", &text, None);
    }
}

/// Where is remembered what the repository was like, in the form of the config of Borg's cache.
pub fn facts_path(directory: &CacheDirectory) -> PathBuf {
    directory.path().join("config")
}

const LOCATION: &[u8] = b"previous_location = ";

fn facts(opened: &Opened, location: Option<&[u8]>) -> Vec<u8> {
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
