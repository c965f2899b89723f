//! Writing segments: a buffer in front of the open one, and what makes the closed ones durable.
//!
//! The order is that of Borg: entries, then the data on disk, then the COMMIT, then that on disk.
//! Closed segments are synced by threads while the next one is being written; a COMMIT waits for
//! all of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use fastness_format::hash_index::Location;
use fastness_format::id::{ChunkId, EntryOffset, SegmentNumber};
use fastness_format::segment::{self, DamageKind, PUT_HEADER_LEN, PutHeader};
use fastness_sys::sync;
use rustix::fs::Advice;

use super::segments::{Segments, integrity};
use crate::error::{RepositoryError, Result};
use crate::storage;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;
/// Values from this length on are written from where they are.
const DIRECT_BYTES: usize = 64 * 1024;
/// Bytes after which the kernel is told to begin writing to disk.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;
/// Most closed segments that may still be on their way to disk.
const MAX_SYNCING: usize = 2;

/// The segment that is being written.
#[derive(Debug)]
struct OpenSegment {
    number: u32,
    path: PathBuf,
    file: Arc<File>,
    buffer: Vec<u8>,
    /// Bytes that are in the file.
    written: u64,
    /// Bytes that the kernel was told to write to disk.
    pushed: u64,
}

impl OpenSegment {
    fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn append(&mut self, head: &[u8], value: &[u8]) -> Result<EntryOffset> {
        let _stage = tracing::trace_span!("append").entered();
        let offset = u32::try_from(self.len()).map_err(|_| {
            RepositoryError::Integrity(format!("segment {} is too long", self.number))
        })?;
        self.buffer.extend_from_slice(head);
        if value.len() < DIRECT_BYTES {
            self.buffer.extend_from_slice(value);
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush(&[])?;
            }
        } else {
            self.flush(value)?;
        }
        Ok(EntryOffset(offset))
    }

    /// Writes the buffer, and `more` after it.
    fn flush(&mut self, more: &[u8]) -> Result<()> {
        storage::write_all(&self.file, &self.path, &[&self.buffer, more])?;
        self.written += (self.buffer.len() + more.len()) as u64;
        self.buffer.clear();
        if self.written - self.pushed >= WRITEBACK_BYTES {
            let len = self.written - self.pushed;
            sync::start_writeback(&*self.file, self.pushed, len);
            self.pushed = self.written;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        storage::sync_data(&self.file, &self.path)?;
        storage::advise(&self.file, 0, 0, Advice::DontNeed);
        Ok(())
    }
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    /// Number of the next segment.
    next: u32,
    max_segment_size: u64,
    open: Option<OpenSegment>,
    syncing: Vec<JoinHandle<Result<()>>>,
    /// Directories with new names that are not durable yet.
    dirs: Vec<PathBuf>,
}

impl Writer {
    /// Goes on after segment `last`.
    pub(super) fn after(last: Option<u32>, max_segment_size: u64) -> Self {
        Self {
            next: last.map_or(0, |last| last.saturating_add(1)),
            max_segment_size,
            open: None,
            syncing: Vec::new(),
            dirs: Vec::new(),
        }
    }

