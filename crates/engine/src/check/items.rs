//! An archive with a flaw, item by item.
//!
//! What cannot be read is left out, and reading goes on at the next item that can be recognised.
//! A file with a missing chunk keeps its length: zeros stand in for the chunk, and the item
//! remembers the real one in `chunks_healthy`, so that a later check heals the file when a backup
//! has brought the chunk again.
//!
//! With a repair all items are written to a new stream; those without a flaw byte for byte.

use std::collections::BTreeSet;

use fastness_format::chunker::MAX_BLOCK;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, Item, ItemDecoder, ItemError, ItemRef};
use fastness_format::manifest::MAX_ITEM_KEYS;
use fastness_format::msgpack::{Reader, Value};

use super::archives::{Opened, fetch_object};
use super::stream::ItemStream;
use super::{Checker, damage_or_failure, lossy};
use crate::error::EngineError;
use crate::event::Level;
use crate::keys::NonceAllocator;
use crate::objects::ObjectError;
use crate::parallel::ordered;

/// Chunks of the item stream that are read together.
const BATCH: usize = 16;
/// Longest name of an unknown item key that a repair takes into the manifest.
const MAX_KEY_BYTES: usize = 64;
/// Fields without which an item would be another one: if one is malformed, the item is lost.
const VITAL: [&str; 5] = ["path", "mode", "mtime", "chunks", "source"];

/// A chunk of an item stream and its number in it, for messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    id: &'a ChunkId,
    number: usize,
}

/// The walk over the items of one archive.
struct Walk<'w, 'a> {
    checker: &'w mut Checker<'a>,
    nonces: &'w NonceAllocator,
    archive: &'w Opened,
    item_keys: &'w mut BTreeSet<Vec<u8>>,
    /// What is written, if this is a repair.
    stream: Option<ItemStream>,
}

/// The chunks of a file as they should be.
struct Treated {
    chunks: Vec<ChunkRef>,
    healthy: Option<Vec<ChunkRef>>,
}

impl Checker<'_> {
    /// Checks the items of an archive one by one. Returns the chunks of the repaired stream, or
    /// none if this is no repair.
    pub(super) fn check_items(
        &mut self,
        archive: &Opened,
        item_keys: &mut BTreeSet<Vec<u8>>,
        nonces: &NonceAllocator,
    ) -> Result<Option<Vec<ChunkId>>, EngineError> {
        let seed = self.crypto.chunk_seed();
        let mut walk = Walk {
            stream: self.options.repair.then(|| ItemStream::new(seed)),
            checker: self,
            nonces,
            archive,
            item_keys,
        };
        walk.all()?;
        let Walk {
            stream, checker, ..
        } = walk;
        let mut store = |data: &[u8]| Ok(checker.store(nonces, data)?.id);
        stream.map(|stream| stream.finish(&mut store)).transpose()
    }

    /// Reads some chunks of an item stream; none is one that is not there.
    fn read_chunks(&self, ids: &[ChunkId]) -> Vec<Option<Result<Vec<u8>, ObjectError>>> {
        let (repository, crypto) = (&*self.repository, &*self.crypto);
        let present: Vec<_> = ids
            .iter()
            .map(|id| (id, self.inventory.contains(id)))
            .collect();
        let there = present.iter().filter(|(_, present)| *present);
        let there: Vec<ChunkId> = there.map(|(id, _)| **id).collect();
        repository.prefetch(&there);
        let mut read = Vec::with_capacity(ids.len());
        let threads = self.options.threads.min(ids.len());
        let Ok(()) = ordered(
            threads,
            BATCH,
            present.into_iter(),
            |(id, present)| present.then(|| fetch_object(repository, crypto, id)),
            |data| -> Result<(), std::convert::Infallible> {
                read.push(data);
                Ok(())
            },
        );
        read
    }

    /// Returns a chunk of zeros that takes the place of a missing one; none if that would be
    /// longer than any chunk can be.
    fn replacement(
        &mut self,
        size: u32,
        nonces: &NonceAllocator,
    ) -> Result<Option<ChunkRef>, EngineError> {
        if let Some(chunk) = self.replacements.get(&size) {
            return Ok(Some(*chunk));
        }
        if size > MAX_BLOCK {
            return Ok(None);
        }
        let chunk = self.store(nonces, &vec![0; size as usize])?;
        self.replacements.insert(size, chunk);
        Ok(Some(chunk))
    }
}

