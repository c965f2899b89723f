//! The item stream of the archive being made: packed items, cut into chunks, stored.
//!
//! One continuous stream, cut with Borg's parameters for item streams and the key's seed, so that
//! the same items give the same chunks whoever writes them. A checkpoint ends the stream for the
//! moment; what follows begins a new one.

use std::collections::VecDeque;
use std::sync::Arc;

use fastness_format::chunker::{Buzhash, ChunkerParams, Scan};
use fastness_format::id::ChunkId;

use super::FileChunker;
use super::crew::Crew;
use super::stages::StoredChunk;
use crate::error::EngineError;
use crate::tasks::{Priority, Slot};

/// The stream is searched for cuts when so many bytes gathered.
const SEARCH_BYTES: usize = 1 << 20;
/// Chunks that go through the stages together.
const GROUP: usize = 8;

/// The chunker that all item streams are cut with.
fn items_chunker(seed: i32) -> Buzhash {
    match FileChunker::new(ChunkerParams::ITEMS, seed) {
        FileChunker::Buzhash(buzhash) => *buzhash,
        FileChunker::Fixed(_) => Buzhash::new(15, 19, 17, 4095, seed as u32),
    }
}

/// The item stream.
pub struct ItemStream {
    buzhash: Buzhash,
    scan: Scan,
    /// Bytes from the beginning of the current chunk on.
    rest: Vec<u8>,
    searched: usize,
    group: Vec<Vec<u8>>,
    under_way: VecDeque<Arc<Slot<Vec<StoredChunk>>>>,
    ids: Vec<ChunkId>,
}

impl ItemStream {
    /// Begins an empty stream; `seed` is the key's.
    pub fn new(seed: i32) -> Self {
        Self {
            buzhash: items_chunker(seed),
            scan: Scan::default(),
            rest: Vec::with_capacity(2 * SEARCH_BYTES),
            searched: 0,
            group: Vec::new(),
            under_way: VecDeque::new(),
            ids: Vec::new(),
        }
    }

    /// Appends encoded items.
    pub fn add(&mut self, crew: &Crew<'_>, encoded: &[u8]) {
        self.rest.extend_from_slice(encoded);
        if self.rest.len() - self.searched >= SEARCH_BYTES {
            self.cut(crew, false);
        }
    }

    fn cut(&mut self, crew: &Crew<'_>, end: bool) {
        let mut start = 0;
        while let Some(data) = self.rest.get(start..).filter(|data| !data.is_empty()) {
            let Some(len) = self.buzhash.next_cut(&mut self.scan, data, end) else {
                break;
            };
            self.group.push(data.get(..len).unwrap_or(data).to_vec());
            start += len;
            if self.group.len() == GROUP {
                self.send(crew);
            }
        }
        self.rest.drain(..start.min(self.rest.len()));
        self.searched = self.rest.len();
        if end {
            self.send(crew);
        }
    }

    fn send(&mut self, crew: &Crew<'_>) {
        if self.group.is_empty() {
            return;
        }
        let group = std::mem::take(&mut self.group);
        let slot = Arc::new(Slot::default());
        self.under_way.push_back(Arc::clone(&slot));
        crew.spawn(Priority::Urgent, move |crew, bench| {
            let chunks: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
            match crew.store.store(bench, &chunks) {
                Ok(stored) => slot.put(stored),
                Err(error) => crew.fail(error),
            }
        });
    }

    /// Takes over the chunks that are stored by now.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when the operation failed.
    pub fn settle(&mut self, crew: &Crew<'_>, wait: bool) -> Result<(), EngineError> {
        while let Some(slot) = self.under_way.front() {
            if !wait && !slot.is_filled() {
                break;
            }
            let stored = slot.take(|| crew.failed()).ok_or(EngineError::Abandoned)?;
            self.under_way.pop_front();
            self.ids.extend(stored.iter().map(|stored| stored.chunk.id));
        }
        Ok(())
    }

    /// Ends the stream and returns the ids of all its chunks. More may be added afterwards; it
    /// begins in a chunk of its own.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when the operation failed.
    pub fn flush(&mut self, crew: &Crew<'_>) -> Result<&[ChunkId], EngineError> {
        self.cut(crew, true);
        self.scan.reset();
        self.settle(crew, true)?;
        Ok(&self.ids)
    }
}
