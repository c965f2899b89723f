//! Archives copied from one repository to another: names, times and every field of every item stay.
//!
//! A chunk is read there, decrypted and verified, encrypted with the key here, and stored as it was
//! compressed. Where both repositories compute ids alike (related secrets, or no encryption at
//! all), a chunk that is here already is not even read. Otherwise each chunk gets the id that the
//! key here gives it; it is read once in a run, however many archives have it.
//!
//! The source is only read. An archive is here whole, with a commit, or not at all; what an
//! interrupted run leaves is a checkpoint, as of `create`, which disappears when the archive is
//! complete.

mod ferry;

use std::time::Duration;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::compress::CompressionSpec;
use fastness_format::id::ChunkId;
use fastness_format::item::Item;

use crate::archives::delete::{DeleteOptions, delete_archives};
use crate::archives::items::ItemSource;
use crate::cache::chunks::ChunkTable;
use crate::catalogue::ReadArchive;
use crate::create::Recompress;
use crate::create::feed::{Fed, FeedOptions, feed};
use crate::error::EngineError;
use crate::event::{ArchiveStats, Event, Level, Monitor};
use crate::security::Authenticity;
use crate::session::Session;
use crate::world::World;

use ferry::Ferry;

const LOGGER: &str = "borg.archive";

/// How archives are copied.
#[derive(Debug)]
pub struct TransferOptions {
    /// Which chunks are compressed anew on their way; none without.
    pub recompress: Option<Recompress>,
    /// How those and the metadata are compressed.
    pub compression: CompressionSpec,
    /// Time between checkpoints; none for no checkpoints.
    pub checkpoint_interval: Option<Duration>,
    /// Whether progress is to be told.
    pub progress: bool,
    /// Number of worker threads, at least 1.
    pub threads: usize,
}

/// Whether an archive is in the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    Absent,
    /// It is, by its name, its time, and what its metadata says of where it is from and how much is
    /// in it.
    Present,
    /// There is another one with its name, which differs in this.
    Other(&'static str),
}

/// Copies archives, and remembers from one to the next what was carried over.
pub struct Transfer<'a> {
    source: &'a Session,
    options: &'a TransferOptions,
    ferry: Ferry<'a>,
    world: World<'a>,
    monitor: &'a dyn Monitor,
}

impl<'a> Transfer<'a> {
    /// Begins a run.
    ///
    /// # Errors
    /// When both are the same repository, or one is a copy of the other's files.
    pub fn new(
        source: &'a Session,
        destination: &Session,
        options: &'a TransferOptions,
        world: World<'a>,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, EngineError> {
        let id = source.repository.id();
        if id == destination.repository.id() {
            let text = format!("source and destination are the same repository, with the id {id}");
            return Err(EngineError::Other(text));
        }
        Ok(Self {
            source,
            options,
            ferry: Ferry::new(source, &destination.crypto, options.recompress),
            world,
            monitor,
        })
    }

    /// Tells whether chunks have the same ids in both repositories.
    pub fn shares_ids(&self) -> bool {
        self.ferry.shares_ids()
    }

    /// Tells of each of these archives of the source whether it is in the destination.
    ///
    /// # Errors
    /// [`EngineError::ArchiveDoesNotExist`] when one is not even in the source; when the metadata
    /// of one that both have cannot be read.
    pub fn presences(
        &self,
        destination: &Session,
        names: &[Vec<u8>],
    ) -> Result<Vec<Presence>, EngineError> {
        let [there, here] = [self.source, destination].map(|session| {
            let archives = &session.catalogue.manifest.archives;
            move |name: &Vec<u8>| archives.get(name)
        });
        // Metadata is compared where the times leave a doubt; servers get these requests at once.
        let doubtful = |name: &&Vec<u8>| {
            let (Some(there), Some(here)) = (there(name), here(name)) else {
                return false;
            };
            there.time == here.time
        };
        for (session, entry) in [
            (self.source, &there as &dyn Fn(_) -> Option<_>),
            (destination, &here),
        ] {
            let doubtful = names.iter().filter(doubtful);
            let ids: Vec<ChunkId> = doubtful.filter_map(entry).map(|entry| entry.id).collect();
            session.repository.prefetch(&ids);
        }
        let presence = |name: &Vec<u8>| {
            there(name).ok_or_else(|| {
                EngineError::ArchiveDoesNotExist(String::from_utf8_lossy(name).into_owned())
            })?;
            Ok(match here(name) {
                None => Presence::Absent,
                Some(_) if !doubtful(&name) => Presence::Other("time"),
                Some(_) => match self.difference(destination, name)? {
                    Some(difference) => Presence::Other(difference),
                    None => Presence::Present,
                },
            })
        };
        names.iter().map(presence).collect()
    }

