//! What is wrong with one file system object, as opposed to the operation as a whole.
//!
//! The texts follow Borg's form, because monitoring looks for them. The path is not in them: who
//! warns writes it in front, `path: open: [Errno 13] Permission denied: 'name'`.

use std::fmt::{self, Write};
use std::io;

use fastness_sys::beneath::BeneathError;

/// Why an object of the file system could not be archived or restored. The operation warns and
/// goes on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system refused.
    #[error("{}", PythonText { operation, name: name.as_deref(), error: source })]
    Io {
        /// What was tried, such as `open`.
        operation: &'static str,
        /// The name that was given to the system, where it took one.
        name: Option<Vec<u8>>,
        /// Why it failed.
        source: io::Error,
    },
    /// The object is not what it was a moment ago.
    #[error("{0}")]
    Race(&'static str),
    /// Restoring it would write through a symlink.
    #[error("not extracted, a parent directory is a symlink (malicious or corrupted archive)")]
    SymlinkParent,
    /// Restoring it would write outside the target directory.
    #[error("not extracted, path contains \"../\" (malicious or corrupted archive)")]
    PathTraversal,
    /// Restoring it would link to a file outside the target directory.
    #[error("not extracted, hardlink source path is unsafe (malicious or corrupted archive)")]
    HardlinkSource,
    /// Data that was to be produced is not there or not complete: neither is the archive.
    #[error("{0}")]
    Produced(String),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl SourceError {
    /// The system refused `operation`, which took no name.
    pub fn io(operation: &'static str, source: io::Error) -> Self {
        Self::Io {
            operation,
            name: None,
            source,
        }
    }

    /// The system refused `operation` on `name`.
    pub fn named(operation: &'static str, name: &[u8], source: io::Error) -> Self {
        Self::Io {
            operation,
            name: Some(name.to_vec()),
            source,
        }
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
            Self::SymlinkParent => return "BackupSymlinkParentError",
            Self::PathTraversal => return "BackupPathTraversalError",
            Self::HardlinkSource => return "BackupHardlinkSourceError",
            Self::Produced(_) | Self::Other(_) => return "BackupError",
        };
        match source.raw_os_error() {
            Some(EPERM | EACCES | EBUSY) => "BackupPermissionError",
            Some(ENOENT) => "BackupFileNotFoundError",
            Some(EIO) => "BackupIOError",
            _ => "BackupOSError",
        }
    }
}

impl From<BeneathError> for SourceError {
    /// An archived path that has no place below the target.
    fn from(error: BeneathError) -> Self {
        match error {
            BeneathError::Absolute | BeneathError::Traversal => Self::PathTraversal,
            BeneathError::SymlinkParent => Self::SymlinkParent,
            BeneathError::Invalid => Self::Other(error.to_string()),
            BeneathError::Io(source) => Self::io("makedirs", source),
        }
    }
}

// The numbers are Linux's, and the same on every architecture Fastness runs on.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const E2BIG: i32 = 7;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const ENOSPC: i32 = 28;

/// What was done with an extended attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrAction {
    /// Its value was asked for.
    Get,
    /// It was to be set.
    Set {
        /// Length of the value.
        length: usize,
    },
}

/// One extended attribute that could not be read or set; the rest of the object was.
#[derive(Debug)]
pub struct XattrWarning {
    /// What was done.
    pub action: XattrAction,
    /// Name of the attribute.
    pub name: Vec<u8>,
    /// Why it failed.
    pub source: io::Error,
}

impl XattrWarning {
    /// Borg's logger for these lines.
    pub const LOGGER: &'static str = "borg.xattr";

    /// Whether the run ends with a warning: for Borg only what was not restored counts.
    pub fn counts(&self) -> bool {
        matches!(self.action, XattrAction::Set { .. })
    }

