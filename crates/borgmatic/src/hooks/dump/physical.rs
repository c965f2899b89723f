//! MariaDB as its data files: `mariadb-backup` runs beside the server, and each file it streams
//! becomes a file of the archive while it comes. No directory is filled.
//!
//! Files come one after another, each through a pipe of its own. Pieces of another file in between
//! (the redo log, which grows meanwhile) wait in a nameless file of the run's private directory.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, PipeWriter, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fastness_engine::create::{FileProducer, NextFile, ProducedFile, ProducerError};
use serde_json::{Map, Value};

use super::mbstream::{Piece, next_piece};
use super::program::{Program, Running};
use super::proof::Prover;
use super::source::{Access, Source};
use super::{DumpError, mariadb};
use crate::config::tree::Node;
use crate::output::log::{Level, Log};

/// The name of the file that says what the backup is.
pub const INFO: &str = "fastness-backup.json";

/// The name of its directory in archives.
pub const DIRECTORY: &str = "mariadb_physical";

/// How long the archive waits for the next file before it looks around.
const MOMENT: Duration = Duration::from_millis(50);

/// Files that may wait until the archive takes them.
const WAITING_FILES: usize = 16;

/// The longest file that is looked into.
const NOTES_BYTES: usize = 64 << 10;

/// Reads the entries of `mariadb_physical`.
pub fn sources(section: Option<&Node>) -> Vec<Source> {
    let entries = section
        .and_then(|section| section.get(DIRECTORY))
        .map(Node::elements);
    let entries = entries.unwrap_or_default().iter();
    let read = |entry| Source::read(&mariadb::MARIADB, entry);
    entries.map(read).collect()
}

/// Plans the backup of a server.
///
/// # Errors
/// When it cannot be found out how it is reached.
pub fn plan(access: &Access<'_>) -> Result<Program, DumpError> {
    let source = access.source;
    let command = source.command("mariadb_backup_command", "mariadb-backup");
    let program = mariadb::program(access, "", command, source.get("options"))?;
    Ok(program
        .words(["--backup", "--stream=mbstream"])
        .notes(is_note)
        .value("--socket", source.get("socket_path")))
}

/// Says that a file is copied, which may have any name.
fn is_note(line: &str) -> bool {
    [" Streaming ", " Copying ", " is copied successfully"]
        .iter()
        .any(|words| line.contains(words))
}

/// A backup that is being made.
pub struct Backup {
    program: Program,
    prover: Option<Prover>,
    log: Log,
    runtime: PathBuf,
    work: Mutex<Option<Work>>,
}

/// The program, and the thread that takes its stream apart.
struct Work {
    messages: Receiver<Message>,
    running: Arc<Mutex<Running>>,
    abandoned: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    File(ProducedFile),
    /// The backup is complete, or why it is not.
    End(Result<(), String>),
}

impl Drop for Work {
    fn drop(&mut self) {
        // Whoever waits for the program gives up, and without it the stream ends.
        self.abandoned.store(true, Ordering::Relaxed);
        locked(&self.running).kill();
        let (_, nobody) = sync_channel(1);
        drop(std::mem::replace(&mut self.messages, nobody));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Backup {
    /// Makes one; nothing is started yet. What must wait does so below `runtime`.
    pub fn new(program: Program, prover: Option<Prover>, log: &Log, runtime: &Path) -> Self {
        Self {
            program,
            prover,
            log: log.clone(),
            runtime: runtime.to_owned(),
            work: Mutex::default(),
        }
    }

    fn start(&self) -> Result<Work, DumpError> {
        let text = format!("Copying {}", self.program.what);
        self.log.record(Level::Info, &text);
        let proof = self
            .prover
            .clone()
            .and_then(|prover| Proof::begin(prover, &self.log));
        let mut running = self
            .program
            .start(&self.log, Stdio::null(), Stdio::piped())?;
        let stream = running.stdout().map(File::from);
        if let Some(stream) = &stream {
            // Fewer changes between the two sides; not needed.
            let _ = fastness_sys::process::widen_pipe(stream);
        }
        let running = Arc::new(Mutex::new(running));
        let abandoned = Arc::new(AtomicBool::new(false));
        let (sender, messages) = sync_channel(WAITING_FILES);
        let splitter = Splitter::new(sender.clone(), &self.runtime, proof);
        let (child, given_up) = (Arc::clone(&running), Arc::clone(&abandoned));
        let what = self.program.what.clone();
        let thread = std::thread::spawn(move || {
            let taken = stream.map_or_else(
                || Err("it has no output".to_owned()),
                |stream| splitter.take(stream),
            );
            // A program that failed knows why better than we do.
            let ended = locked(&child).wait(&|| given_up.load(Ordering::Relaxed));
            let result = match (ended, taken) {
                (Err(error), _) => Err(error.to_string()),
                (Ok(()), Err(reason)) => Err(format!("{what}: {reason}")),
                (Ok(()), Ok(last)) => sender
                    .send(Message::File(last))
                    .map_err(|_| format!("{what}: it was given up")),
            };
            let _ = sender.send(Message::End(result));
        });
        Ok(Work {
            messages,
            running,
            abandoned,
            thread: Some(thread),
        })
    }
}

impl FileProducer for Backup {
    fn next(&self) -> Result<NextFile, ProducerError> {
        let mut work = locked(&self.work);
        let work = match work.as_mut() {
            Some(work) => work,
            None => work.insert(self.start()?),
        };
        match work.messages.recv_timeout(MOMENT) {
            Ok(Message::File(file)) => Ok(NextFile::File(file)),
            Ok(Message::End(Ok(()))) => Ok(NextFile::End),
            Ok(Message::End(Err(reason))) => Err(ProducerError(reason)),
            Err(RecvTimeoutError::Timeout) => Ok(NextFile::NotYet),
            Err(RecvTimeoutError::Disconnected) => {
                Err(ProducerError("the backup was given up".to_owned()))
            }
        }
    }
}

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backup").field(&self.program).finish()
    }
}

