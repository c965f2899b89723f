//! What is remembered of runs: a JSON file for each configuration and repository.
//!
//! `STATE/fastness/runs/KEY.json` is read by `fastness status`, `doctor` and whoever watches
//! backups; its [`SCHEMA`] is raised when a member changes its meaning, new members may come at any
//! time. It is replaced whole and durably at the beginning and the end of a run. The last runs
//! stand beside it, see [`super::history`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use fastness_engine::directories::{ensure, replace_file_with_mode};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ArchiveReport, Outcome, RepositoryReport, Time, history};
use crate::config::paths::Variables;
use crate::config::{Configuration, Repository};
use crate::directories::state_directory;

/// The version of the files' structure.
pub const SCHEMA: u32 = 1;

/// The most bytes of a file that are read; a larger one is not ours.
const LONGEST: u64 = 16 << 20;

/// How long a run waits for another one that writes the same file.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is remembered of the runs of one configuration on one repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The machine that ran.
    pub host: String,
    /// The configuration file.
    pub configuration: String,
    /// The repository.
    pub repository: RepositoryName,
    /// The run that is at work, or was when it was killed.
    pub running: Option<Running>,
    /// What became of each action.
    pub actions: BTreeMap<String, ActionRecord>,
    /// When each kind of check last found nothing.
    pub checks: BTreeMap<String, Time>,
    /// The newest archive that was made.
    pub archive: Option<NewestArchive>,
    /// Each database that was to be saved.
    pub databases: BTreeMap<String, DatabaseRecord>,
    /// What failed since the last run that went well.
    pub failures: Failures,
    /// The last run.
    pub last_run: Option<RepositoryReport>,
}

/// How a repository is called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepositoryName {
    /// Its path.
    pub path: String,
    /// Its label.
    pub label: Option<String>,
    /// Its id, once it was reached.
    pub id: Option<String>,
    /// Its encryption mode, once it was opened.
    pub encryption: Option<String>,
}

/// A run at work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Running {
    /// When it began.
    pub begin: Time,
    /// Its process.
    pub pid: u32,
    /// Its actions.
    pub actions: Vec<String>,
}

/// What became of one action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionRecord {
    /// When it was last begun.
    pub last_begin: Option<Time>,
    /// When it was last done.
    pub last_success: Option<Time>,
    /// How long that took.
    pub milliseconds: u64,
    /// How often it was not done since.
    pub failures: u64,
}

/// The newest archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewestArchive {
    /// When it was begun.
    pub begin: Time,
    /// What it is.
    #[serde(flatten)]
    pub facts: ArchiveReport,
}

/// What is known of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatabaseRecord {
    /// When it was last saved.
    pub last_success: Option<Time>,
    /// Bytes of that dump, if they are known.
    pub bytes: Option<u64>,
    /// Why it was not saved the last time.
    pub error: Option<String>,
}

/// Runs that failed one after another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failures {
    /// When the first of them was over.
    pub since: Option<Time>,
    /// How many there were of each kind of trouble.
    pub kinds: BTreeMap<String, u64>,
}

