//! Writing the next generation while a create runs.
//!
//! Records go to a temporary file at once, so that memory holds only the index: eight bytes a
//! file. At the end the entries of earlier runs that were not seen are carried over, and those
//! that may have changed within the resolution of their timestamps are marked dead.

use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness_format::id::{ChunkId, RepositoryId};
use fastness_sys::memory::MappedFile;
use twox_hash::XxHash64;

use super::reader::{Kept, home, read_record};
use super::{
    DEAD, Entry, FileKey, FilesCache, HEADER, MAGIC, MAX_CHUNKS, RECORD, SLOT, UNIT, checksum,
};
use crate::cache::Replacement;

/// Writes what this run learns about files. Calls come in the order of the walk.
#[derive(Debug)]
pub struct FilesCacheWriter {
    old: Arc<FilesCache>,
    /// Which records of the old generation have a successor, by offset / 16.
    seen: Vec<u64>,
    path: PathBuf,
    repository: RepositoryId,
    ttl: u32,
    file: Replacement,
    /// Bytes of records written.
    written: usize,
    /// Key tag and place of each record.
    places: Vec<(u32, u32)>,
    /// Newest time of the files that this run read, not of those found unchanged.
    newest: Option<i64>,
    buffer: Vec<u8>,
    ids: Vec<[u8; 32]>,
}

