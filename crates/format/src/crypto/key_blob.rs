//! The key at rest: encrypted by a passphrase, in base64, and as a key file.
//!
//! The blob is a msgpack map of `algorithm` ("sha256"), `data` (AES-256-CTR of the key, counter 0),
//! `hash` (HMAC-SHA256 of the key), `iterations`, `salt` and `version` (1). Cipher and MAC use the
//! same key: PBKDF2-HMAC-SHA256 of the passphrase and the salt. The text form is base64 in lines of
//! 70 characters; a key file has `BORG_KEY` and the repository id on a line before it.

use aes::cipher::{KeyIvInit, StreamCipher};
use data_encoding::{BASE64, HEXLOWER};
use hmac::Mac;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::id_hash::hmac_sha256;
use super::{KeyDecodeError, KeyMaterial};
use crate::id::RepositoryId;
use crate::msgpack::{self, DecodeError, Reader};

/// PBKDF2 rounds of new blobs.
pub const ITERATIONS: u32 = 100_000;
/// More rounds than this are refused: they would take minutes, which no program that writes
/// this format asks for.
pub const MAX_ITERATIONS: u32 = 100_000_000;
/// Length of the salt of a blob.
pub const SALT_LEN: usize = 32;
/// First word of a key file.
pub const FILE_ID: &str = "BORG_KEY";
/// Longest blob that is read.
const MAX_BLOB: usize = 64 * 1024;
const LINE: usize = 70;

/// A key blob that cannot be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyBlobError {
    /// The passphrase is not that of the key.
    #[error("passphrase is incorrect")]
    WrongPassphrase,
    /// It is no blob at all.
    #[error("key blob is malformed")]
    Malformed(#[from] DecodeError),
    /// The text is no base64.
    #[error("key text is no base64")]
    NotBase64,
    /// The blob is too short or too long to hold a key, or lacks a part of it.
    #[error("key blob is incomplete")]
    Incomplete,
    /// Written by a version that is not known yet.
    #[error("encrypted key version {0} is not supported by this borg version.")]
    UnsupportedVersion(u64),
    /// Encrypted in a way that is not known.
    #[error("encrypted key algorithm '{0}' is not supported by this borg version.")]
    UnsupportedAlgorithm(String),
    /// The number of PBKDF2 rounds is out of bounds.
    #[error("encrypted key asks for {0} iterations")]
    TooManyIterations(u64),
    /// Decrypted well, but the key in it cannot be used.
    #[error(transparent)]
    Key(#[from] KeyDecodeError),
}

/// A file that is not the key file of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It is no key file.
    #[error("not a key file: {0}")]
    Invalid(&'static str),
    /// It is the key file of another repository.
    #[error("key file of another repository")]
    OtherRepository,
}

type Aes256Ctr = ctr::Ctr128BE<aes::Aes256>;

fn derive(passphrase: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(passphrase, salt, iterations, &mut *key);
    key
}

fn apply_cipher(key: &[u8; 32], data: &mut [u8]) {
    Aes256Ctr::new(&(*key).into(), &[0; 16].into()).apply_keystream(data);
}

fn authenticate(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let mut mac = hmac_sha256(key);
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Encrypts a key. The salt must be random.
pub fn encrypt(
    material: &KeyMaterial,
    passphrase: &[u8],
    salt: &[u8; SALT_LEN],
    iterations: u32,
) -> Vec<u8> {
    let key = derive(passphrase, salt, iterations);
    let mut data = material.encode();
    let hash = authenticate(&key, &data);
    apply_cipher(&key, &mut data);

    let mut out = Vec::with_capacity(data.len() + 160);
    msgpack::write_map_len(&mut out, 6);
    msgpack::write_raw(&mut out, b"algorithm");
    msgpack::write_raw(&mut out, b"sha256");
    msgpack::write_raw(&mut out, b"data");
    msgpack::write_raw(&mut out, &data);
    msgpack::write_raw(&mut out, b"hash");
    msgpack::write_raw(&mut out, &hash);
    msgpack::write_raw(&mut out, b"iterations");
    msgpack::write_uint(&mut out, iterations.into());
    msgpack::write_raw(&mut out, b"salt");
    msgpack::write_raw(&mut out, salt);
    msgpack::write_raw(&mut out, b"version");
    msgpack::write_uint(&mut out, 1);
    out
}

struct Blob<'a> {
    data: &'a [u8],
    hash: &'a [u8],
    salt: &'a [u8],
    iterations: u32,
}

fn parse(blob: &[u8]) -> Result<Blob<'_>, KeyBlobError> {
    if blob.len() > MAX_BLOB {
        return Err(KeyBlobError::Incomplete);
    }
    let mut reader = Reader::new(blob);
    let (mut version, mut algorithm, mut iterations) = (None, None, None);
    let (mut data, mut hash, mut salt) = (None, None, None);
    for _ in 0..reader.read_map_len()? {
        match reader.read_raw()? {
            b"version" => version = Some(reader.read_int::<u64>()?),
            b"algorithm" => algorithm = Some(reader.read_raw()?),
            b"iterations" => iterations = Some(reader.read_int::<u64>()?),
            b"data" => data = Some(reader.read_raw()?),
            b"hash" => hash = Some(reader.read_raw()?),
            b"salt" => salt = Some(reader.read_raw()?),
            _ => drop(reader.skip()?),
        }
    }
    match version.ok_or(KeyBlobError::Incomplete)? {
        1 => {}
        version => return Err(KeyBlobError::UnsupportedVersion(version)),
    }
    match algorithm.ok_or(KeyBlobError::Incomplete)? {
        b"sha256" => {}
        other => {
            let name = String::from_utf8_lossy(other).into_owned();
            return Err(KeyBlobError::UnsupportedAlgorithm(name));
        }
    }
    let iterations = iterations.ok_or(KeyBlobError::Incomplete)?;
    let bounded = u32::try_from(iterations)
        .ok()
        .filter(|rounds| (1..=MAX_ITERATIONS).contains(rounds))
        .ok_or(KeyBlobError::TooManyIterations(iterations))?;
    Ok(Blob {
        data: data.ok_or(KeyBlobError::Incomplete)?,
        hash: hash.ok_or(KeyBlobError::Incomplete)?,
        salt: salt.ok_or(KeyBlobError::Incomplete)?,
        iterations: bounded,
    })
}

