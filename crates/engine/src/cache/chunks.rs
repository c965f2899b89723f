//! The chunk table: every chunk of the repository with its references and lengths.
//!
//! 64 flat open-addressing tables, each behind its own lock and growing for itself, so that many
//! threads can work on it and no growth ever needs much room. Ids are hashes, so their first bytes
//! choose table and place; the places are in the order of the ids, which is the order in the file.
//!
//! File: header (magic, repository id, manifest id, number of entries as u64), entries of 44 bytes
//! (id, references, length, stored length as u32), xxh64 of all before. Little-endian.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::item::ChunkRef;
use fastness_sys::memory;
use twox_hash::XxHash64;

use super::Replacement;

/// References from which on they are not counted any more: such a chunk is never deleted.
pub const MAX_REFERENCES: u32 = 4_294_966_271;

const MAGIC: [u8; 16] = *b"FASTNESS CHUNKS1";
const HEADER: usize = 16 + 32 + 32 + 8;
const ENTRY: usize = 44;
const SHARDS: usize = 64;

/// What is known of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkEntry {
    /// How often archives refer to it.
    pub references: u32,
    /// Length of its data in bytes.
    pub size: u32,
    /// Length of the stored object in bytes, 0 when not known.
    pub csize: u32,
}

/// What became of a chunk that lost references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It was not there.
    Missing,
    /// It is still referenced.
    Kept(ChunkEntry),
    /// That was the last reference: it is out of the table and can be deleted. The entry is what
    /// it was before.
    Last(ChunkEntry),
}

/// Sums over all chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChunkTotals {
    /// Number of different chunks.
    pub unique_chunks: u64,
    /// Their data bytes.
    pub unique_bytes: u64,
    /// Their stored bytes.
    pub unique_stored_bytes: u64,
    /// Number of references.
    pub chunks: u64,
    /// Data bytes, each chunk counted as often as it is referenced.
    pub bytes: u64,
    /// Stored bytes, each chunk counted as often as it is referenced.
    pub stored_bytes: u64,
}

/// A table as it was saved.
#[derive(Debug)]
pub struct SavedTable {
    /// The table.
    pub table: ChunkTable,
    /// The manifest it was saved with, by the id hash of its data.
    pub manifest: ChunkId,
}

/// A table that was written beside its place; dropped, it vanishes.
#[derive(Debug)]
pub struct PreparedTable(Replacement);

impl PreparedTable {
    /// Puts it in the place of the old one, after its manifest was committed.
    ///
    /// # Errors
    /// When that is not possible; the old one stays then.
    pub fn finish(self) -> io::Result<()> {
        self.0.commit(false)
    }
}

/// What a file begins with, of a repository that is known.
struct Header {
    manifest: ChunkId,
    count: u64,
    bytes: [u8; HEADER],
}

/// All chunks of a repository. Methods on `&self` may be called by many threads.
#[derive(Debug)]
pub struct ChunkTable {
    shards: Box<[RwLock<Shard>; SHARDS]>,
}

impl Default for ChunkTable {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkTable {
    /// Makes an empty table.
    pub fn new() -> Self {
        Self {
            shards: Box::new(std::array::from_fn(|_| RwLock::default())),
        }
    }

    /// Makes room for so many chunks in all.
    pub fn reserve(&mut self, chunks: usize) {
        for shard in self.shards.iter_mut() {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            shard.reserve(chunks / SHARDS + chunks / SHARDS / 16);
        }
    }

