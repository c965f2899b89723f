//! Borg's own cache on this machine, which our commands leave as Borg would.
//!
//! With it official Borg goes on after us without reading all archives anew. Nothing of ours
//! depends on it, so whatever goes wrong here is told at most.

use std::io;
use std::path::Path;

use fastness_engine::cache::BorgCache;
use fastness_engine::cache::borg::{PreparedCache, Saved};
use fastness_engine::directories::replace_file;
use fastness_engine::event::Level;
use fastness_format::cache_config::{CacheState, can_hold};
use fastness_format::id::RepositoryId;
use fastness_format::manifest::{Manifest, Operation};

use crate::access::Opened;
use crate::client_cache::{facts, facts_path};
use crate::context::Context;

const LOGGER: &str = "borg.cache";
const OPERATIONS: [Operation; 4] = [
    Operation::Read,
    Operation::Check,
    Operation::Write,
    Operation::Delete,
];

/// What became of writing Borg's chunks beside their place.
pub type PreparedBorgs = io::Result<Option<PreparedCache>>;

fn is_free_of_features(manifest: &Manifest) -> bool {
    OPERATIONS
        .iter()
        .all(|operation| manifest.mandatory_features(*operation).is_empty())
}

impl Context<'_> {
    /// Returns Borg's own cache of a repository.
    pub fn borg_cache(&self, id: &RepositoryId) -> BorgCache {
        let path = self.environment.directories.cache_of(id);
        BorgCache::new(path, self.environment.files_cache_suffix.as_deref())
    }

    /// Returns Borg's cache if Borg could use it. It could not with an address that is no text, or
    /// with features that we do not know, of which the cache would have to tell.
    pub(crate) fn borgs_cache_to_write(&self, opened: &Opened) -> Option<BorgCache> {
        let usable = is_free_of_features(&opened.session.catalogue.manifest)
            && can_hold(&opened.place.canonical).is_some();
        usable.then(|| self.borg_cache(&opened.id()))
    }

    /// Tells whether Borg's cache belongs to another manifest than the repository has.
    pub(crate) fn borgs_cache_is_old(&self, opened: &Opened) -> bool {
        let id = opened.id();
        let config = self.borg_cache(&id).config();
        !config.is_some_and(|config| config.is_of(&id, &opened.session.catalogue.manifest_id))
    }

    /// Lets Borg's cache belong to the manifest that is committed.
    pub(crate) fn finish_borgs_cache(&self, opened: &Opened, prepared: Option<PreparedBorgs>) {
        let Some(prepared) = prepared else {
            return;
        };
        let state = CacheState {
            repository: opened.id(),
            manifest: &opened.session.catalogue.manifest_id,
            timestamp: &opened.session.catalogue.manifest.timestamp,
            key_type: opened.key_type().byte(),
            location: can_hold(&opened.place.canonical).unwrap_or_default(),
        };
        let saved = prepared.and_then(|prepared| match prepared {
            Some(prepared) => prepared.finish(&state),
            None => Ok(Saved::LeftAlone),
        });
        self.tell_saved(self.borg_cache(&opened.id()).path(), saved);
    }

    fn tell_saved(&self, path: &Path, saved: io::Result<Saved>) {
        match saved {
            Ok(Saved::Done) => {}
            Ok(Saved::LeftAlone) => {
                let text = format!(
                    "{}: left alone, Borg will see that it is old",
                    path.display()
                );
                self.log().info(LOGGER, text);
            }
            Err(error) => self.cannot_save(path, &error),
        }
    }

    /// Lets both caches name the place where the repository is now, as the security database does
    /// once a move was accepted, and tells when an old Borg has changed the one of Borg.
    pub fn follow_location(&self, opened: &Opened) {
        let here = opened.place.canonical.as_slice();
        let known = self.cached_facts(&opened.id());
        if known.is_some_and(|facts| facts.previous_location.as_deref() != Some(here)) {
            self.set_own_location(opened, Some(here));
        }
        let Some(config) = self.borg_cache(&opened.id()).config() else {
            return;
        };
        if config.is_without_proof() {
            let text = "Cache integrity data not available: old Borg version modified the cache.";
            self.log().log(Level::Warning, LOGGER, text, None);
        }
        let moved = config
            .location()
            .is_some_and(|location| location.as_bytes() != here);
        if moved && can_hold(here).is_some() {
            self.set_borgs_location(opened, Some(here));
        }
    }

    /// Lets both caches say that the repository was last used at `location`, or nothing about it.
    pub fn set_cached_location(&self, opened: &Opened, location: Option<&[u8]>) {
        self.set_own_location(opened, location);
        self.set_borgs_location(opened, location);
    }

    fn set_own_location(&self, opened: &Opened, location: Option<&[u8]>) {
        let directory = self.cache_directory(&opened.id());
        let path = facts_path(&directory);
        let saved = directory
            .create()
            .and_then(|()| replace_file(&path, &facts(opened, location)));
        if let Err(error) = saved {
            self.cannot_save(&path, &error);
        }
    }

    fn set_borgs_location(&self, opened: &Opened, location: Option<&[u8]>) {
        let cache = self.borg_cache(&opened.id());
        let saved = cache.set_location(location.and_then(can_hold), self.lock_identity());
        self.tell_saved(cache.path(), saved);
    }
}
