//! Hash index files: `index.T` in a repository, and Borg's chunk index on a client.
//!
//! ```text
//! offset  size  header                    a bucket
//!      0     8  magic "BORG_IDX"          32 bytes key, then the value: numbers of 4 bytes,
//!      8     4  number of entries         little endian. The first of them marks the bucket as
//!     12     4  number of buckets         empty (0xffffffff) or deleted (0xfffffffe).
//!     16     1  key size, 32
//!     17     1  value size, 8 or 12       then the buckets, without padding
//! ```
//!
//! In memory the buckets are the same bytes, so that a file is loaded and saved with one read and
//! one write. A key stands at the first free bucket from (its first four bytes modulo the number
//! of buckets) on, around the end; tombstones keep the way to later ones open. Sizes and the
//! moments of resizing are those of Borg (`_hashindex.c`), so that it finds what it expects.

mod layout;

use std::marker::PhantomData;

pub use self::layout::{ChunkIndexLayout, LayoutError};
use crate::id::{ChunkId, EntryOffset, SegmentNumber};

/// The first bytes of the file.
pub const MAGIC: [u8; 8] = *b"BORG_IDX";
/// Length of the header.
pub const HEADER_LEN: usize = 18;
/// Highest number that may stand first in a value.
pub const MAX_FIRST: u32 = 4_294_966_271;

const KEY_LEN: usize = 32;
const EMPTY: u32 = u32::MAX;
const DELETED: u32 = u32::MAX - 1;

/// Numbers of buckets that Borg uses.
const SIZES: [u32; 58] = [
    1031, 2053, 4099, 8209, 16411, 32771, 65537, 131101, 262147, 445649, 757607, 1287917, 2189459,
    3065243, 4291319, 6007867, 8410991, 11775359, 16485527, 23079703, 27695653, 33234787, 39881729,
    47858071, 57429683, 68915617, 82698751, 99238507, 119086189, 144378011, 157223263, 173476439,
    190253911, 209915011, 230493629, 253169431, 278728861, 306647623, 337318939, 370742809,
    408229973, 449387209, 493428073, 543105119, 596976533, 657794869, 722676499, 795815791,
    874066969, 962279771, 1057701643, 1164002657, 1280003147, 1407800297, 1548442699, 1703765389,
    1873768367, 2062383853,
];

/// A value as it is stored behind a key. `BUCKET` is the length of both.
pub trait IndexValue<const BUCKET: usize>: Copy {
    /// Takes it out of a bucket.
    fn load(bucket: &[u8; BUCKET]) -> Self;
    /// Puts it into a bucket.
    fn store(self, bucket: &mut [u8; BUCKET]);
    /// The number that stands first, at most [`MAX_FIRST`].
    fn first(self) -> u32;
}

fn number_at<const BUCKET: usize>(bucket: &[u8; BUCKET], at: usize) -> u32 {
    bucket
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(EMPTY, |bytes| u32::from_le_bytes(*bytes))
}

fn set_number<const BUCKET: usize>(bucket: &mut [u8; BUCKET], at: usize, number: u32) {
    if let Some(place) = bucket.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = number.to_le_bytes();
    }
}

/// Where the current PUT of an object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The segment.
    pub segment: SegmentNumber,
    /// The entry in it.
    pub offset: EntryOffset,
}

impl IndexValue<40> for Location {
    fn load(bucket: &[u8; 40]) -> Self {
        Self {
            segment: SegmentNumber(number_at(bucket, 32)),
            offset: EntryOffset(number_at(bucket, 36)),
        }
    }

    fn store(self, bucket: &mut [u8; 40]) {
        set_number(bucket, 32, self.segment.0);
        set_number(bucket, 36, self.offset.0);
    }

    fn first(self) -> u32 {
        self.segment.0
    }
}

/// How often a chunk is used, and its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkUse {
    /// Number of references; [`MAX_FIRST`] stands for at least as many.
    pub refcount: u32,
    /// Bytes of plaintext.
    pub size: u32,
    /// Bytes in the repository.
    pub csize: u32,
}

impl IndexValue<44> for ChunkUse {
    fn load(bucket: &[u8; 44]) -> Self {
        Self {
            refcount: number_at(bucket, 32),
            size: number_at(bucket, 36),
            csize: number_at(bucket, 40),
        }
    }

    fn store(self, bucket: &mut [u8; 44]) {
        set_number(bucket, 32, self.refcount);
        set_number(bucket, 36, self.size);
        set_number(bucket, 40, self.csize);
    }