    fn shard(&self, id: &ChunkId) -> &RwLock<Shard> {
        let [first, ..] = id.as_bytes();
        let number = usize::from(first >> 2);
        #[expect(
            clippy::indexing_slicing,
            reason = "six bits are an index of 64 tables"
        )]
        &self.shards[number]
    }

    // The tables have no state between two steps: a panic elsewhere leaves them whole.
    fn read(&self, id: &ChunkId) -> RwLockReadGuard<'_, Shard> {
        self.shard(id)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, id: &ChunkId) -> RwLockWriteGuard<'_, Shard> {
        self.shard(id)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known of a chunk.
    pub fn get(&self, id: &ChunkId) -> Option<ChunkEntry> {
        self.read(id).find(id).ok().map(|slot| slot.entry)
    }

    /// Tells whether there is such a chunk.
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.get(id).is_some()
    }

    /// Adds a reference to a chunk that is there and returns its new entry.
    pub fn reference(&self, id: &ChunkId) -> Option<ChunkEntry> {
        self.write(id).change(id, |entry| entry.add(1, 0, 0))
    }

    /// Has the processor fetch what is known of some chunks, which is asked for in a moment.
    pub fn prefetch(&self, ids: impl Iterator<Item = ChunkId>) {
        for id in ids {
            let shard = self.read(&id);
            if let Some(slot) = shard.slots.get(shard.home(id.as_bytes())) {
                memory::prefetch(&slot.id);
                memory::prefetch(&slot.entry);
            }
        }
    }

    /// Adds a reference to each of the chunks and appends them to `out`, if all are there;
    /// otherwise changes nothing and returns false. What an unchanged file needs.
    pub fn reference_all(
        &self,
        ids: impl Iterator<Item = ChunkId> + Clone,
        out: &mut Vec<ChunkRef>,
    ) -> bool {
        let before = out.len();
        for id in ids {
            let Some(entry) = self.reference(&id) else {
                for chunk in out.drain(before..) {
                    self.release(&chunk.id, 1);
                }
                return false;
            };
            out.push(ChunkRef {
                id,
                size: entry.size,
                csize: entry.csize,
            });
        }
        true
    }

    /// Adds a reference to a chunk, putting it into the table when it is new. Returns its entry
    /// and whether it is new, in which case the caller has to store it and then tell its stored
    /// length with [`set_csize`](Self::set_csize).
    pub fn claim(&self, id: &ChunkId, size: u32) -> (ChunkEntry, bool) {
        let mut shard = self.write(id);
        if let Some(entry) = shard.change(id, |entry| entry.add(1, size, 0)) {
            return (entry, false);
        }
        let entry = ChunkEntry {
            references: 1,
            size,
            csize: 0,
        };
        shard.add(id, entry);
        (entry, true)
    }

    /// Tells the stored length of a chunk that is there.
    pub fn set_csize(&self, id: &ChunkId, csize: u32) {
        self.write(id).change(id, |entry| entry.csize = csize);
    }

    /// Adds references to a chunk, putting it into the table when it is new. Lengths that are 0
    /// are taken for unknown.
    pub fn add(&self, chunk: &ChunkRef, references: u32) {
        let entry = ChunkEntry {
            references,
            size: chunk.size,
            csize: chunk.csize,
        };
        self.write(&chunk.id).add(&chunk.id, entry);
    }

    /// Adds one reference to each of the chunks, as [`add`](Self::add) does.
    pub fn add_many(&self, chunks: impl IntoIterator<Item = ChunkRef>) {
        chunks.into_iter().for_each(|chunk| self.add(&chunk, 1));
    }

    /// Takes references from a chunk; with the last one it leaves the table. One that has
    /// [`MAX_REFERENCES`] keeps them for ever.
    pub fn release(&self, id: &ChunkId, references: u32) -> Released {
        let mut shard = self.write(id);
        let Ok(slot) = shard.find(id) else {
            return Released::Missing;
        };
        let entry = slot.entry;
        if entry.references >= MAX_REFERENCES {
            return Released::Kept(entry);
        }
        if entry.references <= references {
            shard.remove(id);
            return Released::Last(entry);
        }
        let kept = shard.change(id, |entry| entry.references -= references);
        Released::Kept(kept.unwrap_or(entry))
    }

    /// Returns the number of chunks.
    pub fn len(&self) -> usize {
        self.sum(|shard| shard.used as u64) as usize
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sum(&self, value: impl Fn(&Shard) -> u64) -> u64 {
        self.shards
            .iter()
            .map(|shard| value(&shard.read().unwrap_or_else(PoisonError::into_inner)))
            .sum()
    }

    /// Calls `visit` for every chunk, in the order of a file. It must not change the table.
    pub fn for_each(&self, mut visit: impl FnMut(&ChunkId, ChunkEntry)) {
        for shard in self.shards.iter() {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            for slot in shard.entries() {
                visit(&ChunkId::new(slot.id), slot.entry);
            }
        }
    }

    /// Returns sums over all chunks.
    pub fn totals(&self) -> ChunkTotals {
        let mut totals = ChunkTotals::default();
        self.for_each(|_, entry| {
            let [references, size, csize] =
                [entry.references, entry.size, entry.csize].map(u64::from);
            totals.unique_chunks += 1;
            totals.unique_bytes += size;
            totals.unique_stored_bytes += csize;
            totals.chunks += references;
            totals.bytes = totals.bytes.saturating_add(references.saturating_mul(size));
            totals.stored_bytes = totals
                .stored_bytes
                .saturating_add(references.saturating_mul(csize));
        });
        totals
    }

    /// Loads the table that was saved for this repository with this manifest (the id hash of its
    /// data). Any other, and one that cannot be read, is none.
    pub fn load(path: &Path, repository: &RepositoryId, manifest: &ChunkId) -> Option<Self> {
        let (file, header) = Self::open(path, repository)?;
        (header.manifest == *manifest)
            .then(|| Self::load_rest(file, &header))
            .flatten()
    }

    /// Loads the table that was saved for this repository, whatever its manifest was. One that
    /// cannot be read is none.
    pub fn load_saved(path: &Path, repository: &RepositoryId) -> Option<SavedTable> {
        let _stage = tracing::trace_span!("load_chunk_table").entered();
        let (file, header) = Self::open(path, repository)?;
        Some(SavedTable {
            table: Self::load_rest(file, &header)?,
            manifest: header.manifest,
        })
    }

    fn open(path: &Path, repository: &RepositoryId) -> Option<(File, Header)> {
        let mut file = File::open(path).ok()?;
        let mut bytes = [0; HEADER];
        file.read_exact(&mut bytes).ok()?;
        let (identity, rest) = bytes.split_first_chunk::<48>()?;
        if *identity != *[&MAGIC[..], repository.as_bytes()].concat() {
            return None;
        }
        let (manifest, count) = rest.split_first_chunk::<32>()?;
        let count = u64::from_le_bytes(*count.first_chunk()?);
        let len = count.checked_mul(ENTRY as u64)?;
        let header = Header {
            manifest: ChunkId::new(*manifest),
            count,
            bytes,
        };
        (len.checked_add(HEADER as u64 + 8)? == file.metadata().ok()?.len())
            .then_some((file, header))
    }

    fn load_rest(mut file: File, header: &Header) -> Option<Self> {
        let mut table = Self::new();
        table.reserve(usize::try_from(header.count).ok()?);
        let mut hasher = XxHash64::with_seed(0);
        std::hash::Hasher::write(&mut hasher, &header.bytes);
        table.read_entries(&mut file, header.count, &mut hasher)?;
        let mut checksum = [0; 8];
        file.read_exact(&mut checksum).ok()?;
        (u64::from_le_bytes(checksum) == hasher.finish()).then_some(table)
    }

    fn read_entries(&mut self, file: &mut File, count: u64, hasher: &mut XxHash64) -> Option<()> {
        let mut buffer = vec![0; ENTRY * 4096];
        let mut left = usize::try_from(count).ok()?;
        while left > 0 {
            let bytes = left.min(4096) * ENTRY;
            let part = buffer.get_mut(..bytes)?;
            file.read_exact(part).ok()?;
            std::hash::Hasher::write(hasher, part);
            for entry in part.as_chunks::<ENTRY>().0 {
                let (id, entry) = decode_entry(entry)?;
                self.write(&id).add(&id, entry);
            }
            left -= bytes / ENTRY;
        }
        Some(())
    }

    /// Saves the table as that of this repository with this manifest.
    ///
    /// To be called after the manifest was committed: saved before, the table would be trusted
    /// with references of archives that never came to be.
    ///
    /// # Errors
    /// When the file cannot be written; the old one stays then.
    pub fn save(
        &self,
        path: &Path,
        repository: &RepositoryId,
        manifest: &ChunkId,
    ) -> io::Result<()> {
        self.prepare(path, repository, manifest)?.finish()
    }

    /// Writes the table beside its place, with the manifest that is being committed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prepare(
        &self,
        path: &Path,
        repository: &RepositoryId,
        manifest: &ChunkId,
    ) -> io::Result<PreparedTable> {
        let _stage = tracing::trace_span!("save_chunk_table").entered();
        let mut file = Replacement::create(path)?;
        let mut hasher = XxHash64::with_seed(0);
        let mut put = |bytes: &[u8]| {
            std::hash::Hasher::write(&mut hasher, bytes);
            file.write(bytes)
        };
        put(&MAGIC)?;
        put(repository.as_bytes())?;
        put(manifest.as_bytes())?;
        put(&(self.len() as u64).to_le_bytes())?;
        let mut result = Ok(());
        let mut buffer = Vec::with_capacity(ENTRY * 4096);
        self.for_each(|id, entry| {
            encode_entry(id, entry, &mut buffer);
            if buffer.len() >= ENTRY * 4096 && result.is_ok() {
                result = put(&buffer);
                buffer.clear();
            }
        });
        result?;
        put(&buffer)?;
        file.write(&hasher.finish().to_le_bytes())?;
        file.settle()?;
        Ok(PreparedTable(file))
    }
}

