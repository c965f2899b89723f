//! What a command has at hand while it runs.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use fastness_engine::create::Additions;
use fastness_engine::extract::Existing;
use fastness_format::location::{Location, check_archive_name};
use fastness_sys::daemon::Starting;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::console::Output;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::facts::Notes;
use crate::foresight::Foresight;
use crate::options::CommonOptions;
use crate::output::json::Json;
use crate::output::log::{Level, Log};
use crate::output::questions::Question;
use crate::output::text::Units;
use crate::person::Person;
use crate::placeholder::{Placeholders, short_host_name, user_name};
use crate::remote::KeptSessions;
use crate::reporter::Reporter;

/// What an address may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A repository, without an archive.
    Repository,
    /// An archive in a repository.
    Archive,
    /// Either of them.
    Either,
}

/// The surroundings of one command.
pub struct Context<'a> {
    /// The environment variables.
    pub environment: &'a Environment,
    /// The options that all commands have.
    pub common: CommonOptions,
    /// Takes events, logs, gathers warnings.
    pub reporter: Arc<Reporter>,
    /// Where data goes.
    pub stdout: &'a mut Output,
    /// Answers questions and gives passphrases.
    pub person: Person<'a>,
    /// The command line as it was given, with the name of the program.
    pub command_line: &'a [OsString],
    /// The directory in which the command was started.
    pub directory: PathBuf,
    /// In a process that is on its way to the background: to be told when it is ready.
    pub starting: Option<Starting>,
    /// What a create gets besides what the command line says.
    pub additions: Additions,
    /// What an extract does where something is already.
    pub existing: Existing,
    /// Where sessions with servers are kept for the next command.
    pub kept: Option<Arc<KeptSessions>>,
    /// Where is noted what the command finds out, if somebody wants to know.
    pub notes: Option<Notes>,
    /// Wants to know what a dry run finds out.
    pub foresight: Option<Foresight>,
}

impl Context<'_> {
    /// Returns the logger.
    pub fn log(&self) -> &Log {
        self.reporter.log()
    }

    /// Logs what is being done.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log().info("borg.archiver", message);
    }

    /// Logs a warning that the exit code does not tell of.
    pub fn warning(&self, message: impl AsRef<str>) {
        self.log()
            .log(Level::Warning, "borg.archiver", message.as_ref(), None);
    }

    /// Returns how sizes are counted.
    pub fn units(&self) -> Units {
        self.common.units()
    }

    /// Reads an address; without one, `BORG_REPO` stands in. `argument` is its name in the help.
    ///
    /// # Errors
    /// When it is no address, or names what is not wanted.
    pub fn location(
        &self,
        argument: &str,
        text: Option<&OsStr>,
        wanted: Wanted,
    ) -> Result<Location, CommandError> {
        self.location_at(argument, text, wanted, Timestamp::now())
    }

    /// As [`Self::location`], with the time that placeholders name.
    ///
    /// # Errors
    /// As [`Self::location`].
    pub fn location_at(
        &self,
        argument: &str,
        text: Option<&OsStr>,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Location, CommandError> {
        let placeholders = placeholders(self.environment, now)?;
        let default = self.environment.repository.as_deref();
        let default = default
            .map(|text| placeholders.replace_argument(text))
            .transpose()?;
        let text = placeholders.replace_argument(text.unwrap_or_default())?;
        let default = default.as_deref().map(OsStr::as_bytes);
        let checked = Location::parse(text.as_bytes(), default).and_then(|location| {
            match wanted {
                Wanted::Repository => location.forbid_archive()?,
                Wanted::Archive => drop(location.require_archive()?),
                Wanted::Either => {}
            }
            Ok(location)
        });
        checked.map_err(|error| CommandError::usage(format!("argument {argument}: {error}")))
    }

    /// Reads the name of an archive, with its placeholders replaced. `argument` is its name in
    /// the help.
    ///
    /// # Errors
    /// When it is no name.
    pub fn archive_name(&self, argument: &str, text: &OsStr) -> Result<Vec<u8>, CommandError> {
        let placeholders = placeholders(self.environment, Timestamp::now())?;
        let name = placeholders.replace_argument(text)?.into_vec();
        check_archive_name(&name)
            .map_err(|error| CommandError::usage(format!("argument {argument}: {error}")))?;
        Ok(name)
    }

    /// Returns the short name of this machine, as archives record it.
    pub fn hostname(&self) -> Vec<u8> {
        short_host_name(self.environment).into_bytes()
    }

    /// Returns the name of the user, as archives record it.
    pub fn username(&self) -> Vec<u8> {
        user_name(self.environment).into_bytes()
    }

    /// Asks a question and returns whether the answer was yes.
    pub fn ask(&self, question: &Question<'_>) -> bool {
        self.person.ask(question)
    }

    /// Writes data to stdout.
    ///
    /// # Errors
    /// When stdout takes no more, other than because its reader left.
    pub fn print(&mut self, text: impl AsRef<[u8]>) -> Result<(), CommandError> {
        self.stdout
            .write_all(text.as_ref())
            .map_err(|error| stdout_failed(&error))
    }

    /// Writes to stdout what somebody waits for.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_now(&mut self, text: impl AsRef<[u8]>) -> Result<(), CommandError> {
        self.print(text)?;
        self.stdout.flush().map_err(|error| stdout_failed(&error))
    }

    /// Writes a JSON document to stdout.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn print_json(&mut self, document: &Json) -> Result<(), CommandError> {
        let mut text = document.to_document(&self.environment.json_indent);
        text.push('\n');
        self.print(text)
    }
}

/// Returns the values of placeholders on this machine.
///
/// # Errors
/// When the system has no random bytes.
pub fn placeholders(
    environment: &Environment,
    now: Timestamp,
) -> Result<Placeholders, CommandError> {
    let mut random = [0; 16];
    crate::world::real()
        .random
        .fill(&mut random)
        .map_err(|error| CommandError::general(format!("no random bytes: {error}")))?;
    Ok(Placeholders::of_machine(
        environment,
        now,
        TimeZone::system,
        random,
    ))
}

/// The error of a stdout that takes no more.
pub fn stdout_failed(error: &std::io::Error) -> CommandError {
    CommandError::general(format!("stdout: {}", crate::error::system_text(error)))
}