    fn first(self) -> u32 {
        self.refcount
    }
}

/// The index of a repository: where each object stands.
pub type RepositoryIndex = HashIndex<Location, 40>;
/// The chunk index of a client.
pub type ChunkIndex = HashIndex<ChunkUse, 44>;

/// Why a hash index cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashIndexError {
    /// The file does not begin like a hash index.
    #[error("not a hash index")]
    Magic,
    /// It has keys or values of another length.
    #[error("hash index has keys of {key} and values of {value} bytes")]
    Sizes {
        /// Length of keys.
        key: u8,
        /// Length of values.
        value: u8,
    },
    /// Its numbers contradict each other or the length of the file.
    #[error("hash index of {entries} entries in {buckets} buckets does not fit the file")]
    Numbers {
        /// Number of entries.
        entries: i32,
        /// Number of buckets.
        buckets: i32,
    },
    /// The buckets hold another number of entries than the header says.
    #[error("hash index should have {expected} entries, has {found}")]
    Count {
        /// What the header says.
        expected: usize,
        /// What was counted.
        found: usize,
    },
}

/// A table of values by id, in the layout of the file.
#[derive(Clone)]
pub struct HashIndex<V, const BUCKET: usize> {
    buckets: Vec<[u8; BUCKET]>,
    /// Magic number for a quick remainder of the division by the number of buckets.
    reciprocal: u64,
    entries: usize,
    empty: usize,
    value: PhantomData<V>,
}

