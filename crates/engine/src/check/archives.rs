//! Walking all archives: is everything there that they name?
//!
//! Item streams are fetched and opened ahead on all cores. An archive without a flaw is passed on
//! the quick path here: its chunks are noted as needed, and that is all. The first flaw, whatever
//! it is, sends it through [`super::items`] from the beginning.
//!
//! The item streams of consecutive archives are mostly the same chunks. What a chunk says follows
//! from its content and the beginning of an item that the chunk before left (its *carry*): a chunk
//! that was passed before with the same carry needs not be read again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::crypto::Crypto;
use fastness_format::crypto::tam::{self, Context};
use fastness_format::id::ChunkId;
use fastness_format::item::{ItemDecoder, ItemRef};
use fastness_format::manifest::{ArchiveEntry, Manifest};
use fastness_repository::{MAX_VALUE_BYTES, Repository};

use super::inventory::Inventory;
use super::{Checker, SortKey, damage_or_failure, lossy};
use crate::catalogue::Catalogue;
use crate::error::EngineError;
use crate::event::Event;
use crate::keys::NonceAllocator;
use crate::objects::{ObjectError, open_object, read_object};
use crate::parallel::ordered;
use crate::security::{Authenticity, requirement, verify_archive};

const PROGRESS: &str = "check.rebuild_refcounts";
/// Chunks of an item stream that a thread fetches at a time.
const GROUP: usize = 4;
/// Longest carry that is remembered.
const MAX_CARRY_BYTES: usize = 16 * 1024;

/// What the walk over the archives remembers.
#[derive(Default)]
struct Known {
    /// Without a flaw: chunks of item streams, by the carry before, and the carry that they leave.
    passed: HashMap<(u32, ChunkId), u32>,
    /// All chunks in `passed`.
    chunks: HashSet<ChunkId>,
    carries: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u32>,
}

impl Known {
    fn number(&mut self, carry: &[u8]) -> Option<u32> {
        if carry.len() > MAX_CARRY_BYTES {
            return None;
        }
        if let Some(number) = self.numbers.get(carry) {
            return Some(*number);
        }
        let number = u32::try_from(self.carries.len()).ok()?;
        self.carries.push(carry.into());
        self.numbers.insert(carry.into(), number);
        Some(number)
    }

    fn decoder_after(&self, carry: u32) -> ItemDecoder {
        let mut decoder = ItemDecoder::new();
        let carry = self.carries.get(carry as usize);
        decoder.feed(carry.map(|carry| &**carry).unwrap_or_default());
        decoder
    }
}

/// Why the quick path ended.
enum Ended {
    /// There is something to be looked at closely.
    Flaw,
    Failed(EngineError),
}

/// What is between two chunks of a stream.
enum Between {
    Carry(u32),
    Long(Box<ItemDecoder>),
}

/// An archive whose metadata is sound.
pub(super) struct Opened {
    pub(super) name: Vec<u8>,
    entry: ArchiveEntry,
    pub(super) metadata: ArchiveMetadata,
    authenticity: Authenticity,
}

