//! A recovery that is rehearsed: is this copy of the key, with this passphrase, really enough?
//!
//! The copy is opened in memory and must decrypt what the repository holds: the manifest and the
//! newest archive. Neither a key file nor the key in the repository is looked at, and nothing is
//! written: what works here works on a machine that has nothing else.

use fastness_format::crypto::key_blob::{self, KeyBlobError};
use fastness_format::crypto::paper_key::{self, TextError};
use fastness_format::crypto::{Crypto, KeyStorage, KeyType};
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::manifest::Manifest;
use fastness_repository::Repository;
use zeroize::Zeroizing;

use super::{KeyError, PassphraseSource, identify, passphrase};
use crate::catalogue::stored_manifest;
use crate::error::EngineError;
use crate::event::Monitor;
use crate::objects::{open_object, read_object};
use crate::security::{requirement, verify_manifest};

/// A copy of a key, still encrypted.
pub struct Copy {
    /// Whether it was on paper: typed in, or the text for it.
    pub paper: bool,
    blob: Zeroizing<Vec<u8>>,
}

/// A text that is no copy of a repository's key.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Neither of the two forms was found.
    #[error("this is no copy of a key: it has neither \"BORG PAPER KEY\" nor \"BORG_KEY\" in it")]
    Unknown,
    /// The copy on paper is not whole.
    #[error("the key for paper is not whole")]
    Paper(#[source] TextError),
    /// The key file is damaged.
    #[error("the key file is damaged")]
    File(#[source] KeyBlobError),
    /// It belongs to another repository.
    #[error("this is the key of another repository")]
    OtherRepository,
}

/// What was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The mode of the repository.
    pub key_type: KeyType,
    /// How many archives its manifest names.
    pub archives: usize,
}

/// The words that a key for paper begins with.
const PAPER: &str = "BORG PAPER KEY";
/// The word that a key file begins with.
const FILE: &str = "BORG_KEY ";

impl Copy {
    /// Takes the bytes of a key that was typed in.
    pub fn typed(blob: Zeroizing<Vec<u8>>) -> Self {
        Self { paper: true, blob }
    }

    /// Finds the key of a repository in a text: a key for paper, a page with one, or a key file.
    ///
    /// # Errors
    /// When there is none, or another repository's.
    pub fn in_text(text: &str, id: &RepositoryId) -> Result<Self, CopyError> {
        if text.contains(PAPER) {
            let (line, blob) = paper_key::from_text(text).map_err(CopyError::Paper)?;
            return match line.is_of(id) {
                true => Ok(Self::typed(blob)),
                false => Err(CopyError::OtherRepository),
            };
        }
        let start = text.find(FILE).ok_or(CopyError::Unknown)?;
        let file = text.get(start..).unwrap_or_default();
        let text = key_blob::from_key_file(file.as_bytes(), id).map_err(|error| match error {
            key_blob::KeyFileError::OtherRepository => CopyError::OtherRepository,
            key_blob::KeyFileError::Invalid(_) => CopyError::File(KeyBlobError::Incomplete),
        })?;
        let blob = key_blob::from_text(text).map_err(CopyError::File)?;
        Ok(Self {
            paper: false,
            blob: Zeroizing::new(blob),
        })
    }
}

/// Opens a repository with nothing but a copy of its key and the passphrase.
///
/// # Errors
/// When the repository has no key, the passphrase is wrong, or what the repository holds was not
/// made with this key.
pub fn prove(
    copy: &Copy,
    passphrases: &dyn PassphraseSource,
    repository: &dyn Repository,
    monitor: &dyn Monitor,
) -> Result<Proof, EngineError> {
    let stored = stored_manifest(repository)?;
    let key_type = identify(&stored)?;
    if matches!(key_type.storage(), KeyStorage::None | KeyStorage::Derived) {
        return Err(KeyError::UnencryptedRepository.into());
    }
    let id = repository.id();
    let (material, _) =
        passphrase::find(
            passphrases,
            "(the copy)",
            |passphrase| match key_blob::decrypt(&copy.blob, passphrase.reveal(), false) {
                Ok(material) => Ok(Some(material)),
                Err(KeyBlobError::WrongPassphrase) => Ok(None),
                Err(error) => Err(KeyError::Unsupported(error)),
            },
        )?;
    if material.repository_id != id {
        return Err(KeyError::OtherRepository.into());
    }
    let crypto = Crypto::new(key_type, material);
    let mut data = Vec::new();
    open_object(&crypto, &ChunkId::MANIFEST, &stored, &mut data)?;
    verify_manifest(&crypto, &data, requirement(&crypto), monitor)?;
    let manifest = Manifest::decode(&data)?;
    let newest = manifest.archives.values().max_by_key(|entry| &entry.time);
    if let Some(archive) = newest {
        read_object(repository, &crypto, &archive.id)?;
    }
    Ok(Proof {
        key_type,
        archives: manifest.archives.len(),
    })
}
