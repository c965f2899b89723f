//! Checking a repository, and repairing it: every segment is verified, the index is rebuilt in
//! memory from what they hold, and compared with the one on disk or saved in its place.
//!
//! A damaged segment counts as empty unless it is repaired: then all entries in it that are whole
//! are saved to a new file, which takes its place.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use fastness_format::hash_index::{Location, RepositoryIndex};
use fastness_format::id::ChunkId;
use fastness_format::segment::{
    Entry, HEADER_LEN, MAGIC, MAGIC_LEN, MAX_ENTRY_LEN, Search, find_entry,
};

use super::replay::Tables;
use super::segments::{ScanError, Scanned};
use super::writer::Writer;
use super::{LocalRepository, State, config};
use crate::CheckOptions;
use crate::error::{RepositoryError, Result};
use crate::monitor::{Event, Monitor};
use crate::storage;

const PROGRESS: &str = "repository.check";
const LAST_CHECKED: &str = "last_segment_checked";
/// Bytes of a damaged segment that are in memory while entries are looked for.
const WINDOW_BYTES: usize = MAX_ENTRY_LEN + 4 * 1024 * 1024;

/// Tells of errors and remembers that there were some.
struct Findings<'a> {
    monitor: &'a dyn Monitor,
    errors: bool,
}

impl Findings<'_> {
    fn error(&mut self, message: impl AsRef<str>) {
        self.errors = true;
        self.monitor.error(message);
    }
}

impl LocalRepository {
    pub(super) fn check_segments(&mut self, options: &CheckOptions) -> Result<bool> {
        let _stage = tracing::trace_span!("check_segments").entered();
        let repair = options.repair;
        if repair && self.append_only {
            return Err(RepositoryError::AppendOnly(self.name()));
        }
        self.roll_back();
        if repair {
            self.upgrade_lock()?;
        }
        let monitor = std::sync::Arc::clone(&self.monitor);
        let mut findings = Findings {
            monitor: &*monitor,
            errors: false,
        };
        monitor.info("Starting repository check");
        let Some(transaction) = self.transaction_to_check()? else {
            findings.error("This repository contains no valid data.");
            return Ok(false);
        };
        let committed = self.committed_for_check(repair)?;
        if repair {
            self.remove_left_segment_copies()?;
            self.segments.remove_above(Some(transaction))?;
        }
        let partial = options.max_duration.is_some() && !repair;
        let tables = self.read_segments(options, partial, transaction, &mut findings)?;
        if !partial {
            monitor.info("Starting repository index check");
            if repair {
                self.save_repaired(tables, transaction, committed, &mut findings)?;
            } else if let Some(state) = self.state.get() {
                compare(&state.index, &tables.index, &mut findings);
            }
        }
        tell_result(partial, repair, &findings);
        Ok(!findings.errors || repair)
    }

    /// The transaction up to which segments count: what opening finds, or the best guess.
    fn transaction_to_check(&self) -> Result<Option<u32>> {
        match self.state() {
            Ok(State {
                transaction: Some(transaction),
                ..
            }) => return Ok(Some(*transaction)),
            Ok(_) => {}
            Err(error @ RepositoryError::Lock(_)) => return Err(error),
            Err(error) => self
                .monitor
                .debug(format!("Failed to read committed index ({error})")),
        }
        if let Some(committed) = self.segments.last_committed()? {
            return Ok(Some(committed));
        }
        if let Some(indexed) = super::index::last_index(&self.path)? {
            return Ok(Some(indexed));
        }
        self.segments.latest()
    }

    /// The last committed segment, as far as a repair must know it.
    fn committed_for_check(&self, repair: bool) -> Result<Option<u32>> {
        if repair {
            return self.segments.last_committed();
        }
        Ok(None)
    }

