//! The keyed hashes of the format, ready to be used: ids of chunks and MACs of objects.
//!
//! Both are one of three constructions of 32 bytes: plain SHA-256, HMAC-SHA256, or BLAKE2b-256 of
//! the key followed by the data (BLAKE2b's own keyed mode is not used: the parameter block says
//! "no key"). The key is taken in once; every hash starts from a copy of that state.
//!
//! BLAKE2b is sequential within one input, so that several inputs are hashed side by side in the
//! lanes of the vector unit: about twice as fast as one after the other.

use blake2b_simd::many::{HashManyJob, MAX_DEGREE, hash_many, update_many};
use blake2b_simd::{Params, State};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::IdHashKind;

/// Inputs up to this length are copied behind the key: then no block is hashed outside the lanes.
pub(super) const SHORT: usize = 8 * 1024;

/// A hash of 32 bytes with its key taken in.
#[derive(Clone)]
pub(super) enum KeyedHash {
    Sha256,
    HmacSha256(Box<Hmac<Sha256>>),
    Blake2b { primed: Box<State>, key: Key },
}

/// The key of a BLAKE2b hash, wiped when it is dropped.
#[derive(Clone, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub(super) struct Key(Vec<u8>);

/// A hash that takes its input piece by piece.
pub(super) enum Running {
    Sha256(Sha256),
    HmacSha256(Hmac<Sha256>),
    Blake2b(State),
}

impl Running {
    pub(super) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha256(state) => Digest::update(state, data),
            Self::HmacSha256(state) => state.update(data),
            Self::Blake2b(state) => drop(state.update(data)),
        }
    }

    pub(super) fn finish(self) -> [u8; 32] {
        match self {
            Self::Sha256(state) => state.finalize().into(),
            Self::HmacSha256(state) => state.finalize().into_bytes().into(),
            Self::Blake2b(state) => to_array(&state.finalize()),
        }
    }

    /// Updates several hashes, each with its piece, side by side.
    pub(super) fn update_many<'a>(pairs: impl Iterator<Item = (&'a mut Self, &'a [u8])>) {
        update_many(pairs.filter_map(|(running, data)| match running {
            Self::Blake2b(state) => Some((state, data)),
            other => {
                other.update(data);
                None
            }
        }));
    }
}

fn blake2b_256() -> Params {
    let mut params = Params::new();
    params.hash_length(32);
    params
}

fn to_array(hash: &blake2b_simd::Hash) -> [u8; 32] {
    hash.as_bytes().try_into().unwrap_or_default()
}

impl KeyedHash {
    pub(super) fn new(kind: IdHashKind, key: &[u8]) -> Self {
        match kind {
            IdHashKind::Sha256 => Self::Sha256,
            IdHashKind::HmacSha256 => Self::HmacSha256(Box::new(hmac_sha256(key))),
            IdHashKind::Blake2b => {
                let mut primed = blake2b_256().to_state();
                primed.update(key);
                Self::Blake2b {
                    primed: Box::new(primed),
                    key: Key(key.to_vec()),
                }
            }
        }
    }

    /// Starts a hash from the copy of the state with the key.
    pub(super) fn start(&self) -> Running {
        match self {
            Self::Sha256 => Running::Sha256(Sha256::new()),
            Self::HmacSha256(keyed) => Running::HmacSha256(Hmac::clone(keyed)),
            Self::Blake2b { primed, .. } => Running::Blake2b(State::clone(primed)),
        }
    }

    /// Tells whether hashing several inputs at once is faster than one after the other.
    pub(super) fn has_lanes(&self) -> bool {
        matches!(self, Self::Blake2b { .. })
    }

    /// Hashes one input.
    pub(super) fn hash(&self, data: &[u8]) -> [u8; 32] {
        let mut running = self.start();
        running.update(data);
        running.finish()
    }

    /// Hashes several inputs and gives the results to `each` in their order.
    pub(super) fn hash_many<'a>(
        &self,
        inputs: impl Iterator<Item = &'a [u8]>,
        mut each: impl FnMut([u8; 32]),
    ) {
        let Self::Blake2b { primed, key } = self else {
            inputs.for_each(|data| each(self.hash(data)));
            return;
        };
        let inputs: Vec<&[u8]> = inputs.collect();
        let mut copied = Vec::new();
        let mut states = Vec::new();
        // A batch ends where short inputs change to long ones, so that the order is kept.
        for batch in inputs.chunk_by(|a, b| (a.len() <= SHORT) == (b.len() <= SHORT)) {
            if batch.len() > 1 && batch.iter().all(|data| data.len() <= SHORT) {
                for batch in batch.chunks(2 * MAX_DEGREE) {
                    hash_short(&key.0, batch, &mut copied, &mut each);
                }
            } else {
                hash_long(primed, batch, &mut states, &mut each);
            }
        }
    }
}

fn hash_short(key: &[u8], inputs: &[&[u8]], copied: &mut Vec<u8>, each: &mut impl FnMut([u8; 32])) {
    copied.clear();
    for data in inputs {
        copied.extend_from_slice(key);
        copied.extend_from_slice(data);
    }
    let params = blake2b_256();
    let mut rest = copied.as_slice();
    let mut jobs = Vec::with_capacity(inputs.len());
    for data in inputs {
        let (whole, after) = rest
            .split_at_checked(key.len() + data.len())
            .unwrap_or((rest, &[]));
        rest = after;
        jobs.push(HashManyJob::new(&params, whole));
    }
    hash_many(jobs.iter_mut());
    jobs.iter().for_each(|job| each(to_array(&job.to_hash())));
}

fn hash_long(
    primed: &State,
    inputs: &[&[u8]],
    states: &mut Vec<State>,
    each: &mut impl FnMut([u8; 32]),
) {
    states.clear();
    states.resize(inputs.len(), primed.clone());
    update_many(states.iter_mut().zip(inputs.iter()));
    states
        .iter()
        .for_each(|state| each(to_array(&state.finalize())));
}

/// Starts an HMAC-SHA256.
pub(super) fn hmac_sha256(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashing_many_equals_hashing_one_by_one_in_every_mix_of_lengths() {
        let data: Vec<u8> = (0..40_000u32).map(|n| ((n * 31) >> 3) as u8).collect();
        let lengths = [
            0, 1, 127, 128, 129, 8191, 8192, 8193, 20_000, 3, 40_000, 4096, 4096, 4096, 4096, 4096,
            9000, 9000, 9000, 9000, 9000, 0, 0, 5,
        ];
        for (kind, key) in [
            (IdHashKind::Sha256, &b""[..]),
            (IdHashKind::HmacSha256, &[7; 32]),
            (IdHashKind::Blake2b, &[9; 128]),
        ] {
            let hash = KeyedHash::new(kind, key);
            let mut many = Vec::new();
            hash.hash_many(lengths.iter().map(|len| &data[..*len]), |one| {
                many.push(one)
            });
            let single: Vec<_> = lengths.iter().map(|len| hash.hash(&data[..*len])).collect();
            assert_eq!(many, single, "{kind:?}");
        }
    }
}
