//! What a command found out beside what it prints, for a caller who keeps account of runs.
//!
//! The caller lends a [`Notes`] and reads it when the command has ended, however it ended. Nothing
//! is noted when nobody wants to know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fastness_engine::event::ArchiveStats;
use fastness_format::id::RepositoryId;

/// What was found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The repository that was opened.
    pub repository: Option<RepositoryId>,
    /// Its encryption mode, by the name that `init --encryption` has for it.
    pub encryption: Option<String>,
    /// The archive that was made.
    pub archive: Option<MadeArchive>,
    /// Archives that were kept, and that were removed, by rules.
    pub pruned: Option<[u64; 2]>,
    /// How often there was a warning of each kind, by Borg's names of them.
    pub warnings: BTreeMap<String, u64>,
}

/// An archive that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeArchive {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Sums over its files.
    pub stats: ArchiveStats,
    /// Bytes that the repository stores with it.
    pub repository_bytes: u64,
    /// Chunks that the repository stores with it.
    pub repository_chunks: u64,
}

/// A place for facts that two sides share.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Facts>>);

impl Notes {
    /// Changes what is noted.
    pub fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes what was noted.
    pub fn take(&self) -> Facts {
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *facts)
    }
}
