//! Transactions: beginning, putting and deleting objects, committing, rolling back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastness_format::hash_index::Location;
use fastness_format::hints::{Hints, StoredHints};
use fastness_format::id::ChunkId;
use fastness_format::segment::{HEADER_LEN, MAX_VALUE_LEN, PUT_HEADER_LEN};

use super::index::{self, LoadError};
use super::lock::LockError;
use super::replay::{complete_old_hints, hints_lost};
use super::segments::Segments;
use super::writer::Writer;
use super::{Doom, LocalRepository, State};
use crate::error::{RepositoryError, Result};
use crate::storage;
use crate::{CommitReport, CompactOptions};

/// The parts of a repository that change together while a transaction is open.
pub(super) struct Open<'a> {
    pub(super) segments: &'a Segments,
    pub(super) writer: &'a mut Writer,
    pub(super) state: &'a mut State,
}

impl Open<'_> {
    pub(super) fn hints(&mut self) -> &mut Hints {
        self.state.hints.get_or_insert_default()
    }

    fn put(&mut self, id: &ChunkId, value: &[u8]) -> Result<()> {
        if let Some(at) = self.state.index.get(id) {
            // Compaction counts on this DELETE when it decides what it may drop.
            self.supersede(id, at)?;
        }
        let at = self.writer.put(self.segments, id, value)?;
        self.state.index.insert(id, at);
        let hints = self.hints();
        *hints.segments.entry(at.segment.0).or_default() += 1;
        hints.storage_quota_use += (PUT_HEADER_LEN + value.len()) as i64;
        Ok(())
    }

    fn delete(&mut self, id: &ChunkId, at: Location) -> Result<()> {
        self.supersede(id, at)?;
        self.state.index.remove(id);
        Ok(())
    }

    /// Writes a DELETE of the object at `at` and notes what it leaves behind.
    fn supersede(&mut self, id: &ChunkId, at: Location) -> Result<()> {
        let len = match self.writer.unwritten_len(at, id) {
            Some(len) => len,
            None => self.segments.entry_len(at, id),
        };
        // What is damaged can still be deleted; the number is only an estimate.
        let len = match len {
            Err(RepositoryError::Integrity(_) | RepositoryError::SegmentMissing(_)) => 0,
            len => len?,
        };
        let deleted = self.writer.delete(self.segments, id)?;
        let hints = self.hints();
        hints
            .shadow_index
            .entry(*id)
            .or_default()
            .push(at.segment.0);
        *hints.segments.entry(at.segment.0).or_default() -= 1;
        *hints.compact.entry(at.segment.0).or_default() += len as i64;
        *hints.compact.entry(deleted.segment.0).or_default() += PUT_HEADER_LEN as i64;
        hints.segments.entry(deleted.segment.0).or_default();
        Ok(())
    }

    /// Notes a COMMIT in segment `segment`.
    pub(super) fn committed(&mut self, segment: u32) {
        self.state.transaction = Some(segment);
        let hints = self.hints();
        hints.segments.entry(segment).or_default();
        *hints.compact.entry(segment).or_default() += HEADER_LEN as i64;
    }
}