    /// The line for the log.
    pub fn text(&self, path: &[u8]) -> String {
        let name = String::from_utf8_lossy(&self.name);
        let reason = PythonText {
            operation: "",
            name: Some(path),
            error: &self.source,
        };
        let XattrAction::Set { length } = self.action else {
            return format!("when getting extended attribute {name}: {reason}");
        };
        let reason = match self.source.raw_os_error() {
            Some(E2BIG) => format!("too big for this filesystem ({reason})"),
            Some(ENOSPC) => {
                format!("fs full or xattr too big? [xattr len = {length}] ({reason})")
            }
            _ => reason.to_string(),
        };
        format!("when setting extended attribute {name}: {reason}")
    }
}

/// A system error as Python words it, which is what programs look for.
struct PythonText<'a> {
    operation: &'a str,
    name: Option<&'a [u8]>,
    error: &'a io::Error,
}

impl fmt::Display for PythonText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.operation.is_empty() {
            write!(f, "{}: ", self.operation)?;
        }
        let text = self.error.to_string();
        match (self.error.raw_os_error(), text.find(" (os error ")) {
            (Some(number), Some(end)) => {
                write!(f, "[Errno {number}] {}", text.get(..end).unwrap_or(&text))?;
            }
            _ => f.write_str(&text)?,
        }
        match self.name {
            Some(name) => {
                f.write_str(": ")?;
                write_quoted(f, name)
            }
            None => Ok(()),
        }
    }
}

/// Writes a name as Python's `repr` of a file name does.
fn write_quoted(f: &mut fmt::Formatter<'_>, name: &[u8]) -> fmt::Result {
    let quote = match (name.contains(&b'\''), name.contains(&b'"')) {
        (true, false) => '"',
        _ => '\'',
    };
    f.write_char(quote)?;
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                _ if character == quote => write!(f, "\\{character}")?,
                _ if character.is_control() => write!(f, "\\x{:02x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\udc{byte:02x}")?;
        }
    }
    f.write_char(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn system_errors_have_the_names_and_words_that_borg_gives_them() {
        let error = SourceError::io("open", os(13));
        assert_eq!(error.to_string(), "open: [Errno 13] Permission denied");
        assert_eq!(error.msgid(), "BackupPermissionError");
        let name = |number| SourceError::io("read", os(number)).msgid();
        assert_eq!(name(1), "BackupPermissionError");
        assert_eq!(name(16), "BackupPermissionError");
        assert_eq!(name(2), "BackupFileNotFoundError");
        assert_eq!(name(5), "BackupIOError");
        assert_eq!(name(24), "BackupOSError");
        assert_eq!(SourceError::race("x").msgid(), "BackupRaceConditionError");
        let hostile = SourceError::from(BeneathError::Traversal);
        assert_eq!(hostile.msgid(), "BackupPathTraversalError");
    }

    #[test]
    fn names_are_quoted_as_python_does() {
        let error = SourceError::named("open", b"f'oo", os(13));
        assert_eq!(
            error.to_string(),
            "open: [Errno 13] Permission denied: \"f'oo\""
        );
        let odd = SourceError::named("", b"\xff\n\\'\"\x01", os(2));
        let text = "[Errno 2] No such file or directory: '\\udcff\\n\\\\\\'\"\\x01'";
        assert_eq!(odd.to_string(), text);
    }

    #[test]
    fn attribute_warnings_name_the_attribute_and_the_reason() {
        let mut warning = XattrWarning {
            action: XattrAction::Set { length: 5000 },
            name: b"user.big".to_vec(),
            source: os(28),
        };
        let text = "when setting extended attribute user.big: fs full or xattr too big? \
            [xattr len = 5000] ([Errno 28] No space left on device: 'f')";
        assert_eq!(warning.text(b"f"), text);
        assert!(warning.counts());
        warning.action = XattrAction::Get;
        warning.source = os(1);
        let text = "when getting extended attribute user.big: \
            [Errno 1] Operation not permitted: 'f'";
        assert_eq!(warning.text(b"f"), text);
        assert!(!warning.counts());
    }
}
