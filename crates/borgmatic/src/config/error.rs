//! What can be wrong with a configuration, in words that name file, line, key and a way out.
//!
//! A file is read to its end before it is refused: [`ConfigErrors`] holds all that was found.

use std::fmt;
use std::path::PathBuf;

use super::tree::Position;

/// One thing that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not UTF-8.
    #[error("{}: is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file is no YAML.
    #[error("{at}: not valid YAML: {message} (column {})", at.column)]
    Syntax {
        /// Where reading ended.
        at: Position,
        /// The parser's words.
        message: String,
    },
    /// The file holds more than a configuration can need, or is nested too deeply.
    #[error("{at}: the configuration is too large or nested too deeply")]
    TooLarge {
        /// Where the limit was reached.
        at: Position,
    },
    /// The file is empty or no mapping.
    #[error("{at}: does not contain any options")]
    NoOptions {
        /// The file.
        at: Position,
    },
    /// A key stands twice in one mapping.
    #[error("{at}: {key:?} is already set at line {}; a key may stand only once", first.line)]
    DuplicateKey {
        /// The second one.
        at: Position,
        /// The key.
        key: String,
        /// The first one.
        first: Position,
    },
    /// A tag that means nothing here.
    #[error("{at}: the tag {tag:?} is not known{hint}")]
    UnknownTag {
        /// Where it stands.
        at: Position,
        /// The tag.
        tag: String,
        /// What to do instead, with its own separator; may be empty.
        hint: &'static str,
    },
    /// Something about `!include`, `!retain` or `!omit`.
    #[error("{at}: {message}")]
    Include {
        /// Where the tag stands.
        at: Position,
        /// What is wrong.
        message: String,
    },
    /// A `${VARIABLE}` that is not set and has no default.
    #[error(
        "{at}: the environment variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
    )]
    MissingVariable {
        /// Where it is used.
        at: Position,
        /// Its name.
        name: String,
    },
    /// A key that no version of the configuration has.
    #[error("{at}: unknown option {key:?}{}{}", Under(place), DidYouMean(closest))]
    UnknownOption {
        /// Where it stands.
        at: Position,
        /// The key.
        key: String,
        /// The mapping it stands in; empty at the top level.
        place: String,
        /// The known key that is closest.
        closest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("{at}: {option:?} must be {expected}, not {found}")]
    WrongType {
        /// Where the value stands.
        at: Position,
        /// The path of the option.
        option: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A value that is none of those allowed.
    #[error(
        "{at}: {option:?} cannot be {found:?}; possible are {}{}",
        allowed,
        DidYouMean(closest)
    )]
    NotAllowed {
        /// Where the value stands.
        at: Position,
        /// The path of the option.
        option: String,
        /// The value.
        found: String,
        /// The allowed ones.
        allowed: Box<str>,
        /// The allowed one that is closest.
        closest: Option<String>,
    },
    /// A required option that is not there.
    #[error("{at}: the option {key:?} is required{}", Under(place))]
    Missing {
        /// The mapping it should stand in.
        at: Position,
        /// The option.
        key: String,
        /// The mapping; empty at the top level.
        place: String,
    },
    /// A value that is of the right type but makes no sense.
    #[error("{at}: {option:?}: {message}")]
    Invalid {
        /// Where the value stands.
        at: Position,
        /// The path of the option.
        option: String,
        /// What is wrong with it.
        message: String,
    },
    /// An option given by the command line or by an old spelling contradicts another.
    #[error("{at}: {message}")]
    Conflict {
        /// Where.
        at: Position,
        /// What contradicts what.
        message: String,
    },
}

impl ConfigError {
    /// Returns the line the error is about; 0 when it is about the whole file.
    pub fn line(&self) -> usize {
        match self {
            Self::Unreadable { .. } | Self::NotText { .. } => 0,
            Self::Syntax { at, .. }
            | Self::TooLarge { at }
            | Self::NoOptions { at }
            | Self::DuplicateKey { at, .. }
            | Self::UnknownTag { at, .. }
            | Self::Include { at, .. }
            | Self::MissingVariable { at, .. }
            | Self::UnknownOption { at, .. }
            | Self::WrongType { at, .. }
            | Self::NotAllowed { at, .. }
            | Self::Missing { at, .. }
            | Self::Invalid { at, .. }
            | Self::Conflict { at, .. } => at.line,
        }
    }
}

/// Everything that was found wrong with one file; at least one thing.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

struct Under<'a>(&'a str);

impl fmt::Display for Under<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            place => write!(f, " under {place}"),
        }
    }
}

struct DidYouMean<'a>(&'a Option<String>);

impl fmt::Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(closest) => write!(f, "; did you mean {closest:?}?"),
            None => Ok(()),
        }
    }
}

/// Returns the name that differs least from `word`, if any is close enough to be meant.
pub fn closest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = (word.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(word, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

/// The number of characters to insert, delete, replace or swap with a neighbour to make one word
/// of the other; dashes and underscores count as equal.
fn distance(left: &str, right: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        text.chars()
            .map(|c| {
                if c == '-' {
                    '_'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (left, right) = (fold(left), fold(right));
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let cell =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let mut best = (cell(&above, column) + usize::from(a != b))
                .min(cell(&above, column + 1) + 1)
                .min(cell(&line, column) + 1);
            let swapped = column > 0
                && row > 0
                && left.get(row - 1) == Some(b)
                && right.get(column - 1) == Some(a);
            if swapped {
                best = best.min(cell(&before, column - 1) + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        assert_eq!(distance("keep_daily", "keep_daily"), 0);
        assert_eq!(distance("keep_dayli", "keep_daily"), 2);
        assert_eq!(distance("keep_dialy", "keep_daily"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    #[test]
    fn only_a_similar_name_is_suggested() {
        let names = ["exclude_patterns", "patterns", "compression"];
        assert_eq!(
            closest("exclude_pattern", names),
            Some("exclude_patterns".into())
        );
        assert_eq!(
            closest("exclude-patterns", names),
            Some("exclude_patterns".into())
        );
        assert_eq!(closest("zebra", names), None);
    }
}
