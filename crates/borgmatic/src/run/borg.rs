//! The way to Borg: one command, run in this process.
//!
//! [`Borg`] is a trait because tests replace it by one that records what it is asked; the real
//! one is [`InProcess`]. No process is started, for the engine is in this program, unless the
//! configuration names another Borg.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_borg::Lent;
use fastness_borg::console::{Output, Streams};
use fastness_borg::environment::{Environment, Secret};
use fastness_borg::facts::Notes;
use fastness_borg::foresight::Foresight;
use fastness_borg::remote::KeptSessions;
use fastness_engine::create::Additions;

use super::external;

/// One Borg command with all it needs.
pub struct Invocation {
    /// The program that the configuration names; it may be this one.
    pub program: Option<String>,
    /// The words after `borg`.
    pub arguments: Vec<String>,
    /// Environment variables; no secrets of the configuration are among them.
    pub variables: BTreeMap<OsString, OsString>,
    /// The passphrase, if the configuration has one.
    pub passphrase: Option<Secret>,
    /// The passphrase of a second repository, if the configuration has one.
    pub other_passphrase: Option<Secret>,
    /// Where it runs; none for the current directory.
    pub directory: Option<PathBuf>,
    /// Receives the data.
    pub stdout: Box<dyn Write + Send>,
    /// Receives what is said about the work.
    pub stderr: Box<dyn Write + Send>,
    /// What a new archive gets besides.
    pub additions: Additions,
    /// Where sessions with servers are kept for the next command.
    pub kept: Arc<KeptSessions>,
    /// Where is noted what the command finds out.
    pub notes: Notes,
    /// Wants to know what a dry run finds out.
    pub foresight: Option<Foresight>,
}

/// Runs Borg commands.
pub trait Borg {
    /// Runs a command and returns its exit code in Borg's modern scheme.
    ///
    /// # Errors
    /// When the directory of the command cannot be entered.
    fn run(&self, invocation: Invocation) -> io::Result<u8>;

    /// Runs commands side by side, if it can. They are in the same directory.
    fn run_all(&self, invocations: Vec<Invocation>) -> Vec<Ran> {
        let one = |invocation| Ran::measured(|| self.run(invocation));
        invocations.into_iter().map(one).collect()
    }
}

/// What became of one of several commands.
pub struct Ran {
    /// What [`Borg::run`] says.
    pub code: io::Result<u8>,
    /// How long it took.
    pub time: Duration,
}

impl Ran {
    fn measured(run: impl FnOnce() -> io::Result<u8>) -> Self {
        let begin = Instant::now();
        let code = run();
        Self {
            code,
            time: begin.elapsed(),
        }
    }
}

/// The engine of this program.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcess;

impl Borg for InProcess {
    fn run(&self, invocation: Invocation) -> io::Result<u8> {
        let path = invocation.variables.get(OsStr::new("PATH"));
        let program = invocation.program.as_deref();
        let other =
            program.filter(|program| !external::is_ours(program, path.map(OsString::as_os_str)));
        if let Some(program) = other.map(str::to_owned) {
            return external::run(&program, invocation);
        }
        let home = std::env::home_dir();
        let mut environment =
            Environment::from_variables(invocation.variables, home.as_deref(), effective_user());
        if let Some(passphrase) = invocation.passphrase {
            environment.passphrases.passphrase = Some(passphrase);
        }
        if let Some(passphrase) = invocation.other_passphrase {
            environment.other_passphrases.passphrase = Some(passphrase);
        }
        let _entered = invocation
            .directory
            .as_deref()
            .map(Entered::enter)
            .transpose()?;
        let streams = Streams {
            stdout: Output::new(Box::new(io::BufWriter::with_capacity(
                1 << 16,
                invocation.stdout,
            ))),
            stderr: invocation.stderr,
            stderr_columns: None,
            prompt: Streams::of_process().prompt,
        };
        let mut words = vec![OsString::from("borg")];
        words.extend(invocation.arguments.into_iter().map(OsString::from));
        let lent = Lent {
            additions: invocation.additions,
            kept: Some(invocation.kept),
            notes: Some(invocation.notes),
            foresight: invocation.foresight,
            ..Lent::default()
        };
        let code = fastness_borg::run_with(&words, streams, &environment, lent);
        Ok(code.code())
    }

    fn run_all(&self, mut invocations: Vec<Invocation>) -> Vec<Ran> {
        // The directory is that of the process.
        let directory = invocations.iter().find_map(|one| one.directory.clone());
        let _entered = match directory.as_deref().map(Entered::enter).transpose() {
            Ok(entered) => entered,
            // Each of them says so.
            Err(_) => return invocations.into_iter().map(one).collect(),
        };
        invocations.iter_mut().for_each(|one| one.directory = None);
        std::thread::scope(|scope| {
            let threads: Vec<_> = invocations
                .into_iter()
                .map(|invocation| scope.spawn(|| one(invocation)))
                .collect();
            let ended = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Ran {
                    code: Err(io::Error::other("it ended by a mistake in this program")),
                    time: Duration::ZERO,
                })
            });
            ended.collect()
        })
    }
}

fn one(invocation: Invocation) -> Ran {
    Ran::measured(|| InProcess.run(invocation))
}

/// The owner of this process' own directory is the effective user.
fn effective_user() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid())
}

/// Another current directory, until this is dropped.
struct Entered {
    before: PathBuf,
}

impl Entered {
    fn enter(directory: &Path) -> io::Result<Self> {
        let before = std::env::current_dir()?;
        let explained = |error: io::Error| {
            let text = format!(
                "the directory {} cannot be entered: {error}",
                directory.display()
            );
            io::Error::new(error.kind(), text)
        };
        std::env::set_current_dir(directory).map_err(explained)?;
        Ok(Self { before })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Gone meanwhile: the next command names its directory itself or fails with a clear error.
        let _ = std::env::set_current_dir(&self.before);
    }
}
