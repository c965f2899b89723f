//! Repositories on other machines: what options and environment say about the way there.

use std::ffi::{OsStr, OsString};

use fastness_format::location::Location;
use fastness_repository::local::lock::LockKind;
pub use fastness_repository::remote::client::KeptSessions;
use fastness_repository::remote::client::{
    Ahead, NewRemote, Pace, RemoteOptions, RemoteRepository, ServerCommand,
};
use jiff::Timestamp;

use crate::BORG_VERSION;
use crate::context::{Context, placeholders};
use crate::error::CommandError;
use crate::output::log::Level;

/// What reaches the other machine if nobody says otherwise. It notices within five minutes that
/// the other side is gone, where the network does not tell.
const SSH: [&str; 5] = [
    "ssh",
    "-o",
    "ServerAliveInterval=10",
    "-o",
    "ServerAliveCountMax=30",
];

/// Secrets that the program in between has no use for.
const SECRETS: [&str; 3] = [
    "BORG_PASSPHRASE",
    "BORG_NEW_PASSPHRASE",
    "BORG_OTHER_PASSPHRASE",
];

impl Context<'_> {
    /// Opens a repository on another machine; without a kind of lock, unlocked. What is wanted
    /// first is asked for ahead.
    ///
    /// # Errors
    /// When it cannot be reached, opened or locked.
    pub fn open_remote(
        &self,
        location: &Location,
        kind: Option<LockKind>,
        ahead: Ahead,
    ) -> Result<RemoteRepository, CommandError> {
        let mut options = self.remote_options(kind, None)?;
        options.ahead = match self.common.level() {
            // A server of Borg logs tracebacks of what it is asked when it could not open anything.
            Level::Debug => Ahead::Nothing,
            _ => ahead,
        };
        Ok(RemoteRepository::open(location, &options)?)
    }

    /// Creates a repository on another machine, which may use so many bytes there.
    ///
    /// # Errors
    /// When it cannot be reached or created.
    pub fn create_remote(
        &self,
        location: &Location,
        new: NewRemote,
        storage_quota: Option<u64>,
    ) -> Result<RemoteRepository, CommandError> {
        let options = self.remote_options(Some(LockKind::Exclusive), storage_quota)?;
        Ok(RemoteRepository::create(location, &options, new)?)
    }

    fn remote_options(
        &self,
        kind: Option<LockKind>,
        storage_quota: Option<u64>,
    ) -> Result<RemoteOptions, CommandError> {
        let kind = kind.filter(|_| !self.common.bypass_lock);
        let rate = |kibibytes: Option<u64>| kibibytes.unwrap_or_default().saturating_mul(1024);
        let buffer = |mebibytes: u64| usize::try_from(mebibytes.saturating_mul(1 << 20));
        Ok(RemoteOptions {
            server: ServerCommand {
                shell: self.shell()?,
                program: self.server_program()?,
                options: self.server_options(storage_quota),
                environment: self.shell_environment(),
            },
            pace: Pace {
                upload_rate: rate(self.common.upload_ratelimit),
                download_rate: rate(self.common.download_ratelimit),
                upload_buffer: self
                    .common
                    .upload_buffer
                    .map(|mebibytes| buffer(mebibytes).unwrap_or(usize::MAX)),
            },
            lock: kind.map(|kind| (kind, self.lock_wait())),
            ahead: Ahead::Nothing,
            kept: self.kept.clone(),
            monitor: std::sync::Arc::<crate::reporter::Reporter>::clone(&self.reporter),
        })
    }

    /// The program that reaches the other machine: `--rsh`, `BORG_RSH`, or ssh.
    fn shell(&self) -> Result<Vec<OsString>, CommandError> {
        let given = self.common.rsh.clone().filter(|text| !text.is_empty());
        let given = given.or_else(|| self.environment.text("BORG_RSH"));
        let Some(text) = given else {
            return Ok(SSH.map(OsString::from).to_vec());
        };
        match shlex::split(&text) {
            Some(words) if !words.is_empty() => Ok(words.into_iter().map(OsString::from).collect()),
            _ => Err(CommandError::command(format!(
                "--rsh or BORG_RSH is no command: {text:?}"
            ))),
        }
    }

    /// The program on the other machine: `--remote-path`, `BORG_REMOTE_PATH`, or borg.
    fn server_program(&self) -> Result<OsString, CommandError> {
        let variable = || self.environment.text("BORG_REMOTE_PATH");
        let given = self.common.remote_path.clone();
        let given = given.filter(|text| !text.is_empty()).or_else(variable);
        let text = given.unwrap_or_else(|| "borg".to_owned());
        let placeholders = placeholders(self.environment, Timestamp::now())?;
        Ok(placeholders.replace(&text)?.into())
    }

    /// What the server is told of this run, as Borg does.
    fn server_options(&self, storage_quota: Option<u64>) -> Vec<OsString> {
        let level = match self.common.level() {
            Level::Debug => Some("--debug"),
            Level::Info => Some("--info"),
            Level::Warning => None,
            Level::Error => Some("--error"),
            Level::Critical => Some("--critical"),
        };
        let mut options: Vec<OsString> = level.map(OsString::from).into_iter().collect();
        let topics = self.common.topics();
        let concerned = topics.iter().filter(|topic| topic.contains("repository"));
        options.extend(concerned.map(|topic| format!("--debug-topic={topic}").into()));
        options.extend(storage_quota.map(|quota| format!("--storage-quota={quota}").into()));
        options
    }

    fn shell_environment(&self) -> Vec<(OsString, OsString)> {
        let secret = |name: &OsStr| SECRETS.iter().any(|secret| name == *secret);
        let variables = self.environment.variables();
        let mut environment: Vec<(OsString, OsString)> = variables
            .filter(|(name, _)| !secret(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        environment.push(("BORG_VERSION".into(), BORG_VERSION.into()));
        environment
    }
}
