//! Borg's own cache of a repository, kept in the state in which Borg would have left it.
//!
//! Borg uses its file of chunks only while the config beside it names the manifest that the
//! repository has, and the digests there fit the file; otherwise it reads all archives anew. After
//! a change of ours both are therefore written, from our [`ChunkTable`]. The rest of the cache is
//! left as it is; a cache that is not there is made as Borg makes it.
//!
//! A process that dies on the way leaves a cache that belongs to no manifest, or none at all: the
//! config forgets the chunks before these are replaced, and a new cache gets its name last. Borg's
//! lock on its cache is respected.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fastness_format::cache_config::{CacheConfig, CacheState};
use fastness_format::hash_index::{ChunkIndexLayout, ChunkUse, LayoutError};
use fastness_format::integrity::{Digests, FileDigest, PART_HEADER};
use fastness_format::repository_config::ConfigError;
use fastness_repository::local::lock::{Lock, LockError, LockIdentity, LockKind, LockWait};

use super::{CacheDirectory, ChunkTable, Replacement};

const CHUNKS: &str = "chunks";
const CONFIG: &str = "config";
const ARCHIVES: &str = "chunks.archive.d";
const BEGUN: &str = "txn.tmp";
const ACTIVE: &str = "txn.active";
const README: &str = "This is a cache that BorgBackup and compatible programs keep of a repository.
It can be deleted at any time and is made anew when it is needed.
";
/// A config is a few lines.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// What became of an attempt to save the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It belongs to the manifest now.
    Done,
    /// Another program uses it, it is of a version that is not known, or stored lengths are not
    /// known that Borg would look up: it is as it was.
    LeftAlone,
}

/// Borg's cache of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BorgCache {
    path: PathBuf,
    /// Name of the files cache, which is made empty with a new cache.
    files: String,
}

impl BorgCache {
    /// Names the cache; it need not be there. The suffix is that of the files cache.
    pub fn new(path: impl Into<PathBuf>, suffix: Option<&str>) -> Self {
        let files = match suffix.filter(|suffix| !suffix.is_empty()) {
            Some(suffix) => format!("files.{}", suffix.replace('/', "_")),
            None => "files".to_owned(),
        };
        Self {
            path: path.into(),
            files,
        }
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the config; one that is not there or cannot be used is none.
    pub fn config(&self) -> Option<CacheConfig> {
        self.read_config().ok().flatten()
    }

    /// Reads the config; one that is damaged is none. Fails with one that is of a version that is
    /// not known.
    fn read_config(&self) -> Result<Option<CacheConfig>, ConfigError> {
        let path = self.path.join(CONFIG);
        let short = fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= MAX_CONFIG_BYTES);
        let text = short.then(|| fs::read_to_string(&path).ok()).flatten();
        match text.as_deref().map(CacheConfig::parse).transpose() {
            Err(error @ ConfigError::Invalid { .. }) => Err(error),
            config => Ok(config.ok().flatten()),
        }
    }

    /// Saves the references to all chunks as those of a manifest that is committed.
    ///
    /// # Errors
    /// When something cannot be written; then Borg does not use the chunks.
    pub fn save(
        &self,
        table: &ChunkTable,
        state: &CacheState<'_>,
        identity: LockIdentity,
    ) -> io::Result<Saved> {
        match self.prepare(table, identity)? {
            Some(prepared) => prepared.finish(state),
            None => Ok(Saved::LeftAlone),
        }
    }

    /// Takes Borg's lock and writes the chunks beside their place; nothing when it is to be left
    /// alone ([`Saved::LeftAlone`]). What is there stays valid.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn prepare(
        &self,
        table: &ChunkTable,
        identity: LockIdentity,
    ) -> io::Result<Option<PreparedCache>> {
        let _stage = tracing::trace_span!("prepare_borg_cache").entered();
        if !self.path.exists() {
            return self.prepare_new(table);
        }
        let Some(lock) = self.lock(identity)? else {
            return Ok(None);
        };
        self.roll_back()?;
        let Ok(config) = self.read_config() else {
            return Ok(None);
        };
        self.sweep();
        let chunks = write_chunks(&self.path, table)?;
        Ok(chunks.map(|(chunks, digests)| PreparedCache {
            chunks,
            digests,
            config,
            cache: self.clone(),
            lock: Some(lock),
            new: None,
        }))
    }

    /// Begins a cache under another name: Borg cannot cope with a directory that has no config.
    fn prepare_new(&self, table: &ChunkTable) -> io::Result<Option<PreparedCache>> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let new = NewDirectory(CacheDirectory::new(self.path.with_file_name(name)));
        new.0.remove()?;
        new.0.create()?;
        let chunks = write_chunks(new.0.path(), table)?;
        Ok(chunks.map(|(chunks, digests)| PreparedCache {
            chunks,
            digests,
            config: None,
            cache: self.clone(),
            lock: None,
            new: Some(new),
        }))
    }

    /// Sets where the repository was used last.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_location(
        &self,
        location: Option<&str>,
        identity: LockIdentity,
    ) -> io::Result<Saved> {
        if self.config().is_none() {
            return Ok(Saved::LeftAlone);
        }
        let Some(lock) = self.lock(identity)? else {
            return Ok(Saved::LeftAlone);
        };
        self.roll_back()?;
        if let Some(mut config) = self.config() {
            config.set_location(location);
            replace(&self.path, &config, Durable::Yes)?;
        }
        lock.release().map_err(io::Error::other)?;
        Ok(Saved::Done)
    }

    /// Takes the lock, unless somebody has it.
    fn lock(&self, identity: LockIdentity) -> io::Result<Option<Lock>> {
        let wait = LockWait::UpTo(std::time::Duration::ZERO);
        match Lock::acquire(&self.path, LockKind::Exclusive, wait, identity) {
            Ok(lock) => Ok(Some(lock)),
            Err(LockError::Timeout { .. }) => Ok(None),
            Err(LockError::Failed { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Makes what else belongs to a cache, as far as it is not there.
    fn complete(&self, directory: &Path) -> io::Result<()> {
        let archives = directory.join(ARCHIVES);
        if archives.symlink_metadata().is_err() {
            CacheDirectory::new(archives).create()?;
        }
        for (name, content) in [
            ("README", README),
            (self.files.as_str(), ""),
            ("pre12-meta", "{}"),
        ] {
            let path = directory.join(name);
            if path.symlink_metadata().is_err() {
                let mut file = Replacement::create(&path)?;
                file.write(content.as_bytes())?;
                file.commit(false)?;
            }
        }
        Ok(())
    }

    /// Removes what a process that died on the way has left. Nobody else writes here now.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let ours = [CHUNKS, CONFIG].iter().any(|file| {
                let rest = name.strip_prefix(file);
                rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".tmp"))
            });
            if ours {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Ends a transaction in which Borg was interrupted, as Borg would: by the copies it made.
    fn roll_back(&self) -> io::Result<()> {
        let [begun, active] = [BEGUN, ACTIVE].map(|name| self.path.join(name));
        CacheDirectory::new(&begun).remove()?;
        if !active.is_dir() {
            return Ok(());
        }
        // The config comes last: with an old one the others are not used.
        let mut copies = Vec::new();
        for entry in fs::read_dir(&active)? {
            copies.push(entry?.file_name());
        }
        copies.sort_by_key(|name| name == CONFIG);
        for name in copies {
            let mut copy = Replacement::create(&self.path.join(&name))?;
            io::copy(&mut fs::File::open(active.join(&name))?, copy.writer()?)?;
            copy.commit(true)?;
        }
        fs::rename(&active, &begun)?;
        CacheDirectory::new(&begun).remove()
    }
}

