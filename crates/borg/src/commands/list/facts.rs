//! What lines about items may tell beyond the item: hashes of its content, which chunks are its
//! own.

use std::collections::HashMap;

use fastness_engine::cache::ChunkTable;
use fastness_engine::error::EngineError;
use fastness_engine::objects::ContentReader;
use fastness_engine::parallel::ordered_with;
use fastness_engine::session::Session;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, ItemRef};

use crate::error::CommandError;
use crate::output::digests::Digests;
use crate::output::item_format::{ItemFacts, UniqueChunks};

/// Chunks that are read at once.
const PIECE_CHUNKS: usize = 4;

/// Looks into the repository.
pub struct Contents<'a> {
    session: &'a Session,
    chunks: Option<ChunkTable>,
    threads: usize,
    reader: ContentReader,
}

impl<'a> Contents<'a> {
    /// Looks into this repository; `chunks` is needed for unique chunks only.
    pub fn new(session: &'a Session, chunks: Option<ChunkTable>, threads: usize) -> Self {
        Self {
            session,
            chunks,
            threads,
            reader: ContentReader::default(),
        }
    }

    /// Hands the content with these chunks to `visit`, in order.
    fn read(
        &mut self,
        chunks: &[ChunkRef],
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), EngineError> {
        let repository = self.session.repository.as_ref();
        let crypto = &self.session.crypto;
        if chunks.len() <= PIECE_CHUNKS {
            let contents = self.reader.read(repository, crypto, chunks)?;
            contents.iter().for_each(|data| visit(data));
            return Ok(());
        }
        ordered_with(
            self.threads,
            2 * self.threads,
            chunks.chunks(PIECE_CHUNKS),
            ContentReader::default,
            |reader, piece| reader.take(repository, crypto, piece),
            |contents| {
                contents?.iter().for_each(|data| visit(data));
                Ok(())
            },
        )
    }
}

impl ItemFacts for Contents<'_> {
    fn hashes(&mut self, item: &ItemRef<'_>, names: &[&str]) -> Result<Vec<String>, CommandError> {
        let mut digests = Digests::new(names);
        let chunks: Vec<ChunkRef> = item.chunks.into_iter().flatten().collect();
        self.read(&chunks, |data| digests.update(data))?;
        Ok(digests.finish())
    }

    fn unique_chunks(&mut self, item: &ItemRef<'_>) -> Result<UniqueChunks, CommandError> {
        let mut unique = UniqueChunks::default();
        let (Some(chunks), Some(table)) = (item.chunks, &self.chunks) else {
            return Ok(unique);
        };
        let mut counted: HashMap<ChunkId, u32> = HashMap::new();
        for chunk in chunks {
            *counted.entry(chunk.id).or_default() += 1;
        }
        for chunk in chunks {
            let known = table.get(&chunk.id).map_or(0, |entry| entry.references);
            if counted.get(&chunk.id) == Some(&known) {
                unique.count += 1;
                unique.size += u64::from(chunk.size);
                unique.csize += u64::from(chunk.csize);
            }
        }
        Ok(unique)
    }
}
