//! The edge: every error of the layers below becomes one [`CommandError`].
//!
//! A command error has Borg's message id (from which the exit code follows), a text whose first
//! words are Borg's where programs look for them, and, for people, a hint with the next step.

use std::fmt;

use fastness_engine::error::EngineError;
use fastness_engine::keys::{KeyError, NonceError};
use fastness_engine::security::SecurityError;
use fastness_repository::RepositoryError;
use fastness_repository::local::lock::LockError;

use crate::exit_code::{ExitCode, Scheme};

/// Why a command ended without doing its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    /// Borg's name of the error.
    pub msgid: String,
    /// What happened, in Borg's words where it has some.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// The exit code, where it does not follow from the message id (signals).
    pub exit: Option<ExitCode>,
}

impl CommandError {
    /// Makes an error with this message id and text.
    pub fn new(msgid: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            msgid: msgid.into(),
            message: message.into(),
            hint: None,
            exit: None,
        }
    }

    /// Makes the error of a command that was asked for something it cannot do.
    pub fn command(message: impl fmt::Display) -> Self {
        Self::new("CommandError", format!("Command Error: {message}"))
    }

    /// Makes a general error.
    pub fn general(message: impl fmt::Display) -> Self {
        Self::new("Error", format!("Error: {message}"))
    }

    /// Makes the error of a question that was answered with no.
    pub fn cancelled() -> Self {
        Self::new("CancelledByUser", "Cancelled by user.")
    }

    /// Makes the error of a command line that cannot be understood; argument names what is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            msgid: Self::USAGE.to_owned(),
            message: message.into(),
            hint: None,
            exit: Some(ExitCode::ERROR),
        }
    }

    /// The message id of errors in the command line; they are told like those of the parser.
    pub const USAGE: &'static str = "Usage";

    /// Makes an error of one from below, with its causes. What has no name of its own in Borg is
    /// a general error.
    pub fn told(msgid: &str, error: &dyn std::error::Error) -> Self {
        let text = with_causes(error);
        match msgid {
            "Error" => Self::general(text),
            "CommandError" => Self::command(text),
            _ => Self::new(msgid, text),
        }
    }

    /// Adds the next step.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the exit code under the scheme.
    pub fn exit_code(&self, scheme: Scheme) -> ExitCode {
        self.exit
            .unwrap_or_else(|| ExitCode::of_error(&self.msgid, scheme))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}

impl From<RepositoryError> for CommandError {
    fn from(error: RepositoryError) -> Self {
        let new = Self::told(error.msgid(), &error);
        match &error {
            RepositoryError::DoesNotExist(_) => {
                new.hinted("make it with: borg init --encryption repokey-blake2 REPOSITORY")
            }
            error if error.msgid() == "Repository.StorageQuotaExceeded" => {
                new.hinted("free space: borg prune, then borg compact")
            }
            RepositoryError::ConnectionClosed { ending, .. } => match ending.advice() {
                Some(advice) => new.hinted(advice),
                None => new,
            },
            RepositoryError::Unreachable { .. } => {
                new.hinted("install it, or name another program by --rsh or BORG_RSH")
            }
            error if error.is_disk_full() => {
                new.hinted("free space on the disk, then run the command again")
            }
            _ => new,
        }
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        Self::told(error.msgid(), &error)
    }
}

impl From<KeyError> for CommandError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Repository(error) => error.into(),
            KeyError::Unencrypted => Self::command(error),
            KeyError::UnrelatedIdHash => Self::general(error),
            KeyError::KeyfileNotFound { .. } => Self::told(error.msgid(), &error)
                .hinted("name the file by BORG_KEY_FILE, or the directory by BORG_KEYS_DIR"),
            error => Self::told(error.msgid(), &error),
        }
    }
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Repository(error) => error.into(),
            EngineError::Key(error) => error.into(),
            EngineError::NoManifest => Self::told("NoManifestError", &error)
                .hinted("rebuild it from the archives with: borg check --repair"),
            error => Self::told(error.msgid(), &error),
        }
    }
}

impl From<NonceError> for CommandError {
    fn from(error: NonceError) -> Self {
        Self::told(error.msgid(), &error)
    }
}

impl From<SecurityError> for CommandError {
    fn from(error: SecurityError) -> Self {
        Self::told(error.msgid(), &error)
    }
}

/// Returns the text of an error and of what caused it.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = match error.downcast_ref() {
            Some(error) => system_text(error),
            None => error.to_string(),
        };
        // A text that repeats its cause needs no second telling.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// Describes a system error as Python does: `[Errno 2] No such file or directory: 'path'`.
pub fn errno_text(error: &std::io::Error, path: Option<&std::path::Path>) -> String {
    let text = system_text(error);
    let text = match error.raw_os_error() {
        Some(number) => format!("[Errno {number}] {text}"),
        None => text,
    };
    match path {
        Some(path) => format!("{text}: '{}'", path.display()),
        None => text,
    }
}

/// Returns the system's text for an error, without the number that Rust adds.
pub fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_in_borg() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(
            errno_text(&error, Some(std::path::Path::new("/x"))),
            "[Errno 2] No such file or directory: '/x'"
        );
        assert_eq!(system_text(&error), "No such file or directory");
    }

    #[test]
    fn causes_are_told_once() {
        let error = SecurityError::Io {
            action: "cannot update the security database",
            path: "/x/nonce".into(),
            source: std::io::Error::from_raw_os_error(28),
        };
        assert_eq!(
            CommandError::from(error).message,
            "Error: /x/nonce: cannot update the security database: No space left on device"
        );
    }

    #[test]
    fn command_errors_have_code_four_in_the_modern_scheme_only() {
        let error = CommandError::command("no");
        assert_eq!(error.to_string(), "Command Error: no");
        assert_eq!(error.exit_code(Scheme::Modern).code(), 4);
        assert_eq!(error.exit_code(Scheme::Legacy).code(), 2);
    }
}