/// A cache with new chunks beside the old ones; dropped, these vanish.
#[derive(Debug)]
pub struct PreparedCache {
    // In this order they are dropped: first the file, the lock or the directory last.
    chunks: Replacement,
    digests: Digests,
    config: Option<CacheConfig>,
    cache: BorgCache,
    lock: Option<Lock>,
    new: Option<NewDirectory>,
}

impl PreparedCache {
    /// Lets the cache belong to a manifest that is committed.
    ///
    /// # Errors
    /// When something cannot be written; then Borg does not use the chunks.
    pub fn finish(self, state: &CacheState<'_>) -> io::Result<Saved> {
        let directory = match &self.new {
            Some(new) => new.0.path(),
            None => self.cache.path(),
        };
        let known = self.config.is_some();
        let config = self.config;
        let mut config = config.unwrap_or_else(|| CacheConfig::new(&state.repository));
        if known {
            config.forget_chunks();
            replace(directory, &config, Durable::No)?;
        }
        self.chunks.commit(false)?;
        self.cache.complete(directory)?;
        config.belong_to(state, &self.digests);
        replace(directory, &config, Durable::Yes)?;
        if self.new.is_some() {
            match fs::rename(directory, self.cache.path()) {
                Ok(()) => {}
                // Somebody else was quicker.
                Err(_) if self.cache.config().is_some() => return Ok(Saved::LeftAlone),
                Err(error) => return Err(error),
            }
        }
        if let Some(lock) = self.lock {
            lock.release().map_err(io::Error::other)?;
        }
        Ok(Saved::Done)
    }
}

/// A directory that vanishes, unless it got another name.
#[derive(Debug)]
struct NewDirectory(CacheDirectory);

impl Drop for NewDirectory {
    fn drop(&mut self) {
        let _ = self.0.remove();
    }
}

/// Whether a file has to survive a loss of power before the next step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    No,
}

fn replace(directory: &Path, config: &CacheConfig, durable: Durable) -> io::Result<()> {
    let mut file = Replacement::create(&directory.join(CONFIG))?;
    file.write(config.to_text().as_bytes())?;
    file.commit(durable == Durable::Yes)
}

/// Writes the file of chunks beside its place. None is written when stored lengths are not known
/// (after `--no-cache-sync`), which Borg looks up when it counts.
fn write_chunks(
    directory: &Path,
    table: &ChunkTable,
) -> io::Result<Option<(Replacement, Digests)>> {
    let mut file = Replacement::create(&directory.join(CHUNKS))?;
    let layout = ChunkIndexLayout::new(table.len());
    let mut digest = FileDigest::new(CHUNKS);
    let header = layout.header();
    digest.update(&header);
    digest.part(PART_HEADER);
    file.write(&header)?;
    let unknown = Cell::new(false);
    let visit = |put: &mut dyn FnMut(&_, ChunkUse)| {
        table.for_each(|id, entry| {
            if entry.size == 0 || entry.csize == 0 {
                unknown.set(true);
            }
            let value = ChunkUse {
                refcount: entry.references,
                size: entry.size,
                csize: entry.csize,
            };
            put(id, value);
        });
    };
    let written = layout.write(visit, |bytes| {
        digest.update(bytes);
        file.write(bytes)
    });
    match written {
        Ok(()) if unknown.get() => Ok(None),
        Ok(()) => {
            file.settle()?;
            Ok(Some((file, digest.finish())))
        }
        Err(LayoutError::Write(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests;
