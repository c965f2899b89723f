//! Looking at directories and their entries, on any thread.
//!
//! A [`Lister`] knows what is to be taken and what the last run remembered. It changes nothing and
//! may run ahead of the walk; what depends on the order (hard links, roots walked before) is left
//! to the conductor. An unchanged file costs one stat and one listing of its extended attributes:
//! it is not opened.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::CString;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use fastness_format::item::{ChunkRef, Item};
use fastness_sys::directory::{self, DirectoryReader, Listing, Order};
use fastness_sys::file;
use fastness_sys::stat::{self, FileKind, Stat};

use super::ahead::Sight;
use super::claims::Claims;
use super::conductor::{RUN_OF_NAMES, join};
use super::entry::{
    Directory, Entry, FileStamp, LinkedItem, NameList, Opened, ReadyItem, Run, Unchanged, WalkRoot,
};
use super::read::Cutter;
use super::{CreateOptions, FileChunker};
use crate::attributes::{self, Attributes, Names, XattrWarning};
use crate::cache::files::{FileKey, FilesCache, Known};
use crate::error::SourceError;
use crate::select::tags::{self, TagRules};

/// The encoded item of a directory, its status letter, and attributes that could not be read.
type DirectoryItem = (Option<Vec<u8>>, Option<char>, Vec<XattrWarning>);

/// A directory that is to be opened.
#[derive(Debug)]
pub struct OpenRequest {
    /// The directory it is in.
    pub parent: Arc<Directory>,
    /// Its name there.
    pub index: usize,
    /// What stat said of it.
    pub stat: Stat,
    /// Whether it is only searched for included entries.
    pub excluded: bool,
}

/// Looks at the file system for one create.
pub struct Lister<'a> {
    /// What the caller wants.
    pub options: &'a CreateOptions,
    /// How files are cut.
    pub chunker: &'a FileChunker,
    /// How streams are cut that are cut otherwise, by their numbers.
    pub stream_chunkers: &'a [Option<FileChunker>],
    /// What the last run remembered.
    pub files: &'a FilesCache,
    /// Which chunks are there.
    pub claims: &'a Claims,
    /// Names of users and groups.
    pub names: &'a Names,
    /// Working directory, to which relative paths are joined for the files cache.
    pub cwd: &'a [u8],
}

