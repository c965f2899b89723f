//! From the first root to the commit.
//!
//! The order in which things become durable: chunks, then the archive's metadata, then the
//! manifest that names it, then the commit; afterwards the client's own state. A crash before the
//! commit leaves the repository as it was, a crash after it leaves caches that are seen to be old.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::crypto::Crypto;
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::timestamp;
use fastness_repository::{NonceStore, Repository, RepositoryError};

use super::claims::Claims;
use super::conductor::Conductor;
use super::crew::{Crew, Post, Writable, with_crew};
use super::estimate::{Estimate, Tally};
use super::items::ItemStream;
use super::lister::Lister;
use super::pending::Pending;
use super::stages::Store;
use super::{CreateOptions, FileChunker};
use crate::attributes::Names;
use crate::cache::chunks::{ChunkTable, Released};
use crate::cache::files::FilesCacheMode;
use crate::cache::files::{FilesCache, FilesCacheWriter};
use crate::catalogue::Catalogue;
use crate::error::EngineError;
use crate::event::{ArchiveStats, Event, Level, Monitor};
use crate::keys::NonceAllocator;
use crate::session::Session;
use crate::tasks::lock;
use crate::world::World;

/// The archive that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateReport {
    /// Id of its metadata.
    pub id: ChunkId,
    /// Its metadata.
    pub metadata: ArchiveMetadata,
    /// Length of its stored metadata, which may not exceed that of an object.
    pub stored_metadata_bytes: u64,
    /// Sums over its content.
    pub stats: ArchiveStats,
}

/// What a create keeps of the runs before.
pub struct ClientState<'a> {
    /// References to all chunks; in step with the manifest, before and after.
    pub chunks: &'a mut ChunkTable,
    /// What the last run remembered of files.
    pub files: &'a FilesCache,
    /// What the next run is to remember; finished while the archive is committed.
    pub remember: Option<FilesCacheWriter>,
    /// Asked when all is stored, before the archive is: an error, and it will never be.
    pub confirm: &'a mut dyn FnMut() -> Result<(), EngineError>,
    /// Called while the archive is committed, with the references and the id of the manifest as
    /// they will be then.
    pub meanwhile: Meanwhile<'a>,
}

/// What is done beside a commit, on a thread of its own.
pub type Meanwhile<'a> = &'a (dyn Fn(&ChunkTable, &ChunkId) + Sync);

/// What the walk gave.
#[derive(Default)]
struct Walked {
    items: Vec<ChunkId>,
    stats: ArchiveStats,
    strays: Vec<ChunkId>,
    missing: Vec<String>,
    remember: Option<FilesCacheWriter>,
}

/// Makes an archive and commits it. One that lacks data which was to be produced is committed under
/// the name of a checkpoint and is an error. The second value tells whether the files cache of the next run
/// could be written; without one it just takes longer.
///
/// # Errors
/// When the archive exists, or the operation failed; then nothing of it is committed but
/// checkpoints, and the caller rolls back.
pub fn create(
    session: &mut Session,
    state: ClientState<'_>,
    options: &CreateOptions,
    world: World<'_>,
    monitor: &dyn Monitor,
) -> Result<(CreateReport, io::Result<()>), EngineError> {
    let _stage = tracing::trace_span!("create").entered();
    if session
        .catalogue
        .manifest
        .archives
        .contains_key(&options.name)
    {
        return Err(EngineError::ArchiveExists(
            String::from_utf8_lossy(&options.name).into_owned(),
        ));
    }
    let started = Started {
        micros: world.clock.now().0 / 1000,
        monotonic: world.clock.monotonic(),
    };
    let claims = Claims::new(std::mem::take(state.chunks));
    let mut saver = Saver {
        options,
        world,
        started,
        checkpoint_name: checkpoint_name(session, &options.name),
    };
    let (crypto, nonces) = (Arc::clone(&session.crypto), Arc::clone(&session.nonces));
    let goal = Goal {
        crypto: &crypto,
        nonces: &nonces,
        store: Some(session.split()),
    };
    let walked = walk(
        goal,
        &claims,
        state.files,
        state.remember,
        &mut saver,
        monitor,
    );
    *state.chunks = claims.table;
    let walked = walked?;
    let (catalogue, repository) = session.split();
    delete_strays(repository, state.chunks, &walked.strays)?;
    monitor.event(Event::ArchiveFinished {
        stats: walked.stats,
    });
    if monitor.interrupted() {
        return Err(EngineError::Interrupted);
    }
    (state.confirm)()?;
    if !walked.missing.is_empty() {
        let paths = walked.missing.clone();
        saver.unfinished(catalogue, repository, state.chunks, walked)?;
        return Err(EngineError::Incomplete {
            checkpoint: String::from_utf8_lossy(&saver.checkpoint_name).into_owned(),
            paths,
        });
    }
    let metadata = saver.metadata(&options.name, walked.items, walked.stats);
    let compression = &options.compression;
    let stored = catalogue.put_archive(repository, state.chunks, world, compression, &metadata)?;
    catalogue.write(repository, world, compression)?;
    let (chunks, manifest) = (&*state.chunks, &catalogue.manifest_id);
    let meanwhile = || (state.meanwhile)(chunks, manifest);
    let remembered = commit_and_remember(repository, walked.remember, &meanwhile)?;
    Ok((
        CreateReport {
            id: stored.id,
            metadata,
            stored_metadata_bytes: stored.csize.into(),
            stats: walked.stats,
        },
        remembered,
    ))
}

