//! Archives made anew from themselves: without what is left out, compressed or cut in another way.
//!
//! The new archive takes the place of the old one in a single commit, so that at any time one of
//! them is there, whole. Checkpoints on the way are archives of their own.

mod tags;

use std::collections::HashMap;
use std::time::Duration;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::chunker::ChunkerParams;
use fastness_format::compress::CompressionSpec;
use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, Item, ItemDecoder};
use fastness_format::timestamp;
use fastness_repository::Repository;
use fastness_sys::stat::FileKind;

use crate::archives::delete::{DeleteOptions, delete_archives};
use crate::archives::items::ItemSource;
use crate::cache::chunks::ChunkTable;
use crate::catalogue::ReadArchive;
use crate::create::feed::{Fed, Feed, FeedOptions, feed};
use crate::create::rewrite::{Rewriter, stored_objects};
use crate::create::stamp::Stamp;
use crate::create::{CreateReport, Maker, Recompress};
use crate::error::EngineError;
use crate::event::{ArchiveStats, Event, Monitor};
use crate::objects::open_object;
use crate::select::patterns::PatternMatcher;
use crate::select::tags::TagRules;
use crate::session::Session;
use crate::world::World;

use tags::Marked;

/// The ending of names that belong to archives which are being made anew.
const TEMPORARY: &[u8] = b".recreate";

/// Tells whether an archive is what an interrupted run of Borg left, going by its name.
pub fn is_temporary(name: &[u8]) -> bool {
    name.ends_with(TEMPORARY)
}

/// How archives are made anew.
#[derive(Debug)]
pub struct RecreateOptions {
    /// What of them is kept.
    pub patterns: PatternMatcher,
    /// Directories that are left out by what they hold.
    pub tags: TagRules,
    /// Another comment.
    pub comment: Option<Vec<u8>>,
    /// Another start time, in microseconds since 1970.
    pub timestamp: Option<i64>,
    /// Another way of cutting files.
    pub chunker: Option<ChunkerParams>,
    /// Which chunks are compressed anew.
    pub recompress: Option<Recompress>,
    /// How chunks are compressed.
    pub compression: CompressionSpec,
    /// Time between checkpoints; none for no checkpoints.
    pub checkpoint_interval: Option<Duration>,
    /// Only shows; nothing is stored.
    pub dry_run: bool,
    /// Whether progress is to be told.
    pub progress: bool,
    /// Number of worker threads, at least 1.
    pub threads: usize,
    /// Who does it.
    pub maker: Maker,
}

/// What became of an archive.
#[derive(Debug)]
pub enum Recreated {
    /// Nothing was to be done.
    Unchanged,
    /// It would have been made anew, but for the dry run.
    Shown,
    /// It was made anew; the times in the report are those of the run.
    Done(Box<CreateReport>),
}

/// Makes archives anew, and remembers from one to the next what is compressed already.
pub struct Recreater<'a> {
    options: &'a RecreateOptions,
    rewriter: Option<Rewriter>,
    world: World<'a>,
    monitor: &'a dyn Monitor,
}

/// Where the items of an archive are.
pub struct Source<'a> {
    repository: &'a dyn Repository,
    crypto: &'a Crypto,
    archive: &'a ReadArchive,
    threads: usize,
}

impl Source<'_> {
    fn items(&self) -> ItemSource<'_> {
        ItemSource {
            repository: self.repository,
            crypto: self.crypto,
            archive: &self.archive.metadata.name,
            ids: &self.archive.metadata.items,
            threads: self.threads,
        }
    }
}

impl<'a> Recreater<'a> {
    /// Begins a run.
    pub fn new(options: &'a RecreateOptions, world: World<'a>, monitor: &'a dyn Monitor) -> Self {
        Self {
            options,
            rewriter: options.recompress.map(Rewriter::new),
            world,
            monitor,
        }
    }

    /// Makes an archive anew and commits it: in place of the old one, or beside it as `target`.
    ///
    /// # Errors
    /// When there is no such archive, or one with the name of the new one; when it cannot be read
    /// or stored. Then nothing is committed but checkpoints, and the caller rolls back.
    pub fn recreate(
        &self,
        session: &mut Session,
        chunks: &mut ChunkTable,
        name: &[u8],
        target: Option<&[u8]>,
    ) -> Result<Recreated, EngineError> {
        let _stage = tracing::trace_span!("recreate").entered();
        let options = self.options;
        let repository = session.repository.as_ref();
        let archive = session.catalogue.archive(repository, name, self.monitor)?;
        let working_name = match target {
            Some(target) => target.to_vec(),
            None => [name, TEMPORARY].concat(),
        };
        let archives = &session.catalogue.manifest.archives;
        if archives.contains_key(&working_name) {
            let name = String::from_utf8_lossy(&working_name).into_owned();
            return Err(EngineError::ArchiveExists(name));
        }
        let rechunk = options
            .chunker
            .filter(|wanted| archive.metadata.chunker_params != Some(*wanted));
        let source = Source {
            repository,
            crypto: &session.crypto,
            archive: &archive,
            threads: options.threads,
        };
        let marked = Marked::find(&source, &options.patterns, &options.tags)?;
        let selection = Selection {
            partial: !options.patterns.is_empty() || !marked.is_empty(),
            patterns: &options.patterns,
            marked,
            monitor: self.monitor,
        };
        let idle = !selection.partial
            && options.recompress.is_none()
            && rechunk.is_none()
            && options.comment.is_none()
            && target.is_none();
        if idle {
            return Ok(Recreated::Unchanged);
        }
        if options.dry_run {
            selection.show(&source)?;
            return Ok(Recreated::Shown);
        }
        let job = Job {
            run: self,
            archive: &archive,
            rechunk,
        };
        let report = job.carry_out(session, chunks, name, target, &working_name, &selection)?;
        Ok(Recreated::Done(Box::new(report)))
    }
}

