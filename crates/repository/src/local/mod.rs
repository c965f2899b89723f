//! Repositories in a local directory.
//!
//! ```text
//! README                  marks the directory          lock.exclusive/, lock.roster   see lock
//! config                  settings, perhaps the key    nonce      reserved counter values
//! data/<N / 1000>/<N>     segments: the log            index.T, hints.T, integrity.T
//! transactions            only if append-only                     what the log says, as of T
//! ```
//!
//! The segments are the truth. A transaction appends segments and ends with one that holds a
//! COMMIT; what follows the last COMMIT is the rest of a transaction that failed, and the next
//! writer removes it. Index and hints are caches of the log: when they lag behind after a crash,
//! the segments since are replayed.

mod check;
mod compact;
mod config;
mod index;
pub mod lock;
mod low_level;
mod open;
mod quota;
mod replay;
mod segments;
#[cfg(test)]
mod tests;
mod transaction;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use fastness_format::hash_index::{Location, RepositoryIndex};
use fastness_format::hints::Hints;
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::repository_config::{ConfigText, RepositoryConfig};

pub use self::low_level::LowLevelEntry;
pub use self::open::{CreateOptions, LockOptions, OpenOptions, is_repository};

use self::config::NonceFile;
use self::index::LoadError;
use self::lock::{Lock, LockIdentity, LockKind};
use self::segments::Segments;
use self::writer::Writer;
use crate::error::{RepositoryError, Result};
use crate::monitor::Monitor;
use crate::{CheckOptions, CommitReport, CompactOptions, NonceStore, Repository, Room, storage};

/// What is known of the objects: as of the last commit, or in the midst of a transaction.
#[derive(Default)]
struct State {
    /// The last transaction that is committed.
    transaction: Option<u32>,
    index: RepositoryIndex,
    /// Only loaded for writing.
    hints: Option<Hints>,
}

/// Why a transaction can only be rolled back.
#[derive(Debug, Clone, Copy)]
enum Doom {
    Quota { quota: u64, used: u64 },
    Failed,
}

/// A repository in a directory of this machine, open.
pub struct LocalRepository {
    path: PathBuf,
    config: RepositoryConfig,
    append_only: bool,
    quota: Option<u64>,
    monitor: Arc<dyn Monitor>,
    now: fn() -> SystemTime,
    /// Whether it was to be locked at all.
    locked: bool,
    lock: Mutex<Option<Lock>>,
    segments: Segments,
    nonces: Arc<NonceFile>,
    state: OnceLock<State>,
    /// Held while the state is loaded.
    loading: Mutex<()>,
    /// There is one as long as there is a transaction.
    writer: Option<Writer>,
    doomed: Option<Doom>,
    /// Ids in the order of the log, for [`Repository::scan`].
    order: Mutex<Option<Arc<Vec<ChunkId>>>>,
    /// Whether this is the session that created it.
    created: bool,
}

impl LocalRepository {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings, as they were when the repository was opened.
    pub fn config(&self) -> &RepositoryConfig {
        &self.config
    }

