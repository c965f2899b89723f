//! The stages between the bytes of a chunk and its stored object, without threads.
//!
//! `data → id → known? → compressed → sealed → outbox`. Several short chunks go through together, so
//! that ids and MACs are computed in SIMD lanes and locks are taken once; long ones go over a
//! [`Line`]. Who runs it, on how many
//! threads, is the business of the pipeline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fastness_format::chunker::is_zero;
use fastness_format::compress::{CompressionSpec, Compressor};
use fastness_format::crypto::{Crypto, Sealed};
use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;

use super::claims::{Claim, Claims};
use super::line::Line;
use crate::error::EngineError;
use crate::keys::NonceAllocator;
use crate::tasks::lock;
use crate::world::{Random, random_fraction};

/// Chunks of so many bytes are compressed before they are sealed together.
const LOT_BYTES: usize = 4 << 20;
/// Objects of longer chunks are made in buffers that were used before.
const REUSE_BYTES: usize = 64 << 10;

/// Shorter chunks are cheaper to hash than to look at twice.
const LEAST_ZEROS: usize = 4096;

/// A chunk that is stored, and whether this run stored it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk {
    /// What an item says of it.
    pub chunk: ChunkRef,
    /// Whether it was not in the repository before.
    pub new: bool,
}

/// Takes sealed objects to the repository.
pub trait Outbox: Sync {
    /// Takes objects; waits while too much is under way.
    ///
    /// # Errors
    /// When the operation failed elsewhere.
    fn send(&self, objects: Vec<(ChunkId, Sealed)>) -> Result<(), EngineError>;

    /// Tells whether the operation failed elsewhere.
    fn failed(&self) -> bool;

    /// Gives a buffer for about so many bytes, possibly one that was used before.
    fn buffer(&self, bytes: usize) -> Vec<u8>;
}

/// What the stages need, shared by all threads.
pub struct Store<'a> {
    /// The key of the repository.
    pub crypto: &'a Crypto,
    /// Hands out counter values.
    pub nonces: &'a NonceAllocator,
    /// Which chunks are there.
    pub claims: &'a Claims,
    /// Random numbers for obfuscation.
    pub random: &'a dyn Random,
    /// Where sealed objects go.
    pub outbox: &'a dyn Outbox,
    /// How chunks are compressed.
    pub compression: &'a CompressionSpec,
    zero_ids: Mutex<HashMap<usize, ChunkId>>,
}

/// What one thread keeps from one call to the next.
pub struct Bench<'a> {
    /// Compresses.
    pub compressor: Compressor,
    /// Long chunks on their way, of all threads.
    pub line: Arc<Line<'a>>,
    claims: Vec<Claim>,
    ids: Vec<ChunkId>,
}

impl<'a> Store<'a> {
    /// Puts the pieces together.
    pub fn new(
        crypto: &'a Crypto,
        nonces: &'a NonceAllocator,
        claims: &'a Claims,
        random: &'a dyn Random,
        outbox: &'a dyn Outbox,
        compression: &'a CompressionSpec,
    ) -> Self {
        Self {
            crypto,
            nonces,
            claims,
            random,
            outbox,
            compression,
            zero_ids: Mutex::new(HashMap::new()),
        }
    }

