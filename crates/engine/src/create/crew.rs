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

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};
use fastness_format::crypto::Sealed;
use fastness_format::id::ChunkId;
use fastness_repository::Repository;

use super::stages::{Bench, Outbox, Store};
use crate::error::EngineError;
use crate::tasks::{Budget, Priority, TaskQueue, lock};

/// Bytes of file content that may be in memory, from reading to sealing.
const CONTENT_BUDGET: usize = 24 << 20;
/// Bytes of sealed objects that may wait for the writer.
const SEALED_BUDGET: usize = 12 << 20;

/// Something a worker does.
pub type Task<'env> = Box<dyn FnOnce(&Crew<'env>, &mut Bench) + Send + 'env>;

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

/// The way from the workers to the writer.
pub struct Post {
    sender: Sender<Vec<(ChunkId, Sealed)>>,
    receiver: Receiver<Vec<(ChunkId, Sealed)>>,
    budget: Budget,
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
}

impl Post {
    /// Appends what arrives to the repository; an empty parcel ends it.
    fn deliver(&self, repository: &Mutex<&mut dyn Repository>) {
        for objects in &self.receiver {
            if objects.is_empty() {
                return;
            }
            let mut bytes = 0;
            let mut repository = lock(repository);
            for (id, object) in &objects {
                bytes += object.len();
                if self.failure.is_set() {
                    continue;
                }
                if let Err(error) = repository.put(id, object.as_bytes()) {
                    self.failure.set(error.into());
                }
            }
            drop(repository);
            drop(objects);
            self.budget.give(bytes);
        }
    }
}

/// The threads of one create.
pub struct Crew<'env> {
    /// The stages.
    pub store: &'env Store<'env>,
    /// The repository; the writer holds it for one parcel at a time.
    pub repository: &'env Mutex<&'env mut dyn Repository>,
    /// Bytes of content in memory.
    pub content: Budget,
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
        task: impl FnOnce(&Crew<'env>, &mut Bench) + Send + 'env,
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

    /// Takes `bytes` of the content budget. Works on urgent tasks while it has to wait, since those
    /// are what gives bytes back. False when the operation failed.
    pub fn take_content(&self, bytes: usize, bench: &mut Bench) -> bool {
        while !self.content.try_take(bytes) {
            if self.failed() {
                return false;
            }
            match self.queue.try_pop_urgent() {
                Some(task) => task(self, bench),
                None => self.content.wait(),
            }
        }
        true
    }

    /// Works on any waiting task; false when there is none.
    pub fn help(&self, bench: &mut Bench) -> bool {
        match self.queue.try_pop() {
            Some(task) => {
                task(self, bench);
                true
            }
            None => false,
        }
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

    fn work(&self) {
        let mut bench = self.store.bench();
        while let Some(task) = self.queue.pop() {
            task(self, &mut bench);
            if self.failed() {
                self.queue.abandon();
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
    repository: &'env Mutex<&'env mut dyn Repository>,
    threads: usize,
    conduct: impl FnOnce(&Crew<'env>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let crew = Crew {
        store,
        repository,
        content: Budget::new(CONTENT_BUDGET),
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
