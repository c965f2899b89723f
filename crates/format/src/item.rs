//! Items: what an archive says about each file, directory, link or device.
//!
//! The chunks named in an archive's `items`, one behind the other, are a stream of msgpack maps,
//! one per object. [`Item`] owns such a map, [`ItemRef`] is a view into its bytes that allocates
//! nothing, [`ItemDecoder`] takes the stream apart. Keys are written sorted and integers in their
//! smallest form, byte for byte as Borg does, so that unchanged items deduplicate between the two.
//!
//! Reading is tolerant: any order of keys, old raw timestamps, a `csize` of 0 (not known when it
//! was written), keys missing or unknown; unknown ones are kept and written again.

mod stream;
mod view;

pub use stream::{DEFAULT_ITEM_LIMIT, ItemDecoder};
pub use view::{ChunkRefs, ItemRef, Xattrs};

use crate::id::ChunkId;
use crate::msgpack::{self, DecodeError, Reader, Value};

/// Every key an item may have, sorted. The manifest's `item_keys` holds at least these.
pub const ITEM_KEYS: [&str; 23] = [
    "acl_access",
    "acl_default",
    "acl_extended",
    "acl_nfs4",
    "atime",
    "birthtime",
    "bsdflags",
    "chunks",
    "chunks_healthy",
    "ctime",
    "gid",
    "group",
    "hardlink_master",
    "mode",
    "mtime",
    "part",
    "path",
    "rdev",
    "size",
    "source",
    "uid",
    "user",
    "xattrs",
];

/// Latest timestamp that Borg archives, in ns: later ones are cut down to it, earlier than 1970
/// to 0.
pub const MAX_TIMESTAMP: i64 = 2_147_310_847_000_000_000;

/// A map that is no item, or a stream that is none of items.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// The bytes are no msgpack; where the next item begins is not known.
    #[error("item metadata stream is damaged at offset {offset}")]
    Stream {
        /// Offset of the item in the stream of all bytes fed.
        offset: u64,
        /// What msgpack says.
        #[source]
        source: DecodeError,
    },
    /// The stream ended inside an item.
    #[error("item metadata stream ends inside the item at offset {offset}")]
    Truncated {
        /// Offset of the item in the stream of all bytes fed.
        offset: u64,
    },
    /// One item is longer than the limit.
    #[error("item at offset {offset} is longer than {limit} bytes")]
    TooLong {
        /// Offset of the item in the stream of all bytes fed.
        offset: u64,
        /// The limit.
        limit: usize,
    },
    /// A whole value, but no map. The stream goes on after it.
    #[error("item is not a dictionary")]
    NotAMap,
    /// A required key is missing. The stream goes on after it.
    #[error("item has no {0}")]
    Missing(&'static str),
    /// A key has a value it cannot have. The stream goes on after it.
    #[error("item has an invalid value for {key:?}")]
    Field {
        /// The key.
        key: String,
        /// What is wrong with its value.
        #[source]
        source: DecodeError,
    },
}

impl ItemError {
    /// Tells whether the decoder stands behind the item in question and may go on.
    ///
    /// Otherwise the position is lost, and [`ItemDecoder::resync`] is what can be done.
    pub fn is_recoverable(&self) -> bool {
        matches!(self, Self::NotAMap | Self::Missing(_) | Self::Field { .. })
    }
}

/// One reference to a content chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRef {
    /// Key of the chunk in the repository.
    pub id: ChunkId,
    /// Length of its data in bytes.
    pub size: u32,
    /// Length of the stored object in bytes; 0 when it was not known at the time.
    pub csize: u32,
}

