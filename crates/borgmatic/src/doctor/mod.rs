//! An examination of a machine's backups: what is well, what is not, and what to do about it.
//!
//! Each check is a small function in one of two tables: those of a configuration file
//! (`files`), and those of a repository (`repository`, `remote`). A check never changes
//! anything and never waits for ever: what asks another machine has a time limit.

mod files;
mod remote;
mod repository;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use fastness_borg::output::text::Units;
use serde::Serialize;

use crate::config::{Configuration, Repository};
use crate::directories::state_directory;
use crate::output::progress::span;
use crate::run::World;
use crate::run::direct::Opened;

/// How long a repository may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Backups are made, but something should be done.
    Warning,
    /// Backups are not made, or cannot be restored.
    Problem,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The configuration file, or the repository.
    pub about: String,
    /// The name of the check.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found, in a line.
    pub text: String,
    /// What to do, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// What a check says, before it is known what it is about.
type Said = (Verdict, String, Option<String>);

fn ok(text: impl Into<String>) -> Said {
    (Verdict::Ok, text.into(), None)
}

fn warning(text: impl Into<String>, cure: impl Into<String>) -> Said {
    (Verdict::Warning, text.into(), Some(cure.into()))
}

fn problem(text: impl Into<String>, cure: impl Into<String>) -> Said {
    (Verdict::Problem, text.into(), Some(cure.into()))
}

/// A repository under examination, with what earlier checks found out.
struct Patient<'a> {
    repository: &'a Repository,
    /// Where is remembered what lies between runs.
    state: &'a Path,
    world: &'a World,
    /// The passphrase, once it is known to be had.
    passphrase: Opened,
    /// Whether later checks have a chance.
    reachable: bool,
    /// What `list --json` told of its last archives.
    listed: Option<serde_json::Value>,
}

impl Patient<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.world.variable(name)
    }

    /// What a variable is for the commands of this repository.
    fn setting(&self, name: &str) -> Option<String> {
        let set = &self.repository.options.access.variables;
        let own = set.iter().find(|(known, _)| *known == name);
        own.map(|(_, value)| value.clone())
            .or_else(|| self.variable(name))
    }

    /// The directory of a repository on this machine.
    fn local(&self) -> Option<PathBuf> {
        let path = &self.repository.path;
        let path = path.strip_prefix("file://").unwrap_or(path);
        if path.contains("://") || (path.contains(':') && !path.starts_with(['/', '.'])) {
            return None;
        }
        let directory = self.repository.options.sources.working_directory.as_deref();
        Some(Path::new(directory.unwrap_or_default()).join(path))
    }
}

/// A check of a configuration file.
type FileCheck = fn(&Configuration, &World) -> Vec<Said>;

/// The checks of a configuration file.
static OF_FILES: [(&str, FileCheck); 5] = [
    ("permissions", files::permissions),
    ("sources", files::sources),
    ("databases", files::databases),
    ("space", files::space),
    ("clock", files::clock),
];

/// A check of a repository.
type RepositoryCheck = fn(&mut Patient<'_>) -> Vec<Said>;

/// The checks of a repository, in an order in which each may use what those before found out.
static OF_REPOSITORIES: [(&str, RepositoryCheck); 7] = [
    ("passphrase", repository::passphrase),
    ("reachable", remote::reachable),
    ("version", remote::version),
    ("space", repository::space),
    ("lock", repository::lock),
    ("backup", repository::backup),
    ("key", repository::key),
];

/// Those of the way to a repository.
static OF_WAYS: [(&str, RepositoryCheck); 2] = [
    ("reachable", remote::reachable),
    ("version", remote::version),
];

/// Examines a configuration and all its repositories.
pub fn examine(configuration: &Configuration, world: &World) -> Vec<Finding> {
    let about = configuration.path.display().to_string();
    let mut findings = Vec::new();
    for (check, run) in OF_FILES {
        findings.extend(named(&about, check, run(configuration, world)));
    }
    for repository in &configuration.repositories {
        let checks = &OF_REPOSITORIES;
        findings.extend(examine_repository(configuration, repository, checks));
    }
    findings
}

/// Examines the ways to all repositories, and nothing else.
pub fn reach(configuration: &Configuration) -> Vec<Finding> {
    let repositories = configuration.repositories.iter();
    repositories
        .flat_map(|repository| examine_repository(configuration, repository, &OF_WAYS))
        .collect()
}

/// Examines a repository in a thread of its own, for a server may be silent for ever.
fn examine_repository(
    configuration: &Configuration,
    repository: &Repository,
    checks: &'static [(&'static str, RepositoryCheck)],
) -> Vec<Finding> {
    let about = repository.name().to_owned();
    let (sender, receiver) = mpsc::channel();
    let access = &configuration.options.access;
    let state = state_directory(access, &|name| std::env::var(name).ok());
    let (name, repository) = (about.clone(), repository.clone());
    std::thread::spawn(move || {
        let world = World::of_process();
        let mut patient = Patient {
            repository: &repository,
            state: &state,
            world: &world,
            passphrase: Opened::Configured,
            reachable: true,
            listed: None,
        };
        for (check, run) in checks {
            let said = named(&name, check, run(&mut patient));
            if sender.send(said).is_err() {
                return;
            }
        }
    });
    let end = SystemTime::now() + PATIENCE;
    let mut findings = Vec::new();
    for (check, _) in checks {
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        match receiver.recv_timeout(left) {
            Ok(said) => findings.extend(said),
            Err(_) => {
                let text = format!("no answer within {} seconds", PATIENCE.as_secs());
                let cure = "look at the way there: the network, the server, ssh";
                findings.extend(named(&about, check, vec![problem(text, cure)]));
                break;
            }
        }
    }
    findings
}

fn named(about: &str, check: &'static str, said: Vec<Said>) -> Vec<Finding> {
    let findings = said.into_iter().map(|(verdict, text, cure)| Finding {
        about: about.to_owned(),
        check,
        verdict,
        text,
        cure,
    });
    findings.collect()
}

/// A duration as people say it.
fn ago(seconds: u64) -> String {
    span(Duration::from_secs(seconds))
}

/// The space below which nothing works for long, and that below which it gets tight, in bytes.
const SPACE: [u64; 2] = [200 << 20, 2 << 30];

/// Judges the free space of the file system of a directory, or of its nearest parent.
fn free_space(what: &str, directory: &Path) -> Option<Said> {
    let there = directory.ancestors().find(|path| path.exists())?;
    let system = rustix::fs::statvfs(there).ok()?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let text = format!(
        "{what}: {} free at {}",
        Units::Decimal.bytes_short(free),
        directory.display()
    );
    let [least, little] = SPACE;
    Some(match free {
        free if free < least => problem(text, "free some space there before the next backup"),
        free if free < little => warning(text, "free some space there soon"),
        _ => ok(text),
    })
}
