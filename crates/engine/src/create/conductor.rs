//! The thread that walks the trees in order and so decides what the archive looks like.
//!
//! Directories are opened and looked at by workers, some ahead of where the walk stands; the walk
//! itself goes depth first, entries by inode number, as Borg's does. Files to be read go to the
//! workers in that order too, small ones in batches; everything joins [`Pending`] in that order.

mod streams;

use std::collections::{HashSet, VecDeque};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use fastness_sys::directory::HERE;

use fastness_sys::stat::{self, FileKind};

use super::Root;
use super::ahead::{LookAhead, Sight};
use super::big::BigFile;
use super::crew::Crew;
use super::entry::{
    Directory, EntriesSlot, Entry, FileToRead, LinkedItem, NameList, Opened, ReadFile,
    SkippedInodes, WalkRoot,
};
use super::lister::{Lister, OpenRequest};
use super::pending::{FurtherName, MOST_WAITING_BYTES, Pending};
use super::read::read_batch;
use crate::error::{EngineError, SourceError};
use crate::tasks::{Priority, Slot};

/// Files of up to this size are read in batches.
const SMALL_FILE_BYTES: u64 = 4 << 20;
/// A batch of small files goes to a worker when it has this many bytes ...
const BATCH_BYTES: u64 = 2 << 20;
/// ... or this many files.
const BATCH_FILES: usize = 32;
/// Things that may wait for their turn before the walk stops for the first of them.
const WINDOW: usize = 1024;
/// Entries between two looks at what is complete and at the time.
const LOOK_AROUND: usize = 128;
/// Names that one task looks at.
pub(super) const RUN_OF_NAMES: usize = 256;

/// A directory the walk stands in.
struct Frame {
    directory: Arc<Directory>,
    status: Option<char>,
    /// Runs of entries asked for and not begun, in order.
    ahead: VecDeque<EntriesSlot>,
    /// The next name that no run asked for covers.
    next_name: usize,
    /// The run of entries where the walk stands.
    sight: Sight,
    cursor: usize,
}

impl Frame {
    /// Begins with the first run of names, already looked at.
    fn new(directory: Arc<Directory>, status: Option<char>, first: Sight) -> Self {
        Self {
            status,
            ahead: VecDeque::new(),
            next_name: directory.names.len().min(RUN_OF_NAMES),
            sight: first,
            cursor: 0,
            directory,
        }
    }
}

/// The walk.
pub struct Conductor<'w, 'env> {
    crew: &'w Crew<'env>,
    lister: &'env Lister<'env>,
    /// What joins the archive.
    pub pending: Pending<'env>,
    frames: Vec<Frame>,
    ahead: LookAhead<'w, 'env>,
    batch: Vec<FileToRead>,
    batch_bytes: u64,
    batch_slot: Arc<Slot<Vec<ReadFile>>>,
    entries: usize,
    /// Inodes with several names of which one was met.
    linked_inodes: HashSet<(u64, u64)>,
    skipped: SkippedInodes,
    /// Called now and then; may make a checkpoint.
    tick: &'w mut dyn FnMut(&mut Pending<'env>) -> Result<(), EngineError>,
}