    /// The config file as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn config_text(&self) -> Result<ConfigText> {
        config::read(&self.path)
    }

    /// Changes the config file; what is open goes on with the settings it was opened with.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn change_config(&mut self, change: impl FnOnce(&mut ConfigText)) -> Result<()> {
        config::update(&self.path, &*self.monitor, change)
    }

    /// Tells whether nothing is ever removed.
    pub fn is_append_only(&self) -> bool {
        self.append_only
    }

    /// The number of the last committed transaction, if there is one.
    ///
    /// # Errors
    /// As [`Repository::get`].
    pub fn transaction(&self) -> Result<Option<u32>> {
        Ok(self.state()?.transaction)
    }

    /// Gives the lock another owner's name, after the process has forked into the background.
    ///
    /// # Errors
    /// [`RepositoryError::Lock`].
    pub fn migrate_lock(&mut self, identity: LockIdentity) -> Result<()> {
        match &mut *self.lock() {
            Some(lock) => Ok(lock.migrate(identity)?),
            None => Ok(()),
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn not_found(&self, id: &ChunkId) -> RepositoryError {
        RepositoryError::ObjectNotFound {
            id: *id,
            location: self.name(),
        }
    }

    fn check_needed(&self, reason: impl Into<String>) -> RepositoryError {
        RepositoryError::CheckNeeded {
            location: self.name(),
            reason: reason.into(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_lock_notes(&self) {
        for note in self.lock().iter_mut().flat_map(Lock::take_notes) {
            self.monitor.warning(note);
        }
    }

    /// Makes the lock exclusive; tells whether it was shared.
    fn upgrade_lock(&self) -> Result<bool> {
        match &mut *self.lock() {
            Some(lock) if lock.kind() == LockKind::Shared => {
                lock.upgrade()?;
                Ok(true)
            }
            Some(_) => Ok(false),
            None if self.locked => Err(RepositoryError::Aborted(self.name())),
            None => Ok(false),
        }
    }

    /// Loads the index, once; replays what it does not know.
    fn state(&self) -> Result<&State> {
        if let Some(state) = self.state.get() {
            return Ok(state);
        }
        let _guard = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = self.state.get() {
            return Ok(state);
        }
        let state = self.load_state()?;
        Ok(self.state.get_or_init(|| state))
    }

    fn state_mut(&mut self) -> Result<&mut State> {
        self.state()?;
        let name = self.name();
        self.state.get_mut().ok_or(RepositoryError::Aborted(name))
    }

    fn load_state(&self) -> Result<State> {
        let _stage = tracing::trace_span!("load_index").entered();
        let indexed = index::last_index(&self.path)?;
        let committed = self.segments.last_committed()?;
        match (indexed, committed) {
            (None, None) => Ok(State::default()),
            (Some(_), None) => Err(self.check_needed("no committed segment is left")),
            (Some(transaction), Some(committed)) if transaction == committed => {
                match index::load_index(&self.path, transaction, &*self.monitor) {
                    Ok(index) => Ok(State {
                        transaction: Some(transaction),
                        index,
                        hints: None,
                    }),
                    Err(LoadError::Other(error)) => Err(error),
                    Err(LoadError::Damaged(reason)) => {
                        self.monitor.warning(format!(
                            "Repository index missing or corrupted, trying to recover from: {reason}"
                        ));
                        self.replay(None, committed)
                    }
                }
            }
            // An index of a transaction that was undone is of no use.
            (indexed, Some(committed)) => {
                self.replay(indexed.filter(|&indexed| indexed < committed), committed)
            }
        }
    }

    /// Rebuilds the tables of transaction `to` and saves them. Without a lock nothing is saved:
    /// the medium may be read-only, and others may be at work.
    fn replay(&self, from: Option<u32>, to: u32) -> Result<State> {
        let was_shared = self.upgrade_lock()?;
        let tables = replay::replay(&self.path, &self.segments, from, to, &*self.monitor)?;
        if self.locked {
            self.log_transaction(to)?;
            index::save(&self.path, to, &tables.index, &tables.hints)?;
        }
        if was_shared && let Some(lock) = &mut *self.lock() {
            lock.downgrade()?;
        }
        Ok(State {
            transaction: Some(to),
            index: tables.index,
            hints: Some(tables.hints),
        })
    }

    /// Ids in the order of the log.
    fn log_order(&self) -> Result<Arc<Vec<ChunkId>>> {
        let state = self.state()?;
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(order) = &*order {
            return Ok(Arc::clone(order));
        }
        let mut entries: Vec<(Location, ChunkId)> =
            state.index.iter().map(|(id, at)| (at, id)).collect();
        entries.sort_unstable();
        let ids = Arc::new(entries.into_iter().map(|(_, id)| id).collect());
        *order = Some(Arc::clone(&ids));
        Ok(ids)
    }

    /// Looks, between two transactions, whether the files still are what the last one left, and
    /// forgets what is known of them if they are not. A session that stays open for long notices
    /// by that what happened to them meanwhile.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn refresh(&mut self) -> Result<()> {
        let Some(known) = self.state.get().map(|state| state.transaction) else {
            return Ok(());
        };
        if self.writer.is_some() || self.doomed.is_some() {
            return Ok(());
        }
        self.segments.forget_all();
        let committed = match known {
            Some(segment) => self.segments.ends_with_commit(segment)?,
            None => true,
        };
        let as_left = index::last_index(&self.path)? == known && self.segments.latest()? == known;
        if !committed || !as_left {
            self.state.take();
            self.forget_order();
        }
        Ok(())
    }

    fn forget_order(&mut self) {
        let order = self.order.get_mut();
        *order.unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Repository for LocalRepository {
    fn id(&self) -> RepositoryId {
        self.config.id
    }

    fn location(&self) -> String {
        self.name()
    }

    fn get_with(&self, id: &ChunkId, room: &mut Room<'_>) -> Result<Vec<u8>> {
        let at = self.state()?.index.get(id);
        let at = at.ok_or_else(|| self.not_found(id))?;
        let unwritten = self.writer.as_ref().and_then(|w| w.read_unwritten(at, id));
        unwritten.unwrap_or_else(|| self.segments.read(at, id, room))
    }

    fn contains(&self, id: &ChunkId) -> Result<bool> {
        Ok(self.state()?.index.contains(id))
    }

    fn len(&self) -> Result<usize> {
        Ok(self.state()?.index.len())
    }

    fn list(&self, limit: Option<usize>, marker: Option<&ChunkId>) -> Result<Vec<ChunkId>> {
        let index = &self.state()?.index;
        let limit = limit.unwrap_or(usize::MAX);
        Ok(match marker {
            None => index.iter().take(limit).map(|(id, _)| id).collect(),
            Some(marker) => {
                let rest = index.iter_after(marker);
                let rest = rest.ok_or_else(|| self.not_found(marker))?;
                rest.take(limit).map(|(id, _)| id).collect()
            }
        })
    }

    fn scan(&self, limit: Option<usize>, marker: Option<&ChunkId>) -> Result<Vec<ChunkId>> {
        let index = &self.state()?.index;
        let order = self.log_order()?;
        let start = match marker {
            None => 0,
            Some(marker) => {
                let at = index.get(marker).ok_or_else(|| self.not_found(marker))?;
                order.partition_point(|id| index.get(id).is_some_and(|other| other <= at))
            }
        };
        let limit = limit.unwrap_or(usize::MAX);
        Ok(order.iter().skip(start).take(limit).copied().collect())
    }

    fn put(&mut self, id: &ChunkId, value: &[u8]) -> Result<()> {
        self.put_object(id, value)
    }

    fn delete(&mut self, id: &ChunkId) -> Result<()> {
        self.delete_object(id)
    }

    fn commit(&mut self, compaction: Option<CompactOptions>) -> Result<CommitReport> {
        self.commit_transaction(compaction)
    }

    fn complete_segments(&mut self) -> Result<()> {
        self.complete_written()
    }

    fn rollback(&mut self) -> Result<()> {
        self.roll_back();
        Ok(())
    }

    fn check(&mut self, options: &CheckOptions) -> Result<bool> {
        self.check_segments(options)
    }

    fn destroy(&mut self) -> Result<()> {
        if self.append_only {
            return Err(RepositoryError::AppendOnly(self.name()));
        }
        self.roll_back();
        // From here on it is no repository any more, even if the rest fails.
        storage::remove_if_exists(&self.path.join("config"))?;
        self.close()?;
        std::fs::remove_dir_all(&self.path).map_err(storage::failed("remove", &self.path))
    }

    fn load_key(&self) -> Result<Option<String>> {
        let config = config::read(&self.path)?;
        let key = config.get("key").map(str::trim);
        Ok(key.filter(|key| !key.is_empty()).map(str::to_owned))
    }

    fn save_key(&mut self, key: &str) -> Result<()> {
        config::update(&self.path, &*self.monitor, |config| {
            config.set("key", key.trim());
        })
    }

    fn nonces(&self) -> Arc<dyn NonceStore> {
        Arc::clone(&self.nonces) as Arc<dyn NonceStore>
    }

    fn break_lock(&mut self) -> Result<()> {
        Ok(lock::break_lock(&self.path)?)
    }

    fn close(&mut self) -> Result<()> {
        self.roll_back();
        self.segments.forget_all();
        let lock = self.lock().take();
        lock.map_or(Ok(()), Lock::release)?;
        Ok(())
    }
}

impl Drop for LocalRepository {
    fn drop(&mut self) {
        // Who wants to know of failures calls close.
        let _ = self.close();
    }
}
