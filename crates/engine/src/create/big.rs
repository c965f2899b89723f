//! Files of more than one chunk: read and cut by one worker, stored by all.
//!
//! The worker that reads puts copies of the chunks on the line, just as long as they are; whoever is
//! free takes those through the stages. When too much is under way the reader does so itself.
//! Results are put together in the order of the file.

use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use fastness_format::item::Item;
use fastness_sys::file;
use fastness_sys::stat::FileKind;

use super::Ended;
use super::crew::Crew;
use super::entry::{FileToRead, ReadFile, ReadItem};
use super::line::Loan;
use super::lister::Lister;
use super::read::{self, Cutter, OpenFile};
use super::slabs::Slabs;
use super::source::Source;
use super::stages::{Bench, StoredChunk};
use crate::error::{EngineError, SourceError};
use crate::tasks::{Priority, lock};

/// Bytes read at a time: they are cut while they are in the processor's cache.
const READ_BYTES: usize = 256 << 10;
/// Chunks are handed on when they are so many bytes.
const GROUP_BYTES: usize = 1 << 20;
/// How long a waiting thread sleeps before it looks around.
const MOMENT: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Progress {
    /// Groups in order; none while they are under way.
    groups: Vec<Option<Vec<StoredChunk>>>,
    under_way: usize,
    /// Whether the reader is to stop reading for a while, and whether it does.
    pause: bool,
    paused: bool,
    begun: bool,
    /// What the item says of the file, once it was opened.
    item: Option<Item>,
    end: Option<(bool, Result<ReadItem, SourceError>)>,
}

/// A file that is being read.
#[derive(Debug)]
pub struct BigFile {
    file: Mutex<Option<FileToRead>>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

impl BigFile {
    /// Lets a worker read the file.
    pub fn spawn<'env>(
        crew: &Crew<'env>,
        lister: &'env Lister<'env>,
        file: FileToRead,
    ) -> Arc<Self> {
        let big = Arc::new(Self {
            file: Mutex::new(Some(file)),
            progress: Mutex::default(),
            changed: Condvar::new(),
        });
        let reader = Arc::clone(&big);
        crew.spawn(Priority::Bulk, move |crew, bench| {
            if let Err(error) = reader.read(crew, bench, lister) {
                crew.fail(error);
            }
        });
        big
    }

    /// Tells whether everything is read and stored.
    pub fn is_complete(&self) -> bool {
        let progress = lock(&self.progress);
        progress.end.is_some() && progress.under_way == 0
    }

    /// Waits a moment for the end.
    pub fn wait(&self) {
        let progress = lock(&self.progress);
        if progress.end.is_none() || progress.under_way > 0 {
            drop(self.changed.wait_timeout(progress, MOMENT));
        }
    }

    /// Returns the result of a file that is complete.
    pub fn take(&self) -> Option<ReadFile> {
        let mut progress = lock(&self.progress);
        let (opened, outcome) = progress.end.take()?;
        let groups = std::mem::take(&mut progress.groups);
        Some(ReadFile {
            file: lock(&self.file).take()?,
            opened,
            outcome,
            chunks: groups.into_iter().flatten().flatten().collect(),
        })
    }