    /// Verifies all segments, or as many as there is time for, and returns what they hold.
    fn read_segments(
        &mut self,
        options: &CheckOptions,
        partial: bool,
        transaction: u32,
        findings: &mut Findings<'_>,
    ) -> Result<Tables> {
        let begin = Instant::now();
        let all = self.segments.list()?;
        let start = self.first_segment_to_check(partial, findings.monitor)?;
        let wanted = |segment: &u32| *segment >= start && *segment <= transaction;
        let list: Vec<u32> = all.iter().copied().filter(wanted).collect();
        let mut tables = Tables::default();
        let mut stopped_at = None;
        let mut done = (all.len() - list.len()) as u64;
        self.segments.scan_all(&list, |segment, scanned| {
            findings.monitor.event(Event::Percent {
                msgid: PROGRESS,
                label: "Checking segments",
                current: done,
                total: all.len() as u64,
            });
            done += 1;
            let entries = self.sound_entries(segment, scanned, options.repair, findings)?;
            if !partial {
                tables.apply(&self.segments, segment, &entries)?;
            }
            let over = options
                .max_duration
                .is_some_and(|max| begin.elapsed() > max);
            if partial && over {
                stopped_at = Some(segment);
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        findings
            .monitor
            .event(Event::PercentFinished { msgid: PROGRESS });
        match stopped_at {
            Some(segment) => findings.monitor.info(format!(
                "finished partial segment check, last segment checked is {segment}"
            )),
            None => findings.monitor.info(format!(
                "finished segment check at segment {}",
                all.last().map_or(-1, |&last| i64::from(last))
            )),
        }
        self.remember_last_checked(stopped_at)?;
        Ok(tables)
    }

    fn first_segment_to_check(&self, partial: bool, monitor: &dyn Monitor) -> Result<u32> {
        if !partial {
            self.remember_last_checked(None)?;
            return Ok(0);
        }
        let last = config::read(&self.path)?;
        let last = last.get(LAST_CHECKED).and_then(|text| text.parse().ok());
        let start = last.map_or(0, |last: u32| last.saturating_add(1));
        monitor.info(format!("skipping to segments >= {start}"));
        Ok(start)
    }

    fn remember_last_checked(&self, segment: Option<u32>) -> Result<()> {
        config::update(&self.path, &*self.monitor, |config| match segment {
            Some(segment) => config.set(LAST_CHECKED, &segment.to_string()),
            None => drop(config.remove(LAST_CHECKED)),
        })
    }

    /// The entries of a segment that can be relied upon: all, or none, or, after repair, those
    /// that were saved.
    fn sound_entries(
        &self,
        segment: u32,
        scanned: Scanned,
        repair: bool,
        findings: &mut Findings<'_>,
    ) -> Result<Vec<Entry>> {
        let damage = match scanned {
            Ok(entries) => return Ok(entries),
            Err(ScanError::Unreadable(error)) => return Err(error),
            Err(ScanError::Damaged(damage)) => damage,
        };
        findings.error(RepositoryError::Integrity(damage.to_string()).to_string());
        if !repair {
            return Ok(Vec::new());
        }
        let path = self.segments.path(segment);
        findings
            .monitor
            .info(format!("attempting to recover {}", path.display()));
        self.segments.forget(segment);
        salvage(&path)?;
        Ok(self.segments.scan(segment, &AtomicBool::new(false))?)
    }

    /// Makes what was found in the segments the state of the repository.
    fn save_repaired(
        &mut self,
        tables: Tables,
        transaction: u32,
        committed: Option<u32>,
        findings: &mut Findings<'_>,
    ) -> Result<()> {
        let transaction = match committed {
            Some(_) => transaction,
            None => {
                findings.error(format!("Adding commit tag to segment {transaction}"));
                let mut writer = Writer::after(Some(transaction), self.config.max_segment_size);
                writer.commit(&self.segments)?
            }
        };
        self.state.take();
        self.forget_order();
        let _ = self.state.set(State {
            transaction: Some(transaction),
            index: tables.index,
            hints: Some(tables.hints),
        });
        self.save_tables()
    }
}

fn tell_result(partial: bool, repair: bool, findings: &Findings<'_>) {
    let mode = if partial { "partial" } else { "full" };
    let monitor = findings.monitor;
    match (findings.errors, repair) {
        (false, _) => monitor.info(format!(
            "Finished {mode} repository check, no problems found."
        )),
        (true, true) => monitor.info(format!(
            "Finished {mode} repository check, errors found and repaired."
        )),
        (true, false) => {
            monitor.error(format!("Finished {mode} repository check, errors found."));
        }
    }
}

fn compare(committed: &RepositoryIndex, rebuilt: &RepositoryIndex, findings: &mut Findings<'_>) {
    if committed.len() == rebuilt.len() {
        findings.monitor.info("Index object count match.");
    } else {
        findings.error("Index object count mismatch.");
        findings.error(format!("committed index: {} objects", committed.len()));
        findings.error(format!("rebuilt index:   {} objects", rebuilt.len()));
    }
    for (id, at) in rebuilt.iter() {
        let known = committed.get(&id);
        if known != Some(at) {
            findings.error(difference(&id, Some(at), known));
        }
    }
    for (id, at) in committed.iter() {
        if !rebuilt.contains(&id) {
            findings.error(difference(&id, None, Some(at)));
        }
    }
}

fn difference(id: &ChunkId, rebuilt: Option<Location>, committed: Option<Location>) -> String {
    let place = |at: Option<Location>| match at {
        Some(at) => format!("({}, {})", at.segment, at.offset),
        None => "<not found>".to_owned(),
    };
    format!(
        "ID: {id} rebuilt index: {:<16} committed index: {:<16}",
        place(rebuilt),
        place(committed)
    )
}

/// Replaces a damaged segment by one with the entries in it that are whole.
fn salvage(path: &Path) -> Result<()> {
    let source = storage::open(path)?;
    let len = storage::file_len(path)?.unwrap_or(0);
    storage::replace_with(path, |target, temporary| {
        storage::write_all(target, temporary, &[&MAGIC])?;
        if len < (MAGIC_LEN + HEADER_LEN) as u64 {
            return Ok(());
        }
        copy_entries(&source, path, len, |entry| {
            storage::write_all(target, temporary, &[entry])
        })
    })
}

fn copy_entries(
    source: &File,
    path: &Path,
    len: u64,
    mut copy: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut window = Vec::new();
    let mut start = 0;
    loop {
        let wanted = WINDOW_BYTES - window.len();
        let end = start + window.len() as u64;
        storage::read_at(source, path, end, wanted, &mut window)?;
        let mut at = 0;
        loop {
            let rest = window.get(at..).unwrap_or_default();
            match find_entry(rest, len.saturating_sub(start + at as u64)) {
                Search::Found { start, len } => {
                    copy(rest.get(start..start + len).unwrap_or_default())?;
                    at += start + len;
                }
                Search::MoreNeeded { from } => {
                    at += from;
                    break;
                }
            }
        }
        if window.len() < WINDOW_BYTES || at == 0 {
            return Ok(());
        }
        window.drain(..at);
        start += at as u64;
    }
}
