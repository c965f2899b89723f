//! Archives by name: `--glob-archives` and, by way of an appended `*`, `--prefix`.
//!
//! The language is that of `sh:` patterns, for the whole name.

use super::patterns::PatternError;
use super::text::{to_bytes, to_text};
use super::{glob, shell};
use regex::Regex;

/// A pattern for names of archives.
#[derive(Debug, Clone)]
pub struct ArchiveGlob {
    exact: Regex,
    or_checkpoint: Regex,
}

impl ArchiveGlob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError::Malformed`] when a set of characters has an empty range.
    pub fn new(pattern: &[u8]) -> Result<Self, PatternError> {
        let text = to_text(pattern);
        let malformed = |reason: String| PatternError::Malformed {
            pattern: String::from_utf8_lossy(&to_bytes(&text)).into_owned(),
            reason,
        };
        let tokens = shell::parse(&text).map_err(malformed)?;
        let begin = glob::regex(&tokens, false);
        let compile = |end: &str| {
            let regex = Regex::new(&format!("{begin}{end}"));
            regex.map_err(|error| malformed(error.to_string()))
        };
        Ok(Self {
            exact: compile(r"\z")?,
            or_checkpoint: compile(r"(?:\.checkpoint(?:\.\d+)?)?\z")?,
        })
    }

    /// Returns whether a name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.exact.is_match(&to_text(name))
    }

    /// Returns whether a name matches, be it with the ending of a checkpoint (as `prune` asks).
    pub fn matches_with_checkpoints(&self, name: &[u8]) -> bool {
        self.or_checkpoint.is_match(&to_text(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_match() {
        let glob = ArchiveGlob::new(b"host-*-[0-9]?").unwrap();
        assert!(glob.matches(b"host-a-1\xff"));
        assert!(!glob.matches(b"host-a-12x"));
        assert!(!glob.matches(b"x-host-a-12"));
        assert!(!glob.matches(b"host-a-12.checkpoint"));
        assert!(glob.matches_with_checkpoints(b"host-a-12.checkpoint"));
        assert!(glob.matches_with_checkpoints(b"host-a-12.checkpoint.3"));
        assert!(ArchiveGlob::new(b"*").unwrap().matches(b""));
        assert!(ArchiveGlob::new(b"[b-a]").is_err());
    }
}
