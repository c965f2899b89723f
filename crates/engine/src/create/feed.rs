//! Archives made of items that do not come from a file system: tar streams, other archives.
//!
//! The caller's thread hands items over one after the other, and gives the content of files when it
//! is asked for; it is cut here and taken through the stages by the workers. Small files share a
//! slab, a big one takes as many as it needs. Items join the stream in the order in which they were
//! handed over.

mod cargo;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::chunker::ChunkerParams;
use fastness_format::compress::CompressionSpec;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, Item};

use super::FileChunker;
use super::claims::Claims;
use super::crew::{Crew, Post, Writable, with_crew};
use super::items::ItemStream;
use super::line::Loan;
use super::read::Cutter;
use super::rewrite::Rewriter;
use super::run::checkpoint_name;
use super::stages::{Bench, Store, StoredChunk};
use crate::cache::chunks::{ChunkTable, Released};
use crate::catalogue::Catalogue;
use crate::error::EngineError;
use crate::event::{ArchiveStats, Event, Level, Monitor};
use crate::session::Session;
use crate::tasks::{Priority, Slot, lock};
use crate::world::World;

pub use cargo::Carrier;
use cargo::follow_healthy;

/// A slab with so many bytes to be stored is sent off, if not more is needed for the file at hand.
const SEND_BYTES: usize = 2 << 20;
/// Chunks that are compressed anew by one task.
const GROUP: usize = 4;
/// Bytes asked for at a time.
const READ_BYTES: usize = 1 << 20;
/// Things that may wait for content before them.
const MOST_WAITING: usize = 4096;

/// How items are made an archive.
pub struct FeedOptions<'a> {
    /// Name of the archive that is going to be made.
    pub name: &'a [u8],
    /// How content is cut.
    pub chunker: ChunkerParams,
    /// How chunks are compressed.
    pub compression: &'a CompressionSpec,
    /// Time between checkpoints; none for no checkpoints.
    pub checkpoint_interval: Option<Duration>,
    /// Number of worker threads, at least 1.
    pub threads: usize,
    /// Whether items keep the size that they have.
    pub keeps_sizes: bool,
    /// Compresses chunks anew that are there already.
    pub rewriter: Option<&'a Rewriter>,
    /// Brings chunks over from elsewhere.
    pub carrier: Option<&'a dyn Carrier>,
    /// Makes the metadata of checkpoints.
    pub metadata: &'a Describe<'a>,
}

/// Makes the metadata of an archive from its name, its item stream and its sums.
pub type Describe<'a> = dyn Fn(&[u8], Vec<ChunkId>, ArchiveStats) -> ArchiveMetadata + 'a;

/// What was fed.
#[derive(Debug)]
pub struct Fed {
    /// The item stream.
    pub items: Vec<ChunkId>,
    /// Sums over the content.
    pub stats: ArchiveStats,
}

/// Gives the next bytes of a file: appends at most so many, none at its end.
pub type Content<'a> = dyn FnMut(&mut Vec<u8>, usize) -> Result<usize, EngineError> + 'a;

