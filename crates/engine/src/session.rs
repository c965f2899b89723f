//! An open repository with its key and catalogue: what most operations begin with.
//!
//! Opening is where trust is decided: the key must open the manifest, the manifest must be
//! authentic, and the repository must be the one that this machine knows.

use std::sync::Arc;

use fastness_format::crypto::Crypto;
use fastness_format::crypto::tam::Requirement;
use fastness_format::manifest::Operation;
use fastness_repository::Repository;

use crate::catalogue::{Catalogue, stored_manifest};
use crate::error::EngineError;
use crate::keys::nonce::after_manifest;
use crate::keys::{self, Key, KeyContext, NonceAllocator};
use crate::security::{
    Access, Authenticity, CachedFacts, Presented, Questions, SecurityManager, WrongTag, requirement,
};

/// An open repository.
pub struct Session {
    /// The store.
    pub repository: Box<dyn Repository>,
    /// The key, also in the catalogue.
    pub crypto: Arc<Crypto>,
    /// Counter values, also in the catalogue.
    pub nonces: Arc<NonceAllocator>,
    /// Manifest and archives.
    pub catalogue: Catalogue,
    /// Whether reading it takes a secret.
    pub logically_encrypted: bool,
}

/// How a repository is opened.
pub struct Opening<'a> {
    /// Where keys are and how they are opened.
    pub keys: KeyContext<'a>,
    /// What is known of the repository.
    pub security: &'a SecurityManager<'a>,
    /// What Borg's cache of the repository says, if there is one.
    pub cached: Option<CachedFacts>,
    /// Answers what the checks ask.
    pub questions: &'a dyn Questions,
    /// What is going to be done.
    pub operations: &'a [Operation],
    /// Whether an unauthenticated manifest passes though the key says otherwise.
    pub requirement: Option<Requirement>,
    /// What is done about archives whose authentication is wrong.
    pub wrong_tag: WrongTag,
}

impl Session {
    /// Opens the key and the catalogue of a repository and checks that it may be used.
    ///
    /// # Errors
    /// When there is no manifest or key, the passphrase is wrong, something is not authentic, a
    /// feature is missing, or the repository is not the one that is known.
    pub fn open(
        repository: Box<dyn Repository>,
        opening: &Opening<'_>,
    ) -> Result<Self, EngineError> {
        let _stage = tracing::trace_span!("open_session").entered();
        let (catalogue, logically_encrypted) = open_catalogue(repository.as_ref(), opening)?;
        let session = Self {
            repository,
            crypto: Arc::clone(&catalogue.crypto),
            nonces: Arc::clone(&catalogue.nonces),
            catalogue,
            logically_encrypted,
        };
        opening.security.assert_secure(
            &session.presented(),
            opening.cached.as_ref(),
            Access::Existing,
            opening.questions,
        )?;
        Ok(session)
    }

    /// What the repository shows of itself.
    pub fn presented(&self) -> Presented<'_> {
        Presented {
            key_type: self.crypto.key_type(),
            logically_encrypted: self.logically_encrypted,
            manifest_timestamp: &self.catalogue.manifest.timestamp,
        }
    }

    /// Remembers on this machine what was committed.
    ///
    /// # Errors
    /// When that cannot be written; the repository is complete all the same.
    pub fn remember(&self, security: &SecurityManager<'_>) -> Result<(), EngineError> {
        let timestamp = &self.catalogue.manifest.timestamp;
        Ok(security.save(self.crypto.key_type(), timestamp)?)
    }

    /// Returns both parts, to change one with the help of the other.
    pub fn split(&mut self) -> (&mut Catalogue, &mut dyn Repository) {
        (&mut self.catalogue, self.repository.as_mut())
    }
}

/// Opens the key and the catalogue of a repository, without asking whether it is the one that is
/// known. Also returns whether reading it takes a secret.
///
/// # Errors
/// When there is no manifest or key, the passphrase is wrong, something is not authentic, or a
/// feature is missing.
pub fn open_catalogue(
    repository: &dyn Repository,
    opening: &Opening<'_>,
) -> Result<(Catalogue, bool), EngineError> {
    let stored = stored_manifest(repository)?;
    let key = keys::open(&opening.keys, repository, &stored)?;
    let first = after_manifest(&key.crypto, &stored);
    let nonces = NonceAllocator::new(repository.nonces(), opening.security.directory(), first);
    let Key {
        crypto,
        logically_encrypted,
        ..
    } = key;
    let required = opening.requirement.unwrap_or_else(|| requirement(&crypto));
    let mut catalogue = Catalogue::open(
        Arc::new(crypto),
        Arc::new(nonces),
        &stored,
        required,
        opening.keys.monitor,
    )?;
    catalogue.wrong_tag = opening.wrong_tag;
    if matches!(catalogue.authenticity, Authenticity::Verified(_)) {
        let required = catalogue.manifest.tam_required();
        opening.security.follow_manifest(required)?;
    }
    catalogue.manifest.check_features(opening.operations)?;
    Ok((catalogue, logically_encrypted))
}