/// Which items are kept.
struct Selection<'a> {
    patterns: &'a PatternMatcher,
    marked: Marked,
    /// Whether there is anything that may leave items out.
    partial: bool,
    monitor: &'a dyn Monitor,
}

/// First names that are left out: their content, and then the name that has it instead.
type LeftOut = HashMap<
    Vec<u8>,
    (
        Option<Vec<ChunkRef>>,
        Option<Vec<ChunkRef>>,
        Option<Vec<u8>>,
    ),
>;

impl Selection<'_> {
    fn includes(&self, path: &[u8]) -> bool {
        match self.patterns.check_rules(path) {
            Some(verdict) => verdict.included,
            None => !self.marked.leaves_out(path) && self.patterns.check(path).included,
        }
    }

    /// Returns an item as it is in the new archive; none when it is left out.
    fn keep(&self, mut item: Item, left_out: &mut LeftOut) -> Option<Item> {
        if item.part.is_some() {
            return None;
        }
        let hardlinkable = self.partial && FileKind::from_mode(item.mode).is_hardlinkable();
        if !self.includes(&item.path) {
            self.status('x', &item.path);
            if hardlinkable && item.hardlink_master != Some(false) && item.source.is_none() {
                left_out.insert(item.path, (item.chunks, item.chunks_healthy, None));
            }
            return None;
        }
        if hardlinkable
            && let Some(first) = item.source.as_ref()
            && let Some((chunks, healthy, instead)) = left_out.get_mut(first)
        {
            match instead {
                Some(instead) => item.source = Some(instead.clone()),
                None => {
                    *instead = Some(item.path.clone());
                    item.chunks = chunks.take();
                    item.chunks_healthy = healthy.take();
                    item.source = None;
                }
            }
        }
        Some(item)
    }

    fn status(&self, status: char, path: &[u8]) {
        self.monitor.event(Event::FileStatus { status, path });
    }

    /// Tells what would be kept.
    fn show(&self, source: &Source<'_>) -> Result<(), EngineError> {
        let mut left_out = LeftOut::default();
        source.items().for_each(|item| {
            if self.monitor.interrupted() {
                return Err(EngineError::Interrupted);
            }
            let item = item
                .to_item()
                .map_err(|error| damaged(source.archive, error))?;
            if let Some(item) = self.keep(item, &mut left_out) {
                self.status('-', &item.path);
            }
            Ok(())
        })
    }
}

fn damaged(archive: &ReadArchive, source: fastness_format::item::ItemError) -> EngineError {
    EngineError::Items {
        archive: String::from_utf8_lossy(&archive.metadata.name).into_owned(),
        source,
    }
}

/// The letter for what an item is.
fn letter(mode: u32) -> char {
    match FileKind::from_mode(mode) {
        FileKind::Regular => 'A',
        FileKind::Directory => 'd',
        FileKind::BlockDevice => 'b',
        FileKind::CharacterDevice => 'c',
        FileKind::Symlink => 's',
        FileKind::Fifo => 'f',
        _ => '?',
    }
}

/// One archive that is being made anew.
struct Job<'j, 'a> {
    run: &'j Recreater<'a>,
    archive: &'j ReadArchive,
    rechunk: Option<ChunkerParams>,
}

