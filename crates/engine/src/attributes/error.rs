//! What is wrong with one file system object, as opposed to the operation as a whole.

use std::io;

/// Why an object of the file system could not be archived or restored. The operation warns and
/// goes on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused.
    #[error("{operation}: {}", python_text(.source))]
    Io {
        /// What was tried, such as `open`.
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The object is not what it was a moment ago.
    #[error("{0}")]
    Race(&'static str),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl SourceError {
    /// The system refused `operation`.
    pub fn io(operation: &'static str, source: io::Error) -> Self {
        Self::Io { operation, source }
    }

    /// The object changed its identity while it was looked at.
    pub fn race(text: &'static str) -> Self {
        Self::Race(text)
    }

    /// Borg's name of the warning; the exit code follows from it.
    pub fn msgid(&self) -> &'static str {
        let source = match self {
            Self::Io { source, .. } => source,
            Self::Race(_) => return "BackupRaceConditionError",
            Self::Other(_) => return "BackupError",
        };
        match source.raw_os_error().map(rustix_errno) {
            Some(Errno::Permission) => "BackupPermissionError",
            Some(Errno::NotFound) => "BackupFileNotFoundError",
            Some(Errno::Io) => "BackupIOError",
            _ => "BackupOSError",
        }
    }
}

enum Errno {
    Permission,
    NotFound,
    Io,
    Other,
}

/// Sorts Linux error numbers as Borg does: EPERM, EACCES and EBUSY are one kind.
fn rustix_errno(number: i32) -> Errno {
    match number {
        1 | 13 | 16 => Errno::Permission,
        2 => Errno::NotFound,
        5 => Errno::Io,
        _ => Errno::Other,
    }
}

/// A system error as Python words it, which is what programs look for.
fn python_text(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.find(" (os error ")) {
        (Some(number), Some(end)) => {
            format!("[Errno {number}] {}", text.get(..end).unwrap_or(&text))
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_have_the_names_and_words_that_borg_gives_them() {
        let error = SourceError::io("open", io::Error::from_raw_os_error(13));
        assert_eq!(error.to_string(), "open: [Errno 13] Permission denied");
        assert_eq!(error.msgid(), "BackupPermissionError");
        let name = |number| SourceError::io("read", io::Error::from_raw_os_error(number)).msgid();
        assert_eq!(name(2), "BackupFileNotFoundError");
        assert_eq!(name(5), "BackupIOError");
        assert_eq!(name(24), "BackupOSError");
        assert_eq!(SourceError::race("x").msgid(), "BackupRaceConditionError");
    }
}
