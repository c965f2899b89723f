//! What waits to become part of the archive, in the order of the archive.
//!
//! The conductor appends at one end; [`Pending::settle`] takes from the other what is complete,
//! counts its references, remembers its files and adds its items to the stream. Nothing overtakes
//! anything, but at a checkpoint, where complete files may pass one that is still being read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, Item};

use super::big::BigFile;
use super::crew::Crew;
use super::entry::{FileStamp, FileToRead, LinkedItem, ReadFile, Unchanged};
use super::items::ItemStream;
use super::lister::Lister;
use super::read::read_batch;
use super::stages::StoredChunk;
use crate::attributes::XattrWarning;
use crate::cache::files::{FileKey, FilesCacheWriter};
use crate::error::{EngineError, SourceError};
use crate::event::{ArchiveStats, Event, Level, Monitor, Warning};
use crate::tasks::Slot;

/// Encoded items that may wait for a file before them; more make the walk stop for that file.
pub(super) const MOST_WAITING_BYTES: usize = 8 << 20;

/// One thing that waits.
#[derive(Debug)]
enum Waiting {
    /// Encoded items, complete.
    Items(Vec<u8>),
    /// A status letter to be shown.
    Status(char, Vec<u8>),
    /// An object that could not be archived.
    Failed(SourceError, Vec<u8>),
    /// A root that could not be looked at, of which Borg shows no status.
    Unmet(SourceError, Vec<u8>),
    /// Extended attributes that could not be read of what is archived.
    Unread(Vec<XattrWarning>, Vec<u8>),
    /// The next file of the batches.
    File,
    /// A further name of an object, or the first if all before failed.
    Linked(Box<FurtherName>),
    /// A file cut into several chunks.
    Big(Arc<BigFile>, Parts),
}

/// What checkpoints already archived of a file that is being read.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    /// Number of part files.
    count: u64,
    /// Number of chunks in them.
    chunks: usize,
}

/// An object with several names, met after the first of them.
#[derive(Debug)]
pub struct FurtherName {
    /// What is known of it.
    pub linked: LinkedItem,
    /// How it is read if no name before could be archived.
    pub file: FileToRead,
}

/// Everything that waits, and what the archive consists of so far.
pub struct Pending<'a> {
    queue: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Files that are read together, in the order of their `Waiting::File`s.
    batches: VecDeque<Arc<Slot<Vec<ReadFile>>>>,
    batch: std::vec::IntoIter<ReadFile>,
    /// The item stream.
    pub stream: ItemStream,
    /// Sums over what was accepted.
    pub stats: ArchiveStats,
    /// The files cache of the next run, unless there is none.
    pub remember: Option<FilesCacheWriter>,
    /// Chunks that were stored for files that then failed.
    pub strays: Vec<ChunkId>,
    /// What was to be produced and is not complete.
    pub missing: Vec<String>,
    /// Names under which inodes with several are archived.
    pub hard_links: HashMap<(u64, u64), Vec<u8>>,
    lister: &'a Lister<'a>,
    monitor: &'a dyn Monitor,
}

impl<'a> Pending<'a> {
    /// Begins with nothing.
    pub fn new(
        stream: ItemStream,
        remember: Option<FilesCacheWriter>,
        lister: &'a Lister<'a>,
        monitor: &'a dyn Monitor,
    ) -> Self {
        Self {
            queue: VecDeque::new(),
            waiting_bytes: 0,
            batches: VecDeque::new(),
            batch: Vec::new().into_iter(),
            stream,
            stats: ArchiveStats::default(),
            remember,
            strays: Vec::new(),
            missing: Vec::new(),
            hard_links: HashMap::new(),
            lister,
            monitor,
        }
    }

    /// Tells how far the archive is, and where the walk stands.
    pub fn progress(&self, path: &[u8]) {
        if self.lister.options.dry_run {
            return;
        }
        self.monitor.event(Event::ArchiveProgress {
            stats: self.stats,
            path,
        });
    }

    /// The number of things that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The bytes of encoded items that wait for a file before them.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Appends an encoded item; it may join the one before.
    pub fn item(&mut self, crew: &Crew<'_>, encoded: &[u8]) {
        if self.queue.is_empty() {
            self.stream.add(crew, encoded);
            return;
        }
        self.waiting_bytes += encoded.len();
        match self.queue.back_mut() {
            Some(Waiting::Items(items)) => items.extend_from_slice(encoded),
            _ => self.queue.push_back(Waiting::Items(encoded.to_vec())),
        }
    }