    /// Makes the reader stop, waits until what it read is stored, and returns the item and all
    /// chunks so far; none when the file was not opened yet. [`BigFile::resume`] must follow.
    pub fn pause(&self, failed: impl Fn() -> bool) -> Option<(Item, Vec<StoredChunk>)> {
        let mut progress = lock(&self.progress);
        progress.pause = true;
        while progress.under_way > 0
            || !(progress.paused || progress.end.is_some() || !progress.begun)
        {
            if failed() {
                return None;
            }
            progress = self
                .changed
                .wait_timeout(progress, MOMENT)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let item = progress.item.clone()?;
        let chunks = progress.groups.iter().flatten().flatten();
        Some((item, chunks.copied().collect()))
    }

    /// Lets the reader go on.
    pub fn resume(&self) {
        lock(&self.progress).pause = false;
        self.changed.notify_all();
    }

    /// Stops here as long as a checkpoint is being made. What the checkpoint waits for may be in
    /// the queue with no other worker to take it, so this one does.
    fn rest<'env>(&self, crew: &Crew<'env>, bench: &mut Bench<'env>) {
        let mut progress = lock(&self.progress);
        while progress.pause && !crew.failed() {
            progress.paused = true;
            self.changed.notify_all();
            drop(progress);
            let helped = crew.help(bench);
            progress = lock(&self.progress);
            if !helped && progress.pause {
                progress = self
                    .changed
                    .wait_timeout(progress, Duration::from_millis(5))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        progress.paused = false;
        progress.begun = true;
    }

    fn read<'env>(
        self: &Arc<Self>,
        crew: &Crew<'env>,
        bench: &mut Bench<'env>,
        lister: &Lister<'env>,
    ) -> Result<(), EngineError> {
        self.rest(crew, bench);
        let (opened, stream) = match lock(&self.file).as_ref() {
            Some(file) => (read::open(lister, file), file.stream),
            None => return Ok(()),
        };
        let end = match opened {
            Err(error) => (false, Err(error)),
            Ok(open) => {
                lock(&self.progress).item = Some(open.item.clone());
                crew.readers.fetch_add(1, Ordering::Relaxed);
                let send = |crew: &Crew<'env>, bench: &mut Bench<'env>, cut: &mut Cut, chunks| {
                    self.send(crew, cut, chunks);
                    self.rest(crew, bench);
                    Ok(())
                };
                let idle = |crew: &Crew<'env>, bench: &mut Bench<'env>| self.rest(crew, bench);
                let cutter = lister.cutter_of(stream);
                let content = for_each_chunk(crew, bench, lister, cutter, &open, send, idle);
                crew.readers.fetch_sub(1, Ordering::Relaxed);
                let complete = content?.and_then(|ended| {
                    read::finish_stream(lister, stream, &ended, &|| crew.failed())
                });
                (true, complete.and_then(|()| read::close(lister, open)))
            }
        };
        lock(&self.progress).end = Some(end);
        self.changed.notify_all();
        Ok(())
    }

    fn send(self: &Arc<Self>, crew: &Crew<'_>, cut: &mut Cut, chunks: Vec<Range<usize>>) {
        if let [only] = chunks.as_slice()
            && let Some(data) = cut.buffer.get(only.clone())
            && let Some(stored) = crew.store.store_known_zeros(data)
        {
            // Zeros come in the longest of chunks: others need the room.
            lock(&self.progress).groups.push(Some(vec![stored]));
            return;
        }
        let mut progress = lock(&self.progress);
        let index = progress.groups.len();
        progress.groups.push(None);
        progress.under_way += 1;
        drop(progress);
        let big = Arc::clone(self);
        let loan = Loan::new(cut.take(&crew.slabs), &crew.slabs);
        crew.put_on_line(&loan, chunks.into_iter(), move |stored| {
            let mut progress = lock(&big.progress);
            progress.under_way -= 1;
            if let Some(place) = progress.groups.get_mut(index) {
                *place = Some(stored);
            }
            drop(progress);
            big.changed.notify_all();
        });
    }
}

/// What reading one file gives: its item or what is wrong with it, and the chunks stored.
type Outcome = (Result<ReadItem, SourceError>, Vec<StoredChunk>);

/// Reads an open file on this thread alone.
///
/// # Errors
/// When the operation fails; a problem of the file is in the result.
pub(super) fn read_big<'env>(
    crew: &Crew<'env>,
    bench: &mut Bench<'env>,
    lister: &Lister<'_>,
    open: OpenFile,
) -> Result<Outcome, EngineError> {
    let _stage = tracing::trace_span!("read_big_file").entered();
    let mut stored = Vec::new();
    let store = |crew: &Crew<'env>, bench: &mut Bench<'env>, cut: &mut Cut, chunks: Vec<_>| {
        let chunks: Vec<&[u8]> = (chunks.into_iter())
            .map(|chunk: Range<usize>| cut.buffer.get(chunk).unwrap_or_default())
            .collect();
        stored.extend(crew.store.store(bench, &chunks)?);
        Ok(())
    };
    let idle = |_: &Crew<'env>, _: &mut Bench<'env>| {};
    let cutter = lister.cutter_of(None);
    let content = for_each_chunk(crew, bench, lister, cutter, &open, store, idle)?;
    Ok((content.and_then(|_| read::close(lister, open)), stored))
}

