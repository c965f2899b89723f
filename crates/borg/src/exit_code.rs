//! Exit codes: what a run ends with, from message ids and gathered warnings.
//!
//! Borg has two schemes. Legacy (the default, and what scripts rely on) knows 0, 1, 2 and
//! 128 + signal; modern (`BORG_EXIT_CODES=modern`) gives each error and warning a code of its own.
//! The table here is the only place where a message id meets a number.

use std::collections::BTreeSet;

/// Which of Borg's two sets of codes is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// 0, 1 and 2.
    #[default]
    Legacy,
    /// A code for each kind of error and warning.
    Modern,
}

/// The code a process ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExitCode(u8);

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// All went well.
    Success,
    /// Done, but something was not as it should be.
    Warning,
    /// Not done.
    Error,
    /// Ended by a signal.
    Signal,
}

impl Class {
    /// Returns the word Borg uses for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Signal => "signal",
        }
    }
}

impl ExitCode {
    /// All went well.
    pub const SUCCESS: Self = Self(0);
    /// The general warning.
    pub const WARNING: Self = Self(1);
    /// The general error.
    pub const ERROR: Self = Self(2);

    /// Returns the code of a process that the signal ended.
    pub fn signal(number: u8) -> Self {
        Self(128_u8.saturating_add(number))
    }

    /// Returns the code of a command that was run in place of this program.
    pub fn from_raw(code: u8) -> Self {
        Self(code)
    }

    /// Returns the code as the system takes it.
    pub fn code(self) -> u8 {
        self.0
    }

    /// Returns what the code means.
    pub fn class(self) -> Class {
        match self.0 {
            0 => Class::Success,
            1 | 100..=127 => Class::Warning,
            2..=99 => Class::Error,
            128..=255 => Class::Signal,
        }
    }

    /// Returns the code of an error under this message id; unknown ids are general errors.
    pub fn of_error(msgid: &str, scheme: Scheme) -> Self {
        match (scheme, modern(msgid)) {
            (Scheme::Modern, Some(code)) => Self(code),
            _ => Self::ERROR,
        }
    }

    /// Returns the code of a warning under this message id; unknown ids are general warnings.
    pub fn of_warning(msgid: &str, scheme: Scheme) -> Self {
        match (scheme, modern(msgid)) {
            (Scheme::Modern, Some(code)) => Self(code),
            _ => Self::WARNING,
        }
    }
}

/// Gathers what happened during a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    raised: ExitCode,
    warnings: BTreeSet<u8>,
}

impl Outcome {
    /// Sets the code of the run, if it is worse than what was set before.
    pub fn raise(&mut self, code: ExitCode) {
        if code.class() > self.raised.class() {
            self.raised = code;
        }
    }

    /// Remembers a warning.
    pub fn warn(&mut self, code: ExitCode) {
        self.warnings.insert(code.code());
    }

    /// Returns the code of the whole run: what was raised, else the one kind of warning there
    /// was, else the general warning.
    pub fn exit_code(&self) -> ExitCode {
        if self.raised != ExitCode::SUCCESS {
            return self.raised;
        }
        let mut codes = self.warnings.iter();
        match (codes.next(), codes.next()) {
            (None, _) => ExitCode::SUCCESS,
            (Some(code), None) => ExitCode(*code),
            (Some(_), Some(_)) => ExitCode::WARNING,
        }
    }
}

