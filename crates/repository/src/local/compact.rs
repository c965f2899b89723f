//! Compaction: live entries of segments with much dead content are copied to the end of the log,
//! then the segments are removed.
//!
//! Of a segment only the headers and the live values are read. Segments are removed only after a
//! COMMIT that makes their copies valid, and only if nothing in the index points into them.
//!
//! A DELETE may only be dropped when no older PUT of its id is left anywhere: removing several
//! segments is not atomic, and after a crash a replay could find the PUT but not the DELETE. The
//! rules are those of Borg (`repository.py`, `compact_segments`).

use std::collections::HashMap;

use fastness_format::hash_index::Location;
use fastness_format::id::{ChunkId, EntryOffset, SegmentNumber};
use fastness_format::segment::{
    DamageKind, HEADER_LEN, MAGIC, MAGIC_LEN, PUT_HEADER_LEN, PutHeader, Tag, delete_entry,
};

use super::segments::{SegmentFile, Segments, header_of, integrity};
use super::transaction::Open;
use super::{LocalRepository, index};
use crate::CompactOptions;
use crate::error::{Result, format_bytes};
use crate::monitor::{Event, Monitor};
use crate::storage;

const PROGRESS: &str = "repository.compact_segments";
/// Bytes read at once while looking at headers.
const PIECE_BYTES: usize = 64 * 1024;
/// Size of the segments that hold nothing but a COMMIT.
const COMMIT_ONLY_BYTES: u64 = (MAGIC_LEN + HEADER_LEN) as u64;

impl LocalRepository {
    /// Compacts within a transaction that is committed already; returns the bytes of dropped
    /// objects.
    pub(super) fn compact_segments(&mut self, options: &CompactOptions) -> Result<u64> {
        let _stage = tracing::trace_span!("compact").entered();
        let indexed = index::last_index(&self.path)?;
        let monitor = std::sync::Arc::clone(&self.monitor);
        self.remove_left_segment_copies()?;
        let mut open = self.open_transaction()?;
        if options.cleanup_commits {
            open.list_commit_only_segments()?;
        }
        let used_before = open.hints().storage_quota_use;
        let mut references = HashMap::new();
        for (_, at) in open.state.index.iter() {
            *references.entry(at.segment.0).or_default() += 1;
        }
        let mut compaction = Compaction {
            open,
            monitor: &*monitor,
            indexed,
            threshold: options.threshold,
            references,
            unused: Vec::new(),
        };
        compaction.run()?;
        let used_after = compaction.open.hints().storage_quota_use;
        self.segments.remove_empty_dirs()?;
        let freed = (used_before - used_after).max(0).cast_unsigned();
        monitor.info(format!(
            "compaction freed about {} repository space.",
            format_bytes(freed)
        ));
        Ok(freed)
    }

    /// Removes copies of segments that a repair was killed while writing.
    pub(super) fn remove_left_segment_copies(&self) -> Result<()> {
        for dir in self.segments.dirs()? {
            let dir = self.segments.data_dir().join(dir.to_string());
            for name in storage::names(&dir)? {
                if name.ends_with(".tmp") && name.starts_with(|first: char| first.is_ascii_digit())
                {
                    storage::remove_if_exists(&dir.join(name))?;
                }
            }
        }
        Ok(())
    }
}

impl Open<'_> {
    /// Borg 1.1 left a segment with nothing but a COMMIT for each transaction.
    fn list_commit_only_segments(&mut self) -> Result<()> {
        for segment in self.segments.list()? {
            if self.segments.len(segment)? == Some(COMMIT_ONLY_BYTES) {
                self.hints().segments.insert(segment, 0);
                self.hints().compact.insert(segment, HEADER_LEN as i64);
            }
        }
        Ok(())
    }
}

struct Compaction<'a> {
    open: Open<'a>,
    monitor: &'a dyn Monitor,
    /// The transaction whose index is on disk.
    indexed: Option<u32>,
    threshold: f64,
    /// Number of objects that the index has in each segment, before anything is moved.
    references: HashMap<u32, u64>,
    /// Segments whose live entries have been copied.
    unused: Vec<u32>,
}

