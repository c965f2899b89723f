//! The programs that dump and restore databases: what they are called with, how they end.
//!
//! Each runs in a process group of its own, which is killed when nobody waits for it any more. A
//! secret is in a file in memory that only this program has open, or through its environment; it is
//! never among its words.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fastness_borg::environment::Secret;
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use super::DumpError;
use crate::output::log::{Level, Log};
use crate::plan::call::quoted;

/// How often a program is looked at that is to end.
const TICK: Duration = Duration::from_millis(10);

/// As many of its last lines explain why a program failed.
const LAST_LINES: usize = 10;

/// The longest line that is kept of what a program says.
const LINE_BYTES: u64 = 4096;

/// One program with its words.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it works on, for messages: `PostgreSQL database "users" on localhost`.
    pub what: String,
    words: Vec<Word>,
    secret: Option<Secret>,
    variables: Vec<(&'static str, Secret)>,
    environment: Arc<BTreeMap<OsString, OsString>>,
    directory: PathBuf,
    is_note: fn(&str) -> bool,
}

#[derive(Debug, Clone)]
enum Word {
    Text(String),
    /// The path of the file with the secret, behind this.
    File(&'static str),
}

impl Program {
    /// Begins with a command as the configuration has it, which may have several words.
    pub fn new(
        what: &str,
        command: &str,
        environment: &Arc<BTreeMap<OsString, OsString>>,
        directory: PathBuf,
    ) -> Self {
        let program = Self {
            what: what.to_owned(),
            words: Vec::new(),
            secret: None,
            variables: Vec::new(),
            environment: Arc::clone(environment),
            directory,
            is_note: |_| false,
        };
        program.split(Some(command))
    }

    /// Adds a word.
    #[must_use]
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(Word::Text(word.into()));
        self
    }

    /// Adds words.
    #[must_use]
    pub fn words<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        let words = words.into_iter().map(|word| Word::Text(word.into()));
        self.words.extend(words);
        self
    }

    /// Adds a word if `given`.
    #[must_use]
    pub fn flag(self, word: &str, given: bool) -> Self {
        if given { self.word(word) } else { self }
    }

    /// Adds an option with its value, if there is one.
    #[must_use]
    pub fn value(self, option: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.word(option).word(value),
            None => self,
        }
    }

    /// Adds the words of a text, split as a shell does.
    #[must_use]
    pub fn split(self, text: Option<&str>) -> Self {
        let words = shlex::split(text.unwrap_or_default()).unwrap_or_default();
        self.words(words)
    }

    /// Adds a word that is the path of a file in memory with this text, behind `before`.
    #[must_use]
    pub fn private_file(mut self, before: &'static str, text: Secret) -> Self {
        self.words.push(Word::File(before));
        self.secret = Some(text);
        self
    }

    /// Sets an environment variable, if there is a value.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: Option<Secret>) -> Self {
        self.variables
            .extend(value.into_iter().map(|value| (name, value)));
        self
    }

    /// Tells which lines on stderr are never a warning, whatever words are in them.
    #[must_use]
    pub fn notes(mut self, is_note: fn(&str) -> bool) -> Self {
        self.is_note = is_note;
        self
    }

    /// The name of the program.
    pub fn name(&self) -> &str {
        match self.words.first() {
            Some(Word::Text(name)) => name,
            _ => "",
        }
    }

    /// Its command line, for people; there are no secrets in it.
    pub fn shown(&self) -> String {
        let words = self.words.iter().map(|word| match word {
            Word::Text(text) => quoted(text),
            Word::File(before) => format!("{before}/dev/fd/N"),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    fn failed(&self, reason: impl Into<String>) -> DumpError {
        DumpError::Program {
            what: self.what.clone(),
            program: self.name().to_owned(),
            reason: reason.into(),
        }
    }

    /// Starts it. What it says on stderr goes to the log line by line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, log: &Log, stdin: Stdio, stdout: Stdio) -> Result<Running, DumpError> {
        log.record(Level::Debug, &self.shown());
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => {
                let text = "is not installed, or the working directory is missing";
                self.failed(text)
            }
            _ => self.failed(format!("cannot be run: {error}")),
        };
        let mut child = self
            .command()
            .and_then(|mut command| {
                let command = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
                command.process_group(0).spawn()
            })
            .map_err(missing)?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let reader = child.stderr.take().map(|stderr| {
            let (log, said, program) = (log.clone(), Arc::clone(&said), self.clone());
            std::thread::spawn(move || program.listen(stderr, &log, &said))
        });
        Ok(Running {
            program: self.clone(),
            child,
            said,
            reader,
            ended: false,
        })
    }

    fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(self.name());
        let mut path = String::new();
        if let Some(text) = &self.secret {
            let file = private_file(text)?;
            let number = fastness_sys::process::hand_down(&mut command, file);
            path = format!("/dev/fd/{number}");
        }
        let words = self.words.iter().skip(1).map(|word| match word {
            Word::Text(text) => text.clone(),
            Word::File(before) => format!("{before}{path}"),
        });
        command
            .args(words)
            .env_clear()
            .envs(self.environment.iter());
        for (name, value) in &self.variables {
            command.env(name, value.reveal());
        }
        if !self.directory.as_os_str().is_empty() {
            command.current_dir(&self.directory);
        }
        Ok(command)
    }

    /// Runs it to its end and returns what it printed, up to a mebibyte.
    ///
    /// # Errors
    /// When it fails.
    pub fn output(&self, log: &Log) -> Result<String, DumpError> {
        let mut running = self.start(log, Stdio::null(), Stdio::piped())?;
        let mut text = Vec::new();
        if let Some(stdout) = running.child.stdout.take() {
            let read = stdout.take(1 << 20).read_to_end(&mut text);
            read.map_err(|error| self.failed(error.to_string()))?;
        }
        running.wait(&|| false)?;
        String::from_utf8(text).map_err(|_| self.failed("printed names that are no UTF-8 text"))
    }

    /// Runs it to its end, or to that of the whole run.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, log: &Log) -> Result<(), DumpError> {
        let mut running = self.start(log, Stdio::null(), Stdio::null())?;
        running.wait(&fastness_borg::signals::end_wanted)
    }

    /// Runs it to its end and returns the last lines that it wrote to stderr.
    ///
    /// # Errors
    /// When it fails.
    pub fn said(&self, log: &Log) -> Result<String, DumpError> {
        let mut running = self.start(log, Stdio::null(), Stdio::null())?;
        running.wait(&fastness_borg::signals::end_wanted)?;
        let said = running.said.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(said.iter().map(|line| format!("{line}\n")).collect())
    }

    /// Passes on what it says, and keeps the last of it.
    fn listen(&self, stderr: impl Read, log: &Log, said: &Mutex<VecDeque<String>>) {
        let name = self.name();
        let mut lines = BufReader::new(stderr);
        loop {
            let mut line = Vec::new();
            match (&mut lines).take(LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.is_empty() {
                continue;
            }
            let lower = line.to_lowercase();
            let alarms = lower.contains("warn") || lower.contains("error");
            let level = match alarms && !(self.is_note)(&line) {
                true => Level::Warning,
                false => Level::Debug,
            };
            let text = match lower.contains(&name.to_lowercase()) {
                true => line.clone(),
                false => format!("{name}: {line}"),
            };
            log.output(level, &text);
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() == LAST_LINES {
                said.pop_front();
            }
            said.push_back(line);
        }
    }
}