/// Lets `produce` feed an archive. The chunk table has all references afterwards; the archive
/// itself is not stored.
///
/// # Errors
/// That of `produce`, or of storing; then the chunk table is of no use any more.
pub fn feed(
    session: &mut Session,
    chunks: &mut ChunkTable,
    options: &FeedOptions<'_>,
    world: World<'_>,
    monitor: &dyn Monitor,
    produce: impl FnOnce(&mut Feed<'_, '_>) -> Result<(), EngineError>,
) -> Result<Fed, EngineError> {
    let claims = Claims::new(std::mem::take(chunks));
    let (crypto, nonces) = (Arc::clone(&session.crypto), Arc::clone(&session.nonces));
    let post = Post::default();
    let compression = options.compression;
    let store = Store::new(&crypto, &nonces, &claims, world.random, &post, compression);
    let chunker = FileChunker::new(options.chunker, crypto.chunk_seed());
    let checkpoint = checkpoint_name(session, options.name);
    let (catalogue, repository) = session.split();
    let repository: Writable<'_> = Mutex::new(Some(repository));
    let longest = options.chunker.max_chunk();
    let threads = options.threads.max(1);
    let fed = with_crew(&store, &post, &repository, threads, longest, |crew| {
        let mut feed = Feed {
            crew,
            bench: crew.bench(),
            rewriter: options.rewriter,
            carrier: options.carrier,
            cargo: Vec::new(),
            cargo_bytes: 0,
            keeps_sizes: options.keeps_sizes,
            chunker: &chunker,
            slab: Vec::new(),
            cuts: Vec::new(),
            groups: VecDeque::new(),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            stream: ItemStream::new(crypto.chunk_seed()),
            stats: ArchiveStats::default(),
            current: None,
            checkpoints: Checkpoints {
                options,
                catalogue,
                world,
                name: checkpoint,
                last: world.clock.monotonic(),
            },
            monitor,
        };
        produce(&mut feed)?;
        feed.send()?;
        feed.settle(true)?;
        let items = feed.stream.flush(crew)?.to_vec();
        crew.wait_for_writer()?;
        Ok(Fed {
            items,
            stats: feed.stats,
        })
    });
    *chunks = claims.table;
    fed
}

/// One thing that waits for content before it.
enum Waiting {
    /// An item without content of its own, or whose content is there already.
    Item(Item),
    /// An item whose content is the next so many chunks.
    File(Item, usize, Parts),
    /// An item whose content is the next so many chunks, which it names as they are elsewhere.
    Carried(Item, usize),
}

/// What checkpoints already archived of a file that is being read.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    count: u64,
    chunks: usize,
}

/// The file that is being read.
struct Current {
    item: Item,
    /// Chunks that were cut so far.
    chunks: usize,
    parts: Parts,
}

/// Takes items and content.
pub struct Feed<'f, 'env> {
    crew: &'f Crew<'env>,
    bench: Bench<'env>,
    rewriter: Option<&'env Rewriter>,
    carrier: Option<&'env dyn Carrier>,
    /// Chunks to be carried over that no task has yet.
    cargo: Vec<ChunkRef>,
    cargo_bytes: usize,
    keeps_sizes: bool,
    chunker: &'env FileChunker,
    /// Content that was read: first what is cut, then the beginning of the next chunk.
    slab: Vec<u8>,
    cuts: Vec<Range<usize>>,
    groups: VecDeque<Arc<Slot<Vec<StoredChunk>>>>,
    /// Chunks that are stored but not yet part of an item, in order.
    ready: VecDeque<StoredChunk>,
    waiting: VecDeque<Waiting>,
    stream: ItemStream,
    /// Sums over what was accepted.
    pub stats: ArchiveStats,
    current: Option<Current>,
    checkpoints: Checkpoints<'f>,
    monitor: &'f dyn Monitor,
}