impl Compaction<'_> {
    fn run(&mut self) -> Result<()> {
        let candidates: Vec<(u32, i64)> = self
            .open
            .hints()
            .compact
            .iter()
            .map(|(&segment, &freeable)| (segment, freeable))
            .collect();
        let total = candidates.len() as u64;
        self.monitor.debug(format!(
            "Compaction started (threshold is {:.0}%).",
            self.threshold * 100.0
        ));
        for ((segment, freeable), current) in candidates.into_iter().zip(1..) {
            if self.is_worth_it(segment, freeable)? {
                if self.copy_live(segment)? {
                    self.unused.push(segment);
                } else {
                    self.monitor.warning(format!(
                        "segment {segment} is kept: the index has objects in it that are not \
                         there, run borg check"
                    ));
                }
            }
            self.monitor.event(Event::Percent {
                msgid: PROGRESS,
                label: "Compacting segments",
                current,
                total,
            });
        }
        self.monitor
            .event(Event::PercentFinished { msgid: PROGRESS });
        self.commit(false)
    }

    fn is_worth_it(&mut self, segment: u32, freeable: i64) -> Result<bool> {
        let Some(len) = self.open.segments.len(segment)? else {
            self.monitor.warning(format!(
                "segment {segment} not found, but listed in compaction data"
            ));
            self.open.hints().compact.remove(&segment);
            self.open.hints().segments.remove(&segment);
            return Ok(false);
        };
        Ok(freeable as f64 / len as f64 > self.threshold)
    }

    /// Makes the copies valid and removes the originals.
    fn commit(&mut self, within: bool) -> Result<()> {
        let segments = self.open.segments;
        let committed = if within {
            self.open.writer.commit_in_place(segments)?
        } else {
            self.open.writer.commit(segments)?
        };
        self.open.committed(committed);
        for segment in std::mem::take(&mut self.unused) {
            segments.remove(segment)?;
            self.open.hints().segments.remove(&segment);
            self.open.hints().compact.remove(&segment);
        }
        Ok(())
    }

    /// Copies what is live in a segment; tells whether that is all the index says to be there.
    fn copy_live(&mut self, segment: u32) -> Result<bool> {
        let expected = self.references.get(&segment).copied().unwrap_or(0);
        let mut moved = 0;
        let mut reader = HeaderReader::new(self.open.segments, segment)?;
        while let Some(header) = reader.next()? {
            match header.tag {
                Tag::Commit => {}
                Tag::Put if self.open.state.index.get(&header.id) == Some(header.at) => {
                    self.move_put(&mut reader, &header)?;
                    moved += 1;
                }
                Tag::Put => self.drop_put(&header),
                Tag::Delete => self.keep_or_drop_delete(&header)?,
            }
        }
        Ok(moved >= expected)
    }

    /// Before a copy: when the segment being written is full, it is committed and what has been
    /// copied so far is removed, so that compaction never needs much space.
    fn make_room_for(&mut self, id: &ChunkId) -> Result<()> {
        if self.open.writer.is_full_for(id) {
            self.commit(true)?;
        }
        Ok(())
    }

    fn move_put(&mut self, reader: &mut HeaderReader, header: &Header) -> Result<()> {
        let value = reader.value(header)?;
        self.make_room_for(&header.id)?;
        let segments = self.open.segments;
        let at = self.open.writer.put(segments, &header.id, value)?;
        self.open.state.index.insert(&header.id, at);
        let counts = &mut self.open.hints().segments;
        *counts.entry(at.segment.0).or_default() += 1;
        *counts.entry(header.at.segment.0).or_default() -= 1;
        Ok(())
    }

    fn drop_put(&mut self, header: &Header) {
        let segment = header.at.segment.0;
        let hints = self.open.hints();
        hints.storage_quota_use -= header.len as i64;
        // An emptied list stays: it tells that no older PUT is left.
        if let Some(shadows) = hints.shadow_index.get_mut(&header.id)
            && let Some(place) = shadows.iter().position(|&shadow| shadow == segment)
        {
            shadows.remove(place);
        }
    }

    fn keep_or_drop_delete(&mut self, header: &Header) -> Result<()> {
        if self.open.state.index.contains(&header.id) {
            return Ok(());
        }
        let segment = header.at.segment.0;
        let settled = self.indexed.is_some_and(|indexed| segment <= indexed);
        let shadows = self.open.hints().shadow_index.get(&header.id);
        let older_put = shadows.is_none_or(|list| list.iter().any(|&shadow| shadow < segment));
        if older_put || !settled {
            self.make_room_for(&header.id)?;
            let segments = self.open.segments;
            let at = self.open.writer.delete(segments, &header.id)?;
            let hints = self.open.hints();
            *hints.compact.entry(at.segment.0).or_default() += PUT_HEADER_LEN as i64;
            hints.segments.entry(at.segment.0).or_default();
        } else if shadows.is_some_and(Vec::is_empty) {
            self.open.hints().shadow_index.remove(&header.id);
        }
        Ok(())
    }
}