impl Checker<'_> {
    /// Walks the archives that are to be checked.
    pub(super) fn check_references(
        &mut self,
        catalogue: &mut Catalogue,
    ) -> Result<(), EngineError> {
        let Some(chosen) = self.choose(&catalogue.manifest) else {
            return Ok(());
        };
        let nonces = Arc::clone(&catalogue.nonces);
        let mut known = Known::default();
        // The first number is that of no carry at all.
        known.number(&[]);
        let total = chosen.len();
        for (at, (name, entry)) in chosen.into_iter().enumerate() {
            self.stop_if_interrupted()?;
            let monitor = self.context.keys.monitor;
            monitor.event(Event::Percent {
                msgid: PROGRESS,
                label: "Checking archives",
                current: at as u64,
                total: total as u64,
                path: None,
            });
            self.info(format!(
                "Analyzing archive {} ({}/{total})",
                lossy(&name),
                at + 1
            ));
            match self.open_archive(&name, entry)? {
                Some(archive) => {
                    self.check_archive(archive, &mut catalogue.manifest, &nonces, &mut known)?;
                }
                None => drop(catalogue.manifest.archives.remove(&name)),
            }
        }
        let monitor = self.context.keys.monitor;
        monitor.event(Event::PercentFinished { msgid: PROGRESS });
        Ok(())
    }

    /// Picks and sorts the archives; none if the one that was named does not exist.
    fn choose(&mut self, manifest: &Manifest) -> Option<Vec<(Vec<u8>, ArchiveEntry)>> {
        let options = self.options;
        if let Some(name) = &options.archive {
            return match manifest.archives.get(name) {
                Some(entry) => Some(vec![(name.clone(), entry.clone())]),
                None => {
                    self.problem(format!("Archive '{}' not found.", lossy(name)));
                    None
                }
            };
        }
        let matches = |name: &[u8]| {
            let glob = options.glob.as_ref();
            glob.is_none_or(|(_, glob)| glob.matches(name))
        };
        let mut chosen: Vec<_> = manifest
            .archives
            .iter()
            .filter(|(name, _)| matches(name))
            .map(|(name, entry)| (name.clone(), entry.clone()))
            .collect();
        chosen.sort_by(|(name, entry), (other_name, other)| {
            let compare = |key: &SortKey| match key {
                SortKey::Timestamp => moment(entry).cmp(&moment(other)),
                SortKey::Name => name.cmp(other_name),
                SortKey::Id => entry.id.cmp(&other.id),
            };
            let orders = options.sort_by.iter().map(compare);
            orders.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
        if let Some(first) = options.first {
            chosen.truncate(first);
        } else if let Some(last) = options.last {
            chosen.drain(..chosen.len().saturating_sub(last));
        }
        self.warn_of_few(chosen.len());
        Some(chosen)
    }

    fn warn_of_few(&self, found: usize) {
        if let Some((glob, _)) = &self.options.glob
            && found == 0
        {
            self.warning(format!(
                "--glob-archives {glob} does not match any archives"
            ));
        }
        let wanted = [("first", self.options.first), ("last", self.options.last)];
        for (option, wanted) in wanted {
            if let Some(wanted) = wanted.filter(|wanted| found < *wanted) {
                self.warning(format!(
                    "--{option} {wanted} archives: only found {found} archives"
                ));
            }
        }
    }

    /// Reads and authenticates the metadata of an archive; tells what is wrong with it if it has
    /// to be given up.
    fn open_archive(
        &mut self,
        name: &[u8],
        entry: ArchiveEntry,
    ) -> Result<Option<Opened>, EngineError> {
        let id = entry.id;
        if !self.inventory.contains(&id) {
            self.problem(format!("Archive metadata block {id} is missing!"));
            return Ok(None);
        }
        self.may_be_superseded(&id);
        let data = match read_object(&*self.repository, &self.crypto, &id) {
            Ok(data) => data,
            Err(error) => {
                let error = damage_or_failure(error)?;
                self.problem(format!("Archive metadata block {id} is corrupted: {error}"));
                return Ok(None);
            }
        };
        let verified = verify_archive(
            &self.crypto,
            &data,
            name,
            requirement(&self.crypto),
            self.context.wrong_tag,
            self.context.keys.monitor,
        );
        let authenticity = match verified {
            Ok(authenticity) => authenticity,
            Err(error) => {
                self.problem(format!(
                    "Archive TAM authentication issue for archive {}: {error}",
                    lossy(name)
                ));
                self.problem(match self.options.repair {
                    true => "This archive will be *removed* from the manifest! It will be deleted.",
                    false => "This archive would be *removed* / *deleted* when using --repair!",
                });
                return Ok(None);
            }
        };
        // Authentic, but made by some other program: nothing of it may be touched.
        let metadata = ArchiveMetadata::decode(&data).map_err(|source| EngineError::Archive {
            archive: lossy(name).into_owned(),
            source,
        })?;
        Ok(Some(Opened {
            name: name.to_vec(),
            entry,
            metadata,
            authenticity,
        }))
    }

    /// Notes an object that is no orphan, whether it is needed in the end or not.
    pub(super) fn may_be_superseded(&mut self, id: &ChunkId) {
        if !self.inventory.is_referenced(id) {
            self.superseded.insert(*id);
        }
    }

    fn check_archive(
        &mut self,
        archive: Opened,
        manifest: &mut Manifest,
        nonces: &NonceAllocator,
        known: &mut Known,
    ) -> Result<(), EngineError> {
        let _stage = tracing::trace_span!("check_archive").entered();
        let kept = if self.pass_quickly(&archive.metadata.items, manifest, known)? {
            None
        } else {
            self.check_items(&archive, &mut manifest.item_keys, nonces)?
        };
        let Some(items) = kept else {
            // It stays as it is.
            self.inventory.reference(&archive.entry.id);
            for id in &archive.metadata.items {
                self.inventory.reference(id);
            }
            return Ok(());
        };
        for id in &archive.metadata.items {
            self.may_be_superseded(id);
        }
        let id = self.store_metadata(&archive, items, nonces)?;
        let time = archive.entry.time;
        manifest
            .archives
            .insert(archive.name, ArchiveEntry { id, time });
        Ok(())
    }

    /// Writes the metadata of a repaired archive.
    fn store_metadata(
        &mut self,
        archive: &Opened,
        items: Vec<ChunkId>,
        nonces: &NonceAllocator,
    ) -> Result<ChunkId, EngineError> {
        let metadata = ArchiveMetadata {
            items,
            ..archive.metadata.clone()
        };
        // With the old salt, so that an archive that did not change keeps its id.
        let salt = match archive.authenticity {
            Authenticity::Verified(salt) => salt,
            Authenticity::Unverified => {
                let mut salt = [0; tam::SALT_LEN];
                let random = self.context.world.random;
                random.fill(&mut salt).map_err(EngineError::Random)?;
                salt
            }
        };
        let encoded = metadata.encode();
        let data = tam::authenticate(&self.crypto, &encoded, Context::Archive, &salt);
        let data = data.map_err(|error| {
            EngineError::Other(format!("cannot authenticate metadata: {error}"))
        })?;
        if data.len() > MAX_VALUE_BYTES {
            let name = lossy(&archive.name).into_owned();
            return Err(EngineError::ArchiveTooBig(name));
        }
        Ok(self.store(nonces, &data)?.id)
    }

    /// Passes an item stream in which everything is as it should be; false at the first flaw.
    fn pass_quickly(
        &mut self,
        ids: &[ChunkId],
        manifest: &Manifest,
        known: &mut Known,
    ) -> Result<bool, EngineError> {
        if !ids.iter().all(|id| self.inventory.contains(id)) {
            return Ok(false);
        }
        let (repository, crypto) = (&*self.repository, &*self.crypto);
        let mut wanted = HashSet::new();
        let tasks: Vec<(ChunkId, bool)> = ids
            .iter()
            .map(|id| (*id, !known.chunks.contains(id) && wanted.insert(*id)))
            .collect();
        drop(wanted);
        let new = tasks.iter().filter(|(_, fetch)| *fetch).map(|(id, _)| *id);
        let new: Vec<ChunkId> = new.collect();
        repository.prefetch(&new);
        let threads = if new.len() <= GROUP {
            1
        } else {
            self.options.threads
        };
        let mut walk = Walk {
            repository,
            crypto,
            known,
            inventory: &mut self.inventory,
            item_keys: &manifest.item_keys,
            between: Between::Carry(0),
        };
        let walked = ordered(
            threads,
            3 * threads,
            tasks.chunks(GROUP),
            |tasks| {
                let fetched = tasks
                    .iter()
                    .map(|(id, fetch)| fetch.then(|| fetch_object(repository, crypto, id)));
                (tasks, fetched.collect::<Vec<_>>())
            },
            |(tasks, fetched)| {
                let mut chunks = tasks.iter().zip(fetched);
                chunks.try_for_each(|((id, _), data)| walk.pass(id, data))
            },
        );
        match walked {
            Ok(()) => Ok(match walk.between {
                Between::Carry(carry) => carry == 0,
                Between::Long(decoder) => decoder.pending().is_empty(),
            }),
            Err(Ended::Flaw) => Ok(false),
            Err(Ended::Failed(error)) => Err(error),
        }
    }
}

/// Reads one chunk of an item stream.
pub(super) fn fetch_object(
    repository: &dyn Repository,
    crypto: &Crypto,
    id: &ChunkId,
) -> Result<Vec<u8>, ObjectError> {
    let stored = repository.get(id)?;
    let mut data = Vec::new();
    open_object(crypto, id, &stored, &mut data)?;
    Ok(data)
}

/// The start of an archive, comparable.
fn moment(entry: &ArchiveEntry) -> Option<i64> {
    fastness_format::timestamp::parse(&entry.time)
}

/// The quick walk over one item stream.
struct Walk<'a> {
    repository: &'a dyn Repository,
    crypto: &'a Crypto,
    known: &'a mut Known,
    inventory: &'a mut Inventory,
    item_keys: &'a BTreeSet<Vec<u8>>,
    between: Between,
}