impl<'env> Feed<'_, 'env> {
    /// Takes an item without content of its own.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when the operation failed.
    pub fn item(&mut self, item: Item) -> Result<(), EngineError> {
        self.waiting.push_back(Waiting::Item(item));
        self.look_around()
    }

    /// Takes an item with content that is in the repository already.
    ///
    /// # Errors
    /// When a chunk of it is not there; [`EngineError::Abandoned`] when the operation failed.
    pub fn known(&mut self, item: Item) -> Result<(), EngineError> {
        let table = &self.crew.store.claims.table;
        for chunk in item.chunks.iter().flatten() {
            let entry = table.reference(&chunk.id);
            let entry = entry.ok_or(EngineError::MissingReference(chunk.id))?;
            self.stats.original_bytes += u64::from(chunk.size);
            self.stats.compressed_bytes += u64::from(entry.csize);
        }
        self.stats.files += 1;
        self.item(item)
    }

    /// Takes an item with content that is in the repository already, and lets the rewriter look at
    /// it.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when the operation failed.
    pub fn rewritten(&mut self, mut item: Item) -> Result<(), EngineError> {
        let Some(rewriter) = self.rewriter else {
            return self.known(item);
        };
        let chunks = item.chunks.take().unwrap_or_default();
        for group in chunks.chunks(GROUP) {
            self.wait_for_groups()?;
            let slot = Arc::new(Slot::default());
            self.groups.push_back(Arc::clone(&slot));
            let group = group.to_vec();
            self.crew.spawn(Priority::Urgent, move |crew, _| {
                match rewriter.again(crew, &group) {
                    Ok(stored) => slot.put(stored),
                    Err(error) => crew.fail(error),
                }
            });
        }
        let waiting = Waiting::File(item, chunks.len(), Parts::default());
        self.waiting.push_back(waiting);
        self.look_around()
    }

    /// Waits until few groups are under way: what they read is bounded by that.
    fn wait_for_groups(&mut self) -> Result<(), EngineError> {
        let crew = self.crew;
        while self.groups.len() > 2 * crew.threads {
            let slot = self.groups.pop_front();
            let stored = slot.and_then(|slot| slot.take(|| crew.failed()));
            self.ready.extend(stored.ok_or(EngineError::Abandoned)?);
        }
        Ok(())
    }

    /// Returns the repository, for a moment.
    pub fn repository(&self) -> &'env Writable<'env> {
        self.crew.repository
    }

    /// Takes a file and reads its content to the end.
    ///
    /// # Errors
    /// Those of `content`; [`EngineError::Abandoned`] when the operation failed.
    pub fn file(&mut self, item: Item, content: &mut Content<'_>) -> Result<(), EngineError> {
        self.current = Some(Current {
            item,
            chunks: 0,
            parts: Parts::default(),
        });
        let mut cutter = Cutter::new(self.chunker);
        let mut begin = self.slab.len();
        let mut end = false;
        while !end {
            if self.slab.capacity() == 0 {
                self.slab = self.take_slab()?;
            }
            self.slab.reserve_exact(READ_BYTES);
            end = content(&mut self.slab, READ_BYTES)? == 0;
            begin = self.cut(&mut cutter, begin, end);
            if !end && begin >= SEND_BYTES {
                begin = self.send_but(begin)?;
                self.settle(false)?;
                self.look_at_the_clock()?;
            }
        }
        if let Some(Current {
            item,
            chunks,
            parts,
        }) = self.current.take()
        {
            self.waiting.push_back(Waiting::File(item, chunks, parts));
        }
        if self.slab.len() >= SEND_BYTES {
            self.send()?;
        }
        self.look_around()
    }

    /// Cuts what was read from `begin` on; returns where the next chunk begins.
    fn cut(&mut self, cutter: &mut Cutter<'_>, mut begin: usize, end: bool) -> usize {
        while let Some(data) = self.slab.get(begin..).filter(|data| !data.is_empty()) {
            let Some(len) = cutter.next_cut(data, end) else {
                break;
            };
            self.cuts.push(begin..begin + len);
            begin += len;
            if let Some(current) = &mut self.current {
                current.chunks += 1;
            }
        }
        begin
    }

    fn take_slab(&mut self) -> Result<Vec<u8>, EngineError> {
        let slab = self.crew.take_slab(&mut self.bench);
        slab.ok_or(EngineError::Abandoned)
    }

    /// Sends off what is cut, and keeps what comes from `begin` on; returns where that is now.
    fn send_but(&mut self, begin: usize) -> Result<usize, EngineError> {
        let mut next = self.crew.slabs.take();
        next.extend_from_slice(self.slab.get(begin..).unwrap_or_default());
        self.slab.truncate(begin);
        self.send()?;
        self.slab = next;
        if !self.crew.wait_for_slabs(&mut self.bench) {
            return Err(EngineError::Abandoned);
        }
        Ok(0)
    }

    /// Sends off what is cut or gathered.
    fn send(&mut self) -> Result<(), EngineError> {
        self.send_cargo()?;
        let (slab, cuts) = (
            std::mem::take(&mut self.slab),
            std::mem::take(&mut self.cuts),
        );
        if cuts.is_empty() {
            self.crew.slabs.keep(slab);
            return Ok(());
        }
        let rewriter = self.rewriter;
        let slot = Arc::new(Slot::default());
        self.groups.push_back(Arc::clone(&slot));
        let loan = Loan::new(slab, &self.crew.slabs);
        self.crew.spawn(Priority::Urgent, move |crew, bench| {
            let Some(rewriter) = rewriter else {
                let receiver = move |stored| slot.put(stored);
                crew.put_on_line(&loan, cuts.into_iter(), receiver);
                return;
            };
            let chunks: Vec<&[u8]> = cuts.iter().map(|cut| loan.get(cut)).collect();
            match rewriter.store(crew, bench, &chunks) {
                Ok(stored) => slot.put(stored),
                Err(error) => crew.fail(error),
            }
        });
        Ok(())
    }

    /// Takes over what is complete; waits for all that was sent if it is told to.
    fn settle(&mut self, wait: bool) -> Result<(), EngineError> {
        while let Some(slot) = self.groups.front() {
            if !wait && !slot.is_filled() {
                break;
            }
            let crew = self.crew;
            let stored = slot.take(|| crew.failed());
            self.ready.extend(stored.ok_or(EngineError::Abandoned)?);
            self.groups.pop_front();
        }
        while let Some(first) = self.waiting.pop_front() {
            match first {
                Waiting::File(_, chunks, _) | Waiting::Carried(_, chunks)
                    if self.ready.len() < chunks =>
                {
                    self.waiting.push_front(first);
                    break;
                }
                Waiting::File(item, chunks, parts) => {
                    let chunks = self.ready.drain(..chunks).collect();
                    self.accept(item, chunks, parts);
                }
                Waiting::Carried(mut item, chunks) => {
                    let chunks: Vec<StoredChunk> = self.ready.drain(..chunks).collect();
                    follow_healthy(&mut item, &chunks);
                    self.accept(item, chunks, Parts::default());
                }
                Waiting::Item(item) => self.add(&item),
            }
        }
        self.stream.settle(self.crew, false)
    }

    fn add(&mut self, item: &Item) {
        let mut encoded = Vec::new();
        item.encode(&mut encoded);
        self.stream.add(self.crew, &encoded);
        self.monitor.event(Event::ArchiveProgress {
            stats: self.stats,
            path: &item.path,
        });
    }

    fn accept(&mut self, mut item: Item, mut chunks: Vec<StoredChunk>, mut parts: Parts) {
        if self.rewriter.is_some() {
            // Another thread may have been about to store it anew when a reference was counted.
            let table = &self.crew.store.claims.table;
            for StoredChunk { chunk, .. } in &mut chunks {
                chunk.csize = table
                    .get(&chunk.id)
                    .map_or(chunk.csize, |entry| entry.csize);
            }
        }
        if parts.count > 0 {
            self.add_part(&item, &chunks, &mut parts);
            self.stats.files_parts += parts.count;
        }
        self.count(&item, &chunks, parts);
        let refs: Vec<ChunkRef> = chunks.iter().map(|stored| stored.chunk).collect();
        // What is recreated keeps what it says of its size, be it nothing.
        if !self.keeps_sizes {
            item.size = Some(refs.iter().map(|chunk| u64::from(chunk.size)).sum());
        }
        item.chunks = Some(refs);
        self.add(&item);
    }

    fn count(&mut self, item: &Item, chunks: &[StoredChunk], parts: Parts) {
        let stats = &mut self.stats;
        // What an earlier checkpoint left of a file, and was carried over.
        let is_part = item.part.is_some();
        match is_part {
            true => stats.files_parts += 1,
            false => stats.files += 1,
        }
        for StoredChunk { chunk, new } in chunks {
            if !is_part {
                stats.original_bytes += u64::from(chunk.size);
                stats.compressed_bytes += u64::from(chunk.csize);
            }
            if *new {
                stats.deduplicated_bytes += u64::from(chunk.csize);
            }
            if is_part || parts.count > 0 {
                stats.original_bytes_parts += u64::from(chunk.size);
                stats.compressed_bytes_parts += u64::from(chunk.csize);
            }
        }
    }

    /// Adds a part file of the chunks that no part file has yet.
    fn add_part(&mut self, item: &Item, chunks: &[StoredChunk], parts: &mut Parts) {
        let Some(more) = chunks.get(parts.chunks..).filter(|more| !more.is_empty()) else {
            return;
        };
        parts.count += 1;
        parts.chunks = chunks.len();
        let refs: Vec<ChunkRef> = more.iter().map(|stored| stored.chunk).collect();
        for chunk in &refs {
            self.crew.store.claims.table.reference(&chunk.id);
        }
        let mut part = item.clone();
        part.path
            .extend_from_slice(format!(".borg_part_{}", parts.count).as_bytes());
        part.part = Some(parts.count);
        part.size = Some(refs.iter().map(|chunk| u64::from(chunk.size)).sum());
        part.chunks = Some(refs);
        let mut encoded = Vec::new();
        part.encode(&mut encoded);
        self.stream.add(self.crew, &encoded);
    }

    /// Between two items: takes over what is complete, and sees whether a checkpoint is due.
    fn look_around(&mut self) -> Result<(), EngineError> {
        if self.waiting.len() >= MOST_WAITING {
            self.send()?;
            self.settle(true)?;
        } else if self.groups.is_empty() || self.groups.front().is_some_and(|slot| slot.is_filled())
        {
            self.settle(false)?;
        }
        if self.crew.failed() {
            return Err(EngineError::Abandoned);
        }
        self.look_at_the_clock()
    }

    /// Makes a checkpoint when it is time for one, or when the user wants the operation to end.
    fn look_at_the_clock(&mut self) -> Result<(), EngineError> {
        let interrupted = self.monitor.interrupted();
        if !interrupted && !self.checkpoints.due() {
            return Ok(());
        }
        if self.checkpoints.options.checkpoint_interval.is_some() {
            self.checkpoint()?;
        }
        match interrupted {
            true => Err(EngineError::Interrupted),
            false => Ok(()),
        }
    }

    fn checkpoint(&mut self) -> Result<(), EngineError> {
        self.monitor
            .log(Level::Debug, "borg.archive", "making a checkpoint");
        if self.current.is_none() {
            self.send()?;
        }
        self.settle(true)?;
        if let Some(mut current) = self.current.take() {
            let chunks: Vec<StoredChunk> = self.ready.iter().copied().collect();
            self.add_part(&current.item, &chunks, &mut current.parts);
            self.current = Some(current);
        }
        let items = self.stream.flush(self.crew)?.to_vec();
        self.crew.wait_for_writer()?;
        self.checkpoints.save(self.crew, items, self.stats)
    }
}

