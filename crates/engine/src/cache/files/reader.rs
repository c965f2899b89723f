//! Looking files up in the generation that the last run left.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;

use fastness_format::id::{ChunkId, RepositoryId};
use fastness_sys::memory::MappedFile;
use twox_hash::XxHash64;

use super::{DEAD, FileKey, FilesCacheMode, HEADER, MAGIC, RECORD, SLOT, UNIT, checksum};

/// The files of earlier runs. May be used by many threads.
#[derive(Debug)]
pub struct FilesCache {
    map: Option<MappedFile>,
    pub(super) records: usize,
    slots: usize,
    mode: FilesCacheMode,
}

thread_local! {
    /// Where the last look-up of this thread ended; the next file is most likely right behind it.
    /// Wrong after another cache was asked, which costs one look-up by index.
    static CURSOR: Cell<usize> = const { Cell::new(0) };
}

/// What the cache says of a file.
#[derive(Debug, Clone)]
pub enum Known<'a> {
    /// Nothing.
    No,
    /// It was another when last seen.
    Changed,
    /// It is the same; if these chunks are still there it need not be read.
    Unchanged(ChunkIds<'a>, Option<Kept>),
}

/// Where the record of a file is that the next generation can take over as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub(super) offset: usize,
    pub(super) end: usize,
}

/// The ids of a file's chunks, in order.
#[derive(Debug, Clone)]
pub struct ChunkIds<'a>(std::slice::Iter<'a, [u8; 32]>);

impl Iterator for ChunkIds<'_> {
    type Item = ChunkId;

    fn next(&mut self) -> Option<ChunkId> {
        self.0.next().map(|id| ChunkId::new(*id))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for ChunkIds<'_> {}

/// A remembered file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: FileKey,
    pub inode: u64,
    pub size: u64,
    pub changed: i64,
    pub age: u8,
    pub ids: &'a [[u8; 32]],
    pub offset: usize,
    /// Offset of the record behind this one.
    pub end: usize,
}

impl FilesCache {
    /// Makes a cache that knows no file.
    pub fn empty(mode: FilesCacheMode) -> Self {
        Self {
            map: None,
            records: 0,
            slots: 0,
            mode,
        }
    }

    /// Opens the file that was written for this repository. Any other, and one that cannot be
    /// read or is damaged, is as good as empty.
    pub fn open(path: &Path, repository: &RepositoryId, mode: FilesCacheMode) -> Self {
        let map = match mode.is_enabled() {
            true => File::open(path)
                .and_then(|file| MappedFile::open(&file))
                .ok(),
            false => None,
        };
        let sizes = map
            .as_deref()
            .and_then(|bytes| check_header(bytes, repository));
        match sizes {
            Some((records, slots)) => Self {
                map,
                records,
                slots,
                mode,
            },
            None => Self::empty(mode),
        }
    }

    /// Returns the mode in which the cache is used.
    pub fn mode(&self) -> FilesCacheMode {
        self.mode
    }

