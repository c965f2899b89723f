//! A configuration and a call, made into steps.
//!
//! Nothing happens here: a plan is a value that can be printed and compared. Each step carries
//! the Borg commands it consists of, argument for argument those of borgmatic 2.1, with their
//! environment. What only the run can know (the newest archive, the file with the patterns, which
//! checks are due) stands in it as a name for it.

pub mod call;

use std::fmt;
use std::path::PathBuf;

use crate::actions;
use crate::command_line::CommandLine;
use crate::command_line::actions::{Action, Restore};
use crate::config::typed::{CheckOptions, Options, SpotLimits};
use crate::config::{Configuration, Repository};
use crate::hooks::dump::source::Source;
use crate::hooks::inventory;
use crate::hooks::snapshot::Settings;
use call::{Call, Environment};

/// What is done for one configuration file.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One part for each repository, in the order of the file.
    pub repositories: Vec<RepositoryPlan>,
}

/// What is done for one repository.
#[derive(Debug, Clone)]
pub struct RepositoryPlan {
    /// The repository.
    pub repository: Repository,
    /// What all its Borg commands find in their environment.
    pub environment: Environment,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// One action on one repository.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name of the action.
    pub action: &'static str,
    /// What is said before it.
    pub title: String,
    /// Whether that is part of a result (and shown by default) or the announcement of a step.
    pub title_is_answer: bool,
    /// What it consists of.
    pub task: Task,
}

/// What a step consists of.
#[derive(Debug, Clone)]
pub enum Task {
    /// One command, and the one that finds the newest archive if it needs that.
    Borg {
        /// The command.
        call: Call,
        /// Finds the newest archive.
        latest: Option<Call>,
    },
    /// Make an archive.
    Create {
        /// The command.
        call: Call,
        /// Whether the configuration files go into it.
        store_config_files: bool,
        /// Databases whose dumps go into it.
        databases: Vec<Source>,
        /// Servers whose data files go into it.
        physical: Vec<Source>,
        /// What it tells of the machine.
        inventory: Option<inventory::Settings>,
        /// File systems whose snapshots it is made of.
        snapshots: Vec<Settings>,
        /// Change nothing.
        dry_run: bool,
        /// Find out what would be added, and tell it so.
        estimate: Option<Form>,
    },
    /// A dry run of a command that finds out what the real one would change.
    LookAhead {
        /// The command.
        call: Call,
        /// How that is told.
        form: Form,
    },
    /// Restore databases.
    Restore(Box<RestoreTask>),
    /// Make a repository, unless there is one.
    RepoCreate {
        /// Tells whether there is one.
        probe: Call,
        /// The encryption mode it must have.
        encryption: String,
        /// Makes it; not there in a dry run.
        create: Option<Call>,
    },
    /// Search archives.
    Find {
        /// Lists the names of the archives.
        archives: Call,
        /// Lists paths of one of them.
        paths: Call,
    },
    /// Run the checks that are due.
    Check(Box<CheckTask>),
    /// One command that gets what the configuration selects.
    Selected {
        /// The command.
        call: Call,
        /// Finds the newest archive.
        latest: Option<Call>,
        /// Whether what the run itself put into archives is selected too.
        own_files: bool,
    },
    /// Something with a key.
    Key(KeyTask),
    /// Copy archives from another repository.
    Transfer {
        /// The command.
        call: Call,
        /// The environment of the other repository, if it is configured.
        source: Option<Environment>,
    },
    /// Any command of Borg.
    AnyBorg {
        /// The command.
        call: Call,
        /// The archive that it finds in its environment.
        archive: Option<String>,
        /// Finds the newest archive.
        latest: Option<Call>,
    },
    /// Nothing but this to say.
    Skipped(&'static str),
}

/// How a result is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a text for people.
    Text,
    /// As JSON.
    Json,
}

/// What a restore of databases consists of.
#[derive(Debug, Clone)]
pub struct RestoreTask {
    /// Which databases, and where to.
    pub flags: Restore,
    /// The archive, if it is named.
    pub archive: Option<String>,
    /// Finds the newest archive.
    pub latest: Call,
    /// Lists what the archive holds of databases.
    pub listing: Call,
    /// Gives the content of a file, whose path follows.
    pub content: Call,
    /// Extracts what is at a path, which follows.
    pub files: Call,
    /// Lists the servers whose data files the archive holds.
    pub physical_listing: Call,
    /// Extracts data files at a path, which follows, without the directories before them.
    pub physical_files: Call,
    /// Change nothing.
    pub dry_run: bool,
}

