//! Restores databases: finds their dumps in an archive and feeds them to the programs that take them.
//!
//! One that fails does not stop the others.

use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use fastness_borg::signals::{self, Watch};

use crate::command_line::actions::Restore;
use crate::directories::RuntimeDirectory;
use crate::hooks::dump::metadata::{self, Dump, names_match};
use crate::hooks::dump::source::{Access, Source};
use crate::hooks::dump::{DumpForm, PlannedRestore};
use crate::output::log::Level;
use crate::plan::{RepositoryPlan, RestoreTask};

use super::outcome::RunError;
use super::restore_files;
use super::runner::{Attached, Extra, Runner};
use super::selection::with_tools;
use super::steps::latest;

/// Restores what a call asks for; returns what people may want to know about it.
///
/// # Errors
/// When a database that was asked for is not restored.
pub fn run(
    runner: &Runner<'_>,
    task: &RestoreTask,
    plan: &RepositoryPlan,
) -> Result<String, RunError> {
    let archive = match &task.archive {
        Some(name) => name.clone(),
        None => latest(runner, &task.latest, &plan.environment)?,
    };
    if task.flags.to.is_some() || task.flags.to_scratch.is_some() {
        return restore_files::run(runner, task, plan, &archive);
    }
    let variable = |name: &str| runner.world.variable(name);
    let unique = (runner.world.unique)();
    let access = &plan.repository.options.access;
    let runtime = RuntimeDirectory::create(access, &variable, &unique)?;
    let restorer = Restorer {
        runner,
        task,
        plan,
        archive: &archive,
        runtime: runtime.path(),
    };
    let entries = restorer.entries()?;
    let dumps = restorer.dumps(&entries)?;
    let chosen = choose(&task.flags, &dumps)?;
    let mut failures = Vec::new();
    for dump in &chosen {
        match restorer.restore(dump, &entries) {
            Ok(()) => {}
            Err(RunError::Signal { code }) => return Err(RunError::Signal { code }),
            Err(error) => {
                runner.log.record(Level::Error, &error.to_string());
                failures.extend(error.lines());
            }
        }
    }
    match failures.is_empty() {
        true => Ok(format!("{} from {archive}", counted(chosen.len()))),
        false => Err(RunError::Restore(failures)),
    }
}

fn counted(count: usize) -> String {
    match count {
        1 => "1 database".to_owned(),
        count => format!("{count} databases"),
    }
}

/// Something below the directories of dumps in an archive.
struct Entry {
    is_directory: bool,
    path: String,
    /// The part of its path from the name of the hook on.
    below: Option<String>,
}

impl Entry {
    fn new(line: &[u8], old_place: Option<&str>) -> Option<Self> {
        let (kind, path) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some(Self {
            is_directory: kind == "d",
            path: path.to_owned(),
            below: below(path, old_place).map(str::to_owned),
        })
    }
}

/// The part of a path from the name of the hook on.
fn below<'a>(path: &'a str, old_place: Option<&str>) -> Option<&'a str> {
    if let Some(below) = path.strip_prefix("borgmatic/") {
        return Some(below);
    }
    let in_old_place = old_place.and_then(|place| match place.strip_prefix("**/") {
        Some(place) => Some(path.split_once(&format!("/{place}/"))?.1),
        None => path.strip_prefix(place)?.strip_prefix('/'),
    });
    in_old_place.or_else(|| {
        let (_, below) = path
            .split_once("/borgmatic/")
            .or_else(|| path.split_once(".borgmatic/"))?;
        Some(below)
    })
}

