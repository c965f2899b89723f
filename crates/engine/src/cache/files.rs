//! The files cache: which chunks a file had when it was last read, so that it need not be again.
//!
//! A new generation of the file is written while a create runs, in the order of its walk; the next
//! run walks about the same way and finds most files one record after the other, without an
//! index. Everything else goes through an index at the end. The file is mapped, not parsed.
//!
//! ```text
//! header  magic 16, repository id 32, bytes of records u64, records u64, slots u64, xxh64 of these
//! record  checksum u32, age u8, chunks u24, key 16, inode u64, size u64, changed i64, chunks × id 32
//! slot    first 4 bytes of the key u32, offset of the record / 16 + 1 as u32; 0 = empty
//! ```
//! Little-endian. A record's checksum is the lower half of the xxh64 of all that follows it. A
//! record is believed only if that is right and its key is the one looked for: damage costs time,
//! never truth. Files whose entries are missing here are just read again.

mod reader;
mod writer;

use std::str::FromStr;

use sha2::{Digest, Sha256};
use twox_hash::XxHash64;

use reader::Entry;
pub use reader::{ChunkIds, FilesCache, Kept, Known};
pub use writer::FilesCacheWriter;

const MAGIC: [u8; 16] = *b"FASTNESS FILES 1";
const HEADER: usize = 16 + 32 + 8 * 4;
const RECORD: usize = 48;
const SLOT: usize = 8;

/// Records begin at multiples of this.
const UNIT: usize = 16;

/// Most chunks a record can have.
const MAX_CHUNKS: usize = 0xff_ffff;

/// Age of a record that is not to be used.
const DEAD: u8 = u8::MAX;

/// Number of runs an entry survives without its file being seen, unless told otherwise.
pub const DEFAULT_TTL: u32 = 20;

/// What a path is remembered under: a hash of its absolute form that nobody can find a second
/// path for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey([u8; 16]);

impl FileKey {
    /// Makes the key of an absolute path.
    pub fn new(path: &[u8]) -> Self {
        let hash = Sha256::digest(path);
        Self(hash.first_chunk().copied().unwrap_or_default())
    }

    fn tag(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d])
    }
}

/// Which time is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Change,
    Modification,
    None,
}

/// By what a file is taken for unchanged (`--files-cache`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesCacheMode {
    time: Time,
    size: bool,
    inode: bool,
    rechunk: bool,
    disabled: bool,
}

impl Default for FilesCacheMode {
    /// `ctime,size,inode`.
    fn default() -> Self {
        Self {
            time: Time::Change,
            size: true,
            inode: true,
            rechunk: false,
            disabled: false,
        }
    }
}

/// A text that is no files cache mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid files cache mode {0:?}, expected one of: ctime,size,inode; mtime,size,inode; ctime,size; mtime,size; size; rechunk,ctime; rechunk,mtime; disabled"
)]
pub struct InvalidFilesCacheMode(pub String);

impl FromStr for FilesCacheMode {
    type Err = InvalidFilesCacheMode;

    /// Reads one of the combinations Borg knows, in any order.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words: Vec<&str> = text.trim().split(',').collect();
        words.sort_unstable();
        words.dedup();
        let known = matches!(
            words.as_slice(),
            ["ctime" | "mtime", "size"] | ["size"] | ["ctime", "rechunk"] | ["disabled"]
        ) || matches!(
            words.as_slice(),
            ["ctime", "inode", "size"] | ["inode", "mtime", "size"] | ["mtime", "rechunk"]
        );
        if !known {
            return Err(InvalidFilesCacheMode(text.to_owned()));
        }
        Ok(Self {
            time: match () {
                () if words.contains(&"ctime") => Time::Change,
                () if words.contains(&"mtime") => Time::Modification,
                () => Time::None,
            },
            size: words.contains(&"size"),
            inode: words.contains(&"inode"),
            rechunk: words.contains(&"rechunk"),
            disabled: words.contains(&"disabled"),
        })
    }
}

impl FilesCacheMode {
    /// Tells whether the cache is read or written at all.
    pub fn is_enabled(&self) -> bool {
        !self.disabled
    }

    /// Tells whether every file is read again, though remembered.
    pub fn rechunks(&self) -> bool {
        self.rechunk
    }

    /// Returns the time that is compared and remembered, of the two that stat tells.
    pub fn changed(&self, ctime: i64, mtime: i64) -> i64 {
        match self.time {
            Time::Change | Time::None => ctime,
            Time::Modification => mtime,
        }
    }

    fn is_unchanged(&self, entry: &Entry<'_>, inode: u64, size: u64, changed: i64) -> bool {
        (self.time == Time::None || entry.changed == changed)
            && (!self.size || entry.size == size)
            && (!self.inode || entry.inode == inode)
    }
}

/// The checksum of what follows it in a record.
fn checksum(bytes: &[u8]) -> u32 {
    XxHash64::oneshot(0x7265_636f_7264, bytes) as u32
}

#[cfg(test)]
mod tests;
