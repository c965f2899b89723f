//! The threads that make an archive.
//!
//! ```text
//! conductor (the caller's thread) ──tasks──► workers, one a core ──sealed objects──► writer
//!        ▲                                        │
//!        └────────────── slots, in order ─────────┘
//! ```
//!
//! Workers list directories, read files and send chunks through the stages; the writer appends
//! objects to the repository; the conductor keeps the order and so decides what the archive looks
//! like. Two budgets bound the memory: bytes read and not yet sealed, bytes sealed and not yet
//! written. The first error of any thread ends all of them.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use fastness_format::crypto::Sealed;
use fastness_format::id::ChunkId;
use fastness_repository::Repository;

use super::line::{Line, Loan};
use super::slabs::Slabs;
use super::stages::{Bench, Outbox, Store, StoredChunk};
use crate::error::EngineError;
use crate::tasks::{Budget, Popped, Priority, TaskQueue, lock};

/// Bytes of sealed objects that may wait for the writer.
const SEALED_BUDGET: usize = 5 << 20;
/// Capacity of the buffers of written objects that are kept to be used again.
const SPARE_BYTES: usize = 12 << 20;
/// Shorter buffers are not worth keeping.
const SPARE_LEAST: usize = 64 << 10;
/// Bytes that may be read and not yet compressed, for each thread and one more.
const SLAB_BYTES: usize = 6 << 20;

/// How long a thread waits for others, or for what fills a lane, before it looks again: about as
/// long as reading a chunk takes.
const MOMENT: Duration = Duration::from_millis(1);

/// Something a worker does.
pub type Task<'env> = Box<dyn FnOnce(&Crew<'env>, &mut Bench<'env>) + Send + 'env>;

/// The first error, told to all threads.
#[derive(Debug, Default)]
pub struct Failure {
    failed: AtomicBool,
    error: Mutex<Option<EngineError>>,
}

impl Failure {
    /// Keeps the first error that is a cause and not a consequence.
    pub fn set(&self, error: EngineError) {
        let mut kept = lock(&self.error);
        if kept.is_none() || matches!(*kept, Some(EngineError::Abandoned)) {
            *kept = Some(error);
        }
        self.failed.store(true, Ordering::Release);
    }

    /// Tells whether there was an error.
    pub fn is_set(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn take(&self) -> Option<EngineError> {
        lock(&self.error).take()
    }
}

/// Buffers of objects that were written.
#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Spare {
    /// Takes the shortest buffer with room for so many bytes, else the longest.
    fn take_for(&mut self, bytes: usize) -> Vec<u8> {
        let place = (self.buffers).partition_point(|other| other.capacity() < bytes);
        let place = place.min(self.buffers.len().saturating_sub(1));
        let buffer = (place < self.buffers.len()).then(|| self.buffers.remove(place));
        let buffer = buffer.unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer in the order of their sizes, for smaller ones if there are too many.
    fn keep(&mut self, buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        let place = (self.buffers).partition_point(|other| other.capacity() < capacity);
        self.bytes += capacity;
        self.buffers.insert(place, buffer);
        while self.bytes > SPARE_BYTES && !self.buffers.is_empty() {
            self.bytes -= self.buffers.remove(0).capacity();
        }
    }
}

/// The way from the workers to the writer.
pub struct Post {
    sender: Sender<Vec<(ChunkId, Sealed)>>,
    receiver: Receiver<Vec<(ChunkId, Sealed)>>,
    budget: Budget,
    spare: Mutex<Spare>,
    /// The first error of any thread.
    pub failure: Failure,
}

impl Default for Post {
    fn default() -> Self {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Self {
            sender,
            receiver,
            budget: Budget::new(SEALED_BUDGET),
            spare: Mutex::default(),
            failure: Failure::default(),
        }
    }
}

impl Outbox for Post {
    fn send(&self, objects: Vec<(ChunkId, Sealed)>) -> Result<(), EngineError> {
        let bytes = objects.iter().map(|(_, object)| object.len()).sum();
        if !self.budget.take(bytes, || self.failure.is_set()) {
            return Err(EngineError::Abandoned);
        }
        self.sender
            .send(objects)
            .map_err(|_| EngineError::Abandoned)
    }