impl Walk<'_, '_> {
    fn all(&mut self) -> Result<(), EngineError> {
        let archive = self.archive;
        let mut decoder = ItemDecoder::new();
        let mut lost = false;
        let mut number = 0;
        for batch in archive.metadata.items.chunks(BATCH) {
            self.checker.stop_if_interrupted()?;
            for (id, data) in batch.iter().zip(self.checker.read_chunks(batch)) {
                let place = Place { id, number };
                number += 1;
                let Some(data) = data else {
                    self.report("item metadata chunk missing", place);
                    lost = true;
                    continue;
                };
                let data = match data {
                    Ok(data) => data,
                    Err(error) => {
                        let error = damage_or_failure(error)?;
                        self.report(&error.to_string(), place);
                        lost = true;
                        continue;
                    }
                };
                if lost {
                    decoder.resync(self.item_keys.iter().map(Vec::as_slice));
                }
                decoder.feed(&data);
                lost = !self.take_items(&mut decoder, place)?;
            }
        }
        let cut_off = matches!(decoder.finish(), Err(ItemError::Truncated { .. }));
        if let Some(id) = archive.metadata.items.last()
            && cut_off
            && !lost
        {
            let number = number - 1;
            self.report(
                "item metadata stream ends inside an item",
                Place { id, number },
            );
        }
        Ok(())
    }

    /// Takes all whole items; false when the position in the stream is lost.
    fn take_items(
        &mut self,
        decoder: &mut ItemDecoder,
        place: Place<'_>,
    ) -> Result<bool, EngineError> {
        loop {
            let error = match decoder.next_ref() {
                None => return Ok(true),
                Some(Ok(item)) => {
                    self.take_item(&item, place)?;
                    continue;
                }
                Some(Err(error)) => error,
            };
            if !error.is_recoverable() {
                self.report(
                    "Unpacker crashed while unpacking item metadata, trying to resync...",
                    place,
                );
                return Ok(false);
            }
            let bytes = decoder.last_taken().to_vec();
            self.take_malformed(&bytes, &error, place)?;
        }
    }

    fn report(&mut self, message: &str, place: Place<'_>) {
        let Place { id, number } = place;
        // As in Borg, the number is that in the names of the files of "debug dump-archive-items".
        self.checker
            .problem(format!("{message} [chunk: {number:06}_{id}]"));
    }

    fn report_item(&mut self, reason: &str, place: Place<'_>) {
        let message =
            format!("Did not get expected metadata dict when unpacking item metadata ({reason})");
        self.report(&message, place);
    }

    /// Saves what can be saved of a value that is no proper item: without fields that are
    /// malformed it may be one.
    fn take_malformed(
        &mut self,
        bytes: &[u8],
        error: &ItemError,
        place: Place<'_>,
    ) -> Result<(), EngineError> {
        let ItemError::Field { key, .. } = error else {
            let reason = match error {
                ItemError::Missing(_) => missing_keys(bytes),
                _ => "not a dictionary".to_owned(),
            };
            self.report_item(&reason, place);
            return Ok(());
        };
        self.report_item(&format!("invalid value of {key}"), place);
        if VITAL.contains(&key.as_str()) {
            return Ok(());
        }
        let Ok(Value::Map(mut pairs)) = Value::decode(bytes) else {
            return Ok(());
        };
        let before = pairs.len();
        pairs.retain(|(name, _)| name.as_raw() != Some(key.as_bytes()));
        if pairs.len() == before {
            return Ok(());
        }
        let mut rest = Vec::with_capacity(bytes.len());
        Value::Map(pairs).write(&mut rest);
        match ItemRef::decode(&mut Reader::new(&rest)) {
            Ok(item) => self.take_item(&item, place),
            Err(error) => self.take_malformed(&rest, &error, place),
        }
    }

    fn take_item(&mut self, item: &ItemRef<'_>, place: Place<'_>) -> Result<(), EngineError> {
        if item.mtime.is_none() {
            self.report_item("missing required keys: mtime", place);
            return Ok(());
        }
        let mut unknown: Vec<&[u8]> = item
            .unknown()
            .map(|(key, _)| key)
            .filter(|key| !self.item_keys.contains(*key))
            .collect();
        if !unknown.is_empty() {
            unknown.sort_unstable();
            let keys: Vec<_> = unknown.iter().map(|key| lossy(key)).collect();
            self.report_item(&format!("invalid keys: {}", keys.join(", ")), place);
            if !self.learn(&unknown) {
                return Ok(());
            }
        }
        let treated = match item.chunks {
            Some(_) => self.check_file(item)?,
            None => None,
        };
        self.write(item, treated)
    }

    /// Takes keys that are not known into the manifest, which is what makes items with them valid:
    /// a later program wrote them. Tells whether the items may stay.
    fn learn(&mut self, keys: &[&[u8]]) -> bool {
        let plausible = keys
            .iter()
            .all(|key| key.len() <= MAX_KEY_BYTES && key.iter().all(u8::is_ascii_graphic));
        let fits = self.item_keys.len() + keys.len() <= MAX_ITEM_KEYS;
        if !self.checker.options.repair {
            // They would stay, and so their chunks are needed.
            return plausible && fits;
        }
        if plausible && fits {
            self.item_keys.extend(keys.iter().map(|key| key.to_vec()));
        }
        plausible && fits
    }

