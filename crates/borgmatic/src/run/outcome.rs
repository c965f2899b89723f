//! How a command ended: exit codes as borgmatic reads them, and errors of a run.

use crate::config::typed::TreatAs;
use crate::directories::DirectoryError;
use crate::hooks::command::CommandError;
use crate::hooks::credential::CredentialError;
use crate::hooks::dump::DumpError;
use crate::hooks::snapshot::SnapshotError;
use crate::output::log::{Level, Log};
use crate::patterns::PatternError;
use crate::plan::PlanError;
use crate::report::error::kind_of_code;

/// Why the actions on a repository ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A Borg command failed.
    #[error("Command '{command}' returned non-zero exit status {code}.")]
    Command {
        /// The command, without secrets.
        command: String,
        /// Its exit code.
        code: u8,
        /// The last lines it wrote.
        output: Vec<String>,
    },
    /// The user or the system wants the run to end.
    #[error("ended by signal {}", code.saturating_sub(128))]
    Signal {
        /// The exit code of the command that was ended: 128 and the number of the signal.
        code: u8,
    },
    /// A command printed no JSON where it should.
    #[error("{command}: unexpected output: {source}")]
    Output {
        /// The command.
        command: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The repository is there already, with another encryption.
    #[error(
        "Requested encryption mode \"{wanted}\" does not match existing repository encryption mode \"{found}\""
    )]
    OtherEncryption {
        /// The mode asked for.
        wanted: String,
        /// The mode it has.
        found: String,
    },
    /// There is no archive where the newest one was asked for.
    #[error("No archives found in the repository")]
    NoArchives,
    /// The spot check found too much.
    #[error("Spot check failed\n{0}")]
    SpotCheck(String),
    /// An archive does not tell its configuration files.
    #[error(
        "Cannot read configuration paths from archive {archive} due to missing archive or bootstrap manifest"
    )]
    NoManifest {
        /// The archive.
        archive: String,
    },
    /// There is more than one newest archive.
    #[error(
        "{repository} has newest archives of several kinds: {archives}; select one with --archive"
    )]
    SeveralNewest {
        /// The repository.
        repository: String,
        /// Their names.
        archives: String,
    },
    /// A file is in the way.
    #[error("Destination path {} already exists. Aborting.", .0.display())]
    Exists(std::path::PathBuf),
    /// A file is missing.
    #[error("Path {} does not exist. Aborting.", .0.display())]
    Missing(std::path::PathBuf),
    /// The command for the passphrase failed.
    #[error("the command for the passphrase failed: {0}")]
    Passcommand(String),
    /// A credential cannot be loaded.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// Something about databases.
    #[error(transparent)]
    Database(#[from] DumpError),
    /// Something about snapshots.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Databases were not restored, each with the reason.
    #[error("{}", .0.join("\n"))]
    Restore(Vec<String>),
    /// The patterns cannot be made.
    #[error(transparent)]
    Patterns(#[from] PatternError),
    /// There is no place for files of the run.
    #[error("{0}: {source}", source = source_text(.0))]
    Directory(#[from] DirectoryError),
    /// The plan and the configuration contradict each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A command hook failed.
    #[error("Error running {hook} hook: {source}")]
    Hook {
        /// Where it stands.
        hook: String,
        /// What its command did.
        source: CommandError,
    },
    /// What several repositories needed failed.
    #[error("{text}")]
    Common {
        /// What kind of trouble it is.
        kind: &'static str,
        /// The error in words.
        text: String,
        /// The last lines that the command wrote which failed.
        output: Vec<String>,
    },
    /// A command hook asks to leave out what follows; nothing failed.
    #[error("a command hook ended with a soft failure")]
    SoftFailure,
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

fn source_text(error: &DirectoryError) -> String {
    std::error::Error::source(error).map_or_else(|| "it is refused".to_owned(), ToString::to_string)
}

impl RunError {
    /// Returns the last lines that the command wrote which failed.
    pub fn output(&self) -> &[String] {
        match self {
            Self::Command { output, .. } => output,
            Self::Hook { source, .. } => source.output(),
            Self::Common { output, .. } => output,
            _ => &[],
        }
    }

    /// Returns the same error for another repository.
    pub fn copy(&self) -> Self {
        match self {
            Self::Signal { code } => Self::Signal { code: *code },
            Self::SoftFailure => Self::SoftFailure,
            _ => Self::Common {
                kind: self.kind(),
                text: self.to_string(),
                output: self.output().to_vec(),
            },
        }
    }

    /// Returns what kind of trouble it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Command { code, .. } | Self::Signal { code } => kind_of_code(*code),
            Self::OtherEncryption { .. } => "repository",
            Self::NoArchives | Self::NoManifest { .. } | Self::SeveralNewest { .. } => "archive",
            Self::SpotCheck(_) => "integrity",
            Self::Passcommand(_) => "passphrase",
            Self::Credential(_) => "credential",
            Self::Database(_) | Self::Restore(_) => "database",
            Self::Snapshot(_) => "snapshot",
            Self::Patterns(_) => "source",
            Self::Plan(_) => "configuration",
            Self::Hook { .. } | Self::SoftFailure => "hook",
            Self::Exists(_) | Self::Missing(_) | Self::Directory(_) | Self::System { .. } => {
                "system"
            }
            Self::Common { kind, .. } => kind,
            Self::Output { .. } => "other",
        }
    }

    /// Returns the lines of the summary: what a command wrote last, the error, what to do.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.output().to_vec();
        lines.extend(self.to_string().lines().map(str::to_owned));
        if let Self::Command { code, .. } = self {
            lines.extend(next_step(*code).map(str::to_owned));
        }
        lines
    }
}

