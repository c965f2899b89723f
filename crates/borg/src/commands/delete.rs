//! `delete`: archives, or a whole repository.

use std::ffi::OsString;

use crate::commands::{Outputs, drop_stats_of_dry_run};
use crate::error::CommandError;
use crate::options::{ArchiveFilter, CommonOptions};

/// Delete archives or a whole repository
///
/// With archives named, by REPOSITORY::ARCHIVE, as further arguments or by a filter, they are
/// deleted; space becomes free at the next "borg compact". Without any, the whole repository is
/// deleted, after a question that only YES answers.
#[derive(Clone, Debug, clap::Parser)]
pub struct Delete {
    /// The repository or archive
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    pub location: Option<OsString>,
    /// Further archives
    #[arg(value_name = "ARCHIVE")]
    pub archives: Vec<OsString>,
    /// Delete nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Show the archives
    #[arg(long)]
    pub list: bool,
    /// Print the space given back
    #[arg(short, long)]
    pub stats: bool,
    /// Print the space given back, without sizes of the repository
    #[arg(long)]
    pub quick_stats: bool,
    /// Delete only the local cache of the repository
    #[arg(long)]
    pub cache_only: bool,
    /// Also delete damaged archives; given twice, without looking into them
    #[arg(long = "force", action = clap::ArgAction::Count)]
    pub forced: u8,
    /// Keep what is known of the repository when it is deleted
    #[arg(long)]
    pub keep_security_info: bool,
    /// Use less space while deleting
    #[arg(long)]
    pub save_space: bool,
    /// Commit every SECONDS seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1800)]
    pub checkpoint_interval: u64,
    /// Which archives.
    #[command(flatten)]
    pub filter: ArchiveFilter,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}

impl Delete {
    /// Returns the parts of the output that the options ask for.
    pub fn wanted_outputs(&self) -> Outputs {
        Outputs {
            list: self.list,
            stats: self.stats || self.quick_stats,
        }
    }

    /// Finds contradictions.
    ///
    /// # Errors
    /// When the options contradict each other.
    pub fn settle_options(&mut self) -> Result<Vec<String>, CommandError> {
        self.filter.sort_keys()?;
        self.filter.name.glob()?;
        drop_stats_of_dry_run(self.dry_run, &mut self.stats, &mut self.quick_stats)
    }
}