impl Record {
    /// Takes in what a run did.
    pub fn take(&mut self, report: &RepositoryReport) {
        self.running = None;
        if report.id.is_some() {
            self.repository.id.clone_from(&report.id);
        }
        if report.encryption.is_some() {
            self.repository.encryption.clone_from(&report.encryption);
        }
        for action in &report.actions {
            let known = self.actions.entry(action.action.clone()).or_default();
            if action.begin.is_some() {
                known.last_begin = action.begin;
            }
            let begin = action.begin.unwrap_or(report.begin);
            let end = begin.after(Duration::from_millis(action.milliseconds));
            match action.outcome {
                Outcome::Done => {
                    known.last_success = Some(end);
                    known.milliseconds = action.milliseconds;
                    known.failures = 0;
                }
                Outcome::Failed => known.failures = known.failures.saturating_add(1),
                Outcome::NotDone => {}
            }
            let checks = action.checks.iter();
            self.checks.extend(checks.map(|name| (name.clone(), end)));
            if let Some(facts) = &action.archive {
                let facts = facts.clone();
                self.archive = Some(NewestArchive { begin, facts });
            }
            for database in &action.databases {
                let known = self.databases.entry(database.name.clone()).or_default();
                known.error.clone_from(&database.error);
                // In an archive that was not finished it is not saved either.
                if database.error.is_none() && action.outcome == Outcome::Done {
                    known.last_success = Some(end);
                    known.bytes = database.bytes;
                }
            }
        }
        match &report.error {
            None if report.skipped => {}
            None => self.failures = Failures::default(),
            Some(failure) => {
                let failures = &mut self.failures;
                failures.since = failures.since.or(Some(report.end));
                let count = failures.kinds.entry(failure.kind.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
        self.last_run = Some(report.clone());
    }

    /// Returns when an action was last done.
    pub fn last_success(&self, action: &str) -> Option<Time> {
        self.actions.get(action)?.last_success
    }
}

/// Why something cannot be remembered or told.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is none of ours, or damaged.
    #[error("{} is no record of runs: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It was written by a later version.
    #[error("{} has structure {found}, this program knows {SCHEMA}", path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// The place of one record: that of a configuration and a repository.
#[derive(Debug, Clone)]
pub struct Place {
    directory: PathBuf,
    name: String,
    configuration: String,
    repository: RepositoryName,
}

impl Place {
    /// Finds it. Configurations are told apart by their absolute paths.
    pub fn of(
        configuration: &Configuration,
        repository: &Repository,
        variable: Variables<'_>,
    ) -> Self {
        let state = state_directory(&configuration.options.access, variable);
        Self::new(&state, &configuration.path, repository)
    }

    /// Finds it below the directory that is shared with borgmatic.
    pub fn new(state: &Path, configuration: &Path, repository: &Repository) -> Self {
        let absolute = std::path::absolute(configuration);
        let configuration = absolute.unwrap_or_else(|_| configuration.to_owned());
        let configuration = configuration.to_string_lossy().into_owned();
        let mut hash = Sha256::new();
        hash.update(configuration.as_bytes());
        hash.update([0]);
        hash.update(repository.path.as_bytes());
        let name = HEXLOWER.encode(&hash.finalize());
        Self {
            directory: state.with_file_name("fastness").join("runs"),
            name: name.get(..16).unwrap_or(&name).to_owned(),
            configuration,
            repository: RepositoryName {
                path: repository.path.clone(),
                label: repository.label.clone(),
                ..RepositoryName::default()
            },
        }
    }

    /// The file of the record.
    pub fn file(&self) -> PathBuf {
        self.directory.join(format!("{}.json", self.name))
    }

    /// The file of the last runs.
    pub fn history(&self) -> PathBuf {
        self.directory.join(format!("{}.jsonl", self.name))
    }

    /// Reads the record; none when there was no run.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(&self) -> Result<Option<Record>, RecordError> {
        let path = self.file();
        let Some(text) = read_bounded(&path)? else {
            return Ok(None);
        };
        let record: Record = match serde_json::from_slice(&text) {
            Ok(record) => record,
            Err(source) => return Err(RecordError::Damaged { path, source }),
        };
        match record.schema {
            SCHEMA => Ok(Some(record)),
            found => Err(RecordError::Later { path, found }),
        }
    }

    /// Remembers that a run begins.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn begin(&self, running: Running) -> Result<(), RecordError> {
        self.change(|record| record.running = Some(running))
    }

    /// Remembers what a run did.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn finish(&self, report: &RepositoryReport) -> Result<(), RecordError> {
        self.change(|record| record.take(report))?;
        let _lock = self.lock();
        history::append(&self.history(), report)
    }

    fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), RecordError> {
        let failed = |source| RecordError::System {
            path: self.directory.clone(),
            source,
        };
        ensure(&self.directory).map_err(failed)?;
        let _lock = self.lock();
        // A damaged one tells nothing any more; that of a later version stays.
        let mut record = match self.read() {
            Ok(record) => record.unwrap_or_default(),
            Err(RecordError::Damaged { .. }) => Record::default(),
            Err(error) => return Err(error),
        };
        record.schema = SCHEMA;
        record.host = host();
        record.configuration.clone_from(&self.configuration);
        let known = std::mem::take(&mut record.repository);
        record.repository = RepositoryName {
            id: known.id,
            encryption: known.encryption,
            ..self.repository.clone()
        };
        change(&mut record);
        write_json(&self.file(), &record, 0o600)
    }

    /// Keeps other runs from the files, as far as that goes within a short time.
    fn lock(&self) -> Option<std::fs::File> {
        let file = std::fs::File::create(self.directory.join(".lock")).ok()?;
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(file),
                Err(_) => std::thread::sleep(step),
            }
        }
        None
    }
}

/// The name of this machine.
pub fn host() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// Writes a JSON document for programs and people, whole and durably.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize, mode: u32) -> Result<(), RecordError> {
    let failed = |source| RecordError::System {
        path: path.to_owned(),
        source,
    };
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    replace_file_with_mode(path, &text, mode).map_err(failed)
}

/// Reads a file that must not be larger than ours are; none when there is none.
pub(super) fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    use std::io::Read;
    let read = || {
        let mut text = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(LONGEST + 1).read_to_end(&mut text)?;
        match text.len() as u64 > LONGEST {
            true => Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge)),
            false => Ok(text),
        }
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::System {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
