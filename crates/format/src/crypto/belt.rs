//! Sealing and opening objects and hashing data, several at a time, each begun when another is done.
//!
//! BLAKE2b is sequential within one input: the lanes of the vector unit are only full while several
//! inputs advance together. Inputs have all lengths, so that taking them in groups leaves lanes
//! empty at the end of every group. On a [`Belt`] each place is filled again as soon as it is free.

use std::collections::VecDeque;

use blake2b_simd::many::degree;

use super::Crypto;
use super::envelope::{COUNTER, OpenError, PAYLOAD, Sealed, counter_bytes, finish_open, put_mac};
use super::id_hash::Running;
use super::lanes::{Direction, SLICE, Stream};
use crate::id::ChunkId;

/// What came off a belt.
#[derive(Debug)]
pub enum Done<T, B> {
    /// An object was opened in place: its payload is at `[overhead()..]`.
    Opened {
        /// What the caller knows it by.
        tag: T,
        /// The buffer. With an error the payload is zeroed if the mode encrypts.
        object: Vec<u8>,
        /// Whether it is one of this key.
        result: Result<(), OpenError>,
    },
    /// An object was sealed.
    Sealed {
        /// What the caller knows it by.
        tag: T,
        /// The object.
        object: Sealed,
    },
    /// Data was hashed.
    Hashed {
        /// What the caller knows it by.
        tag: T,
        /// The data.
        data: B,
        /// The id.
        id: ChunkId,
    },
}

/// Objects and data that are worked on side by side.
pub struct Belt<'a, T, B> {
    crypto: &'a Crypto,
    places: Vec<Place<'a, T, B>>,
    done: VecDeque<Done<T, B>>,
}

struct Place<'a, T, B> {
    tag: T,
    work: Work<'a, B>,
    /// How far it is.
    at: usize,
    hash: Running,
}

enum Work<'a, B> {
    Hash(B),
    Cipher {
        object: Vec<u8>,
        stream: Stream<'a>,
        direction: Direction,
    },
}

impl<B: AsRef<[u8]>> Work<'_, B> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Hash(data) => data.as_ref(),
            Self::Cipher { object, .. } => object,
        }
    }
}

impl<T, B: AsRef<[u8]>> Place<'_, T, B> {
    fn end(&self) -> usize {
        // The counter before the payload has no cipher: slices are whole cipher blocks.
        let from = match self.work {
            Work::Hash(_) => self.at,
            Work::Cipher { .. } => self.at.max(PAYLOAD),
        };
        (from + SLICE).min(self.work.bytes().len())
    }

    /// Ciphers the slice if this is the moment for it: the MAC covers the ciphertext.
    fn cipher(&mut self, moment: Direction) {
        let end = self.end();
        if let Work::Cipher {
            object,
            stream,
            direction,
        } = &mut self.work
            && *direction == moment
        {
            let slice = object.get_mut(self.at.max(PAYLOAD)..end);
            stream.apply(slice.unwrap_or_default());
        }
    }

    fn hash_and_slice(&mut self) -> (&mut Running, &[u8]) {
        let slice = self.at..self.end();
        (
            &mut self.hash,
            self.work.bytes().get(slice).unwrap_or_default(),
        )
    }

    /// Ends a step; tells whether that was the last one.
    fn advance(&mut self) -> bool {
        self.cipher(Direction::Open);
        self.at = self.end();
        self.at == self.work.bytes().len()
    }

    fn finish(self) -> Done<T, B> {
        let tag = self.tag;
        let hash = self.hash.finish();
        match self.work {
            Work::Hash(data) => Done::Hashed {
                tag,
                data,
                id: ChunkId::new(hash),
            },
            Work::Cipher {
                mut object,
                direction: Direction::Open,
                ..
            } => {
                let result = finish_open(&mut object, &hash);
                Done::Opened {
                    tag,
                    object,
                    result,
                }
            }
            Work::Cipher { mut object, .. } => {
                put_mac(&mut object, &hash);
                Done::Sealed {
                    tag,
                    object: Sealed::new(object),
                }
            }
        }
    }
}

impl<'a, T, B: AsRef<[u8]>> Belt<'a, T, B> {
    /// Makes an empty belt.
    pub fn new(crypto: &'a Crypto) -> Self {
        Self {
            crypto,
            places: Vec::new(),
            done: VecDeque::new(),
        }
    }

    /// The number of things that are worked on at the cost of one.
    pub fn width(crypto: &Crypto) -> usize {
        if crypto.id.has_lanes() { degree() } else { 1 }
    }

    /// Tells whether something more would fill a lane.
    pub fn has_room(&self) -> bool {
        self.places.len() + self.done.len() < Self::width(self.crypto)
    }

    /// Tells whether there is nothing on it.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.done.is_empty()
    }

    /// Begins to open an object, as [`Crypto::open_in_place`] does.
    pub fn open(&mut self, tag: T, object: Vec<u8>) {
        match self.crypto.check_form(&object) {
            Ok(()) if self.crypto.cipher.is_some() => self.cipher(tag, object, Direction::Open),
            result => self.done.push_back(Done::Opened {
                tag,
                object,
                result,
            }),
        }
    }

    /// Begins to seal an object that [`Crypto::begin`] began, as [`Crypto::seal`] does; the counter
    /// must be as that asks for.
    pub fn seal(&mut self, tag: T, mut object: Vec<u8>, counter: u64) {
        self.crypto.put_header(&mut object, counter);
        if self.crypto.cipher.is_some() {
            self.cipher(tag, object, Direction::Seal);
        } else {
            let object = Sealed::new(object);
            self.done.push_back(Done::Sealed { tag, object });
        }
    }

    fn cipher(&mut self, tag: T, object: Vec<u8>, direction: Direction) {
        let Some(cipher) = &self.crypto.cipher else {
            return;
        };
        self.places.push(Place {
            tag,
            at: COUNTER,
            hash: cipher.mac.start(),
            work: Work::Cipher {
                stream: cipher.stream(counter_bytes(&object)),
                object,
                direction,
            },
        });
    }

    /// Begins to compute the id of data.
    pub fn hash(&mut self, tag: T, data: B) {
        self.places.push(Place {
            tag,
            at: 0,
            hash: self.crypto.id.start(),
            work: Work::Hash(data),
        });
    }

    /// Works until something is done and returns it; none when there is nothing to do.
    pub fn finish_one(&mut self) -> Option<Done<T, B>> {
        while self.done.is_empty() && !self.places.is_empty() {
            for place in &mut self.places {
                place.cipher(Direction::Seal);
            }
            Running::update_many(self.places.iter_mut().map(Place::hash_and_slice));
            let finished = self.places.extract_if(.., Place::advance);
            self.done.extend(finished.map(Place::finish));
        }
        self.done.pop_front()
    }
}
