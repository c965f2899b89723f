//! Who stores a chunk that several threads find at the same time.
//!
//! [`Claims`] is the chunk table of the repository while an archive is made. Every claim counts a
//! reference. The first thread that claims an unknown id has to store the chunk and to publish the
//! length of the stored object; others that meet the id meanwhile wait for that, after having
//! published all they claimed themselves.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;

use crate::cache::chunks::{ChunkTable, Released};
use crate::tasks::lock;

/// How long a thread waits for another before it looks for work again.
const MOMENT: Duration = Duration::from_millis(5);

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The chunk is in the repository or on its way.
    Known(ChunkRef),
    /// The caller has to store it and to publish.
    Mine,
    /// Another thread stores it; see [`Claims::wait_for`].
    Pending,
}

/// The chunk table, shared by threads.
#[derive(Debug)]
pub struct Claims {
    /// The table.
    pub table: ChunkTable,
    being_stored: Mutex<HashSet<ChunkId>>,
    published: Condvar,
}

impl Claims {
    /// Shares a table.
    pub fn new(table: ChunkTable) -> Self {
        Self {
            table,
            being_stored: Mutex::default(),
            published: Condvar::new(),
        }
    }

    /// Claims the chunks with these ids and sizes, in order.
    pub fn claim(&self, chunks: impl Iterator<Item = (ChunkId, u32)>, claims: &mut Vec<Claim>) {
        let mut being_stored = lock(&self.being_stored);
        claims.clear();
        claims.extend(chunks.map(|(id, size)| self.claim_with(&mut being_stored, id, size)));
    }

    /// Claims one chunk.
    pub fn claim_one(&self, id: &ChunkId, size: u32) -> Claim {
        self.claim_with(&mut lock(&self.being_stored), *id, size)
    }

    /// Claims a chunk if it is in the repository or on its way; else does nothing.
    pub fn claim_if_known(&self, id: &ChunkId) -> Option<ChunkRef> {
        let being_stored = lock(&self.being_stored);
        if being_stored.contains(id) {
            return None;
        }
        let entry = self.table.reference(id)?;
        Some(ChunkRef {
            id: *id,
            size: entry.size,
            csize: entry.csize,
        })
    }

    fn claim_with(&self, being_stored: &mut HashSet<ChunkId>, id: ChunkId, size: u32) -> Claim {
        let (entry, new) = self.table.claim(&id, size);
        if new {
            being_stored.insert(id);
            Claim::Mine
        } else if entry.csize == 0 && being_stored.contains(&id) {
            Claim::Pending
        } else {
            let csize = entry.csize;
            Claim::Known(ChunkRef { id, size, csize })
        }
    }

    /// Tells the lengths of the stored objects of claimed chunks.
    pub fn publish(&self, chunks: &[ChunkRef]) {
        let mut being_stored = lock(&self.being_stored);
        for chunk in chunks {
            self.table.set_csize(&chunk.id, chunk.csize);
            being_stored.remove(&chunk.id);
        }
        drop(being_stored);
        self.published.notify_all();
    }

    /// Waits a moment for a pending chunk to be published.
    pub fn wait_for(&self, id: &ChunkId) {
        let being_stored = lock(&self.being_stored);
        if being_stored.contains(id) {
            let woken = self.published.wait_timeout(being_stored, MOMENT);
            drop(woken.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// What is known of a claimed chunk; none while it is pending.
    pub fn published(&self, id: &ChunkId) -> Option<ChunkRef> {
        if lock(&self.being_stored).contains(id) {
            return None;
        }
        let entry = self.table.get(id)?;
        Some(ChunkRef {
            id: *id,
            size: entry.size,
            csize: entry.csize,
        })
    }

    /// Takes back one reference to each chunk; adds those that nothing refers to any more to
    /// `strays`.
    pub fn release(&self, chunks: impl Iterator<Item = ChunkId>, strays: &mut Vec<ChunkId>) {
        for id in chunks {
            if let Released::Last(_) = self.table.release(&id, 1) {
                strays.push(id);
            }
        }
    }
}
