//! Segment files: the log in which a repository keeps its objects.
//!
//! ```text
//! offset  size  file                    offset  size     entry
//!      0     8  magic "BORG_SEG"             0     4     crc    of bytes 4 .. size of the entry
//!      8        entries, no padding          4     4     size   of the entry with this header
//!                                            8     1     tag    0 PUT, 1 DELETE, 2 COMMIT
//!                                            9    32     id     PUT and DELETE only
//!                                           41  size-41  value  PUT only
//! ```
//!
//! Numbers are little endian. [`Scanner`] verifies a segment piece by piece in constant memory;
//! [`find_entry`] looks for entries in a damaged one.

use crate::id::{ChunkId, EntryOffset, SegmentNumber};

/// The first bytes of every segment.
pub const MAGIC: [u8; 8] = *b"BORG_SEG";
/// The first bytes of a segment made by Borg's ancestor.
pub const ATTIC_MAGIC: [u8; 8] = *b"ATTICSEG";
/// Length of the magic, and the smallest offset of an entry.
pub const MAGIC_LEN: usize = 8;
/// Length of the header that all entries have.
pub const HEADER_LEN: usize = 9;
/// Length of everything before the value of a PUT; length of a DELETE.
pub const PUT_HEADER_LEN: usize = 41;
/// Longest entry.
pub const MAX_ENTRY_LEN: usize = 20 * 1024 * 1024;
/// Longest value.
pub const MAX_VALUE_LEN: usize = MAX_ENTRY_LEN - PUT_HEADER_LEN;
/// The one form of a COMMIT entry.
pub const COMMIT: [u8; HEADER_LEN] = [0x40, 0xf4, 0x3c, 0x25, 9, 0, 0, 0, 2];

const TAG_PUT: u8 = 0;
const TAG_DELETE: u8 = 1;
const TAG_COMMIT: u8 = 2;

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tag {
    /// Gives an id a value.
    Put,
    /// Takes an id away.
    Delete,
    /// Makes everything before it valid.
    Commit,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            TAG_PUT => Some(Self::Put),
            TAG_DELETE => Some(Self::Delete),
            TAG_COMMIT => Some(Self::Commit),
            _ => None,
        }
    }

    fn min_len(self) -> usize {
        match self {
            Self::Put | Self::Delete => PUT_HEADER_LEN,
            Self::Commit => HEADER_LEN,
        }
    }
}

/// Where and how a segment is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDamage {
    /// The segment.
    pub segment: SegmentNumber,
    /// Offset of the entry that is damaged.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with a damaged entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DamageKind {
    /// There is no such file.
    Missing,
    /// The file does not begin like a segment.
    Magic,
    /// The file ends inside the header; this many bytes are left.
    ShortHeader(usize),
    /// The size is more than an entry may have.
    TooBig(u32),
    /// The size is less than the header.
    TooSmall(u32),
    /// The file ends inside the entry.
    ShortRead {
        /// Bytes that should follow the header.
        expected: usize,
        /// Bytes that do.
        got: usize,
    },
    /// The checksum is wrong.
    Checksum,
    /// The tag is none that is known.
    UnknownTag(u8),
    /// The entry has another id, or is no PUT, where the index says that an object is.
    NotWanted,
    /// The entry begins beyond what an index can address.
    OutOfRange,
}

impl std::fmt::Display for SegmentDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = format_args!("[segment {}, offset {}]", self.segment, self.offset);
        match &self.kind {
            DamageKind::Missing => write!(f, "Segment is missing {place}"),
            DamageKind::Magic => write!(f, "Invalid segment magic {place}"),
            DamageKind::ShortHeader(left) => write!(
                f,
                "Invalid segment entry header {place}: only {left} bytes are left"
            ),
            DamageKind::TooBig(size) => {
                write!(f, "Invalid segment entry size {size} - too big {place}")
            }
            DamageKind::TooSmall(size) => {
                write!(f, "Invalid segment entry size {size} - too small {place}")
            }
            DamageKind::ShortRead { expected, got } => write!(
                f,
                "Segment entry data short read {place}: expected {expected}, got {got} bytes"
            ),
            DamageKind::Checksum => write!(f, "Segment entry checksum mismatch {place}"),
            DamageKind::UnknownTag(_) => write!(
                f,
                "Invalid segment entry header, did not get acceptable tag {place}"
            ),
            DamageKind::NotWanted => write!(
                f,
                "Invalid segment entry header, is not for wanted id {place}"
            ),
            DamageKind::OutOfRange => write!(f, "Segment is too long {place}"),
        }
    }
}

impl std::error::Error for SegmentDamage {}

/// The fixed part of an entry, not yet believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHeader {
    /// Checksum of the rest of the entry.
    pub crc: u32,
    /// Length of the entry.
    pub size: u32,
    /// Tag byte.
    pub tag: u8,
}

