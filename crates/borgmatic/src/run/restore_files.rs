//! Restores a server of MariaDB from its data files: extracts them, makes them consistent, gives them
//! to the user of the server. What starts a private server on them is `scratch_server`.
//!
//! The directory counts as restored when this ends well; `fastness-backup.json` in it says what it is.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use fastness_borg::signals::Watch;
use fastness_sys::users;
use rustix::process::{Flock, FlockType, fcntl_getlk};
use serde_json::Value;

use crate::hooks::dump::physical::{DIRECTORY, INFO};
use crate::hooks::dump::proof::{self, Prover, Verdict};
use crate::hooks::dump::source::Source;
use crate::output::log::Level;
use crate::plan::call::Show;
use crate::plan::{RepositoryPlan, RestoreTask};

use super::outcome::RunError;
use super::restore::ended_by_signal;
use super::runner::{Extra, Runner};
use super::scratch_server;
use super::selection::with_tools;

/// The user that MariaDB runs as.
const OWNER: &[u8] = b"mysql";

/// Files that only a data directory of MariaDB has; one that a restore did not finish has some.
const SIGNS: [&str; 4] = ["ibdata1", "ib_logfile0", "aria_log_control", INFO];

pub(super) fn failed(text: impl Into<String>) -> RunError {
    RunError::Restore(vec![text.into()])
}

/// What went wrong with a path.
pub(super) fn system(what: &str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let what = format!("{what} {}", path.display());
    move |source| RunError::System { what, source }
}

/// Restores the data files of a server; returns what people may want to know about it.
///
/// # Errors
/// When the archive has none or several, the directory is in use, or something fails.
pub fn run(
    runner: &Runner<'_>,
    task: &RestoreTask,
    plan: &RepositoryPlan,
    archive: &str,
) -> Result<String, RunError> {
    let flags = &task.flags;
    let scratch = flags.to_scratch.as_deref();
    let target = flags.to.as_deref().or(scratch).unwrap_or_default();
    let target = std::path::absolute(target).map_err(system("finding", Path::new(target)))?;
    let restorer = Restorer {
        runner,
        task,
        plan,
        archive,
        target: &target,
    };
    let name = restorer.choose()?;
    let about = restorer.about(&name)?;
    refuse_use(&target, flags.overwrite)?;
    let mine = plan.repository.options.physical.iter();
    let source = mine.into_iter().find(|source| source.directory() == name);
    let program = restorer.find_program(source, &about)?;
    let server = scratch.map(|_| scratch_server::find(&target)).transpose()?;
    if task.dry_run {
        return Ok(format!("{name} from {archive}"));
    }
    clear(&target).map_err(system("making", &target))?;
    restorer.extract(&name)?;
    let gathered = gather(&target).map_err(system("looking through", &target))?;
    restorer.prepare(&program)?;
    let given = give_away(&target).map_err(system("changing the owner of", &target))?;
    restorer.tell(&name, &about, given);
    if gathered > 0 {
        let text = format!(
            "{gathered} tables had files outside of the data directory (DATA DIRECTORY); theirs are in it now"
        );
        runner.log.record(Level::Warning, &text);
    }
    if let Some(server) = server {
        scratch_server::start(runner, &server, &target, given)?;
        restorer.prove(&about)?;
    }
    Ok(format!("{name} from {archive} to {}", target.display()))
}

/// What is needed for a restore.
struct Restorer<'a> {
    runner: &'a Runner<'a>,
    task: &'a RestoreTask,
    plan: &'a RepositoryPlan,
    archive: &'a str,
    target: &'a Path,
}