impl<'a> Lister<'a> {
    /// How metadata is read.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes {
            options: self.options.attributes,
            names: self.names,
        }
    }

    /// Where in a file holes begin to be cut for themselves; none when they are not.
    pub(super) fn cut_holes_from(&self) -> Option<u64> {
        match self.chunker {
            FileChunker::Fixed(fixed) if self.options.sparse => Some(fixed.header_size()),
            _ => None,
        }
    }

    /// What finds the chunks of a file.
    pub(super) fn cutter(&self) -> Cutter<'a> {
        Cutter::new(self.chunker)
    }

    /// Begins to cut a file, or what comes from this stream.
    pub(super) fn cutter_of(&self, stream: Option<usize>) -> Cutter<'a> {
        let own = stream.and_then(|number| self.stream_chunkers.get(number)?.as_ref());
        Cutter::new(own.unwrap_or(self.chunker))
    }

    /// Looks at a root. None when it is not to be archived.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn root(&self, directory: &Arc<Directory>, stat: &Stat) -> Option<Run> {
        let mut run = Run::default();
        let entry = self.entry(directory, 0, Some(*stat), &mut run)?;
        run.entries.push(Some(entry));
        Some(run)
    }

    /// Opens a directory, collects its metadata and looks at the first of its entries.
    ///
    /// # Errors
    /// When it cannot be opened, or is something else by now.
    pub fn open(&self, request: &OpenRequest) -> Result<Opened, SourceError> {
        let _stage = tracing::trace_span!("open_directory").entered();
        let parent = &request.parent;
        let path = parent.path_of(request.index);
        let fd = directory::open_directory(parent.at(), parent.name(request.index))
            .map_err(|error| SourceError::io("dir_open", error))?;
        let now = stat::stat_open(fd.as_fd()).map_err(|error| SourceError::io("fstat", error))?;
        attributes::check_same_file(&request.stat, &now)?;
        let root = Arc::clone(&parent.root);
        let recurse =
            self.options.descend && root.only_device.is_none_or(|device| device == now.device);
        let tags = if recurse {
            tags_of(fd.as_fd(), &self.options.tags)
        } else {
            Vec::new()
        };
        let tagged = !tags.is_empty();
        let archived = !request.excluded && (!tagged || self.options.tags.keep_exclude_tags);
        let (item, status, warnings) = if archived {
            self.directory_item(&root, &path, fd.as_fd(), &now)?
        } else {
            (None, None, Vec::new())
        };
        let names = match (recurse, tagged) {
            (true, false) => NameList::Read(list(fd.as_fd())?),
            (true, true) if archived => NameList::Given(tags),
            _ => NameList::Given(Vec::new()),
        };
        let entries = Arc::new(Directory {
            path,
            fd: Some(fd),
            names,
            root,
        });
        let first = 0..entries.names.len().min(RUN_OF_NAMES);
        Ok(Opened {
            item,
            status: match (tagged, request.excluded) {
                (true, false) => Some('x'),
                _ => status,
            },
            warnings,
            first: Sight::new(self.look_at(&entries, first)),
            entries: Some(entries),
        })
    }

    /// What is archived and shown of a directory itself.
    fn directory_item(
        &self,
        root: &WalkRoot,
        path: &[u8],
        fd: BorrowedFd<'_>,
        stat: &Stat,
    ) -> Result<DirectoryItem, SourceError> {
        if self.options.dry_run {
            return Ok((None, Some('-'), Vec::new()));
        }
        let Some(archived_path) = root.root.stored_path(path) else {
            return Ok((None, Some('x'), Vec::new()));
        };
        let mut item = Item {
            path: archived_path,
            ..Item::default()
        };
        let warnings = attributes::read_open(fd, stat, &self.attributes(), &mut item)?;
        Ok((Some(encode(&item)), Some('d'), warnings))
    }

    /// Looks at some of the entries of a directory.
    pub fn look_at(&self, directory: &Arc<Directory>, names: Range<usize>) -> Run {
        let _stage = tracing::trace_span!("look_at_entries").entered();
        let mut run = Run {
            entries: Vec::with_capacity(names.len()),
            ..Run::default()
        };
        for index in names {
            if let Some(entry) = self.entry(directory, index, None, &mut run) {
                run.entries.push(Some(entry));
            }
        }
        run
    }

    /// Looks at one entry. None for what is passed over in silence.
    fn entry(
        &self,
        directory: &Arc<Directory>,
        index: usize,
        stat: Option<Stat>,
        run: &mut Run,
    ) -> Option<Entry> {
        let path = directory.path_of(index);
        let decision = self.options.patterns.check(&path);
        if !decision.included && !decision.recurse {
            // Not even looked at: that could be what the user excluded it for.
            return Some(Entry::Excluded { index });
        }
        let stat = match stat.map_or_else(|| self.stat(directory, index), Ok) {
            Ok(stat) => stat,
            Err(error) => return Some(Entry::Failed { index, error }),
        };
        let is_directory = stat.kind() == FileKind::Directory;
        if !decision.included && !is_directory {
            return Some(Entry::Excluded { index });
        }
        if directory.root.skipped.contains(&(stat.inode, stat.device)) {
            return None;
        }
        if self.options.exclude_nodump && stat.flags.is_some_and(|flags| flags.nodump) {
            return Some(Entry::Excluded { index });
        }
        if is_directory {
            return Some(Entry::Directory {
                index,
                stat: Box::new(stat),
                excluded: !decision.included,
                slot: None,
            });
        }
        self.object(directory, index, path, stat, run)
    }

    fn stat(&self, directory: &Directory, index: usize) -> Result<Stat, SourceError> {
        stat::stat_entry(directory.at(), directory.name(index))
            .map_err(|error| SourceError::io("stat", error))
    }

    /// Looks at anything but a directory.
    fn object(
        &self,
        directory: &Arc<Directory>,
        index: usize,
        path: Vec<u8>,
        stat: Stat,
        run: &mut Run,
    ) -> Option<Entry> {
        if let Some(entry) = self.special(directory, index, &path, &stat) {
            return Some(entry);
        }
        let status = match stat.kind() {
            FileKind::Regular => 'A',
            FileKind::Symlink => 's',
            FileKind::Fifo => 'f',
            FileKind::CharacterDevice => 'c',
            FileKind::BlockDevice => 'b',
            _ => return None,
        };
        if self.options.dry_run {
            return Some(Entry::Shown { index, status: '-' });
        }
        let Some(archived_path) = directory.root.root.stored_path(&path) else {
            return Some(Entry::Excluded { index });
        };
        let (key, remembered) = match stat.kind() {
            FileKind::Regular => self.remembered(&path, &stat),
            _ => (None, Known::No),
        };
        let known = !matches!(remembered, Known::No);
        let linked = stat.links > 1 && stat.kind().is_hardlinkable();
        let to_read = |key| Entry::File {
            index,
            stat: Box::new(stat),
            key,
            known,
        };
        let is_unchanged = matches!(remembered, Known::Unchanged(..));
        if stat.kind() == FileKind::Regular && !linked && !is_unchanged {
            return Some(to_read(key));
        }
        let (item, warnings) = match self.item(directory, index, archived_path, &stat) {
            Ok(collected) => collected,
            Err(error) => return Some(Entry::Failed { index, error }),
        };
        let first = run.chunks.len();
        let unchanged = key.and_then(|key| self.unchanged(key, &stat, remembered, &mut run.chunks));
        if is_unchanged && !linked && unchanged.is_none() {
            return Some(to_read(key));
        }
        let status = if unchanged.is_some() { 'U' } else { status };
        if linked {
            let chunks = run.chunks.split_off(first);
            return Some(Entry::Linked(Box::new(LinkedItem {
                index,
                stat,
                item,
                warnings,
                status,
                unchanged: unchanged.map(|unchanged| (unchanged, chunks)),
                key,
                known,
            })));
        }
        let content = unchanged.map(|unchanged| (unchanged, first..run.chunks.len()));
        let encoded = ready(item, content.as_ref().map(|_| first), run);
        run.ready.push(ReadyItem {
            index,
            status,
            encoded,
            warnings,
            content,
        });
        Some(Entry::Ready(run.ready.len() - 1))
    }

    /// A device or fifo whose content is wanted, perhaps behind a symlink.
    fn special(
        &self,
        directory: &Directory,
        index: usize,
        path: &[u8],
        stat: &Stat,
    ) -> Option<Entry> {
        if !self.options.read_special {
            return None;
        }
        let stat = match stat.kind() {
            FileKind::Symlink => stat::stat_followed(directory.at(), directory.name(index)).ok()?,
            _ => *stat,
        };
        if !matches!(
            stat.kind(),
            FileKind::Fifo | FileKind::CharacterDevice | FileKind::BlockDevice
        ) {
            return None;
        }
        if self.options.dry_run {
            return Some(Entry::Shown { index, status: '-' });
        }
        if directory.root.root.stored_path(path).is_none() {
            return Some(Entry::Excluded { index });
        }
        Some(Entry::File {
            index,
            stat: Box::new(stat),
            key: None,
            known: false,
        })
    }

    /// Collects the metadata of an object without opening it.
    fn item(
        &self,
        directory: &Directory,
        index: usize,
        archived_path: Vec<u8>,
        stat: &Stat,
    ) -> Result<(Item, Vec<XattrWarning>), SourceError> {
        let mut item = Item {
            path: archived_path,
            ..Item::default()
        };
        let (at, name) = (directory.at(), directory.name(index));
        if stat.kind() == FileKind::Symlink {
            let target =
                file::read_link(at, name).map_err(|error| SourceError::io("readlink", error))?;
            item.source = Some(target);
        }
        let warnings = attributes::read_entry(at, name, stat, &self.attributes(), &mut item)?;
        Ok((item, warnings))
    }

    /// Asks the files cache for a file and how it knows it. The chunks of an unchanged file are
    /// needed next.
    fn remembered(&self, path: &[u8], stat: &Stat) -> (Option<FileKey>, Known<'a>) {
        if !self.files.mode().is_enabled() {
            return (None, Known::No);
        }
        let path = match path.starts_with(b"/") {
            true => Cow::Borrowed(path),
            false => Cow::Owned(join(self.cwd, path)),
        };
        let mut aliases = self.options.aliases.iter();
        let lasting = aliases.find_map(|alias| alias.lasting(&path));
        let key = FileKey::new(lasting.as_deref().unwrap_or(&path));
        let stamp = self.stamp(stat);
        let known = self
            .files
            .look_up(&key, stamp.inode, stamp.size, stamp.changed);
        if let Known::Unchanged(ids, _) = &known {
            self.claims.table.prefetch(ids.clone());
        }
        (Some(key), known)
    }

    /// Counts the references of an unchanged file and appends its chunks; none when one was lost:
    /// then the file is read as if it were modified.
    fn unchanged(
        &self,
        key: FileKey,
        stat: &Stat,
        known: Known<'_>,
        chunks: &mut Vec<ChunkRef>,
    ) -> Option<Unchanged> {
        let Known::Unchanged(ids, kept) = known else {
            return None;
        };
        let stamp = self.stamp(stat);
        let complete = self.claims.table.reference_all(ids, chunks);
        complete.then_some(Unchanged { key, stamp, kept })
    }

    /// What the files cache compares.
    pub(super) fn stamp(&self, stat: &Stat) -> FileStamp {
        FileStamp {
            inode: stat.inode,
            size: stat.size,
            changed: self.files.mode().changed(stat.ctime, stat.mtime),
        }
    }
}

