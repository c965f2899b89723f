//! Counting references anew from the archives, when there is no chunk table to be trusted.
//!
//! An archive refers to its metadata, to the chunks of its item stream, and to the chunks of each
//! file in it, once per occurrence. The item streams of successive archives are mostly the same
//! chunks, so each is decoded once: what a chunk of a stream says follows from its content and the
//! beginning of an item that the chunk before left incomplete (its *carry*). Chunk and carry
//! together are a [`Node`]. How often archives pass each node is found by walking all streams;
//! nodes passed more than once are read a second time at the end, to count the rest at once.
//!
//! Memory: one number per item chunk of each archive, the short carries, and a few chunks under
//! way per thread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, bounded};
use fastness_format::archive::{ArchiveError, ArchiveMetadata};
use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, ItemDecoder, ItemError};
use fastness_repository::Repository;

use super::ChunkTable;
use crate::objects::{ObjectError, open_object};

/// Longest carry that is remembered. Items with longer chunk lists are rare; the chunks they are
/// in are decoded each time.
const MAX_CARRY_BYTES: usize = 16 * 1024;

/// Chunks a thread may be ahead.
const AHEAD: usize = 3;

/// Why references cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// An object cannot be read, or is damaged.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A thread that reads objects died.
    #[error("counting references was abandoned")]
    Abandoned,
    /// An archive's metadata is damaged.
    #[error("archive {id} cannot be read")]
    Archive {
        /// Id of the metadata.
        id: ChunkId,
        /// What is wrong.
        #[source]
        source: ArchiveError,
    },
    /// An archive's item stream is damaged.
    #[error("items of archive {archive} cannot be read")]
    Items {
        /// Id of the archive's metadata.
        archive: ChunkId,
        /// What is wrong.
        #[source]
        source: ItemError,
    },
}

/// Makes the chunk table of a repository from all its archives, given by the ids of their
/// metadata. `progress` is told how many archives are done.
///
/// # Errors
/// When anything an archive consists of, but for its files' content, is missing or damaged: then
/// no count can be trusted.
pub fn rebuild(
    repository: &dyn Repository,
    crypto: &Crypto,
    archives: &[ChunkId],
    threads: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<ChunkTable, SyncError> {
    let _stage = tracing::trace_span!("count_all_chunks").entered();
    let mut table = ChunkTable::new();
    // Growing is cheap but not free; most objects are chunks that archives refer to.
    table.reserve(repository.len().unwrap_or_default());
    let count = |chunk: &ChunkRef, references: u32| table.add(chunk, references);
    count_references(repository, crypto, archives, threads, &count, progress)?;
    Ok(table)
}

/// Calls `count` with every chunk that the archives refer to and a number of references; the
/// numbers of one chunk add up to all references to it. Lengths of 0 are unknown. Calls come from
/// several threads at once.
///
/// # Errors
/// As [`rebuild`]; `count` was called for some chunks then.
pub fn count_references(
    repository: &dyn Repository,
    crypto: &Crypto,
    archives: &[ChunkId],
    threads: usize,
    count: &(dyn Fn(&ChunkRef, u32) + Sync),
    progress: &mut dyn FnMut(usize),
) -> Result<(), SyncError> {
    let objects = Objects { repository, crypto };
    let streams = Streams::collect(&objects, archives, count)?;
    let threads = threads.max(1);
    repository.prefetch(&streams.ids);
    let mut walk = Walk {
        objects: &objects,
        streams: &streams,
        count,
        nodes: HashMap::new(),
        carries: vec![Box::default()],
        carry_numbers: HashMap::from([(Box::default(), 0)]),
        fetched: 0,
    };
    std::thread::scope(|scope| {
        let inboxes: Vec<Receiver<Result<Object, SyncError>>> = (0..threads)
            .map(|thread| {
                let (outbox, inbox) = bounded(AHEAD);
                let (objects, ids) = (&objects, streams.ids.iter());
                scope.spawn(move || {
                    for id in ids.skip(thread).step_by(threads) {
                        if outbox.send(objects.read(id)).is_err() {
                            break;
                        }
                    }
                });
                inbox
            })
            .collect();
        let walked = walk.all(&inboxes, progress);
        // Threads that are ahead end when nobody receives any more.
        drop(inboxes);
        walked
    })?;
    walk.count_the_rest(threads)
}

/// Where objects come from.
struct Objects<'a> {
    repository: &'a dyn Repository,
    crypto: &'a Crypto,
}

