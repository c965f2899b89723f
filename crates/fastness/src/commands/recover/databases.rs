//! Databases on the restored machine: dumps go to their servers as the configuration in the archive
//! says, data files of MariaDB go to their directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use fastness_borgmatic::config::tree::{Entry, Node, Position, Value};
use fastness_borgmatic::config::{Configuration, LoadContext, show};
use fastness_borgmatic::run::{World, run};

use super::contents::{Contents, CopiedServer};
use super::error::RecoverError;
use super::state::Place;
use super::vault::{Archive, How, Vault};

/// Options that say where secrets of databases come from.
const CREDENTIALS: [&str; 5] = [
    "systemd",
    "container",
    "keepassxc",
    "onepassword",
    "working_directory",
];

/// Restores the databases of an archive.
pub struct Databases<'a> {
    /// The repository.
    pub vault: &'a Vault,
    /// The archive.
    pub archive: &'a Archive,
    /// What is in it.
    pub contents: &'a Contents,
    /// The directory of the recovery.
    pub place: &'a Place,
    /// The root of the restored machine.
    pub destination: &'a Path,
    /// Where data files go, as an absolute path.
    pub datadir: &'a Path,
    /// Whether data files that are there may go.
    pub may_replace: bool,
}

impl Databases<'_> {
    /// Restores all of them.
    ///
    /// # Errors
    /// When one is not restored.
    pub fn restore(&self) -> Result<(), RecoverError> {
        let contents = self.contents;
        let servers = contents.servers.len() + contents.copies.len();
        if servers > 1 {
            let text = format!(
                "the archive has data files of several servers ({}); restore each with \"fastness restore --to DIRECTORY\", the rest with --only packages,files",
                contents.databases()
            );
            return Err(step("MariaDB", text));
        }
        if servers == 1 {
            self.service("stop");
        }
        if !(contents.dumps.is_empty() && contents.servers.is_empty()) {
            let file = self.configuration()?;
            if let Some(name) = contents.servers.first() {
                self.native(&file, name)?;
            }
            if servers == 1 {
                self.service("start");
            }
            if !contents.dumps.is_empty() {
                let words = ["restore", "--archive", &self.archive.name];
                self.fastness("restoring dumps of databases", &file, &words)?;
            }
        }
        for copy in &contents.copies {
            self.copied(copy)?;
            self.service("start");
        }
        Ok(())
    }

    /// Stops or starts the server of this machine, if it is the one that is recovered.
    fn service(&self, verb: &str) {
        if self.destination == Path::new("/") {
            // Not every machine has it as a service; a server that runs is noticed below.
            let _ = Command::new("systemctl").args([verb, "mariadb"]).output();
        }
    }

    /// Runs an action of a configuration, with the key and passphrase of this recovery.
    fn fastness(&self, what: &str, file: &Path, words: &[&str]) -> Result<(), RecoverError> {
        let mut line = vec!["--config".to_owned(), file.to_string_lossy().into_owned()];
        line.extend(words.iter().map(|word| (*word).to_owned()));
        if let Some(passphrase) = &self.vault.passphrase {
            // Only words of this process: nobody else sees them.
            line.push("--encryption-passphrase".to_owned());
            line.push(passphrase.reveal().to_owned());
        }
        let world = World {
            variables: self.vault.variables.clone(),
            ..World::of_process()
        };
        let stdout = Box::new(std::io::stdout());
        let code = run(
            "fastness",
            &line,
            &world,
            stdout,
            Box::new(std::io::stderr()),
        );
        match code {
            0 => Ok(()),
            code => Err(step(what, format!("ended with code {code}, see above"))),
        }
    }

    fn native(&self, file: &Path, name: &str) -> Result<(), RecoverError> {
        let target = self.datadir.to_string_lossy();
        let parent = self.datadir.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(RecoverError::system("making", parent))?;
        let mut words = vec!["restore", "--archive", &self.archive.name, "--to", &target];
        words.extend(["--original-label", name]);
        if self.may_replace {
            words.push("--overwrite");
        }
        self.fastness("restoring data files of MariaDB", file, &words)
    }

    /// Data files that a hook of the configuration had put among the files.
    fn copied(&self, copy: &CopiedServer) -> Result<(), RecoverError> {
        let (what, target) = ("restoring data files of MariaDB", self.datadir);
        let failed = |doing: &'static str| RecoverError::system(doing, target);
        let is_empty = fs::read_dir(target).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty {
            if !self.may_replace || !target.join("ibdata1").exists() {
                let text = format!(
                    "{} is not empty: move it away, or name another directory with --datadir",
                    target.display()
                );
                return Err(step(what, text));
            }
            fs::remove_dir_all(target).map_err(failed("emptying"))?;
        }
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o755).create(target);
        made.map_err(failed("making"))?;
        let depth = copy.path.split('/').count().to_string();
        let (address, pattern) = (
            self.vault.address(self.archive),
            format!("pp:{}", copy.path),
        );
        let words = [
            "extract",
            "--numeric-ids",
            "--strip-components",
            &depth,
            &address,
            &pattern,
        ];
        let how = How {
            directory: Some(target),
            progress: true,
            ..How::default()
        };
        let given = self.vault.run(what, &words, how)?;
        if !given.warnings.is_empty() {
            return Err(step(what, given.warnings.join("\n")));
        }
        if !copy.is_prepared {
            prepare(target)?;
        }
        self.give_away(target)
    }

    /// Gives data files to the user of the server, by the accounts of the restored machine.
    fn give_away(&self, target: &Path) -> Result<(), RecoverError> {
        let accounts = fs::read_to_string(self.destination.join("etc/passwd"));
        let accounts = accounts.unwrap_or_default();
        let mysql = accounts.lines().find_map(|line| {
            let mut fields = line.strip_prefix("mysql:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        match mysql {
            Some((uid, gid)) if fastness_sys::process::is_root() => {
                own(target, uid, gid).map_err(RecoverError::system("changing the owner of", target))
            }
            _ => Ok(()),
        }
    }

    /// Writes what the configuration of the archive says about databases, with this repository.
    fn configuration(&self) -> Result<PathBuf, RecoverError> {
        let files = self.contents.configuration.iter();
        let mut problem = RecoverError::NoConfiguration(self.archive.name.clone());
        for name in files {
            let path = self.contents.top.join(name.trim_start_matches('/'));
            if path.extension().is_some_and(|end| end == "fastness") {
                continue;
            }
            match load(&path, &self.vault.variables) {
                Ok(configuration) => {
                    let tree = self.narrowed(&configuration.tree);
                    return self.write(&show::block(&tree));
                }
                Err(text) => problem = step(&format!("reading {name} of the archive"), text),
            }
        }
        Err(problem)
    }

    fn narrowed(&self, tree: &Node) -> Node {
        let at = Position::whole("the archive");
        let entry = |key: &str, value: Node| Entry {
            key: key.to_owned(),
            at: at.clone(),
            value,
        };
        let text = |text: &str| Node::text(text, at.clone());
        let map = |entries: Vec<Entry>| Node::new(Value::Map(entries), at.clone());
        let wanted = |key: &str| key.ends_with("_databases") || CREDENTIALS.contains(&key);
        let kept = tree.entries().iter().filter(|entry| wanted(&entry.key));
        let mut entries: Vec<Entry> = kept.cloned().collect();
        let physical = tree
            .get("fastness")
            .and_then(|own| own.get("mariadb_physical"));
        if let Some(physical) = physical {
            let own = map(vec![entry("mariadb_physical", physical.clone())]);
            entries.push(entry("fastness", own));
        }
        let repository = map(vec![entry("path", text(&self.vault.repository))]);
        let repositories = Node::new(Value::List(vec![repository]), at.clone());
        entries.push(entry("repositories", repositories));
        entries.push(entry("match_archives", text("*")));
        map(entries)
    }

    fn write(&self, text: &str) -> Result<PathBuf, RecoverError> {
        let path = self.place.path.join("databases.yaml");
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(RecoverError::system("writing", &path))?;
        Ok(path)
    }
}

fn load(path: &Path, variables: &BTreeMap<OsString, OsString>) -> Result<Configuration, String> {
    let variable = |name: &str| {
        let value = variables.get(&OsString::from(name))?;
        value.to_str().map(str::to_owned)
    };
    let context = LoadContext {
        variable: &variable,
        interpolate_environment: true,
        overrides: &[],
    };
    Configuration::load(path, context).map_err(|errors| errors.to_string())
}

/// Makes data files consistent, as of the end of their backup.
fn prepare(target: &Path) -> Result<(), RecoverError> {
    let mut missing = String::new();
    for program in ["mariadb-backup", "mariabackup"] {
        let mut command = Command::new(program);
        let command = command.args(["--no-defaults", "--prepare", "--target-dir"]);
        match command.arg(target).output() {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let last = text.lines().next_back().unwrap_or("it does not say why");
                return Err(step(&format!("{program} --prepare"), last.to_owned()));
            }
            Err(error) => missing = error.to_string(),
        }
    }
    Err(step("mariadb-backup --prepare", missing))
}

/// Gives a directory and all in it to a user.
fn own(path: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    chown(path, Some(uid), Some(gid))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => own(&entry.path(), uid, gid)?,
            kind if kind.is_file() => chown(entry.path(), Some(uid), Some(gid))?,
            _ => {}
        }
    }
    Ok(())
}

fn step(what: &str, text: impl Into<String>) -> RecoverError {
    RecoverError::Step {
        what: what.to_owned(),
        text: text.into(),
    }
}
