//! Reading objects one after the other, with several of them under way.
//!
//! Each is fetched, opened, decompressed and verified. A few are in work at any time, so that the
//! vector unit is full (see [`Belt`]); they are done in an order of their own. Memory is bounded by
//! these few and a [`Shelf`].

use std::collections::VecDeque;

use fastness_format::compress::{DecompressError, Decompressor, Method, announced_len};
use fastness_format::crypto::{Belt, Crypto, Done};
use fastness_format::id::ChunkId;
use fastness_repository::Repository;

use crate::keys::nonce::after_manifest;
use crate::objects::{MAX_PLAINTEXT_BYTES, ObjectError};
use crate::shelf::Shelf;

/// Header of a payload that is not compressed.
const PLAIN_HEADER: usize = 2;

/// Bytes that the buffers of one thread take when there are four of the longest chunks on its belt, and
/// one more is decompressed.
const BELT_BYTES: usize = 40 << 20;

/// Makes the shelf for the buffers of so many conveyors.
pub fn shelf_for(threads: usize) -> Shelf {
    Shelf::new(threads * BELT_BYTES)
}

/// The data of an object.
#[derive(Debug)]
pub struct Content {
    buffer: Vec<u8>,
    /// Where the data begins: what was stored without compression stays where it was read to.
    start: usize,
}

impl Content {
    /// The bytes.
    pub fn data(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        self.data()
    }
}

/// What came of an object.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What the caller knows it by.
    pub tag: T,
    /// The object.
    pub id: ChunkId,
    /// A counter value above all that sealing it used; 0 if it was not encrypted.
    pub next_counter: u64,
    /// Its data, or why there is none.
    pub result: Result<Content, ObjectError>,
}

/// An object on its way.
struct Task<T> {
    tag: T,
    id: ChunkId,
    size: Option<usize>,
    next_counter: u64,
}

impl<T> Task<T> {
    fn done(self, result: Result<Content, ObjectError>) -> Outcome<T> {
        Outcome {
            tag: self.tag,
            id: self.id,
            next_counter: self.next_counter,
            result,
        }
    }
}

/// Reads objects for one thread.
pub struct Conveyor<'a, T> {
    repository: &'a dyn Repository,
    crypto: &'a Crypto,
    belt: Belt<'a, Task<T>, Content>,
    failed: VecDeque<Outcome<T>>,
    decompressor: Decompressor,
    shelf: &'a Shelf,
    /// How long the data of the last object was; used where no length is told.
    likely: usize,
}

impl<'a, T> Conveyor<'a, T> {
    /// Prepares to read from a repository. The shelf may serve other conveyors, too.
    pub fn new(repository: &'a dyn Repository, crypto: &'a Crypto, shelf: &'a Shelf) -> Self {
        Self {
            repository,
            crypto,
            belt: Belt::new(crypto),
            failed: VecDeque::new(),
            decompressor: Decompressor::new(),
            shelf,
            likely: 0,
        }
    }

    /// Tells whether another object should be begun.
    pub fn has_room(&self) -> bool {
        self.failed.is_empty() && self.belt.has_room()
    }

    /// Begins to read an object. `size` is the length of its data where it is known; data of
    /// another length is damage then.
    pub fn begin(&mut self, tag: T, id: ChunkId, size: Option<usize>) {
        let mut task = Task {
            tag,
            id,
            size,
            next_counter: 0,
        };
        let shelf = self.shelf;
        match self
            .repository
            .get_with(&id, &mut |bytes| shelf.take(bytes))
        {
            Ok(object) => {
                shelf.lend(&object);
                task.next_counter = after_manifest(self.crypto, &object);
                self.belt.open(task, object);
            }
            Err(error) => self.failed.push_back(task.done(Err(error.into()))),
        }
    }

    /// Works until an object is done; none when none is under way.
    pub fn finish_one(&mut self) -> Option<Outcome<T>> {
        loop {
            if let Some(outcome) = self.failed.pop_front() {
                return Some(outcome);
            }
            match self.belt.finish_one()? {
                Done::Opened {
                    tag: task,
                    object,
                    result,
                } => {
                    let id = task.id;
                    let begun = match result {
                        Ok(()) => self.decompress(task, object),
                        Err(source) => {
                            self.shelf.put(object);
                            Err(task.done(Err(ObjectError::Envelope { id, source })))
                        }
                    };
                    if let Err(outcome) = begun {
                        return Some(outcome);
                    }
                }
                Done::Hashed { tag, data, id } => {
                    // The manifest is the one object that is not stored under its own hash.
                    let fits = id == tag.id || tag.id == ChunkId::MANIFEST;
                    let expected = tag.id;
                    if !fits {
                        self.recycle(data);
                        return Some(tag.done(Err(ObjectError::Identity(expected))));
                    }
                    return Some(tag.done(Ok(data)));
                }
                // Nothing is sealed here.
                Done::Sealed { .. } => {}
            }
        }
    }

    /// Takes back the buffer of data that is done with; every one must come back.
    pub fn recycle(&mut self, content: Content) {
        self.shelf.put(content.buffer);
    }

    /// Sends the data of an opened object on to be hashed.
    fn decompress(&mut self, task: Task<T>, object: Vec<u8>) -> Result<(), Outcome<T>> {
        let begin = self.crypto.overhead();
        let payload = object.get(begin..).unwrap_or_default();
        let stored = payload.len().saturating_sub(PLAIN_HEADER);
        if Method::detect(payload) == Some(Method::None) && task.size.is_none_or(|n| n == stored) {
            let start = begin + PLAIN_HEADER;
            let buffer = object;
            self.belt.hash(task, Content { buffer, start });
            return Ok(());
        }
        let size = task.size.or_else(|| announced_len(payload));
        let mut data = self.shelf.take(size.unwrap_or(self.likely));
        let result: Result<(), DecompressError> =
            self.decompressor
                .decompress(payload, size, MAX_PLAINTEXT_BYTES, &mut data);
        self.shelf.put(object);
        self.shelf.lend(&data);
        match result {
            Ok(()) => {
                self.likely = data.len();
                let (buffer, start) = (data, 0);
                self.belt.hash(task, Content { buffer, start });
                Ok(())
            }
            Err(source) => {
                self.shelf.put(data);
                let id = task.id;
                Err(task.done(Err(ObjectError::Compression { id, source })))
            }
        }
    }
}