fn encode_entry(id: &ChunkId, entry: ChunkEntry, out: &mut Vec<u8>) {
    out.extend_from_slice(id.as_bytes());
    for number in [entry.references, entry.size, entry.csize] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn decode_entry(bytes: &[u8; ENTRY]) -> Option<(ChunkId, ChunkEntry)> {
    let (id, numbers) = bytes.split_first_chunk::<32>()?;
    let [references, size, csize] = numbers.as_chunks::<4>().0 else {
        return None;
    };
    let entry = ChunkEntry {
        references: u32::from_le_bytes(*references),
        size: u32::from_le_bytes(*size),
        csize: u32::from_le_bytes(*csize),
    };
    (entry.references > 0).then_some((ChunkId::new(*id), entry))
}

impl ChunkEntry {
    fn add(&mut self, references: u32, size: u32, csize: u32) {
        self.references = self
            .references
            .saturating_add(references)
            .min(MAX_REFERENCES);
        if self.size == 0 {
            self.size = size;
        }
        if self.csize == 0 {
            self.csize = csize;
        }
    }
}

/// One place of a table; empty when there are no references.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    id: [u8; 32],
    entry: ChunkEntry,
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.entry.references == 0
    }
}

/// An open-addressing table with linear probing, at most 4/5 full.
#[derive(Debug, Default)]
struct Shard {
    slots: Vec<Slot>,
    used: usize,
}