/// Names of the tags that exclude a directory.
fn tags_of(fd: BorrowedFd<'_>, rules: &TagRules) -> Vec<CString> {
    if rules.is_empty() {
        return Vec::new();
    }
    let tags = rules.tags_of(
        |name| stat::stat_followed(fd, name).is_ok(),
        |bytes| {
            let tag = file::open_for_reading(fd, tags::CACHE_TAG_NAME).ok()?;
            let mut content = Vec::new();
            file::read_full(tag, &mut content, bytes).ok()?;
            Some(content)
        },
    );
    tags.into_iter()
        .filter_map(|name| CString::new(name).ok())
        .collect()
}

thread_local! {
    /// Room for directory entries as the kernel gives them.
    static ROOM: RefCell<DirectoryReader> = RefCell::new(DirectoryReader::new());
}

/// Reads the names of a directory, ordered by inode number as Borg does.
fn list(fd: BorrowedFd<'_>) -> Result<Listing, SourceError> {
    let mut listing = Listing::new();
    ROOM.with_borrow_mut(|room| room.read(fd, Order::Inode, &mut listing))
        .map_err(|error| SourceError::io("scandir", error))?;
    Ok(listing)
}

/// Encodes an item that needs no reading, with the chunks of the run from `first` on if it has
/// content, and returns where it is.
fn ready(mut item: Item, first: Option<usize>, run: &mut Run) -> Range<usize> {
    if item.mode & 0o170_000 != 0o120_000 {
        item.hardlink_master = Some(false);
    }
    if let Some(first) = first {
        let chunks = run.chunks.get(first..).unwrap_or_default();
        item.size = Some(chunks.iter().map(|chunk| u64::from(chunk.size)).sum());
        item.chunks = Some(chunks.to_vec());
    }
    let start = run.encoded.len();
    item.encode(&mut run.encoded);
    start..run.encoded.len()
}

fn encode(item: &Item) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(384);
    item.encode(&mut encoded);
    encoded
}
