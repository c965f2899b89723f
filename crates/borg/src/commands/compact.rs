//! `compact`: frees the space of what was deleted.

use std::ffi::OsString;

use crate::options::CommonOptions;

/// Free the space of what was deleted
///
/// Segments that hold much deleted data are written anew without it. Run it after prune and
/// delete, not necessarily each time. Append-only repositories are never compacted.
#[derive(Clone, Debug, clap::Parser)]
pub struct Compact {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    pub location: Option<OsString>,
    /// Do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Also remove the 17-byte segments that Borg 1.1 left in great numbers
    #[arg(long)]
    pub cleanup_commits: bool,
    /// Leave segments as they are of which less than PERCENT would become free
    #[arg(long, value_name = "PERCENT", default_value_t = 10,
          value_parser = clap::value_parser!(u8).range(0..=99))]
    pub threshold: u8,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