/// Returns the modern code of a message id.
fn modern(msgid: &str) -> Option<u8> {
    Some(match msgid {
        "Error" | "ErrorWithTraceback" | "RTError" => 2,
        "Buffer.MemoryLimitExceeded" | "EfficientCollectionQueue.SizeUnderflow" => 2,
        "CancelledByUser" => 3,
        "CommandError" => 4,
        "PlaceholderError" => 5,
        "InvalidPlaceholder" => 6,
        "Repository.AlreadyExists" => 10,
        "Repository.AtticRepository" => 11,
        "Repository.CheckNeeded" => 12,
        "Repository.DoesNotExist" => 13,
        "Repository.InsufficientFreeSpaceError" => 14,
        "Repository.InvalidRepository" => 15,
        "Repository.InvalidRepositoryConfig" => 16,
        "Repository.ObjectNotFound" => 17,
        "Repository.ParentPathDoesNotExist" => 18,
        "Repository.PathAlreadyExists" => 19,
        "Repository.StorageQuotaExceeded" => 20,
        "Repository.PathPermissionDenied" => 21,
        "MandatoryFeatureUnsupported" => 25,
        "NoManifestError" => 26,
        "UnsupportedManifestError" => 27,
        "Archive.AlreadyExists" => 30,
        "Archive.DoesNotExist" => 31,
        "Archive.IncompatibleFilesystemEncodingError" => 32,
        "KeyfileInvalidError" => 40,
        "KeyfileMismatchError" => 41,
        "KeyfileNotFoundError" => 42,
        "NotABorgKeyFile" => 43,
        "RepoKeyNotFoundError" => 44,
        "RepoIdMismatch" => 45,
        "UnencryptedRepo" => 46,
        "UnknownKeyType" => 47,
        "UnsupportedPayloadError" => 48,
        "NoPassphraseFailure" => 50,
        "PasscommandFailure" => 51,
        "PassphraseWrong" => 52,
        "PasswordRetriesExceeded" => 53,
        "Cache.CacheInitAbortedError" => 60,
        "Cache.EncryptionMethodMismatch" => 61,
        "Cache.RepositoryAccessAborted" => 62,
        "Cache.RepositoryIDNotUnique" => 63,
        "Cache.RepositoryReplay" => 64,
        "LockError" => 70,
        "LockErrorT" => 71,
        "LockFailed" => 72,
        "LockTimeout" => 73,
        "NotLocked" => 74,
        "NotMyLock" => 75,
        "ConnectionClosed" => 80,
        "ConnectionClosedWithHint" => 81,
        "InvalidRPCMethod" => 82,
        "PathNotAllowed" => 83,
        "RemoteRepository.RPCServerOutdated" => 84,
        "UnexpectedRPCDataFormatFromClient" => 85,
        "UnexpectedRPCDataFormatFromServer" => 86,
        "ConnectionBrokenWithHint" => 87,
        "IntegrityError" => 90,
        "FileIntegrityError" => 91,
        "DecompressionError" => 92,
        "ArchiveTAMInvalid" => 95,
        "ArchiveTAMRequiredError" => 96,
        "TAMInvalid" => 97,
        "TAMRequiredError" => 98,
        "TAMUnsupportedSuiteError" => 99,
        "BorgWarning" | "BackupWarning" => 1,
        "FileChangedWarning" => 100,
        "IncludePatternNeverMatchedWarning" => 101,
        "BackupError" => 102,
        "BackupRaceConditionError" => 103,
        "BackupOSError" => 104,
        "BackupPermissionError" => 105,
        "BackupIOError" => 106,
        "BackupFileNotFoundError" => 107,
        "BackupSymlinkParentError" => 108,
        "BackupPathTraversalError" => 109,
        "BackupHardlinkSourceError" => 110,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_codes_are_zero_one_and_two() {
        assert_eq!(ExitCode::of_error("LockTimeout", Scheme::Legacy).code(), 2);
        assert_eq!(ExitCode::of_error("LockTimeout", Scheme::Modern).code(), 73);
        assert_eq!(
            ExitCode::of_warning("FileChangedWarning", Scheme::Legacy).code(),
            1
        );
        assert_eq!(
            ExitCode::of_warning("FileChangedWarning", Scheme::Modern).code(),
            100
        );
        assert_eq!(ExitCode::of_error("Exception", Scheme::Modern).code(), 2);
    }

    #[test]
    fn one_kind_of_warning_keeps_its_code_and_several_share_the_general_one() {
        let mut outcome = Outcome::default();
        assert_eq!(outcome.exit_code(), ExitCode::SUCCESS);
        outcome.warn(ExitCode(107));
        outcome.warn(ExitCode(107));
        assert_eq!(outcome.exit_code().code(), 107);
        outcome.warn(ExitCode(100));
        assert_eq!(outcome.exit_code(), ExitCode::WARNING);
    }

    #[test]
    fn the_first_of_equally_bad_codes_stays() {
        let mut outcome = Outcome::default();
        outcome.raise(ExitCode(13));
        outcome.raise(ExitCode::ERROR);
        outcome.warn(ExitCode(100));
        assert_eq!(outcome.exit_code().code(), 13);
        outcome.raise(ExitCode::signal(2));
        assert_eq!(outcome.exit_code().code(), 130);
    }
}