/// What to do about an error of Borg, by its code in the modern scheme.
fn next_step(code: u8) -> Option<&'static str> {
    Some(match code {
        13 | 15 => {
            "The action repo-create makes the repository; a wrong path is corrected in \"repositories\"."
        }
        42 => {
            "The key file is looked for in \"borg_keys_directory\"; without it the repository cannot be read."
        }
        50..=52 => {
            "The passphrase comes from \"encryption_passphrase\" or \"encryption_passcommand\"."
        }
        62 => {
            "To allow it, set \"relocated_repo_access_is_ok\" or \"unknown_unencrypted_repo_access_is_ok\" to true, whichever applies."
        }
        70..=75 => {
            "Another program is at work on the repository; \"lock_wait\" is the time in seconds to wait for it."
        }
        _ => return None,
    })
}

/// Tells whether a command did its work, and says so in the log where that is not plain.
pub fn succeeded(
    code: u8,
    warning_is_error: bool,
    configured: &[(i64, TreatAs)],
    log: &Log,
) -> bool {
    let described = match description(code) {
        Some(description) => format!("{code} ({description})"),
        None => code.to_string(),
    };
    let own = configured.iter().find(|(own, _)| *own == i64::from(code));
    if let Some((_, treat_as)) = own.filter(|_| code != 0) {
        let (level, word) = match treat_as {
            TreatAs::Error => (Level::Error, "an error"),
            TreatAs::Warning => (Level::Warning, "a warning"),
        };
        let text = format!("Treating exit code {described} as {word}, as per configuration");
        log.record(level, &text);
        return *treat_as == TreatAs::Warning;
    }
    match code {
        0 => true,
        1 if warning_is_error => false,
        2..=99 | 128..=255 => false,
        101 | 102 | 104 | 105 | 106 => {
            let text =
                format!("Treating exit code {described} as an error, as per borgmatic defaults");
            log.record(Level::Error, &text);
            false
        }
        _ => {
            let text =
                format!("Treating exit code {described} as a warning, as per borgmatic defaults");
            log.record(Level::Warning, &text);
            true
        }
    }
}

fn description(code: u8) -> Option<&'static str> {
    Some(match code {
        100 => "a file changed while it was saved",
        101 => "a pattern matched nothing",
        102 => "something could not be saved",
        103 => "a file was replaced while it was saved",
        104 => "the system refused to read something",
        105 => "something may not be read",
        106 => "something could not be read",
        107 => "a file vanished before it was saved",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::log::tests::log;

    #[test]
    fn exit_codes_are_read_as_in_borgmatic() {
        let (log, _, stderr) = log(0);
        for code in [0, 1, 100, 103, 107, 110] {
            assert!(succeeded(code, false, &[], &log), "{code}");
        }
        for code in [2, 13, 73, 99, 101, 102, 104, 105, 106, 130] {
            assert!(!succeeded(code, false, &[], &log), "{code}");
        }
        assert!(!succeeded(1, true, &[], &log));
        let own = [(105, TreatAs::Warning), (100, TreatAs::Error)];
        assert!(succeeded(105, false, &own, &log));
        assert!(!succeeded(100, false, &own, &log));
        assert!(
            stderr
                .text()
                .contains("105 (something may not be read) as an error")
        );
    }
}
