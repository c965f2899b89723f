//! Reading segments as a whole: verified piece by piece, or searched for what damage left.
//!
//! Nothing is believed before its checksum is right, except sizes within their limits.

use super::{
    DamageKind, EntryHeader, HEADER_LEN, MAGIC, MAGIC_LEN, PUT_HEADER_LEN, SegmentDamage, Tag,
};
use crate::id::{ChunkId, EntryOffset, SegmentNumber};

/// An entry that was verified, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it does.
    pub tag: Tag,
    /// To which id; zeros for a COMMIT.
    pub id: ChunkId,
    /// Where it begins.
    pub offset: EntryOffset,
    /// Its length with the header.
    pub size: u32,
}

/// Verifies a segment that comes in pieces of any length, in constant memory.
///
/// ```text
/// feed(piece, entry found => …)*   finish()
/// ```
#[derive(Debug)]
pub struct Scanner {
    segment: SegmentNumber,
    /// Offset of the entry being read; 0 while the magic is.
    offset: u64,
    /// The beginning of the entry being read, as far as it came.
    start: [u8; PUT_HEADER_LEN],
    start_len: usize,
    /// Set once the fixed header is complete.
    header: Option<EntryHeader>,
    crc: crc32fast::Hasher,
    /// Bytes of the entry that are still to come.
    left: usize,
}

impl Scanner {
    /// Begins a segment.
    pub fn new(segment: SegmentNumber) -> Self {
        Self {
            segment,
            offset: 0,
            start: [0; PUT_HEADER_LEN],
            start_len: 0,
            header: None,
            crc: crc32fast::Hasher::new(),
            left: 0,
        }
    }

    fn damage(&self, kind: DamageKind) -> SegmentDamage {
        SegmentDamage {
            segment: self.segment,
            offset: self.offset,
            kind,
        }
    }

    /// Takes the next bytes of the file and hands out every entry that they complete.
    ///
    /// # Errors
    /// When an entry is damaged. The scanner is of no use afterwards.
    pub fn feed(
        &mut self,
        mut piece: &[u8],
        mut found: impl FnMut(Entry),
    ) -> Result<(), SegmentDamage> {
        while !piece.is_empty() {
            if self.offset == 0 {
                piece = self.collect(piece, MAGIC_LEN);
                if self.start_len == MAGIC_LEN {
                    if self.start.first_chunk() != Some(&MAGIC) {
                        return Err(self.damage(DamageKind::Magic));
                    }
                    self.begin_entry(MAGIC_LEN as u64);
                }
                continue;
            }
            let Some(header) = self.header else {
                piece = self.collect(piece, HEADER_LEN);
                if let Some(header) = self.header_complete()?
                    && self.left == 0
                {
                    self.entry_complete(header, &mut found)?;
                }
                continue;
            };
            let id_end = (header.size as usize).min(PUT_HEADER_LEN);
            if self.start_len < id_end {
                let before = self.start_len;
                piece = self.collect(piece, id_end);
                let added = self.start.get(before..self.start_len).unwrap_or_default();
                self.crc.update(added);
                self.left -= added.len();
            } else {
                let (mine, rest) = piece.split_at(self.left.min(piece.len()));
                self.crc.update(mine);
                self.left -= mine.len();
                piece = rest;
            }
            if self.left == 0 {
                self.entry_complete(header, &mut found)?;
            }
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When an entry, or the magic, is cut short.
    pub fn finish(self) -> Result<(), SegmentDamage> {
        let kind = match self.header {
            Some(header) => {
                let expected = header.size as usize - HEADER_LEN;
                DamageKind::ShortRead {
                    expected,
                    got: expected - self.left,
                }
            }
            None if self.offset == 0 => DamageKind::Magic,
            None if self.start_len == 0 => return Ok(()),
            None => DamageKind::ShortHeader(self.start_len),
        };
        Err(self.damage(kind))
    }

    fn collect<'a>(&mut self, piece: &'a [u8], until: usize) -> &'a [u8] {
        let wanted = until.saturating_sub(self.start_len).min(piece.len());
        let (mine, rest) = piece.split_at(wanted);
        if let Some(place) = self.start.get_mut(self.start_len..self.start_len + wanted) {
            place.copy_from_slice(mine);
            self.start_len += wanted;
        }
        rest
    }