/// The dumps that a call asks for.
fn choose(flags: &Restore, dumps: &[Dump]) -> Result<Vec<Dump>, RunError> {
    if dumps.is_empty() {
        let text = "No data source dumps were found to restore; what mariadb_physical saved is restored with --to DIRECTORY";
        return Err(RunError::Restore(vec![text.to_owned()]));
    }
    let is = |wanted: &Option<String>, value: &Option<String>| {
        wanted.is_none() || wanted.as_deref() == value.as_deref()
    };
    let port = flags.original_port.as_deref();
    let of_source = |dump: &&Dump| {
        let hook = flags.hook.as_deref().is_none_or(|hook| {
            let hook = hook.strip_suffix("_databases").unwrap_or(hook);
            dump.hook.strip_suffix("_databases") == Some(hook)
        });
        hook && is(&flags.original_label, &dump.label)
            && is(&flags.original_hostname, &dump.hostname)
            && is(&flags.original_container, &dump.container)
            && port
                .is_none_or(|port| dump.port.map(|port| port.to_string()).as_deref() == Some(port))
    };
    let all = "all".to_owned();
    let names = match flags.data_sources.as_slice() {
        [] => std::slice::from_ref(&all),
        names => names,
    };
    let (mut chosen, mut missing): (Vec<Dump>, Vec<&str>) = (Vec::new(), Vec::new());
    for name in names {
        let is_named = |dump: &&Dump| name == "all" || names_match(name, &dump.name);
        let matching = dumps.iter().filter(of_source).filter(is_named);
        let matching: Vec<&Dump> = matching.collect();
        if matching.is_empty() {
            missing.push(name);
        }
        for dump in matching {
            if !chosen.contains(dump) {
                chosen.push(dump.clone());
            }
        }
    }
    if missing.is_empty() {
        return Ok(chosen);
    }
    let there: Vec<String> = dumps.iter().map(Dump::to_string).collect();
    Err(RunError::Restore(vec![format!(
        "Cannot restore data source dump(s) {} missing from archive, which has: {}",
        missing.join(", "),
        there.join(", ")
    )]))
}

/// What is needed for each restore.
struct Restorer<'a> {
    runner: &'a Runner<'a>,
    task: &'a RestoreTask,
    plan: &'a RepositoryPlan,
    archive: &'a str,
    runtime: PathBuf,
}

