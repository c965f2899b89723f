//! The items of an archive, in order, with their stream fetched and opened ahead on all cores.

use std::fmt;

use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::item::{ItemDecoder, ItemRef};
use fastness_repository::Repository;

use crate::error::EngineError;
use crate::objects::{ObjectError, open_object};
use crate::parallel::ordered;

/// Chunks of the item stream that one task fetches and opens.
const GROUP: usize = 4;
/// Groups that are announced to the repository together, one such lot ahead.
const ANNOUNCED: usize = 8;

/// Where the items of an archive are.
#[derive(Clone, Copy)]
pub struct ItemSource<'a> {
    /// The repository.
    pub repository: &'a dyn Repository,
    /// Its key.
    pub crypto: &'a Crypto,
    /// Name of the archive, for messages.
    pub archive: &'a [u8],
    /// The chunks of its item stream.
    pub ids: &'a [ChunkId],
    /// Number of threads that fetch and open.
    pub threads: usize,
}

impl fmt::Debug for ItemSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ItemSource({})", String::from_utf8_lossy(self.archive))
    }
}

impl ItemSource<'_> {
    /// Hands each item to `visit`, in order.
    ///
    /// # Errors
    /// When the stream is damaged or cannot be read; what `visit` gives.
    pub fn for_each(
        &self,
        mut visit: impl FnMut(&ItemRef<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let _stage = tracing::trace_span!("read_items").entered();
        let mut decoder = ItemDecoder::new();
        self.for_each_chunk(|data| {
            decoder.feed(data);
            while let Some(item) = decoder.next_ref() {
                visit(&item.map_err(|source| self.damaged(source))?)?;
            }
            Ok(())
        })?;
        decoder.finish().map_err(|source| self.damaged(source))
    }

    /// Hands the plaintext of each chunk of the stream to `visit`, in order.
    ///
    /// # Errors
    /// When a chunk is damaged or cannot be read; what `visit` gives.
    pub fn for_each_chunk(
        &self,
        mut visit: impl FnMut(&[u8]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        ordered(
            self.threads,
            2 * self.threads,
            self.groups(),
            |ids| self.open(ids),
            |opened| opened?.iter().try_for_each(|data| visit(data)),
        )
    }

    /// The groups of chunks, which are announced before they are given.
    fn groups(&self) -> impl Iterator<Item = &[ChunkId]> {
        let lots = || self.ids.chunks(ANNOUNCED * GROUP);
        let announce = |lot: Option<&[ChunkId]>| self.repository.prefetch(lot.unwrap_or_default());
        announce(lots().next());
        let mut ahead = lots().skip(1);
        lots().flat_map(move |lot| {
            announce(ahead.next());
            lot.chunks(GROUP)
        })
    }

    fn open(&self, ids: &[ChunkId]) -> Result<Vec<Vec<u8>>, ObjectError> {
        let stored = self.repository.get_many(ids);
        let mut opened = Vec::with_capacity(ids.len());
        for (id, stored) in ids.iter().zip(stored) {
            let mut data = Vec::new();
            open_object(self.crypto, id, &stored?, &mut data)?;
            opened.push(data);
        }
        Ok(opened)
    }

    fn damaged(&self, source: fastness_format::item::ItemError) -> EngineError {
        EngineError::Items {
            archive: String::from_utf8_lossy(self.archive).into_owned(),
            source,
        }
    }
}
