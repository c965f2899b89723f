//! The file that tells Borg what is selected, for as long as a command needs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness_borg::signals::{self, Watch};
use fastness_engine::create::Additions;

use crate::bootstrap;
use crate::config::typed::Options;
use crate::directories::RuntimeDirectory;
use crate::hooks::dump::notes::DumpNotes;
use crate::hooks::dump::source::Source;
use crate::hooks::dump::{Contents, Prepared, Tools, prepare};
use crate::hooks::inventory;
use crate::hooks::snapshot::{self, Held, Settings, Shop};
use crate::patterns::{self, Pattern};
use crate::plan::Task;

use super::outcome::RunError;
use super::runner::Runner;

/// A file with patterns in a directory of this run, which goes with it.
pub struct Selection {
    /// Go before the directory in which some of them are mounted.
    _snapshots: Vec<Held>,
    _directory: RuntimeDirectory,
    file: PathBuf,
    /// Its lines.
    pub lines: Vec<String>,
    /// What the archive gets besides what the lines say.
    pub additions: Additions,
    /// What becomes of the dumps among them.
    pub dumps: DumpNotes,
}

/// What a new archive is made of besides what is configured as such.
pub struct Parts<'a> {
    /// Configuration files.
    pub config_files: &'a [PathBuf],
    /// Databases whose dumps go into it.
    pub databases: &'a [Source],
    /// Servers whose data files go into it.
    pub physical: &'a [Source],
    /// What is told of the machine.
    pub inventory: Option<&'a inventory::Settings>,
    /// File systems that are saved from snapshots.
    pub snapshots: &'a [Settings],
    /// Only tell what would be done.
    pub dry_run: bool,
}

impl<'a> Parts<'a> {
    /// What a task says; nothing for one that makes no archive. `config_files` are those of the run.
    pub fn of(task: &'a Task, config_files: &'a [PathBuf]) -> Self {
        match task {
            Task::Create {
                store_config_files,
                databases,
                physical,
                inventory,
                snapshots,
                dry_run,
                call: _,
                estimate: _,
            } => Self {
                config_files: match store_config_files {
                    true => config_files,
                    false => &[],
                },
                databases,
                physical,
                inventory: inventory.as_ref(),
                snapshots,
                dry_run: *dry_run,
            },
            _ => Self {
                config_files: &[],
                databases: &[],
                physical: &[],
                inventory: None,
                snapshots: &[],
                dry_run: true,
            },
        }
    }
}

impl Selection {
    /// Writes what is configured, and these further files.
    ///
    /// # Errors
    /// When the patterns cannot be made or written.
    pub fn make(runner: &Runner<'_>, options: &Options, more: &[String]) -> Result<Self, RunError> {
        let more = more.iter().map(|path| patterns::root(path)).collect();
        Self::write(runner, options, |_, _| Ok(more))
    }

    /// Writes what is configured, led into snapshots, and for a new archive the databases and the
    /// configuration files before it.
    ///
    /// # Errors
    /// When a snapshot cannot be taken, or the patterns cannot be made or written.
    pub fn of_archive(
        runner: &Runner<'_>,
        options: &Options,
        parts: &Parts<'_>,
    ) -> Result<Self, RunError> {
        let (mut additions, mut held) = (Additions::default(), Vec::new());
        let mut notes = DumpNotes::default();
        let config_files = parts.config_files;
        let mut selection = Self::write(runner, options, |directory, configured| {
            for settings in parts.snapshots {
                let shop = shop(runner, options, settings, directory, parts.dry_run);
                held.push(snapshot::take(shop, configured)?);
            }
            let prepared = dumps(runner, options, parts, directory)?;
            additions.streams = prepared.streams;
            notes = prepared.notes;
            let roots = prepared.roots.iter().filter_map(|root| root.to_str());
            let mut patterns: Vec<Pattern> = roots.flat_map(bootstrap::saved).collect();
            if !config_files.is_empty() {
                patterns.extend(bootstrap::store(directory, config_files).map_err(failed)?);
            }
            Ok(patterns)
        })?;
        additions.aliases = held.iter().flat_map(Held::aliases).collect();
        selection.additions = additions;
        selection.dumps = notes;
        selection._snapshots = held;
        Ok(selection)
    }

    fn write(
        runner: &Runner<'_>,
        options: &Options,
        own: impl FnOnce(&Path, &mut Vec<Pattern>) -> Result<Vec<Pattern>, RunError>,
    ) -> Result<Self, RunError> {
        let variable = |name: &str| runner.world.variable(name);
        let unique = (runner.world.unique)();
        let mut configured = patterns::collect(&options.sources, &variable)?;
        let directory = RuntimeDirectory::create(&options.access, &variable, &unique)?;
        let file = directory.path().join(format!("patterns-{unique}"));
        let mut all = own(&directory.path(), &mut configured)?;
        all.extend(configured);
        let lines = patterns::unique_lines(&all);
        std::fs::write(&file, lines.join("\n")).map_err(failed)?;
        Ok(Self {
            _snapshots: Vec::new(),
            _directory: directory,
            file,
            lines,
            additions: Additions::default(),
            dumps: DumpNotes::default(),
        })
    }

    /// The path of the file.
    pub fn file(&self) -> Option<&str> {
        self.file.to_str()
    }
}

/// Lends what snapshots are taken with.
fn shop(
    runner: &Runner<'_>,
    options: &Options,
    settings: &Settings,
    runtime: &Path,
    dry_run: bool,
) -> Shop {
    let variable = |name: &str| runner.world.variable(name);
    Shop {
        settings: settings.clone(),
        log: runner.log.clone(),
        environment: Arc::new(runner.world.variables.clone()),
        working_directory: patterns::working_directory(&options.sources, &variable),
        runtime: runtime.to_owned(),
        dry_run,
    }
}

/// Prepares the dumps of databases and the inventory. A signal meanwhile ends the run in good order.
fn dumps(
    runner: &Runner<'_>,
    options: &Options,
    parts: &Parts<'_>,
    directory: &Path,
) -> Result<Prepared, RunError> {
    let contents = Contents {
        databases: parts.databases,
        physical: parts.physical,
        inventory: parts.inventory,
    };
    if contents.is_empty() {
        return Ok(Prepared::default());
    }
    let watch = Watch::begin();
    let now = (runner.world.now)().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0));
    let prepared = with_tools(runner, options, directory, |tools| {
        prepare(contents, tools, now)
    });
    let code = signals::code_of_end();
    drop(watch);
    match code {
        Some(code) => Err(RunError::Signal { code }),
        None => Ok(prepared?),
    }
}

/// Lends what programs of databases are run with.
pub fn with_tools<T>(
    runner: &Runner<'_>,
    options: &Options,
    runtime: &Path,
    work: impl FnOnce(&Tools<'_>) -> T,
) -> T {
    let (world, settings) = (runner.world, &options.access.credentials);
    let variable = |name: &str| world.variable(name);
    let resolve = |value: &str| {
        let credentials = &runner.credentials;
        credentials.resolve(value, settings, &world.variables)
    };
    work(&Tools {
        log: &runner.log,
        resolve: &resolve,
        environment: &Arc::new(world.variables.clone()),
        working_directory: &patterns::working_directory(&options.sources, &variable),
        runtime,
    })
}

fn failed(source: std::io::Error) -> RunError {
    RunError::System {
        what: "preparing the selection".to_owned(),
        source,
    }
}
