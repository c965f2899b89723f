//! Deleting archives, as `delete` and `prune` do it: in batches, with checkpoints between them.
//!
//! A batch is counted together, since archives share most of their item streams. Between batches
//! the run can be ended well, and is committed when the checkpoint interval is over.

use std::time::{Duration, Instant};

use fastness_engine::archives::delete::{
    DeleteOptions, Deleted, commit, count_around_damage, delete_archives,
};
use fastness_engine::archives::references::{Damage, PartFiles};
use fastness_engine::cache::ChunkTable;
use fastness_engine::error::EngineError;
use fastness_engine::event::{ArchiveStats, Monitor};

use crate::access::Opened;
use crate::context::Context;
use crate::error::CommandError;
use crate::output::archive_info::deleted_sizes;
use crate::output::stats::{DASHES, HEADER};
use crate::signals::Watch;

/// Archives that are deleted together; a run that is to end goes on to the end of a batch.
const BATCH: usize = 32;

/// What the options of `delete` and `prune` say.
#[derive(Clone, Copy, Debug)]
pub struct Deleting {
    /// Also damaged archives.
    pub forced: bool,
    /// Show the progress within an archive.
    pub progress: bool,
    /// Seconds between two commits, 0 for one commit at the end.
    pub checkpoint_interval: u64,
    /// Which tables of sizes are wanted at the end.
    pub tables: Tables,
}

/// Which tables of sizes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// None.
    None,
    /// What was deleted.
    Quick,
    /// What was deleted, and the whole repository.
    All,
}

impl Tables {
    /// Takes the options `--stats` and `--quick-stats`.
    pub fn new(stats: bool, quick_stats: bool) -> Self {
        match (stats, quick_stats) {
            (true, _) => Self::All,
            (false, true) => Self::Quick,
            (false, false) => Self::None,
        }
    }
}

impl Context<'_> {
    /// Deletes archives, commits, and tells the sizes. `begin` is told the index of each before
    /// it is deleted, `end` that all are.
    ///
    /// # Errors
    /// When an archive is damaged, the repository fails, or the run is to end; what was committed
    /// before stays deleted.
    pub fn delete_archives(
        &self,
        opened: &mut Opened,
        names: &[Vec<u8>],
        deleting: Deleting,
        begin: &mut dyn FnMut(usize),
        end: &mut dyn FnMut(),
    ) -> Result<(), CommandError> {
        let chunks = match names.is_empty() && deleting.tables != Tables::All {
            true => ChunkTable::new(),
            false => self.chunks_for_deletion(opened, names, deleting)?,
        };
        let watch = Watch::begin();
        let deleted = self.in_batches(opened, &chunks, names, deleting, begin);
        drop(watch);
        let deleted = deleted?;
        end();
        self.tell_deleted(opened, &chunks, &deleted.stats, deleting.tables)
    }

    fn chunks_for_deletion(
        &self,
        opened: &Opened,
        names: &[Vec<u8>],
        deleting: Deleting,
    ) -> Result<ChunkTable, CommandError> {
        match self.load_chunks(opened) {
            Err(_) if deleting.forced => {
                let monitor = self.reporter.as_ref();
                let session = &opened.session;
                Ok(count_around_damage(
                    session,
                    names,
                    self.threads(),
                    monitor,
                )?)
            }
            loaded => loaded,
        }
    }

    fn in_batches(
        &self,
        opened: &mut Opened,
        chunks: &ChunkTable,
        names: &[Vec<u8>],
        deleting: Deleting,
        begin: &mut dyn FnMut(usize),
    ) -> Result<Deleted, CommandError> {
        let options = DeleteOptions {
            damage: match deleting.forced {
                true => Damage::PassOver,
                false => Damage::Refuse,
            },
            parts: match self.common.consider_part_files {
                true => PartFiles::AsFiles,
                false => PartFiles::Apart,
            },
            threads: self.threads(),
            progress: deleting.progress,
        };
        let monitor = self.reporter.as_ref();
        let mut sum = Deleted::default();
        let (mut done, mut uncommitted) = (0, false);
        let mut last_commit = Instant::now();
        let interval = match deleting.checkpoint_interval {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds),
        };
        for batch in names.chunks(BATCH) {
            let mut begin = |index| begin(done + index);
            let session = &mut opened.session;
            let deleted = delete_archives(session, chunks, batch, options, &mut begin, monitor)?;
            done += batch.len();
            add(&mut sum, deleted);
            uncommitted = true;
            if monitor.interrupted() {
                self.info("checkpoint requested: starting checkpoint creation...");
                self.commit_deleted(opened, chunks, sum)?;
                self.info("checkpoint requested: finished checkpoint creation!");
                return Err(EngineError::Interrupted.into());
            }
            if last_commit.elapsed() > interval {
                self.commit_deleted(opened, chunks, sum)?;
                last_commit = Instant::now();
                uncommitted = false;
            }
        }
        if uncommitted {
            self.commit_deleted(opened, chunks, sum)?;
        }
        Ok(sum)
    }

    fn commit_deleted(
        &self,
        opened: &mut Opened,
        chunks: &ChunkTable,
        deleted: Deleted,
    ) -> Result<(), CommandError> {
        commit(&mut opened.session, crate::world::real())?;
        self.remember(opened)?;
        // With references too many it is better counted anew.
        if !deleted.damaged {
            self.save_chunks(opened, chunks);
        }
        Ok(())
    }

    fn tell_deleted(
        &self,
        opened: &Opened,
        chunks: &ChunkTable,
        stats: &ArchiveStats,
        tables: Tables,
    ) -> Result<(), CommandError> {
        if tables == Tables::None {
            return Ok(());
        }
        let units = self.units();
        let mut lines = vec![
            DASHES.to_owned(),
            HEADER.to_owned(),
            deleted_sizes(units, stats),
        ];
        if tables == Tables::All {
            lines.push(self.totals(opened, chunks)?.table(units));
        }
        lines.push(DASHES.to_owned());
        self.log().stats(&lines.join("\n"));
        Ok(())
    }
}

fn add(sum: &mut Deleted, deleted: Deleted) {
    sum.stats.original_bytes += deleted.stats.original_bytes;
    sum.stats.compressed_bytes += deleted.stats.compressed_bytes;
    sum.stats.deduplicated_bytes += deleted.stats.deduplicated_bytes;
    sum.damaged |= deleted.damaged;
}
