//! A view of one encoded item that borrows everything and allocates nothing.
//!
//! For whoever looks at many items and keeps few: listing, reference counting, deletion. All
//! fields are checked once in [`ItemRef::decode`]; lists stay encoded and are walked on demand.

use super::{ChunkRef, Item, ItemError, XattrList};
use crate::id::ChunkId;
use crate::msgpack::{DecodeError, Reader, Value};

/// An item as it stands in the bytes of its stream. The fields are those of [`Item`].
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the fields are documented at Item")]
pub struct ItemRef<'a> {
    pub path: &'a [u8],
    pub mode: u32,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub user: Option<&'a [u8]>,
    pub group: Option<&'a [u8]>,
    pub mtime: Option<i64>,
    pub atime: Option<i64>,
    pub ctime: Option<i64>,
    pub birthtime: Option<i64>,
    pub size: Option<u64>,
    pub chunks: Option<ChunkRefs<'a>>,
    pub chunks_healthy: Option<ChunkRefs<'a>>,
    pub source: Option<&'a [u8]>,
    pub hardlink_master: Option<bool>,
    pub rdev: Option<u64>,
    pub bsdflags: Option<u32>,
    pub xattrs: Option<Xattrs<'a>>,
    pub acl_access: Option<&'a [u8]>,
    pub acl_default: Option<&'a [u8]>,
    pub acl_extended: Option<&'a [u8]>,
    pub acl_nfs4: Option<&'a [u8]>,
    pub part: Option<u64>,
    /// The whole encoded map.
    bytes: &'a [u8],
    unknown: usize,
    has_path: bool,
}

impl<'a> ItemRef<'a> {
    /// Reads the item at the reader.
    ///
    /// # Errors
    /// When no item stands there. After a recoverable error the reader stands behind the value,
    /// after any other where it stood.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, ItemError> {
        let start = reader.clone();
        match Self::read(reader) {
            Ok(item) => Ok(item),
            Err(error) => {
                *reader = start;
                // Damage to the encoding itself outranks what it made of the fields.
                reader.skip().map_err(|source| ItemError::Stream {
                    offset: reader.position() as u64,
                    source,
                })?;
                Err(error)
            }
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, ItemError> {
        let begin = reader.rest();
        let pairs = reader.read_map_len().map_err(|_| ItemError::NotAMap)?;
        let mut item = Self::default();
        for _ in 0..pairs {
            let key = reader.read_raw().map_err(|source| field(b"?", source))?;
            let read = item.read_field(key, reader);
            read.map_err(|source| field(key, source))?;
        }
        let len = begin.len() - reader.rest().len();
        item.bytes = begin.get(..len).unwrap_or_default();
        if !item.has_path {
            return Err(ItemError::Missing("path"));
        }
        Ok(item)
    }

    fn read_field(&mut self, key: &[u8], reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        match key {
            b"path" => {
                self.path = reader.read_raw()?;
                self.has_path = true;
            }
            b"mode" => self.mode = reader.read_int()?,
            b"uid" => self.uid = read_owner(reader)?,
            b"gid" => self.gid = read_owner(reader)?,
            b"user" => self.user = nullable(reader, Reader::read_raw)?,
            b"group" => self.group = nullable(reader, Reader::read_raw)?,
            b"mtime" => self.mtime = Some(read_timestamp(reader)?),
            b"ctime" => self.ctime = Some(read_timestamp(reader)?),
            b"atime" => self.atime = Some(read_timestamp(reader)?),
            b"birthtime" => self.birthtime = Some(read_timestamp(reader)?),
            b"size" => self.size = nullable(reader, Reader::read_int)?,
            b"chunks" => self.chunks = nullable(reader, ChunkRefs::read)?,
            b"chunks_healthy" => self.chunks_healthy = nullable(reader, ChunkRefs::read)?,
            b"hardlink_master" => self.hardlink_master = nullable(reader, Reader::read_bool)?,
            b"source" => self.source = nullable(reader, Reader::read_raw)?,
            b"xattrs" => self.xattrs = nullable(reader, Xattrs::read)?,
            b"bsdflags" => self.bsdflags = nullable(reader, Reader::read_int)?,
            b"rdev" => self.rdev = nullable(reader, Reader::read_int)?,
            b"acl_access" => self.acl_access = nullable(reader, Reader::read_raw)?,
            b"acl_default" => self.acl_default = nullable(reader, Reader::read_raw)?,
            b"acl_extended" => self.acl_extended = nullable(reader, Reader::read_raw)?,
            b"acl_nfs4" => self.acl_nfs4 = nullable(reader, Reader::read_raw)?,
            b"part" => self.part = nullable(reader, Reader::read_int)?,
            // Attic 0.13 gave every item an `acl` that means nothing.
            b"acl" => drop(reader.skip()?),
            _ => {
                reader.skip()?;
                self.unknown += 1;
            }
        }
        Ok(())
    }

    /// Returns the encoded map.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the length of the content: `size`, or for old items the sum over the chunks.
    pub fn content_size(&self) -> u64 {
        self.size.unwrap_or_else(|| {
            let chunks = self.chunks.into_iter().flatten();
            chunks.map(|chunk| u64::from(chunk.size)).sum()
        })
    }

    /// Tells whether this is a hard link to an earlier item: a source, but no symbolic link.
    pub fn is_hardlink_slave(&self) -> bool {
        self.source.is_some() && self.mode & 0o170_000 != 0o120_000
    }

    /// Returns the keys that are not known here and their encoded values, as they stand.
    pub fn unknown(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        let pairs = match self.unknown {
            0 => 0,
            _ => reader.read_map_len().unwrap_or(0),
        };
        (0..pairs).filter_map(move |_| {
            let key = reader.read_raw().ok()?;
            let value = reader.skip().ok()?;
            (key != b"acl" && !super::ITEM_KEYS.iter().any(|known| known.as_bytes() == key))
                .then_some((key, value))
        })
    }

    /// Makes an item of its own of this.
    ///
    /// # Errors
    /// When an unknown key has a value that cannot be kept.
    pub fn to_item(&self) -> Result<Item, ItemError> {
        let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let list =
            |chunks: Option<ChunkRefs<'_>>| chunks.map(|chunks| chunks.into_iter().collect());
        Ok(Item {
            path: self.path.to_vec(),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            user: own(self.user),
            group: own(self.group),
            mtime: self.mtime,
            atime: self.atime,
            ctime: self.ctime,
            birthtime: self.birthtime,
            size: self.size,
            chunks: list(self.chunks),
            chunks_healthy: list(self.chunks_healthy),
            source: own(self.source),
            hardlink_master: self.hardlink_master,
            rdev: self.rdev,
            bsdflags: self.bsdflags,
            xattrs: self.xattrs.map(Xattrs::to_vec),
            acl_access: own(self.acl_access),
            acl_default: own(self.acl_default),
            acl_extended: own(self.acl_extended),
            acl_nfs4: own(self.acl_nfs4),
            part: self.part,
            unknown: self.unknown_values()?,
        })
    }

    fn unknown_values(&self) -> Result<Vec<(Vec<u8>, Value)>, ItemError> {
        let mut values = Vec::new();
        for (key, bytes) in self.unknown() {
            let value = Value::decode(bytes).map_err(|source| field(key, source))?;
            values.push((key.to_vec(), value));
        }
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(values)
    }
}

fn field(key: &[u8], source: DecodeError) -> ItemError {
    let shown = key.get(..100).unwrap_or(key);
    ItemError::Field {
        key: String::from_utf8_lossy(shown).into_owned(),
        source,
    }
}

/// Reads a value or `nil`.
#[inline]
/// Reads the number of an owner. One that no system has names nobody, as for Borg, and does not
/// make the item unreadable.
fn read_owner(reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
    let number = nullable(reader, Reader::read_integer)?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

fn nullable<'a, T>(
    reader: &mut Reader<'a>,
    read: fn(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if reader.read_nil() {
        Ok(None)
    } else {
        read(reader).map(Some)
    }
}

/// Reads ns since 1970: an integer, or, as Borg 1.0 wrote those of more than 63 bits, raw
/// little-endian two's complement. What is beyond `i64` becomes its nearest value.
fn read_timestamp(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    let Ok(raw) = reader.read_raw() else {
        let value = reader.read_integer()?;
        let limit = if value < 0 { i64::MIN } else { i64::MAX };
        return Ok(i64::try_from(value).unwrap_or(limit));
    };
    let negative = raw.last().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let mut low = [fill; 8];
    low.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
    let value = i64::from_le_bytes(low);
    let fits = raw.iter().skip(8).all(|byte| *byte == fill) && (value < 0) == negative;
    Ok(match (fits, negative) {
        (true, _) => value,
        (false, true) => i64::MIN,
        (false, false) => i64::MAX,
    })
}

/// A list of chunk references, encoded. Iterate over it by value; it is `Copy`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChunkRefs<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> ChunkRefs<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let len = reader.read_array_len()?;
        let begin = reader.rest();
        for _ in 0..len {
            read_chunk(reader)?;
        }
        let used = begin.len() - reader.rest().len();
        Ok(Self {
            bytes: begin.get(..used).unwrap_or_default(),
            len,
        })
    }

