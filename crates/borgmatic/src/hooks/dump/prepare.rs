//! Before an archive is made: which dumps it gets, and what of them must be there already.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fastness_engine::create::{Producer, Stream, StreamSource};
use fastness_format::chunker::ChunkerParams;
use fastness_sys::users;

use super::metadata::{self, Dump};
use super::notes::DumpNotes;
use super::producer::{Failed, ProgramOutput};
use super::proof::Prover;
use super::source::{Access, Source};
use super::{DATABASES, DumpError, DumpForm, PlannedDump, Tools, is_file_name, physical};
use crate::hooks::inventory::{self, Inventory};
use crate::output::log::Level;

/// The dumps of an archive.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Directories that go into the archive as they are.
    pub roots: Vec<PathBuf>,
    /// Dumps that are made while the archive is.
    pub streams: Vec<Stream>,
    /// What becomes of each.
    pub notes: DumpNotes,
}

/// What an archive gets that is no file of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// Databases whose dumps go into it.
    pub databases: &'a [Source],
    /// Servers whose data files go into it.
    pub physical: &'a [Source],
    /// What it tells of the machine.
    pub inventory: Option<&'a inventory::Settings>,
}

impl Contents<'_> {
    /// Tells whether there is nothing of the kind.
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty() && self.physical.is_empty() && self.inventory.is_none()
    }
}

/// Prepares the dumps of all entries. Whatever fails for one of them fails in the archive, which
/// then is an unfinished one with all the others.
///
/// # Errors
/// When the private directory of the run cannot be written.
pub fn prepare(contents: Contents<'_>, tools: &Tools<'_>, now: i64) -> Result<Prepared, DumpError> {
    let mut prepared = Prepared::default();
    for database in DATABASES {
        let own = |source: &&Source| source.database.key() == database.key();
        let own: Vec<&Source> = contents.databases.iter().filter(own).collect();
        if own.is_empty() {
            continue;
        }
        let title = database.title();
        tools
            .log
            .record(Level::Info, &format!("Dumping {title} databases"));
        let root = tools.runtime.join(database.key());
        // As borgmatic has it; what is around it is private.
        make_directory(&root, 0o755)?;
        let mut hook = Hook {
            tools,
            now,
            root: &root,
            dumps: Vec::new(),
            streams: &mut prepared.streams,
            notes: &prepared.notes,
        };
        for source in own {
            hook.add(source)?;
        }
        let path = root.join("dumps.json");
        let text = metadata::write(&hook.dumps);
        std::fs::write(&path, text).map_err(|source| DumpError::Write { path, source })?;
        prepared.roots.push(root);
    }
    for (index, source) in contents.physical.iter().enumerate() {
        let before = contents.physical.iter().take(index);
        let twice = before
            .map(Source::directory)
            .any(|name| name == source.directory());
        let stream = backup_of_files(source, twice, tools, now);
        let stream = prepared.notes.watch(stream);
        prepared.streams.push(stream);
    }
    if let Some(settings) = contents.inventory {
        let files = Inventory::new(settings, tools.log, tools.environment);
        let path = format!("borgmatic/{}", inventory::DIRECTORY);
        let files = StreamSource::Files(Box::new(files));
        prepared.streams.push(stream(path, files, now));
    }
    // Everything of the directories comes before the first stream.
    let place = prepared.roots.len();
    for stream in &mut prepared.streams {
        stream.place = place;
    }
    Ok(prepared)
}

/// Prepares the backup of a server as its data files. Another one must not have its name.
fn backup_of_files(source: &Source, twice: bool, tools: &Tools<'_>, now: i64) -> Stream {
    let access = Access {
        source,
        restore: None,
        tools,
    };
    let directory = source.directory();
    let made = match (is_file_name(&directory), twice) {
        (true, false) => {
            physical::plan(&access).and_then(|program| Ok((program, Prover::configured(&access)?)))
        }
        (true, true) => Err(DumpError::Other {
            what: access.describe(""),
            reason: format!(
                "another entry is {directory:?} in archives too; give each a \"label\""
            ),
        }),
        (false, _) => Err(DumpError::Name {
            what: access.describe(""),
        }),
    };
    let files = made
        .map(|(program, prover)| physical::Backup::new(program, prover, tools.log, tools.runtime));
    let path = format!("borgmatic/{}/{directory}", physical::DIRECTORY);
    Stream {
        // Whole pages: what did not change in a file is the same chunk again.
        chunker: Some(ChunkerParams::Fixed {
            block_size: 128 << 10,
            header_size: 0,
        }),
        ..stream(
            path,
            match files {
                Ok(files) => StreamSource::Files(Box::new(files)),
                Err(error) => StreamSource::Produced(Box::new(Failed(error))),
            },
            now,
        )
    }
}

