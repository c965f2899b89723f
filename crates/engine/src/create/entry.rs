//! What the workers find out about directories and files, on its way to the conductor.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fastness_format::item::{ChunkRef, Item};
use fastness_sys::directory::Listing;
use fastness_sys::stat::Stat;

use super::ahead::Sight;
use super::stages::StoredChunk;
use super::{ProducedFile, Root};
use crate::attributes::XattrWarning;
use crate::cache::files::{FileKey, Kept};
use crate::error::SourceError;
use crate::tasks::Slot;

/// A directory whose entries are being handled. Its descriptor stays open as long as one of them
/// may need it.
#[derive(Debug)]
pub struct Directory {
    /// Path as it is walked, without trailing slash; empty only for entries given by whole path.
    pub path: Vec<u8>,
    /// The open directory; none for entries given by whole path.
    pub fd: Option<OwnedFd>,
    /// Names in the order in which they are archived.
    pub names: NameList,
    /// The root below which it lies.
    pub root: Arc<WalkRoot>,
}

/// Names in one directory.
#[derive(Debug)]
pub enum NameList {
    /// As the directory was read.
    Read(Listing),
    /// Only these: a root, or the tags of a tagged directory.
    Given(Vec<CString>),
}

impl NameList {
    /// The number of names.
    pub fn len(&self) -> usize {
        match self {
            Self::Read(listing) => listing.len(),
            Self::Given(names) => names.len(),
        }
    }

    /// The name with this index.
    pub fn get(&self, index: usize) -> Option<&CStr> {
        match self {
            Self::Read(listing) => listing.get(index).map(|entry| entry.name),
            Self::Given(names) => names.get(index).map(CString::as_c_str),
        }
    }
}

/// What holds for everything below one root.
#[derive(Debug)]
pub struct WalkRoot {
    /// The root.
    pub root: Root,
    /// The device the walk stays on.
    pub only_device: Option<u64>,
    /// What is not archived.
    pub skipped: SkippedInodes,
}

/// Inodes, with their devices, that are not to be archived: own directories, and roots already
/// walked.
pub type SkippedInodes = HashSet<(u64, u64)>;

/// What opening a directory gave.
#[derive(Debug)]
pub struct Opened {
    /// The encoded item of the directory, unless it is excluded or stripped off.
    pub item: Option<Vec<u8>>,
    /// The status letter shown when the directory is done.
    pub status: Option<char>,
    /// Extended attributes that could not be read.
    pub warnings: Vec<XattrWarning>,
    /// Its entries; none when they are not to be looked at.
    pub entries: Option<Arc<Directory>>,
    /// The first of the entries, already looked at.
    pub first: Sight,
}

/// Some entries of a directory that were looked at.
///
/// What is ready lies together in few buffers: entries are made by one thread and taken by
/// another, and many small allocations would make them wait for each other.
#[derive(Debug, Default)]
pub struct Run {
    /// The entries in their order; none in place of one that was taken.
    pub entries: Vec<Option<Entry>>,
    /// Those that are ready.
    pub ready: Vec<ReadyItem>,
    /// Their items, encoded.
    pub encoded: Vec<u8>,
    /// Their chunks, with a reference counted for each.
    pub chunks: Vec<ChunkRef>,
}

/// Where the result of opening a directory arrives.
pub type OpenedSlot = Arc<Slot<Result<Opened, SourceError>>>;
/// Where a run of entries arrives.
pub type EntriesSlot = Arc<Slot<Run>>;

