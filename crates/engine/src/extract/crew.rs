//! The threads that fetch and write file content.
//!
//! The walk hands over [`Job`]s whose content it has taken from a budget of bytes; workers give it
//! back when the content is written. Results come back by number, so that warnings can be told in
//! the order of the archive.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, Item};
use fastness_repository::Repository;
use fastness_sys::beneath::Root;

use super::files::{self, BigFile, Restored};
use crate::attributes::Attributes;
use crate::conveyor::Conveyor;
use crate::error::EngineError;
use crate::objects::{ContentReader, ObjectError};
use crate::shelf::Shelf;
use crate::tasks::{Budget, Popped, Priority, TaskQueue, lock};

/// Bytes of content that may wait or be under way. What waits is not in memory yet: this bounds how
/// many files are open and how far the walk is ahead.
const CONTENT_BUDGET: usize = 40 << 20;

/// Bytes of the buffers for what is under way, those that wait to be used again included: an object
/// and its data are both in memory while it is decompressed.
const BUFFER_BYTES: usize = CONTENT_BUDGET + (16 << 20);

/// A small file, to be written whole.
#[derive(Debug)]
pub struct SmallFile {
    /// Its path below the target.
    pub path: Vec<u8>,
    /// Its item.
    pub item: Item,
    /// Number in the order of the archive.
    pub number: usize,
}

/// What a worker does.
#[derive(Debug)]
pub enum Job {
    /// Writes small files.
    Files(Vec<SmallFile>),
    /// Writes a chunk of a big file, or only verifies it.
    Chunk(ChunkRef, Option<Target>),
}

/// Where a chunk belongs.
#[derive(Debug)]
pub struct Target {
    /// The file.
    pub file: Arc<BigFile>,
    /// Offset of the chunk in it.
    pub offset: u64,
}

impl Job {
    /// What it costs: its content, and something for jobs without.
    fn cost(&self) -> usize {
        let bytes = match self {
            Self::Files(files) => files.iter().flat_map(SmallFile::chunks).map(length).sum(),
            Self::Chunk(chunk, _) => length(chunk),
        };
        cost(bytes)
    }
}

impl Job {
    /// The objects that it reads, in order.
    fn ids(&self) -> Vec<ChunkId> {
        match self {
            Self::Files(files) => {
                let chunks = files.iter().flat_map(SmallFile::chunks);
                chunks.map(|chunk| chunk.id).collect()
            }
            Self::Chunk(chunk, _) => vec![chunk.id],
        }
    }
}

impl SmallFile {
    fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        self.item.chunks.iter().flatten()
    }
}

/// Jobs without content cost something, too.
fn cost(bytes: usize) -> usize {
    bytes + 4096
}

fn length(chunk: &ChunkRef) -> usize {
    chunk.size as usize
}

/// What workers need.
pub struct Workshop<'a> {
    /// The repository.
    pub repository: &'a dyn Repository,
    /// Its key.
    pub crypto: &'a Crypto,
    /// The target directory; none for a dry run.
    pub root: Option<Root>,
    /// Which metadata is restored.
    pub attributes: Attributes<'a>,
    /// All-zero chunks become holes.
    pub sparse: bool,
}

/// A result: the path it is about and what could not be restored.
pub type Outcome = (Vec<u8>, Restored);

/// The queue between walk and workers.
pub struct Crew<'a> {
    workshop: Workshop<'a>,
    threads: usize,
    queue: TaskQueue<Job>,
    content: Budget,
    shelf: Shelf,
    written: AtomicU64,
    outcomes: Mutex<BTreeMap<usize, Outcome>>,
    error: Mutex<Option<EngineError>>,
}

impl<'a> Crew<'a> {
    /// Prepares a crew of so many workers.
    pub fn new(workshop: Workshop<'a>, threads: usize) -> Self {
        Self {
            workshop,
            threads,
            queue: TaskQueue::default(),
            content: Budget::new(CONTENT_BUDGET),
            shelf: Shelf::new(BUFFER_BYTES),
            written: AtomicU64::new(0),
            outcomes: Mutex::default(),
            error: Mutex::default(),
        }
    }