    fn failed(&self) -> bool {
        self.failure.is_set()
    }

    fn buffer(&self, bytes: usize) -> Vec<u8> {
        lock(&self.spare).take_for(bytes)
    }
}

impl Post {
    fn keep(&self, object: Sealed) {
        let buffer = object.into_vec();
        if buffer.capacity() >= SPARE_LEAST {
            lock(&self.spare).keep(buffer);
        }
    }

    /// Appends what arrives to the repository; an empty parcel ends it.
    fn deliver(&self, repository: &Writable<'_>) {
        let _stage = tracing::trace_span!("store").entered();
        for objects in &self.receiver {
            if objects.is_empty() {
                return;
            }
            let mut bytes = 0;
            let mut repository = lock(repository);
            for (id, object) in objects {
                bytes += object.len();
                if self.failure.is_set() {
                    continue;
                }
                if let Some(repository) = repository.as_mut()
                    && let Err(error) = repository.put(&id, object.as_bytes())
                {
                    self.failure.set(error.into());
                }
                self.keep(object);
            }
            drop(repository);
            self.budget.give(bytes);
        }
    }
}

/// Where objects go; nowhere in a dry run, which makes none.
pub type Writable<'a> = Mutex<Option<&'a mut dyn Repository>>;

/// The threads of one create.
pub struct Crew<'env> {
    /// The stages.
    pub store: &'env Store<'env>,
    /// The repository; the writer holds it for one parcel at a time.
    pub repository: &'env Writable<'env>,
    /// What files are read into.
    pub slabs: Arc<Slabs>,
    /// Long chunks on their way.
    line: Arc<Line<'env>>,
    /// Number of big files that are being read.
    pub readers: AtomicUsize,
    post: &'env Post,
    queue: TaskQueue<Task<'env>>,
    /// Number of worker threads.
    pub threads: usize,
}

impl<'env> Crew<'env> {
    /// Puts a task into the queue.
    pub fn spawn(
        &self,
        priority: Priority,
        task: impl FnOnce(&Crew<'env>, &mut Bench<'env>) + Send + 'env,
    ) {
        self.queue.push(priority, Box::new(task));
    }

    /// Tells whether the operation failed.
    pub fn failed(&self) -> bool {
        self.post.failure.is_set()
    }

    /// Ends the operation.
    pub fn fail(&self, error: EngineError) {
        self.post.failure.set(error);
    }

