//! Checking what a repository holds: its manifest, its archives, their items and chunks.
//!
//! The repository itself, segments and index, is checked before, by [`Repository::check`]. Here
//! everything is followed from the manifest on: is each object there that something names, and
//! does something name each object that is there?
//!
//! | module | what |
//! |---|---|
//! | `verify_data` | decrypts and hashes every object |
//! | `rebuild` | finds the archives again when the manifest is lost |
//! | `archives` | walks all archives; those without a flaw are passed quickly |
//! | `items` | the archives with a flaw, item by item; what is repaired is written anew |
//! | `orphans` | objects that nothing names |
//! | `inventory` | which objects there are, and which are needed |
//!
//! A repair is one transaction: whatever happens before its commit, the repository is as it was.
//! It writes only archives that have a flaw, and deletes only what no archive needs after all
//! archives were checked. Texts are those of Borg.

mod archives;
mod inventory;
mod items;
mod orphans;
mod rebuild;
mod stream;
#[cfg(test)]
mod tests;
mod verify_data;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use fastness_format::compress::{CompressionSpec, Compressor};
use fastness_format::crypto::{Crypto, KeyType};
use fastness_format::id::ChunkId;
use fastness_format::item::ChunkRef;
use fastness_format::manifest::{ManifestError, Operation};
use fastness_repository::{Repository, RepositoryError};

use crate::catalogue::Catalogue;
use crate::error::EngineError;
use crate::event::Level;
use crate::keys::nonce::after_manifest;
use crate::keys::{self, KeyContext, KeyError, NonceAllocator};
use crate::objects::{ObjectError, seal_object};
use crate::security::{SecurityError, WrongTag, requirement};
use crate::select::archive_glob::ArchiveGlob;
use crate::world::World;
use inventory::Inventory;

const LOGGER: &str = "borg.archive";

/// Objects that are read at most to find out the mode of a repository, as in Borg.
const KEY_ATTEMPTS: usize = 999;

/// By what archives are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// The time at which the archive was begun.
    Timestamp,
    /// Its name.
    Name,
    /// Its id.
    Id,
}

/// What is checked, and whether it is repaired. The default checks all archives.
#[derive(Debug, Default)]
pub struct CheckOptions {
    /// Only this archive; the other filters do not count then.
    pub archive: Option<Vec<u8>>,
    /// Only archives whose names match; the text is for messages.
    pub glob: Option<(String, ArchiveGlob)>,
    /// Only the first so many.
    pub first: Option<usize>,
    /// Only the last so many.
    pub last: Option<usize>,
    /// The order in which they are checked; the first key counts most.
    pub sort_by: Vec<SortKey>,
    /// Also reads, decrypts and hashes every object.
    pub verify_data: bool,
    /// Writes back what can be saved.
    pub repair: bool,
    /// Number of threads, at least 1.
    pub threads: usize,
}

impl CheckOptions {
    fn all_archives(&self) -> bool {
        self.archive.is_none() && self.glob.is_none() && self.first.is_none() && self.last.is_none()
    }
}

/// What a check needs of its surroundings.
#[derive(Clone, Copy)]
pub struct CheckContext<'a> {
    /// Where keys are and how they are opened; also who is told what is found.
    pub keys: KeyContext<'a>,
    /// The client's security directory of the repository, for reserved counter values.
    pub security_directory: &'a Path,
    /// What is done about archives whose authentication is wrong.
    pub wrong_tag: WrongTag,
    /// Time and random numbers.
    pub world: World<'a>,
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Sound,
    /// Something was wrong; with a repair, what could be done about it is done and committed.
    Problems,
    /// There are no objects at all.
    Empty,
}

/// Checks the archives of a repository, and repairs them if asked to.
///
/// # Errors
/// When checking itself fails: nothing can be read or written, or there is no key. Nothing of a
/// repair is kept then.
pub fn check(
    repository: &mut dyn Repository,
    options: &CheckOptions,
    context: &CheckContext<'_>,
) -> Result<Verdict, EngineError> {
    let _stage = tracing::trace_span!("check").entered();
    let result = check_archives(repository, options, context);
    if result.is_err() {
        // The error that matters is the one before.
        let _ = repository.rollback();
    }
    result
}

