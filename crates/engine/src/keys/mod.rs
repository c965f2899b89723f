//! The keys of repositories: found, opened by a passphrase, made and changed.
//!
//! The type byte of the manifest says which kind of key a repository has ([`open`]); where the
//! key is kept follows from that. [`nonce`] hands out the counter values that sealing needs.
//!
//! Questions, prompts and the environment are the caller's: it gives a [`KeyContext`].

pub mod backup;
mod error;
pub mod keyfile;
pub mod nonce;
pub mod passphrase;
pub mod rehearsal;
pub mod repokey;

use std::path::{Path, PathBuf};

use fastness_format::crypto::key_blob::{self, KeyBlobError};
use fastness_format::crypto::{Crypto, KeyMaterial, KeyStorage, KeyType, RelatedSecrets};
use fastness_format::id::RepositoryId;
use fastness_repository::Repository;
use zeroize::Zeroizing;

pub use error::KeyError;
pub use nonce::{NonceAllocator, NonceError};
pub use passphrase::{Passphrase, PassphraseSource};

use crate::directories::Directories;
use crate::event::{Level, Monitor};
use crate::world::Random;
use keyfile::Existing;

const LOGGER: &str = "borg.crypto.key";

/// What keys need to know of their surroundings.
#[derive(Clone, Copy)]
pub struct KeyContext<'a> {
    /// Where key files and the security database are.
    pub directories: &'a Directories,
    /// The only key file to be used, if one was named (`BORG_KEY_FILE`); an absolute path.
    pub key_file: Option<&'a Path>,
    /// Name of a new key file in the keys directory, made of the repository's address.
    pub key_file_name: &'a str,
    /// The repository, as messages and prompts name it (its canonical address).
    pub repository: &'a str,
    /// Gets passphrases.
    pub passphrases: &'a dyn PassphraseSource,
    /// Told what is done.
    pub monitor: &'a dyn Monitor,
    /// Opens authenticated repositories without their key, to save what can be read of them
    /// (`BORG_WORKAROUNDS=authenticated_no_key`).
    pub without_key: bool,
}

/// Where a key is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyTarget {
    /// There is no key.
    None,
    /// In this file.
    File(PathBuf),
    /// In the repository.
    Repository,
}

/// An opened key with what is known about it.
#[derive(Debug)]
pub struct Key {
    /// The key, ready for use.
    pub crypto: Crypto,
    /// Where it is kept.
    pub target: KeyTarget,
    /// Whether reading the repository takes a secret: false without encryption, and false for a
    /// repokey with the empty passphrase, which everybody who has the repository can open.
    pub logically_encrypted: bool,
    /// Opened without its secrets: ids and authentication of this repository cannot be verified.
    pub without_key: bool,
}

/// Secrets of another repository, for a new one that is to find the same chunks.
pub struct Related<'a> {
    /// Mode of the other repository, which must have the same id hash.
    pub key_type: KeyType,
    /// Its secrets.
    pub secrets: &'a RelatedSecrets,
}

/// Tells which mode a repository is in, by the first byte of its stored manifest.
///
/// # Errors
/// [`KeyError::UnsupportedPayload`] when it is none that is known.
pub fn identify(manifest: &[u8]) -> Result<KeyType, KeyError> {
    let byte = manifest
        .first()
        .copied()
        .ok_or(KeyError::InvalidManifestEnvelope)?;
    KeyType::of_manifest(byte).ok_or(KeyError::UnsupportedPayload(byte))
}

/// Opens the key of a repository. `manifest` is the manifest as it is stored.
///
/// # Errors
/// When the mode is unknown, the key is not found or the passphrase does not fit.
pub fn open(
    context: &KeyContext<'_>,
    repository: &dyn Repository,
    manifest: &[u8],
) -> Result<Key, KeyError> {
    Ok(open_with_passphrase(context, repository, manifest)?.0)
}

/// As [`open`]; also returns the passphrase, if it took one.
///
/// # Errors
/// As [`open`].
pub fn open_with_passphrase(
    context: &KeyContext<'_>,
    repository: &dyn Repository,
    manifest: &[u8],
) -> Result<(Key, Option<Passphrase>), KeyError> {
    let _stage = tracing::trace_span!("open_key").entered();
    let key_type = identify(manifest)?;
    let id = repository.id();
    let (text, target, name) = match key_type.storage() {
        KeyStorage::None | KeyStorage::Derived => {
            let key = Key {
                crypto: Crypto::plaintext(id),
                target: KeyTarget::None,
                logically_encrypted: false,
                without_key: false,
            };
            return Ok((key, None));
        }
        KeyStorage::Repository => (
            repokey::read(context, repository)?,
            KeyTarget::Repository,
            context.repository.to_owned(),
        ),
        KeyStorage::Keyfile => {
            let path = keyfile::find(context, &id)?;
            let name = path.display().to_string();
            let text = keyfile::read(context, &path, &id)?;
            (text, KeyTarget::File(path), name)
        }
    };
    if context.without_key && !key_type.encrypts() {
        return Ok((without_key(key_type, id, target), None));
    }
    let tam_required = crate::security::tam_required_file(context.directories, &id).is_file();
    let blob =
        Zeroizing::new(key_blob::from_text(&text).map_err(|e| blob_error(context, &target, e))?);
    let (material, passphrase) =
        passphrase::find(
            context.passphrases,
            &name,
            |passphrase| match key_blob::decrypt(&blob, passphrase.reveal(), tam_required) {
                Ok(material) => Ok(Some(material)),
                Err(KeyBlobError::WrongPassphrase) => Ok(None),
                Err(error) => Err(blob_error(context, &target, error)),
            },
        )?;
    let key = Key {
        crypto: Crypto::new(key_type, material),
        logically_encrypted: logically_encrypted(key_type, &passphrase),
        target,
        without_key: false,
    };
    Ok((key, Some(passphrase)))
}

