//! Making a repository: its key, its empty manifest, and what this machine remembers of it.

use std::sync::Arc;

use fastness_format::compress::CompressionSpec;
use fastness_format::crypto::KeyType;
use fastness_repository::Repository;

use crate::catalogue::Catalogue;
use crate::error::EngineError;
use crate::keys::{self, Key, KeyContext, NonceAllocator, Related};
use crate::security::{Access, NobodyToAsk, Presented, SecurityManager};
use crate::session::Session;
use crate::world::World;

/// Gives a new, empty repository a key and a manifest, and commits.
///
/// If it fails, the caller gets the repository back and destroys it: nobody could open it.
///
/// # Errors
/// When the key cannot be made, or the manifest not be stored.
pub fn init(
    mut repository: Box<dyn Repository>,
    context: &KeyContext<'_>,
    security: &SecurityManager<'_>,
    key_type: KeyType,
    related: Option<&Related<'_>>,
    world: World<'_>,
) -> Result<Session, (Box<dyn Repository>, EngineError)> {
    let made = make(
        repository.as_mut(),
        context,
        security,
        key_type,
        related,
        world,
    );
    match made {
        Ok((catalogue, logically_encrypted)) => Ok(Session {
            repository,
            crypto: Arc::clone(&catalogue.crypto),
            nonces: Arc::clone(&catalogue.nonces),
            catalogue,
            logically_encrypted,
        }),
        Err(error) => Err((repository, error)),
    }
}

fn make(
    repository: &mut dyn Repository,
    context: &KeyContext<'_>,
    security: &SecurityManager<'_>,
    key_type: KeyType,
    related: Option<&Related<'_>>,
    world: World<'_>,
) -> Result<(Catalogue, bool), EngineError> {
    let Key {
        crypto,
        logically_encrypted,
        ..
    } = keys::create(context, repository, key_type, related, world.random)?;
    let nonces = NonceAllocator::new(repository.nonces(), security.directory(), 0);
    let mut catalogue = Catalogue::new(Arc::new(crypto), Arc::new(nonces));
    catalogue.write(repository, world, &CompressionSpec::default())?;
    repository.commit(None)?;
    let presented = Presented {
        key_type,
        logically_encrypted,
        manifest_timestamp: &catalogue.manifest.timestamp,
    };
    // A directory of an earlier repository with the same random id does not exist.
    security.assert_secure(&presented, None, Access::New, &NobodyToAsk)?;
    if catalogue.crypto.tam_required() {
        security.follow_manifest(true)?;
    }
    Ok((catalogue, logically_encrypted))
}
