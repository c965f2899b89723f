//! The catalogue of a repository: its manifest, and the archives it names.
//!
//! The manifest is the root of everything: what it does not name does not exist. It is read and
//! authenticated when a repository is opened and written last before a commit.

use std::sync::Arc;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::compress::CompressionSpec;
use fastness_format::crypto::Crypto;
use fastness_format::crypto::tam::{self, Context, Requirement};
use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;
use fastness_format::manifest::Manifest;
use fastness_format::msgpack::Value;
use fastness_repository::{MAX_VALUE_BYTES, Repository, RepositoryError};

use crate::cache::chunks::ChunkTable;
use crate::error::EngineError;
use crate::event::Monitor;
use crate::keys::NonceAllocator;
use crate::objects::{open_object, read_object, seal_object};
use crate::security::{Authenticity, WrongTag, verify_archive, verify_manifest};
use crate::world::World;

/// Manifest and key of an open repository.
pub struct Catalogue {
    /// The key.
    pub crypto: Arc<Crypto>,
    /// Hands out counter values.
    pub nonces: Arc<NonceAllocator>,
    /// The manifest.
    pub manifest: Manifest,
    /// Id hash of the manifest's plaintext; changes with every write.
    pub manifest_id: ChunkId,
    /// Whether the manifest was authenticated.
    pub authenticity: Authenticity,
    /// What is done about archives whose authentication is wrong.
    pub wrong_tag: WrongTag,
}

/// An archive's metadata as read.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadArchive {
    /// Id of the metadata, which identifies the archive.
    pub id: ChunkId,
    /// The metadata.
    pub metadata: ArchiveMetadata,
    /// Whether it was authenticated.
    pub authenticity: Authenticity,
}

/// Reads the stored manifest.
///
/// # Errors
/// [`EngineError::NoManifest`] when there is none.
pub fn stored_manifest(repository: &dyn Repository) -> Result<Vec<u8>, EngineError> {
    match repository.get(&ChunkId::MANIFEST) {
        Err(RepositoryError::ObjectNotFound { .. }) => Err(EngineError::NoManifest),
        other => Ok(other?),
    }
}

impl Catalogue {
    /// Opens and authenticates a stored manifest.
    ///
    /// # Errors
    /// When it is damaged or not authentic.
    pub fn open(
        crypto: Arc<Crypto>,
        nonces: Arc<NonceAllocator>,
        stored: &[u8],
        requirement: Requirement,
        monitor: &dyn Monitor,
    ) -> Result<Self, EngineError> {
        let _stage = tracing::trace_span!("open_manifest").entered();
        let mut data = Vec::new();
        open_object(&crypto, &ChunkId::MANIFEST, stored, &mut data)?;
        let authenticity = verify_manifest(&crypto, &data, requirement, monitor)?;
        let manifest = Manifest::decode(&data)?;
        Ok(Self {
            manifest_id: crypto.id(&data),
            crypto,
            nonces,
            manifest,
            authenticity,
            wrong_tag: WrongTag::Refuse,
        })
    }

    /// Makes the catalogue of a repository that has none yet.
    pub fn new(crypto: Arc<Crypto>, nonces: Arc<NonceAllocator>) -> Self {
        Self {
            crypto,
            nonces,
            manifest: Manifest::new(),
            manifest_id: ChunkId::MANIFEST,
            authenticity: Authenticity::Unverified,
            wrong_tag: WrongTag::Refuse,
        }
    }

    /// Puts the manifest into the repository, with a new timestamp; the commit is the caller's.
    ///
    /// # Errors
    /// When it passes a limit, or cannot be stored.
    pub fn write(
        &mut self,
        repository: &mut dyn Repository,
        world: World<'_>,
        compression: &CompressionSpec,
    ) -> Result<(), EngineError> {
        let _stage = tracing::trace_span!("write_manifest").entered();
        if self.crypto.tam_required() {
            let required = Value::Bool(true);
            self.manifest
                .config
                .insert(b"tam_required".to_vec(), required);
        }
        self.manifest.advance_timestamp(world.clock.now().0 / 1000);
        self.manifest.check_limits()?;
        let (data, salt) = self.authenticated(&self.manifest.encode(), Context::Manifest, world)?;
        let sealed = seal_object(&self.crypto, &self.nonces, world.random, compression, &data)?;
        repository.put(&ChunkId::MANIFEST, sealed.as_bytes())?;
        self.manifest_id = self.crypto.id(&data);
        self.authenticity = Authenticity::Verified(salt);
        Ok(())
    }