fn without_key(key_type: KeyType, id: RepositoryId, target: KeyTarget) -> Key {
    let mut material = KeyMaterial::none(id);
    material.enc_key = vec![0; 32];
    material.enc_hmac_key = vec![0; 32];
    material.id_key = vec![0; 32];
    Key {
        crypto: Crypto::new(key_type, material),
        target,
        logically_encrypted: false,
        without_key: true,
    }
}

fn logically_encrypted(key_type: KeyType, passphrase: &Passphrase) -> bool {
    match key_type.storage() {
        KeyStorage::Keyfile => true,
        _ => key_type.encrypts() && !passphrase.is_empty(),
    }
}

fn blob_error(context: &KeyContext<'_>, target: &KeyTarget, error: KeyBlobError) -> KeyError {
    match error {
        KeyBlobError::UnsupportedVersion(_)
        | KeyBlobError::UnsupportedAlgorithm(_)
        | KeyBlobError::Key(_) => KeyError::Unsupported(error),
        error => KeyError::KeyfileInvalid {
            repository: context.repository.to_owned(),
            found_in: match target {
                KeyTarget::File(path) => path.display().to_string(),
                _ => "(repokey)".to_owned(),
            },
            reason: error.to_string(),
        },
    }
}

/// Makes and stores the key of a new repository; asks for its passphrase.
///
/// # Errors
/// When there is a key file already, nobody gives a passphrase or storing fails.
pub fn create(
    context: &KeyContext<'_>,
    repository: &mut dyn Repository,
    key_type: KeyType,
    related: Option<&Related<'_>>,
    random: &dyn Random,
) -> Result<Key, KeyError> {
    let id = repository.id();
    if related.is_some_and(|related| !same_id_hash(related.key_type, key_type)) {
        return Err(KeyError::UnrelatedIdHash);
    }
    let target = match key_type.storage() {
        KeyStorage::None | KeyStorage::Derived => {
            let text = "Encryption NOT enabled.\n\
                        Use the \"--encryption=repokey|keyfile\" to enable encryption.";
            context.monitor.log(Level::Info, LOGGER, text);
            return Ok(Key {
                crypto: Crypto::plaintext(id),
                target: KeyTarget::None,
                logically_encrypted: false,
                without_key: false,
            });
        }
        KeyStorage::Keyfile => KeyTarget::File(keyfile::new_path(context)),
        KeyStorage::Repository => KeyTarget::Repository,
    };
    let passphrase = passphrase::new(context.passphrases)?;
    let mut bytes = Zeroizing::new([0; KeyMaterial::RANDOM_BYTES]);
    random.fill(&mut *bytes).map_err(KeyError::Random)?;
    let mut material = KeyMaterial::generate(key_type, id, &bytes);
    if let Some(related) = related {
        material.relate(related.secrets);
    }
    save(
        repository,
        &target,
        &material,
        &passphrase,
        Existing::Keep,
        random,
    )?;
    let place = match &target {
        KeyTarget::File(path) => path.display().to_string(),
        _ => format!("<Repository {}>", context.repository),
    };
    let monitor = context.monitor;
    monitor.log(Level::Info, LOGGER, format!("Key in \"{place}\" created."));
    let advice = "Keep this key safe. Your data will be inaccessible without it.";
    monitor.log(Level::Info, LOGGER, advice);
    Ok(Key {
        crypto: Crypto::new(key_type, material),
        logically_encrypted: logically_encrypted(key_type, &passphrase),
        target,
        without_key: false,
    })
}

fn same_id_hash(one: KeyType, other: KeyType) -> bool {
    one.storage() != KeyStorage::None && one.id_hash() == other.id_hash()
}

/// Encrypts the key with a new passphrase and stores it in the place of the old one.
///
/// # Errors
/// [`KeyError::Unencrypted`] when there is no key; when nobody gives a passphrase or storing fails.
pub fn change_passphrase(
    context: &KeyContext<'_>,
    repository: &mut dyn Repository,
    key: &mut Key,
    random: &dyn Random,
) -> Result<(), KeyError> {
    if key.target == KeyTarget::None || key.without_key {
        return Err(KeyError::Unencrypted);
    }
    let passphrase = passphrase::new(context.passphrases)?;
    store(repository, key, &passphrase, random)
}

/// Stores the key as it is in memory, encrypted with this passphrase, in its own place.
///
/// # Errors
/// When storing fails.
pub fn store(
    repository: &mut dyn Repository,
    key: &mut Key,
    passphrase: &Passphrase,
    random: &dyn Random,
) -> Result<(), KeyError> {
    let material = key.crypto.material();
    save(
        repository,
        &key.target,
        material,
        passphrase,
        Existing::Replace,
        random,
    )?;
    key.logically_encrypted = logically_encrypted(key.crypto.key_type(), passphrase);
    Ok(())
}

fn save(
    repository: &mut dyn Repository,
    target: &KeyTarget,
    material: &KeyMaterial,
    passphrase: &Passphrase,
    existing: Existing,
    random: &dyn Random,
) -> Result<(), KeyError> {
    let mut salt = [0; key_blob::SALT_LEN];
    random.fill(&mut salt).map_err(KeyError::Random)?;
    let blob = key_blob::encrypt(material, passphrase.reveal(), &salt, key_blob::ITERATIONS);
    let text = key_blob::to_text(&blob);
    match target {
        KeyTarget::None => Ok(()),
        KeyTarget::File(path) => keyfile::write(path, &material.repository_id, &text, existing),
        KeyTarget::Repository => repokey::write(repository, &text),
    }
}

#[cfg(test)]
mod tests;
