//! Chunks on their way from one repository to another.
//!
//! A few at a time are read, opened with the key of the source and verified; those that are new get
//! an envelope of the key here, around the same compressed payload unless that is to change.

use std::collections::HashMap;
use std::sync::Mutex;

use fastness_format::compress::{Compressor, Decompressor, Method};
use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;
use fastness_repository::Repository;

use crate::create::Recompress;
use crate::create::crew::Crew;
use crate::create::feed::Carrier;
use crate::create::rewrite::method;
use crate::create::stages::{Bench, Store, StoredChunk};
use crate::error::EngineError;
use crate::objects::{MAX_PLAINTEXT_BYTES, ObjectError};
use crate::session::Session;
use crate::tasks::lock;

/// What both keys are asked for the id of; equal ids mean the same function with the same secret.
const PROBE: &[u8] = b"do these two repositories compute ids alike?";

/// Carries chunks from a source.
pub(super) struct Ferry<'a> {
    repository: &'a dyn Repository,
    crypto: &'a Crypto,
    recompress: Option<Recompress>,
    shares_ids: bool,
    /// Chunks that were announced, with their ids here once these are known and differ.
    seen: Mutex<HashMap<ChunkId, Option<ChunkId>>>,
}

/// A chunk that was read.
struct Read {
    /// As it was stored, decrypted in place.
    object: Vec<u8>,
    data: Vec<u8>,
}

impl<'a> Ferry<'a> {
    pub(super) fn new(
        source: &'a Session,
        destination: &Crypto,
        recompress: Option<Recompress>,
    ) -> Self {
        Self {
            repository: source.repository.as_ref(),
            crypto: &source.crypto,
            recompress,
            shares_ids: source.crypto.id(PROBE) == destination.id(PROBE),
            seen: Mutex::default(),
        }
    }

    pub(super) fn shares_ids(&self) -> bool {
        self.shares_ids
    }

    /// The id of a chunk here, as far as it is known.
    fn id_here(&self, id: &ChunkId) -> Option<ChunkId> {
        match self.shares_ids {
            true => Some(*id),
            false => lock(&self.seen).get(id).copied().flatten(),
        }
    }

    /// Reads chunks, and verifies that they are what the source says they are.
    fn read(&self, wanted: &[(usize, ChunkRef)]) -> Result<Vec<Read>, ObjectError> {
        let ids: Vec<ChunkId> = wanted.iter().map(|(_, chunk)| chunk.id).collect();
        let objects = self.repository.get_many(&ids).into_iter();
        let mut objects = objects.collect::<Result<Vec<_>, _>>()?;
        let opened = self.crypto.open_many(&mut objects);
        let mut decompressor = Decompressor::default();
        let mut read = Vec::with_capacity(wanted.len());
        for (((_, chunk), object), opened) in wanted.iter().zip(objects).zip(opened) {
            let id = chunk.id;
            opened.map_err(|source| ObjectError::Envelope { id, source })?;
            let (mut data, size) = (Vec::new(), chunk.size as usize);
            decompressor
                .decompress(
                    self.payload(&object),
                    Some(size),
                    MAX_PLAINTEXT_BYTES,
                    &mut data,
                )
                .map_err(|source| ObjectError::Compression { id, source })?;
            read.push(Read { object, data });
        }
        let computed = ids_of(self.crypto, &read);
        match ids
            .iter()
            .zip(&computed)
            .find(|(id, computed)| id != computed)
        {
            Some((id, _)) => Err(ObjectError::Identity(*id)),
            None => Ok(read),
        }
    }

    fn payload<'o>(&self, object: &'o [u8]) -> &'o [u8] {
        object.get(self.crypto.overhead()..).unwrap_or_default()
    }

    /// Begins the object of a chunk here.
    fn object(
        &self,
        store: &Store<'_>,
        compressor: &mut Compressor,
        read: &Read,
    ) -> Result<Vec<u8>, EngineError> {
        let payload = self.payload(&read.object);
        let present = Method::detect(payload);
        let as_it_is = || {
            let mut object = store.crypto.begin();
            object.extend_from_slice(payload);
            object
        };
        match self.recompress {
            None => return Ok(as_it_is()),
            Some(Recompress::IfDifferent) if present.is_some() => {
                if present == method(store.compression) {
                    return Ok(as_it_is());
                }
            }
            Some(_) => {}
        }
        let made = store.compress(compressor, &read.data)?;
        let now = Method::detect(made.get(store.crypto.overhead()..).unwrap_or_default());
        Ok(match self.recompress {
            Some(Recompress::IfDifferent) if now == present => as_it_is(),
            _ => made,
        })
    }

    /// Brings chunks that are not known to be here.
    fn bring<'env>(
        &self,
        crew: &Crew<'env>,
        bench: &mut Bench<'env>,
        wanted: &[(usize, ChunkRef)],
    ) -> Result<Vec<StoredChunk>, EngineError> {
        let read = self.read(wanted)?;
        let ids = match self.shares_ids {
            true => wanted.iter().map(|(_, chunk)| chunk.id).collect(),
            false => ids_of(crew.store.crypto, &read),
        };
        let sizes = read.iter().map(|read| read.data.len() as u32);
        let named: Vec<(ChunkId, u32)> = ids.iter().copied().zip(sizes).collect();
        let stored = crew.store.store_made(bench, &named, |number, compressor| {
            let read = read.get(number).ok_or(EngineError::Abandoned)?;
            self.object(crew.store, compressor, read)
        })?;
        if !self.shares_ids {
            let mut seen = lock(&self.seen);
            seen.extend(
                wanted
                    .iter()
                    .zip(ids)
                    .map(|((_, chunk), id)| (chunk.id, Some(id))),
            );
        }
        Ok(stored)
    }
}

fn ids_of(crypto: &Crypto, read: &[Read]) -> Vec<ChunkId> {
    let data: Vec<&[u8]> = read.iter().map(|read| read.data.as_slice()).collect();
    let mut ids = Vec::with_capacity(data.len());
    crypto.ids(&data, &mut ids);
    ids
}

impl Carrier for Ferry<'_> {
    fn announce(&self, crew: &Crew<'_>, chunks: &[ChunkRef]) {
        let table = &crew.store.claims.table;
        let mut seen = lock(&self.seen);
        let mut ahead = Vec::new();
        for ChunkRef { id, .. } in chunks {
            // One that was announced before is here, or on its way.
            if self.shares_ids && table.contains(id) || seen.contains_key(id) {
                continue;
            }
            seen.insert(*id, None);
            ahead.push(*id);
        }
        drop(seen);
        self.repository.prefetch(&ahead);
    }

    fn carry<'env>(
        &self,
        crew: &Crew<'env>,
        bench: &mut Bench<'env>,
        chunks: &[ChunkRef],
    ) -> Result<Vec<StoredChunk>, EngineError> {
        let claims = crew.store.claims;
        let mut stored = Vec::with_capacity(chunks.len());
        let mut wanted = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            let here = self.id_here(&chunk.id);
            let known = here.and_then(|id| claims.claim_if_known(&id));
            if known.is_none() {
                wanted.push((number, *chunk));
            }
            stored.push(known.map(|chunk| StoredChunk { chunk, new: false }));
        }
        let brought = self.bring(crew, bench, &wanted)?;
        for ((number, _), brought) in wanted.iter().zip(brought) {
            if let Some(place) = stored.get_mut(*number) {
                *place = Some(brought);
            }
        }
        let stored: Option<Vec<_>> = stored.into_iter().collect();
        stored.ok_or(EngineError::Abandoned)
    }
}