/// Commits, and meanwhile completes caches. Should the commit fail, that of files names chunks that
/// are not there, which the next run asks for anyway.
fn commit_and_remember(
    repository: &mut dyn Repository,
    remember: Option<FilesCacheWriter>,
    meanwhile: &(dyn Fn() + Sync),
) -> Result<io::Result<()>, EngineError> {
    let _stage = tracing::trace_span!("commit_and_remember").entered();
    std::thread::scope(|scope| {
        scope.spawn(meanwhile);
        let finishing = remember.map(|writer| scope.spawn(|| writer.finish()));
        let committed = repository.commit(None);
        let finished = finishing.map(|thread| thread.join());
        committed?;
        match finished {
            Some(Ok(written)) => Ok(written),
            Some(Err(_)) => Err(EngineError::WorkerDied),
            None => Ok(Ok(())),
        }
    })
}

/// Finds out what [`create`] would add to a repository with these chunks, and stores nothing: what
/// the files cache does not know is read and made as for an archive, and dropped. `options` are
/// those of the archive, without `dry_run`.
///
/// # Errors
/// When the operation failed.
pub fn estimate(
    crypto: &Crypto,
    chunks: ChunkTable,
    files: &FilesCache,
    options: &CreateOptions,
    world: World<'_>,
    monitor: &dyn Monitor,
) -> Result<Estimate, EngineError> {
    let nonces = NonceAllocator::for_dropped_objects(Arc::new(NoNonces));
    let tally = Tally::new(monitor);
    let mut saver = Saver {
        options,
        world,
        started: Started {
            micros: 0,
            monotonic: world.clock.monotonic(),
        },
        checkpoint_name: Vec::new(),
    };
    let goal = Goal {
        crypto,
        nonces: &nonces,
        store: None,
    };
    let claims = Claims::new(chunks);
    let walked = walk(goal, &claims, files, None, &mut saver, &tally)?;
    Ok(tally.finish(walked.stats))
}

/// Walks and shows what [`create`] would archive. No repository, key or cache is needed for that.
///
/// # Errors
/// When the operation failed.
pub fn dry_run(
    options: &CreateOptions,
    world: World<'_>,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let crypto = Crypto::plaintext(RepositoryId::new([0; 32]));
    let nonces = NonceAllocator::for_dropped_objects(Arc::new(NoNonces));
    let mut saver = Saver {
        options,
        world,
        started: Started {
            micros: 0,
            monotonic: world.clock.monotonic(),
        },
        checkpoint_name: Vec::new(),
    };
    let goal = Goal {
        crypto: &crypto,
        nonces: &nonces,
        store: None,
    };
    let claims = Claims::new(ChunkTable::new());
    let files = FilesCache::empty(FilesCacheMode::default());
    walk(goal, &claims, &files, None, &mut saver, monitor)?;
    Ok(())
}

