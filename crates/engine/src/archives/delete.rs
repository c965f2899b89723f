//! Deleting archives: in one transaction, with counts taken from the deleted archives alone.
//!
//! First everything that the archives refer to is counted, then the references are taken from the
//! chunk table, then the chunks that have none left are deleted, then the manifest forgets the
//! archives; a commit makes that durable. Several archives are counted together, since their item
//! streams share most chunks: each shared one is read once.
//!
//! After an error the chunk table is not in step with anything and must be dropped, and the
//! repository rolled back. A crash leaves the last commit, and a table on disk that is seen not to
//! belong to it.

use fastness_format::compress::CompressionSpec;
use fastness_format::id::ChunkId;

use super::references::{Damage, PartFiles, Reading, References};
use crate::cache::chunks::{ChunkTable, Released};
use crate::cache::sync;
use crate::catalogue::ReadArchive;
use crate::error::EngineError;
use crate::event::{ArchiveStats, Event, Level, Monitor};
use crate::session::Session;
use crate::world::World;

/// How archives are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteOptions {
    /// What is done about damaged archives.
    pub damage: Damage,
    /// Whether the chunks of part files show up in the sums.
    pub parts: PartFiles,
    /// Number of threads that fetch and open; 0 is 1.
    pub threads: usize,
    /// Whether the progress within an archive is told.
    pub progress: bool,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Sums over the references taken away; what is deduplicated became free.
    pub stats: ArchiveStats,
    /// An archive was damaged. The chunk table has references too many then: it must not be saved.
    pub damaged: bool,
}

/// Deletes archives, without a commit. `begin` is told the index of each before it is worked on.
///
/// # Errors
/// When one does not exist, cannot be read or is damaged, or when the repository fails.
pub fn delete_archives(
    session: &mut Session,
    chunks: &ChunkTable,
    names: &[Vec<u8>],
    options: DeleteOptions,
    begin: &mut dyn FnMut(usize),
    monitor: &dyn Monitor,
) -> Result<Deleted, EngineError> {
    let _stage = tracing::trace_span!("delete_archives").entered();
    let mut begun = 0;
    let mut begin = |index: usize| {
        while begun <= index && begun < names.len() {
            begin(begun);
            begun += 1;
        }
    };
    let mut deletion = Deletion {
        session,
        chunks,
        options,
        monitor,
        deleted: Deleted::default(),
    };
    begin(0);
    if !deletion.delete_together(names, &mut begin)? {
        for (index, name) in names.iter().enumerate() {
            begin(index);
            deletion.delete_one(name)?;
        }
    }
    Ok(deletion.deleted)
}

/// Commits what was deleted.
///
/// # Errors
/// When the manifest cannot be written or the commit fails.
pub fn commit(session: &mut Session, world: World<'_>) -> Result<(), EngineError> {
    let (catalogue, repository) = session.split();
    catalogue.write(repository, world, &CompressionSpec::default())?;
    repository.commit(None)?;
    Ok(())
}

struct Deletion<'a> {
    session: &'a mut Session,
    chunks: &'a ChunkTable,
    options: DeleteOptions,
    monitor: &'a dyn Monitor,
    deleted: Deleted,
}

