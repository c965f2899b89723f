//! The segment files of a repository: which there are, reading entries, verifying whole files.
//!
//! Reading takes `&self` and may be done by many threads; open files are shared. Writing is in
//! [`super::writer`].

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use fastness_format::hash_index::Location;
use fastness_format::id::{ChunkId, SegmentNumber};
use fastness_format::segment::{
    self, DamageKind, Entry, EntryHeader, PUT_HEADER_LEN, PutHeader, Scanner, SegmentDamage, Tag,
};
use rustix::fs::Advice;

use crate::Room;
use crate::error::{RepositoryError, Result};
use crate::storage;

/// Most segment files that are kept open for reading.
const MAX_OPEN_FILES: usize = 64;
/// Bytes read at once when a whole segment is read.
const PIECE_BYTES: usize = 512 * 1024;

/// The entries of one segment, or why they cannot be had.
pub(super) type Scanned = Result<Vec<Entry>, ScanError>;

/// Why a segment cannot be verified.
#[derive(Debug)]
pub(super) enum ScanError {
    /// Its content is damaged.
    Damaged(SegmentDamage),
    /// It cannot be read.
    Unreadable(RepositoryError),
}

impl From<ScanError> for RepositoryError {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Damaged(damage) => Self::Integrity(damage.to_string()),
            ScanError::Unreadable(error) => error,
        }
    }
}

/// A segment that is open for reading.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl SegmentFile {
    /// Appends `len` bytes from `offset` on to `buffer`, or fewer at the end of the file.
    pub(super) fn read_at(&self, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Result<()> {
        storage::read_at(&self.file, &self.path, offset, len, buffer)
    }
}

/// The open segments, and when each was last used.
#[derive(Debug, Default)]
struct OpenFiles {
    files: HashMap<u32, (Arc<SegmentFile>, u64)>,
    uses: u64,
}

/// The directory `data` of a repository.
#[derive(Debug)]
pub(super) struct Segments {
    data: PathBuf,
    per_dir: u32,
    open: Mutex<OpenFiles>,
}

impl Segments {
    pub(super) fn new(repository: &Path, per_dir: u32) -> Self {
        Self {
            data: repository.join("data"),
            per_dir: per_dir.max(1),
            open: Mutex::default(),
        }
    }

    /// The directory `data`.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The directory a segment belongs into.
    pub(super) fn dir(&self, segment: u32) -> PathBuf {
        self.data.join((segment / self.per_dir).to_string())
    }

    /// The file of a segment.
    pub(super) fn path(&self, segment: u32) -> PathBuf {
        self.dir(segment).join(segment.to_string())
    }