fn check_archives(
    repository: &mut dyn Repository,
    options: &CheckOptions,
    context: &CheckContext<'_>,
) -> Result<Verdict, EngineError> {
    let monitor = context.keys.monitor;
    monitor.log(Level::Info, LOGGER, "Starting archive consistency check...");
    let inventory = Inventory::load(repository)?;
    if inventory.len() == 0 {
        let text = "Repository contains no apparent data at all, cannot continue check/repair.";
        monitor.log(Level::Error, LOGGER, text);
        return Ok(Verdict::Empty);
    }
    let crypto = Arc::new(make_key(repository, &context.keys)?);
    let mut checker = Checker {
        repository,
        crypto,
        options,
        context,
        inventory,
        superseded: HashSet::new(),
        replacements: HashMap::new(),
        problems: false,
        compression: CompressionSpec::default(),
    };
    if options.verify_data {
        checker.verify_data()?;
    }
    let mut catalogue = checker.catalogue()?;
    // From here on the manifest is no object like others: nothing names it, and it stays.
    checker.inventory.remove(&ChunkId::MANIFEST);
    checker.check_references(&mut catalogue)?;
    checker.check_orphans()?;
    checker.finish(&mut catalogue)
}

/// The mode is what most objects say; usually the first two agree. Any byte may be damaged, and a
/// wrong mode would make everything look damaged.
fn make_key(repository: &dyn Repository, context: &KeyContext<'_>) -> Result<Crypto, EngineError> {
    let mut votes: Vec<(KeyType, usize, Vec<u8>)> = Vec::new();
    // Most of the time this is all it takes.
    repository.prefetch(&[ChunkId::MANIFEST]);
    repository.expect_key();
    let mut others = repository.list(Some(KEY_ATTEMPTS), None)?;
    others.retain(|id| *id != ChunkId::MANIFEST);
    repository.prefetch(others.get(..1).unwrap_or_default());
    let mut tried = 0;
    for id in std::iter::once(ChunkId::MANIFEST).chain(others) {
        let stored = match repository.get(&id) {
            Ok(stored) => stored,
            Err(
                RepositoryError::ObjectNotFound { .. }
                | RepositoryError::SegmentMissing(_)
                | RepositoryError::Integrity(_),
            ) => continue,
            Err(error) => return Err(error.into()),
        };
        tried += 1;
        match keys::identify(&stored) {
            Ok(found) => match votes.iter_mut().find(|(known, ..)| *known == found) {
                Some((_, count, _)) => *count += 1,
                None => votes.push((found, 1, stored)),
            },
            Err(KeyError::UnsupportedPayload(_) | KeyError::InvalidManifestEnvelope) => continue,
            Err(error) => return Err(error.into()),
        }
        votes.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        let count = |place: usize| votes.get(place).map_or(0, |(_, count, _)| *count);
        if count(0) >= count(1) + 2 {
            break;
        }
    }
    let Some((_, _, stored)) = votes.first() else {
        return Err(EngineError::Repository(RepositoryError::Integrity(
            match tried {
                0 => "make_key: repository has no chunks at all!".to_owned(),
                _ => format!("make_key: failed to create the key (tried {tried} chunks)"),
            },
        )));
    };
    Ok(keys::open(context, repository, stored)?.crypto)
}

/// A check that is running.
struct Checker<'a> {
    repository: &'a mut dyn Repository,
    crypto: Arc<Crypto>,
    options: &'a CheckOptions,
    context: &'a CheckContext<'a>,
    inventory: Inventory,
    /// Objects that are no orphans, although nothing may need them any more.
    superseded: HashSet<ChunkId>,
    /// Chunks of zeros by their length.
    replacements: HashMap<u32, ChunkRef>,
    /// Whether something wrong was found.
    problems: bool,
    compression: CompressionSpec,
}

