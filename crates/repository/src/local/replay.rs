//! Rebuilding the index and the hints from segments: after a crash, and in a check.

use std::ops::ControlFlow;
use std::path::Path;

use fastness_format::hash_index::{Location, RepositoryIndex};
use fastness_format::hints::{Hints, StoredHints};
use fastness_format::id::SegmentNumber;
use fastness_format::segment::{Entry, Tag};

use super::index::{self, LoadError};
use super::segments::Segments;
use crate::error::{RepositoryError, Result};
use crate::monitor::{Event, Monitor};

const REPLAY: &str = "repository.replay_segments";

/// What is known of the objects in the segments up to some transaction.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) index: RepositoryIndex,
    pub(super) hints: Hints,
}

impl Tables {
    /// Adds the entries of the next segment.
    pub(super) fn apply(
        &mut self,
        segments: &Segments,
        segment: u32,
        entries: &[Entry],
    ) -> Result<()> {
        self.hints.segments.insert(segment, 0);
        for entry in entries {
            match entry.tag {
                Tag::Put => self.apply_put(segment, entry),
                Tag::Delete => self.apply_delete(segments, entry)?,
                Tag::Commit => {}
            }
        }
        if self.hints.segments.get(&segment) == Some(&0) {
            let len = segments.len(segment)?.unwrap_or(0);
            self.hints.compact.insert(segment, len.cast_signed());
        }
        Ok(())
    }

    fn apply_put(&mut self, segment: u32, entry: &Entry) {
        let location = Location {
            segment: SegmentNumber(segment),
            offset: entry.offset,
        };
        if let Some(before) = self.index.insert(&entry.id, location) {
            self.supersede(before, entry, entry.size.into());
        }
        *self.hints.segments.entry(segment).or_default() += 1;
        self.hints.storage_quota_use += i64::from(entry.size);
    }

    fn apply_delete(&mut self, segments: &Segments, entry: &Entry) -> Result<()> {
        let Some(before) = self.index.remove(&entry.id) else {
            return Ok(());
        };
        // A segment that is gone was compacted after the index was saved.
        if segments.len(before.segment.0)?.is_some() {
            // Damage shows when the segment itself is read; here the number is only an estimate.
            let len = segments.entry_len(before, &entry.id).unwrap_or(0);
            self.supersede(before, entry, len as i64);
        }
        Ok(())
    }

    fn supersede(&mut self, before: Location, entry: &Entry, len: i64) {
        let segment = before.segment.0;
        *self.hints.compact.entry(segment).or_default() += len;
        *self.hints.segments.entry(segment).or_default() -= 1;
        let shadows = self.hints.shadow_index.entry(entry.id).or_default();
        shadows.push(segment);
    }

    /// Forgets what is noted of segments that do not exist.
    fn forget_missing(&mut self, existing: &[u32]) {
        let exists = |segment: &u32| existing.binary_search(segment).is_ok();
        self.hints.segments.retain(|segment, _| exists(segment));
        self.hints.compact.retain(|segment, _| exists(segment));
        // Or else a DELETE would be kept for a PUT that is gone, by every compaction to come.
        for segments in self.hints.shadow_index.values_mut() {
            segments.retain(exists);
        }
    }
}

/// Loads the tables of a transaction, or none of the two if one is damaged; that is removed then.
fn load(repository: &Path, transaction: u32, monitor: &dyn Monitor) -> Result<Option<Tables>> {
    let index = match index::load_index(repository, transaction, monitor) {
        Ok(index) => index,
        Err(LoadError::Damaged(reason)) => {
            monitor.warning(format!(
                "Checking repository transaction due to previous error: {reason}"
            ));
            index::remove_index(repository, transaction)?;
            return Ok(None);
        }
        Err(LoadError::Other(error)) => return Err(error),
    };
    match index::load_hints(repository, transaction, monitor) {
        Ok(StoredHints::Current(hints)) => Ok(Some(Tables { index, hints })),
        // Those of Borg 1.0 lack what a replay goes on with.
        Ok(StoredHints::Old(_)) => Ok(None),
        Err(LoadError::Damaged(reason)) => {
            monitor.warning(hints_lost(&reason));
            index::remove_hints(repository, transaction)?;
            index::remove_index(repository, transaction)?;
            Ok(None)
        }
        Err(LoadError::Other(error)) => Err(error),
    }
}

/// What to say when hints cannot be used.
pub(super) fn hints_lost(reason: &str) -> String {
    format!("Repository hints file missing or corrupted, trying to recover: {reason}")
}

/// Makes the tables of transaction `to`, starting from those of `from` if they are good.
pub(super) fn replay(
    repository: &Path,
    segments: &Segments,
    from: Option<u32>,
    to: u32,
    monitor: &dyn Monitor,
) -> Result<Tables> {
    let _stage = tracing::trace_span!("replay").entered();
    let known = match from {
        Some(from) => load(repository, from, monitor)?.map(|tables| (from, tables)),
        None => None,
    };
    monitor.warning("Replaying segments. Please wait, this can take a while...");
    let (from, mut tables) = known.map_or((None, Tables::default()), |(from, tables)| {
        (Some(from), tables)
    });
    let existing = segments.list()?;
    let mut list = Vec::new();
    for &segment in &existing {
        let wanted = from.is_none_or(|from| segment > from) && segment <= to;
        // Empty files are what a removal leaves when it is interrupted.
        if wanted && segments.len(segment)?.is_some() {
            list.push(segment);
        }
    }
    let mut done = 0;
    segments.scan_all(&list, |segment, scanned| {
        monitor.event(Event::Percent {
            msgid: REPLAY,
            label: "Replaying segments",
            current: done,
            total: list.len() as u64,
        });
        done += 1;
        let entries = scanned.map_err(RepositoryError::from)?;
        tables.apply(segments, segment, &entries)?;
        Ok(ControlFlow::Continue(()))
    })?;
    monitor.event(Event::PercentFinished { msgid: REPLAY });
    tables.forget_missing(&existing);
    Ok(tables)
}

/// Completes hints of Borg 1.0, which do not say how much can be freed.
pub(super) fn complete_old_hints(
    mut hints: Hints,
    index: &RepositoryIndex,
    segments: &Segments,
) -> Result<Hints> {
    let listed: Vec<u32> = hints.compact.keys().copied().collect();
    hints.compact.clear();
    for segment in listed {
        let Some(len) = segments.len(segment)? else {
            hints.segments.remove(&segment);
            continue;
        };
        if hints.segments.get(&segment).copied().unwrap_or(0) == 0 {
            hints.compact.insert(segment, len.cast_signed());
            continue;
        }
        let mut freeable = 0;
        let stop = std::sync::atomic::AtomicBool::new(false);
        segments
            .verify(segment, &stop, |entry| {
                let location = Location {
                    segment: SegmentNumber(segment),
                    offset: entry.offset,
                };
                let dead = match entry.tag {
                    Tag::Put => index.get(&entry.id) != Some(location),
                    Tag::Delete => true,
                    Tag::Commit => false,
                };
                if dead {
                    freeable += i64::from(entry.size);
                }
            })
            .map_err(RepositoryError::from)?;
        hints.compact.insert(segment, freeable);
    }
    hints.storage_quota_use = 0;
    hints.shadow_index.clear();
    Ok(hints)
}