/// One name in a directory. `index` counts in [`Directory::names`].
#[derive(Debug)]
pub enum Entry {
    /// Excluded, and not searched.
    Excluded {
        /// Which name.
        index: usize,
    },
    /// A directory, to be opened.
    Directory {
        /// Which name.
        index: usize,
        /// What stat said of it.
        stat: Box<Stat>,
        /// Whether it is only searched for included entries.
        excluded: bool,
        /// Where its contents arrive, once asked for.
        slot: Option<OpenedSlot>,
    },
    /// An object that needs no reading, by its place in [`Run::ready`].
    Ready(usize),
    /// A regular file, or special file to be read, that is to be read.
    File {
        /// Which name.
        index: usize,
        /// What stat said of it.
        stat: Box<Stat>,
        /// How the files cache knows it; none when it must not be remembered.
        key: Option<FileKey>,
        /// Whether the files cache knew it with other attributes.
        known: bool,
    },
    /// An object with more than one name: the conductor knows whether it has seen another.
    Linked(Box<LinkedItem>),
    /// It could not be looked at.
    Failed {
        /// Which name.
        index: usize,
        /// Why.
        error: SourceError,
    },
    /// Not archived, only shown (dry run), or not even that.
    Shown {
        /// Which name.
        index: usize,
        /// The status letter.
        status: char,
    },
}

/// An encoded item and what else is to be noted when it is accepted.
#[derive(Debug)]
pub struct ReadyItem {
    /// Which name.
    pub index: usize,
    /// Status letter.
    pub status: char,
    /// Where in [`Run::encoded`] its item is.
    pub encoded: Range<usize>,
    /// Extended attributes that could not be read.
    pub warnings: Vec<XattrWarning>,
    /// For regular files, which are unchanged: how they are known, and where in [`Run::chunks`]
    /// their chunks are.
    pub content: Option<(Unchanged, Range<usize>)>,
}

/// How the files cache knows an unchanged file.
#[derive(Debug)]
pub struct Unchanged {
    /// Under which key.
    pub key: FileKey,
    /// What is to be remembered.
    pub stamp: FileStamp,
    /// The record, if it says just that.
    pub kept: Option<Kept>,
}

/// What tells that a file is the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// ctime or mtime in ns, by the mode of the files cache.
    pub changed: i64,
}

/// An object that has further names somewhere.
#[derive(Debug)]
pub struct LinkedItem {
    /// Which name.
    pub index: usize,
    /// What stat said of it.
    pub stat: Stat,
    /// Everything but `hardlink_master`, `source` and the content.
    pub item: Item,
    /// Extended attributes that could not be read.
    pub warnings: Vec<XattrWarning>,
    /// Status letter if it is no further name of something archived before.
    pub status: char,
    /// For a regular file that is unchanged: how it is known, and its chunks with a reference
    /// counted for each.
    pub unchanged: Option<(Unchanged, Vec<ChunkRef>)>,
    /// For regular files: how the files cache knows it, and whether it knew it.
    pub key: Option<FileKey>,
    /// Whether the files cache knew it with other attributes.
    pub known: bool,
}

/// A file that is to be read.
#[derive(Debug)]
pub struct FileToRead {
    /// The directory it is in.
    pub directory: Arc<Directory>,
    /// Which name there.
    pub index: usize,
    /// The path as it is walked.
    pub path: Vec<u8>,
    /// The path under which it is archived.
    pub archived_path: Vec<u8>,
    /// What stat said of it.
    pub stat: Stat,
    /// How the files cache knows it.
    pub key: Option<FileKey>,
    /// `A` or `M`.
    pub status: char,
    /// What the item says of hard links.
    pub hardlink_master: bool,
    /// Which of the streams in the options it is, if it is one.
    pub stream: Option<usize>,
    /// One of several files of that stream.
    pub produced: Option<ProducedFile>,
}

/// What reading a file gave.
#[derive(Debug)]
pub struct ReadFile {
    /// The file.
    pub file: FileToRead,
    /// Whether it was opened, so that its status was due before any error.
    pub opened: bool,
    /// The item without its content, or why there is none.
    pub outcome: Result<ReadItem, SourceError>,
    /// Its chunks, in order; also after an error, those that were stored.
    pub chunks: Vec<StoredChunk>,
}

/// An item whose content was read.
#[derive(Debug)]
pub struct ReadItem {
    /// The item, without `chunks` and `size`.
    pub item: Item,
    /// Extended attributes that could not be read.
    pub warnings: Vec<XattrWarning>,
    /// What the files cache is to remember.
    pub stamp: FileStamp,
    /// Whether the file changed while it was read.
    pub changed: bool,
}