impl Job<'_, '_> {
    fn carry_out(
        &self,
        session: &mut Session,
        chunks: &mut ChunkTable,
        name: &[u8],
        target: Option<&[u8]>,
        working_name: &[u8],
        selection: &Selection<'_>,
    ) -> Result<CreateReport, EngineError> {
        let (run, options) = (self.run, self.run.options);
        // What is not cut anew is still cut as it was, which Borg forgets.
        let cut = self.rechunk.or(self.archive.metadata.chunker_params);
        let chunker = cut.unwrap_or_default();
        let stamp = Stamp::new(&options.maker, chunker, options.timestamp, run.world);
        let kept = self.archive.metadata.comment.clone().unwrap_or_default();
        let comment = options.comment.clone().unwrap_or(kept);
        let metadata = |name: &[u8], items: Vec<ChunkId>, stats: ArchiveStats| {
            self.inherit(stamp.metadata(name, &comment, items, stats))
        };
        let how = FeedOptions {
            name: working_name,
            chunker,
            compression: &options.compression,
            checkpoint_interval: options.checkpoint_interval,
            threads: options.threads,
            keeps_sizes: true,
            rewriter: run.rewriter.as_ref(),
            carrier: None,
            metadata: &metadata,
        };
        let crypto = std::sync::Arc::clone(&session.crypto);
        let fed = feed(session, chunks, &how, run.world, run.monitor, |feed| {
            self.items(feed, &crypto, selection)
        })?;
        let Fed { items, stats } = fed;
        if options.progress {
            run.monitor.event(Event::ArchiveFinished { stats });
        }
        let made = metadata(target.unwrap_or(name), items, stats);
        if target.is_none() {
            let deletion = DeleteOptions {
                threads: options.threads,
                progress: options.progress,
                ..DeleteOptions::default()
            };
            let names = [name.to_vec()];
            delete_archives(session, chunks, &names, deletion, &mut |_| {}, run.monitor)?;
        }
        let (catalogue, repository) = session.split();
        let compression = &options.compression;
        let stored = catalogue.put_archive(repository, chunks, run.world, compression, &made)?;
        catalogue.write(repository, run.world, compression)?;
        repository.commit(None)?;
        // What is told of it are the times of this run.
        let times = stamp.metadata(&made.name, &comment, Vec::new(), stats);
        Ok(CreateReport {
            id: stored.id,
            metadata: ArchiveMetadata {
                time: times.time,
                time_end: times.time_end,
                ..made
            },
            stored_metadata_bytes: stored.csize.into(),
            stats,
        })
    }

    /// Takes over what the old archive says of its making.
    fn inherit(&self, made: ArchiveMetadata) -> ArchiveMetadata {
        let old = &self.archive.metadata;
        let dated = self.run.options.timestamp.is_some();
        let (time, time_end) = match dated {
            true => (made.time, made.time_end),
            false => {
                let end = old.time_end.clone().unwrap_or_else(|| old.time.clone());
                (old.time.clone(), Some(end))
            }
        };
        ArchiveMetadata {
            cmdline: old.cmdline.clone(),
            recreate_cmdline: Some(made.cmdline),
            chunker_params: self.rechunk.or(old.chunker_params),
            time,
            time_end,
            ..made
        }
    }

    /// Feeds the items that are kept.
    fn items(
        &self,
        feed: &mut Feed<'_, '_>,
        crypto: &Crypto,
        selection: &Selection<'_>,
    ) -> Result<(), EngineError> {
        let repository = feed.repository();
        let mut left_out = LeftOut::default();
        let mut decoder = ItemDecoder::new();
        let mut data = Vec::new();
        for id in &self.archive.metadata.items {
            // The writer needs the repository too, so it is held for one object at a time.
            for stored in stored_objects(repository, &[*id])? {
                open_object(crypto, id, &stored, &mut data)?;
            }
            decoder.feed(&data);
            while let Some(item) = decoder.next_ref() {
                let item = item.and_then(|item| item.to_item());
                let item = item.map_err(|error| damaged(self.archive, error))?;
                if let Some(item) = selection.keep(item, &mut left_out) {
                    self.item(feed, crypto, selection, item)?;
                }
            }
        }
        decoder
            .finish()
            .map_err(|error| damaged(self.archive, error))
    }

    fn item(
        &self,
        feed: &mut Feed<'_, '_>,
        crypto: &Crypto,
        selection: &Selection<'_>,
        mut item: Item,
    ) -> Result<(), EngineError> {
        selection.status(letter(item.mode), &item.path);
        if item.chunks.is_none() {
            return feed.item(item);
        }
        if self.rechunk.is_none() {
            return feed.rewritten(item);
        }
        // Other chunks cannot be healed by what the old ones were.
        item.chunks_healthy = None;
        let chunks = item.chunks.take().unwrap_or_default();
        let repository = feed.repository();
        let mut rest = chunks.iter();
        let (mut data, mut at) = (Vec::new(), 0);
        feed.file(item, &mut |out, most| {
            while at == data.len() {
                let Some(chunk) = rest.next() else {
                    return Ok(0);
                };
                for stored in stored_objects(repository, &[chunk.id])? {
                    open_object(crypto, &chunk.id, &stored, &mut data)?;
                }
                at = 0;
            }
            let taken = most.min(data.len() - at);
            out.extend_from_slice(data.get(at..at + taken).unwrap_or_default());
            at += taken;
            Ok(taken)
        })
    }
}

/// Returns the names of all archives, oldest first.
pub fn names_by_age(session: &Session) -> Vec<Vec<u8>> {
    let archives = &session.catalogue.manifest.archives;
    let mut names: Vec<(i64, Vec<u8>)> = archives
        .iter()
        .map(|(name, entry)| {
            (
                timestamp::parse(&entry.time).unwrap_or_default(),
                name.clone(),
            )
        })
        .collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}
