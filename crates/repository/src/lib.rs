//! Transactional object stores in the BorgBackup 1.x repository layout.
//!
//! A repository maps 32-byte ids to byte strings. Changes gather in a transaction and become
//! durable together at a commit; after a crash the last commit is what there is. It knows nothing
//! of keys, items or archives: what it stores is opaque to it.
//!
//! [`Repository`] is the interface, [`local`] the store on a file system of this machine, [`remote`]
//! one on another machine, or serves it to others.

pub mod error;
pub mod local;
pub mod monitor;
pub mod remote;
mod storage;

use std::sync::Arc;
use std::time::Duration;

use fastness_format::id::{ChunkId, RepositoryId};

pub use error::{RepositoryError, Result};
pub use monitor::{Event, Level, Monitor, Silent};

/// The longest value an object may have, in bytes.
pub const MAX_VALUE_BYTES: usize = 20_971_479;

/// When and how a commit frees space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactOptions {
    /// Segments are rewritten when more than this share of them is dead; Borg's default is 0.1.
    pub threshold: f64,
    /// Also rewrites the commit-only segments that Borg 1.1 left in great numbers.
    pub cleanup_commits: bool,
}

impl Default for CompactOptions {
    fn default() -> Self {
        Self {
            threshold: 0.1,
            cleanup_commits: false,
        }
    }
}

/// What a commit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitReport {
    /// Bytes of dropped objects, when the commit compacted.
    pub freed_bytes: Option<u64>,
}

/// How a repository is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Rewrites damaged segments with what can be saved of them and rebuilds the index.
    pub repair: bool,
    /// Ends after this time and goes on there at the next check; reads segments only.
    pub max_duration: Option<Duration>,
}

/// Gives buffers for values of so many bytes.
pub type Room<'a> = dyn FnMut(usize) -> Vec<u8> + 'a;

/// A transactional store of objects.
///
/// Methods that take `&self` may be called by many threads at once. Errors of the methods that
/// change something leave the transaction as it is; the caller rolls it back.
pub trait Repository: Send + Sync {
    /// The identity written into the repository when it was created.
    fn id(&self) -> RepositoryId;

    /// Path or address, as messages name it.
    fn location(&self) -> String;

    /// Reads the value of an object.
    ///
    /// # Errors
    /// [`RepositoryError::ObjectNotFound`], [`RepositoryError::Integrity`] when its checksum is
    /// wrong, or what makes reading impossible.
    fn get(&self, id: &ChunkId) -> Result<Vec<u8>> {
        self.get_with(id, &mut Vec::with_capacity)
    }