/// The beginning of an entry, with its place.
struct Header {
    tag: Tag,
    id: ChunkId,
    at: Location,
    len: usize,
}

/// Reads the headers of a segment and passes over the values.
struct HeaderReader {
    open: std::sync::Arc<SegmentFile>,
    segment: SegmentNumber,
    file_len: u64,
    /// Offset of the next entry.
    next: u64,
    /// A part of the file, and where it begins.
    piece: Vec<u8>,
    piece_start: u64,
    value: Vec<u8>,
}

impl HeaderReader {
    fn new(segments: &Segments, segment: u32) -> Result<Self> {
        let mut reader = Self {
            open: segments.open(segment)?,
            segment: SegmentNumber(segment),
            file_len: segments.len(segment)?.unwrap_or(0),
            next: MAGIC_LEN as u64,
            piece: Vec::new(),
            piece_start: 0,
            value: Vec::new(),
        };
        if reader.bytes(0, MAGIC_LEN)? != MAGIC {
            return Err(integrity(reader.place(0), DamageKind::Magic));
        }
        Ok(reader)
    }

    fn place(&self, offset: u64) -> Location {
        Location {
            segment: self.segment,
            offset: EntryOffset(u32::try_from(offset).unwrap_or(u32::MAX)),
        }
    }

    /// Returns `len` bytes from `offset` on, or fewer at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        let piece_end = self.piece_start + self.piece.len() as u64;
        if offset < self.piece_start || offset + len as u64 > piece_end {
            self.piece.clear();
            self.piece_start = offset;
            let wanted = PIECE_BYTES.max(len);
            self.open.read_at(offset, wanted, &mut self.piece)?;
        }
        let start = (offset - self.piece_start) as usize;
        let rest = self.piece.get(start..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }

    /// Returns the next header. The checksum of a DELETE is verified; of a PUT the sizes are, and
    /// the value when it is read.
    fn next(&mut self) -> Result<Option<Header>> {
        let offset = self.next;
        if offset >= self.file_len {
            return Ok(None);
        }
        let at = self.place(offset);
        let file_len = self.file_len;
        let bytes = self.bytes(offset, PUT_HEADER_LEN)?;
        let damage = |kind| integrity(at, kind);
        let header =
            header_of(bytes).ok_or_else(|| damage(DamageKind::ShortHeader(bytes.len())))?;
        header.check_size().map_err(damage)?;
        if offset + u64::from(header.size) > file_len {
            return Err(damage(DamageKind::ShortRead {
                expected: header.size as usize - HEADER_LEN,
                got: ((file_len - offset) as usize).saturating_sub(HEADER_LEN),
            }));
        }
        let tag = header.tag().map_err(damage)?;
        let id = match tag {
            Tag::Commit => ChunkId::MANIFEST,
            Tag::Put | Tag::Delete => bytes
                .get(HEADER_LEN..)
                .and_then(ChunkId::from_slice)
                .ok_or_else(|| damage(DamageKind::ShortHeader(bytes.len())))?,
        };
        if tag == Tag::Delete && bytes != delete_entry(&id) {
            return Err(damage(DamageKind::Checksum));
        }
        self.next = offset + u64::from(header.size);
        Ok(Some(Header {
            tag,
            id,
            at,
            len: header.size as usize,
        }))
    }

    /// Reads and verifies the value of a PUT.
    fn value(&mut self, header: &Header) -> Result<&[u8]> {
        let damage = |kind| integrity(header.at, kind);
        let offset = u64::from(header.at.offset.0);
        let start = self.bytes(offset, PUT_HEADER_LEN)?;
        let put = start
            .first_chunk()
            .ok_or_else(|| damage(DamageKind::ShortHeader(start.len())))
            .and_then(|bytes| PutHeader::parse(bytes, &header.id).map_err(damage))?;
        let value_start = offset + PUT_HEADER_LEN as u64;
        let in_piece =
            value_start + put.value_len() as u64 <= self.piece_start + self.piece.len() as u64;
        let value = if in_piece {
            self.bytes(value_start, put.value_len())?
        } else {
            self.value.clear();
            let len = put.value_len();
            self.open.read_at(value_start, len, &mut self.value)?;
            &self.value
        };
        put.verify(value).map_err(damage)?;
        Ok(value)
    }
}