/// A stream of this user.
fn stream(path: String, source: StreamSource, now: i64) -> Stream {
    let (user, group) = fastness_sys::process::own_ids();
    let mut accounts = users::Accounts::new();
    let name_of = |name: Option<&[u8]>| name.map(<[u8]>::to_vec).unwrap_or_default();
    Stream {
        place: 0,
        source,
        path: path.into_bytes(),
        mode: 0o600,
        user: (name_of(accounts.user_name(user)), user),
        group: (name_of(accounts.group_name(group)), group),
        time: now,
        chunker: None,
    }
}

/// The dumps of one kind of database.
struct Hook<'a> {
    tools: &'a Tools<'a>,
    now: i64,
    root: &'a Path,
    dumps: Vec<Dump>,
    streams: &'a mut Vec<Stream>,
    notes: &'a DumpNotes,
}

impl Hook<'_> {
    fn add(&mut self, source: &Source) -> Result<(), DumpError> {
        let access = Access {
            source,
            restore: None,
            tools: self.tools,
        };
        let directory = source.directory();
        if !is_file_name(&directory) {
            let what = access.describe(source.name());
            self.fail(source, source.name(), DumpError::Name { what });
            return Ok(());
        }
        let path = self.root.join(&directory);
        make_directory(&path, 0o700)?;
        match source.database.plan(&access, &path) {
            Ok(dumps) => {
                for dump in dumps {
                    self.add_dump(source, dump);
                }
            }
            Err(error) => self.fail(source, source.name(), error),
        }
        Ok(())
    }

    fn add_dump(&mut self, source: &Source, dump: PlannedDump) {
        let described = Dump::new(source, &dump.name);
        let place = |dump: &Dump| (dump.directory(dump.port), dump.name.clone());
        if self
            .dumps
            .iter()
            .any(|known| place(known) == place(&described))
        {
            let text = format!("Skipping duplicate dump of {}", dump.program.what);
            self.tools.log.record(Level::Warning, &text);
            return;
        }
        if !is_file_name(&dump.name) {
            let what = dump.program.what.clone();
            return self.fail(source, &dump.name, DumpError::Name { what });
        }
        self.dumps.push(described);
        match dump.form.clone() {
            DumpForm::Directory(path) => {
                let what = format!("Dumping {}", dump.program.what);
                self.tools.log.record(Level::Info, &what);
                if let Err(error) = dump.program.run(self.tools.log) {
                    // What there is of it must not pass for a dump.
                    let _ = std::fs::remove_dir_all(path);
                    self.fail(source, &dump.name, error);
                } else {
                    let key = source.database.key();
                    let name = format!("{key}/{}/{}", source.directory(), dump.name);
                    self.notes.done(&name, None);
                }
            }
            DumpForm::Stream => {
                let name = dump.name.clone();
                let output = ProgramOutput::new(dump, self.tools.log);
                self.push(source, &name, Box::new(output));
            }
        }
    }

    fn fail(&mut self, source: &Source, name: &str, error: DumpError) {
        self.push(source, name, Box::new(Failed(error)));
    }

    fn push(&mut self, source: &Source, name: &str, producer: Box<dyn Producer>) {
        let key = source.database.key();
        let path = format!("borgmatic/{key}/{}/{name}", source.directory());
        let produced = StreamSource::Produced(producer);
        let stream = stream(path, produced, self.now);
        self.streams.push(self.notes.watch(stream));
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), DumpError> {
    let made = std::fs::DirBuilder::new()
        .mode(mode)
        .recursive(true)
        .create(path);
    made.map_err(|source| DumpError::Write {
        path: path.to_owned(),
        source,
    })
}
