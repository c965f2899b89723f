//! What a run did: one value that the run fills, and every account of it is a view of.
//!
//! A [`Report`] is about one configuration file and holds a [`RepositoryReport`] for each of its
//! repositories. Mail prints it, [`record`] keeps it between runs, [`history`] lists the last ones,
//! and what monitoring reads is made of those. Nothing here can fail a backup.

pub mod digest;
pub mod error;
pub mod files;
pub mod history;
pub mod metrics;
pub mod present;
pub mod record;
pub mod standing;
pub mod table;
pub mod time;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use time::Time;

/// What a run did for one configuration file, in the order in which repositories were handled last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The repositories that were worked on.
    pub repositories: Vec<RepositoryReport>,
}

/// What a run did for one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepositoryReport {
    /// Its name in messages: the label, or else the path.
    pub name: String,
    /// Its path.
    pub path: String,
    /// Its id, if it was reached.
    pub id: Option<String>,
    /// Its encryption mode, if it was opened.
    pub encryption: Option<String>,
    /// When the work on it began.
    pub begin: Time,
    /// When the work on it was over.
    pub end: Time,
    /// How often it was tried.
    pub tries: u32,
    /// How many scheduled runs before it did not happen in time.
    pub missed: u64,
    /// The actions, in order.
    pub actions: Vec<ActionReport>,
    /// How often there was a warning of each kind.
    pub warnings: BTreeMap<String, u64>,
    /// Whether a hook asked to leave it out; then it did not fail.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Why the work ended early, after the last try.
    pub error: Option<Failure>,
}

/// What became of an action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It failed, or what stands before it.
    Failed,
    /// It was not begun.
    #[default]
    NotDone,
}

/// What one action did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionReport {
    /// Its name.
    pub action: String,
    /// What became of it.
    pub outcome: Outcome,
    /// When it began, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin: Option<Time>,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// The archive that it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveReport>,
    /// The checks that it ran, and that found nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// Archives that its rules kept and removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Pruned>,
    /// The databases that are in the archive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<DatabaseReport>,
}

/// An archive that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArchiveReport {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Regular files in it.
    pub files: u64,
    /// Bytes of all its files.
    pub original_bytes: u64,
    /// Bytes that these would take by themselves.
    pub compressed_bytes: u64,
    /// Bytes by which the repository grew.
    pub deduplicated_bytes: u64,
    /// Bytes that the repository stores with it.
    pub repository_bytes: u64,
}

/// What rules kept and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Archives that stay.
    pub kept: u64,
    /// Archives that went.
    pub removed: u64,
}

/// A database that was to be saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseReport {
    /// Where it is in the archive: kind, server and name, as in `mariadb_databases/localhost/shop`.
    pub name: String,
    /// Bytes of its dump, where that is one stream.
    pub bytes: Option<u64>,
    /// Why it was not saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why something ended early.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// What kind of trouble it was, in a word: see [`error::kind_of_code`].
    pub kind: String,
    /// The exit code of the command that failed, if one did.
    pub exit_code: Option<u8>,
    /// What happened, in a line.
    pub summary: String,
    /// All that was said about it, a line each.
    pub text: String,
}

impl RepositoryReport {
    /// Tells whether all of it was done.
    pub fn succeeded(&self) -> bool {
        self.error.is_none()
    }

    /// Returns the archive that was made.
    pub fn archive(&self) -> Option<&ArchiveReport> {
        self.actions
            .iter()
            .find_map(|action| action.archive.as_ref())
    }
}

impl Report {
    /// Notes what became of a repository; a later try replaces an earlier one.
    pub fn note(&mut self, mut repository: RepositoryReport) {
        let same = |known: &&RepositoryReport| known.path == repository.path;
        if let Some(earlier) = self.repositories.iter().find(same) {
            repository.begin = earlier.begin;
            repository.missed = repository.missed.max(earlier.missed);
            repository.tries = repository.tries.max(earlier.tries.saturating_add(1));
        }
        self.repositories
            .retain(|known| known.path != repository.path);
        self.repositories.push(repository);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.repositories.is_empty() {
            writeln!(f, "No repository was worked on.")?;
        }
        for repository in &self.repositories {
            writeln!(f, "{}", repository.name)?;
            for action in &repository.actions {
                let outcome = match action.outcome {
                    Outcome::Done => "done",
                    Outcome::Failed => "FAILED",
                    Outcome::NotDone => "not done",
                };
                writeln!(f, "    {:<11} {outcome}", action.action)?;
            }
            if repository.missed > 0 {
                let missed = repository.missed;
                writeln!(
                    f,
                    "    scheduled runs that did not happen in time before: {missed}"
                )?;
            }
            let error = repository.error.iter();
            for line in error.flat_map(|error| error.text.lines()) {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_try_replaces_an_earlier_one_and_keeps_its_beginning() {
        let mut report = Report::default();
        let attempt = |begin, error: Option<&str>| RepositoryReport {
            path: "/a".to_owned(),
            begin: Time(begin),
            tries: 1,
            error: error.map(|text| Failure {
                text: text.to_owned(),
                ..Failure::default()
            }),
            ..RepositoryReport::default()
        };
        report.note(attempt(100, Some("no way")));
        report.note(attempt(200, None));
        let [only] = report.repositories.as_slice() else {
            panic!("{report:?}");
        };
        assert_eq!((only.begin, only.tries), (Time(100), 2));
        assert!(only.succeeded());
    }
}