impl Checker<'_> {
    fn log(&self, level: Level, message: impl Into<String>) {
        self.context.keys.monitor.log(level, LOGGER, message);
    }

    fn info(&self, message: impl Into<String>) {
        self.log(Level::Info, message);
    }

    fn warning(&self, message: impl Into<String>) {
        self.log(Level::Warning, message);
    }

    /// Tells of something that is wrong with the repository.
    fn problem(&mut self, message: impl Into<String>) {
        self.problems = true;
        self.log(Level::Error, message);
    }

    fn stop_if_interrupted(&self) -> Result<(), EngineError> {
        match self.context.keys.monitor.interrupted() {
            true => Err(EngineError::Interrupted),
            false => Ok(()),
        }
    }

    fn allocator(&self, first: u64) -> Arc<NonceAllocator> {
        let store = self.repository.nonces();
        let directory = self.context.security_directory;
        Arc::new(NonceAllocator::new(store, directory, first))
    }

    /// Reads the manifest, or makes it anew of the archives that are found.
    fn catalogue(&mut self) -> Result<Catalogue, EngineError> {
        if !self.inventory.contains(&ChunkId::MANIFEST) {
            self.problem("Repository manifest not found!");
            return self.rebuild_manifest();
        }
        let opened = self.repository.get(&ChunkId::MANIFEST);
        let opened = opened.map_err(EngineError::from).and_then(|stored| {
            Catalogue::open(
                Arc::clone(&self.crypto),
                self.allocator(after_manifest(&self.crypto, &stored)),
                &stored,
                requirement(&self.crypto),
                self.context.keys.monitor,
            )
        });
        match opened {
            Ok(catalogue) => {
                catalogue.manifest.check_features(&[Operation::Check])?;
                Ok(catalogue)
            }
            Err(error) if is_damage(&error) => {
                self.problem(format!("Repository manifest is corrupted: {error}"));
                self.inventory.remove(&ChunkId::MANIFEST);
                self.rebuild_manifest()
            }
            Err(error) => Err(error),
        }
    }

    /// Stores an object unless there is one with its id, and notes that it is needed; without a
    /// repair only notes it. Returns the reference to it.
    fn store(&mut self, nonces: &NonceAllocator, data: &[u8]) -> Result<ChunkRef, EngineError> {
        let id = self.crypto.id(data);
        let csize = if !self.options.repair {
            0
        } else if self.inventory.contains(&id) {
            let mut object = self.crypto.begin();
            Compressor::new(&self.compression).compress(data, &mut object, 0.0);
            object.len()
        } else {
            let random = self.context.world.random;
            let sealed = seal_object(&self.crypto, nonces, random, &self.compression, data)?;
            self.repository.put(&id, sealed.as_bytes())?;
            sealed.len()
        };
        self.inventory.add(id);
        Ok(ChunkRef {
            id,
            size: data.len() as u32,
            csize: csize as u32,
        })
    }

    fn finish(&mut self, catalogue: &mut Catalogue) -> Result<Verdict, EngineError> {
        if self.options.repair {
            self.info("Writing Manifest.");
            catalogue.write(self.repository, self.context.world, &self.compression)?;
            self.info("Committing repo.");
            self.repository.commit(None)?;
        }
        if self.problems {
            let text = "Archive consistency check complete, problems found.";
            self.log(Level::Error, text);
            return Ok(Verdict::Problems);
        }
        self.info("Archive consistency check complete, no problems found.");
        Ok(Verdict::Sound)
    }
}

/// Tells whether a manifest is damaged, as opposed to unreadable or of a kind that is not known.
fn is_damage(error: &EngineError) -> bool {
    match error {
        EngineError::Repository(error) => {
            matches!(error, RepositoryError::Integrity(_))
        }
        EngineError::Object(error) => error.is_damage(),
        EngineError::Security(error) => matches!(
            error,
            SecurityError::TamRequired
                | SecurityError::TamInvalid
                | SecurityError::TamUnsupportedSuite(_)
        ),
        EngineError::Manifest(error) => {
            !matches!(error, ManifestError::Future | ManifestError::Version(_))
        }
        _ => false,
    }
}

/// Tells of damage as opposed to a failure to read, which ends the check.
///
/// A segment file that is gone is a failure here: the check of the repository comes first and
/// knows what to do about it, and an archive is not given up while a disk is merely not mounted.
fn damage_or_failure(error: ObjectError) -> Result<ObjectError, EngineError> {
    let gone = matches!(
        error,
        ObjectError::Repository(RepositoryError::SegmentMissing(_))
    );
    match error.is_damage() && !gone {
        true => Ok(error),
        false => Err(error.into()),
    }
}

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
