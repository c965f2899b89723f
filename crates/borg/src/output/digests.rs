//! Hashes of a file's content, for the keys `{sha256}`, `{md5}`, ... of `list --format`.
//!
//! The content is read once, whatever the number of hashes. Lengths are those of Python's hashlib.

use data_encoding::HEXLOWER;
use sha2::Digest as _;
use std::hash::Hasher as _;
use twox_hash::XxHash64;

use super::item_format::HASHES;

/// Hashes in the making.
#[derive(Clone)]
pub struct Digests(Vec<Hash>);

#[derive(Clone)]
enum Hash {
    Blake2b(Box<blake2b_simd::State>),
    Blake2s(Box<blake2s_simd::State>),
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Sha3224(Box<sha3::Sha3_224>),
    Sha3256(Box<sha3::Sha3_256>),
    Sha3384(Box<sha3::Sha3_384>),
    Sha3512(Box<sha3::Sha3_512>),
    Xxh64(XxHash64),
}

impl Hash {
    fn new(name: &str) -> Option<Self> {
        Some(match name {
            "blake2b" => Self::Blake2b(Box::default()),
            "blake2s" => Self::Blake2s(Box::default()),
            "md5" => Self::Md5(md5::Md5::new()),
            "sha1" => Self::Sha1(sha1::Sha1::new()),
            "sha224" => Self::Sha224(sha2::Sha224::new()),
            "sha256" => Self::Sha256(sha2::Sha256::new()),
            "sha384" => Self::Sha384(sha2::Sha384::new()),
            "sha512" => Self::Sha512(sha2::Sha512::new()),
            "sha3_224" => Self::Sha3224(Box::default()),
            "sha3_256" => Self::Sha3256(Box::default()),
            "sha3_384" => Self::Sha3384(Box::default()),
            "sha3_512" => Self::Sha3512(Box::default()),
            "xxh64" => Self::Xxh64(XxHash64::with_seed(0)),
            _ => return None,
        })
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Blake2b(hash) => drop(hash.update(data)),
            Self::Blake2s(hash) => drop(hash.update(data)),
            Self::Md5(hash) => hash.update(data),
            Self::Sha1(hash) => hash.update(data),
            Self::Sha224(hash) => hash.update(data),
            Self::Sha256(hash) => hash.update(data),
            Self::Sha384(hash) => hash.update(data),
            Self::Sha512(hash) => hash.update(data),
            Self::Sha3224(hash) => hash.update(data),
            Self::Sha3256(hash) => hash.update(data),
            Self::Sha3384(hash) => hash.update(data),
            Self::Sha3512(hash) => hash.update(data),
            Self::Xxh64(hash) => hash.write(data),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Blake2b(hash) => hash.finalize().to_hex().as_str().to_owned(),
            Self::Blake2s(hash) => hash.finalize().to_hex().as_str().to_owned(),
            Self::Md5(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha1(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha224(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha256(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha384(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha512(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha3224(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha3256(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha3384(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Sha3512(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Xxh64(hash) => format!("{:016x}", hash.finish()),
        }
    }
}

impl Digests {
    /// Begins the hashes named, each one of [`HASHES`]; other names are left out.
    pub fn new(names: &[&str]) -> Self {
        debug_assert!(names.iter().all(|name| HASHES.contains(name)));
        Self(names.iter().filter_map(|name| Hash::new(name)).collect())
    }

    /// Takes the next part of the content.
    pub fn update(&mut self, data: &[u8]) {
        for hash in &mut self.0 {
            hash.update(data);
        }
    }

    /// Returns the hashes in hexadecimal, in the order of their names.
    pub fn finish(self) -> Vec<String> {
        self.0.into_iter().map(Hash::finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../../testdata/formats/items.json");

    #[test]
    fn hashes_are_those_of_borg() {
        let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        let mut digests = Digests::new(&HASHES);
        digests.update(&[1, 1, 1, 2]);
        digests.update(&[2, 2, 2, 2, 2]);
        let made = digests.finish();
        assert_eq!(made.len(), HASHES.len());
        for (name, hash) in HASHES.iter().zip(made) {
            assert_eq!(golden["hashes"][name], hash, "{name}");
        }
    }
}
