//! Where items are: the item streams of all archives shown, thought one behind the other.
//!
//! A place in them is one number, which is all that a node keeps of its item. The item is decoded
//! from the chunk that the place is in, and from the next ones where it is longer.

use fastness_format::id::ChunkId;
use fastness_format::item::{ItemError, ItemRef};
use fastness_format::msgpack::{DecodeError, Reader};

use super::{Vfs, VfsError};
use crate::error::EngineError;
use crate::objects::read_object;

/// The chunks of all streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    ids: Vec<ChunkId>,
    /// Where each of them ends.
    ends: Vec<u64>,
}

impl Streams {
    /// Where the next chunk begins.
    pub(super) fn end(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Adds a chunk.
    pub(super) fn push(&mut self, id: ChunkId, bytes: usize) {
        let end = self.end() + bytes as u64;
        self.ids.push(id);
        self.ends.push(end);
    }

    /// Finds the chunk that a place is in: its id, where it begins, and where it ends.
    fn at(&self, place: u64) -> Option<(ChunkId, u64, u64)> {
        let index = self.ends.partition_point(|end| *end <= place);
        let begin = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        Some((*self.ids.get(index)?, begin, *self.ends.get(index)?))
    }
}

impl Vfs {
    /// Asks the item at a place.
    pub(super) fn with_item<T>(
        &self,
        place: u64,
        ask: impl FnOnce(&ItemRef<'_>) -> T,
    ) -> Result<T, VfsError> {
        let (first, mut end) = self.stream_chunk(place)?;
        let begin = (first.len() as u64).saturating_sub(end - place) as usize;
        let bytes = first.get(begin..).unwrap_or_default();
        match ItemRef::decode(&mut Reader::new(bytes)) {
            Ok(item) => return Ok(ask(&item)),
            Err(error) if is_cut_off(&error) => {}
            Err(source) => return Err(VfsError::Item(source)),
        }
        // A long item, or one at the end of a chunk.
        let mut bytes = bytes.to_vec();
        loop {
            let (next, next_end) = self.stream_chunk(end)?;
            end = next_end;
            bytes.extend_from_slice(&next);
            match ItemRef::decode(&mut Reader::new(&bytes)) {
                Ok(item) => return Ok(ask(&item)),
                Err(error) if is_cut_off(&error) => {}
                Err(source) => return Err(VfsError::Item(source)),
            }
        }
    }

    /// Returns the opened chunk that a place is in, and the place where it ends.
    fn stream_chunk(&self, place: u64) -> Result<(std::sync::Arc<Vec<u8>>, u64), VfsError> {
        let found = self.tree().streams.at(place);
        let (id, _, end) = found.ok_or(VfsError::NotFound)?;
        let session = self.session();
        let session = session.as_ref().ok_or(VfsError::Closed)?;
        let chunk = self.metadata.get(&id, || {
            read_object(session.repository.as_ref(), &session.crypto, &id)
        });
        Ok((chunk.map_err(EngineError::from)?, end))
    }
}

fn is_cut_off(error: &ItemError) -> bool {
    matches!(
        error,
        ItemError::Stream {
            source: DecodeError::Truncated,
            ..
        }
    )
}