/// Names and values of extended attributes; `None` is an empty value.
pub type XattrList = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The metadata of one filesystem object, as it is archived.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Item {
    /// Path without leading slash; never empty in what Borg writes.
    pub path: Vec<u8>,
    /// File type and permissions, `st_mode`.
    pub mode: u32,
    /// Numeric owner.
    pub uid: Option<u32>,
    /// Numeric group.
    pub gid: Option<u32>,
    /// Name of the owner. Without one, `nil` is written if there is a `uid`.
    pub user: Option<Vec<u8>>,
    /// Name of the group. Without one, `nil` is written if there is a `gid`.
    pub group: Option<Vec<u8>>,
    /// Modification time in ns since 1970, UTC.
    pub mtime: Option<i64>,
    /// Access time in ns.
    pub atime: Option<i64>,
    /// Change time of the inode in ns.
    pub ctime: Option<i64>,
    /// Creation time in ns.
    pub birthtime: Option<i64>,
    /// Length of the content in bytes, in items with own chunks.
    pub size: Option<u64>,
    /// The content; absent in all that are not regular files, and in hard links to earlier items.
    pub chunks: Option<Vec<ChunkRef>>,
    /// The content before `check --repair` replaced lost chunks by zeros.
    pub chunks_healthy: Option<Vec<ChunkRef>>,
    /// Target of a symbolic link, or archived path of the item this is a hard link to.
    pub source: Option<Vec<u8>>,
    /// Whether hard links to this item may follow; old archives do not say.
    pub hardlink_master: Option<bool>,
    /// Device number of character and block devices.
    pub rdev: Option<u64>,
    /// File flags in BSD's numbering; never 0.
    pub bsdflags: Option<u32>,
    /// Extended attributes; `None` stands for an empty value. Written sorted by name.
    pub xattrs: Option<XattrList>,
    /// POSIX access ACL as text.
    pub acl_access: Option<Vec<u8>>,
    /// POSIX default ACL as text.
    pub acl_default: Option<Vec<u8>>,
    /// Extended ACL of macOS as text.
    pub acl_extended: Option<Vec<u8>>,
    /// NFSv4 ACL as text.
    pub acl_nfs4: Option<Vec<u8>>,
    /// Number of the part, in items a checkpoint inside a file left.
    pub part: Option<u64>,
    /// Keys that are not known here, sorted.
    pub unknown: Vec<(Vec<u8>, Value)>,
}

impl Item {
    /// Reads the item at the reader.
    ///
    /// # Errors
    /// When no item stands there; after a recoverable error the reader stands behind the value.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, ItemError> {
        ItemRef::decode(reader)?.to_item()
    }

    /// Tells whether this is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }

    /// Tells whether this is a hard link to an earlier item: a source, but no symbolic link.
    pub fn is_hardlink_slave(&self) -> bool {
        self.source.is_some() && !self.is_symlink()
    }

    /// Returns the length of the content: `size`, or for old items the sum over the chunks.
    pub fn content_size(&self) -> u64 {
        self.size.unwrap_or_else(|| {
            let chunks = self.chunks.as_deref().unwrap_or_default();
            chunks.iter().map(|chunk| u64::from(chunk.size)).sum()
        })
    }

    /// Appends the item, byte for byte as Borg writes it.
    ///
    /// Allocates nothing but what `out` needs to grow, but for items of more than 15 keys or with
    /// extended attributes out of order.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let lists = self.chunks.as_ref().map_or(0, Vec::len)
            + self.chunks_healthy.as_ref().map_or(0, Vec::len);
        out.reserve(256 + self.path.len() + lists.saturating_mul(ENCODED_CHUNK_MAX));
        let mut map = MapWriter::new(out, &self.unknown);
        self.write_acls_and_times(&mut map);
        map.optional(b"chunks", self.chunks.as_deref(), write_chunks);
        map.optional(
            b"chunks_healthy",
            self.chunks_healthy.as_deref(),
            write_chunks,
        );
        map.optional(b"ctime", self.ctime, msgpack::write_int);
        map.optional(b"gid", self.gid, write_u32);
        map.nullable(b"group", self.group.as_deref(), self.gid.is_some());
        map.optional(
            b"hardlink_master",
            self.hardlink_master,
            msgpack::write_bool,
        );
        map.optional(b"mode", Some(self.mode), write_u32);
        map.optional(b"mtime", self.mtime, msgpack::write_int);
        map.optional(b"part", self.part, msgpack::write_uint);
        map.optional(b"path", Some(self.path.as_slice()), msgpack::write_raw);
        map.optional(b"rdev", self.rdev, msgpack::write_uint);
        map.optional(b"size", self.size, msgpack::write_uint);
        map.optional(b"source", self.source.as_deref(), msgpack::write_raw);
        map.optional(b"uid", self.uid, write_u32);
        map.nullable(b"user", self.user.as_deref(), self.uid.is_some());
        map.optional(b"xattrs", self.xattrs.as_deref(), write_xattrs);
        map.finish();
    }

    fn write_acls_and_times(&self, map: &mut MapWriter<'_, '_>) {
        map.optional(
            b"acl_access",
            self.acl_access.as_deref(),
            msgpack::write_raw,
        );
        map.optional(
            b"acl_default",
            self.acl_default.as_deref(),
            msgpack::write_raw,
        );
        map.optional(
            b"acl_extended",
            self.acl_extended.as_deref(),
            msgpack::write_raw,
        );
        map.optional(b"acl_nfs4", self.acl_nfs4.as_deref(), msgpack::write_raw);
        map.optional(b"atime", self.atime, msgpack::write_int);
        map.optional(b"birthtime", self.birthtime, msgpack::write_int);
        map.optional(b"bsdflags", self.bsdflags, write_u32);
    }
}