    /// Numbers of the directories that hold segments, ascending.
    pub(super) fn dirs(&self) -> Result<Vec<u32>> {
        let mut numbers = decimal_names(&self.data)?;
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Numbers of the segments in one directory, ascending.
    fn in_dir(&self, dir: u32) -> Result<Vec<u32>> {
        let mut numbers = decimal_names(&self.data.join(dir.to_string()))?;
        numbers.retain(|number| number / self.per_dir == dir);
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Numbers of all segments, ascending; empty files count.
    pub(super) fn list(&self) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        for dir in self.dirs()? {
            all.extend(self.in_dir(dir)?);
        }
        Ok(all)
    }

    /// The highest segment for which `wanted` holds.
    fn last_that(&self, wanted: impl Fn(u32) -> Result<bool>) -> Result<Option<u32>> {
        for dir in self.dirs()?.into_iter().rev() {
            for segment in self.in_dir(dir)?.into_iter().rev() {
                if wanted(segment)? {
                    return Ok(Some(segment));
                }
            }
        }
        Ok(None)
    }

    /// The highest segment.
    pub(super) fn latest(&self) -> Result<Option<u32>> {
        self.last_that(|_| Ok(true))
    }

    /// The highest segment that ends a transaction.
    pub(super) fn last_committed(&self) -> Result<Option<u32>> {
        self.last_that(|segment| self.is_committed(segment))
    }

    /// Tells whether the last bytes of a segment are a COMMIT.
    pub(super) fn ends_with_commit(&self, segment: u32) -> Result<bool> {
        let Some(len) = storage::file_len(&self.path(segment))? else {
            return Ok(false);
        };
        let Some(last) = len.checked_sub(segment::COMMIT.len() as u64) else {
            return Ok(false);
        };
        let mut tail = Vec::new();
        self.open(segment)?
            .read_at(last, segment::COMMIT.len(), &mut tail)?;
        Ok(tail == segment::COMMIT)
    }

    /// Tells whether a segment ends with a COMMIT, has nothing but COMMITs from the first one on
    /// and is whole.
    fn is_committed(&self, segment: u32) -> Result<bool> {
        if !self.ends_with_commit(segment)? {
            return Ok(false);
        }
        let mut seen = false;
        let mut orderly = true;
        let verified = self.verify(segment, &AtomicBool::new(false), |entry| {
            seen |= entry.tag == Tag::Commit;
            orderly &= entry.tag == Tag::Commit || !seen;
        });
        match verified {
            Ok(()) => Ok(seen && orderly),
            Err(ScanError::Damaged(_)) => Ok(false),
            Err(ScanError::Unreadable(error)) => Err(error),
        }
    }

    /// Returns the first eight bytes of a segment.
    pub(super) fn magic(&self, segment: u32) -> Result<Vec<u8>> {
        let mut magic = Vec::new();
        self.open(segment)?
            .read_at(0, segment::MAGIC_LEN, &mut magic)?;
        Ok(magic)
    }

    /// Length of a segment; none if it does not exist or is empty, which means deleted.
    pub(super) fn len(&self, segment: u32) -> Result<Option<u64>> {
        Ok(storage::file_len(&self.path(segment))?.filter(|&len| len > 0))
    }

    fn open_files(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a segment for reading, or finds it open.
    pub(super) fn open(&self, segment: u32) -> Result<Arc<SegmentFile>> {
        {
            let mut open = self.open_files();
            open.uses += 1;
            let now = open.uses;
            if let Some((file, used)) = open.files.get_mut(&segment) {
                *used = now;
                return Ok(Arc::clone(file));
            }
        }
        let path = self.path(segment);
        let file = storage::open(&path)?;
        let file = Arc::new(SegmentFile { file, path });
        let mut open = self.open_files();
        let now = open.uses;
        if open.files.len() >= MAX_OPEN_FILES
            && let Some(oldest) = open
                .files
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(&segment, _)| segment)
        {
            open.files.remove(&oldest);
        }
        open.files.insert(segment, (Arc::clone(&file), now));
        Ok(file)
    }

    /// Forgets the open file of a segment that is replaced or removed.
    pub(super) fn forget(&self, segment: u32) {
        self.open_files().files.remove(&segment);
    }

    /// Forgets all open files.
    pub(super) fn forget_all(&self) {
        self.open_files().files.clear();
    }

    /// Removes a segment if it exists.
    pub(super) fn remove(&self, segment: u32) -> Result<()> {
        self.forget(segment);
        storage::remove_if_exists(&self.path(segment))
    }

    /// Removes all segments above `last`, the highest first, so that what remains is a beginning
    /// of the log at every moment.
    pub(super) fn remove_above(&self, last: Option<u32>) -> Result<usize> {
        let mut removed = 0;
        for segment in self.list()?.into_iter().rev() {
            if last.is_some_and(|last| segment <= last) {
                break;
            }
            self.remove(segment)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes directories without segments.
    pub(super) fn remove_empty_dirs(&self) -> Result<()> {
        for dir in self.dirs()? {
            // Fails for those that are not empty.
            let _ = std::fs::remove_dir(self.data.join(dir.to_string()));
        }
        storage::sync_dir(&self.data)
    }

    /// Reads and verifies the value of a PUT, into a buffer that `room` gives.
    pub(super) fn read(&self, at: Location, id: &ChunkId, room: &mut Room<'_>) -> Result<Vec<u8>> {
        let _stage = tracing::trace_span!("read_object").entered();
        let segment = self.segment_of(at)?;
        let header = put_header(&segment, at, id)?;
        let offset = u64::from(at.offset.0) + PUT_HEADER_LEN as u64;
        let mut value = room(header.value_len());
        value.clear();
        segment.read_at(offset, header.value_len(), &mut value)?;
        let verified = header.verify(&value);
        verified.map_err(|kind| integrity(at, kind))?;
        Ok(value)
    }

    /// Opens the segment of an object; that it is missing is damage.
    fn segment_of(&self, at: Location) -> Result<Arc<SegmentFile>> {
        self.open(at.segment.0).map_err(|error| match error {
            RepositoryError::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
                integrity(at, DamageKind::Missing)
            }
            error => error,
        })
    }

    /// Reads the length of a PUT entry, unverified.
    pub(super) fn entry_len(&self, at: Location, id: &ChunkId) -> Result<usize> {
        Ok(put_header(&*self.segment_of(at)?, at, id)?.entry_len())
    }

    /// Reads a whole segment, verifies it and hands out its entries.
    pub(super) fn verify(
        &self,
        segment: u32,
        stop: &AtomicBool,
        mut found: impl FnMut(Entry),
    ) -> Result<(), ScanError> {
        let path = self.path(segment);
        let file = storage::open(&path).map_err(ScanError::Unreadable)?;
        storage::advise(&file, 0, 0, Advice::Sequential);
        let mut scanner = Scanner::new(SegmentNumber(segment));
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut offset = 0;
        while !stop.load(Ordering::Relaxed) {
            piece.clear();
            storage::read_at(&file, &path, offset, PIECE_BYTES, &mut piece)
                .map_err(ScanError::Unreadable)?;
            if piece.is_empty() {
                break;
            }
            scanner
                .feed(&piece, &mut found)
                .map_err(ScanError::Damaged)?;
            offset += piece.len() as u64;
        }
        // What was read once will hardly be read again soon, but push out of memory what will.
        storage::advise(&file, 0, 0, Advice::DontNeed);
        scanner.finish().map_err(ScanError::Damaged)
    }

    /// Reads a whole segment and verifies it.
    pub(super) fn scan(&self, segment: u32, stop: &AtomicBool) -> Scanned {
        let _stage = tracing::trace_span!("scan_segment").entered();
        let mut entries = Vec::new();
        self.verify(segment, stop, |entry| entries.push(entry))?;
        Ok(entries)
    }

    /// Verifies several segments on all processors and hands out their entries in order.
    ///
    /// Of each thread at most two segments wait for their turn.
    pub(super) fn scan_all(
        &self,
        list: &[u32],
        mut each: impl FnMut(u32, Scanned) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let threads = std::thread::available_parallelism()
            .map_or(1, std::num::NonZeroUsize::get)
            .min(list.len())
            .min(8);
        if threads <= 1 {
            let stop = AtomicBool::new(false);
            for &segment in list {
                if each(segment, self.scan(segment, &stop))?.is_break() {
                    break;
                }
            }
            return Ok(());
        }
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut queues: Vec<Receiver<Scanned>> = Vec::new();
            for first in 0..threads {
                let (sender, receiver) = sync_channel(1);
                queues.push(receiver);
                let mine = list.iter().skip(first).step_by(threads);
                let stop = &stop;
                scope.spawn(move || self.scan_into(mine, stop, &sender));
            }
            let result = drain_in_turn(list, &queues, &mut each);
            stop.store(true, Ordering::Relaxed);
            drop(queues);
            result
        })
    }