impl EntryHeader {
    /// Takes the header apart.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let [c0, c1, c2, c3, s0, s1, s2, s3, tag] = *bytes;
        Self {
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            size: u32::from_le_bytes([s0, s1, s2, s3]),
            tag,
        }
    }

    /// Returns what the entry does.
    ///
    /// # Errors
    /// [`DamageKind::UnknownTag`].
    pub fn tag(&self) -> Result<Tag, DamageKind> {
        Tag::from_byte(self.tag).ok_or(DamageKind::UnknownTag(self.tag))
    }

    /// Checks the size against the limits.
    ///
    /// # Errors
    /// [`DamageKind::TooBig`] or [`DamageKind::TooSmall`].
    pub fn check_size(&self) -> Result<(), DamageKind> {
        if self.size as usize > MAX_ENTRY_LEN {
            return Err(DamageKind::TooBig(self.size));
        }
        let least = Tag::from_byte(self.tag).map_or(HEADER_LEN, Tag::min_len);
        if (self.size as usize) < least {
            return Err(DamageKind::TooSmall(self.size));
        }
        Ok(())
    }
}

/// The part of a PUT before its value, not yet believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutHeader {
    crc: u32,
    crc_of_header: u32,
    value_len: usize,
}

impl PutHeader {
    /// Takes the header apart and checks that it is that of a PUT of `id`.
    ///
    /// # Errors
    /// When it is not, or its size is outside the limits.
    pub fn parse(bytes: &[u8; PUT_HEADER_LEN], id: &ChunkId) -> Result<Self, DamageKind> {
        let (fixed, stored_id) = bytes.split_at(HEADER_LEN);
        let fixed = fixed.first_chunk().ok_or(DamageKind::ShortHeader(0))?;
        let header = EntryHeader::parse(fixed);
        header.check_size()?;
        if (header.size as usize) < PUT_HEADER_LEN {
            return Err(DamageKind::TooSmall(header.size));
        }
        if header.tag != TAG_PUT {
            return Err(DamageKind::UnknownTag(header.tag));
        }
        if stored_id != id.as_bytes() {
            return Err(DamageKind::NotWanted);
        }
        Ok(Self {
            crc: header.crc,
            crc_of_header: crc32fast::hash(bytes.get(4..).unwrap_or_default()),
            value_len: header.size as usize - PUT_HEADER_LEN,
        })
    }

    /// Length of the value.
    pub fn value_len(&self) -> usize {
        self.value_len
    }

    /// Length of the entry.
    pub fn entry_len(&self) -> usize {
        PUT_HEADER_LEN + self.value_len
    }

    /// Checks the value against the checksum.
    ///
    /// # Errors
    /// [`DamageKind::Checksum`], [`DamageKind::ShortRead`].
    pub fn verify(&self, value: &[u8]) -> Result<(), DamageKind> {
        if value.len() != self.value_len {
            return Err(DamageKind::ShortRead {
                expected: self.value_len,
                got: value.len(),
            });
        }
        let mut crc = crc32fast::Hasher::new_with_initial(self.crc_of_header);
        crc.update(value);
        if crc.finalize() != self.crc {
            return Err(DamageKind::Checksum);
        }
        Ok(())
    }
}

/// Makes the part of a PUT that stands before its value. None when the value is too long.
pub fn put_header(id: &ChunkId, value: &[u8]) -> Option<[u8; PUT_HEADER_LEN]> {
    if value.len() > MAX_VALUE_LEN {
        return None;
    }
    let size = u32::try_from(PUT_HEADER_LEN + value.len()).ok()?;
    Some(entry_start(size, TAG_PUT, id, value))
}

/// Makes a DELETE.
pub fn delete_entry(id: &ChunkId) -> [u8; PUT_HEADER_LEN] {
    entry_start(PUT_HEADER_LEN as u32, TAG_DELETE, id, &[])
}