/// The counter of a dry run, whose objects go nowhere.
struct NoNonces;

impl NonceStore for NoNonces {
    fn get_free_nonce(&self) -> Result<Option<u64>, RepositoryError> {
        Ok(None)
    }

    fn commit_nonce_reservation(&self, _: u64, _: Option<u64>) -> Result<(), RepositoryError> {
        Ok(())
    }
}

/// Where an archive goes.
struct Goal<'a> {
    crypto: &'a Crypto,
    nonces: &'a NonceAllocator,
    /// None in a dry run.
    store: Option<(&'a mut Catalogue, &'a mut dyn Repository)>,
}

pub(super) fn checkpoint_name(session: &Session, name: &[u8]) -> Vec<u8> {
    let mut checkpoint = [name, b".checkpoint"].concat();
    let mut number = 0;
    while session
        .catalogue
        .manifest
        .archives
        .contains_key(&checkpoint)
    {
        number += 1;
        checkpoint = [name, format!(".checkpoint.{number}").as_bytes()].concat();
    }
    checkpoint
}

/// Walks all roots with a crew of threads.
fn walk(
    goal: Goal<'_>,
    claims: &Claims,
    files: &FilesCache,
    remember: Option<FilesCacheWriter>,
    saver: &mut Saver<'_>,
    monitor: &dyn Monitor,
) -> Result<Walked, EngineError> {
    let options = saver.options;
    let (crypto, nonces) = (goal.crypto, goal.nonces);
    let post = Post::default();
    let random = saver.world.random;
    let store = Store::new(crypto, nonces, claims, random, &post, &options.compression);
    let chunker = FileChunker::new(options.chunker, crypto.chunk_seed());
    let own = options.streams.iter().map(|stream| stream.chunker);
    let own_chunker = |params| FileChunker::new(params, crypto.chunk_seed());
    let stream_chunkers: Vec<_> = own.clone().map(|own| own.map(own_chunker)).collect();
    let names = Names::new();
    let lister = Lister {
        options,
        chunker: &chunker,
        stream_chunkers: &stream_chunkers,
        files,
        claims,
        names: &names,
        cwd: &options.cwd,
    };
    let (mut catalogue, repository): (_, Option<&mut dyn Repository>) = match goal.store {
        Some((catalogue, repository)) => (Some(catalogue), Some(repository)),
        None => (None, None),
    };
    let repository: Writable<'_> = Mutex::new(repository);
    let longest = own.flatten().chain([options.chunker]);
    let longest = longest.map(|params| params.max_chunk()).max().unwrap_or(0);
    let threads = options.threads.max(1);
    with_crew(&store, &post, &repository, threads, longest, |crew| {
        let mut last = saver.world.clock.monotonic();
        let mut tick = |pending: &mut Pending<'_>| {
            let interrupted = monitor.interrupted();
            let now = saver.world.clock.monotonic();
            let due = options
                .checkpoint_interval
                .is_some_and(|interval| now.saturating_sub(last) > interval);
            if (due || interrupted)
                && let Some(catalogue) = catalogue.as_deref_mut()
            {
                saver.checkpoint(crew, pending, catalogue, monitor)?;
                last = saver.world.clock.monotonic();
            }
            if interrupted {
                return Err(EngineError::Interrupted);
            }
            Ok(())
        };
        let stream = ItemStream::new(crypto.chunk_seed());
        let pending = Pending::new(stream, remember, &lister, monitor);
        let skipped = options.skipped.clone();
        let mut conductor = Conductor::new(crew, &lister, pending, skipped, &mut tick);
        conductor.walk_all()?;
        let mut pending = conductor.finish()?;
        if options.dry_run {
            return Ok(Walked::default());
        }
        let items = pending.stream.flush(crew)?.to_vec();
        crew.wait_for_writer()?;
        Ok(Walked {
            items,
            stats: pending.stats,
            strays: pending.strays,
            missing: pending.missing,
            remember: pending.remember,
        })
    })
}