impl<V: IndexValue<BUCKET>, const BUCKET: usize> Default for HashIndex<V, BUCKET> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<V: IndexValue<BUCKET>, const BUCKET: usize> HashIndex<V, BUCKET> {
    const EMPTY_BUCKET: [u8; BUCKET] = {
        let mut bucket = [0; BUCKET];
        let mut at = KEY_LEN;
        while at < KEY_LEN + 4 {
            #[expect(
                clippy::indexing_slicing,
                reason = "evaluated by the compiler, which would refuse to go on"
            )]
            {
                bucket[at] = 0xff;
            }
            at += 1;
        }
        bucket
    };

    /// Makes an empty table with at least this number of buckets.
    pub fn with_capacity(buckets: usize) -> Self {
        let last = 2_062_383_853;
        let size = SIZES
            .iter()
            .map(|&size| size as usize)
            .find(|&size| size >= buckets)
            .unwrap_or(last);
        Self::with_buckets(vec![Self::EMPTY_BUCKET; size], 0, size)
    }

    /// Makes a table that takes this number of entries without growing.
    pub fn for_entries(entries: usize) -> Self {
        Self::with_capacity(entries.saturating_add(entries / 3).saturating_add(2))
    }

    fn with_buckets(buckets: Vec<[u8; BUCKET]>, entries: usize, empty: usize) -> Self {
        Self {
            reciprocal: reciprocal(buckets.len()),
            buckets,
            entries,
            empty,
            value: PhantomData,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Tells whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Length of the file that this table makes.
    pub fn file_len(&self) -> u64 {
        HEADER_LEN as u64 + self.buckets.len() as u64 * BUCKET as u64
    }

    /// Returns the value of an id.
    #[inline]
    pub fn get(&self, id: &ChunkId) -> Option<V> {
        let at = self.find(id).ok()?;
        self.buckets.get(at).map(V::load)
    }

    /// Tells whether there is a value for the id.
    #[inline]
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.find(id).is_ok()
    }

    /// The bucket at which the search for an id begins.
    #[inline]
    fn start(&self, id: &ChunkId) -> usize {
        remainder(self.reciprocal, self.buckets.len(), id)
    }

    /// Finds the bucket of an id, or else the one to put it into.
    #[inline]
    fn find(&self, id: &ChunkId) -> Result<usize, usize> {
        let len = self.buckets.len();
        let mut at = self.start(id);
        let mut tombstone = None;
        for _ in 0..len {
            let Some(bucket) = self.buckets.get(at) else {
                break;
            };
            match number_at(bucket, KEY_LEN) {
                EMPTY => return Err(tombstone.unwrap_or(at)),
                DELETED => tombstone = tombstone.or(Some(at)),
                _ if bucket.first_chunk::<KEY_LEN>() == Some(id.as_bytes()) => return Ok(at),
                _ => {}
            }
            at += 1;
            if at == len {
                at = 0;
            }
        }
        Err(tombstone.unwrap_or(0))
    }

    /// Sets the value of an id and returns the one it had.
    ///
    /// A value that would be taken for a marker is stored with [`MAX_FIRST`] in its place: for
    /// reference counts that is what Borg does, segment numbers never come near.
    pub fn insert(&mut self, id: &ChunkId, value: V) -> Option<V> {
        let mut at = match self.find(id) {
            Ok(at) => {
                let bucket = self.buckets.get_mut(at)?;
                let before = V::load(bucket);
                Self::store(bucket, value);
                return Some(before);
            }
            Err(at) => at,
        };
        if self.entries > threshold(self.buckets.len(), 75) {
            // The place found belongs to the old table.
            self.resize(self.next_size());
            at = self.find(id).unwrap_or_else(|at| at);
        }
        if self.is_empty_at(at) {
            if self.empty <= 1 + threshold(self.buckets.len(), 7) {
                self.resize(self.buckets.len());
                at = self.find(id).unwrap_or_else(|at| at);
            }
            if self.is_empty_at(at) {
                self.empty = self.empty.saturating_sub(1);
            }
        }
        let bucket = self.buckets.get_mut(at)?;
        if let Some(key) = bucket.first_chunk_mut() {
            *key = *id.as_bytes();
        }
        Self::store(bucket, value);
        self.entries += 1;
        None
    }

    fn store(bucket: &mut [u8; BUCKET], value: V) {
        value.store(bucket);
        if value.first() > MAX_FIRST {
            set_number(bucket, KEY_LEN, MAX_FIRST);
        }
    }

    fn is_empty_at(&self, at: usize) -> bool {
        self.buckets
            .get(at)
            .is_some_and(|bucket| number_at(bucket, KEY_LEN) == EMPTY)
    }

    /// Removes an id and returns the value it had.
    pub fn remove(&mut self, id: &ChunkId) -> Option<V> {
        let at = self.find(id).ok()?;
        let bucket = self.buckets.get_mut(at)?;
        let before = V::load(bucket);
        set_number(bucket, KEY_LEN, DELETED);
        self.entries -= 1;
        let smaller = self.previous_size();
        if self.entries < threshold(self.buckets.len(), 25) && smaller < self.buckets.len() {
            self.resize(smaller);
        }
        Some(before)
    }

    /// The size after the present one, counted from the smallest of the list not below it.
    fn next_size(&self) -> usize {
        let len = self.buckets.len();
        let mut larger = SIZES
            .iter()
            .map(|&size| size as usize)
            .filter(|&size| size >= len);
        let this = larger.next();
        larger.next().or(this).unwrap_or(len).max(len)
    }

    fn previous_size(&self) -> usize {
        let len = self.buckets.len();
        let first = 1031;
        if len <= first {
            return len;
        }
        SIZES
            .iter()
            .rev()
            .map(|&size| size as usize)
            .find(|&size| size < len)
            .unwrap_or(first)
    }

    fn resize(&mut self, size: usize) {
        if size == self.buckets.len() && self.entries + self.empty == size {
            return;
        }
        let mut table = Self::with_buckets(vec![Self::EMPTY_BUCKET; size], 0, size);
        for bucket in self.live_buckets() {
            let Some(key) = bucket.first_chunk() else {
                continue;
            };
            if let Err(at) = table.find(&ChunkId::new(*key))
                && let Some(place) = table.buckets.get_mut(at)
            {
                *place = *bucket;
                table.entries += 1;
                table.empty -= 1;
            }
        }
        *self = table;
    }

    fn live_buckets(&self) -> impl Iterator<Item = &[u8; BUCKET]> {
        self.buckets
            .iter()
            .filter(|bucket| number_at(bucket, KEY_LEN) < DELETED)
    }

    /// All entries, in the order of the buckets.
    pub fn iter(&self) -> impl Iterator<Item = (ChunkId, V)> {
        self.live_buckets().filter_map(read_bucket)
    }

    /// The entries in the buckets after that of `id`, if it is there.
    pub fn iter_after(&self, id: &ChunkId) -> Option<impl Iterator<Item = (ChunkId, V)>> {
        let at = self.find(id).ok()?;
        let rest = self.buckets.get(at + 1..).unwrap_or_default();
        Some(
            rest.iter()
                .filter(|bucket| number_at(bucket, KEY_LEN) < DELETED)
                .filter_map(read_bucket),
        )
    }

    /// The header of the file.
    pub fn header(&self) -> [u8; HEADER_LEN] {
        header(self.entries, self.buckets.len(), BUCKET - KEY_LEN)
    }

    /// The rest of the file.
    pub fn bucket_bytes(&self) -> &[u8] {
        self.buckets.as_flattened()
    }
}