impl Walk<'_> {
    /// Passes one chunk, with its data if it was fetched ahead.
    fn pass(
        &mut self,
        id: &ChunkId,
        fetched: Option<Result<Vec<u8>, ObjectError>>,
    ) -> Result<(), Ended> {
        let key = match self.between {
            Between::Carry(carry) => Some((carry, *id)),
            Between::Long(_) => None,
        };
        if let Some(leaves) = key.and_then(|key| self.known.passed.get(&key)) {
            self.between = Between::Carry(*leaves);
            return Ok(());
        }
        let data = fetched.unwrap_or_else(|| fetch_object(self.repository, self.crypto, id));
        let data = data.map_err(|error| match damage_or_failure(error) {
            Ok(_) => Ended::Flaw,
            Err(failure) => Ended::Failed(failure),
        })?;
        let mut decoder = match std::mem::replace(&mut self.between, Between::Carry(0)) {
            Between::Carry(carry) => Box::new(self.known.decoder_after(carry)),
            Between::Long(decoder) => decoder,
        };
        decoder.feed(&data);
        while let Some(item) = decoder.next_ref() {
            let item = item.map_err(|_| Ended::Flaw)?;
            if !is_sound(&item, self.item_keys, self.inventory) {
                return Err(Ended::Flaw);
            }
        }
        match self.known.number(decoder.pending()) {
            Some(leaves) => {
                if let Some(key) = key {
                    self.known.passed.insert(key, leaves);
                    self.known.chunks.insert(*id);
                }
                self.between = Between::Carry(leaves);
            }
            None => self.between = Between::Long(decoder),
        }
        Ok(())
    }
}

/// Tells whether an item and all its chunks are as they should be, and notes the chunks as needed.
fn is_sound(item: &ItemRef<'_>, item_keys: &BTreeSet<Vec<u8>>, inventory: &mut Inventory) -> bool {
    if item.mtime.is_none() || item.chunks_healthy.is_some() {
        return false;
    }
    if item.unknown().any(|(key, _)| !item_keys.contains(key)) {
        return false;
    }
    let Some(chunks) = item.chunks else {
        return true;
    };
    let mut size = 0u64;
    for chunk in chunks {
        if !inventory.reference(&chunk.id) {
            return false;
        }
        size += u64::from(chunk.size);
    }
    item.size.is_none_or(|stated| stated == size)
}