    fn scan_into<'a>(
        &self,
        segments: impl Iterator<Item = &'a u32>,
        stop: &AtomicBool,
        results: &SyncSender<Scanned>,
    ) {
        for &segment in segments {
            let scanned = self.scan(segment, stop);
            if stop.load(Ordering::Relaxed) || results.send(scanned).is_err() {
                break;
            }
        }
    }
}

fn put_header(segment: &SegmentFile, at: Location, id: &ChunkId) -> Result<PutHeader> {
    let mut bytes = Vec::with_capacity(PUT_HEADER_LEN);
    segment.read_at(at.offset.0.into(), PUT_HEADER_LEN, &mut bytes)?;
    bytes
        .first_chunk()
        .ok_or(DamageKind::ShortHeader(bytes.len()))
        .and_then(|bytes| PutHeader::parse(bytes, id))
        .map_err(|kind| integrity(at, kind))
}

fn drain_in_turn(
    list: &[u32],
    queues: &[Receiver<Scanned>],
    each: &mut impl FnMut(u32, Scanned) -> Result<ControlFlow<()>>,
) -> Result<()> {
    for (&segment, queue) in list.iter().zip(queues.iter().cycle()) {
        let Ok(scanned) = queue.recv() else {
            break;
        };
        if each(segment, scanned)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Makes an error of damage found at an entry.
pub(super) fn integrity(at: Location, kind: DamageKind) -> RepositoryError {
    let damage = SegmentDamage {
        segment: at.segment,
        offset: at.offset.0.into(),
        kind,
    };
    match damage.kind {
        DamageKind::Missing => RepositoryError::SegmentMissing(damage.to_string()),
        _ => RepositoryError::Integrity(damage.to_string()),
    }
}

/// Reads the length of the entry that begins with these bytes, unverified.
pub(super) fn header_of(bytes: &[u8]) -> Option<EntryHeader> {
    bytes.first_chunk().map(EntryHeader::parse)
}

/// The names in a directory that are decimal numbers of 32 bits.
fn decimal_names(path: &Path) -> Result<Vec<u32>> {
    let names = storage::names(path)?;
    Ok(names
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|name| name.parse().ok())
        .collect())
}