/// Takes the stream apart into files.
struct Splitter {
    sender: SyncSender<Message>,
    runtime: PathBuf,
    /// The file that goes into the archive, its end of the pipe, and how much of it went.
    current: Option<(String, PipeWriter, u64)>,
    /// Files that began while another was under way.
    aside: HashMap<String, File>,
    /// What small files say about the backup.
    notes: HashMap<String, Vec<u8>>,
    proof: Option<Proof>,
}

/// What tables hold is noted when the backup is complete.
struct Proof {
    prover: Prover,
    log: Log,
    /// The server's clock when the backup began.
    since: i64,
}

impl Proof {
    /// Looks at the server's clock. Without a proof a backup is a backup all the same.
    fn begin(prover: Prover, log: &Log) -> Option<Self> {
        let log = log.clone();
        match prover.clock(&log) {
            Ok(since) => Some(Self { prover, log, since }),
            Err(error) => {
                warn_without(&log, &error);
                None
            }
        }
    }

    fn tables(&self) -> Option<Value> {
        let noted = self.prover.note(&self.log, self.since);
        noted.map_err(|error| warn_without(&self.log, &error)).ok()
    }
}

fn warn_without(log: &Log, error: &DumpError) {
    let text = format!("{error}; what its tables hold is not noted with the backup");
    log.record(Level::Warning, &text);
}

impl Splitter {
    fn new(sender: SyncSender<Message>, runtime: &Path, proof: Option<Proof>) -> Self {
        Self {
            sender,
            proof,
            runtime: runtime.to_owned(),
            current: None,
            aside: HashMap::new(),
            notes: HashMap::new(),
        }
    }

    /// Passes on all files; returns the one with what is known of the backup.
    fn take(mut self, mut stream: File) -> Result<ProducedFile, String> {
        let mut data = Vec::new();
        let text = |error: &dyn fmt::Display| error.to_string();
        while let Some(piece) = next_piece(&mut stream, &mut data).map_err(|error| text(&error))? {
            let taken = match piece {
                Piece::Data { path, offset } => self.data(path, offset, &data),
                Piece::End { path } => self.end(path),
            };
            taken.map_err(|error| text(&error))?;
        }
        if !self.notes.contains_key("checkpoints") {
            return Err("its program gave no backup, or only a part of it".to_owned());
        }
        if self.current.is_some() || !self.aside.is_empty() {
            return Err("the backup ends in the midst of a file".to_owned());
        }
        let mut info = info(&self.notes);
        if let (Some(tables), Some(members)) = (
            self.proof.as_ref().and_then(Proof::tables),
            info.as_object_mut(),
        ) {
            members.insert("tables".to_owned(), tables);
        }
        let content = written(&self.runtime, &info.to_string()).map_err(|error| text(&error))?;
        Ok(ProducedFile {
            path: INFO.into(),
            content: content.into(),
        })
    }

