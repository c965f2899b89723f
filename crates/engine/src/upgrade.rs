//! Requiring authentication of manifest and archives, or no longer doing so.
//!
//! Borg writes authentication tags since 1.0.9 (manifest) and 1.2.5 (archives). Whether a manifest
//! without one is refused is said in three places: the key, the manifest itself, and the security
//! database of this machine. Repositories that older versions used are brought up to date here.

use std::sync::Arc;

use fastness_format::compress::CompressionSpec;
use fastness_format::crypto::Crypto;
use fastness_format::crypto::tam::Requirement;
use fastness_format::id::ChunkId;
use fastness_format::manifest::Operation;
use fastness_format::msgpack::Value;
use fastness_repository::Repository;

use crate::cache::chunks::{ChunkTable, Released};
use crate::catalogue::{Catalogue, ReadArchive, stored_manifest};
use crate::error::EngineError;
use crate::event::Monitor;
use crate::keys::nonce::after_manifest;
use crate::keys::{self, Key, KeyTarget, NonceAllocator, Passphrase};
use crate::security::{Authenticity, WrongTag, requirement};
use crate::session::Opening;
use crate::world::World;

/// A repository whose authentication is looked at or changed.
pub struct Upgrade {
    /// Manifest and key.
    pub catalogue: Catalogue,
    /// Where the key is kept.
    pub target: KeyTarget,
    passphrase: Option<Passphrase>,
}

impl Upgrade {
    /// Opens key and manifest. Archives whose authentication is wrong count as having none.
    ///
    /// # Errors
    /// When there is no manifest or key, the passphrase is wrong, a feature is missing, or the
    /// manifest is not authentic though it has to be.
    pub fn open(
        repository: &dyn Repository,
        opening: &Opening<'_>,
        operations: &[Operation],
    ) -> Result<Self, EngineError> {
        let stored = stored_manifest(repository)?;
        let (key, passphrase) = keys::open_with_passphrase(&opening.keys, repository, &stored)?;
        let first = after_manifest(&key.crypto, &stored);
        let nonces = NonceAllocator::new(repository.nonces(), opening.security.directory(), first);
        let Key { crypto, target, .. } = key;
        let required = opening.requirement.unwrap_or_else(|| requirement(&crypto));
        let mut catalogue = Catalogue::open(
            Arc::new(crypto),
            Arc::new(nonces),
            &stored,
            required,
            opening.keys.monitor,
        )?;
        catalogue.wrong_tag = WrongTag::Ignore;
        if matches!(catalogue.authenticity, Authenticity::Verified(_)) {
            let required = catalogue.manifest.tam_required();
            opening.security.follow_manifest(required)?;
        }
        catalogue.manifest.check_features(operations)?;
        Ok(Self {
            catalogue,
            target,
            passphrase,
        })
    }

    /// Tells whether the manifest is authentic and says that later ones have to be.
    pub fn manifest_is_protected(&self) -> bool {
        matches!(self.catalogue.authenticity, Authenticity::Verified(_))
            && self.catalogue.manifest.tam_required()
    }

    /// Tells whether the key says that manifests have to be authenticated; nothing for a
    /// repository without a key.
    pub fn key_requires(&self) -> Option<bool> {
        self.passphrase
            .as_ref()
            .map(|_| self.catalogue.crypto.tam_required())
    }

    /// Lets the manifest say whether later ones have to be authenticated, and commits.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn write_manifest(
        &mut self,
        repository: &mut dyn Repository,
        required: bool,
        world: World<'_>,
    ) -> Result<(), EngineError> {
        let config = &mut self.catalogue.manifest.config;
        config.insert(b"tam_required".to_vec(), Value::Bool(required));
        let compression = CompressionSpec::default();
        self.catalogue.write(repository, world, &compression)?;
        repository.commit(None)?;
        Ok(())
    }

    /// Lets the key say whether manifests have to be authenticated; its passphrase stays.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn write_key(
        &mut self,
        repository: &mut dyn Repository,
        required: bool,
        world: World<'_>,
    ) -> Result<(), EngineError> {
        let Some(passphrase) = &self.passphrase else {
            return Ok(());
        };
        let old = &self.catalogue.crypto;
        let mut material = old.material().clone();
        material.tam_required = required;
        let mut key = Key {
            crypto: Crypto::new(old.key_type(), material),
            target: self.target.clone(),
            logically_encrypted: true,
            without_key: false,
        };
        keys::store(repository, &mut key, passphrase, world.random)?;
        self.catalogue.crypto = Arc::new(key.crypto);
        Ok(())
    }

    /// Reads an archive, whether it is authentic or not.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn archive(
        &self,
        repository: &dyn Repository,
        name: &[u8],
        monitor: &dyn Monitor,
    ) -> Result<ReadArchive, EngineError> {
        self.catalogue.archive(repository, name, monitor)
    }

    /// Stores the metadata of an archive anew, with authentication; returns its new id. The
    /// manifest must be written afterwards.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn authenticate_archive(
        &mut self,
        repository: &mut dyn Repository,
        chunks: &ChunkTable,
        name: &[u8],
        archive: ReadArchive,
        world: World<'_>,
    ) -> Result<ChunkId, EngineError> {
        let mut metadata = archive.metadata;
        metadata.name = name.to_vec();
        self.catalogue.manifest.archives.remove(name);
        let compression = CompressionSpec::default();
        let stored =
            self.catalogue
                .put_archive(repository, chunks, world, &compression, &metadata)?;
        match chunks.release(&archive.id, 1) {
            Released::Last(_) => repository.delete(&archive.id)?,
            Released::Kept(_) => {}
            Released::Missing => return Err(EngineError::MissingReference(archive.id)),
        }
        Ok(stored.id)
    }
}

/// What `--force` asks for: a manifest without authentication passes, whatever the key says.
pub fn forced(force: bool) -> Option<Requirement> {
    force.then_some(Requirement::Optional)
}
