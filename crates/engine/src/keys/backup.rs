//! Copies of keys: the stored, still encrypted key leaves and enters its place as text.
//!
//! No passphrase is needed for it, and what is imported is not tried: it may be the key of a
//! repository whose passphrase nobody has at hand.

use fastness_format::crypto::key_blob::{self, KeyFileError};
use fastness_format::crypto::{Crypto, KeyMaterial, KeyStorage, KeyType};
use fastness_repository::Repository;
use zeroize::Zeroizing;

use super::keyfile::{self, Existing};
use super::{Key, KeyContext, KeyError, KeyTarget, identify, repokey};
use crate::catalogue::stored_manifest;
use crate::error::EngineError;
use crate::objects::open_object;
use crate::world::Random;

/// Where the key of a repository is kept, and under which rules.
///
/// # Errors
/// [`KeyError::UnencryptedRepository`] when it has none; what keeps the manifest from being read.
fn storage(repository: &dyn Repository) -> Result<KeyStorage, EngineError> {
    match identify(&stored_manifest(repository)?)?.storage() {
        KeyStorage::None | KeyStorage::Derived => Err(KeyError::UnencryptedRepository.into()),
        storage => Ok(storage),
    }
}

/// Returns the content of a key file with the key of a repository.
///
/// # Errors
/// When the repository has no key, or it is not found.
pub fn export(
    context: &KeyContext<'_>,
    repository: &dyn Repository,
) -> Result<Zeroizing<String>, EngineError> {
    let text = Zeroizing::new(text(context, repository)?);
    Ok(Zeroizing::new(key_blob::to_key_file(
        &repository.id(),
        &text,
    )))
}

/// Returns the key of a repository as bytes, encrypted.
///
/// # Errors
/// As [`export`].
pub fn blob(
    context: &KeyContext<'_>,
    repository: &dyn Repository,
) -> Result<Zeroizing<Vec<u8>>, EngineError> {
    let text = Zeroizing::new(text(context, repository)?);
    let blob = key_blob::from_text(&text).map_err(|error| KeyError::KeyfileInvalid {
        repository: context.repository.to_owned(),
        found_in: "the key".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(Zeroizing::new(blob))
}

fn text(context: &KeyContext<'_>, repository: &dyn Repository) -> Result<String, EngineError> {
    Ok(match storage(repository)? {
        KeyStorage::Keyfile => {
            let id = repository.id();
            keyfile::read(context, &keyfile::find(context, &id)?, &id)?
        }
        _ => repokey::read(context, repository)?,
    })
}

/// Makes sure that a repository has a key that can be imported.
///
/// # Errors
/// As [`export`].
pub fn check_importable(repository: &dyn Repository) -> Result<(), EngineError> {
    storage(repository).map(drop)
}

/// Stores the key from the content of a key file.
///
/// # Errors
/// [`KeyError::NotAKeyFile`], [`KeyError::OtherRepository`]; a failure to write.
pub fn import(
    context: &KeyContext<'_>,
    repository: &mut dyn Repository,
    content: &[u8],
) -> Result<(), EngineError> {
    let id = repository.id();
    let text = match key_blob::from_key_file(content, &id) {
        Ok(text) => text,
        Err(KeyFileError::OtherRepository) => return Err(KeyError::OtherRepository.into()),
        Err(KeyFileError::Invalid(_)) => return Err(KeyError::NotAKeyFile.into()),
    };
    import_text(context, repository, text)
}

/// Stores the key from its bytes, encrypted.
///
/// # Errors
/// When the repository has no key, or writing fails.
pub fn import_blob(
    context: &KeyContext<'_>,
    repository: &mut dyn Repository,
    blob: &[u8],
) -> Result<(), EngineError> {
    let text = Zeroizing::new(key_blob::to_text(blob));
    import_text(context, repository, &text)
}

fn import_text(
    context: &KeyContext<'_>,
    repository: &mut dyn Repository,
    text: &str,
) -> Result<(), EngineError> {
    match storage(repository)? {
        KeyStorage::Keyfile => {
            let id = repository.id();
            let path = keyfile::existing_or_new(context, &id);
            keyfile::write(&path, &id, text, Existing::Replace)?;
        }
        _ => repokey::write(repository, text)?,
    }
    Ok(())
}

/// How often the passphrase of the old mode may be typed.
const ATTEMPTS: usize = 2;

/// Makes a repokey of a key that is derived from a passphrase (a mode that Borg had before 1.0)
/// and protects it with a new passphrase.
///
/// # Errors
/// [`KeyError::PasswordRetriesExceeded`]; a failure to read or write.
pub fn migrate_to_repokey(
    context: &KeyContext<'_>,
    repository: &mut dyn Repository,
    random: &dyn Random,
) -> Result<(), EngineError> {
    let stored = stored_manifest(repository)?;
    let id = repository.id();
    let text = format!("Enter passphrase for {}: ", context.repository);
    let mut passphrase = match context.passphrases.given()? {
        Some(given) => given,
        None => context.passphrases.prompt(&text)?,
    };
    for _ in 0..ATTEMPTS {
        let material = KeyMaterial::from_passphrase(id, passphrase.reveal());
        let crypto = Crypto::new(KeyType::Passphrase, material);
        let mut data = Vec::new();
        let manifest = fastness_format::id::ChunkId::MANIFEST;
        if open_object(&crypto, &manifest, &stored, &mut data).is_ok() {
            let mut key = Key {
                crypto,
                target: KeyTarget::Repository,
                logically_encrypted: true,
                without_key: false,
            };
            return Ok(super::change_passphrase(
                context, repository, &mut key, random,
            )?);
        }
        passphrase = context.passphrases.prompt(&text)?;
    }
    Err(KeyError::PasswordRetriesExceeded.into())
}