/// Longest encoding of a chunk reference: array, id and two 5-byte integers.
const ENCODED_CHUNK_MAX: usize = 1 + 3 + 32 + 5 + 5;

/// Writes the pairs of a map whose number is known only at the end, merging in unknown keys.
struct MapWriter<'o, 'u> {
    out: &'o mut Vec<u8>,
    start: usize,
    pairs: usize,
    unknown: std::iter::Peekable<std::slice::Iter<'u, (Vec<u8>, Value)>>,
}

impl<'o, 'u> MapWriter<'o, 'u> {
    fn new(out: &'o mut Vec<u8>, unknown: &'u [(Vec<u8>, Value)]) -> Self {
        let start = out.len();
        // Room for the header of up to 15 pairs; one of three bytes is made room for in `finish`.
        out.push(0x80);
        Self {
            out,
            start,
            pairs: 0,
            unknown: unknown.iter().peekable(),
        }
    }

    fn key(&mut self, key: &[u8]) {
        while let Some((name, value)) = self.unknown.next_if(|(name, _)| name.as_slice() < key) {
            msgpack::write_raw(self.out, name);
            value.write(self.out);
            self.pairs += 1;
        }
        msgpack::write_raw(self.out, key);
        self.pairs += 1;
    }

    #[inline]
    fn optional<T>(&mut self, key: &[u8], value: Option<T>, write: fn(&mut Vec<u8>, T)) {
        if let Some(value) = value {
            self.key(key);
            write(self.out, value);
        }
    }

    #[inline]
    fn nullable(&mut self, key: &[u8], value: Option<&[u8]>, expected: bool) {
        if let Some(value) = value {
            self.key(key);
            msgpack::write_raw(self.out, value);
        } else if expected {
            self.key(key);
            msgpack::write_nil(self.out);
        }
    }

    fn finish(mut self) {
        for (name, value) in self.unknown.by_ref() {
            msgpack::write_raw(self.out, name);
            value.write(self.out);
            self.pairs += 1;
        }
        if self.pairs < 16 {
            if let Some(first) = self.out.get_mut(self.start) {
                *first = 0x80 | self.pairs as u8;
            }
        } else {
            let mut header = Vec::with_capacity(5);
            msgpack::write_map_len(&mut header, self.pairs);
            self.out.splice(self.start..=self.start, header);
        }
    }
}

fn write_u32(out: &mut Vec<u8>, value: u32) {
    msgpack::write_uint(out, value.into());
}

fn write_chunks(out: &mut Vec<u8>, chunks: &[ChunkRef]) {
    msgpack::write_array_len(out, chunks.len());
    for chunk in chunks {
        out.extend_from_slice(&[0x93, 0xda, 0x00, 0x20]);
        out.extend_from_slice(chunk.id.as_bytes());
        write_u32(out, chunk.size);
        write_u32(out, chunk.csize);
    }
}

fn write_xattrs(out: &mut Vec<u8>, xattrs: &[(Vec<u8>, Option<Vec<u8>>)]) {
    msgpack::write_map_len(out, xattrs.len());
    if xattrs.is_sorted_by(|(a, _), (b, _)| a <= b) {
        xattrs.iter().for_each(|pair| write_xattr(out, pair));
    } else {
        let mut sorted: Vec<_> = xattrs.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
        sorted.into_iter().for_each(|pair| write_xattr(out, pair));
    }
}

fn write_xattr(out: &mut Vec<u8>, (name, value): &(Vec<u8>, Option<Vec<u8>>)) {
    msgpack::write_raw(out, name);
    match value {
        Some(value) => msgpack::write_raw(out, value),
        None => msgpack::write_nil(out),
    }
}

#[cfg(test)]
mod tests;