/// A command about a key.
#[derive(Debug, Clone)]
pub struct KeyTask {
    /// The command.
    pub call: Call,
    /// A file that must not be there.
    pub must_be_new: Option<PathBuf>,
    /// A file that must be there.
    pub must_exist: Option<PathBuf>,
    /// An environment of its own.
    pub environment: Option<Environment>,
    /// What is said afterwards.
    pub advice: Option<&'static str>,
}

/// The parts of a check.
#[derive(Debug, Clone)]
pub struct CheckTask {
    /// Asks for the id of the repository, under which the times of checks are kept; not there
    /// when they play no part.
    pub identify: Option<Call>,
    /// The checks that may run, with their rhythm.
    pub checks: Vec<CheckOptions>,
    /// Run them whatever the rhythm.
    pub force: bool,
    /// Whether the times of checks are recorded.
    pub record: bool,
    /// The flags that choose archives.
    pub filter: Vec<String>,
    /// What the spot check needs.
    pub spot: SpotTask,
    /// Makes the commands for those that are due.
    pub commands: actions::check::CheckCommands,
}

/// What a spot check consists of.
#[derive(Debug, Clone)]
pub struct SpotTask {
    /// What it may find; not there when it is not configured.
    pub limits: Option<SpotLimits>,
    /// Finds the newest archive.
    pub latest: Call,
    /// Look for the list of configuration files.
    pub manifest: Vec<Call>,
    /// Tells which files an archive would hold now.
    pub rehearsal: Call,
    /// Lists the files of the archive.
    pub listing: Call,
    /// Tells the hashes of files of the archive, whose paths follow.
    pub hashes: Call,
}

/// Something about a call and a configuration that does not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No encryption mode for a new repository.
    #[error(
        "{repository}: an encryption mode is needed: repo-create --encryption MODE, or \"encryption\" in the configuration"
    )]
    NoEncryption {
        /// The repository.
        repository: String,
    },
    /// A repository of Borg 2 is wanted.
    #[error("{repository}: {option:?} is for Borg 2 only; with Borg 1, \"encryption\" says it all")]
    Borg2 {
        /// The repository.
        repository: String,
        /// The option.
        option: &'static str,
    },
    /// Options that exclude each other.
    #[error("with create, list_details goes neither with progress nor with --json")]
    ListDetails,
    /// `--estimate` of a run that does it.
    #[error("{action} --estimate is for --dry-run: the real run tells what it did with --stats")]
    EstimateOfRealRun {
        /// The action.
        action: &'static str,
    },
    /// A list of archives in the middle of JSON.
    #[error("prune --json does not go with --list (list_details)")]
    PruneListDetails,
    /// `--strip-components all` without paths.
    #[error("--strip-components all needs at least one --path")]
    StripAllWithoutPath,
    /// A repository that is to be copied to itself.
    #[error(
        "{repository}: this is the repository to copy from; name the other one with --repository"
    )]
    TransferToItself {
        /// The repository.
        repository: String,
    },
    /// An archive that was not finished.
    #[error("the archive {archive:?} is what an interrupted recreate left; select another one")]
    Unfinished {
        /// The archive.
        archive: String,
    },
    /// A check that does not exist, or not yet.
    #[error("--only {name}: {reason}")]
    Check {
        /// The name given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What the actions need to know about the run.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// All repositories of the configuration.
    pub all: &'a [Repository],
    /// Its options.
    pub options: &'a Options,
    /// From -2 to 2.
    pub verbosity: i64,
    /// Change nothing.
    pub dry_run: bool,
}

/// Plans what a call wants of a configuration.
///
/// # Errors
/// When the two do not go together.
pub fn plan(
    configuration: &Configuration,
    line: &CommandLine,
    verbosity: i64,
) -> Result<Plan, PlanError> {
    let chosen = configuration.repositories.iter().filter(|repository| {
        line.repository
            .as_deref()
            .is_none_or(|wanted| repository.is_called(wanted))
    });
    let repositories = chosen
        .map(|repository| plan_repository(repository, &configuration.repositories, line, verbosity))
        .collect::<Result<_, _>>()?;
    Ok(Plan { repositories })
}

fn plan_repository(
    repository: &Repository,
    all: &[Repository],
    line: &CommandLine,
    verbosity: i64,
) -> Result<RepositoryPlan, PlanError> {
    let context = Context {
        repository,
        all,
        options: &repository.options,
        verbosity,
        dry_run: line.dry_run,
    };
    let mut steps = Vec::new();
    for action in &line.actions {
        let nothing_to_prune = !line.named && repository.options.keep.is_empty();
        // Without a rule nothing may be removed, and nobody asked for it.
        if matches!(action, Action::Prune(_)) && nothing_to_prune {
            continue;
        }
        if !is_skipped(action, &repository.options) {
            steps.extend(plan_action(action, &context)?);
        }
    }
    Ok(RepositoryPlan {
        repository: repository.clone(),
        environment: Environment::of(&repository.options),
        steps,
    })
}

