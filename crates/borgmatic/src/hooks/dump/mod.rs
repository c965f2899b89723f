//! Databases: dumps that go into archives while these are made, and come back out of them.
//!
//! Each kind of database is a [`Database`] in a file of its own, and a line in [`DATABASES`]. It
//! says which programs dump and restore; everything else is here: the output of a dump program
//! goes straight into the archive (`producer`), under the paths that borgmatic uses, beside a
//! description ([`metadata`]). A dump that fails never hinders the others; the archive then counts
//! as unfinished.

mod container;
mod influxdb;
mod mariadb;
mod mbstream;
pub mod metadata;
mod mongodb;
mod mysql;
pub mod notes;
mod openldap;
pub mod physical;
mod postgresql;
mod prepare;
mod producer;
pub mod program;
pub mod proof;
pub mod shared;
pub mod source;
mod sqlite;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness_borg::environment::Secret;

use crate::hooks::credential::CredentialError;
use crate::output::log::Log;
pub use prepare::{Contents, Prepared, prepare};
use program::Program;
use source::Access;

/// All kinds of databases, in the order in which they are dumped.
pub static DATABASES: [&dyn Database; 7] = [
    &influxdb::InfluxDb,
    &mariadb::MARIADB,
    &mongodb::MongoDb,
    &mysql::MYSQL,
    &openldap::OpenLdap,
    &postgresql::PostgreSql,
    &sqlite::Sqlite,
];

/// A kind of database.
pub trait Database: fmt::Debug + Sync {
    /// The option that lists its databases, which is also the name of its directory in archives.
    fn key(&self) -> &'static str;

    /// Its name.
    fn title(&self) -> &'static str;

    /// The port that is meant when none is named.
    fn default_port(&self) -> Option<i64>;

    /// Plans the dumps of an entry, of each database that it stands for. Those that are
    /// directories go below `directory`.
    ///
    /// # Errors
    /// When it cannot be found out which databases there are, or how they are reached.
    fn plan(&self, access: &Access<'_>, directory: &Path) -> Result<Vec<PlannedDump>, DumpError>;

    /// Plans a restore of the database `name` from its dump.
    ///
    /// # Errors
    /// When it cannot be found out how the server is reached.
    fn restore(
        &self,
        access: &Access<'_>,
        name: &str,
        dump: &DumpForm,
    ) -> Result<PlannedRestore, DumpError>;
}

/// One dump to be made.
#[derive(Debug)]
pub struct PlannedDump {
    /// The database, which names the dump.
    pub name: String,
    /// Makes it.
    pub program: Program,
    /// What it makes.
    pub form: DumpForm,
    /// What its output must end with.
    pub last: Option<&'static str>,
}

/// What a dump is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpForm {
    /// A stream of bytes, on stdout or stdin of the program.
    Stream,
    /// A directory.
    Directory(PathBuf),
}

/// A restore to be done.
#[derive(Debug)]
pub struct PlannedRestore {
    /// Takes the dump.
    pub program: Program,
    /// Run after it.
    pub then: Vec<Program>,
    /// A new file, and the one whose place it takes when it is complete.
    pub replaces: Option<(PathBuf, PathBuf)>,
}

impl PlannedRestore {
    fn new(program: Program) -> Self {
        Self {
            program,
            then: Vec::new(),
            replaces: None,
        }
    }
}

/// Why a database is not dumped or not restored.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// A name that cannot be that of a file.
    #[error(
        "{what}: neither the name of a database nor that of its directory may be empty, \".\", \"..\" or have a slash in it; set \"label\" for another directory"
    )]
    Name {
        /// The database.
        what: String,
    },
    /// A program failed.
    #[error("{what}: {program} {reason}")]
    Program {
        /// What it worked on.
        what: String,
        /// The program.
        program: String,
        /// What became of it.
        reason: String,
    },
    /// A program ended well, but gave too little.
    #[error("{what}: {program} gave no complete dump, although it ended without an error")]
    Incomplete {
        /// The database.
        what: String,
        /// The program.
        program: String,
    },
    /// No database has such a name.
    #[error("{what}: the server has no such database that could be saved")]
    Nothing {
        /// What was looked for.
        what: String,
    },
    /// There is no address of a container.
    #[error("container {container:?}: {reason}")]
    Container {
        /// The container.
        container: String,
        /// Why not.
        reason: String,
    },
    /// A credential cannot be loaded.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Something else about one database.
    #[error("{what}: {reason}")]
    Other {
        /// The database.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of the run cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Loads what `{credential …}` names.
type Resolve<'a> = &'a dyn Fn(&str) -> Result<Secret, CredentialError>;

/// What a run lends to those who dump and restore.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Where records go.
    pub log: &'a Log,
    /// Loads credentials.
    pub resolve: Resolve<'a>,
    /// The environment of programs.
    pub environment: &'a Arc<BTreeMap<OsString, OsString>>,
    /// Where programs run; empty for where the run is.
    pub working_directory: &'a Path,
    /// A private directory of this run.
    pub runtime: &'a Path,
}

impl Tools<'_> {
    /// Begins a program.
    pub fn program(&self, what: &str, command: &str) -> Program {
        let directory = self.working_directory.to_owned();
        Program::new(what, command, self.environment, directory)
    }

    /// Loads a credential, or returns the value itself.
    fn resolve(&self, value: &str) -> Result<Secret, DumpError> {
        Ok((self.resolve)(value)?)
    }

    /// Tells whether a program is installed.
    fn is_there(&self, program: &str) -> bool {
        let path = self.environment.get(&OsString::from("PATH"));
        let mut directories = path.into_iter().flat_map(std::env::split_paths);
        directories.any(|directory| directory.join(program).is_file())
    }

    /// Writes a text into a file that only this user can read, and returns its path.
    fn private_file(&self, name: &str, text: &Secret) -> Result<PathBuf, DumpError> {
        let path = self.runtime.join(name);
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(text.reveal().as_bytes()));
        match written {
            Ok(()) => Ok(path),
            Err(source) => Err(DumpError::Write { path, source }),
        }
    }
}

/// Tells whether a name is one of a file.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// The names that a name stands for: itself, or those of the server that match.
fn matching(access: &Access<'_>, names: Vec<String>) -> Result<Vec<String>, DumpError> {
    let source = access.source;
    let wanted = source.name();
    let names: Vec<String> = names
        .into_iter()
        .filter(|name| wanted == "all" || crate::glob::matches(wanted, name))
        .filter(|name| !source.list("skip_names").contains(name))
        .collect();
    match names.is_empty() {
        true => Err(DumpError::Nothing {
            what: access.describe(wanted),
        }),
        false => Ok(names),
    }
}
