//! Options that pick archives of a repository.

use super::only_one;
use super::values::{SortKey, positive, sort_by};
use crate::error::CommandError;

/// Picks archives by name.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Archive filters")]
pub struct NameFilter {
    /// Only archives whose names begin with PREFIX (deprecated, use --glob-archives)
    #[arg(short = 'P', long, action = clap::ArgAction::Append, conflicts_with = "glob_archives")]
    prefix: Vec<String>,
    /// Only archives whose names match GLOB (see "borg help patterns", style sh:)
    #[arg(short = 'a', long, value_name = "GLOB", action = clap::ArgAction::Append)]
    glob_archives: Vec<String>,
}

impl NameFilter {
    /// Returns the glob that names must match, before placeholders are replaced.
    ///
    /// # Errors
    /// When an option was given twice.
    pub fn glob(&self) -> Result<Option<String>, CommandError> {
        if let Some(prefix) = only_one("-P/--prefix", &self.prefix)? {
            return Ok(Some(prefix + "*"));
        }
        // An empty glob is as good as none.
        Ok(only_one("-a/--glob-archives", &self.glob_archives)?.filter(|glob| !glob.is_empty()))
    }

    /// Returns the texts in which placeholders are replaced.
    pub fn texts(&mut self) -> Vec<&mut String> {
        self.prefix
            .iter_mut()
            .chain(&mut self.glob_archives)
            .collect()
    }

    /// Tells whether a name filter was given.
    pub fn is_given(&self) -> bool {
        !self.prefix.is_empty() || self.glob_archives.iter().any(|glob| !glob.is_empty())
    }
}

/// Picks archives by name and place.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Archive filters")]
pub struct ArchiveFilter {
    /// Picks by name.
    #[command(flatten)]
    pub name: NameFilter,
    /// Sort archives by these comma-separated keys: timestamp, archive, name, id
    #[arg(long, value_name = "KEYS", default_value = "timestamp")]
    sort_by: String,
    /// Only the first N archives that remain
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "last")]
    pub first: Option<u64>,
    /// Only the last N archives that remain
    #[arg(long, value_name = "N", value_parser = positive)]
    pub last: Option<u64>,
}

impl ArchiveFilter {
    /// Tells whether any filter was given (the order alone is none).
    pub fn is_given(&self) -> bool {
        self.name.is_given() || self.first.is_some() || self.last.is_some()
    }

    /// Returns the keys to sort by.
    ///
    /// # Errors
    /// When one is unknown.
    pub fn sort_keys(&self) -> Result<Vec<SortKey>, CommandError> {
        sort_by(&self.sort_by)
            .map_err(|reason| CommandError::usage(format!("argument --sort-by: {reason}")))
    }
}
