//! The file of a chunk index made in pieces, from entries that are kept elsewhere.
//!
//! The pieces are windows on the buckets. For each the entries are visited once more, and those
//! that belong into it are put in; what does not fit at its end goes to the beginning of the next
//! one, and from the end of the last to the beginning of the first. So memory does not grow with
//! the file, at the price of visiting the entries once per window: there are few of them.

use super::{ChunkUse, HEADER_LEN, IndexValue, KEY_LEN, MAX_FIRST, SIZES, number_at};
use crate::id::ChunkId;

const BUCKET: usize = 44;
type Bucket = [u8; BUCKET];

/// How full a file may be.
const MOST_PERCENT: usize = 85;
/// Least number of buckets in a window, 16 MiB.
const WINDOW: usize = 16 * 1024 * 1024 / BUCKET;
/// Most windows there are, which are the times the entries are visited, but for one.
const WINDOWS: usize = 16;

/// Why the file cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError<E: std::error::Error + 'static> {
    /// There are more entries than the format can hold.
    #[error("too many entries for a hash index")]
    TooMany,
    /// The entries are not those that were counted, or no hashes.
    #[error("entries changed while they were written")]
    Changed,
    /// The bytes cannot be written.
    #[error(transparent)]
    Write(#[from] E),
}

/// The shape of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkIndexLayout {
    entries: usize,
    buckets: usize,
    window: usize,
}

impl ChunkIndexLayout {
    /// Finds the shape for a number of entries: of the sizes that Borg uses, the smallest in which
    /// entries are found quickly. Borg itself would begin the next one at 75 %, and does so as soon
    /// as it adds an entry; to write the smaller one takes half the time.
    pub fn new(entries: usize) -> Self {
        let fits = |&&size: &&u32| super::threshold(size as usize, MOST_PERCENT) >= entries;
        let last = SIZES.last().copied().unwrap_or(u32::MAX);
        let buckets = SIZES.iter().find(fits).copied().unwrap_or(last) as usize;
        Self {
            entries,
            buckets,
            window: WINDOW.max(buckets.div_ceil(WINDOWS)),
        }
    }

    /// The header of the file.
    pub fn header(&self) -> [u8; HEADER_LEN] {
        super::header(self.entries, self.buckets, BUCKET - KEY_LEN)
    }

    /// Makes the rest of the file: `visit` calls its argument for every entry, in the same order
    /// each time, and `put` takes the bytes.
    ///
    /// # Errors
    /// When there are other entries than were said, or `put` fails.
    pub fn write<E: std::error::Error + 'static>(
        &self,
        visit: impl Fn(&mut dyn FnMut(&ChunkId, ChunkUse)),
        mut put: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), LayoutError<E>> {
        if super::threshold(self.buckets, MOST_PERCENT) < self.entries {
            return Err(LayoutError::TooMany);
        }
        let mut window = Window::new(self);
        let last = self.buckets.div_ceil(self.window) - 1;
        // What comes round from the end has to be known at the beginning.
        window.fill(self, last, Vec::new(), &visit);
        let around = std::mem::take(&mut window.overflow);
        let mut carry = around.clone();
        let mut written = 0;
        for number in 0..=last {
            if last == 0 {
                window.settle(carry);
            } else {
                window.fill(self, number, carry, &visit);
            }
            written += window.used;
            put(window.buckets.as_flattened())?;
            carry = std::mem::take(&mut window.overflow);
        }
        let whole = written == self.entries && (last == 0 || carry == around);
        whole.then_some(()).ok_or(LayoutError::Changed)
    }
}

/// Some buckets in a row.
struct Window {
    first: usize,
    buckets: Vec<Bucket>,
    used: usize,
    /// Entries that come after the last of the buckets.
    overflow: Vec<Bucket>,
    reciprocal: u64,
}

impl Window {
    fn new(layout: &ChunkIndexLayout) -> Self {
        Self {
            first: 0,
            buckets: Vec::new(),
            used: 0,
            overflow: Vec::new(),
            reciprocal: super::reciprocal(layout.buckets),
        }
    }

    /// Moves to the window of this number and fills it: first with what the one before left over.
    fn fill(
        &mut self,
        layout: &ChunkIndexLayout,
        number: usize,
        carry: Vec<Bucket>,
        visit: &impl Fn(&mut dyn FnMut(&ChunkId, ChunkUse)),
    ) {
        self.first = number * layout.window;
        let len = layout.window.min(layout.buckets - self.first);
        self.buckets.clear();
        self.buckets.resize(len, super::ChunkIndex::EMPTY_BUCKET);
        self.used = 0;
        self.overflow.clear();
        self.settle(carry);
        visit(&mut |id, value| {
            let start = super::remainder(self.reciprocal, layout.buckets, id);
            if let Some(start) = start.checked_sub(self.first)
                && start < len
            {
                let mut bucket = [0; BUCKET];
                if let Some(key) = bucket.first_chunk_mut() {
                    *key = *id.as_bytes();
                }
                let refcount = value.refcount.min(MAX_FIRST);
                ChunkUse { refcount, ..value }.store(&mut bucket);
                self.place(start, bucket);
            }
        });
    }