/// The plaintext of an object, and how long it is stored.
struct Object {
    data: Vec<u8>,
    csize: u32,
}

impl Objects<'_> {
    fn read(&self, id: &ChunkId) -> Result<Object, SyncError> {
        let stored = self.repository.get(id).map_err(ObjectError::from)?;
        let mut data = Vec::new();
        open_object(self.crypto, id, &stored, &mut data)?;
        Ok(Object {
            data,
            csize: stored.len() as u32,
        })
    }
}

/// The item streams of all archives.
struct Streams {
    /// Every chunk of an item stream, once, in the order of the first occurrences.
    ids: Vec<ChunkId>,
    /// Per archive: its id and the numbers of its chunks in `ids`.
    archives: Vec<(ChunkId, Vec<u32>)>,
}

impl Streams {
    /// Reads the metadata of the archives, and counts the references to it.
    fn collect(
        objects: &Objects<'_>,
        archives: &[ChunkId],
        count: &dyn Fn(&ChunkRef, u32),
    ) -> Result<Self, SyncError> {
        let mut streams = Self {
            ids: Vec::new(),
            archives: Vec::with_capacity(archives.len()),
        };
        let mut numbers = HashMap::new();
        objects.repository.prefetch(archives);
        for id in archives {
            let object = objects.read(id)?;
            count(&object.reference(id), 1);
            let metadata = ArchiveMetadata::decode(&object.data)
                .map_err(|source| SyncError::Archive { id: *id, source })?;
            let chunks = metadata.items.iter().map(|chunk| {
                *numbers.entry(*chunk).or_insert_with(|| {
                    streams.ids.push(*chunk);
                    streams.ids.len() as u32 - 1
                })
            });
            let chunks = chunks.collect();
            streams.archives.push((*id, chunks));
        }
        Ok(streams)
    }

    fn id(&self, chunk: u32) -> ChunkId {
        let id = self.ids.get(chunk as usize);
        id.copied().unwrap_or(ChunkId::MANIFEST)
    }
}

impl Object {
    fn reference(&self, id: &ChunkId) -> ChunkRef {
        ChunkRef {
            id: *id,
            size: self.data.len() as u32,
            csize: self.csize,
        }
    }
}

/// A chunk of an item stream together with what the one before left over.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Number of the carry it leaves, if that is short enough to have one.
    leaves: Option<u32>,
    /// How often archives pass it.
    passes: u32,
}

/// What is between two chunks of a stream.
enum Between {
    /// The carry with this number. Number 0 is the empty one.
    Carry(u32),
    /// A longer one, in a decoder.
    Long(Box<ItemDecoder>),
}

/// The walk over all streams.
struct Walk<'a> {
    objects: &'a Objects<'a>,
    streams: &'a Streams,
    count: &'a (dyn Fn(&ChunkRef, u32) + Sync),
    /// By number of the carry and number of the chunk.
    nodes: HashMap<(u32, u32), Node>,
    carries: Vec<Box<[u8]>>,
    carry_numbers: HashMap<Box<[u8]>, u32>,
    /// How many of the chunks were met, and so received.
    fetched: usize,
}

