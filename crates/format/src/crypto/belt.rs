//! Opening objects and hashing data, several at a time, each begun when another is done.
//!
//! BLAKE2b is sequential within one input: the lanes of the vector unit are only full while several
//! inputs advance together. Inputs have all lengths, so that taking them in groups leaves lanes
//! empty at the end of every group. On a [`Belt`] each place is filled again as soon as it is free.

use std::collections::VecDeque;

use blake2b_simd::many::degree;

use super::Crypto;
use super::envelope::{COUNTER, OpenError, PAYLOAD, counter_bytes, finish_open};
use super::id_hash::Running;
use super::lanes::{SLICE, Stream};
use crate::id::ChunkId;

/// What came off a belt.
#[derive(Debug)]
pub enum Done<T> {
    /// An object was opened in place: its payload is at `[overhead()..]`.
    Opened {
        /// What the caller knows it by.
        tag: T,
        /// The buffer. With an error the payload is zeroed if the mode encrypts.
        object: Vec<u8>,
        /// Whether it is one of this key.
        result: Result<(), OpenError>,
    },
    /// Data was hashed.
    Hashed {
        /// What the caller knows it by.
        tag: T,
        /// The buffer.
        data: Vec<u8>,
        /// The id.
        id: ChunkId,
    },
}

/// Objects and data that are worked on side by side.
pub struct Belt<'a, T> {
    crypto: &'a Crypto,
    places: Vec<Place<'a, T>>,
    done: VecDeque<Done<T>>,
}

struct Place<'a, T> {
    tag: T,
    buffer: Vec<u8>,
    /// How far the hash is.
    at: usize,
    hash: Running,
    /// The key stream, if this is an object.
    stream: Option<Stream<'a>>,
}

impl<T> Place<'_, T> {
    fn end(&self) -> usize {
        // The counter before the payload has no cipher: slices are whole cipher blocks.
        let from = if self.stream.is_some() {
            self.at.max(PAYLOAD)
        } else {
            self.at
        };
        (from + SLICE).min(self.buffer.len())
    }

    fn hash_and_slice(&mut self) -> (&mut Running, &[u8]) {
        let slice = self.at..self.end();
        (&mut self.hash, self.buffer.get(slice).unwrap_or_default())
    }

    /// Ends a step; tells whether that was the last one.
    fn advance(&mut self) -> bool {
        let end = self.end();
        if let Some(stream) = &mut self.stream {
            let slice = self.buffer.get_mut(self.at.max(PAYLOAD)..end);
            stream.apply(slice.unwrap_or_default());
        }
        self.at = end;
        end == self.buffer.len()
    }
}

impl<'a, T> Belt<'a, T> {
    /// Makes an empty belt.
    pub fn new(crypto: &'a Crypto) -> Self {
        Self {
            crypto,
            places: Vec::new(),
            done: VecDeque::new(),
        }
    }

    /// Tells whether another object or other data would fill a lane.
    pub fn has_room(&self) -> bool {
        let width = if self.crypto.id.has_lanes() {
            degree()
        } else {
            1
        };
        self.places.len() + self.done.len() < width
    }

    /// Begins to open an object, as [`Crypto::open_in_place`] does.
    pub fn open(&mut self, tag: T, object: Vec<u8>) {
        let form = self.crypto.check_form(&object);
        match &self.crypto.cipher {
            Some(cipher) if form.is_ok() => self.places.push(Place {
                tag,
                at: COUNTER,
                hash: cipher.mac.start(),
                stream: Some(cipher.stream(counter_bytes(&object))),
                buffer: object,
            }),
            _ => self.done.push_back(Done::Opened {
                tag,
                object,
                result: form,
            }),
        }
    }

    /// Begins to compute the id of `data[from..]`.
    pub fn hash(&mut self, tag: T, data: Vec<u8>, from: usize) {
        self.places.push(Place {
            tag,
            at: from.min(data.len()),
            hash: self.crypto.id.start(),
            stream: None,
            buffer: data,
        });
    }

    /// Works until something is done and returns it; none when there is nothing to do.
    pub fn finish_one(&mut self) -> Option<Done<T>> {
        while self.done.is_empty() && !self.places.is_empty() {
            Running::update_many(self.places.iter_mut().map(Place::hash_and_slice));
            for place in self.places.extract_if(.., Place::advance) {
                self.done.push_back(finish(place));
            }
        }
        self.done.pop_front()
    }
}

fn finish<T>(place: Place<'_, T>) -> Done<T> {
    let (tag, mut object) = (place.tag, place.buffer);
    let hash = place.hash.finish();
    if place.stream.is_some() {
        let result = finish_open(&mut object, &hash);
        Done::Opened {
            tag,
            object,
            result,
        }
    } else {
        Done::Hashed {
            tag,
            data: object,
            id: ChunkId::new(hash),
        }
    }
}