fn entry_start(size: u32, tag: u8, id: &ChunkId, value: &[u8]) -> [u8; PUT_HEADER_LEN] {
    let mut bytes = [0; PUT_HEADER_LEN];
    let (crc_field, covered) = bytes.split_at_mut(4);
    let (size_field, rest) = covered.split_at_mut(4);
    size_field.copy_from_slice(&size.to_le_bytes());
    if let Some((tag_field, id_field)) = rest.split_first_mut() {
        *tag_field = tag;
        id_field.copy_from_slice(id.as_bytes());
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(covered);
    crc.update(value);
    crc_field.copy_from_slice(&crc.finalize().to_le_bytes());
    bytes
}

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
/// a window of [`MAX_ENTRY_LEN`] bytes, or up to the end of the file, always gets on.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(byte: u8) -> ChunkId {
        ChunkId::new([byte; 32])
    }

    fn segment_of(values: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (number, value) in values.iter().enumerate() {
            bytes.extend(put_header(&id(number as u8), value).unwrap());
            bytes.extend(value);
            bytes.extend(delete_entry(&id(number as u8)));
        }
        bytes.extend(COMMIT);
        bytes
    }

    fn scan(bytes: &[u8], piece_len: usize) -> Result<Vec<Entry>, SegmentDamage> {
        let mut entries = Vec::new();
        let mut scanner = Scanner::new(SegmentNumber(3));
        for piece in bytes.chunks(piece_len) {
            scanner.feed(piece, |entry| entries.push(entry))?;
        }
        scanner.finish()?;
        Ok(entries)
    }

    #[test]
    fn a_commit_is_always_the_same_nine_bytes() {
        let header = EntryHeader::parse(&COMMIT);
        assert_eq!(header.crc, crc32fast::hash(&COMMIT[4..]));
        assert_eq!((header.size, header.tag), (9, TAG_COMMIT));
    }

    #[test]
    fn values_beyond_the_limit_have_no_entry() {
        assert!(put_header(&id(1), &vec![0; MAX_VALUE_LEN]).is_some());
        assert!(put_header(&id(1), &vec![0; MAX_VALUE_LEN + 1]).is_none());
    }

    proptest! {
        #[test]
        fn entries_are_found_however_the_bytes_are_cut(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..6),
            piece_len in 1usize..300,
        ) {
            let bytes = segment_of(&values);
            let entries = scan(&bytes, piece_len).unwrap();
            prop_assert_eq!(entries.len(), 2 * values.len() + 1);
            prop_assert_eq!(entries.last().unwrap().tag, Tag::Commit);
            let mut offset = MAGIC_LEN as u32;
            for entry in &entries {
                prop_assert_eq!(entry.offset.0, offset);
                offset += entry.size;
            }
            prop_assert_eq!(offset as usize, bytes.len());
            for (entry, value) in entries.iter().step_by(2).zip(&values) {
                let start = &bytes[entry.offset.0 as usize..];
                let header = PutHeader::parse(start.first_chunk().unwrap(), &entry.id).unwrap();
                prop_assert_eq!(header.verify(value), Ok(()));
                prop_assert_eq!(header.entry_len(), entry.size as usize);
            }
        }

        #[test]
        fn no_changed_byte_goes_unnoticed(position in 0usize..200, flip in 1u8..=255) {
            let mut bytes = segment_of(&[vec![7; 60], vec![8; 20]]);
            let position = position % bytes.len();
            bytes[position] ^= flip;
            prop_assert!(scan(&bytes, 50).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut segment = MAGIC.to_vec();
            segment.extend(&bytes);
            prop_assert_eq!(scan(&segment, 7).is_ok(), scan(&segment, 300).is_ok());
            find_entry(&bytes, bytes.len() as u64);
        }
    }

    #[test]
    fn a_segment_cut_short_names_the_entry_that_is_missing_bytes() {
        let bytes = segment_of(&[vec![1; 10]]);
        let damage = scan(&bytes[..bytes.len() - 12], 64).unwrap_err();
        assert_eq!(
            damage.to_string(),
            "Segment entry data short read [segment 3, offset 59]: expected 32, got 29 bytes"
        );
        assert_eq!(scan(&bytes[..4], 64).unwrap_err().kind, DamageKind::Magic);
        assert_eq!(scan(&[], 64).unwrap_err().kind, DamageKind::Magic);
        assert_eq!(scan(&MAGIC, 64), Ok(Vec::new()));
    }

    #[test]
    fn whole_entries_are_found_between_garbage() {
        let mut bytes = b"garbage".to_vec();
        bytes.extend(delete_entry(&id(4)));
        bytes.extend([0xff; 30]);
        bytes.extend(COMMIT);
        let found = find_entry(&bytes, bytes.len() as u64);
        assert_eq!(found, Search::Found { start: 7, len: 41 });
        let rest = &bytes[48..];
        let found = find_entry(rest, rest.len() as u64);
        assert_eq!(found, Search::Found { start: 30, len: 9 });
        let rest = &rest[39..];
        assert_eq!(find_entry(rest, 0), Search::MoreNeeded { from: 0 });
    }

    #[test]
    fn the_search_asks_for_more_when_an_entry_may_go_on() {
        let entry = delete_entry(&id(4));
        let found = find_entry(&entry[..20], 41);
        assert_eq!(found, Search::MoreNeeded { from: 0 });
        let found = find_entry(&entry[..20], 20);
        assert_eq!(found, Search::MoreNeeded { from: 12 });
    }
}