    fn authenticated(
        &self,
        packed: &[u8],
        context: Context,
        world: World<'_>,
    ) -> Result<(Vec<u8>, [u8; tam::SALT_LEN]), EngineError> {
        let mut salt = [0; tam::SALT_LEN];
        world.random.fill(&mut salt).map_err(EngineError::Random)?;
        let data = tam::authenticate(&self.crypto, packed, context, &salt).map_err(|error| {
            EngineError::Other(format!("cannot authenticate metadata: {error}"))
        })?;
        Ok((data, salt))
    }

    /// Stores the metadata of an archive, counts the reference to it and names it in the manifest.
    /// The manifest must be written and committed afterwards.
    ///
    /// # Errors
    /// [`EngineError::ArchiveExists`], [`EngineError::ArchiveTooBig`], or when it cannot be stored.
    pub fn put_archive(
        &mut self,
        repository: &mut dyn Repository,
        chunks: &ChunkTable,
        world: World<'_>,
        compression: &CompressionSpec,
        metadata: &ArchiveMetadata,
    ) -> Result<ChunkRef, EngineError> {
        let name = || String::from_utf8_lossy(&metadata.name).into_owned();
        if self.manifest.archives.contains_key(&metadata.name) {
            return Err(EngineError::ArchiveExists(name()));
        }
        let (data, _) = self.authenticated(&metadata.encode(), Context::Archive, world)?;
        let id = self.crypto.id(&data);
        let sealed = seal_object(&self.crypto, &self.nonces, world.random, compression, &data)?;
        if sealed.len() > MAX_VALUE_BYTES {
            return Err(EngineError::ArchiveTooBig(name()));
        }
        repository.put(&id, sealed.as_bytes())?;
        let stored = ChunkRef {
            id,
            size: data.len() as u32,
            csize: sealed.len() as u32,
        };
        chunks.add(&stored, 1);
        self.manifest.archives.insert(
            metadata.name.clone(),
            fastness_format::manifest::ArchiveEntry {
                id,
                time: metadata.time.clone(),
            },
        );
        Ok(stored)
    }

    /// Reads the metadata of the archive with this name.
    ///
    /// # Errors
    /// [`EngineError::ArchiveDoesNotExist`], or when the metadata is damaged or has a wrong tag; a
    /// missing one passes, since Borg before 1.2.5 made archives without.
    pub fn archive(
        &self,
        repository: &dyn Repository,
        name: &[u8],
        monitor: &dyn Monitor,
    ) -> Result<ReadArchive, EngineError> {
        let entry = self.manifest.archives.get(name).ok_or_else(|| {
            EngineError::ArchiveDoesNotExist(String::from_utf8_lossy(name).into_owned())
        })?;
        self.archive_by_id(repository, name, &entry.id, monitor)
    }

    /// Reads the archive metadata with this id; `name` is for messages.
    ///
    /// # Errors
    /// As [`Catalogue::archive`].
    pub fn archive_by_id(
        &self,
        repository: &dyn Repository,
        name: &[u8],
        id: &ChunkId,
        monitor: &dyn Monitor,
    ) -> Result<ReadArchive, EngineError> {
        let data = read_object(repository, &self.crypto, id)?;
        let authenticity = verify_archive(
            &self.crypto,
            &data,
            name,
            Requirement::Optional,
            self.wrong_tag,
            monitor,
        )?;
        let metadata = ArchiveMetadata::decode(&data).map_err(|source| EngineError::Archive {
            archive: String::from_utf8_lossy(name).into_owned(),
            source,
        })?;
        Ok(ReadArchive {
            id: *id,
            metadata,
            authenticity,
        })
    }
}
