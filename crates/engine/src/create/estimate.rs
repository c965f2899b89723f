//! What an archive made now would add to a repository, by directory.
//!
//! Files that changed are read, cut and compressed by the very stages that make an archive, and
//! what comes out goes nowhere. So the bytes are those that [`create`](super::create) would store.
//! Nothing is encrypted that anybody could see: the repository may be closed by then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::event::{ArchiveStats, Event, Monitor};

/// Directories are told apart by so many names of their paths.
const DEPTH: usize = 3;

/// Directories that are told apart; what more there are is counted for those above them.
const MOST_DIRECTORIES: usize = 10_000;

/// What an archive would add.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Sums over its content.
    pub stats: ArchiveStats,
    /// All that is new.
    pub new: Share,
    /// The same by directories, whose paths have at most three names.
    pub directories: BTreeMap<Vec<u8>, Share>,
}

/// A part of what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Files that are not known, or changed.
    pub files: u64,
    /// Bytes that would be stored for them.
    pub bytes: u64,
}

impl Share {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// Listens to the making of an archive, and passes on what is trouble.
pub(super) struct Tally<'a> {
    monitor: &'a dyn Monitor,
    estimate: Mutex<Estimate>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(monitor: &'a dyn Monitor) -> Self {
        Self {
            monitor,
            estimate: Mutex::default(),
        }
    }

    pub(super) fn finish(self, stats: ArchiveStats) -> Estimate {
        let mut estimate = self
            .estimate
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        estimate.stats = stats;
        estimate
    }
}

impl Monitor for Tally<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            // Told after each file that was read, and for none else.
            Event::ArchiveProgress { stats, path } => {
                let mut estimate = self.estimate.lock().unwrap_or_else(PoisonError::into_inner);
                let before = estimate.stats;
                if stats.files > before.files {
                    let bytes = stats.deduplicated_bytes - before.deduplicated_bytes;
                    estimate.add(path, bytes);
                }
                estimate.stats = stats;
                drop(estimate);
                self.monitor.event(Event::ArchiveProgress { stats, path });
            }
            // The dry run itself has its letter for each.
            Event::FileStatus { .. } | Event::ArchiveFinished { .. } => {}
            event => self.monitor.event(event),
        }
    }

    fn interrupted(&self) -> bool {
        self.monitor.interrupted()
    }
}

impl Estimate {
    fn add(&mut self, path: &[u8], bytes: u64) {
        self.new.add(bytes);
        for depth in (0..=DEPTH).rev() {
            let directory = directory(path, depth);
            let known = self.directories.contains_key(directory);
            if known || depth == 0 || self.directories.len() < MOST_DIRECTORIES {
                let share = self.directories.entry(directory.to_vec()).or_default();
                share.add(bytes);
                return;
            }
        }
    }
}

/// The directory of a path, with at most `depth` names.
fn directory(path: &[u8], depth: usize) -> &[u8] {
    let begin = usize::from(path.first() == Some(&b'/'));
    let slashes = path
        .iter()
        .enumerate()
        .skip(begin)
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at)
        .take(depth);
    let end = slashes.last().unwrap_or(begin.min(path.len()));
    path.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_have_three_names_at_most() {
        let of =
            |path: &str| String::from_utf8(directory(path.as_bytes(), DEPTH).to_vec()).unwrap();
        assert_eq!(of("/var/lib/mysql/db/table.ibd"), "/var/lib/mysql");
        assert_eq!(of("home/anna/notes"), "home/anna");
        assert_eq!(of("/vmlinuz"), "/");
        assert_eq!(of("notes"), "");
    }
}