impl LocalRepository {
    /// Returns the parts of the open transaction.
    pub(super) fn open_transaction(&mut self) -> Result<Open<'_>> {
        match (self.state.get_mut(), self.writer.as_mut()) {
            (Some(state), Some(writer)) => Ok(Open {
                segments: &self.segments,
                writer,
                state,
            }),
            _ => Err(RepositoryError::Aborted(self.path.display().to_string())),
        }
    }

    pub(super) fn put_object(&mut self, id: &ChunkId, value: &[u8]) -> Result<()> {
        self.refuse_if_doomed()?;
        if value.len() > MAX_VALUE_LEN {
            let len = value.len();
            return Err(RepositoryError::Integrity(format!(
                "More than allowed put data [{len} > {MAX_VALUE_LEN}]"
            )));
        }
        self.begin()?;
        let result = self.open_transaction()?.put(id, value);
        self.doom_on_failure(result)?;
        self.enforce_quota()
    }

    /// Brings everything written so far to the disk, as whole segments, without a COMMIT.
    pub(super) fn complete_written(&mut self) -> Result<()> {
        let completed = self.writer.as_mut().map_or(Ok(()), Writer::complete);
        self.doom_on_failure(completed)
    }

    pub(super) fn delete_object(&mut self, id: &ChunkId) -> Result<()> {
        self.refuse_if_doomed()?;
        let at = self.state()?.index.get(id);
        let at = at.ok_or_else(|| self.not_found(id))?;
        self.begin()?;
        let result = self.open_transaction()?.delete(id, at);
        self.doom_on_failure(result)
    }

    fn refuse_if_doomed(&self) -> Result<()> {
        match self.doomed {
            None => Ok(()),
            Some(Doom::Quota { quota, used }) => {
                Err(RepositoryError::StorageQuotaExceeded { quota, used })
            }
            Some(Doom::Failed) => Err(RepositoryError::Aborted(self.name())),
        }
    }

    /// After a failure in its midst nothing of a transaction can be relied upon.
    fn doom_on_failure<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.doomed = Some(Doom::Failed);
        }
        result
    }

    /// Begins a transaction if there is none.
    pub(super) fn begin(&mut self) -> Result<()> {
        if self.writer.is_some() {
            return Ok(());
        }
        self.upgrade_lock()?;
        self.remove_temporary_files()?;
        let transaction = self.state_mut()?.transaction;
        if transaction.is_none() {
            self.refuse_unless_new()?;
        }
        let removed = self.segments.remove_above(transaction)?;
        self.monitor.debug(format!(
            "Cleaned up {removed} uncommitted segment files (== everything after segment {}).",
            transaction.map_or("-".to_owned(), |number| number.to_string())
        ));
        self.load_hints(transaction)?;
        self.forget_order();
        self.writer = Some(Writer::after(transaction, self.config.max_segment_size));
        Ok(())
    }

    /// Without any commit, segments are the rest of the first transaction ever, unless they have
    /// gaps: then commits have been lost, and what is left may still be saved.
    fn refuse_unless_new(&self) -> Result<()> {
        let list = self.segments.list()?;
        if (0..).zip(&list).all(|(number, &segment)| number == segment) {
            return Ok(());
        }
        Err(self.check_needed("there are segments, but none that is committed"))
    }

    fn load_hints(&mut self, transaction: Option<u32>) -> Result<()> {
        let Some(number) = transaction else {
            self.state_mut()?.hints = Some(Hints::default());
            return Ok(());
        };
        if self.state_mut()?.hints.is_some() {
            return Ok(());
        }
        let mut hints = match index::load_hints(&self.path, number, &*self.monitor) {
            Ok(StoredHints::Current(hints)) => hints,
            Ok(StoredHints::Old(hints)) => {
                complete_old_hints(hints, &self.state()?.index, &self.segments)?
            }
            Err(LoadError::Other(error)) => return Err(error),
            Err(LoadError::Damaged(reason)) => {
                self.monitor.warning(hints_lost(&reason));
                index::remove_hints(&self.path, number)?;
                index::remove_index(&self.path, number)?;
                let state = self.replay(None, number)?;
                *self.state_mut()? = state;
                return Ok(());
            }
        };
        hints.drop_uncommitted(number);
        self.tell_quota(&hints);
        self.state_mut()?.hints = Some(hints);
        Ok(())
    }

    /// Removes what writers that were killed left half written.
    fn remove_temporary_files(&self) -> Result<()> {
        let own = format!("-{}.tmp", std::process::id());
        for name in storage::names(&self.path)? {
            let ours = [
                "index.",
                "hints.",
                "integrity.",
                "config-",
                "nonce-",
                "README-",
            ]
            .iter()
            .any(|start| name.starts_with(start));
            // One of this process may be in use: nonces are reserved by other threads.
            if ours && name.ends_with(".tmp") && !name.ends_with(&own) {
                storage::remove_if_exists(&self.path.join(name))?;
            }
        }
        Ok(())
    }

    pub(super) fn commit_transaction(
        &mut self,
        compaction: Option<CompactOptions>,
    ) -> Result<CommitReport> {
        let _stage = tracing::trace_span!("commit").entered();
        if let Err(error) = self.refuse_if_doomed() {
            self.roll_back();
            return Err(error);
        }
        if self.writer.is_none() {
            if compaction.is_none() {
                return Ok(CommitReport::default());
            }
            self.begin()?;
        }
        self.verify_lock()?;
        self.check_free_space()?;
        self.tell_quota_now()?;
        let compaction = compaction.filter(|_| !self.append_only);
        let result = self.write_commit(compaction);
        self.doom_on_failure(result)
    }

    fn write_commit(&mut self, compaction: Option<CompactOptions>) -> Result<CommitReport> {
        let mut open = self.open_transaction()?;
        let segment = open.writer.commit(open.segments)?;
        open.committed(segment);
        let freed_bytes = match compaction {
            Some(options) => Some(self.compact_segments(&options)?),
            None => None,
        };
        self.save_tables()?;
        self.writer = None;
        self.created = false;
        Ok(CommitReport { freed_bytes })
    }

    /// Saves index and hints of the last commit.
    pub(super) fn save_tables(&mut self) -> Result<()> {
        let _stage = tracing::trace_span!("save_index").entered();
        let Some(state) = self.state.get_mut() else {
            return Ok(());
        };
        let (Some(transaction), Some(hints)) = (state.transaction, &state.hints) else {
            return Ok(());
        };
        let (index, path) = (&state.index, &self.path);
        if self.append_only {
            log_transaction(path, transaction, self.now)?;
        }
        index::save(path, transaction, index, hints)
    }

    /// Logs a transaction of an append-only repository.
    pub(super) fn log_transaction(&self, transaction: u32) -> Result<()> {
        if self.append_only {
            log_transaction(&self.path, transaction, self.now)?;
        }
        Ok(())
    }

    /// Refuses to commit when somebody broke the lock: another writer may be at work.
    fn verify_lock(&mut self) -> Result<()> {
        let intact = match &*self.lock() {
            Some(lock) => lock.is_exclusive_on_disk(),
            None => !self.locked,
        };
        if intact {
            return Ok(());
        }
        self.doomed = Some(Doom::Failed);
        Err(RepositoryError::Lock(LockError::NotLocked {
            path: self.path.join("lock.exclusive"),
        }))
    }

    /// Ends the transaction, if there is one, and forgets what it did.
    pub(super) fn roll_back(&mut self) {
        let was_open = self.writer.take().is_some();
        if self.doomed.take().is_none() && !was_open {
            return;
        }
        self.forget_order();
        let Some(state) = self.state.take() else {
            return;
        };
        if !was_open {
            return;
        }
        // Gives the space back at once. Not when the lock was broken: these may be the segments
        // of somebody else. And if it fails, the next writer does it.
        let ours = match &*self.lock() {
            Some(lock) => lock.is_exclusive_on_disk(),
            None => !self.locked,
        };
        if ours && let Err(error) = self.segments.remove_above(state.transaction) {
            self.monitor.warning(error.to_string());
        }
    }
}

fn log_transaction(
    repository: &std::path::Path,
    transaction: u32,
    now: fn() -> SystemTime,
) -> Result<()> {
    let line = format!("transaction {transaction}, UTC time {}", utc(now()));
    storage::append_line(&repository.join("transactions"), &line)
}

/// The time as `2026-11-22T18:38:25.000123`.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (days, of_day) = (seconds / 86400, seconds % 86400);
    // Days are counted from 0000-03-01 on, so that leap days come last in their year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}",
        era * 400 + year + carry,
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since.subsec_micros()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_borg_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000001"),
            (951_782_400, "2000-02-29T00:00:00.000001"),
            (1_795_372_705, "2026-11-22T18:38:25.000001"),
            (4_107_542_399, "2100-02-28T23:59:59.000001"),
            (4_107_542_400, "2100-03-01T00:00:00.000001"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(1);
            assert_eq!(utc(time), text);
        }
    }
}