    /// Returns the number of references.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<'a> IntoIterator for ChunkRefs<'a> {
    type Item = ChunkRef;
    type IntoIter = ChunkRefIter<'a>;

    fn into_iter(self) -> ChunkRefIter<'a> {
        ChunkRefIter {
            reader: Reader::new(self.bytes),
            left: self.len,
        }
    }
}

/// Walks a list of chunk references.
#[derive(Debug, Clone)]
pub struct ChunkRefIter<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl Iterator for ChunkRefIter<'_> {
    type Item = ChunkRef;

    fn next(&mut self) -> Option<ChunkRef> {
        self.left = self.left.checked_sub(1)?;
        read_chunk(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ChunkRefIter<'_> {}

#[inline]
fn read_chunk(reader: &mut Reader<'_>) -> Result<ChunkRef, DecodeError> {
    let first = reader.peek().unwrap_or_default();
    if reader.read_array_len()? != 3 {
        return Err(DecodeError::UnexpectedType(first));
    }
    Ok(ChunkRef {
        id: ChunkId::new(reader.read_array()?),
        size: reader.read_int()?,
        csize: reader.read_int()?,
    })
}

/// Extended attributes, encoded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Xattrs<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Xattrs<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let len = reader.read_map_len()?;
        let begin = reader.rest();
        for _ in 0..len {
            reader.read_raw()?;
            nullable(reader, Reader::read_raw)?;
        }
        let used = begin.len() - reader.rest().len();
        Ok(Self {
            bytes: begin.get(..used).unwrap_or_default(),
            len,
        })
    }

    /// Returns the names with their values, `None` for empty ones, in stored order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.len).map_while(move |_| {
            let name = reader.read_raw().ok()?;
            Some((name, nullable(&mut reader, Reader::read_raw).ok()?))
        })
    }

    fn to_vec(self) -> XattrList {
        self.iter()
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
            .collect()
    }
}