impl Restorer<'_> {
    fn extra(&self) -> Extra<'_> {
        Extra {
            archive: Some(self.archive),
            ..Extra::default()
        }
    }

    /// The server that is meant.
    fn choose(&self) -> Result<String, RunError> {
        let (call, environment) = (&self.task.physical_listing, &self.plan.environment);
        let given = self.runner.run(call, environment, self.extra())?;
        let wanted = self.task.flags.original_label.as_deref();
        choose(&given.data, wanted, self.archive)
    }

    /// What the archive says about the backup.
    fn about(&self, name: &str) -> Result<Value, RunError> {
        let path = format!("pp:borgmatic/{DIRECTORY}/{name}/{INFO}");
        let call = self.task.content.clone().word(path).shown(Show::Query);
        let environment = &self.plan.environment;
        let given = self.runner.run(&call, environment, self.extra())?;
        serde_json::from_slice(&given.data).map_err(|_| {
            let archive = self.archive;
            failed(format!(
                "{INFO} of {name} in archive {archive} is damaged; extract it by hand to see what can be saved"
            ))
        })
    }

    /// Makes sure that what makes files consistent is there, before anything is written.
    fn find_program(&self, source: Option<&Source>, about: &Value) -> Result<String, RunError> {
        let default = "mariadb-backup";
        let command = source.map_or(default, |source| {
            source.command("mariadb_backup_command", default)
        });
        let options = &self.plan.repository.options;
        let said = with_tools(self.runner, options, self.target, |tools| {
            let program = tools.program("preparing data files of MariaDB", command);
            program.word("--version").said(tools.log)
        })?;
        let (own, server) = (version(&said), version(text(about, "server_version")));
        if let (Some(own), Some(server)) = (own, server)
            && own != server
        {
            let warning = format!(
                "The backup is of MariaDB {server}, {command} is of {own}; if it does not work, install that of {server}"
            );
            self.runner.log.record(Level::Warning, &warning);
        }
        Ok(command.to_owned())
    }

    fn extract(&self, name: &str) -> Result<(), RunError> {
        let path = format!("pp:borgmatic/{DIRECTORY}/{name}");
        let mut call = self.task.physical_files.clone().word(path);
        call.directory = Some(self.target.to_owned());
        self.runner
            .run(&call, &self.plan.environment, self.extra())?;
        Ok(())
    }

    /// Makes the files consistent, as of the end of the backup.
    fn prepare(&self, command: &str) -> Result<(), RunError> {
        let watch = Watch::begin();
        let options = &self.plan.repository.options;
        let target = self.target.to_string_lossy();
        let done = with_tools(self.runner, options, self.target, |tools| {
            let program = tools.program(&format!("MariaDB in {target}"), command);
            let program = program.words(["--no-defaults", "--prepare"]);
            program
                .word(format!("--target-dir={target}"))
                .run(tools.log)
        });
        ended_by_signal(watch)?;
        Ok(done?)
    }

    /// Compares the tables of the private server with what was noted of them, if anything was.
    fn prove(&self, about: &Value) -> Result<(), RunError> {
        let Some(noted) = about.get("tables") else {
            return Ok(());
        };
        let socket = self.target.join("socket");
        let options = &self.plan.repository.options;
        let found = with_tools(self.runner, options, self.target, |tools| {
            let what = format!("MariaDB in {}", self.target.display());
            let prover = Prover::of_socket(tools, &what, &socket.to_string_lossy(), noted);
            prover.measure(tools.log, &proof::still(noted))
        })?;
        let Verdict { same, moved, wrong } = proof::compare(noted, &found);
        let text = format!("{same} tables hold what was noted when the backup was made");
        let text = match moved {
            0 => text,
            _ => format!("{text}; {moved} were written to meanwhile and cannot be compared"),
        };
        self.runner.log.record(Level::Answer, &text);
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(RunError::Restore(wrong)),
        }
    }

    /// Says what was restored, and how a server is started on it.
    fn tell(&self, name: &str, about: &Value, given: bool) {
        let value = |key: &str| text(about, key);
        let target = self.target.display();
        let lines = [
            format!(
                "The data files of {name} are in {target}, as of {}",
                value("end_time")
            ),
            format!(
                "Server version {}, LSN {}, binary log {} position {}, GTID {}",
                value("server_version"),
                value("last_lsn"),
                value("binlog_file"),
                value("binlog_position"),
                value("gtid")
            ),
            match given {
                true => format!(
                    "To start a server on them: stop the old one, set datadir={target} (or move them to its datadir), start it"
                ),
                false => format!(
                    "To start a server on them: give them to its user (chown -R mysql: {target}), set datadir={target}, start it"
                ),
            },
        ];
        for line in lines {
            self.runner.log.record(Level::Answer, &line);
        }
    }
}

fn text<'a>(about: &'a Value, key: &str) -> &'a str {
    about.get(key).and_then(Value::as_str).unwrap_or("unknown")
}

/// Chooses a server out of the paths of what is known of each.
fn choose(listing: &[u8], wanted: Option<&str>, archive: &str) -> Result<String, RunError> {
    let text = String::from_utf8_lossy(listing);
    let names: Vec<&str> = text
        .split('\0')
        .filter_map(|path| path.split('/').nth(2))
        .collect();
    match (wanted, names.as_slice()) {
        (_, []) => Err(failed(format!(
            "archive {archive} has no complete data files of MariaDB; entries of \"mariadb_physical\" save them"
        ))),
        (Some(wanted), names) if names.contains(&wanted) => Ok(wanted.to_owned()),
        (None, [name]) => Ok((*name).to_owned()),
        (_, names) => Err(failed(format!(
            "archive {archive} has data files of {}; choose with --original-label",
            names.join(", ")
        ))),
    }
}

/// The first two numbers of a version in a text such as `10.11.19-MariaDB`.
fn version(text: &str) -> Option<String> {
    let numbers = |word: &str| {
        let mut parts = word.split('.');
        let number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor) = (parts.next()?, parts.next()?);
        parts.next()?;
        (number(major) && number(minor)).then(|| format!("{major}.{minor}"))
    };
    text.split_whitespace().find_map(numbers)
}

