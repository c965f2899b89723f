//! The envelope of a stored object.
//!
//! Modes that encrypt:
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 1 | type byte (not covered by the MAC) |
//! | 1 | 32 | MAC over everything after it |
//! | 33 | 8 | first counter, big endian: the low half of the initial AES-CTR block |
//! | 41 | n | AES-256-CTR of the payload |
//!
//! The others: the type byte, then the payload.
//!
//! Objects are sealed and opened in the buffer they are in, slice by slice, so that the cipher and
//! the MAC find the slice in the processor's cache; the MACs of several objects are computed side by
//! side (see `lanes`).
//!
//! The type byte of an object is compared with the mode that is in use and never chooses one: an
//! attacker can change it unseen.

use std::borrow::Cow;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::Crypto;
use super::lanes::{Direction, SLICE};

const MAC: std::ops::Range<usize> = 1..33;
pub(super) const COUNTER: usize = 33;
pub(super) const PAYLOAD: usize = 41;

/// An object ready to be stored. Only [`Crypto::seal`] makes one, so that plaintext cannot be
/// stored by mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// Takes an object that was sealed.
    pub(super) fn new(object: Vec<u8>) -> Self {
        Self(object)
    }

    /// Returns the bytes to be stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the number of bytes to be stored.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there are no bytes, which is never so.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the buffer, for storing or for using it again.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// An object that was not sealed with this key, or was changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The type byte is that of another mode.
    #[error("Invalid encryption envelope")]
    WrongType(u8),
    /// The object ends before its payload.
    #[error("Could not decrypt [object is too short]")]
    TooShort,
    /// The MAC does not fit the content.
    #[error("Could not decrypt [MAC Authentication failed]")]
    MacMismatch,
}

impl Crypto {
    /// Returns how many bytes an object is longer than its payload.
    pub fn overhead(&self) -> usize {
        if self.cipher.is_some() { PAYLOAD } else { 1 }
    }

    /// Begins an object: the room for its header. The payload is appended to it.
    pub fn begin(&self) -> Vec<u8> {
        vec![0; self.overhead()]
    }

    /// Begins an object in a buffer that was used before.
    pub fn begin_into(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.resize(self.overhead(), 0);
    }

    /// Returns how many counter values sealing an object of this length uses up: none if the mode
    /// does not encrypt.
    pub fn blocks(&self, object_len: usize) -> u64 {
        match self.cipher {
            Some(_) => (object_len.saturating_sub(PAYLOAD) as u64).div_ceil(16),
            None => 0,
        }
    }

    /// Seals an object that [`Crypto::begin`] began.
    ///
    /// `counter` and the following values, as many as [`Crypto::blocks`] says, must never be used
    /// again with this key. Modes that do not encrypt ignore it.
    pub fn seal(&self, mut object: Vec<u8>, counter: u64) -> Sealed {
        self.put_header(&mut object, counter);
        if let Some(cipher) = &self.cipher {
            let mac = cipher.process(&mut object, Direction::Seal);
            put_mac(&mut object, &mac);
        }
        Sealed(object)
    }

    /// Seals several objects, each with its counter; the result is that of [`Crypto::seal`] for
    /// each, in the same order, and BLAKE2b takes half the time.
    pub fn seal_many(&self, objects: Vec<(Vec<u8>, u64)>) -> Vec<Sealed> {
        let mut sealed: Vec<Vec<u8>> = objects
            .into_iter()
            .map(|(mut object, counter)| {
                self.put_header(&mut object, counter);
                object
            })
            .collect();
        if let Some(cipher) = &self.cipher {
            let mut views: Vec<&mut [u8]> = sealed.iter_mut().map(Vec::as_mut_slice).collect();
            let macs = cipher.process_many(&mut views, Direction::Seal);
            for (object, mac) in sealed.iter_mut().zip(&macs) {
                put_mac(object, mac);
            }
        }
        sealed.into_iter().map(Sealed).collect()
    }

    /// Writes the type byte and the counter.
    pub(super) fn put_header(&self, object: &mut Vec<u8>, counter: u64) {
        if object.len() < self.overhead() {
            // Not made by `begin`: then there is no payload either.
            object.resize(self.overhead(), 0);
        }
        if let Some(first) = object.first_mut() {
            *first = self.key_type.byte();
        }
        if self.cipher.is_some()
            && let Some(place) = object.get_mut(COUNTER..PAYLOAD)
        {
            place.copy_from_slice(&counter.to_be_bytes());
        }
    }