    fn write(&mut self, item: &ItemRef<'_>, treated: Option<Treated>) -> Result<(), EngineError> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let (checker, nonces) = (&mut *self.checker, self.nonces);
        let mut store = |data: &[u8]| Ok(checker.store(nonces, data)?.id);
        let changed = treated.and_then(|treated| {
            Some(Item {
                chunks: Some(treated.chunks),
                chunks_healthy: treated.healthy,
                // Fails for unknown values that cannot be written again; better keep them all.
                ..item.to_item().ok()?
            })
        });
        match changed {
            None => stream.add(item.as_bytes(), &mut store),
            Some(item) => {
                let mut encoded = Vec::new();
                item.encode(&mut encoded);
                stream.add(&encoded, &mut store)
            }
        }
    }

    fn say(&self, level: Level, item: &ItemRef<'_>, message: &str) {
        let archive = lossy(&self.archive.name);
        let text = format!("{archive}: {}: {message}", lossy(item.path));
        self.checker.log(level, text);
    }

    /// Checks the chunks of a file. Returns what they should be, if that is not what they are.
    fn check_file(&mut self, item: &ItemRef<'_>) -> Result<Option<Treated>, EngineError> {
        let repair = self.checker.options.repair;
        let current: Vec<ChunkRef> = item.chunks.into_iter().flatten().collect();
        let mut healthy: Option<Vec<ChunkRef>> = item
            .chunks_healthy
            .map(|chunks| chunks.into_iter().collect());
        if healthy
            .as_ref()
            .is_some_and(|healthy| healthy.len() != current.len())
        {
            let message = match repair {
                true => "Invalid chunks_healthy metadata removed!",
                false => "Invalid chunks_healthy metadata would be removed with --repair!",
            };
            self.say(Level::Warning, item, message);
            healthy = None;
        }
        let mut chunks = Vec::with_capacity(current.len());
        let mut offset = 0;
        let mut replaced = false;
        for (at, now) in current.iter().enumerate() {
            let wanted = healthy.as_ref().and_then(|healthy| healthy.get(at));
            let wanted = wanted.unwrap_or(now);
            let chunk = self.check_chunk(item, now, wanted, offset, &mut replaced)?;
            offset += u64::from(chunk.size);
            chunks.push(chunk);
        }
        if healthy.as_ref() == Some(&chunks) {
            let message = match repair {
                true => "Completely healed previously damaged file!",
                false => "Would completely heal damaged file with --repair!",
            };
            self.say(Level::Info, item, message);
            healthy = None;
        } else if replaced && healthy.is_none() {
            // The first repair: what it should be is remembered, and may heal it one day.
            healthy = Some(current.clone());
        }
        if let Some(size) = item.size.filter(|size| *size != offset) {
            let message = format!("size inconsistency detected: size {size}, chunks size {offset}");
            self.say(Level::Warning, item, &message);
        }
        let unchanged = chunks == current && healthy.is_some() == item.chunks_healthy.is_some();
        Ok((!unchanged).then_some(Treated { chunks, healthy }))
    }

    /// Checks one chunk and returns what should be in its place: the one that is `wanted`, or the
    /// one that is there `now`, or a new replacement.
    fn check_chunk(
        &mut self,
        item: &ItemRef<'_>,
        now: &ChunkRef,
        wanted: &ChunkRef,
        offset: u64,
        replaced: &mut bool,
    ) -> Result<ChunkRef, EngineError> {
        let repair = self.checker.options.repair;
        let end = offset + u64::from(wanted.size);
        let place = format!("(Byte {offset}-{end}, Chunk {})", wanted.id);
        if self.checker.inventory.reference(&wanted.id) {
            if now != wanted {
                let what = match repair {
                    true => "Healed previously missing file chunk!",
                    false => "Missing file chunk would be healed with --repair!",
                };
                self.say(Level::Info, item, &format!("{what} {place}"));
                // Nothing may need the zeros any more.
                self.checker.may_be_superseded(&now.id);
            }
            return Ok(*wanted);
        }
        if now == wanted {
            let what = match repair {
                true => "Replacing with all-zero chunk.",
                false => "Would replace it with all-zero chunk with --repair.",
            };
            let message = format!("New missing file chunk detected {place}. {what}");
            self.say(Level::Error, item, &message);
        } else {
            let message = format!(
                "Previously missing file chunk is still missing {place}. It has an all-zero replacement chunk already."
            );
            self.say(Level::Info, item, &message);
            if self.checker.inventory.reference(&now.id) {
                return Ok(*now);
            }
            let what = match repair {
                true => "Generating new replacement chunk.",
                false => "Would generate new replacement chunk with --repair.",
            };
            let message = format!("Missing all-zero replacement chunk detected {place}. {what}");
            self.say(Level::Warning, item, &message);
        }
        self.checker.problems = true;
        match self.checker.replacement(wanted.size, self.nonces)? {
            Some(chunk) => {
                *replaced = true;
                Ok(chunk)
            }
            None => Ok(*now),
        }
    }
}

/// Tells which of the required keys a map has not.
fn missing_keys(bytes: &[u8]) -> String {
    let value = Value::decode(bytes).unwrap_or(Value::Nil);
    let missing: Vec<&str> = ["mtime", "path"]
        .into_iter()
        .filter(|key| value.get(key.as_bytes()).is_none())
        .collect();
    format!("missing required keys: {}", missing.join(", "))
}