impl Walk<'_> {
    fn all(
        &mut self,
        inboxes: &[Receiver<Result<Object, SyncError>>],
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), SyncError> {
        let streams = self.streams;
        for (done, (archive, chunks)) in streams.archives.iter().enumerate() {
            let mut between = Between::Carry(0);
            for chunk in chunks {
                between = self.pass(archive, between, *chunk, inboxes)?;
            }
            let source = match between {
                Between::Carry(0) => None,
                Between::Carry(_) => Some(ItemError::Truncated { offset: 0 }),
                Between::Long(decoder) => decoder.finish().err(),
            };
            if let Some(source) = source {
                let archive = *archive;
                return Err(SyncError::Items { archive, source });
            }
            progress(done + 1);
        }
        Ok(())
    }

    /// Passes one chunk of an archive and returns what it leaves.
    fn pass(
        &mut self,
        archive: &ChunkId,
        before: Between,
        chunk: u32,
        inboxes: &[Receiver<Result<Object, SyncError>>],
    ) -> Result<Between, SyncError> {
        let id = self.streams.id(chunk);
        let first_time = chunk as usize == self.fetched;
        let key = match before {
            Between::Carry(carry) => Some((carry, chunk)),
            Between::Long(_) => None,
        };
        let known = key.and_then(|key| self.nodes.get_mut(&key));
        if let Some(node) = known
            && let Some(leaves) = node.leaves
        {
            node.passes = node.passes.saturating_add(1);
            (self.count)(&unknown_lengths(id), 1);
            return Ok(Between::Carry(leaves));
        }
        let object = if first_time {
            self.fetched += 1;
            receive(inboxes, chunk as usize)?
        } else {
            self.objects.read(&id)?
        };
        (self.count)(&object.reference(&id), 1);
        let mut decoder = match before {
            Between::Long(decoder) => decoder,
            Between::Carry(carry) => Box::new(self.decoder_after(carry)),
        };
        decode(&mut decoder, &object.data, self.count, 1).map_err(|source| SyncError::Items {
            archive: *archive,
            source,
        })?;
        let leaves = self.carry_number(decoder.pending());
        if let Some(key) = key {
            self.nodes.insert(key, Node { leaves, passes: 1 });
        }
        Ok(match leaves {
            Some(carry) => Between::Carry(carry),
            None => Between::Long(decoder),
        })
    }

    fn decoder_after(&self, carry: u32) -> ItemDecoder {
        let mut decoder = ItemDecoder::new();
        let carry = self.carries.get(carry as usize);
        decoder.feed(carry.map(|carry| &**carry).unwrap_or_default());
        decoder
    }

    fn carry_number(&mut self, carry: &[u8]) -> Option<u32> {
        if carry.len() > MAX_CARRY_BYTES {
            return None;
        }
        if let Some(number) = self.carry_numbers.get(carry) {
            return Some(*number);
        }
        let number = u32::try_from(self.carries.len()).ok()?;
        self.carries.push(carry.into());
        self.carry_numbers.insert(carry.into(), number);
        Some(number)
    }

    /// Counts the passes after the first of all nodes.
    fn count_the_rest(self, threads: usize) -> Result<(), SyncError> {
        let again: Vec<((u32, u32), u32)> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.passes > 1)
            .map(|(key, node)| (*key, node.passes - 1))
            .collect();
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), SyncError> {
            while let Some(((carry, chunk), passes)) =
                again.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let id = self.streams.id(*chunk);
                let object = self.objects.read(&id)?;
                let mut decoder = self.decoder_after(*carry);
                // It was decoded before; its archive is not known any more.
                decode(&mut decoder, &object.data, self.count, *passes).map_err(|source| {
                    SyncError::Items {
                        archive: id,
                        source,
                    }
                })?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.min(again.len()))
                .map(|_| scope.spawn(work))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }
}

fn receive(
    inboxes: &[Receiver<Result<Object, SyncError>>],
    chunk: usize,
) -> Result<Object, SyncError> {
    let inbox = inboxes.get(chunk % inboxes.len().max(1));
    match inbox.and_then(|inbox| inbox.recv().ok()) {
        Some(object) => object,
        None => Err(SyncError::Abandoned),
    }
}

fn unknown_lengths(id: ChunkId) -> ChunkRef {
    ChunkRef {
        id,
        size: 0,
        csize: 0,
    }
}

/// Takes all whole items out of a chunk and counts what they refer to.
fn decode(
    decoder: &mut ItemDecoder,
    data: &[u8],
    count: &dyn Fn(&ChunkRef, u32),
    references: u32,
) -> Result<(), ItemError> {
    decoder.feed(data);
    while let Some(item) = decoder.next_ref() {
        for chunk in item?.chunks.into_iter().flatten() {
            count(&chunk, references);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
