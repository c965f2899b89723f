//! The chunks opened last, remembered within a bound.
//!
//! Threads that want the same chunk at the same time wait for the one that came first; it is
//! fetched and opened once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastness_format::id::ChunkId;

/// A chunk that is there, or is being fetched by whoever holds it.
type Slot = Arc<Mutex<Option<Arc<Vec<u8>>>>>;

#[derive(Debug)]
struct Entry {
    slot: Slot,
    used: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<ChunkId, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Chunks(usize),
    Bytes(usize),
}

/// A memory of chunks.
#[derive(Debug)]
pub(super) struct ChunkCache {
    limit: Limit,
    entries: Mutex<Entries>,
}

impl ChunkCache {
    /// Remembers so many chunks; without any, the one just read is all.
    pub(super) fn of_chunks(most: usize) -> Self {
        Self::new(Limit::Chunks(most))
    }

    /// Remembers chunks of so many bytes together.
    pub(super) fn of_bytes(most: usize) -> Self {
        Self::new(Limit::Bytes(most))
    }

    fn new(limit: Limit) -> Self {
        Self {
            limit,
            entries: Mutex::default(),
        }
    }

    /// Returns a chunk, fetched if it is not there.
    ///
    /// # Errors
    /// What `fetch` gives; nothing is remembered then.
    pub(super) fn get<E>(
        &self,
        id: &ChunkId,
        fetch: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Arc<Vec<u8>>, E> {
        let slot = self.slot(id);
        let mut content = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(data) = content.as_ref() {
            return Ok(Arc::clone(data));
        }
        match fetch() {
            Ok(data) => {
                let data = Arc::new(data);
                *content = Some(Arc::clone(&data));
                self.entries().keep(id, data.len(), self.limit);
                Ok(data)
            }
            Err(error) => {
                self.entries().forget(id);
                Err(error)
            }
        }
    }

    /// Returns the number of chunks and of their bytes.
    pub(super) fn fill(&self) -> (usize, usize) {
        let entries = self.entries();
        (entries.by_id.len(), entries.bytes)
    }

    fn slot(&self, id: &ChunkId) -> Slot {
        let mut entries = self.entries();
        entries.clock += 1;
        let used = entries.clock;
        let entry = entries.by_id.entry(*id).or_insert_with(|| Entry {
            slot: Slot::default(),
            used,
            bytes: 0,
        });
        entry.used = used;
        Arc::clone(&entry.slot)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Counts a chunk that has come, and forgets those unused for longest.
    fn keep(&mut self, id: &ChunkId, bytes: usize, limit: Limit) {
        if let Some(entry) = self.by_id.get_mut(id) {
            self.bytes += bytes - entry.bytes.min(bytes);
            entry.bytes = bytes;
        }
        let is_over = |entries: &Self| match limit {
            Limit::Chunks(most) => entries.by_id.len() > most.max(1),
            Limit::Bytes(most) => entries.bytes > most && entries.by_id.len() > 1,
        };
        while is_over(self) {
            let oldest = self.by_id.iter().min_by_key(|(_, entry)| entry.used);
            match oldest.map(|(id, _)| *id) {
                Some(id) => self.forget(&id),
                None => break,
            }
        }
    }

    fn forget(&mut self, id: &ChunkId) {
        if let Some(entry) = self.by_id.remove(id) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ChunkId {
        ChunkId::new([number; 32])
    }

    #[test]
    fn the_chunk_unused_for_longest_is_forgotten() {
        let cache = ChunkCache::of_chunks(2);
        let mut fetched = Vec::new();
        for number in [1, 2, 1, 3, 1, 2] {
            let data = cache.get(&id(number), || {
                fetched.push(number);
                Ok::<_, ()>(vec![number; 10])
            });
            assert_eq!(*data.unwrap(), [number; 10]);
        }
        assert_eq!(fetched, [1, 2, 3, 2]);
        assert_eq!(cache.fill(), (2, 20));
    }

    #[test]
    fn bytes_are_bounded_but_one_chunk_always_fits() {
        let cache = ChunkCache::of_bytes(25);
        for number in 1..5 {
            cache.get(&id(number), || Ok::<_, ()>(vec![0; 10])).unwrap();
        }
        assert_eq!(cache.fill(), (2, 20));
        cache.get(&id(9), || Ok::<_, ()>(vec![0; 100])).unwrap();
        assert_eq!(cache.fill(), (1, 100));
    }

    #[test]
    fn a_failed_fetch_is_tried_again() {
        let cache = ChunkCache::of_chunks(2);
        assert!(cache.get(&id(1), || Err(())).is_err());
        assert!(cache.get(&id(1), || Ok::<_, ()>(vec![1])).is_ok());
    }
}