    /// Looks a regular file up: its inode, its size in bytes, and the time that the
    /// [mode](FilesCacheMode::changed) compares.
    pub fn look_up(&self, key: &FileKey, inode: u64, size: u64, changed: i64) -> Known<'_> {
        if self.mode.rechunk {
            return Known::No;
        }
        match self.find(key) {
            None => Known::No,
            Some(entry) if self.mode.is_unchanged(&entry, inode, size, changed) => {
                let same = (0, inode, size, changed);
                let kept = Kept {
                    offset: entry.offset,
                    end: entry.end,
                };
                let kept = Some(kept)
                    .filter(|_| (entry.age, entry.inode, entry.size, entry.changed) == same);
                Known::Unchanged(ChunkIds(entry.ids.iter()), kept)
            }
            Some(_) => Known::Changed,
        }
    }

    /// Finds the record of a file, first where it is most likely.
    pub(super) fn find(&self, key: &FileKey) -> Option<Entry<'_>> {
        let next = self.entry_at(CURSOR.get(), Some(key));
        let entry = next.or_else(|| self.find_by_index(key))?;
        CURSOR.set(entry.end);
        (entry.age != DEAD).then_some(entry)
    }

    fn find_by_index(&self, key: &FileKey) -> Option<Entry<'_>> {
        let bytes = self.map.as_deref()?;
        let index = bytes.get(HEADER + self.records..)?.as_chunks::<SLOT>().0;
        let home = home(key.tag(), self.slots);
        let (before, after) = index.get(..self.slots)?.split_at_checked(home)?;
        for slot in after.iter().chain(before) {
            let (tag, place) = slot.split_first_chunk::<4>()?;
            let place = u32::from_le_bytes(*place.first_chunk()?);
            if place == 0 {
                return None;
            }
            if u32::from_le_bytes(*tag) == key.tag()
                && let Some(entry) = self.entry_at((place as usize - 1) * UNIT, Some(key))
            {
                return Some(entry);
            }
        }
        None
    }

    /// Returns the bytes of a record that was found to be whole.
    pub(super) fn bytes_of(&self, kept: Kept) -> Option<&[u8]> {
        let records = self.map.as_deref()?.get(HEADER..HEADER + self.records)?;
        records.get(kept.offset..kept.end)
    }

    /// Returns where the record ends that begins at an offset and was found to be whole before.
    pub(super) fn end_of(&self, offset: usize) -> Option<usize> {
        let records = self.map.as_deref()?.get(HEADER..HEADER + self.records)?;
        let (head, _) = records.get(offset..)?.split_first_chunk::<RECORD>()?;
        Some(offset + RECORD + chunks_of(head) * 32)
    }

    /// Returns the record at an offset, as [`read_record`] does.
    pub(super) fn entry_at(&self, offset: usize, wanted: Option<&FileKey>) -> Option<Entry<'_>> {
        let records = self.map.as_deref()?.get(HEADER..HEADER + self.records)?;
        read_record(records, offset, wanted)
    }
}

/// Reads the record at an offset, if it is whole and undamaged; with a key, only if it has that.
pub(super) fn read_record<'a>(
    records: &'a [u8],
    offset: usize,
    wanted: Option<&FileKey>,
) -> Option<Entry<'a>> {
    let record = records.get(offset..)?;
    let (head, rest) = record.split_first_chunk::<RECORD>()?;
    let (stored, fields) = head.split_first_chunk::<4>()?;
    let (info, fields) = fields.split_first_chunk::<4>()?;
    let (key, numbers) = fields.split_first_chunk::<16>()?;
    if wanted.is_some_and(|wanted| wanted.0 != *key) {
        return None;
    }
    let [age, ..] = *info;
    let (ids, _) = rest.split_at_checked(chunks_of(head) * 32)?;
    let end = RECORD + ids.len();
    if checksum(record.get(4..end)?) != u32::from_le_bytes(*stored) {
        return None;
    }
    let [inode, size, changed] = numbers.as_chunks::<8>().0 else {
        return None;
    };
    Some(Entry {
        key: FileKey(*key),
        inode: u64::from_le_bytes(*inode),
        size: u64::from_le_bytes(*size),
        changed: i64::from_le_bytes(*changed),
        age,
        ids: ids.as_chunks::<32>().0,
        end: offset + end,
        offset,
    })
}

/// The number of chunks that a record says it has.
fn chunks_of(head: &[u8; RECORD]) -> usize {
    let [_, _, _, _, _, low, middle, high, ..] = *head;
    u32::from_le_bytes([low, middle, high, 0]) as usize
}

/// The slot where the search for a key begins.
pub(super) fn home(tag: u32, slots: usize) -> usize {
    ((u64::from(tag) * slots as u64) >> 32) as usize
}

/// Returns the bytes of records and the slots of the index, if the header is right.
fn check_header(bytes: &[u8], repository: &RepositoryId) -> Option<(usize, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let (fields, stored) = header.split_last_chunk::<8>()?;
    let (identity, numbers) = fields.split_first_chunk::<48>()?;
    let right = *identity == *[&MAGIC[..], repository.as_bytes()].concat()
        && u64::from_le_bytes(*stored) == XxHash64::oneshot(0, fields);
    let [records, _, slots] = numbers.as_chunks::<8>().0 else {
        return None;
    };
    let records = usize::try_from(u64::from_le_bytes(*records)).ok()?;
    let slots = usize::try_from(u64::from_le_bytes(*slots)).ok()?;
    let len = slots.checked_mul(SLOT)?.checked_add(records)?;
    (right && rest.len() == len && records.is_multiple_of(UNIT)).then_some((records, slots))
}