impl FilesCacheWriter {
    /// Begins a generation that will replace the file at `path`; `old` is the one before. Entries
    /// of files not seen are given up after `ttl` runs.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(
        path: &Path,
        repository: &RepositoryId,
        old: Arc<FilesCache>,
        ttl: u32,
    ) -> io::Result<Self> {
        let mut file = Replacement::create(path)?;
        file.write(&[0; HEADER])?;
        Ok(Self {
            seen: vec![0; old.records / UNIT / 64 + 1],
            old,
            path: path.to_owned(),
            repository: *repository,
            ttl,
            file,
            written: 0,
            places: Vec::new(),
            newest: None,
            buffer: Vec::new(),
            ids: Vec::new(),
        })
    }

    /// Remembers a regular file that was found unchanged, or was read and did not change
    /// meanwhile: what [`FilesCache::look_up`] is to be asked for next time, and its chunks.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(
        &mut self,
        key: &FileKey,
        inode: u64,
        size: u64,
        changed: i64,
        chunks: impl IntoIterator<Item = ChunkId>,
    ) -> io::Result<()> {
        let mut ids = std::mem::take(&mut self.ids);
        ids.clear();
        ids.extend(chunks.into_iter().map(|id| *id.as_bytes()));
        let old = Arc::clone(&self.old);
        let known = old.find(key);
        if let Some(entry) = &known {
            self.mark_seen(entry.offset);
        }
        let is_new = known.is_none_or(|entry| {
            entry.changed != changed || entry.size != size || entry.ids != ids.as_slice()
        });
        let result = if ids.len() > MAX_CHUNKS {
            Ok(())
        } else {
            if is_new {
                self.newest = self.newest.max(Some(changed));
            }
            self.append(&Entry {
                key: *key,
                inode,
                size,
                changed,
                age: 0,
                ids: &ids,
                offset: 0,
                end: 0,
            })
        };
        self.ids = ids;
        result
    }

    /// Remembers a file that was found unchanged, by the record that [`FilesCache::look_up`] found.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&mut self, key: &FileKey, kept: Kept) -> io::Result<()> {
        self.mark_seen(kept.offset);
        let old = Arc::clone(&self.old);
        match old.bytes_of(kept) {
            Some(record) => self.append_record(key, record),
            None => Ok(()),
        }
    }

    fn mark_seen(&mut self, offset: usize) {
        let unit = offset / UNIT;
        if let Some(word) = self.seen.get_mut(unit / 64) {
            *word |= 1 << (unit % 64);
        }
    }

    fn was_seen(&self, offset: usize) -> bool {
        let unit = offset / UNIT;
        let word = self.seen.get(unit / 64).copied().unwrap_or_default();
        word >> (unit % 64) & 1 == 1
    }

    fn append(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        encode_record(entry, &mut buffer);
        let result = self.append_record(&entry.key, &buffer);
        self.buffer = buffer;
        result
    }

    fn append_record(&mut self, key: &FileKey, record: &[u8]) -> io::Result<()> {
        // A place is 32 bits: 64 GiB of records, for more than half a billion files.
        let Ok(place) = u32::try_from(self.written / UNIT + 1) else {
            return Ok(());
        };
        self.file.write(record)?;
        self.written += record.len();
        self.places.push((key.tag(), place));
        Ok(())
    }

    /// Puts what is known by now in the place of the old file, as if the run had ended, and goes
    /// on. For a checkpoint: the run may never end.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        self.file.writer()?.flush()?;
        let mut copy = self.path.clone().into_os_string();
        copy.push(".checkpoint");
        let mut copied = Self::create(
            Path::new(&copy),
            &self.repository,
            Arc::clone(&self.old),
            self.ttl,
        )?;
        copied.seen.clone_from(&self.seen);
        copied.places.clone_from(&self.places);
        copied.newest = self.newest;
        copied.written = self.written;
        let writer = self.file.writer()?;
        let end = writer.stream_position()?;
        writer.seek(SeekFrom::Start(0))?;
        copied.file.writer()?.seek(SeekFrom::Start(0))?;
        io::copy(&mut writer.get_ref(), copied.file.writer()?)?;
        writer.seek(SeekFrom::Start(end))?;
        copied.file.target.clone_from(&self.path);
        copied.finish()
    }

    /// Completes the generation and puts it in the place of the old one.
    ///
    /// Whether the chunks named in it are there is asked again when it is used.
    ///
    /// # Errors
    /// When the file cannot be written; the old one stays then.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(newest) = self.newest {
            self.drop_newest(newest)?;
        }
        self.carry_over()?;
        let slots = self.write_index()?;
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(self.repository.as_bytes());
        for number in [self.written, self.places.len(), slots] {
            header.extend_from_slice(&(number as u64).to_le_bytes());
        }
        let check = XxHash64::oneshot(0, &header);
        header.extend_from_slice(&check.to_le_bytes());
        let writer = self.file.writer()?;
        writer.flush()?;
        writer.get_ref().write_all_at(&header, 0)?;
        // Not made durable: records carry checksums, and a lost cache only costs time.
        self.file.commit(false)
    }

    /// Marks the entries of this run dead that are not older than the newest file remembered: such
    /// a file could be changed once more within the same tick of the clock, or of a snapshot.
    fn drop_newest(&mut self, newest: i64) -> io::Result<()> {
        let writer = self.file.writer()?;
        writer.flush()?;
        let file = writer.get_ref();
        let map = MappedFile::open(file)?;
        let records = map.get(HEADER..).unwrap_or_default();
        let mut dead = Vec::new();
        let mut offset = 0;
        while let Some(entry) = read_record(records, offset, None) {
            offset = entry.end;
            if entry.changed >= newest {
                encode_record(&Entry { age: DEAD, ..entry }, &mut self.buffer);
                dead.push((entry.offset, self.buffer.first_chunk::<RECORD>().copied()));
            }
        }
        // The map must not see the file change.
        drop(map);
        for (offset, head) in dead {
            let head = head.unwrap_or([0; RECORD]);
            file.write_all_at(&head, (HEADER + offset) as u64)?;
        }
        Ok(())
    }

    /// Appends the entries of earlier runs that were not seen in this one and are not too old.
    fn carry_over(&mut self) -> io::Result<()> {
        let old = Arc::clone(&self.old);
        let mut offset = 0;
        loop {
            if self.was_seen(offset)
                && let Some(end) = old.end_of(offset)
            {
                offset = end;
                continue;
            }
            let Some(entry) = old.entry_at(offset, None) else {
                return Ok(());
            };
            offset = entry.end;
            let age = entry.age.saturating_add(1);
            if entry.age != DEAD && age != DEAD && u32::from(age) < self.ttl {
                self.append(&Entry { age, ..entry })?;
            }
        }
    }

    /// Appends the index and returns the number of its slots.
    fn write_index(&mut self) -> io::Result<usize> {
        let slots = match self.places.len() {
            0 => 0,
            records => records + records / 2 + 1,
        };
        let mut index = vec![[0; SLOT]; slots];
        for (tag, place) in &self.places {
            let home = home(*tag, slots);
            let mut slot = [0; SLOT];
            slot.iter_mut()
                .zip(tag.to_le_bytes().into_iter().chain(place.to_le_bytes()))
                .for_each(|(to, from)| *to = from);
            let free = |slot: &&mut [u8; SLOT]| **slot == [0; SLOT];
            let (before, after) = index.split_at_mut(home);
            if let Some(empty) = after.iter_mut().chain(before).find(free) {
                *empty = slot;
            }
        }
        self.file.write(index.as_flattened())?;
        Ok(slots)
    }
}

fn encode_record(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let [low, middle, high, _] = (entry.ids.len() as u32).to_le_bytes();
    out.clear();
    out.extend_from_slice(&[0, 0, 0, 0, entry.age, low, middle, high]);
    out.extend_from_slice(&entry.key.0);
    out.extend_from_slice(&entry.inode.to_le_bytes());
    out.extend_from_slice(&entry.size.to_le_bytes());
    out.extend_from_slice(&entry.changed.to_le_bytes());
    out.extend_from_slice(entry.ids.as_flattened());
    if let Some((check, rest)) = out.split_first_chunk_mut::<4>() {
        *check = checksum(rest).to_le_bytes();
    }
}