/// Deletes chunks that were stored for files which then could not be read to the end.
fn delete_strays(
    repository: &mut dyn Repository,
    chunks: &ChunkTable,
    strays: &[ChunkId],
) -> Result<(), EngineError> {
    for id in strays {
        // Another file may have had the same chunk stored anew since.
        if !chunks.contains(id) && repository.contains(id)? {
            repository.delete(id)?;
        }
    }
    Ok(())
}

/// When the archive was begun.
#[derive(Debug, Clone, Copy)]
struct Started {
    micros: i64,
    monotonic: Duration,
}

/// Makes the metadata of the archive, and checkpoints on the way.
struct Saver<'a> {
    options: &'a CreateOptions,
    world: World<'a>,
    started: Started,
    checkpoint_name: Vec<u8>,
}

impl Saver<'_> {
    fn metadata(&self, name: &[u8], items: Vec<ChunkId>, stats: ArchiveStats) -> ArchiveMetadata {
        let options = self.options;
        // The duration is measured by a clock that nobody sets, and counted back from now: so the
        // end is right even when the time of day was corrected meanwhile.
        let elapsed = self
            .world
            .clock
            .monotonic()
            .saturating_sub(self.started.monotonic);
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        let (start, end) = match options.timestamp {
            Some(start) => (start, start.saturating_add(elapsed)),
            None => {
                let end = (self.world.clock.now().0 / 1000).max(self.started.micros);
                (end.saturating_sub(elapsed), end)
            }
        };
        ArchiveMetadata {
            name: name.to_vec(),
            items,
            cmdline: options.command_line.clone(),
            hostname: Some(options.hostname.clone()),
            username: Some(options.username.clone()),
            time: timestamp::format(start),
            time_end: Some(timestamp::format(end)),
            comment: Some(options.comment.clone()),
            chunker_params: Some(options.chunker),
            cwd: Some(options.cwd.clone()),
            size: Some(stats.original_bytes),
            csize: Some(stats.compressed_bytes),
            nfiles: Some(stats.files),
            size_parts: Some(stats.original_bytes_parts),
            csize_parts: Some(stats.compressed_bytes_parts),
            nfiles_parts: Some(stats.files_parts),
            ..ArchiveMetadata::default()
        }
    }

    /// Commits what there is under the name of a checkpoint: it can be read, and nothing takes it
    /// for a finished archive.
    fn unfinished(
        &self,
        catalogue: &mut Catalogue,
        repository: &mut dyn Repository,
        chunks: &ChunkTable,
        walked: Walked,
    ) -> Result<(), EngineError> {
        let metadata = self.metadata(&self.checkpoint_name, walked.items, walked.stats);
        let compression = &self.options.compression;
        catalogue.put_archive(repository, chunks, self.world, compression, &metadata)?;
        catalogue.write(repository, self.world, compression)?;
        // Should the files cache not be written, the next run just takes longer.
        let _ = commit_and_remember(repository, walked.remember, &|| ())?;
        Ok(())
    }

    /// Commits an archive of what there is so far, and goes on. The archive disappears with the
    /// next commit; it stays when there is none.
    fn checkpoint(
        &mut self,
        crew: &Crew<'_>,
        pending: &mut Pending<'_>,
        catalogue: &mut Catalogue,
        monitor: &dyn Monitor,
    ) -> Result<(), EngineError> {
        monitor.log(Level::Debug, "borg.archive", "making a checkpoint");
        pending.gather(crew)?;
        let items = pending.stream.flush(crew)?.to_vec();
        crew.wait_for_writer()?;
        let metadata = self.metadata(&self.checkpoint_name, items, pending.stats);
        let strays = std::mem::take(&mut pending.strays);
        let mut repository = lock(crew.repository);
        let repository = repository.as_deref_mut().ok_or(EngineError::Abandoned)?;
        let chunks = &crew.store.claims.table;
        delete_strays(repository, chunks, &strays)?;
        let compression = &self.options.compression;
        let stored =
            catalogue.put_archive(repository, chunks, self.world, compression, &metadata)?;
        catalogue.write(repository, self.world, compression)?;
        repository.commit(None)?;
        catalogue.manifest.archives.remove(&self.checkpoint_name);
        if let Released::Last(_) = chunks.release(&stored.id, 1) {
            repository.delete(&stored.id)?;
        }
        pending.resume();
        Ok(())
    }
}