impl Deletion<'_> {
    /// Deletes several archives whose streams are read together. Returns false, with nothing
    /// changed, when they are better looked at one by one: because one is damaged, or has part
    /// files, which the sums keep apart.
    fn delete_together(
        &mut self,
        names: &[Vec<u8>],
        begin: &mut dyn FnMut(usize),
    ) -> Result<bool, EngineError> {
        if names.len() < 2 {
            return Ok(false);
        }
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let Ok(archive) = self.read(name) else {
                return Ok(false);
            };
            let plain = archive.metadata.nfiles_parts == Some(0);
            if !plain && self.options.parts == PartFiles::Apart {
                return Ok(false);
            }
            ids.push(archive.id);
        }
        let counted = References::default();
        let count = |chunk: &_, references| counted.files.add(chunk, references);
        let (monitor, progress) = (self.monitor, self.options.progress);
        let total = names.len() as u64;
        let counting = sync::count_references(
            self.session.repository.as_ref(),
            &self.session.crypto,
            &ids,
            self.options.threads,
            &count,
            &mut |done| {
                begin(done);
                if progress {
                    monitor.event(percent(done as u64, total));
                }
            },
        );
        if progress {
            monitor.event(Event::PercentFinished { msgid: PROGRESS });
        }
        // What is wrong shows again, and is told, when they are read one by one.
        if counting.is_err() {
            return Ok(false);
        }
        let missing = self.release(&counted)?;
        for name in names {
            self.forget(name);
        }
        if missing {
            self.tell_damage();
        }
        Ok(true)
    }

    fn delete_one(&mut self, name: &[u8]) -> Result<(), EngineError> {
        let archive = self.read(name)?;
        let reading = Reading {
            damage: self.options.damage,
            parts: self.options.parts,
            threads: self.options.threads,
            progress: PROGRESS,
        };
        let monitor: &dyn Monitor = match self.options.progress {
            true => self.monitor,
            false => &crate::event::Silent,
        };
        let counted = References::of_items(self.session, &archive, name, LABEL, reading, monitor)?;
        counted.add_metadata(&archive);
        let missing = self.release(&counted)?;
        self.forget(name);
        if counted.incomplete || missing {
            self.tell_damage();
        }
        Ok(())
    }

    fn tell_damage(&mut self) {
        self.deleted.damaged = true;
        for text in [
            "forced deletion succeeded, but the deleted archive was corrupted.",
            "borg check --repair is required to free all space.",
        ] {
            self.monitor.log(Level::Warning, "borg.archive", text);
        }
    }

    fn read(&self, name: &[u8]) -> Result<ReadArchive, EngineError> {
        let repository = self.session.repository.as_ref();
        self.session
            .catalogue
            .archive(repository, name, self.monitor)
    }

    fn forget(&mut self, name: &[u8]) {
        // By the name in the manifest: check may have given it another than its metadata has.
        self.session.catalogue.manifest.archives.remove(name);
    }

    /// Takes references away and deletes what has none left. Returns whether something that was
    /// to be deleted was not there.
    fn release(&mut self, counted: &References) -> Result<bool, EngineError> {
        let mut unused = Vec::new();
        let parts = self.take(&counted.parts, &mut unused)?;
        let files = self.take(&counted.files, &mut unused)?;
        let stats = &mut self.deleted.stats;
        stats.original_bytes += files.original_bytes;
        stats.compressed_bytes += files.compressed_bytes;
        stats.deduplicated_bytes += files.deduplicated_bytes;
        stats.original_bytes_parts += parts.original_bytes;
        stats.compressed_bytes_parts += parts.compressed_bytes;
        stats.deduplicated_bytes_parts += parts.deduplicated_bytes;
        let repository = &mut self.session.repository;
        if self.options.damage == Damage::PassOver {
            return Ok(!repository.delete_present(&unused)?);
        }
        for id in &unused {
            repository.delete(id)?;
        }
        Ok(false)
    }

    fn take(
        &self,
        counted: &ChunkTable,
        unused: &mut Vec<ChunkId>,
    ) -> Result<ArchiveStats, EngineError> {
        let mut stats = ArchiveStats::default();
        let mut wrong = None;
        counted.for_each(|id, counted| {
            let references = counted.references;
            let (entry, last) = match self.chunks.release(id, references) {
                Released::Missing => {
                    wrong = Some(*id);
                    return;
                }
                Released::Kept(entry) => (entry, false),
                Released::Last(entry) => (entry, true),
            };
            let [references, size, csize] = [references, entry.size, entry.csize].map(u64::from);
            stats.original_bytes += references * size;
            stats.compressed_bytes += references * csize;
            if last {
                if u64::from(entry.references) < references {
                    wrong = Some(*id);
                }
                stats.deduplicated_bytes += csize;
                unused.push(*id);
            }
        });
        match wrong {
            Some(id) => Err(EngineError::MissingReference(id)),
            None => Ok(stats),
        }
    }
}

const PROGRESS: &str = "archive.delete";
const LABEL: &str = "Decrementing references";

fn percent(current: u64, total: u64) -> Event<'static> {
    Event::Percent {
        msgid: PROGRESS,
        label: LABEL,
        current,
        total,
        path: None,
    }
}

/// Counts all references of the repository when some archives that are to be deleted are damaged:
/// of those as far as they can be read, which is just what deleting them takes away.
///
/// # Errors
/// When another archive is damaged, or the repository fails.
pub fn count_around_damage(
    session: &Session,
    doomed: &[Vec<u8>],
    threads: usize,
    monitor: &dyn Monitor,
) -> Result<ChunkTable, EngineError> {
    let archives = &session.catalogue.manifest.archives;
    let sound: Vec<ChunkId> = archives
        .iter()
        .filter(|(name, _)| !doomed.contains(name))
        .map(|(_, entry)| entry.id)
        .collect();
    let repository = session.repository.as_ref();
    let table = sync::rebuild(repository, &session.crypto, &sound, threads, &mut |_| {})?;
    for name in doomed {
        let archive = session.catalogue.archive(repository, name, monitor)?;
        let reading = Reading {
            damage: Damage::PassOver,
            parts: PartFiles::AsFiles,
            threads,
            progress: PROGRESS,
        };
        let silent = &crate::event::Silent;
        let counted = References::of_items(session, &archive, name, LABEL, reading, silent)?;
        counted.add_metadata(&archive);
        counted.files.for_each(|id, entry| {
            let chunk = fastness_format::item::ChunkRef {
                id: *id,
                size: entry.size,
                csize: entry.csize,
            };
            table.add(&chunk, entry.references);
        });
    }
    Ok(table)
}