    /// Accepts the content of an unchanged file, whose item is appended besides.
    pub fn content(
        &mut self,
        unchanged: &Unchanged,
        chunks: &[ChunkRef],
    ) -> Result<(), EngineError> {
        self.count(chunks.iter().map(|chunk| (chunk, false)));
        let Unchanged { key, stamp, kept } = unchanged;
        match (kept, &mut self.remember) {
            (Some(kept), Some(files)) => files.keep(key, *kept).map_err(EngineError::FilesCache),
            _ => self.remember(key, *stamp, chunks),
        }
    }

    fn remember(
        &mut self,
        key: &FileKey,
        stamp: FileStamp,
        chunks: &[ChunkRef],
    ) -> Result<(), EngineError> {
        let Some(files) = &mut self.remember else {
            return Ok(());
        };
        let ids = chunks.iter().map(|chunk| chunk.id);
        files
            .add(key, stamp.inode, stamp.size, stamp.changed, ids)
            .map_err(EngineError::FilesCache)
    }

    /// Appends a status letter.
    pub fn status(&mut self, status: char, path: Vec<u8>) {
        self.queue.push_back(Waiting::Status(status, path));
    }

    /// Appends an object that could not be archived.
    pub fn failed(&mut self, error: SourceError, path: Vec<u8>) {
        self.queue.push_back(Waiting::Failed(error, path));
    }

    /// Appends a root that could not be looked at.
    pub fn unmet_root(&mut self, error: SourceError, path: Vec<u8>) {
        self.queue.push_back(Waiting::Unmet(error, path));
    }

    /// Appends the extended attributes of an object that could not be read, if there are any.
    pub fn unread(&mut self, warnings: Vec<XattrWarning>, path: &[u8]) {
        if !warnings.is_empty() {
            let waiting = Waiting::Unread(warnings, path.to_vec());
            self.queue.push_back(waiting);
        }
    }

    /// Announces files that will be read together; each is then appended by [`Pending::file`].
    pub fn begin_batch(&mut self, slot: Arc<Slot<Vec<ReadFile>>>) {
        self.batches.push_back(slot);
    }

    /// Appends the next file of the batch begun last.
    pub fn file(&mut self) {
        self.queue.push_back(Waiting::File);
    }

    /// Appends a further name of an object.
    pub fn further_name(&mut self, name: FurtherName) {
        self.queue.push_back(Waiting::Linked(Box::new(name)));
    }

    /// Appends a file that is cut into several chunks.
    pub fn big(&mut self, file: Arc<BigFile>) {
        self.queue.push_back(Waiting::Big(file, Parts::default()));
    }

    /// Takes over what is complete, until at most `leave` things wait. False when that takes
    /// longer than a moment: the caller looks around and calls again.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when the operation failed, or the files cache cannot be written.
    pub fn settle(&mut self, crew: &Crew<'_>, leave: usize) -> Result<bool, EngineError> {
        let mut waited = false;
        while let Some(first) = self.queue.front() {
            if !self.is_complete(first) {
                if self.queue.len() <= leave && self.waiting_bytes <= MOST_WAITING_BYTES {
                    break;
                }
                if crew.failed() {
                    return Err(EngineError::Abandoned);
                }
                if waited {
                    return Ok(false);
                }
                self.wait_for(first);
                waited = true;
                continue;
            }
            waited = false;
            if let Some(first) = self.queue.pop_front() {
                self.accept(crew, first)?;
            }
        }
        self.stream.settle(crew, false)?;
        Ok(true)
    }

    fn is_complete(&self, waiting: &Waiting) -> bool {
        match waiting {
            Waiting::File => {
                !self.batch.as_slice().is_empty()
                    || self.batches.front().is_some_and(|slot| slot.is_filled())
            }
            Waiting::Big(file, _) => file.is_complete(),
            _ => true,
        }
    }

    fn wait_for(&self, waiting: &Waiting) {
        match (waiting, self.batches.front()) {
            (Waiting::Big(file, _), _) => file.wait(),
            (_, Some(slot)) => slot.wait(),
            _ => {}
        }
    }