    /// Puts in what belongs to buckets before these.
    fn settle(&mut self, carry: Vec<Bucket>) {
        for bucket in carry {
            self.place(0, bucket);
        }
    }

    /// Puts an entry into the first free bucket.
    fn place(&mut self, start: usize, bucket: Bucket) {
        let from_start = self.buckets.iter_mut().skip(start);
        let mut free = from_start.filter(|bucket| number_at(bucket, KEY_LEN) == super::EMPTY);
        match free.next() {
            Some(place) => {
                *place = bucket;
                self.used += 1;
            }
            None => self.overflow.push(bucket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChunkIndex, Loading};
    use super::*;
    use std::convert::Infallible;

    fn entries(count: u32) -> Vec<(ChunkId, ChunkUse)> {
        let entry = |number: u32| {
            let mut id = [0; 32];
            let hash = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            id[..8].copy_from_slice(&hash.to_be_bytes());
            let value = ChunkUse {
                refcount: number + 1,
                size: number,
                csize: 3,
            };
            (ChunkId::new(id), value)
        };
        (0..count).map(entry).collect()
    }

    fn file(layout: &ChunkIndexLayout, entries: &[(ChunkId, ChunkUse)]) -> Vec<u8> {
        let mut bytes = layout.header().to_vec();
        let visit = |visit: &mut dyn FnMut(&ChunkId, ChunkUse)| {
            entries.iter().for_each(|(id, value)| visit(id, *value));
        };
        let put = |part: &[u8]| -> Result<(), Infallible> {
            bytes.extend_from_slice(part);
            Ok(())
        };
        layout.write(visit, put).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> ChunkIndex {
        let (header, rest) = bytes.split_first_chunk().unwrap();
        let mut loading = Loading::begin(header, bytes.len() as u64).unwrap();
        loading.bucket_bytes_mut().copy_from_slice(rest);
        loading.finish().unwrap()
    }

    #[test]
    fn every_entry_is_found_however_many_windows_there_are() {
        for count in [0, 1, 700, 5000] {
            let entries = entries(count);
            let mut layout = ChunkIndexLayout::new(entries.len());
            for window in [layout.buckets, 1000, 97] {
                layout.window = window;
                let index = read(&file(&layout, &entries));
                assert_eq!(index.len(), entries.len());
                for (id, value) in &entries {
                    assert_eq!(index.get(id), Some(*value), "{count} in {window}");
                }
            }
        }
    }

    #[test]
    fn entries_that_belong_at_the_end_come_round_to_the_beginning() {
        let mut entries = entries(300);
        let mut layout = ChunkIndexLayout::new(entries.len());
        for (number, (id, _)) in entries.iter_mut().enumerate() {
            let mut bytes = [0; 32];
            // The last bucket but five is the place of all.
            bytes[..4].copy_from_slice(&(layout.buckets as u32 - 6).to_le_bytes());
            bytes[4..6].copy_from_slice(&(number as u16).to_le_bytes());
            *id = ChunkId::new(bytes);
        }
        for window in [layout.buckets, 400] {
            layout.window = window;
            let index = read(&file(&layout, &entries));
            assert!(
                entries
                    .iter()
                    .all(|(id, value)| index.get(id) == Some(*value))
            );
        }
    }

    #[test]
    fn another_number_of_entries_than_was_said_is_an_error() {
        let entries = entries(10);
        let layout = ChunkIndexLayout::new(11);
        let visit = |visit: &mut dyn FnMut(&ChunkId, ChunkUse)| {
            entries.iter().for_each(|(id, value)| visit(id, *value));
        };
        let put = |_: &[u8]| -> Result<(), Infallible> { Ok(()) };
        assert!(matches!(
            layout.write(visit, put),
            Err(LayoutError::Changed)
        ));
    }

    #[test]
    fn the_smallest_size_of_borg_that_is_not_too_full_is_used() {
        for (entries, buckets) in [(0, 1031), (876, 1031), (877, 2053), (100_500, 131_101)] {
            assert_eq!(ChunkIndexLayout::new(entries).buckets, buckets, "{entries}");
        }
    }
}
