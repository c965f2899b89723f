//! The item stream of a repaired archive: items in, chunks out.
//!
//! Cut as Borg cuts item streams, so that what did not change gives the chunks that are there.

use fastness_format::chunker::{Buzhash, ChunkerParams, Scan};
use fastness_format::id::ChunkId;

use crate::create::FileChunker;
use crate::error::EngineError;

/// The stream is searched for cuts when so many bytes gathered.
const SEARCH_BYTES: usize = 1 << 20;

/// An item stream that is being written.
pub(super) struct ItemStream {
    buzhash: Buzhash,
    scan: Scan,
    /// Bytes from the beginning of the current chunk on.
    rest: Vec<u8>,
    searched: usize,
    ids: Vec<ChunkId>,
}

impl ItemStream {
    /// Begins a stream; `seed` is the key's.
    pub(super) fn new(seed: i32) -> Self {
        let buzhash = match FileChunker::new(ChunkerParams::ITEMS, seed) {
            FileChunker::Buzhash(buzhash) => *buzhash,
            FileChunker::Fixed(_) => Buzhash::new(15, 19, 17, 4095, seed as u32),
        };
        Self {
            buzhash,
            scan: Scan::default(),
            rest: Vec::new(),
            searched: 0,
            ids: Vec::new(),
        }
    }

    /// Appends encoded items; `store` takes each chunk that is complete.
    pub(super) fn add(
        &mut self,
        encoded: &[u8],
        store: &mut dyn FnMut(&[u8]) -> Result<ChunkId, EngineError>,
    ) -> Result<(), EngineError> {
        self.rest.extend_from_slice(encoded);
        if self.rest.len() - self.searched < SEARCH_BYTES {
            return Ok(());
        }
        self.cut(false, store)
    }

    /// Ends the stream and returns its chunks.
    pub(super) fn finish(
        mut self,
        store: &mut dyn FnMut(&[u8]) -> Result<ChunkId, EngineError>,
    ) -> Result<Vec<ChunkId>, EngineError> {
        self.cut(true, store)?;
        Ok(self.ids)
    }

    fn cut(
        &mut self,
        end: bool,
        store: &mut dyn FnMut(&[u8]) -> Result<ChunkId, EngineError>,
    ) -> Result<(), EngineError> {
        let mut start = 0;
        while let Some(data) = self.rest.get(start..).filter(|data| !data.is_empty()) {
            let Some(len) = self.buzhash.next_cut(&mut self.scan, data, end) else {
                break;
            };
            self.ids.push(store(data.get(..len).unwrap_or(data))?);
            start += len;
        }
        self.rest.drain(..start.min(self.rest.len()));
        self.searched = self.rest.len();
        Ok(())
    }
}