    /// Lets everything that is stored by now be part of the archive: complete files pass those
    /// still being read, and of these the chunks so far become part files. Reading goes on after
    /// [`Pending::resume`].
    ///
    /// # Errors
    /// As [`Pending::settle`].
    pub fn gather(&mut self, crew: &Crew<'_>) -> Result<(), EngineError> {
        let mut later = VecDeque::new();
        while let Some(waiting) = self.queue.pop_front() {
            match waiting {
                Waiting::Big(file, mut parts) if !file.is_complete() => {
                    if let Some((item, chunks)) = file.pause(|| crew.failed()) {
                        self.add_part(crew, &item, &chunks, &mut parts);
                    }
                    later.push_back(Waiting::Big(file, parts));
                }
                // Its first name may be one of the files still being read.
                waiting @ Waiting::Linked(_) if !later.is_empty() => later.push_back(waiting),
                waiting => {
                    while !self.is_complete(&waiting) {
                        if crew.failed() {
                            return Err(EngineError::Abandoned);
                        }
                        self.wait_for(&waiting);
                    }
                    self.accept(crew, waiting)?;
                }
            }
        }
        self.queue = later;
        Ok(())
    }

    /// Lets paused files be read on.
    pub fn resume(&self) {
        for waiting in &self.queue {
            if let Waiting::Big(file, _) = waiting {
                file.resume();
            }
        }
    }

    /// Adds a part file of the chunks that no part file has yet.
    fn add_part(
        &mut self,
        crew: &Crew<'_>,
        item: &Item,
        chunks: &[StoredChunk],
        parts: &mut Parts,
    ) {
        let Some(more) = chunks.get(parts.chunks..).filter(|more| !more.is_empty()) else {
            return;
        };
        parts.count += 1;
        parts.chunks = chunks.len();
        let refs: Vec<ChunkRef> = more.iter().map(|stored| stored.chunk).collect();
        for chunk in &refs {
            crew.store.claims.table.reference(&chunk.id);
        }
        let mut item = item.clone();
        item.path
            .extend_from_slice(format!(".borg_part_{}", parts.count).as_bytes());
        item.part = Some(parts.count);
        item.size = Some(refs.iter().map(|chunk| u64::from(chunk.size)).sum());
        item.chunks = Some(refs);
        let mut encoded = Vec::new();
        item.encode(&mut encoded);
        self.stream.add(crew, &encoded);
    }

    /// Adds the last part file of a file that was cut by checkpoints, and counts its parts.
    fn finish_parts(
        &mut self,
        crew: &Crew<'_>,
        item: &Item,
        chunks: &[StoredChunk],
        mut parts: Parts,
    ) {
        if parts.count == 0 {
            return;
        }
        self.add_part(crew, item, chunks, &mut parts);
        self.stats.files_parts += parts.count;
        for StoredChunk { chunk, .. } in chunks {
            self.stats.original_bytes_parts += u64::from(chunk.size);
            self.stats.compressed_bytes_parts += u64::from(chunk.csize);
        }
    }

    fn accept(&mut self, crew: &Crew<'_>, waiting: Waiting) -> Result<(), EngineError> {
        match waiting {
            Waiting::Items(items) => {
                self.waiting_bytes -= items.len();
                self.stream.add(crew, &items);
            }
            Waiting::Status(status, path) => self.monitor.event(Event::FileStatus {
                status,
                path: &path,
            }),
            Waiting::Failed(SourceError::Produced(reason), path) => {
                self.not_produced(&reason, &path);
            }
            Waiting::Failed(error, path) => self.fail(&error, &path),
            Waiting::Unmet(error, path) => self.warn(&error, &path),
            Waiting::Unread(warnings, path) => self.tell_unread(&warnings, &path),
            Waiting::File => {
                let file = self.next_of_batch(crew).ok_or(EngineError::Abandoned)?;
                self.accept_file(crew, file)?;
            }
            Waiting::Linked(name) => self.accept_further_name(crew, *name)?,
            Waiting::Big(file, parts) => {
                let file = file.take().ok_or(EngineError::Abandoned)?;
                if let Ok(read) = &file.outcome {
                    self.finish_parts(crew, &read.item, &file.chunks, parts);
                }
                self.accept_file(crew, file)?;
            }
        }
        Ok(())
    }

    fn next_of_batch(&mut self, crew: &Crew<'_>) -> Option<ReadFile> {
        if self.batch.as_slice().is_empty() {
            let slot = self.batches.pop_front()?;
            self.batch = slot.take(|| crew.failed())?.into_iter();
        }
        self.batch.next()
    }