impl Restorer<'_> {
    fn extra(&self) -> Extra<'_> {
        Extra {
            archive: Some(self.archive),
            ..Extra::default()
        }
    }

    /// Lists what the archive holds of databases.
    fn entries(&self) -> Result<Vec<Entry>, RunError> {
        let (call, environment) = (&self.task.listing, &self.plan.environment);
        let given = self.runner.run(call, environment, self.extra())?;
        let lines = given.data.split(|byte| *byte == 0);
        let old_place = self.plan.repository.options.access.old_place();
        let entries = lines.filter_map(|line| Entry::new(line, old_place.as_deref()));
        Ok(entries.collect())
    }

    /// Reads the descriptions in the archive; without any, paths tell.
    fn dumps(&self, entries: &[Entry]) -> Result<Vec<Dump>, RunError> {
        let mut dumps = Vec::new();
        let described = |entry: &&Entry| {
            let below = entry.below.as_deref().unwrap_or_default();
            below.split('/').count() == 2 && below.ends_with("/dumps.json")
        };
        for entry in entries.iter().filter(described) {
            let mut call = self.task.content.clone();
            call.show = crate::plan::call::Show::Query;
            let call = call.word(format!("pf:{}", entry.path));
            let given = self
                .runner
                .run(&call, &self.plan.environment, self.extra())?;
            let read = metadata::read(&given.data).ok_or_else(|| {
                let path = &entry.path;
                let text = format!(
                    "Cannot read archive data source dumps metadata at {path}: it is damaged"
                );
                RunError::Restore(vec![text])
            })?;
            dumps.extend(read);
        }
        if dumps.is_empty() {
            let below = entries.iter().filter_map(|entry| entry.below.as_deref());
            for dump in below.filter_map(metadata::from_path) {
                if !dumps.contains(&dump) {
                    dumps.push(dump);
                }
            }
        }
        Ok(dumps)
    }

    /// The entry of the configuration that a dump belongs to.
    fn source(&self, dump: &Dump) -> Result<&Source, RunError> {
        let sources = &self.plan.repository.options.databases;
        for name in [dump.name.as_str(), "all"] {
            let matching = sources.iter().filter(|source| dump.is_of(source, name));
            let mut matching: Vec<&Source> = matching.collect();
            if matching.len() > 1 {
                let label = dump.label.as_deref();
                matching.retain(|source| source.get("label") == label);
            }
            match matching.as_slice() {
                [] => {}
                [source] => return Ok(source),
                _ => {
                    let text = format!(
                        "Cannot restore data source {dump} because there are multiple matching data sources configured"
                    );
                    return Err(RunError::Restore(vec![text]));
                }
            }
        }
        let text = format!(
            "Cannot restore data source {dump} missing from the configuration; add an entry to \"{}\" that it belongs to",
            dump.hook
        );
        Err(RunError::Restore(vec![text]))
    }

    /// Finds a dump in the archive.
    fn find<'e>(&self, dump: &Dump, source: &Source, entries: &'e [Entry]) -> Option<&'e Entry> {
        let default = source.database.default_port();
        let mut ports = vec![dump.port];
        if dump.port.is_none() {
            ports.push(default);
        } else if dump.port == default {
            ports.push(None);
        }
        ports.iter().find_map(|port| {
            let path = format!("{}/{}/{}", dump.hook, dump.directory(*port), dump.name);
            entries
                .iter()
                .find(|entry| entry.below.as_ref() == Some(&path))
        })
    }

    fn restore(&self, dump: &Dump, entries: &[Entry]) -> Result<(), RunError> {
        let source = self.source(dump)?;
        let entry = self.find(dump, source, entries).ok_or_else(|| {
            let text = format!(
                "Cannot restore data source {dump}: its dump is missing from archive {}",
                self.archive
            );
            RunError::Restore(vec![text])
        })?;
        let log = &self.runner.log;
        log.record(Level::Info, &format!("Restoring data source {dump}"));
        let form = match entry.is_directory {
            true => DumpForm::Directory(self.runtime.join(&entry.path)),
            false => DumpForm::Stream,
        };
        let options = &self.plan.repository.options;
        let planned = with_tools(self.runner, options, &self.runtime, |tools| {
            let access = Access {
                source,
                restore: Some(&self.task.flags.overrides),
                tools,
            };
            source.database.restore(&access, &dump.name, &form)
        })?;
        if self.task.dry_run {
            return Ok(());
        }
        let new = planned
            .replaces
            .as_ref()
            .map(|(new, _)| NewFile(new.clone()));
        match form {
            DumpForm::Directory(_) => self.take_directory(&planned, entry)?,
            DumpForm::Stream => self.take_stream(&planned, entry)?,
        }
        for program in &planned.then {
            program.run(log)?;
        }
        if let (Some((new, target)), Some(guard)) = (&planned.replaces, new) {
            replace(new, target).map_err(|source| RunError::System {
                what: format!("putting the restored database to {}", target.display()),
                source,
            })?;
            drop(guard);
        }
        Ok(())
    }

    fn take_directory(&self, planned: &PlannedRestore, entry: &Entry) -> Result<(), RunError> {
        let mut call = self.task.files.clone().word(format!("pp:{}", entry.path));
        call.directory = Some(self.runtime.clone());
        self.runner
            .run(&call, &self.plan.environment, self.extra())?;
        let watch = Watch::begin();
        let done = planned.program.run(&self.runner.log);
        ended_by_signal(watch)?;
        Ok(done?)
    }

    /// Feeds the dump to the program. It never sees an end that is not that of the dump.
    fn take_stream(&self, planned: &PlannedRestore, entry: &Entry) -> Result<(), RunError> {
        let log = &self.runner.log;
        let mut running = planned.program.start(log, Stdio::piped(), Stdio::null())?;
        let stdin = Arc::new(Mutex::new(running.stdin()));
        let call = self.task.content.clone();
        let call = call.word(format!("pf:{}", entry.path));
        let attached = Attached {
            stdout: Some(Box::new(Feed(Arc::clone(&stdin)))),
            ..Attached::default()
        };
        let environment = &self.plan.environment;
        let fed = self
            .runner
            .run_attached(&call, environment, self.extra(), attached);
        if let Err(error) = fed {
            // If the program ended first, what it said is the reason.
            if !running.ends_soon() {
                running.kill();
                return Err(error);
            }
            running.wait(&|| true)?;
            return Err(error);
        }
        drop(stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
        let watch = Watch::begin();
        let done = running.wait(&signals::end_wanted);
        ended_by_signal(watch)?;
        Ok(done?)
    }
}

pub(super) fn ended_by_signal(watch: Watch) -> Result<(), RunError> {
    let code = signals::code_of_end();
    drop(watch);
    code.map_or(Ok(()), |code| Err(RunError::Signal { code }))
}

/// Writes to a program's stdin, which stays open when this is dropped.
struct Feed(Arc<Mutex<Option<ChildStdin>>>);

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stdin = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match stdin.as_mut() {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is removed unless it was moved to its place.
struct NewFile(PathBuf);

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Puts a new database file in the place of an old one, with its owner and permissions.
fn replace(new: &Path, target: &Path) -> io::Result<()> {
    if let Ok(old) = std::fs::metadata(target) {
        let mode = std::fs::Permissions::from_mode(old.mode() & 0o7777);
        std::os::unix::fs::chown(new, Some(old.uid()), Some(old.gid()))?;
        std::fs::set_permissions(new, mode)?;
    }
    std::fs::File::open(new)?.sync_all()?;
    // What belongs to the old file would be taken for a part of the new one.
    for end in ["-wal", "-shm", "-journal"] {
        let mut path = target.as_os_str().to_owned();
        path.push(end);
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(new, target)
}
