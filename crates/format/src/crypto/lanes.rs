//! Cipher and MAC over objects in place: one, or several side by side.
//!
//! A slice is ciphered and hashed before the next one is touched: it stays in the processor's cache
//! in between, where two passes over large objects would fetch everything twice. With BLAKE2b a few
//! objects advance together, so that their slices fill the lanes of the vector unit; an object that
//! is done makes room for the next one, whatever their lengths.

use aes::Aes256;
use aes::cipher::{InnerIvInit, StreamCipher};
use ctr::CtrCore;

use super::Cipher;
use super::envelope::{COUNTER, PAYLOAD, counter_bytes};
use super::id_hash::{Running, SHORT};

/// Bytes of an object that are handled at a time: whole AES blocks.
pub(super) const SLICE: usize = 16 * 1024;
/// Objects that advance together: their slices stay in the second level of the cache.
const TOGETHER: usize = 8;

/// Whether the MAC covers what comes out of the cipher or what goes in: the ciphertext either way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Seal,
    Open,
}

/// The key stream of one object.
pub(super) struct Stream<'a>(ctr::Ctr128BE<&'a Aes256>);

impl Stream<'_> {
    /// Encrypts or decrypts the next bytes.
    pub(super) fn apply(&mut self, data: &mut [u8]) {
        self.0.apply_keystream(data);
    }
}

/// One object on its way.
struct Lane<'a, 'o> {
    at: usize,
    object: &'o mut [u8],
    done: usize,
    mac: Running,
    stream: Stream<'a>,
}

impl Lane<'_, '_> {
    /// The part that comes next; the first one begins with the counter, which has no cipher.
    fn next(&self) -> (usize, usize, usize) {
        let cipher_from = self.done.max(PAYLOAD);
        let end = (cipher_from + SLICE).min(self.object.len());
        (self.done, cipher_from.min(end), end)
    }

    fn cipher(&mut self) {
        let (_, from, end) = self.next();
        let part = self.object.get_mut(from..end).unwrap_or_default();
        self.stream.apply(part);
    }

    /// Lends the MAC and the bytes it has to take in.
    fn mac_and_data(&mut self) -> (&mut Running, &[u8]) {
        let (from, _, end) = self.next();
        (
            &mut self.mac,
            self.object.get(from..end).unwrap_or_default(),
        )
    }

    /// Ends a step; tells whether the object is not finished.
    fn advance(&mut self) -> bool {
        self.done = self.next().2;
        self.done < self.object.len()
    }
}

impl Cipher {
    /// Begins the key stream of an object.
    pub(super) fn stream(&self, counter: [u8; 8]) -> Stream<'_> {
        let mut block = [0; 16];
        if let Some(low) = block.last_chunk_mut() {
            *low = counter;
        }
        let core = CtrCore::inner_iv_init(&self.aes, &block.into());
        Stream(ctr::Ctr128BE::from_core(core))
    }

    fn lane<'a, 'o>(&'a self, at: usize, object: &'o mut [u8]) -> Lane<'a, 'o> {
        Lane {
            at,
            done: COUNTER,
            mac: self.mac.start(),
            stream: self.stream(counter_bytes(object)),
            object,
        }
    }

    /// Ciphers an object that has its counter, in place, and returns the MAC it has to have.
    pub(super) fn process(&self, object: &mut [u8], direction: Direction) -> [u8; 32] {
        let mut lane = self.lane(0, object);
        loop {
            if direction == Direction::Seal {
                lane.cipher();
            }
            let (mac, data) = lane.mac_and_data();
            mac.update(data);
            if direction == Direction::Open {
                lane.cipher();
            }
            if !lane.advance() {
                return lane.mac.finish();
            }
        }
    }

    /// As [`Cipher::process`] for several objects; the MACs are in their order.
    pub(super) fn process_many(
        &self,
        objects: &mut [&mut [u8]],
        direction: Direction,
    ) -> Vec<[u8; 32]> {
        if !self.mac.has_lanes() || objects.len() < 2 {
            let each = objects.iter_mut();
            return each.map(|object| self.process(object, direction)).collect();
        }
        let mut macs = vec![[0; 32]; objects.len()];
        let is_short = |object: &&mut [u8]| object.len() - COUNTER.min(object.len()) <= SHORT;
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for (at, object) in objects.iter_mut().enumerate() {
            if is_short(object) {
                short.push((at, &mut **object));
            } else {
                long.push(self.lane(at, object));
            }
        }
        for batch in short.chunks_mut(TOGETHER) {
            self.process_short(batch, direction, &mut macs);
        }
        self.process_long(long, direction, &mut macs);
        macs
    }

    /// Objects that fit the cache whole.
    fn process_short(
        &self,
        batch: &mut [(usize, &mut [u8])],
        direction: Direction,
        macs: &mut [[u8; 32]],
    ) {
        let cipher = |batch: &mut [(usize, &mut [u8])]| {
            for (_, object) in batch {
                let mut stream = self.stream(counter_bytes(object));
                stream.apply(object.get_mut(PAYLOAD..).unwrap_or_default());
            }
        };
        if direction == Direction::Seal {
            cipher(batch);
        }
        let mut places = batch.iter().map(|(at, _)| *at);
        let inputs = batch
            .iter()
            .map(|(_, object)| object.get(COUNTER..).unwrap_or_default());
        self.mac.hash_many(inputs, |mac| {
            if let Some(place) = places.next().and_then(|at| macs.get_mut(at)) {
                *place = mac;
            }
        });
        if direction == Direction::Open {
            cipher(batch);
        }
    }

    fn process_long(
        &self,
        waiting: Vec<Lane<'_, '_>>,
        direction: Direction,
        macs: &mut [[u8; 32]],
    ) {
        let mut waiting = waiting.into_iter();
        let mut running: Vec<Lane<'_, '_>> = waiting.by_ref().take(TOGETHER).collect();
        while !running.is_empty() {
            if direction == Direction::Seal {
                running.iter_mut().for_each(Lane::cipher);
            }
            Running::update_many(running.iter_mut().map(Lane::mac_and_data));
            if direction == Direction::Open {
                running.iter_mut().for_each(Lane::cipher);
            }
            for finished in running.extract_if(.., |lane| !lane.advance()) {
                if let Some(place) = macs.get_mut(finished.at) {
                    *place = finished.mac.finish();
                }
            }
            running.extend(waiting.by_ref().take(TOGETHER - running.len()));
        }
    }
}