    /// Opens an object in the buffer it was read into and returns its payload.
    ///
    /// # Errors
    /// When the object was not sealed with this key. The payload is zeroed then if the mode
    /// encrypts.
    pub fn open_in_place<'a>(&self, stored: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
        self.check_form(stored)?;
        if let Some(cipher) = &self.cipher {
            let mac = cipher.process(stored, Direction::Open);
            finish_open(stored, &mac)?;
        }
        Ok(stored.get(self.overhead()..).unwrap_or_default())
    }

    /// Opens several objects in place. BLAKE2b takes half the time of one after the other.
    ///
    /// The payload of a good object is at `[overhead()..]` of its buffer afterwards; that of a bad
    /// one is zeroed if the mode encrypts.
    pub fn open_many(&self, stored: &mut [Vec<u8>]) -> Vec<Result<(), OpenError>> {
        let mut results: Vec<_> = stored
            .iter()
            .map(|object| self.check_form(object))
            .collect();
        let Some(cipher) = &self.cipher else {
            return results;
        };
        let mut well_formed: Vec<&mut [u8]> = stored
            .iter_mut()
            .zip(&results)
            .filter(|(_, result)| result.is_ok())
            .map(|(object, _)| object.as_mut_slice())
            .collect();
        let macs = cipher.process_many(&mut well_formed, Direction::Open);
        let opened = well_formed.into_iter().zip(&macs);
        results
            .iter_mut()
            .filter(|result| result.is_ok())
            .zip(opened)
            .for_each(|(result, (object, mac))| *result = finish_open(object, mac));
        results
    }

    /// Opens an object; the payload is a part of `stored` if the mode does not encrypt.
    ///
    /// # Errors
    /// When the object was not sealed with this key.
    pub fn open<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, OpenError> {
        if self.cipher.is_none() {
            self.check_form(stored)?;
            return Ok(Cow::Borrowed(stored.get(1..).unwrap_or_default()));
        }
        let mut payload = Vec::new();
        self.open_into(stored, &mut payload)?;
        Ok(Cow::Owned(payload))
    }

    /// Opens an object into a buffer, whose former content is dropped.
    ///
    /// # Errors
    /// When the object was not sealed with this key. The buffer is empty then.
    pub fn open_into(&self, stored: &[u8], payload: &mut Vec<u8>) -> Result<(), OpenError> {
        payload.clear();
        self.check_form(stored)?;
        let sealed = stored.get(self.overhead()..).unwrap_or_default();
        let Some(cipher) = &self.cipher else {
            payload.extend_from_slice(sealed);
            return Ok(());
        };
        payload.reserve(sealed.len());
        let mut mac = cipher.mac.start();
        let counter = counter_bytes(stored);
        mac.update(&counter);
        let mut stream = cipher.stream(counter);
        for slice in sealed.chunks(SLICE) {
            mac.update(slice);
            let start = payload.len();
            payload.extend_from_slice(slice);
            stream.apply(payload.get_mut(start..).unwrap_or_default());
        }
        compare_mac(stored, &mac.finish()).inspect_err(|_| payload.zeroize())
    }

    /// Returns the first counter of a stored object, without verifying it; `None` if the mode does
    /// not encrypt or the object is too short.
    pub fn counter_of(&self, stored: &[u8]) -> Option<u64> {
        let readable = self.cipher.is_some() && stored.len() >= PAYLOAD;
        readable.then(|| u64::from_be_bytes(counter_bytes(stored)))
    }

    pub(super) fn check_form(&self, stored: &[u8]) -> Result<(), OpenError> {
        match stored.first() {
            Some(byte) if !self.key_type.accepts(*byte) => Err(OpenError::WrongType(*byte)),
            Some(_) if stored.len() >= self.overhead() => Ok(()),
            _ => Err(OpenError::TooShort),
        }
    }
}

pub(super) fn finish_open(object: &mut [u8], mac: &[u8; 32]) -> Result<(), OpenError> {
    let result = compare_mac(object, mac);
    if result.is_err() {
        // What came out of the cipher is not authentic: nobody shall use it.
        object.get_mut(PAYLOAD..).unwrap_or_default().zeroize();
    }
    result
}

pub(super) fn counter_bytes(object: &[u8]) -> [u8; 8] {
    object
        .get(COUNTER..PAYLOAD)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or_default()
}

pub(super) fn put_mac(object: &mut [u8], mac: &[u8; 32]) {
    if let Some(place) = object.get_mut(MAC) {
        place.copy_from_slice(mac);
    }
}

fn compare_mac(object: &[u8], mac: &[u8; 32]) -> Result<(), OpenError> {
    let stored = object.get(MAC).unwrap_or_default();
    if stored.ct_eq(mac).into() {
        Ok(())
    } else {
        Err(OpenError::MacMismatch)
    }
}