impl<'w, 'env> Conductor<'w, 'env> {
    /// Stands before the first root.
    pub fn new(
        crew: &'w Crew<'env>,
        lister: &'env Lister<'env>,
        pending: Pending<'env>,
        skipped: SkippedInodes,
        tick: &'w mut dyn FnMut(&mut Pending<'env>) -> Result<(), EngineError>,
    ) -> Self {
        Self {
            crew,
            lister,
            pending,
            frames: Vec::new(),
            ahead: LookAhead::new(crew, lister),
            batch: Vec::new(),
            batch_bytes: 0,
            batch_slot: Arc::default(),
            entries: 0,
            linked_inodes: HashSet::new(),
            skipped,
            tick,
        }
    }

    /// Walks one root to its end.
    ///
    /// # Errors
    /// When the operation failed; problems of single files only warn.
    fn walk(&mut self, root: &Root) -> Result<(), EngineError> {
        let stat = match stat::stat_path(root.path.as_slice()) {
            Ok(stat) => stat,
            Err(error) => {
                let error = SourceError::named("stat", &root.path, error);
                self.pending.unmet_root(error, root.path.clone());
                return Ok(());
            }
        };
        let directory = Arc::new(Directory {
            path: Vec::new(),
            fd: None,
            names: NameList::Given(CString::new(root.path.clone()).into_iter().collect()),
            root: Arc::new(WalkRoot {
                root: root.clone(),
                only_device: self.lister.options.one_file_system.then_some(stat.device),
                skipped: self.skipped.clone(),
            }),
        });
        if let Some(run) = self.lister.root(&directory, &stat) {
            let frame = Frame::new(directory, None, Sight::new(run));
            self.frames.push(frame);
            self.run()?;
        }
        // Having been here, the walk never comes back, even if the root is named twice.
        self.skipped.insert((stat.inode, stat.device));
        Ok(())
    }

    /// Walks all roots, with the streams at their places.
    ///
    /// # Errors
    /// When the operation failed; problems of single files only warn.
    pub fn walk_all(&mut self) -> Result<(), EngineError> {
        let _stage = tracing::trace_span!("walk").entered();
        let options = self.lister.options;
        let mut streams = options.streams.iter().enumerate().peekable();
        for place in 0..=options.roots.len() {
            while let Some((number, stream)) = streams.next_if(|(_, next)| next.place <= place) {
                self.stream(number, stream)?;
            }
            if let Some(root) = options.roots.get(place) {
                self.walk(root)?;
            }
        }
        Ok(())
    }

    /// Ends the walk: everything joins the archive.
    ///
    /// # Errors
    /// When the operation failed.
    pub fn finish(mut self) -> Result<Pending<'env>, EngineError> {
        let _stage = tracing::trace_span!("wait_for_content").entered();
        self.send_batch();
        self.settle(0)?;
        Ok(self.pending)
    }

    fn run(&mut self) -> Result<(), EngineError> {
        while let Some(frame) = self.frames.last_mut() {
            let index = frame.cursor;
            match frame
                .sight
                .run
                .entries
                .get_mut(index)
                .and_then(Option::take)
            {
                Some(entry) => {
                    frame.cursor += 1;
                    self.entry(entry)?;
                }
                None => self.next_run()?,
            }
            self.entries += 1;
            if self.pending.len() > WINDOW {
                self.send_batch();
                self.settle(WINDOW / 2)?;
            } else if self.entries.is_multiple_of(LOOK_AROUND) {
                if self.pending.waiting_bytes() > MOST_WAITING_BYTES {
                    self.send_batch();
                }
                self.settle(usize::MAX)?;
                if let Some(frame) = self.frames.last() {
                    self.pending.progress(&frame.directory.path);
                }
            }
            if self.crew.failed() {
                return Err(EngineError::Abandoned);
            }
        }
        Ok(())
    }

    /// Lets what is complete join the archive, until at most `leave` things wait.
    fn settle(&mut self, leave: usize) -> Result<(), EngineError> {
        while !self.pending.settle(self.crew, leave)? {
            (self.tick)(&mut self.pending)?;
        }
        (self.tick)(&mut self.pending)
    }

    /// Goes on to the next entries of the innermost directory, or leaves it.
    fn next_run(&mut self) -> Result<(), EngineError> {
        self.ask_for_runs();
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        if let Some(slot) = frame.ahead.pop_front() {
            let entries = slot
                .take(|| self.crew.failed())
                .ok_or(EngineError::Abandoned)?;
            frame.sight = Sight::new(entries);
            frame.cursor = 0;
            self.ask_for_runs();
            self.ask_for_directories();
            return Ok(());
        }
        if let Some(frame) = self.frames.pop()
            && let Some(status) = frame.status
        {
            self.show(status, frame.directory.path.clone());
        }
        Ok(())
    }

    /// Lets workers look at the next names of the innermost directory.
    fn ask_for_runs(&mut self) {
        let Some(frame) = self.frames.last_mut() else {
            return;
        };
        while frame.ahead.len() < 2 * self.crew.threads
            && frame.next_name < frame.directory.names.len()
        {
            let slot = EntriesSlot::default();
            frame.ahead.push_back(Arc::clone(&slot));
            let end = (frame.next_name + RUN_OF_NAMES).min(frame.directory.names.len());
            let names = frame.next_name..end;
            frame.next_name = end;
            let directory = Arc::clone(&frame.directory);
            let lister = self.lister;
            self.crew.spawn(Priority::Soon, move |_, _| {
                slot.put(lister.look_at(&directory, names));
            });
        }
    }

    /// Lets workers open the directories that the walk comes to next.
    fn ask_for_directories(&mut self) {
        let mut frames = self.frames.iter_mut().rev();
        if let Some(innermost) = frames.next() {
            self.ahead.near(&innermost.directory, &mut innermost.sight);
        }
        for frame in frames {
            if !self.ahead.far(&frame.directory, &mut frame.sight) {
                break;
            }
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), EngineError> {
        let Some(directory) = self.frames.last().map(|frame| Arc::clone(&frame.directory)) else {
            return Ok(());
        };
        match entry {
            Entry::Excluded { index } => self.show('x', directory.path_of(index)),
            Entry::Shown { index, status } => self.show(status, directory.path_of(index)),
            Entry::Failed { index, error } => {
                self.pending.failed(error, directory.path_of(index));
            }
            Entry::Ready(place) => self.ready(place)?,
            Entry::Linked(item) => self.linked(&directory, *item)?,
            Entry::File {
                index,
                stat,
                key,
                known,
            } => {
                let path = directory.path_of(index);
                let Some(archived_path) = directory.root.root.stored_path(&path) else {
                    self.show('x', path);
                    return Ok(());
                };
                self.read(FileToRead {
                    index,
                    directory,
                    archived_path,
                    path,
                    stat: *stat,
                    key,
                    status: if known { 'M' } else { 'A' },
                    hardlink_master: false,
                    stream: None,
                    produced: None,
                });
            }
            Entry::Directory {
                index,
                stat,
                excluded,
                slot,
            } => {
                let slot = slot.unwrap_or_else(|| {
                    self.ahead.open(OpenRequest {
                        parent: Arc::clone(&directory),
                        index,
                        stat: *stat,
                        excluded,
                    })
                });
                self.ask_for_directories();
                let opened = slot
                    .take(|| self.crew.failed())
                    .ok_or(EngineError::Abandoned)?;
                self.ahead.arrived();
                self.enter(&directory.path_of(index), opened);
            }
        }
        Ok(())
    }

    fn enter(&mut self, path: &[u8], opened: Result<Opened, SourceError>) {
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.pending.failed(error, path.to_vec());
                return;
            }
        };
        self.pending.unread(opened.warnings, path);
        if let Some(item) = &opened.item {
            self.pending.item(self.crew, item);
        }
        match opened.entries {
            Some(directory) => {
                let frame = Frame::new(directory, opened.status, opened.first);
                self.frames.push(frame);
                self.ask_for_runs();
                self.ask_for_directories();
            }
            None => {
                if let Some(status) = opened.status {
                    self.show(status, path.to_vec());
                }
            }
        }
    }

    /// Archives an object that needs no reading.
    fn ready(&mut self, place: usize) -> Result<(), EngineError> {
        let Some(Frame {
            directory, sight, ..
        }) = self.frames.last_mut()
        else {
            return Ok(());
        };
        let run = &mut sight.run;
        let Some(item) = run.ready.get_mut(place) else {
            return Ok(());
        };
        let mut warnings = std::mem::take(&mut item.warnings);
        if item.content.is_none() && !warnings.is_empty() {
            let warnings = std::mem::take(&mut warnings);
            self.pending
                .unread(warnings, &directory.path_of(item.index));
        }
        if let Some((unchanged, chunks)) = &item.content {
            let chunks = run.chunks.get(chunks.clone()).unwrap_or_default();
            self.pending.content(unchanged, chunks)?;
        }
        if self.lister.options.list {
            self.pending
                .status(item.status, directory.path_of(item.index));
        }
        if !warnings.is_empty() {
            self.pending
                .unread(warnings, &directory.path_of(item.index));
        }
        let encoded = run.encoded.get(item.encoded.clone()).unwrap_or_default();
        self.pending.item(self.crew, encoded);
        Ok(())
    }

    /// Archives an object with several names: the first time with its content, then as a link.
    fn linked(
        &mut self,
        directory: &Arc<Directory>,
        mut linked: LinkedItem,
    ) -> Result<(), EngineError> {
        let path = directory.path_of(linked.index);
        let Some(archived_path) = directory.root.root.stored_path(&path) else {
            self.show('x', path);
            return Ok(());
        };
        let inode = (linked.stat.inode, linked.stat.device);
        linked.item.path.clone_from(&archived_path);
        let file = FileToRead {
            index: linked.index,
            directory: Arc::clone(directory),
            path,
            archived_path,
            stat: linked.stat,
            key: linked.key.take(),
            status: if linked.known { 'M' } else { 'A' },
            hardlink_master: true,
            stream: None,
            produced: None,
        };
        if !self.linked_inodes.insert(inode) {
            // The content is counted with the first name.
            if let Some((_, chunks)) = linked.unchanged.take() {
                let ids = chunks.iter().map(|chunk| chunk.id);
                self.crew
                    .store
                    .claims
                    .release(ids, &mut self.pending.strays);
            }
            self.pending.further_name(FurtherName { linked, file });
            return Ok(());
        }
        linked.item.hardlink_master = Some(true);
        if let Some((unchanged, chunks)) = linked.unchanged.take() {
            self.pending.content(&unchanged, &chunks)?;
            let sizes = chunks.iter().map(|chunk| u64::from(chunk.size));
            linked.item.size = Some(sizes.sum());
            linked.item.chunks = Some(chunks);
        } else if linked.stat.kind() == FileKind::Regular {
            self.read(file);
            return Ok(());
        }
        self.pending.hard_links.insert(inode, file.archived_path);
        let warnings = std::mem::take(&mut linked.warnings);
        self.pending.unread(warnings, &file.path);
        self.show(linked.status, file.path);
        self.encoded(&linked)
    }

    fn encoded(&mut self, linked: &LinkedItem) -> Result<(), EngineError> {
        let mut encoded = Vec::new();
        linked.item.encode(&mut encoded);
        self.pending.item(self.crew, &encoded);
        Ok(())
    }

    fn show(&mut self, status: char, path: Vec<u8>) {
        if self.lister.options.list {
            self.pending.status(status, path);
        }
    }

    fn read(&mut self, file: FileToRead) {
        if file.stat.size > SMALL_FILE_BYTES || file.stat.kind() != FileKind::Regular {
            self.send_batch();
            let big = BigFile::spawn(self.crew, self.lister, file);
            self.pending.big(big);
            return;
        }
        if self.batch.is_empty() {
            self.batch_slot = Arc::default();
            self.pending.begin_batch(Arc::clone(&self.batch_slot));
        }
        self.pending.file();
        self.batch_bytes += file.stat.size;
        self.batch.push(file);
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_FILES {
            self.send_batch();
        }
    }

    fn send_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.batch_bytes = 0;
        let files = std::mem::take(&mut self.batch);
        let slot = Arc::clone(&self.batch_slot);
        let lister = self.lister;
        self.crew.spawn(Priority::Normal, move |crew, bench| {
            let receiver = move |read| slot.put(read);
            if let Err(error) = read_batch(crew, bench, lister, files, receiver) {
                crew.fail(error);
            }
        });
    }
}

impl Directory {
    /// What names are relative to.
    pub fn at(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().map_or(HERE, AsFd::as_fd)
    }

    /// The name with this index.
    pub fn name(&self, index: usize) -> &CStr {
        self.names.get(index).unwrap_or_default()
    }

    /// The path of the name with this index.
    pub fn path_of(&self, index: usize) -> Vec<u8> {
        join(&self.path, self.name(index).to_bytes())
    }
}

/// Joins a directory and a name, as `os.path.join` and `normpath` together do.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() || directory == b"." {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}
