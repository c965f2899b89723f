//! Authentication of the manifest and of archive metadata: the `tam` entry of their maps.
//!
//! `tam` is a map of `hmac` (64 bytes), `salt` (64 random bytes) and `type`
//! (`HKDF_HMAC_SHA512`). The tag is the HMAC-SHA512 of the whole packed map with 64 zero bytes in
//! its own place, under a key derived from the salt, the secrets of the repository and the kind of
//! the map. Without it an attacker who has the repository could store an archive under another
//! name, or as the manifest.
//!
//! Tags are computed over the bytes as they were stored, never over a map packed again. The mode
//! without keys has tags as well; they prove nothing there.

use std::cmp::Ordering;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Crypto, KeyType};
use crate::msgpack::{self, DecodeError, Reader};

/// Length of the salt of a tag.
pub const SALT_LEN: usize = 64;
const TAG_LEN: usize = 64;
const SUITE: &[u8] = b"HKDF_HMAC_SHA512";
/// What a manifest of a later format begins with: a byte that no msgpack value starts with.
const FUTURE: [u8; 4] = [0xc1; 4];

/// What is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// The manifest.
    Manifest,
    /// The metadata of an archive.
    Archive,
}

impl Context {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Manifest => b"manifest",
            Self::Archive => b"archive",
        }
    }
}

/// Whether a map has to have a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// A map without a tag is refused.
    Required,
    /// A map without a tag passes; a wrong tag never does.
    Optional,
}

/// What [`verify`] found in a map that passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The tag fits; this is its salt.
    Verified([u8; SALT_LEN]),
    /// There is no tag, and none is required.
    Absent,
    /// The tag is of an unknown kind, and none is required.
    UnknownSuite(String),
}

/// A map that must not be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TamError {
    /// There is no tag, though one is required.
    #[error("authentication is required and missing")]
    Missing,
    /// The tag does not fit, or is malformed.
    #[error("authentication did not verify")]
    Invalid,
    /// The tag is of an unknown kind.
    #[error("unsupported authentication suite '{0}'")]
    UnsupportedSuite(String),
    /// The manifest is of a later format.
    #[error("unsupported manifest envelope")]
    FutureManifest,
    /// It is no map at all.
    #[error("metadata is no msgpack map")]
    Malformed(#[from] DecodeError),
}

fn tag_key(crypto: &Crypto, salt: &[u8], context: Context) -> Zeroizing<Vec<u8>> {
    if crypto.key_type == KeyType::Plaintext {
        return Zeroizing::new([salt, context.name()].concat());
    }
    let secrets = &crypto.material;
    let input = Zeroizing::new(
        [
            secrets.id_key.as_slice(),
            secrets.enc_key.as_slice(),
            secrets.enc_hmac_key.as_slice(),
        ]
        .concat(),
    );
    let mut key = Zeroizing::new(vec![0; 64]);
    Hkdf::<Sha512>::new(Some(salt), &input)
        .expand_multi_info(
            &[b"borg-metadata-authentication-", context.name()],
            &mut key,
        )
        .expect("HKDF-SHA512 gives 64 bytes");
    key
}

fn tag<'a>(key: &[u8], parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; TAG_LEN] {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of every length");
    parts.into_iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Puts a tag into a packed map with sorted keys. A `tam` entry that is there already is replaced.
