//! What `--exclude`, `--pattern`, their files and the paths on the command line add up to.
//!
//! ```text
//! # comment          R /a/root to archive
//! P fm               default style of the lines below, in this file
//! + sh:home/*/keep   - home/*/junk        ! home/*/cache
//! ```
//!
//! Options are handed over in the order of the command line: the first rule that matches wins.

use super::patterns::{Command, Pattern, PatternError, PatternStyle, Rule};
use super::text::{to_bytes, to_text};

/// Roots and rules, gathered in order.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Paths of the command line and of `R` lines.
    pub roots: Vec<Vec<u8>>,
    /// All other rules.
    pub rules: Vec<Rule>,
}

/// An error in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}")]
pub struct PatternFileError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub source: PatternError,
}

impl Selection {
    /// Adds the value of an `--exclude` option.
    ///
    /// # Errors
    /// [`PatternError`] when it is no pattern.
    pub fn add_exclude(&mut self, pattern: &[u8]) -> Result<(), PatternError> {
        self.rules.push(Rule {
            pattern: Pattern::parse(pattern, PatternStyle::Fnmatch)?,
            command: Command::ExcludeNoRecurse,
        });
        Ok(())
    }

    /// Adds the lines of an `--exclude-from` file.
    ///
    /// # Errors
    /// [`PatternFileError`] for the first line that is no pattern.
    pub fn add_exclude_file(&mut self, content: &[u8]) -> Result<(), PatternFileError> {
        for (line, text) in lines(content) {
            self.add_exclude(&text)
                .map_err(|source| PatternFileError { line, source })?;
        }
        Ok(())
    }

    /// Adds the value of a `--pattern` option: one line of a pattern file.
    ///
    /// # Errors
    /// [`PatternError`] when it means nothing.
    pub fn add_pattern(&mut self, line: &[u8]) -> Result<(), PatternError> {
        self.add_line(line, &mut PatternStyle::Shell.clone())
    }

    /// Adds the lines of a `--patterns-from` file.
    ///
    /// # Errors
    /// [`PatternFileError`] for the first line that means nothing.
    pub fn add_pattern_file(&mut self, content: &[u8]) -> Result<(), PatternFileError> {
        let mut style = PatternStyle::Shell;
        for (line, text) in lines(content) {
            self.add_line(&text, &mut style)
                .map_err(|source| PatternFileError { line, source })?;
        }
        Ok(())
    }

    fn add_line(&mut self, line: &[u8], style: &mut PatternStyle) -> Result<(), PatternError> {
        let (command, value) = line.split_first().ok_or(PatternError::Empty)?;
        if !b"-!+RrPp".contains(command) {
            return Err(PatternError::UnknownCommand);
        }
        let value = to_text(value);
        let value = value.trim_start_matches(is_space);
        if value.is_empty() {
            return Err(PatternError::NoValue);
        }
        let command = match command {
            b'R' | b'r' => {
                self.roots.push(to_bytes(value));
                return Ok(());
            }
            b'P' | b'p' => {
                *style = PatternStyle::from_prefix(value)
                    .ok_or_else(|| PatternError::InvalidStyle(value.to_owned()))?;
                return Ok(());
            }
            b'+' => Command::Include,
            b'-' => Command::Exclude,
            _ => Command::ExcludeNoRecurse,
        };
        let pattern = Pattern::parse(&to_bytes(value), *style)?;
        self.rules.push(Rule { pattern, command });
        Ok(())
    }
}

/// White space as Python strips it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Returns the lines that say something, with their numbers and without white space around.
fn lines(content: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let text = to_text(content).replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<_> = text
        .split('\n')
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim_matches(is_space)))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| (number, to_bytes(line)))
        .collect();
    lines.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_files_give_roots_and_rules_in_order() {
        let mut selection = Selection::default();
        let file =
            b"# comment\n\n  R /home \r\nr /etc\nP fm\n+ a*\n-re:b\nP sh\n!  c \xff\n#-d\r+ e";
        selection.add_pattern_file(file).unwrap();
        assert_eq!(selection.roots, [&b"/home"[..], b"/etc"]);
        let rules: Vec<_> = selection
            .rules
            .iter()
            .map(|rule| (rule.command, rule.pattern.style(), rule.pattern.text()))
            .collect();
        assert_eq!(
            rules,
            [
                (Command::Include, PatternStyle::Fnmatch, b"a*".to_vec()),
                (Command::Exclude, PatternStyle::Regex, b"b".to_vec()),
                (
                    Command::ExcludeNoRecurse,
                    PatternStyle::Shell,
                    b"c \xff".to_vec()
                ),
                (Command::Include, PatternStyle::Shell, b"e".to_vec()),
            ]
        );
    }

    #[test]
    fn a_style_line_ends_with_its_file() {
        let mut selection = Selection::default();
        selection.add_pattern_file(b"P re").unwrap();
        selection.add_pattern(b"P re").unwrap();
        selection.add_pattern(b"+ a").unwrap();
        selection.add_exclude(b"a").unwrap();
        let styles: Vec<_> = selection
            .rules
            .iter()
            .map(|rule| rule.pattern.style())
            .collect();
        assert_eq!(styles, [PatternStyle::Shell, PatternStyle::Fnmatch]);
    }

    #[test]
    fn lines_without_meaning_are_named() {
        let error = |line: &[u8]| Selection::default().add_pattern(line).unwrap_err();
        assert_eq!(error(b""), PatternError::Empty);
        assert_eq!(error(b"x a"), PatternError::UnknownCommand);
        assert_eq!(error(b"+  "), PatternError::NoValue);
        assert_eq!(error(b"P xx"), PatternError::InvalidStyle("xx".to_owned()));
        assert_eq!(
            error(b"+ xx:a"),
            PatternError::UnknownStyle("xx".to_owned())
        );
        let file = Selection::default()
            .add_exclude_file(b"a\n\nre:[\n")
            .unwrap_err();
        assert_eq!(file.line, 3);
        assert!(matches!(file.source, PatternError::Malformed { .. }));
    }
}