/// What was read of a file, up to `end` cut into chunks.
#[derive(Default)]
struct Cut {
    buffer: Vec<u8>,
    end: usize,
}

impl Cut {
    /// Takes what is cut in a buffer that is not much longer; the rest stays.
    fn take(&mut self, slabs: &Slabs) -> Vec<u8> {
        let (cut, rest) = self.buffer.split_at_checked(self.end).unwrap_or_default();
        if self.end < self.buffer.capacity() / 4 * 3 {
            return slabs.copy_of(cut);
        }
        let mut next = slabs.take();
        next.extend_from_slice(rest);
        let mut taken = std::mem::replace(&mut self.buffer, next);
        taken.truncate(self.end);
        self.end = 0;
        taken
    }

    /// Goes on behind what is cut.
    fn advance(&mut self) {
        self.buffer.drain(..self.end);
        self.end = 0;
    }
}

/// Reads and cuts a file, and hands its chunks on, a few at a time, with where they lie in what is
/// cut. `idle` is called now and then while nothing comes.
fn for_each_chunk<'env>(
    crew: &Crew<'env>,
    bench: &mut Bench<'env>,
    lister: &Lister<'_>,
    mut cutter: Cutter<'_>,
    open: &OpenFile,
    mut hand_on: impl FnMut(
        &Crew<'env>,
        &mut Bench<'env>,
        &mut Cut,
        Vec<Range<usize>>,
    ) -> Result<(), EngineError>,
    idle: impl Fn(&Crew<'env>, &mut Bench<'env>),
) -> Result<Result<Ended, SourceError>, EngineError> {
    let mut source = Source::new(open.fd.as_fd(), &open.stat, lister.cut_holes_from());
    let mut cut = Cut {
        buffer: crew.take_slab(bench).ok_or(EngineError::Abandoned)?,
        end: 0,
    };
    let mut chunks = Vec::new();
    let mut ended = Ended::default();
    let blocks_long = open.stat.kind() != FileKind::Regular;
    let comes_slowly = open.stat.kind() == FileKind::Fifo;
    loop {
        // With one thread nobody else does it while this one waits.
        while blocks_long && crew.work_on_line(bench) {}
        while comes_slowly && file::stays_silent(open.fd.as_fd(), MOMENT) {
            if crew.failed() {
                return Err(EngineError::Abandoned);
            }
            idle(crew, bench);
        }
        let buffer = &mut cut.buffer;
        if buffer.capacity() - buffer.len() < READ_BYTES {
            // Not by doubling: it is about as long as the longest chunk.
            buffer.reserve_exact(GROUP_BYTES);
        }
        let before = buffer.len();
        // What comes slowly is taken as it comes.
        let filled = match comes_slowly {
            true => file::read_some(open.fd.as_fd(), buffer, READ_BYTES).map(|got| got == 0),
            false => source.fill(buffer, before + READ_BYTES),
        };
        let end = match filled {
            Ok(end) => end,
            Err(error) => {
                crew.slabs.keep(cut.buffer);
                return Ok(Err(SourceError::io("read", error)));
            }
        };
        if comes_slowly {
            ended.add(buffer.get(before..).unwrap_or_default());
        }
        while let Some(data) = buffer.get(cut.end..).filter(|data| !data.is_empty()) {
            let (data, end) = source.piece(cutter.offset(), data, end);
            let Some(len) = cutter.next_cut(data, end) else {
                break;
            };
            chunks.push(cut.end..cut.end + len);
            cut.end += len;
        }
        if cut.end < GROUP_BYTES && !end {
            continue;
        }
        if !chunks.is_empty() {
            let chunks = std::mem::take(&mut chunks);
            hand_on(crew, bench, &mut cut, chunks)?;
        }
        if end {
            crew.slabs.keep(cut.buffer);
            return Ok(Ok(ended));
        }
        cut.advance();
        if !crew.wait_for_slabs(bench) {
            return Err(EngineError::Abandoned);
        }
    }
}
