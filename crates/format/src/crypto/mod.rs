//! Keys, ids and the envelope of stored objects.
//!
//! A [`Crypto`] is one key made ready for use: it computes ids, seals payloads into objects and
//! opens them again. It is immutable and shared by all threads; what must not repeat, the counter
//! of AES-CTR, is given by the caller with every object (the engine's nonce allocator hands it out).
//!
//! | module | what |
//! |---|---|
//! | [`key_type`] | the modes and their type bytes |
//! | [`key_blob`] | the key at rest: encrypted by a passphrase, as text, as a key file |
//! | [`paper_key`] | the key on paper |
//! | [`tam`] | authentication of the manifest and of archive metadata |
//! | `id_hash`, `envelope`, `lanes`, `belt` | ids; objects; several of them at once; one after the other with all lanes full |
//!
//! Random bytes come from the caller.

mod belt;
mod envelope;
mod id_hash;
pub mod key_blob;
pub mod key_type;
mod lanes;
pub mod paper_key;
pub mod tam;

use std::fmt;

use aes::Aes256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::{ChunkId, RepositoryId};
use crate::msgpack::{self, DecodeError, Reader};
use id_hash::KeyedHash;

pub use belt::{Belt, Done};
pub use envelope::{OpenError, Sealed};
pub use key_type::{IdHashKind, KeyStorage, KeyType};

/// The secrets of one repository. Wiped when dropped, and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct KeyMaterial {
    /// The repository the key was made for.
    #[zeroize(skip)]
    pub repository_id: RepositoryId,
    /// The AES-256 key: 32 bytes.
    pub enc_key: Vec<u8>,
    /// The MAC key: 32 bytes, or 128 in the BLAKE2b modes.
    pub enc_hmac_key: Vec<u8>,
    /// The id key: 32 bytes, or 128 in the BLAKE2b modes.
    pub id_key: Vec<u8>,
    /// Where the table of the chunker starts from.
    pub chunk_seed: i32,
    /// Whether a manifest without authentication is refused.
    pub tam_required: bool,
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial")
            .field("repository_id", &self.repository_id)
            .finish_non_exhaustive()
    }
}

/// Secrets that a new key shares with another one, so that both find the same chunks and ids.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RelatedSecrets {
    /// The id key of the other repository.
    pub id_key: Vec<u8>,
    /// The chunker seed of the other repository.
    pub chunk_seed: i32,
}

impl KeyMaterial {
    /// How many random bytes [`KeyMaterial::generate`] needs.
    pub const RANDOM_BYTES: usize = 100 + 64 + 64;

    /// Makes the key of a new repository.
    ///
    /// Modes without a key get empty secrets. `random` is used from its beginning; the BLAKE2b
    /// modes take their MAC and id keys from the bytes after the first 100.
    pub fn generate(
        key_type: KeyType,
        repository_id: RepositoryId,
        random: &[u8; Self::RANDOM_BYTES],
    ) -> Self {
        let (first, long_keys) = random.split_at(100);
        let mut material = Self::split(repository_id, first);
        material.tam_required = true;
        match key_type.id_hash() {
            IdHashKind::Sha256 => return Self::none(repository_id),
            IdHashKind::HmacSha256 => {}
            IdHashKind::Blake2b => {
                // A BLAKE2b key fills one block of 128 bytes, the second half zero.
                let (mac, id) = long_keys.split_at(64);
                material.enc_hmac_key.zeroize();
                material.enc_hmac_key = [mac, &[0; 64]].concat();
                material.id_key.zeroize();
                material.id_key = [id, &[0; 64]].concat();
            }
        }
        material
    }

    /// Derives the key of the passphrase mode that Borg had before 1.0.
    pub fn from_passphrase(repository_id: RepositoryId, passphrase: &[u8]) -> Self {
        let mut derived = [0; 100];
        pbkdf2::pbkdf2_hmac::<sha2::Sha256>(
            passphrase,
            repository_id.as_bytes(),
            100_000,
            &mut derived,
        );
        let material = Self::split(repository_id, &derived);
        derived.zeroize();
        material
    }

    /// Returns the key of a mode that has none.
    pub fn none(repository_id: RepositoryId) -> Self {
        Self {
            repository_id,
            enc_key: Vec::new(),
            enc_hmac_key: Vec::new(),
            id_key: Vec::new(),
            chunk_seed: 0,
            tam_required: false,
        }
    }

    /// Takes over what is to be shared with another repository.
    pub fn relate(&mut self, secrets: &RelatedSecrets) {
        self.id_key.zeroize();
        self.id_key = secrets.id_key.clone();
        self.chunk_seed = secrets.chunk_seed;
    }

    /// Returns what another repository needs to find the same chunks and ids.
    pub fn related_secrets(&self) -> RelatedSecrets {
        RelatedSecrets {
            id_key: self.id_key.clone(),
            chunk_seed: self.chunk_seed,
        }
    }

    fn split(repository_id: RepositoryId, bytes: &[u8]) -> Self {
        let part = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default().to_vec();
        let seed = bytes.get(96..100).and_then(|seed| seed.try_into().ok());
        Self {
            repository_id,
            enc_key: part(0, 32),
            enc_hmac_key: part(32, 64),
            id_key: part(64, 96),
            chunk_seed: i32::from_be_bytes(seed.unwrap_or_default()),
            tam_required: false,
        }
    }