/// Makes checkpoints.
struct Checkpoints<'f> {
    options: &'f FeedOptions<'f>,
    catalogue: &'f mut Catalogue,
    world: World<'f>,
    name: Vec<u8>,
    last: Duration,
}

impl Checkpoints<'_> {
    fn due(&self) -> bool {
        let since = self.world.clock.monotonic().saturating_sub(self.last);
        let interval = self.options.checkpoint_interval;
        interval.is_some_and(|interval| since > interval)
    }

    /// Commits an archive of what there is so far. It disappears with the next commit; it stays
    /// when there is none.
    fn save(
        &mut self,
        crew: &Crew<'_>,
        items: Vec<ChunkId>,
        stats: ArchiveStats,
    ) -> Result<(), EngineError> {
        let metadata = (self.options.metadata)(&self.name, items, stats);
        let mut repository = lock(crew.repository);
        let repository = repository.as_deref_mut().ok_or(EngineError::Abandoned)?;
        let (chunks, compression) = (&crew.store.claims.table, self.options.compression);
        let catalogue = &mut *self.catalogue;
        let stored =
            catalogue.put_archive(repository, chunks, self.world, compression, &metadata)?;
        catalogue.write(repository, self.world, compression)?;
        repository.commit(None)?;
        catalogue.manifest.archives.remove(&self.name);
        if let Released::Last(_) = chunks.release(&stored.id, 1) {
            repository.delete(&stored.id)?;
        }
        self.last = self.world.clock.monotonic();
        Ok(())
    }
}