    /// Makes what a thread needs of its own.
    pub fn bench(&self) -> Bench<'env> {
        self.store.bench(&self.line)
    }

    /// Puts chunks on the line; `receiver` gets the results in their order.
    pub fn put_on_line(
        &self,
        loan: &Arc<Loan>,
        chunks: impl ExactSizeIterator<Item = Range<usize>>,
        receiver: impl FnOnce(Vec<StoredChunk>) + Send + 'env,
    ) {
        self.line.put(loan, chunks, receiver);
        self.queue.wake();
    }

    /// Takes a buffer to read into, when not too much is under way; none when the operation failed.
    pub fn take_slab(&self, bench: &mut Bench<'env>) -> Option<Vec<u8>> {
        self.wait_for_slabs(bench).then(|| self.slabs.take())
    }

    /// Waits until not too much is under way, and meanwhile works on what is; false when the
    /// operation failed.
    pub fn wait_for_slabs(&self, bench: &mut Bench<'env>) -> bool {
        // A belt keeps a thread busy for longer than reading can wait: better another one has it.
        let mut alone = self.threads == 1;
        while !self.slabs.has_room() {
            if self.failed() {
                return false;
            }
            let worked = if let Some(task) = self.queue.try_pop_urgent() {
                task(self, bench);
                true
            } else {
                self.compress_one(bench) || alone && self.work_on_line(bench)
            };
            if !worked {
                self.queue.rest(MOMENT);
                alone = true;
            }
        }
        true
    }

    /// Works on long chunks; false when there is nothing to do for this thread now.
    pub fn work_on_line(&self, bench: &mut Bench<'env>) -> bool {
        let worked = self.line.work(self.store, &mut bench.compressor);
        self.worked(worked)
    }

    fn compress_one(&self, bench: &mut Bench<'env>) -> bool {
        let compressed = self.line.compress_one(self.store, &mut bench.compressor);
        self.worked(compressed)
    }

    /// What one thread did is what another may have waited for.
    fn worked(&self, result: Result<bool, EngineError>) -> bool {
        match result {
            Ok(false) => false,
            Ok(true) => {
                self.queue.wake();
                true
            }
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Works on long chunks or on any waiting task but the reading of big files; false when there
    /// is nothing to do.
    pub fn help(&self, bench: &mut Bench<'env>) -> bool {
        if let Some(task) = self.queue.try_pop_light() {
            task(self, bench);
            return true;
        }
        self.work_on_line(bench)
    }

    /// Waits until everything sent was put into the repository.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when the operation failed.
    pub fn wait_for_writer(&self) -> Result<(), EngineError> {
        if self.post.budget.wait_until_all_is_free(|| self.failed()) && !self.failed() {
            Ok(())
        } else {
            Err(EngineError::Abandoned)
        }
    }

    /// Does what is best while long chunks are on their way.
    fn go_on(&self, bench: &mut Bench<'env>) {
        if self.compress_one(bench) {
            return;
        }
        let reading = self.readers.load(Ordering::Relaxed);
        let task = if !self.line.has_room() {
            None
        } else if reading > 0 && self.slabs.has_room() {
            // More is on its way, and full lanes do twice as much in the same time.
            self.queue.pop_light_within(MOMENT)
        } else {
            self.queue.try_pop_light()
        };
        if let Some(task) = task {
            task(self, bench);
        } else if !self.work_on_line(bench) {
            // Others have the belts.
            let task = self.queue.try_pop();
            if let Some(task) = task.or_else(|| self.queue.pop_light_within(MOMENT)) {
                task(self, bench);
            }
        }
    }

    fn work(&self) {
        let mut bench = self.bench();
        loop {
            if self.failed() {
                self.queue.abandon();
                return;
            }
            if !self.line.is_idle() {
                self.go_on(&mut bench);
                continue;
            }
            match self.queue.pop(|| !self.line.is_idle()) {
                Popped::Task(task) => task(self, &mut bench),
                Popped::Called => {}
                Popped::Closed => return,
            }
        }
    }
}

/// Runs `conduct` on this thread with a crew around it, and ends when all its work is done.
///
/// # Errors
/// That of `conduct`, or the first of any other thread.
pub fn with_crew<'env, T>(
    store: &'env Store<'env>,
    post: &'env Post,
    repository: &'env Writable<'env>,
    threads: usize,
    longest_chunk: usize,
    conduct: impl FnOnce(&Crew<'env>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let crew = Crew {
        store,
        repository,
        slabs: Arc::new(Slabs::new((threads + 1) * SLAB_BYTES, longest_chunk)),
        line: Arc::new(Line::new(store.crypto, threads)),
        readers: AtomicUsize::new(0),
        post,
        queue: TaskQueue::default(),
        threads,
    };
    let result = std::thread::scope(|scope| {
        let writer = scope.spawn(|| post.deliver(repository));
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| crew.work())).collect();
        let result = conduct(&crew);
        match &result {
            Ok(_) => crew.queue.close(),
            Err(_) => {
                crew.fail(EngineError::Abandoned);
                crew.queue.abandon();
            }
        }
        let panicked = workers
            .into_iter()
            .filter_map(|worker| worker.join().err())
            .count();
        // Only the writer reads the channel, so this is the last parcel it sees.
        drop(post.sender.send(Vec::new()));
        if writer.join().is_err() || panicked > 0 {
            crew.fail(EngineError::WorkerDied);
        }
        result
    });
    match (result, post.failure.take()) {
        (Err(EngineError::Abandoned) | Ok(_), Some(error)) => Err(error),
        (result, _) => result,
    }
}