/// Decrypts a key blob. `tam_required` is for keys that do not say it themselves.
///
/// # Errors
/// [`KeyBlobError::WrongPassphrase`] when the passphrase is another one; others when the blob is
/// damaged or unknown.
pub fn decrypt(
    blob: &[u8],
    passphrase: &[u8],
    tam_required: bool,
) -> Result<KeyMaterial, KeyBlobError> {
    let blob = parse(blob)?;
    let key = derive(passphrase, blob.salt, blob.iterations);
    let mut data = Zeroizing::new(blob.data.to_vec());
    apply_cipher(&key, &mut data);
    let mut hash = authenticate(&key, &data);
    let fits: bool = hash.ct_eq(blob.hash).into();
    hash.zeroize();
    if !fits {
        return Err(KeyBlobError::WrongPassphrase);
    }
    Ok(KeyMaterial::decode(&data, tam_required)?)
}

/// Writes a blob as text: lines of 70 characters without a newline after the last.
pub fn to_text(blob: &[u8]) -> String {
    let base64 = BASE64.encode(blob);
    let mut text = String::with_capacity(base64.len() + base64.len() / LINE + 1);
    for (at, character) in base64.chars().enumerate() {
        if at > 0 && at % LINE == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text
}

/// Reads the text form; white space is of no account.
///
/// # Errors
/// When it is no base64, or too short or too long for a key.
pub fn from_text(text: &str) -> Result<Vec<u8>, KeyBlobError> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let blob = BASE64
        .decode(&digits)
        .map_err(|_| KeyBlobError::NotBase64)?;
    if (20..=MAX_BLOB).contains(&blob.len()) {
        Ok(blob)
    } else {
        Err(KeyBlobError::Incomplete)
    }
}

/// Makes the content of a key file of the text form of a blob.
pub fn to_key_file(repository_id: &RepositoryId, text: &str) -> String {
    let id = HEXLOWER.encode(repository_id.as_bytes());
    format!("{FILE_ID} {id}\n{}\n", text.trim_end_matches('\n'))
}

/// Checks that a file is the key file of the repository and returns the text form of its blob.
///
/// # Errors
/// When it is another file, or that of another repository.
pub fn from_key_file<'a>(
    content: &'a [u8],
    repository_id: &RepositoryId,
) -> Result<&'a str, KeyFileError> {
    let rest = content
        .strip_prefix(FILE_ID.as_bytes())
        .and_then(|rest| rest.strip_prefix(b" "))
        .ok_or(KeyFileError::Invalid("it does not begin with BORG_KEY"))?;
    let id = HEXLOWER.encode(repository_id.as_bytes());
    let rest = rest
        .strip_prefix(id.as_bytes())
        .ok_or(KeyFileError::OtherRepository)?;
    let rest = std::str::from_utf8(rest).map_err(|_| KeyFileError::Invalid("it is not text"))?;
    let (line, text) = rest
        .split_once('\n')
        .filter(|(_, text)| !text.is_empty())
        .ok_or(KeyFileError::Invalid("expected 2+ lines total"))?;
    if !line.trim_end().is_empty() {
        return Err(KeyFileError::Invalid("key line 1 seems too long"));
    }
    match from_text(text) {
        Ok(_) => Ok(text),
        Err(KeyBlobError::NotBase64) => Err(KeyFileError::Invalid(
            "key line 2+ does not look like base64",
        )),
        Err(_) => Err(KeyFileError::Invalid(
            "binary encrypted key data from key line 2+ suspiciously short",
        )),
    }
}