    /// As [`Repository::get`], into a buffer that `room` gives for so many bytes; what is in it is
    /// dropped. Memory that was used before costs the system less than fresh memory.
    ///
    /// # Errors
    /// As [`Repository::get`].
    fn get_with(&self, id: &ChunkId, room: &mut Room<'_>) -> Result<Vec<u8>>;

    /// Reads several objects; the results are in the order of the ids.
    fn get_many(&self, ids: &[ChunkId]) -> Vec<Result<Vec<u8>>> {
        ids.iter().map(|id| self.get(id)).collect()
    }

    /// Announces that these objects are going to be read, each once and about in this order. Where
    /// there is a long way to them, they are asked for ahead.
    fn prefetch(&self, _ids: &[ChunkId]) {}

    /// Announces that the key is going to be loaded, as [`Repository::prefetch`] does for objects.
    fn expect_key(&self) {}

    /// Tells whether there is an object with this id.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn contains(&self, id: &ChunkId) -> Result<bool>;

    /// The number of objects.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn len(&self) -> Result<usize>;

    /// Tells whether there is no object at all.
    ///
    /// # Errors
    /// When the index cannot be read.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Ids in the order of the index, at most `limit`, beginning after `marker`.
    ///
    /// # Errors
    /// [`RepositoryError::ObjectNotFound`] when there is no object `marker`.
    fn list(&self, limit: Option<usize>, marker: Option<&ChunkId>) -> Result<Vec<ChunkId>>;

    /// Ids in the order in which the objects lie in the log, at most `limit`, beginning after
    /// `marker`. Reading them in this order is fastest.
    ///
    /// # Errors
    /// [`RepositoryError::ObjectNotFound`] when there is no object `marker`.
    fn scan(&self, limit: Option<usize>, marker: Option<&ChunkId>) -> Result<Vec<ChunkId>>;

    /// Stores a value under an id, in place of the one it had. Begins a transaction if there is
    /// none.
    ///
    /// # Errors
    /// [`RepositoryError::StorageQuotaExceeded`], which dooms the transaction; a failure to write.
    fn put(&mut self, id: &ChunkId, value: &[u8]) -> Result<()>;

    /// Removes an object. Begins a transaction if there is none.
    ///
    /// # Errors
    /// [`RepositoryError::ObjectNotFound`]; a failure to write.
    fn delete(&mut self, id: &ChunkId) -> Result<()>;

    /// Removes those of the objects that are there. Returns whether all were.
    ///
    /// # Errors
    /// As [`Repository::delete`], but for objects that are not there.
    fn delete_present(&mut self, ids: &[ChunkId]) -> Result<bool> {
        let mut all = true;
        for id in ids {
            match self.delete(id) {
                Err(RepositoryError::ObjectNotFound { .. }) => all = false,
                other => other?,
            }
        }
        Ok(all)
    }

    /// Makes everything since the last commit durable, then compacts if asked to (append-only
    /// repositories never do). Compaction without a transaction begins one.
    ///
    /// # Errors
    /// [`RepositoryError::StorageQuotaExceeded`] or
    /// [`RepositoryError::InsufficientFreeSpace`]: then the transaction is rolled back.
    fn commit(&mut self, compaction: Option<CompactOptions>) -> Result<CommitReport>;

    /// Brings what was written so far to the disk, as whole segments, without a commit. Does
    /// nothing where the segments are not within reach.
    ///
    /// # Errors
    /// When writing fails; the transaction can only be rolled back then.
    fn complete_segments(&mut self) -> Result<()> {
        Ok(())
    }

    /// Forgets everything since the last commit.
    ///
    /// # Errors
    /// When a server cannot be told.
    fn rollback(&mut self) -> Result<()>;

    /// Checks all segments and the index, and repairs them if asked to. True means that there is
    /// no error, or none left. What is found is told to the monitor.
    ///
    /// # Errors
    /// When checking itself fails.
    fn check(&mut self, options: &CheckOptions) -> Result<bool>;

    /// Deletes the repository and everything in it.
    ///
    /// # Errors
    /// [`RepositoryError::AppendOnly`]; a failure to delete.
    fn destroy(&mut self) -> Result<()>;

    /// Reads the key stored in the repository, if it has one.
    ///
    /// # Errors
    /// When the config cannot be read.
    fn load_key(&self) -> Result<Option<String>>;

    /// Stores a key in the repository, in place of the one it had.
    ///
    /// # Errors
    /// When the config cannot be read or written.
    fn save_key(&mut self, key: &str) -> Result<()>;

    /// The reservations of counter values, usable while others read and write.
    fn nonces(&self) -> Arc<dyn NonceStore>;

    /// Removes the locks of others. Only for those that were left behind.
    ///
    /// # Errors
    /// When they cannot be removed.
    fn break_lock(&mut self) -> Result<()>;

    /// Rolls back, releases the lock and ends. Nothing else may be called afterwards.
    ///
    /// # Errors
    /// When the lock cannot be released.
    fn close(&mut self) -> Result<()>;
}

/// The repository's part in never using a counter value twice.
pub trait NonceStore: Send + Sync {
    /// The first counter value that nobody has reserved; none in a repository that never
    /// encrypted.
    ///
    /// # Errors
    /// When it cannot be read, [`RepositoryError::InvalidNonce`] when it is no number.
    fn get_free_nonce(&self) -> Result<Option<u64>>;

    /// Reserves all values below `next_unreserved`, durably, if the first free one is still
    /// `expected`. Where there is a long way to the repository this does not wait, but what is put
    /// there afterwards does not leave this machine before the values are reserved, and never if
    /// they are not.
    ///
    /// # Errors
    /// [`RepositoryError::NonceMismatch`] when it is not, or a failure to write; the next change
    /// tells of them where this did not wait.
    fn commit_nonce_reservation(&self, next_unreserved: u64, expected: Option<u64>) -> Result<()>;
}
