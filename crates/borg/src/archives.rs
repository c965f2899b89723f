//! Which archives a command works on: names, places in the order, checkpoints.

use fastness_engine::select::archive_glob::ArchiveGlob;
use fastness_engine::times;
use fastness_format::id::ChunkId;
use fastness_format::manifest::Manifest;
use jiff::Timestamp;

use crate::error::{CommandError, with_causes};
use crate::options::values::SortKey;
use crate::options::{ArchiveFilter, NameFilter};

/// Checkpoints are told by their names alone.
const CHECKPOINT: &[u8] = b".checkpoint";

/// An archive as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedArchive {
    /// Its name.
    pub name: Vec<u8>,
    /// Its id.
    pub id: ChunkId,
    /// When it was begun.
    pub time: Timestamp,
}

/// Whether archives count that interrupted runs left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpoints {
    /// They do.
    Consider,
    /// They do not.
    Ignore,
}

impl NameFilter {
    /// Returns what names of archives must match, if there is a filter.
    ///
    /// # Errors
    /// When it is no glob.
    pub fn archive_glob(&self) -> Result<Option<ArchiveGlob>, CommandError> {
        let glob = self.glob()?;
        glob.map(|glob| ArchiveGlob::new(glob.as_bytes()))
            .transpose()
            .map_err(|error| CommandError::usage(with_causes(&error)))
    }
}

impl ArchiveFilter {
    /// Returns the archives that the options pick, in the order that they ask for.
    ///
    /// # Errors
    /// When an option is no glob or no key, or the manifest has a time that is none.
    pub fn archives(
        &self,
        manifest: &Manifest,
        checkpoints: Checkpoints,
    ) -> Result<Vec<ListedArchive>, CommandError> {
        let keys = self.sort_keys()?;
        let glob = self.name.archive_glob()?;
        let mut archives = Vec::new();
        for (name, entry) in &manifest.archives {
            let wanted = glob.as_ref().is_none_or(|glob| glob.matches(name));
            if !wanted || checkpoints == Checkpoints::Ignore && is_checkpoint(name) {
                continue;
            }
            archives.push(ListedArchive {
                name: name.clone(),
                id: entry.id,
                time: times::parse_archive_time(&entry.time)
                    .map_err(|error| CommandError::general(with_causes(&error)))?,
            });
        }
        // The first key matters most, so it comes last.
        for key in keys.into_iter().rev() {
            match key {
                SortKey::Timestamp => archives.sort_by_key(|archive| archive.time),
                SortKey::Name => archives.sort_by(|one, other| one.name.cmp(&other.name)),
                SortKey::Id => archives.sort_by_key(|archive| archive.id),
            }
        }
        let count = |wanted: u64| usize::try_from(wanted).unwrap_or(usize::MAX);
        if let Some(first) = self.first {
            archives.truncate(count(first));
        } else if let Some(last) = self.last {
            archives.drain(..archives.len().saturating_sub(count(last)));
        }
        Ok(archives)
    }
}

fn is_checkpoint(name: &[u8]) -> bool {
    name.windows(CHECKPOINT.len())
        .any(|part| part == CHECKPOINT)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fastness_format::manifest::ArchiveEntry;

    use super::*;

    #[derive(clap::Parser)]
    struct Filter {
        #[command(flatten)]
        filter: ArchiveFilter,
    }

    fn names(options: &str, checkpoints: Checkpoints) -> Vec<String> {
        let mut manifest = Manifest::new();
        for (name, day) in [("a", 3), ("b", 1), ("b.checkpoint", 4), ("c", 2)] {
            let entry = ArchiveEntry {
                id: ChunkId::new([9 - day; 32]),
                time: format!("2026-01-0{day}T00:00:00.000000"),
            };
            manifest.archives.insert(name.into(), entry);
        }
        let words = std::iter::once("x").chain(options.split_whitespace());
        let filter = Filter::parse_from(words).filter;
        let archives = filter.archives(&manifest, checkpoints).unwrap();
        let name = |archive: ListedArchive| String::from_utf8(archive.name).unwrap();
        archives.into_iter().map(name).collect()
    }

    #[test]
    fn archives_come_by_time_unless_asked_otherwise() {
        let ignore = Checkpoints::Ignore;
        assert_eq!(names("", ignore), ["b", "c", "a"]);
        assert_eq!(names("--sort-by name", ignore), ["a", "b", "c"]);
        assert_eq!(names("--sort-by id", ignore), ["a", "c", "b"]);
        assert_eq!(names("--first 2", ignore), ["b", "c"]);
        assert_eq!(names("--last 1 --sort-by name", ignore), ["c"]);
    }

    #[test]
    fn names_and_checkpoints_are_picked_before_places() {
        assert_eq!(names("-a b*", Checkpoints::Ignore), ["b"]);
        assert_eq!(names("-P b", Checkpoints::Consider), ["b", "b.checkpoint"]);
        assert_eq!(names("-a b* --last 1", Checkpoints::Ignore), ["b"]);
    }
}
