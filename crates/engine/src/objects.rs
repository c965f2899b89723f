//! Objects of a repository as the engine sees them: plaintext in, plaintext out.
//!
//! Reading is `stored → opened (type, MAC, decryption) → decompressed → id verified`; writing the
//! reverse. Everything that is no bulk data goes through here one object at a time.

use fastness_format::compress::{
    CompressionSpec, Compressor, DecompressError, Decompressor, decompress,
};
use fastness_format::crypto::{Crypto, OpenError, Sealed};
use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;
use fastness_repository::{Repository, RepositoryError};

use crate::error::EngineError;

use crate::keys::NonceAllocator;
use crate::shelf::Shelf;
use crate::world::{Random, random_fraction};

/// The longest plaintext an object may have: metadata deduplicates and compresses, so that it can
/// be far longer than what is stored.
pub const MAX_PLAINTEXT_BYTES: usize = 128 << 20;

/// An object whose bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The envelope is damaged, or was made with another key.
    #[error("Data integrity error: {}", name(.id, .source))]
    Envelope {
        /// The object.
        id: ChunkId,
        /// What is wrong.
        source: OpenError,
    },
    /// The payload cannot be decompressed.
    #[error("Data integrity error: Chunk {id}: decompression failed")]
    Compression {
        /// The object.
        id: ChunkId,
        /// What is wrong.
        #[source]
        source: DecompressError,
    },
    /// It is some other object.
    #[error("Data integrity error: Chunk {0}: id verification failed")]
    Identity(ChunkId),
    /// It could not be read.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

fn name(id: &ChunkId, source: &OpenError) -> String {
    if *id == ChunkId::MANIFEST {
        format!("Manifest: {source}")
    } else {
        format!("Chunk {id}: {source}")
    }
}

impl ObjectError {
    /// Borg's name of the error.
    pub fn msgid(&self) -> &str {
        match self {
            Self::Repository(error) => error.msgid(),
            _ => "IntegrityError",
        }
    }

    /// Tells whether the object itself is damaged or missing, as opposed to a failure to get it.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Self::Repository(error) if !matches!(
            error,
            RepositoryError::Integrity(_)
                | RepositoryError::SegmentMissing(_)
                | RepositoryError::ObjectNotFound { .. }
        ))
    }
}

/// Opens, decompresses and verifies a stored object into `data`.
///
/// # Errors
/// When it is damaged or not the object with this id.
pub fn open_object(
    crypto: &Crypto,
    id: &ChunkId,
    stored: &[u8],
    data: &mut Vec<u8>,
) -> Result<(), ObjectError> {
    let _stage = tracing::trace_span!("open_object").entered();
    let payload = crypto
        .open(stored)
        .map_err(|source| ObjectError::Envelope { id: *id, source })?;
    decompress(&payload, MAX_PLAINTEXT_BYTES, data)
        .map_err(|source| ObjectError::Compression { id: *id, source })?;
    // The manifest is the one object that is not stored under its own hash.
    if *id != ChunkId::MANIFEST && !crypto.verify_id(id, data) {
        return Err(ObjectError::Identity(*id));
    }
    Ok(())
}

/// Reads an object and returns its plaintext.
///
/// # Errors
/// When it is not there, damaged, or not the object with this id.
pub fn read_object(
    repository: &dyn Repository,
    crypto: &Crypto,
    id: &ChunkId,
) -> Result<Vec<u8>, ObjectError> {
    let stored = repository.get(id)?;
    let mut data = Vec::new();
    open_object(crypto, id, &stored, &mut data)?;
    Ok(data)
}

/// Compresses and seals one object.
///
/// # Errors
/// When no counter values can be reserved, or there are no random numbers.
pub fn seal_object(
    crypto: &Crypto,
    nonces: &NonceAllocator,
    random: &dyn Random,
    compression: &CompressionSpec,
    data: &[u8],
) -> Result<Sealed, EngineError> {
    let mut object = crypto.begin();
    let fraction = random_fraction(random).map_err(EngineError::Random)?;
    Compressor::new(compression).compress(data, &mut object, fraction);
    let blocks = crypto.blocks(object.len());
    let counter = if blocks > 0 {
        nonces.reserve(blocks)?
    } else {
        0
    };
    Ok(crypto.seal(object, counter))
}

/// Reads content chunks, several at a time: MACs and ids are computed in SIMD lanes, and the
/// memory of one call serves the next.
#[derive(Default)]
pub struct ContentReader {
    decompressor: Decompressor,
    stored: Vec<Vec<u8>>,
    contents: Vec<Vec<u8>>,
    ids: Vec<ChunkId>,
    shelf: Shelf,
}

impl ContentReader {
    /// Reads chunks and lends their data, in order, until the next call.
    ///
    /// # Errors
    /// When one is missing, damaged, or has another length than its reference says.
    pub fn read(
        &mut self,
        repository: &dyn Repository,
        crypto: &Crypto,
        chunks: &[ChunkRef],
    ) -> Result<&[Vec<u8>], ObjectError> {
        self.shelf.put_all(&mut self.contents);
        let read = self.read_all(repository, crypto, chunks);
        self.shelf.put_all(&mut self.stored);
        read?;
        Ok(&self.contents)
    }

    /// As [`ContentReader::read`], for chunks that were not announced before, and gives the data
    /// away.
    ///
    /// # Errors
    /// As [`ContentReader::read`].
    pub fn take(
        &mut self,
        repository: &dyn Repository,
        crypto: &Crypto,
        chunks: &[ChunkRef],
    ) -> Result<Vec<Vec<u8>>, ObjectError> {
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        repository.prefetch(&ids);
        self.read(repository, crypto, chunks)?;
        Ok(std::mem::take(&mut self.contents))
    }

    fn read_all(
        &mut self,
        repository: &dyn Repository,
        crypto: &Crypto,
        chunks: &[ChunkRef],
    ) -> Result<(), ObjectError> {
        for chunk in chunks {
            let shelf = &self.shelf;
            let object = repository.get_with(&chunk.id, &mut |bytes| shelf.take(bytes))?;
            self.stored.push(object);
        }
        let opened = crypto.open_many(&mut self.stored);
        for ((chunk, object), opened) in chunks.iter().zip(&self.stored).zip(opened) {
            let id = chunk.id;
            opened.map_err(|source| ObjectError::Envelope { id, source })?;
            let payload = object.get(crypto.overhead()..).unwrap_or_default();
            let size = chunk.size as usize;
            let mut data = self.shelf.take(size);
            let result =
                self.decompressor
                    .decompress(payload, Some(size), MAX_PLAINTEXT_BYTES, &mut data);
            self.contents.push(data);
            result.map_err(|source| ObjectError::Compression { id, source })?;
        }
        let data: Vec<&[u8]> = self.contents.iter().map(Vec::as_slice).collect();
        self.ids.clear();
        crypto.ids(&data, &mut self.ids);
        let mut pairs = chunks.iter().zip(&self.ids);
        match pairs.find(|(chunk, computed)| chunk.id != **computed) {
            Some((chunk, _)) => Err(ObjectError::Identity(chunk.id)),
            None => Ok(()),
        }
    }
}