    /// Writes the key as the msgpack map that is encrypted into the key blob.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        msgpack::write_map_len(&mut out, 7);
        msgpack::write_raw(&mut out, b"chunk_seed");
        msgpack::write_int(&mut out, self.chunk_seed.into());
        msgpack::write_raw(&mut out, b"enc_hmac_key");
        msgpack::write_raw(&mut out, &self.enc_hmac_key);
        msgpack::write_raw(&mut out, b"enc_key");
        msgpack::write_raw(&mut out, &self.enc_key);
        msgpack::write_raw(&mut out, b"id_key");
        msgpack::write_raw(&mut out, &self.id_key);
        msgpack::write_raw(&mut out, b"repository_id");
        msgpack::write_raw(&mut out, self.repository_id.as_bytes());
        msgpack::write_raw(&mut out, b"tam_required");
        msgpack::write_bool(&mut out, self.tam_required);
        msgpack::write_raw(&mut out, b"version");
        msgpack::write_uint(&mut out, 1);
        out
    }

    /// Reads the msgpack map of a decrypted key blob.
    ///
    /// Keys made by old versions do not say whether authentication of the manifest is required;
    /// for these `tam_required` decides.
    ///
    /// # Errors
    /// When it is no such map, a key is missing or its version is unknown.
    pub fn decode(bytes: &[u8], tam_required: bool) -> Result<Self, KeyDecodeError> {
        let mut reader = Reader::new(bytes);
        let mut material = Self::none(RepositoryId::new([0; 32]));
        material.tam_required = tam_required;
        let mut version = None;
        let mut seen = 0;
        for _ in 0..reader.read_map_len()? {
            match reader.read_raw()? {
                b"version" => version = Some(reader.read_int::<u64>()?),
                b"chunk_seed" => {
                    material.chunk_seed = reader.read_int()?;
                    seen |= 1;
                }
                b"enc_hmac_key" => {
                    material.enc_hmac_key = reader.read_raw()?.to_vec();
                    seen |= 2;
                }
                b"enc_key" => {
                    material.enc_key = reader.read_raw()?.to_vec();
                    seen |= 4;
                }
                b"id_key" => {
                    material.id_key = reader.read_raw()?.to_vec();
                    seen |= 8;
                }
                b"repository_id" => {
                    material.repository_id = RepositoryId::new(reader.read_array()?);
                    seen |= 16;
                }
                b"tam_required" => material.tam_required = reader.read_bool()?,
                _ => drop(reader.skip()?),
            }
        }
        match version {
            Some(1) if seen == 31 && material.enc_key.len() == 32 => Ok(material),
            Some(1) | None => Err(KeyDecodeError::Incomplete),
            Some(version) => Err(KeyDecodeError::UnsupportedVersion(version)),
        }
    }
}

/// A decrypted key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyDecodeError {
    /// The bytes are no msgpack map of the right types.
    #[error("key is malformed")]
    Malformed(#[from] DecodeError),
    /// A field is missing or has the wrong length.
    #[error("key is incomplete")]
    Incomplete,
    /// Written by a version that is not known yet.
    #[error("key version {0} is not supported by this borg version.")]
    UnsupportedVersion(u64),
}

/// One key ready for use: ids, seals and opens.
pub struct Crypto {
    key_type: KeyType,
    material: KeyMaterial,
    id: KeyedHash,
    /// MAC and cipher of the encrypting modes.
    cipher: Option<Cipher>,
}

struct Cipher {
    mac: KeyedHash,
    aes: Aes256,
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("key_type", &self.key_type)
            .finish_non_exhaustive()
    }
}

impl Crypto {
    /// Takes a key in.
    pub fn new(key_type: KeyType, material: KeyMaterial) -> Self {
        use aes::cipher::KeyInit;
        let id_hash = key_type.id_hash();
        let mut enc_key = [0; 32];
        enc_key
            .iter_mut()
            .zip(&material.enc_key)
            .for_each(|(to, from)| *to = *from);
        let cipher = key_type.encrypts().then(|| Cipher {
            mac: KeyedHash::new(id_hash, &material.enc_hmac_key),
            aes: Aes256::new(&enc_key.into()),
        });
        enc_key.zeroize();
        Self {
            key_type,
            id: KeyedHash::new(id_hash, &material.id_key),
            cipher,
            material,
        }
    }

    /// Makes the key of a repository without encryption.
    pub fn plaintext(repository_id: RepositoryId) -> Self {
        Self::new(KeyType::Plaintext, KeyMaterial::none(repository_id))
    }

    /// Returns the mode.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Returns the secrets, to keep them in another place.
    pub fn material(&self) -> &KeyMaterial {
        &self.material
    }

    /// Returns the seed of the chunker.
    pub fn chunk_seed(&self) -> i32 {
        self.material.chunk_seed
    }

    /// Tells whether a manifest without authentication is refused.
    pub fn tam_required(&self) -> bool {
        self.material.tam_required
    }

    /// Computes the id of a chunk from its plaintext.
    pub fn id(&self, data: &[u8]) -> ChunkId {
        ChunkId::new(self.id.hash(data))
    }

    /// Computes the ids of several chunks and appends them to `out` in the same order.
    ///
    /// With BLAKE2b this takes half the time of one after the other, best with four or more inputs
    /// of about equal length.
    pub fn ids(&self, data: &[&[u8]], out: &mut Vec<ChunkId>) {
        out.reserve(data.len());
        self.id
            .hash_many(data.iter().copied(), |hash| out.push(ChunkId::new(hash)));
    }

    /// Tells, in constant time, whether `id` is the id of `data`.
    pub fn verify_id(&self, id: &ChunkId, data: &[u8]) -> bool {
        self.id.hash(data).ct_eq(id.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests;