    /// Archives a further name as a hard link to the first, which is known by now, or as the first
    /// if that one could not be read.
    fn accept_further_name(
        &mut self,
        crew: &Crew<'_>,
        name: FurtherName,
    ) -> Result<(), EngineError> {
        let FurtherName { mut linked, file } = name;
        let inode = (linked.stat.inode, linked.stat.device);
        if let Some(source) = self.hard_links.get(&inode) {
            linked.item.source = Some(source.clone());
            let mut encoded = Vec::new();
            linked.item.encode(&mut encoded);
            self.stream.add(crew, &encoded);
            self.tell_unread(&linked.warnings, &file.path);
            self.monitor.event(Event::FileStatus {
                status: 'h',
                path: &file.path,
            });
            return Ok(());
        }
        let mut bench = crew.bench();
        let slot = Arc::new(Slot::default());
        let filled = Arc::clone(&slot);
        read_batch(crew, &mut bench, self.lister, vec![file], move |read| {
            filled.put(read);
        })?;
        let read = slot.take(|| crew.failed()).ok_or(EngineError::Abandoned)?;
        for file in read {
            self.accept_file(crew, file)?;
        }
        Ok(())
    }

    /// Takes a file that was read into the archive, or tells why it is not there.
    fn accept_file(&mut self, crew: &Crew<'_>, read: ReadFile) -> Result<(), EngineError> {
        let path = &read.file.path;
        if read.opened {
            self.monitor.event(Event::FileStatus {
                status: read.file.status,
                path,
            });
        }
        let ReadFile {
            file,
            outcome,
            chunks,
            ..
        } = read;
        let mut done = match outcome {
            Ok(done) => done,
            Err(error) => {
                let ids = chunks.iter().map(|stored| stored.chunk.id);
                crew.store.claims.release(ids, &mut self.strays);
                match error {
                    SourceError::Produced(reason) => self.not_produced(&reason, &file.path),
                    error => self.fail(&error, &file.path),
                }
                return Ok(());
            }
        };
        self.tell_unread(&done.warnings, &file.path);
        if file.hardlink_master {
            let inode = (file.stat.inode, file.stat.device);
            self.hard_links.insert(inode, file.archived_path.clone());
        }
        let refs: Vec<ChunkRef> = chunks.iter().map(|stored| stored.chunk).collect();
        self.count(
            chunks
                .iter()
                .map(|StoredChunk { chunk, new }| (chunk, *new)),
        );
        if !done.changed
            && let Some(key) = &file.key
        {
            self.remember(key, done.stamp, &refs)?;
        }
        done.item.size = Some(refs.iter().map(|chunk| u64::from(chunk.size)).sum());
        done.item.chunks = Some(refs);
        let mut encoded = Vec::new();
        done.item.encode(&mut encoded);
        self.stream.add(crew, &encoded);
        if done.changed {
            self.monitor.event(Event::Warning(Warning {
                msgid: "FileChangedWarning",
                text: format!(
                    "{}: file changed while we backed it up",
                    String::from_utf8_lossy(&file.path)
                ),
            }));
            self.monitor.event(Event::FileStatus {
                status: 'C',
                path: &file.path,
            });
        }
        self.progress(&file.path);
        Ok(())
    }

    fn count<'c>(&mut self, chunks: impl Iterator<Item = (&'c ChunkRef, bool)>) {
        self.stats.files += 1;
        for (chunk, new) in chunks {
            self.stats.original_bytes += u64::from(chunk.size);
            self.stats.compressed_bytes += u64::from(chunk.csize);
            if new {
                self.stats.deduplicated_bytes += u64::from(chunk.csize);
            }
        }
    }

    /// Lines in the log, which for Borg are no reason to end with a warning.
    fn tell_unread(&self, warnings: &[XattrWarning], path: &[u8]) {
        for warning in warnings {
            let text = warning.text(path);
            self.monitor.log(Level::Warning, XattrWarning::LOGGER, text);
        }
    }

    fn fail(&self, error: &SourceError, path: &[u8]) {
        self.warn(error, path);
        self.monitor.event(Event::FileStatus { status: 'E', path });
    }

    /// Notes data without which the archive is not complete.
    fn not_produced(&mut self, reason: &str, path: &[u8]) {
        let path_text = String::from_utf8_lossy(path).into_owned();
        let text = format!("{path_text}: {reason}");
        self.monitor.log(Level::Error, "borg.archive", text);
        self.monitor.event(Event::FileStatus { status: 'E', path });
        self.missing.push(path_text);
    }

    fn warn(&self, error: &SourceError, path: &[u8]) {
        self.monitor.event(Event::Warning(Warning {
            msgid: error.msgid(),
            text: format!("{}: {error}", String::from_utf8_lossy(path)),
        }));
    }
}
