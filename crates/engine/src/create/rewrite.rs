//! Chunks that are in the repository already, compressed anew.
//!
//! Each chunk is looked at once in a run, however many archives have it. One whose compression is
//! not what is wanted is put into the repository again, under the same id.

use std::collections::HashSet;
use std::sync::Mutex;

use fastness_format::compress::{CompressionSpec, Compressor, Method};
use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;

use super::crew::{Crew, Writable};
use super::stages::{Bench, StoredChunk};
use crate::error::EngineError;
use crate::objects::{ObjectError, open_object};
use crate::tasks::lock;
use crate::world::random_fraction;

/// Which chunks are compressed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompress {
    /// Those whose compression is of another kind than the wanted one; levels do not matter.
    IfDifferent,
    /// All.
    Always,
}

/// Compresses chunks anew.
#[derive(Debug)]
pub struct Rewriter {
    which: Recompress,
    seen: Mutex<HashSet<ChunkId>>,
}

impl Rewriter {
    /// Begins a run.
    pub fn new(which: Recompress) -> Self {
        Self {
            which,
            seen: Mutex::default(),
        }
    }

    /// Counts a reference to each chunk, and compresses those anew that are to be.
    ///
    /// # Errors
    /// When a chunk is missing or damaged, or cannot be stored.
    pub fn again(
        &self,
        crew: &Crew<'_>,
        chunks: &[ChunkRef],
    ) -> Result<Vec<StoredChunk>, EngineError> {
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        let objects = stored_objects(crew.repository, &ids)?;
        let mut data = Vec::new();
        let mut stored = Vec::with_capacity(chunks.len());
        for (chunk, object) in chunks.iter().zip(objects) {
            // Verified even where nothing is written, as is all that is read.
            open_object(crew.store.crypto, &chunk.id, &object, &mut data)?;
            self.rewrite(crew, &chunk.id, &object, &data)?;
            stored.push(reference(crew, &chunk.id, data.len())?);
        }
        Ok(stored)
    }

    /// As the stages store chunks, but those that are there already may be compressed anew.
    ///
    /// # Errors
    /// As [`Rewriter::again`].
    pub(super) fn store<'env>(
        &self,
        crew: &Crew<'env>,
        bench: &mut Bench<'env>,
        chunks: &[&[u8]],
    ) -> Result<Vec<StoredChunk>, EngineError> {
        let mut stored = Vec::with_capacity(chunks.len());
        for data in chunks {
            let id = crew.store.crypto.id(data);
            if !crew.store.claims.table.contains(&id) {
                lock(&self.seen).insert(id);
            }
            let fresh = crew.store.store(bench, &[data])?;
            if !fresh.iter().any(|chunk| chunk.new) && !lock(&self.seen).contains(&id) {
                for object in stored_objects(crew.repository, &[id])? {
                    self.rewrite(crew, &id, &object, data)?;
                }
            }
            stored.extend(fresh);
        }
        Ok(stored)
    }

    /// Puts a chunk into the repository again, unless that was done or need not be.
    fn rewrite(
        &self,
        crew: &Crew<'_>,
        id: &ChunkId,
        object: &[u8],
        data: &[u8],
    ) -> Result<(), EngineError> {
        if !lock(&self.seen).insert(*id) {
            return Ok(());
        }
        let store = crew.store;
        let payload = store.crypto.open(object);
        let payload = payload.map_err(|source| ObjectError::Envelope { id: *id, source })?;
        let present = Method::detect(&payload);
        let kept = |wanted| self.which == Recompress::IfDifferent && present == wanted;
        if let Some(wanted) = method(store.compression)
            && kept(Some(wanted))
        {
            return Ok(());
        }
        let mut object = store.crypto.begin();
        let header = object.len();
        let fraction = random_fraction(store.random).map_err(EngineError::Random)?;
        Compressor::new(store.compression).compress(data, &mut object, fraction);
        if kept(Method::detect(object.get(header..).unwrap_or_default())) {
            return Ok(());
        }
        let blocks = store.crypto.blocks(object.len());
        let counter = match blocks {
            0 => 0,
            blocks => store.nonces.reserve(blocks)?,
        };
        let sealed = store.crypto.seal(object, counter);
        store.claims.table.set_csize(id, sealed.len() as u32);
        store.outbox.send(vec![(*id, sealed)])
    }
}

/// Reads stored objects while a writer is at work: the repository is held for this call only.
///
/// # Errors
/// When one is missing or cannot be read.
pub fn stored_objects(
    repository: &Writable<'_>,
    ids: &[ChunkId],
) -> Result<Vec<Vec<u8>>, EngineError> {
    let repository = lock(repository);
    let repository = repository.as_deref().ok_or(EngineError::Abandoned)?;
    let objects = repository.get_many(ids).into_iter();
    let objects: Result<Vec<_>, _> = objects.collect();
    Ok(objects.map_err(ObjectError::from)?)
}

/// Counts a reference to a chunk that is there.
fn reference(crew: &Crew<'_>, id: &ChunkId, size: usize) -> Result<StoredChunk, EngineError> {
    let entry = crew.store.claims.table.reference(id);
    let entry = entry.ok_or(EngineError::MissingReference(*id))?;
    Ok(StoredChunk {
        chunk: ChunkRef {
            id: *id,
            size: size as u32,
            csize: entry.csize,
        },
        new: false,
    })
}

/// The method that a specification always gives; none when that depends on the data.
pub fn method(spec: &CompressionSpec) -> Option<Method> {
    Some(match spec {
        CompressionSpec::None => Method::None,
        CompressionSpec::Lz4 => Method::Lz4,
        CompressionSpec::Zlib(_) => Method::Zlib,
        CompressionSpec::Lzma(_) => Method::Lzma,
        CompressionSpec::Zstd(_) => Method::Zstd,
        CompressionSpec::Obfuscate(..) => Method::Obfuscate,
        CompressionSpec::Auto(_) => return None,
    })
}