    /// Runs `walk` on this thread with the workers beside it.
    ///
    /// # Errors
    /// That of the walk, or the first of a worker.
    pub fn run<T>(
        &self,
        walk: impl FnOnce(&Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let result = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads)
                .map(|_| scope.spawn(|| self.work()))
                .collect();
            let result = walk(self);
            if result.is_ok() {
                self.queue.close();
            } else {
                self.queue.abandon();
            }
            let died = workers.into_iter().filter_map(|worker| worker.join().err());
            if died.count() > 0 {
                self.fail(EngineError::WorkerDied);
            }
            result
        });
        match lock(&self.error).take() {
            Some(error) => Err(error),
            None => result,
        }
    }

    fn fail(&self, error: EngineError) {
        lock(&self.error).get_or_insert(error);
        self.queue.abandon();
    }

    fn failed(&self) -> bool {
        lock(&self.error).is_some()
    }

    /// Hands a job over, waiting until its content fits the budget.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when a worker failed.
    pub fn hand_over(&self, job: Job) -> Result<(), EngineError> {
        if !self.content.take(job.cost(), || self.failed()) {
            return Err(EngineError::Abandoned);
        }
        self.workshop.repository.prefetch(&job.ids());
        self.queue.push(Priority::Normal, job);
        Ok(())
    }

    /// The bytes of content that were written, or verified, by now.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Counts bytes that were written, or need not be.
    pub fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits until all jobs are done.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when a worker failed.
    pub fn wait(&self) -> Result<(), EngineError> {
        if self.content.wait_until_all_is_free(|| self.failed()) && !self.failed() {
            Ok(())
        } else {
            Err(EngineError::Abandoned)
        }
    }

    /// Takes the outcomes that are there, in the order of the archive.
    pub fn outcomes(&self) -> Vec<Outcome> {
        std::mem::take(&mut *lock(&self.outcomes))
            .into_values()
            .collect()
    }

    fn work(&self) {
        let mut worker = Worker {
            crew: self,
            root: self.workshop.root.clone(),
            reader: ContentReader::default(),
            chunks: Conveyor::new(self.workshop.repository, self.workshop.crypto, &self.shelf),
        };
        if let Err(error) = worker.work() {
            self.fail(error.into());
        }
    }

    fn note(&self, number: usize, path: Vec<u8>, restored: Restored) {
        if !matches!(&restored, Ok(warnings) if warnings.is_empty()) {
            lock(&self.outcomes).insert(number, (path, restored));
        }
    }
}

/// One thread's work.
struct Worker<'a> {
    crew: &'a Crew<'a>,
    root: Option<Root>,
    reader: ContentReader,
    chunks: Conveyor<'a, Option<Target>>,
}

impl Worker<'_> {
    fn work(&mut self) -> Result<(), ObjectError> {
        while let Popped::Task(job) = self.crew.queue.pop(|| false) {
            self.begin(job)?;
            loop {
                while self.chunks.has_room()
                    && let Some(job) = self.crew.queue.try_pop()
                {
                    self.begin(job)?;
                }
                let Some(done) = self.chunks.finish_one() else {
                    break;
                };
                let content = done.result?;
                self.write_chunk(done.tag, content.data());
                self.crew.content.give(cost(content.data().len()));
                self.chunks.recycle(content);
            }
        }
        Ok(())
    }

    fn begin(&mut self, job: Job) -> Result<(), ObjectError> {
        let costs = job.cost();
        match job {
            Job::Files(files) => {
                self.write_files(files)?;
                self.crew.content.give(costs);
            }
            Job::Chunk(chunk, target) => {
                let size = chunk.size as usize;
                self.chunks.begin(target, chunk.id, Some(size));
            }
        }
        Ok(())
    }

    fn write_files(&mut self, files: Vec<SmallFile>) -> Result<(), ObjectError> {
        let workshop = &self.crew.workshop;
        let chunks: Vec<ChunkRef> = files.iter().flat_map(SmallFile::chunks).copied().collect();
        let mut rest = self
            .reader
            .read(workshop.repository, workshop.crypto, &chunks)?;
        let Some(root) = &mut self.root else {
            return Ok(());
        };
        for file in files {
            let count = file.chunks().count();
            let (own, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = others;
            self.crew.wrote(file.item.content_size());
            let restored = files::write_whole(
                root,
                &file.path,
                &file.item,
                own,
                workshop.sparse,
                &workshop.attributes,
            );
            self.crew.note(file.number, file.path, restored);
        }
        Ok(())
    }

    fn write_chunk(&self, target: Option<Target>, data: &[u8]) {
        self.crew.wrote(data.len() as u64);
        let Some(Target { file, offset }) = target else {
            return;
        };
        if let Some(restored) = file.write_chunk(data, offset, &self.crew.workshop.attributes) {
            self.crew.note(file.number, file.path.clone(), restored);
        }
    }
}