/// Leaves a directory alone that has something in it, unless it may go.
fn refuse_use(target: &Path, overwrite: bool) -> Result<(), RunError> {
    let shown = target.display();
    if !is_in_use(target).map_err(system("looking into", target))? {
        return Ok(());
    }
    if !overwrite {
        return Err(failed(format!(
            "{shown} is not empty; name another directory, or give --overwrite to lose what is in it"
        )));
    }
    let is_data = SIGNS.iter().any(|name| target.join(name).exists());
    if !is_data {
        return Err(failed(format!(
            "{shown} is not empty and no data directory of MariaDB: --overwrite empties no other"
        )));
    }
    match server_of(target).map_err(system("looking into", target))? {
        Some(pid) => Err(failed(format!(
            "a server (process {pid}) has the files in {shown} open; stop it first"
        ))),
        None => Ok(()),
    }
}

fn is_in_use(target: &Path) -> io::Result<bool> {
    match std::fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The process of a server that runs on these files: it holds locks on some of them.
fn server_of(target: &Path) -> io::Result<Option<i32>> {
    for name in SIGNS {
        let file = match File::open(target.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let lock = Flock::from(FlockType::WriteLock);
        if let Some(lock) = fcntl_getlk(file.as_fd(), &lock)? {
            return Ok(Some(lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get())));
        }
    }
    Ok(None)
}

/// Makes an empty private directory.
fn clear(target: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(target)?;
    std::fs::set_permissions(target, Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(target)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Cuts the links (`.isl`) to the files of tables that were elsewhere: the backup has those files beside
/// the links, which would lead to the files that another server may have open. Returns how many.
fn gather(target: &Path) -> io::Result<usize> {
    let mut gathered = 0;
    for schema in std::fs::read_dir(target)? {
        let schema = schema?;
        if !schema.file_type()?.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(schema.path())? {
            let path = entry?.path();
            let is_link = path.extension().is_some_and(|extension| extension == "isl");
            if is_link {
                std::fs::remove_file(&path)?;
                gathered += 1;
            }
        }
    }
    Ok(gathered)
}

/// Gives all to the user of the server, if this is root and there is such a user.
fn give_away(target: &Path) -> io::Result<bool> {
    let owner = users::user_by_name(OWNER).filter(|_| fastness_sys::process::is_root());
    let ids = owner.as_ref().map(|owner| (owner.uid, owner.gid));
    let mut directories: Vec<PathBuf> = vec![target.to_owned()];
    while let Some(directory) = directories.pop() {
        own(&directory, ids, 0o700)?;
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => directories.push(entry.path()),
                false => own(&entry.path(), ids, 0o660)?,
            }
        }
    }
    Ok(ids.is_some())
}

fn own(path: &Path, ids: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    match ids {
        Some((user, group)) => chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_chosen_when_there_is_more_than_one() {
        let one = b"borgmatic/mariadb_physical/main/fastness-backup.json\0";
        let two = [
            &one[..],
            b"borgmatic/mariadb_physical/b/fastness-backup.json\0",
        ]
        .concat();
        assert_eq!(choose(one, None, "a").unwrap(), "main");
        assert_eq!(choose(&two, Some("b"), "a").unwrap(), "b");
        let error = choose(&two, None, "a").unwrap_err().to_string();
        assert!(error.contains("main, b"), "{error}");
        assert!(choose(one, Some("x"), "a").is_err());
        assert!(choose(b"", None, "a").is_err());
    }

    #[test]
    fn only_an_unused_data_directory_of_mariadb_is_ever_emptied() {
        let place = tempfile::tempdir().unwrap();
        let (path, new) = (place.path(), place.path().join("new"));
        assert!(refuse_use(path, false).is_ok());
        assert!(refuse_use(&new, false).is_ok());
        std::fs::write(path.join("letters"), "").unwrap();
        assert!(refuse_use(path, false).is_err());
        let error = refuse_use(path, true).unwrap_err().to_string();
        assert!(error.contains("no data directory"), "{error}");
        std::fs::write(path.join("ibdata1"), "").unwrap();
        assert!(refuse_use(path, true).is_ok());
        assert!(refuse_use(&path.join("letters"), true).is_err());
    }

    #[test]
    fn links_to_files_elsewhere_are_cut() {
        let place = tempfile::tempdir().unwrap();
        let shop = place.path().join("shop");
        std::fs::create_dir(&shop).unwrap();
        for name in ["a.ibd", "a.isl", "b.ibd", "b.frm"] {
            std::fs::write(shop.join(name), "/elsewhere/shop/a.ibd").unwrap();
        }
        assert_eq!(gather(place.path()).unwrap(), 1);
        assert!(!shop.join("a.isl").exists());
        assert!(shop.join("a.ibd").exists());
    }

    #[test]
    fn versions_are_compared_by_their_first_two_numbers() {
        let said = "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu";
        assert_eq!(version(said).as_deref(), Some("10.11"));
        assert_eq!(version("10.11.4-MariaDB-1").as_deref(), Some("10.11"));
        assert_eq!(version("unknown"), None);
    }
}