    fn data(&mut self, path: String, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(&path, data);
        if let Some((current, pipe, written)) = &mut self.current {
            if *current == path && *written == offset {
                pipe.write_all(data)?;
                *written += data.len() as u64;
                return Ok(());
            }
            if *current == path {
                let text = format!("a piece of {path} is missing in the backup");
                return Err(io::Error::other(text));
            }
        } else if offset == 0 && !self.aside.contains_key(&path) {
            let mut pipe = self.send(&path)?;
            pipe.write_all(data)?;
            self.current = Some((path, pipe, data.len() as u64));
            return Ok(());
        }
        self.put_aside(path, offset, data).map_err(|error| {
            let runtime = self.runtime.display();
            io::Error::other(format!(
                "what the server writes meanwhile waits in {runtime}: {error}; user_runtime_directory may name a larger place"
            ))
        })
    }

    fn put_aside(&mut self, path: String, offset: u64, data: &[u8]) -> io::Result<()> {
        let file = match self.aside.get(&path) {
            Some(file) => file,
            None => {
                let file = nameless_file(&self.runtime)?;
                self.aside.entry(path).or_insert(file)
            }
        };
        file.write_all_at(data, offset)
    }

    fn end(&mut self, path: String) -> io::Result<()> {
        if let Some(mut file) = self.aside.remove(&path) {
            file.rewind()?;
            return self.pass_on(&path, file.into());
        }
        match self.current.take() {
            Some((current, ..)) if current == path => Ok(()),
            // One without any data.
            current => {
                self.current = current;
                self.pass_on(&path, File::open("/dev/null")?.into())
            }
        }
    }

    /// Announces a file, and returns where its content goes.
    fn send(&self, path: &str) -> io::Result<PipeWriter> {
        let (reader, writer) = io::pipe()?;
        // Fewer changes between the two sides; not needed.
        let _ = fastness_sys::process::widen_pipe(&writer);
        self.pass_on(path, reader.into())?;
        Ok(writer)
    }

    fn pass_on(&self, path: &str, content: std::os::fd::OwnedFd) -> io::Result<()> {
        let path = path.as_bytes().to_vec();
        let sent = self
            .sender
            .send(Message::File(ProducedFile { path, content }));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn note(&mut self, path: &str, data: &[u8]) {
        let about = path.starts_with("xtrabackup_") || path.starts_with("mariadb_backup_");
        if about && data.len() <= NOTES_BYTES {
            let name = path.rsplit_once("backup_").map_or(path, |(_, name)| name);
            self.notes.entry(name.to_owned()).or_default().extend(data);
        }
    }
}

/// A file that is gone when it is closed.
fn nameless_file(directory: &Path) -> io::Result<File> {
    let path = directory.join("aside");
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// A nameless file with this text, to be read from its beginning.
fn written(directory: &Path, text: &str) -> io::Result<File> {
    let mut file = nameless_file(directory)?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// What the program noted: versions, positions, times.
fn info(notes: &HashMap<String, Vec<u8>>) -> Value {
    let text = |name: &str| {
        let bytes = notes.get(name).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let mut members = Map::new();
    let lines = text("info") + "\n" + &text("checkpoints");
    for (key, value) in lines.lines().filter_map(|line| line.split_once('=')) {
        let key = key.trim();
        let known = [
            "tool_name",
            "tool_version",
            "server_version",
            "start_time",
            "end_time",
            "from_lsn",
            "to_lsn",
            "last_lsn",
        ];
        if known.contains(&key) {
            members.insert(key.to_owned(), value.trim().into());
        }
    }
    let binlog = text("binlog_info");
    let mut fields = binlog.trim_end().split('\t');
    for key in ["binlog_file", "binlog_position", "gtid"] {
        let field = fields.next().filter(|field| !field.is_empty());
        members.insert(key.to_owned(), field.map_or(Value::Null, Value::from));
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_noted_for_those_who_restore() {
        let notes = [
            (
                "info",
                "server_version = 10.11.19-MariaDB\ntool_command = x\n",
            ),
            ("checkpoints", "from_lsn = 0\nto_lsn = 44760\n"),
            ("binlog_info", "binlog.000001\t828\t0-1-3\n"),
        ];
        let notes = notes.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let info = info(&notes.into_iter().collect());
        let expected = serde_json::json!({
            "server_version": "10.11.19-MariaDB", "from_lsn": "0", "to_lsn": "44760",
            "binlog_file": "binlog.000001", "binlog_position": "828", "gtid": "0-1-3",
        });
        assert_eq!(info, expected);
    }
}