impl Shard {
    fn entries(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.is_empty())
    }

    /// The place where the search for an id begins. Six bits of it chose the table.
    fn home(&self, id: &[u8; 32]) -> usize {
        let (first, _) = id.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let hash = u64::from_be_bytes(*first) << 6;
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    /// Finds a chunk, or the place for it.
    #[inline]
    fn locate(&self, id: &ChunkId) -> Result<usize, usize> {
        let home = self.home(id.as_bytes());
        let (before, after) = self.slots.split_at_checked(home).unwrap_or_default();
        for (first, slots) in [(home, after), (0, before)] {
            for (place, slot) in (first..).zip(slots) {
                if slot.is_empty() {
                    return Err(place);
                }
                if slot.id == *id.as_bytes() {
                    return Ok(place);
                }
            }
        }
        Err(0)
    }

    fn find(&self, id: &ChunkId) -> Result<&Slot, usize> {
        let place = self.locate(id)?;
        self.slots.get(place).ok_or(place)
    }

    fn change(&mut self, id: &ChunkId, change: impl FnOnce(&mut ChunkEntry)) -> Option<ChunkEntry> {
        let place = self.locate(id).ok()?;
        let slot = self.slots.get_mut(place)?;
        change(&mut slot.entry);
        Some(slot.entry)
    }

    /// Adds to a chunk's entry, or puts the entry in. One without references is left out.
    fn add(&mut self, id: &ChunkId, entry: ChunkEntry) {
        if (self.used + 1) * 5 > self.slots.len() * 4 {
            self.reserve((self.used + 8) * 5 / 4);
        }
        match self.locate(id) {
            Ok(place) => {
                if let Some(slot) = self.slots.get_mut(place) {
                    slot.entry.add(entry.references, entry.size, entry.csize);
                }
            }
            Err(place) if entry.references > 0 => {
                if let Some(slot) = self.slots.get_mut(place) {
                    slot.id = *id.as_bytes();
                    slot.entry = ChunkEntry {
                        references: entry.references.min(MAX_REFERENCES),
                        ..entry
                    };
                    self.used += 1;
                }
            }
            Err(_) => {}
        }
    }

    /// Makes room for so many chunks in all.
    fn reserve(&mut self, chunks: usize) {
        let places = chunks + chunks / 4 + 8;
        if places <= self.slots.len() {
            return;
        }
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); places]);
        self.used = 0;
        for slot in old.iter().filter(|slot| !slot.is_empty()) {
            self.add(&ChunkId::new(slot.id), slot.entry);
        }
    }

    /// Takes a chunk out and moves those after it that it had pushed away.
    fn remove(&mut self, id: &ChunkId) {
        let Ok(mut hole) = self.locate(id) else {
            return;
        };
        let places = self.slots.len();
        let mut place = hole;
        loop {
            place = (place + 1) % places;
            let Some(slot) = self
                .slots
                .get(place)
                .copied()
                .filter(|slot| !slot.is_empty())
            else {
                break;
            };
            // It may fill the hole unless its search begins behind the hole.
            let home = self.home(&slot.id);
            if (place + places - home) % places >= (place + places - hole) % places {
                if let Some(target) = self.slots.get_mut(hole) {
                    *target = slot;
                }
                hole = place;
            }
        }
        if let Some(slot) = self.slots.get_mut(hole) {
            *slot = Slot::default();
        }
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests;