    /// Tells whether the next entry of this id would close the open segment.
    pub(super) fn is_full_for(&self, id: &ChunkId) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.len() > self.max_segment_size || *id == ChunkId::MANIFEST)
    }

    /// Appends a PUT.
    pub(super) fn put(
        &mut self,
        segments: &Segments,
        id: &ChunkId,
        value: &[u8],
    ) -> Result<Location> {
        let Some(header) = segment::put_header(id, value) else {
            return Err(RepositoryError::Integrity(format!(
                "More than allowed put data [{} > {}]",
                value.len(),
                segment::MAX_VALUE_LEN
            )));
        };
        self.append(segments, id, &header, value)
    }

    /// Appends a DELETE.
    pub(super) fn delete(&mut self, segments: &Segments, id: &ChunkId) -> Result<Location> {
        self.append(segments, id, &segment::delete_entry(id), &[])
    }

    fn append(
        &mut self,
        segments: &Segments,
        id: &ChunkId,
        head: &[u8; PUT_HEADER_LEN],
        value: &[u8],
    ) -> Result<Location> {
        if self.is_full_for(id) {
            self.close_open()?;
        }
        let open = self.open_segment(segments)?;
        let offset = open.append(head, value)?;
        Ok(Location {
            segment: SegmentNumber(open.number),
            offset,
        })
    }

    fn open_segment(&mut self, segments: &Segments) -> Result<&mut OpenSegment> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.create(segments)?,
        };
        Ok(self.open.insert(open))
    }

    fn create(&mut self, segments: &Segments) -> Result<OpenSegment> {
        let number = self.next;
        if number > SegmentNumber::MAX.0 {
            let reason = "no segment numbers are left".to_owned();
            return Err(RepositoryError::Integrity(reason));
        }
        let dir = segments.dir(number);
        if storage::create_dir(&dir)? {
            storage::sync_dir(segments.data_dir())?;
        }
        let path = segments.path(number);
        let file = storage::create_new(&path)?;
        segments.forget(number);
        self.next = number.saturating_add(1);
        if !self.dirs.contains(&dir) {
            self.dirs.push(dir);
        }
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + DIRECT_BYTES);
        buffer.extend_from_slice(&segment::MAGIC);
        Ok(OpenSegment {
            number,
            path,
            file: Arc::new(file),
            buffer,
            written: 0,
            pushed: 0,
        })
    }

    /// Closes the open segment and lets a thread sync it.
    fn close_open(&mut self) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        open.flush(&[])?;
        if self.syncing.len() >= MAX_SYNCING {
            join(self.syncing.remove(0))?;
        }
        self.syncing.push(std::thread::spawn(move || open.sync()));
        Ok(())
    }

    /// Waits until all closed segments and their names are durable.
    fn sync_all(&mut self) -> Result<()> {
        let _stage = tracing::trace_span!("sync").entered();
        let results: Vec<_> = self.syncing.drain(..).map(join).collect();
        results.into_iter().collect::<Result<()>>()?;
        for dir in std::mem::take(&mut self.dirs) {
            storage::sync_dir(&dir)?;
        }
        Ok(())
    }

    /// Closes the open segment and makes all of them durable.
    pub(super) fn complete(&mut self) -> Result<()> {
        self.close_open()?;
        self.sync_all()
    }

    /// Makes everything durable, then writes a COMMIT as a segment of its own, then makes that
    /// durable. Returns its number.
    pub(super) fn commit(&mut self, segments: &Segments) -> Result<u32> {
        self.complete()?;
        let mut open = self.create(segments)?;
        open.append(&segment::COMMIT, &[])?;
        self.finish(open)
    }

    /// As [`Writer::commit`], with the COMMIT at the end of the open segment.
    pub(super) fn commit_in_place(&mut self, segments: &Segments) -> Result<u32> {
        let Some(mut open) = self.open.take() else {
            return self.commit(segments);
        };
        open.flush(&[])?;
        open.sync()?;
        self.sync_all()?;
        open.append(&segment::COMMIT, &[])?;
        self.finish(open)
    }

    fn finish(&mut self, mut open: OpenSegment) -> Result<u32> {
        open.flush(&[])?;
        open.sync()?;
        self.dirs.clear();
        storage::sync_dir(storage::parent(&open.path))?;
        Ok(open.number)
    }

    /// Returns the path of the open segment with the bytes that are not in its file yet, if the
    /// entry is among them.
    pub(super) fn read_unwritten(&self, at: Location, id: &ChunkId) -> Option<Result<Vec<u8>>> {
        let (header, entry) = self.unwritten(at, id)?;
        Some(header.and_then(|header| {
            let end = header.entry_len();
            let value = entry.get(PUT_HEADER_LEN..end).unwrap_or_default();
            header.verify(value).map_err(|kind| integrity(at, kind))?;
            Ok(value.to_vec())
        }))
    }

    /// As [`Segments::entry_len`], for an entry that is not in a file yet.
    pub(super) fn unwritten_len(&self, at: Location, id: &ChunkId) -> Option<Result<usize>> {
        let (header, _) = self.unwritten(at, id)?;
        Some(header.map(|header| header.entry_len()))
    }

    fn unwritten(&self, at: Location, id: &ChunkId) -> Option<(Result<PutHeader>, &[u8])> {
        let open = self.open.as_ref()?;
        if open.number != at.segment.0 {
            return None;
        }
        let start = u64::from(at.offset.0).checked_sub(open.written)?;
        let entry = open.buffer.get(usize::try_from(start).ok()?..)?;
        let header = entry
            .first_chunk()
            .ok_or(DamageKind::ShortHeader(entry.len()))
            .and_then(|bytes| PutHeader::parse(bytes, id))
            .map_err(|kind| integrity(at, kind));
        Some((header, entry))
    }
}

impl Drop for Writer {
    /// Waits for the threads, so that nothing is written after the end of a transaction.
    fn drop(&mut self) {
        for thread in self.syncing.drain(..) {
            // The transaction is given up: whether its data is durable does not matter.
            let _ = join(thread);
        }
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => Err(storage::failed("fdatasync", Path::new("data"))(
            std::io::Error::other("the thread that syncs segments panicked"),
        )),
    }
}