/// `skip_actions` holds even for named actions; only `check --force` overrides it.
fn is_skipped(action: &Action, options: &Options) -> bool {
    let forced = matches!(action, Action::Check(check) if check.force);
    let skipped = &options.control.skip_actions;
    !forced && skipped.iter().any(|name| name == action.name())
}

fn plan_action(action: &Action, context: &Context<'_>) -> Result<Option<Step>, PlanError> {
    Ok(Some(match action {
        Action::RepoCreate(flags) => actions::repo_create::plan(flags, context)?,
        Action::Create(flags) => actions::create::plan(flags, context)?,
        Action::Prune(flags) => actions::prune::plan(*flags, context)?,
        Action::Compact => actions::compact::plan(context),
        Action::Check(flags) => actions::check::plan(flags, context)?,
        Action::List(flags) => actions::list::plan(flags, context),
        Action::Info(flags) => actions::info::plan(flags, context),
        Action::Extract(flags) => actions::extract::plan(flags, context)?,
        Action::Restore(flags) => actions::restore::plan(flags, context),
        Action::RepoList(flags) => actions::repo_list::plan(flags, context),
        Action::RepoInfo { json } => actions::repo_info::plan(*json, context),
        Action::Delete(flags) => actions::delete::plan(flags, context),
        Action::RepoDelete(flags) => actions::delete::plan_repository(flags, context),
        Action::ExportTar(flags) => actions::export_tar::plan(flags, context),
        Action::Diff(flags) => actions::diff::plan(flags, context),
        Action::Recreate(flags) => actions::recreate::plan(flags, context)?,
        Action::Transfer(flags) => actions::transfer::plan(flags, context)?,
        Action::Mount(flags) => actions::mount::plan(flags, context),
        Action::BreakLock => actions::break_lock::plan(context),
        Action::KeyExport(flags) => actions::key::export(flags, context),
        Action::KeyImport(flags) => actions::key::import(flags, context),
        Action::KeyChangePassphrase => actions::key::change_passphrase(context),
        Action::Borg(flags) => actions::borg::plan(flags, context),
        // Of no repository; see `run::Run::unmount`.
        Action::Umount { .. }
        | Action::Browse
        | Action::ConfigBootstrap(_)
        | Action::ConfigValidate { .. }
        | Action::ConfigShow(_)
        | Action::ConfigGenerate(_)
        | Action::ConfigSchema => return Ok(None),
    }))
}

impl fmt::Display for Plan {
    /// All commands, one on a line, as a shell would take them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for repository in &self.repositories {
            for step in &repository.steps {
                for call in step.task.calls() {
                    writeln!(f, "{}{call}", repository.environment)?;
                }
            }
        }
        Ok(())
    }
}

impl Task {
    /// Returns the commands in the order in which they run, if all of them run.
    pub fn calls(&self) -> Vec<Call> {
        match self {
            Self::Borg { call, latest } => latest.iter().chain([call]).cloned().collect(),
            Self::Create { call, .. }
            | Self::LookAhead { call, .. }
            | Self::Transfer { call, .. } => vec![call.clone()],
            Self::Selected { call, latest, .. } | Self::AnyBorg { call, latest, .. } => {
                latest.iter().chain([call]).cloned().collect()
            }
            Self::Key(task) => vec![task.call.clone()],
            Self::Skipped(_) => Vec::new(),
            Self::Restore(task) => vec![task.latest.clone(), task.listing.clone()],
            Self::RepoCreate { probe, create, .. } => {
                [probe].into_iter().chain(create).cloned().collect()
            }
            Self::Find { archives, paths } => vec![archives.clone(), paths.clone()],
            Self::Check(task) => {
                let names: Vec<&str> = task
                    .checks
                    .iter()
                    .map(|check| check.name.as_str())
                    .collect();
                let mut calls: Vec<Call> = task.identify.iter().cloned().collect();
                calls.extend(task.commands.borg(&names));
                if names.contains(&"extract") {
                    let [latest, extract] = task.commands.extract();
                    calls.extend([latest, extract]);
                }
                if names.contains(&"spot") {
                    let spot = &task.spot;
                    calls.push(spot.latest.clone());
                    calls.extend(spot.manifest.first().cloned());
                    calls.extend([&spot.rehearsal, &spot.listing, &spot.hashes].map(Call::clone));
                }
                calls
            }
        }
    }
}