/// A file in memory with a secret. Other than a pipe it can be read again, as `mariadb-backup` does:
/// from a pipe it would learn nothing at the second time, and go on as another user.
fn private_file(text: &Secret) -> io::Result<OwnedFd> {
    let file = memfd_create("fastness-secret", MemfdFlags::CLOEXEC)?;
    // MariaDB takes no options from a file that all may write.
    fchmod(&file, Mode::RUSR)?;
    let mut file = File::from(file);
    file.write_all(text.reveal().as_bytes())?;
    Ok(file.into())
}

/// A program that runs. It does not outlive this.
#[derive(Debug)]
pub struct Running {
    program: Program,
    child: Child,
    said: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
    ended: bool,
}

impl Running {
    /// Takes the end of the pipe that it writes to.
    pub fn stdout(&mut self) -> Option<OwnedFd> {
        self.child.stdout.take().map(OwnedFd::from)
    }

    /// Takes the end of the pipe that it reads from.
    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed, or nobody waits for it any more.
    pub fn wait(&mut self, abandoned: &dyn Fn() -> bool) -> Result<(), DumpError> {
        let failed = |error: io::Error| self.program.failed(error.to_string());
        let status = loop {
            match self.child.try_wait().map_err(failed)? {
                Some(status) => break status,
                None if abandoned() => {
                    self.kill();
                    return Err(self.program.failed("was ended, for the run is to end"));
                }
                None => std::thread::sleep(TICK),
            }
        };
        self.ended = true;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let said = match said.is_empty() {
            true => String::new(),
            false => format!(": {}", said.join("; ")),
        };
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(self.program.failed(format!("ended with code {code}{said}"))),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                let text = format!("was killed by signal {signal}{said}");
                Err(self.program.failed(text))
            }
        }
    }

    /// Tells whether it ends by itself within a moment.
    pub fn ends_soon(&mut self) -> bool {
        (0..50).any(|_| {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if !ended {
                std::thread::sleep(TICK);
            }
            ended
        })
    }

    /// Ends it and all that it started, at once.
    pub fn kill(&mut self) {
        if !self.ended {
            if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