fn read_bucket<V: IndexValue<BUCKET>, const BUCKET: usize>(
    bucket: &[u8; BUCKET],
) -> Option<(ChunkId, V)> {
    let key = bucket.first_chunk()?;
    Some((ChunkId::new(*key), V::load(bucket)))
}

/// The magic number for remainders of a division by a number of buckets.
fn reciprocal(buckets: usize) -> u64 {
    (u64::MAX / buckets.max(1) as u64).wrapping_add(1)
}

/// The bucket at which the search for an id begins: the remainder of a division by a number
/// that never changes, with two multiplications (Lemire, Kaser, Kurz: Faster remainder).
#[inline]
fn remainder(reciprocal: u64, buckets: usize, id: &ChunkId) -> usize {
    let [a, b, c, d, ..] = *id.as_bytes();
    let low = reciprocal.wrapping_mul(u64::from(u32::from_le_bytes([a, b, c, d])));
    ((u128::from(low) * buckets as u128) >> 64) as usize
}

fn header(entries: usize, buckets: usize, value: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let parts = MAGIC
        .into_iter()
        .chain((entries as u32).to_le_bytes())
        .chain((buckets as u32).to_le_bytes())
        .chain([KEY_LEN as u8, value as u8]);
    for (place, byte) in header.iter_mut().zip(parts) {
        *place = byte;
    }
    header
}

/// A share of the number of buckets, rounded down.
fn threshold(buckets: usize, percent: usize) -> usize {
    (buckets as u64 * percent as u64 / 100) as usize
}

/// A hash index that is being read: the header is there, the buckets are to come.
pub struct Loading<V, const BUCKET: usize> {
    buckets: Vec<[u8; BUCKET]>,
    entries: usize,
    value: PhantomData<V>,
}

impl<V: IndexValue<BUCKET>, const BUCKET: usize> Loading<V, BUCKET> {
    /// Reads the header of a file of the given length and reserves memory for the rest.
    ///
    /// # Errors
    /// When it is no hash index, or one of other values, or does not fit the file.
    pub fn begin(header: &[u8; HEADER_LEN], file_len: u64) -> Result<Self, HashIndexError> {
        let Some(numbers) = header.strip_prefix(&MAGIC) else {
            return Err(HashIndexError::Magic);
        };
        let &[e0, e1, e2, e3, b0, b1, b2, b3, key, value] = numbers else {
            return Err(HashIndexError::Magic);
        };
        if usize::from(key) != KEY_LEN || usize::from(value) != BUCKET - KEY_LEN {
            return Err(HashIndexError::Sizes { key, value });
        }
        let entries = i32::from_le_bytes([e0, e1, e2, e3]);
        let buckets = i32::from_le_bytes([b0, b1, b2, b3]);
        let wrong = HashIndexError::Numbers { entries, buckets };
        let bucket_count = usize::try_from(buckets).map_err(|_| wrong)?;
        let entry_count = usize::try_from(entries).map_err(|_| wrong)?;
        let expected_len = HEADER_LEN as u64 + bucket_count as u64 * BUCKET as u64;
        if bucket_count == 0 || entry_count > bucket_count || file_len != expected_len {
            return Err(wrong);
        }
        Ok(Self {
            buckets: vec![[0; BUCKET]; bucket_count],
            entries: entry_count,
            value: PhantomData,
        })
    }

    /// The memory into which the rest of the file is to be read.
    pub fn bucket_bytes_mut(&mut self) -> &mut [u8] {
        self.buckets.as_flattened_mut()
    }

    /// Takes the table into use.
    ///
    /// # Errors
    /// When the buckets do not hold as many entries as the header says.
    pub fn finish(self) -> Result<HashIndex<V, BUCKET>, HashIndexError> {
        let mut found = 0;
        let mut empty = 0;
        for bucket in &self.buckets {
            match number_at(bucket, KEY_LEN) {
                EMPTY => empty += 1,
                DELETED => {}
                _ => found += 1,
            }
        }
        if found != self.entries {
            return Err(HashIndexError::Count {
                expected: self.entries,
                found,
            });
        }
        let mut table = HashIndex::with_buckets(self.buckets, found, empty);
        if empty <= 1 + threshold(table.buckets.len(), 7) {
            // Tombstones, or an unusual load: searches must end soon.
            let size = if found > threshold(table.buckets.len(), 75) {
                table.next_size()
            } else {
                table.buckets.len()
            };
            table.resize(size);
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests;