///
/// `salt` must be random.
///
/// # Errors
/// When `packed` is no map.
pub fn authenticate(
    crypto: &Crypto,
    packed: &[u8],
    context: Context,
    salt: &[u8; SALT_LEN],
) -> Result<Vec<u8>, DecodeError> {
    let mut reader = Reader::new(packed);
    let (mut before, mut after, mut others) = (Vec::new(), Vec::new(), 0);
    for _ in 0..reader.read_map_len()? {
        let entry = reader.rest();
        let start = reader.position();
        let key = reader.read_raw()?;
        reader.skip()?;
        let entry = entry
            .get(..reader.position() - start)
            .ok_or(DecodeError::Truncated)?;
        let side = match key.cmp(b"tam") {
            Ordering::Less => &mut before,
            Ordering::Equal => continue,
            Ordering::Greater => &mut after,
        };
        side.extend_from_slice(entry);
        others += 1;
    }
    reader.finish()?;

    let mut out = Vec::with_capacity(packed.len() + 200);
    msgpack::write_map_len(&mut out, others + 1);
    out.append(&mut before);
    msgpack::write_raw(&mut out, b"tam");
    msgpack::write_map_len(&mut out, 3);
    msgpack::write_raw(&mut out, b"hmac");
    msgpack::write_raw(&mut out, &[0; TAG_LEN]);
    let tag_end = out.len();
    msgpack::write_raw(&mut out, b"salt");
    msgpack::write_raw(&mut out, salt);
    msgpack::write_raw(&mut out, b"type");
    msgpack::write_raw(&mut out, SUITE);
    out.append(&mut after);

    let computed = tag(&tag_key(crypto, salt, context), [out.as_slice()]);
    if let Some(place) = out.get_mut(tag_end - TAG_LEN..tag_end) {
        place.copy_from_slice(&computed);
    }
    Ok(out)
}

/// The parts of a `tam` entry as they are stored.
#[derive(Default)]
struct Entry<'a> {
    suite: Option<&'a [u8]>,
    salt: Option<&'a [u8]>,
    /// The tag and the offset of its end.
    tag: Option<(&'a [u8], usize)>,
}

/// Finds the `tam` entry of a packed map: `None` if there is none, `Some(Err)` if it is malformed.
fn find(packed: &[u8]) -> Result<Option<Result<Entry<'_>, DecodeError>>, DecodeError> {
    let mut reader = Reader::new(packed);
    let mut found = None;
    for _ in 0..reader.read_map_len()? {
        let is_tam = reader.read_raw()? == b"tam";
        if is_tam {
            found = Some(read_entry(&mut reader.clone()));
        }
        reader.skip()?;
    }
    reader.finish()?;
    Ok(found)
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, DecodeError> {
    let mut entry = Entry::default();
    for _ in 0..reader.read_map_len()? {
        match reader.read_raw()? {
            b"type" => entry.suite = Some(reader.read_raw()?),
            b"salt" => entry.salt = Some(reader.read_raw()?),
            b"hmac" => entry.tag = Some((reader.read_raw()?, reader.position())),
            _ => drop(reader.skip()?),
        }
    }
    Ok(entry)
}

/// Verifies the tag of a packed map over the bytes as they were stored.
///
/// # Errors
/// When the tag is wrong, or there is none and one is required. A tag that is there has to fit even
/// when none is required.
pub fn verify(
    crypto: &Crypto,
    packed: &[u8],
    context: Context,
    requirement: Requirement,
) -> Result<Verdict, TamError> {
    if context == Context::Manifest && packed.starts_with(&FUTURE) {
        return Err(TamError::FutureManifest);
    }
    let required = requirement == Requirement::Required;
    let entry = match find(packed)? {
        None if required => return Err(TamError::Missing),
        None => return Ok(Verdict::Absent),
        Some(entry) => entry.map_err(|_| TamError::Invalid)?,
    };
    let suite = entry.suite.unwrap_or(b"<none>");
    if suite != SUITE {
        let suite = String::from_utf8_lossy(suite).into_owned();
        return if required {
            Err(TamError::UnsupportedSuite(suite))
        } else {
            Ok(Verdict::UnknownSuite(suite))
        };
    }
    let (Some(salt), Some((stored, end))) = (entry.salt, entry.tag) else {
        return Err(TamError::Invalid);
    };
    let before = end.checked_sub(TAG_LEN).and_then(|at| packed.get(..at));
    let (Some(before), Some(after)) = (before, packed.get(end..)) else {
        return Err(TamError::Invalid);
    };
    let computed = tag(
        &tag_key(crypto, salt, context),
        [before, &[0; TAG_LEN], after],
    );
    match salt.try_into() {
        Ok(salt) if bool::from(computed.ct_eq(stored)) => Ok(Verdict::Verified(salt)),
        _ => Err(TamError::Invalid),
    }
}