    /// Makes what a thread needs of its own.
    pub fn bench(&self, line: &Arc<Line<'a>>) -> Bench<'a> {
        Bench {
            line: Arc::clone(line),
            compressor: Compressor::new(self.compression),
            claims: Vec::new(),
            ids: Vec::new(),
        }
    }

    /// Stores chunks that are not there yet, and returns them all in order.
    ///
    /// # Errors
    /// When the repository, the counter or the source of random numbers fails.
    pub fn store(
        &self,
        bench: &mut Bench<'a>,
        chunks: &[&[u8]],
    ) -> Result<Vec<StoredChunk>, EngineError> {
        self.identify(chunks, &mut bench.ids);
        let sizes = chunks.iter().map(|data| data.len() as u32);
        self.store_identified(bench, sizes, |number, compressor| {
            self.compress(compressor, chunks.get(number).copied().unwrap_or_default())
        })
    }

    /// Stores chunks that are not there yet, whose ids are known, and returns them all in order.
    /// `make` begins the object of the chunk with this number.
    ///
    /// # Errors
    /// As [`Store::store`], and those of `make`.
    pub fn store_made(
        &self,
        bench: &mut Bench<'a>,
        chunks: &[(ChunkId, u32)],
        make: impl FnMut(usize, &mut Compressor) -> Result<Vec<u8>, EngineError>,
    ) -> Result<Vec<StoredChunk>, EngineError> {
        bench.ids.clear();
        bench.ids.extend(chunks.iter().map(|(id, _)| *id));
        self.store_identified(bench, chunks.iter().map(|(_, size)| *size), make)
    }

    /// As [`Store::store_made`], with the ids in the bench.
    fn store_identified(
        &self,
        bench: &mut Bench<'a>,
        sizes: impl Iterator<Item = u32> + Clone,
        make: impl FnMut(usize, &mut Compressor) -> Result<Vec<u8>, EngineError>,
    ) -> Result<Vec<StoredChunk>, EngineError> {
        let named = bench.ids.iter().copied().zip(sizes.clone());
        self.claims.claim(named, &mut bench.claims);
        let published = self.seal_and_send(bench, sizes, make)?;
        let mut published = published.into_iter();
        let mut stored = Vec::with_capacity(bench.ids.len());
        for (id, claim) in bench.ids.iter().zip(&bench.claims) {
            let (chunk, new) = match claim {
                Claim::Known(chunk) => (Some(*chunk), false),
                Claim::Mine => (published.next(), true),
                Claim::Pending => {
                    let chunk = self.wait_for(&bench.line, &mut bench.compressor, id)?;
                    (Some(chunk), false)
                }
            };
            let chunk = chunk.ok_or(EngineError::Abandoned)?;
            stored.push(StoredChunk { chunk, new });
        }
        Ok(stored)
    }

    /// Waits until another thread has stored a chunk. It may be on the line, and all others wait.
    fn wait_for(
        &self,
        line: &Line<'a>,
        compressor: &mut Compressor,
        id: &ChunkId,
    ) -> Result<ChunkRef, EngineError> {
        loop {
            if let Some(chunk) = self.claims.published(id) {
                return Ok(chunk);
            }
            if self.outbox.failed() {
                return Err(EngineError::Abandoned);
            }
            if !line.work(self, compressor)? {
                self.claims.wait_for(id);
            }
        }
    }

    /// Tells whether a chunk is all zeros and long enough for its id to be worth remembering.
    pub fn looks_zero(data: &[u8]) -> bool {
        data.len() >= LEAST_ZEROS && is_zero(data)
    }

    /// The id of so many zeros, if it was computed before.
    pub fn id_of_zeros(&self, len: usize) -> Option<ChunkId> {
        lock(&self.zero_ids).get(&len).copied()
    }

    /// Remembers the id of so many zeros.
    pub fn remember_zeros(&self, len: usize, id: ChunkId) {
        lock(&self.zero_ids).insert(len, id);
    }

    /// Stores a chunk if it is all zeros and known by that; else does nothing.
    pub fn store_known_zeros(&self, data: &[u8]) -> Option<StoredChunk> {
        let is_worth_it = data.len() >= REUSE_BYTES && Self::looks_zero(data);
        let id = is_worth_it.then(|| self.id_of_zeros(data.len()))??;
        let chunk = self.claims.claim_if_known(&id)?;
        Some(StoredChunk { chunk, new: false })
    }

    /// Computes ids; those of all-zero chunks are remembered by length.
    fn identify(&self, chunks: &[&[u8]], ids: &mut Vec<ChunkId>) {
        let _stage = tracing::trace_span!("hash").entered();
        ids.clear();
        if !chunks.iter().any(|data| Self::looks_zero(data)) {
            self.crypto.ids(chunks, ids);
            return;
        }
        for data in chunks {
            let zeros = Self::looks_zero(data);
            let known = zeros.then(|| self.id_of_zeros(data.len())).flatten();
            ids.push(known.unwrap_or_else(|| {
                let id = self.crypto.id(data);
                if zeros {
                    self.remember_zeros(data.len(), id);
                }
                id
            }));
        }
    }

    /// Makes, seals and sends the objects of what was claimed, a few chunks at a time; returns the
    /// references in order.
    fn seal_and_send(
        &self,
        bench: &mut Bench<'a>,
        sizes: impl Iterator<Item = u32>,
        mut make: impl FnMut(usize, &mut Compressor) -> Result<Vec<u8>, EngineError>,
    ) -> Result<Vec<ChunkRef>, EngineError> {
        let mut published = Vec::new();
        let mut lot = Vec::new();
        let mut lot_bytes = 0;
        let chunks = bench.ids.iter().zip(sizes).zip(&bench.claims).enumerate();
        for (number, ((id, size), claim)) in chunks {
            if *claim != Claim::Mine {
                continue;
            }
            let chunk = ChunkRef {
                id: *id,
                size,
                csize: 0,
            };
            lot_bytes += size as usize;
            lot.push((chunk, make(number, &mut bench.compressor)?));
            if lot_bytes >= LOT_BYTES {
                self.send(std::mem::take(&mut lot), &mut published)?;
                lot_bytes = 0;
            }
        }
        self.send(lot, &mut published)?;
        Ok(published)
    }

    /// Seals and sends objects, and publishes their lengths.
    fn send(
        &self,
        lot: Vec<(ChunkRef, Vec<u8>)>,
        published: &mut Vec<ChunkRef>,
    ) -> Result<(), EngineError> {
        if lot.is_empty() {
            return Ok(());
        }
        let first = published.len();
        let (chunks, objects): (Vec<ChunkRef>, Vec<Vec<u8>>) = lot.into_iter().unzip();
        let sealed = self.seal(objects)?;
        published.extend(chunks.into_iter().zip(&sealed).map(|(mut chunk, object)| {
            chunk.csize = object.len() as u32;
            chunk
        }));
        let chunks = published.get(first..).unwrap_or_default();
        self.claims.publish(chunks);
        let ids: Vec<ChunkId> = chunks.iter().map(|chunk| chunk.id).collect();
        self.outbox.send(ids.into_iter().zip(sealed).collect())
    }

    /// Begins an object and compresses a chunk into it.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn compress(
        &self,
        compressor: &mut Compressor,
        data: &[u8],
    ) -> Result<Vec<u8>, EngineError> {
        let _stage = tracing::trace_span!("compress").entered();
        let mut object = if data.len() >= REUSE_BYTES {
            self.outbox.buffer(data.len() + data.len() / 128)
        } else {
            Vec::new()
        };
        self.crypto.begin_into(&mut object);
        let random = match self.compression {
            CompressionSpec::Obfuscate { .. } => {
                random_fraction(self.random).map_err(EngineError::Random)?
            }
            _ => 0.0,
        };
        compressor.compress(data, &mut object, random);
        Ok(object)
    }

    /// Takes the counter values that sealing an object uses up; returns the first.
    ///
    /// # Errors
    /// When none can be reserved.
    pub fn counter(&self, object: &[u8]) -> Result<u64, EngineError> {
        match self.crypto.blocks(object.len()) {
            0 => Ok(0),
            blocks => Ok(self.nonces.reserve(blocks)?),
        }
    }

    /// Gives each object its counter range and seals them together.
    fn seal(&self, objects: Vec<Vec<u8>>) -> Result<Vec<Sealed>, EngineError> {
        let _stage = tracing::trace_span!("encrypt").entered();
        let blocks = objects
            .iter()
            .map(|object| self.crypto.blocks(object.len()));
        let total: u64 = blocks.clone().sum();
        let mut counter = if total > 0 {
            self.nonces.reserve(total)?
        } else {
            0
        };
        let counters: Vec<u64> = blocks
            .map(|blocks| {
                let start = counter;
                counter += blocks;
                start
            })
            .collect();
        Ok(self
            .crypto
            .seal_many(objects.into_iter().zip(counters).collect()))
    }
}