    /// Believes the sizes of the header once all of it is there.
    fn header_complete(&mut self) -> Result<Option<EntryHeader>, SegmentDamage> {
        let (Some(bytes), HEADER_LEN) = (self.start.first_chunk(), self.start_len) else {
            return Ok(None);
        };
        let header = EntryHeader::parse(bytes);
        header.check_size().map_err(|kind| self.damage(kind))?;
        self.crc.update(bytes.get(4..).unwrap_or_default());
        self.left = header.size as usize - HEADER_LEN;
        self.header = Some(header);
        Ok(self.header)
    }

    fn entry_complete(
        &mut self,
        header: EntryHeader,
        found: &mut impl FnMut(Entry),
    ) -> Result<(), SegmentDamage> {
        let crc = std::mem::take(&mut self.crc).finalize();
        if crc != header.crc {
            return Err(self.damage(DamageKind::Checksum));
        }
        let tag = Tag::from_byte(header.tag)
            .ok_or_else(|| self.damage(DamageKind::UnknownTag(header.tag)))?;
        let offset = u32::try_from(self.offset).map_err(|_| self.damage(DamageKind::OutOfRange))?;
        let id = match tag {
            Tag::Commit => ChunkId::new([0; 32]),
            Tag::Put | Tag::Delete => self
                .start
                .last_chunk()
                .map_or(ChunkId::new([0; 32]), |id| ChunkId::new(*id)),
        };
        found(Entry {
            tag,
            id,
            offset: EntryOffset(offset),
            size: header.size,
        });
        self.begin_entry(self.offset + u64::from(header.size));
        Ok(())
    }

    fn begin_entry(&mut self, offset: u64) {
        self.offset = offset;
        self.start_len = 0;
        self.header = None;
        self.left = 0;
        self.crc.reset();
    }
}

/// Result of a search for an entry in damaged data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// A valid entry begins here.
    Found {
        /// Its place in the window.
        start: usize,
        /// Its length.
        len: usize,
    },
    /// Nothing begins before this place; to go on, the window must begin there and reach further.
    MoreNeeded {
        /// The first place not yet ruled out.
        from: usize,
    },
}

/// Looks for the first place in the window at which a valid entry begins.
///
/// `file_left` is the number of bytes from the beginning of the window to the end of the file;
/// a window of [`MAX_ENTRY_LEN`](super::MAX_ENTRY_LEN) bytes, or up to the end of the file, always gets on.
pub fn find_entry(window: &[u8], file_left: u64) -> Search {
    for from in 0..window.len() {
        let rest = window.get(from..).unwrap_or_default();
        let Some(bytes) = rest.first_chunk() else {
            return Search::MoreNeeded { from };
        };
        let header = EntryHeader::parse(bytes);
        let fits = match Tag::from_byte(header.tag) {
            Some(Tag::Put) => header.check_size().is_ok(),
            Some(Tag::Delete) => header.size as usize == PUT_HEADER_LEN,
            Some(Tag::Commit) => header.size as usize == HEADER_LEN,
            None => false,
        };
        if !fits || u64::from(header.size) > file_left.saturating_sub(from as u64) {
            continue;
        }
        let Some(entry) = rest.get(..header.size as usize) else {
            return Search::MoreNeeded { from };
        };
        if crc32fast::hash(entry.get(4..).unwrap_or_default()) == header.crc {
            return Search::Found {
                start: from,
                len: entry.len(),
            };
        }
    }
    Search::MoreNeeded { from: window.len() }
}
