//! What a call says, asked by the names of flags.

use clap::ArgMatches;

/// The parsed flags, asked by name.
pub(super) struct Matches<'a>(pub &'a ArgMatches);

impl Matches<'_> {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.try_get_one::<String>(name).ok()?.cloned()
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.0.try_get_many::<String>(name) {
            Ok(Some(values)) => values.cloned().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn given(&self, name: &str) -> bool {
        matches!(self.0.try_get_one::<bool>(name), Ok(Some(true)))
    }

    pub(super) fn count(&self, name: &str) -> u8 {
        match self.0.try_get_one::<u8>(name) {
            Ok(Some(count)) => *count,
            _ => 0,
        }
    }
}
