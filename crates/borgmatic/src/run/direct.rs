//! One Borg command for a repository of a configuration, outside of a run: for commands that ask
//! something and make what they need of the answer.
//!
//! The command gets the environment that the configuration gives to its runs. Nothing is logged;
//! what it said comes back.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fastness_borg::environment::Secret;
use fastness_borg::facts::Notes;
use fastness_engine::create::Additions;

use super::World;
use super::borg::Invocation;
use super::runner::Runner;
use crate::config::Repository;
use crate::output::log::{Log, LogSettings};
use crate::plan::call::{Environment, Passphrase};

/// Which passphrase a command gets.
#[derive(Debug, Clone)]
pub enum Opened {
    /// That of the configuration.
    Configured,
    /// None but what the environment has, or what a person types.
    ByPerson,
    /// This one.
    By(Secret),
}

/// What a command gave.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The exit code in Borg's modern scheme.
    pub code: u8,
    /// Its data.
    pub data: Vec<u8>,
    /// What it said; empty when that went to the terminal.
    pub said: String,
}

impl Answer {
    /// The last line that it said, for an error in one line.
    pub fn last_line(&self) -> String {
        let mut lines = self.said.lines().map(str::trim);
        match lines.rfind(|line| !line.is_empty()) {
            Some(line) => line.to_owned(),
            None => format!("exit code {}", self.code),
        }
    }
}

/// A command to be run.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The repository, whose options say how.
    pub repository: &'a Repository,
    /// The words after `borg`.
    pub words: Vec<String>,
    /// Its passphrase.
    pub opened: Opened,
    /// Whether the engine does it in any case, for only it can.
    pub by_engine: bool,
    /// Whether what it says goes to this process' stderr, in front of a person.
    pub shown: bool,
    /// Where it runs, instead of where the configuration says.
    pub directory: Option<PathBuf>,
    /// After so many bytes of data the command is cut short.
    pub at_most: Option<usize>,
}

/// Runs a command.
///
/// # Errors
/// When there is no passphrase, or the command cannot be run; not when it fails.
pub fn ask(question: &Question<'_>, world: &World) -> Result<Answer, String> {
    let options = &question.repository.options;
    let mut environment = Environment::of(options);
    if question.by_engine {
        environment.program = None;
    }
    let runner = Runner::new(world, silent());
    let passphrase = match &question.opened {
        Opened::Configured => runner
            .passphrase(&environment)
            .map_err(|error| error.to_string())?,
        Opened::ByPerson => {
            environment.passphrase = Passphrase::Inherited;
            None
        }
        Opened::By(secret) => {
            environment.passphrase = Passphrase::Text(secret.clone());
            Some(secret.clone())
        }
    };
    let (data, said) = (Collected::new(question.at_most), Collected::new(None));
    let stderr: Box<dyn Write + Send> = match question.shown {
        true => Box::new(io::stderr()),
        false => Box::new(said.clone()),
    };
    let invocation = Invocation {
        program: environment.program.clone(),
        arguments: question.words.clone(),
        variables: runner.variables(&environment, &[]),
        passphrase,
        other_passphrase: None,
        directory: (question.directory.clone()).or_else(|| directory(question.repository)),
        stdout: Box::new(data.clone()),
        stderr,
        additions: Additions::default(),
        kept: Arc::default(),
        notes: Notes::default(),
        foresight: None,
    };
    let code = world.borg.run(invocation);
    Ok(Answer {
        code: code.map_err(|error| error.to_string())?,
        data: data.take(),
        said: String::from_utf8_lossy(&said.take()).into_owned(),
    })
}

/// Returns the passphrase that a configuration gives for a repository; nothing when a person would
/// be asked.
///
/// # Errors
/// When it should come from somewhere and does not.
pub fn passphrase(repository: &Repository, world: &World) -> Result<Option<Secret>, String> {
    let environment = Environment::of(&repository.options);
    let runner = Runner::new(world, silent());
    let found = runner.passphrase(&environment);
    found.map_err(|error| error.to_string())
}

fn directory(repository: &Repository) -> Option<PathBuf> {
    let directory = repository.options.sources.working_directory.as_ref();
    directory.map(PathBuf::from)
}

/// A log that nobody reads.
fn silent() -> Log {
    let settings = LogSettings {
        verbosity: -2,
        color: [false; 2],
        json: false,
        progress_columns: None,
    };
    Log::new(settings, Box::new(io::sink()), Box::new(io::sink()))
}

/// A stream that is kept in memory, up to a length; then its reader seems to have left.
/// Clones write to the same place.
#[derive(Debug, Clone)]
pub struct Collected {
    kept: Arc<Mutex<Vec<u8>>>,
    at_most: usize,
}

impl Collected {
    /// Makes an empty one.
    pub fn new(at_most: Option<usize>) -> Self {
        Self {
            kept: Arc::default(),
            at_most: at_most.unwrap_or(usize::MAX),
        }
    }

    /// Returns what came since this was called last.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.at_most.saturating_sub(kept.len());
        if room == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.get(..room).unwrap_or(bytes);
        kept.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
