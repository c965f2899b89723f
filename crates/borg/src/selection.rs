//! From pattern options to rules: files are read here, meanings are the engine's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use fastness_engine::select::pattern_file::Selection;
use fastness_engine::select::patterns::PatternMatcher;

use crate::error::{CommandError, errno_text, with_causes};
use crate::options::{ExcludeOptions, PatternOption};

impl ExcludeOptions {
    /// Reads all pattern options in their order.
    ///
    /// # Errors
    /// When a file cannot be read, or something is no pattern.
    pub fn selection(&self) -> Result<Selection, CommandError> {
        let mut selection = Selection::default();
        for option in &self.0 {
            match option {
                PatternOption::Exclude(text) => selection
                    .add_exclude(text.as_bytes())
                    .map_err(|error| bad("-e/--exclude", text, &error))?,
                PatternOption::Pattern(text) => selection
                    .add_pattern(text.as_bytes())
                    .map_err(|error| bad("--pattern", text, &error))?,
                PatternOption::ExcludeFrom(path) => selection
                    .add_exclude_file(&read("--exclude-from", path)?)
                    .map_err(|error| bad("--exclude-from", path, &error))?,
                PatternOption::PatternsFrom(path) => selection
                    .add_pattern_file(&read("--patterns-from", path)?)
                    .map_err(|error| bad("--patterns-from", path, &error))?,
            }
        }
        Ok(selection)
    }

    /// Returns what tells which stored items are meant: those at or below the paths, but for what
    /// the patterns leave out. Roots that patterns name are such paths.
    ///
    /// # Errors
    /// As [`Self::selection`].
    pub fn matcher(&self, paths: &[OsString]) -> Result<PatternMatcher, CommandError> {
        let selection = self.selection()?;
        let mut paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        paths.extend(selection.roots);
        PatternMatcher::for_paths(&selection.rules, &paths)
            .map_err(|error| CommandError::usage(with_causes(&error)))
    }
}

fn read(option: &str, path: &OsStr) -> Result<Vec<u8>, CommandError> {
    std::fs::read(path).map_err(|error| {
        CommandError::usage(format!(
            "argument {option}: {}",
            errno_text(&error, Some(path.as_ref()))
        ))
    })
}

fn bad(option: &str, text: &OsStr, error: &dyn std::error::Error) -> CommandError {
    let text = text.to_string_lossy();
    CommandError::usage(format!("argument {option}: {text}: {}", with_causes(error)))
}
