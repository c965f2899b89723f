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

mod scan;

pub use self::scan::{Entry, Scanner, Search, find_entry};

use crate::id::{ChunkId, SegmentNumber};

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

#[cfg(test)]
mod tests;