    /// Returns in what two archives of the same name and time differ.
    fn difference(
        &self,
        destination: &Session,
        name: &[u8],
    ) -> Result<Option<&'static str>, EngineError> {
        let [there, here] = [self.source, destination].map(|session| {
            let repository = session.repository.as_ref();
            session.catalogue.archive(repository, name, self.monitor)
        });
        Ok(difference(&there?.metadata, &here?.metadata))
    }

    /// Copies an archive and commits it.
    ///
    /// # Errors
    /// When there is no such archive in the source, it cannot be read, or one with its name is here
    /// already; when it cannot be stored. Then nothing is committed but checkpoints, and the caller
    /// rolls back.
    pub fn archive(
        &self,
        destination: &mut Session,
        chunks: &mut ChunkTable,
        name: &[u8],
    ) -> Result<ArchiveStats, EngineError> {
        let _stage = tracing::trace_span!("transfer").entered();
        let source = self.source;
        let repository = source.repository.as_ref();
        let archive = source.catalogue.archive(repository, name, self.monitor)?;
        self.tell_of_authenticity(name, &archive);
        let metadata = |name: &[u8], items: Vec<ChunkId>, stats: ArchiveStats| {
            copied(&archive.metadata, name, items, stats)
        };
        let how = FeedOptions {
            name,
            chunker: archive.metadata.chunker_params.unwrap_or_default(),
            compression: &self.options.compression,
            checkpoint_interval: self.options.checkpoint_interval,
            threads: self.options.threads,
            keeps_sizes: true,
            rewriter: None,
            carrier: Some(&self.ferry),
            metadata: &metadata,
        };
        let items = ItemSource {
            repository,
            crypto: &source.crypto,
            archive: name,
            ids: &archive.metadata.items,
            threads: self.options.threads,
        };
        let Fed { items, stats } = feed(
            destination,
            chunks,
            &how,
            self.world,
            self.monitor,
            |feed| {
                items.for_each(|item| {
                    let item: Item = item.to_item().map_err(|source| EngineError::Items {
                        archive: String::from_utf8_lossy(name).into_owned(),
                        source,
                    })?;
                    match item.chunks {
                        Some(_) => feed.carried(item),
                        None => feed.item(item),
                    }
                })
            },
        )?;
        if self.options.progress {
            self.monitor.event(Event::ArchiveFinished { stats });
        }
        self.commit(destination, chunks, &metadata(name, items, stats))?;
        Ok(stats)
    }

    /// Stores the metadata of a complete archive, in place of checkpoints on the way to it.
    fn commit(
        &self,
        destination: &mut Session,
        chunks: &mut ChunkTable,
        metadata: &ArchiveMetadata,
    ) -> Result<(), EngineError> {
        let begin = [metadata.name.as_slice(), b".checkpoint"].concat();
        let archives = &destination.catalogue.manifest.archives;
        let left: Vec<Vec<u8>> = archives
            .iter()
            .filter(|(name, entry)| name.starts_with(&begin) && entry.time == metadata.time)
            .map(|(name, _)| name.clone())
            .collect();
        if !left.is_empty() {
            let deletion = DeleteOptions {
                threads: self.options.threads,
                ..DeleteOptions::default()
            };
            delete_archives(
                destination,
                chunks,
                &left,
                deletion,
                &mut |_| {},
                self.monitor,
            )?;
        }
        let (catalogue, repository) = destination.split();
        let compression = &self.options.compression;
        catalogue.put_archive(repository, chunks, self.world, compression, metadata)?;
        catalogue.write(repository, self.world, compression)?;
        repository.commit(None)?;
        Ok(())
    }

    /// What Borg before 1.2.5 made has no tag; the copy gets one, and somebody should know.
    fn tell_of_authenticity(&self, name: &[u8], archive: &ReadArchive) {
        let expected = self.source.crypto.tam_required();
        if expected && archive.authenticity == Authenticity::Unverified {
            let text = format!(
                "Archive {} is not authenticated in the source; its copy will be.",
                String::from_utf8_lossy(name)
            );
            self.monitor.log(Level::Warning, LOGGER, text);
        }
    }
}

/// Names a fact that would be the same if one archive were a copy of the other. How data is cut and
/// compressed may have changed since.
fn difference(one: &ArchiveMetadata, other: &ArchiveMetadata) -> Option<&'static str> {
    let facts = [
        ("time", one.time == other.time),
        ("end", one.time_end == other.time_end),
        ("host", one.hostname == other.hostname),
        ("user", one.username == other.username),
        ("command line", one.cmdline == other.cmdline),
        ("directory", one.cwd == other.cwd),
        ("comment", one.comment == other.comment),
        ("number of files", one.nfiles == other.nfiles),
        ("size", one.size == other.size),
        ("number of parts", one.nfiles_parts == other.nfiles_parts),
        ("size of parts", one.size_parts == other.size_parts),
    ];
    let differs = facts.into_iter().find(|(_, same)| !same);
    differs.map(|(name, _)| name)
}

/// The metadata of the copy: what depends on the key and on compression is that of the copy.
fn copied(
    old: &ArchiveMetadata,
    name: &[u8],
    items: Vec<ChunkId>,
    stats: ArchiveStats,
) -> ArchiveMetadata {
    ArchiveMetadata {
        name: name.to_vec(),
        items,
        csize: old.csize.map(|_| stats.compressed_bytes),
        csize_parts: old.csize_parts.map(|_| stats.compressed_bytes_parts),
        ..old.clone()
    }
}
