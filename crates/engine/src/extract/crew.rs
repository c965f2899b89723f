//! The threads that fetch and write file content.
//!
//! The walk hands over [`Job`]s whose content it has taken from a budget of bytes; workers give it
//! back when the content is written. Results come back by number, so that warnings can be told in
//! the order of the archive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fastness_format::crypto::Crypto;
use fastness_format::item::{ChunkRef, Item};
use fastness_repository::Repository;
use fastness_sys::beneath::Root;

use super::files::{self, BigFile, Restored};
use crate::attributes::Attributes;
use crate::error::EngineError;
use crate::objects::ContentReader;
use crate::tasks::{Budget, Priority, TaskQueue, lock};

/// Bytes of content that may be under way.
const CONTENT_BUDGET: usize = 24 << 20;

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
    /// Writes a piece of a big file.
    Piece {
        /// The file.
        file: Arc<BigFile>,
        /// Offset of the piece.
        offset: u64,
        /// Which of the chunks of the file's item.
        chunks: std::ops::Range<usize>,
    },
    /// Reads and verifies chunks, for a dry run.
    Verify(Vec<ChunkRef>),
}

impl Job {
    fn chunks(&self) -> Vec<ChunkRef> {
        match self {
            Self::Files(files) => files
                .iter()
                .flat_map(|file| file.item.chunks.iter().flatten().copied())
                .collect(),
            Self::Piece { file, chunks, .. } => {
                let all = file.item.chunks.as_deref().unwrap_or_default();
                all.get(chunks.clone()).unwrap_or_default().to_vec()
            }
            Self::Verify(chunks) => chunks.clone(),
        }
    }
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
    queue: TaskQueue<Job>,
    content: Budget,
    outcomes: Mutex<BTreeMap<usize, Outcome>>,
    error: Mutex<Option<EngineError>>,
}

impl<'a> Crew<'a> {
    /// Prepares a crew.
    pub fn new(workshop: Workshop<'a>) -> Self {
        Self {
            workshop,
            queue: TaskQueue::default(),
            content: Budget::new(CONTENT_BUDGET),
            outcomes: Mutex::default(),
            error: Mutex::default(),
        }
    }

    /// Runs `walk` on this thread with so many workers beside it.
    ///
    /// # Errors
    /// That of the walk, or the first of a worker.
    pub fn run<T>(
        &self,
        threads: usize,
        walk: impl FnOnce(&Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let result = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work())).collect();
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
        if !self
            .content
            .take(content_bytes(&job.chunks()), || self.failed())
        {
            return Err(EngineError::Abandoned);
        }
        self.queue.push(Priority::Normal, job);
        Ok(())
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
        let mut reader = ContentReader::default();
        let mut root = self.workshop.root.clone();
        while let Some(job) = self.queue.pop() {
            let chunks = job.chunks();
            let contents = reader.read(self.workshop.repository, self.workshop.crypto, &chunks);
            match contents {
                Ok(contents) => self.write(root.as_mut(), job, &contents),
                Err(error) => self.fail(error.into()),
            }
            self.content.give(content_bytes(&chunks));
        }
    }

    fn write(&self, root: Option<&mut Root>, job: Job, contents: &[Vec<u8>]) {
        let workshop = &self.workshop;
        match (job, root) {
            (Job::Files(files), Some(root)) => {
                let mut rest = contents;
                for file in files {
                    let count = file.item.chunks.as_ref().map_or(0, Vec::len);
                    let (own, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
                    rest = others;
                    let restored = files::write_whole(
                        root,
                        &file.path,
                        &file.item,
                        own,
                        workshop.sparse,
                        &workshop.attributes,
                    );
                    self.note(file.number, file.path, restored);
                }
            }
            (Job::Piece { file, offset, .. }, _) => {
                if let Some(restored) = file.write_piece(contents, offset, &workshop.attributes) {
                    self.note(file.number, file.path.clone(), restored);
                }
            }
            (Job::Files(_) | Job::Verify(_), _) => {}
        }
    }

    fn note(&self, number: usize, path: Vec<u8>, restored: Restored) {
        if !matches!(&restored, Ok(warnings) if warnings.is_empty()) {
            lock(&self.outcomes).insert(number, (path, restored));
        }
    }
}

/// What a job costs: its content, and something for jobs without.
fn content_bytes(chunks: &[ChunkRef]) -> usize {
    let bytes: usize = chunks.iter().map(|chunk| chunk.size as usize).sum();
    bytes + 4096
}
