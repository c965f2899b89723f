//! `delete`: archives, or a whole repository. Here are its arguments; [`run`] and [`repository`]
//! do it.

mod repository;
mod run;

use std::ffi::OsString;

use crate::commands::{Action, Outputs, drop_stats_of_dry_run};
use crate::context::Context;
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
    location: Option<OsString>,
    /// Further archives
    #[arg(value_name = "ARCHIVE")]
    archives: Vec<OsString>,
    /// Delete nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Show the archives
    #[arg(long)]
    list: bool,
    /// Print the space given back
    #[arg(short, long)]
    stats: bool,
    /// Print the space given back, without sizes of the repository
    #[arg(long)]
    quick_stats: bool,
    /// Delete only the local cache of the repository
    #[arg(long)]
    cache_only: bool,
    /// Also delete damaged archives; given twice, without looking into them
    #[arg(long = "force", action = clap::ArgAction::Count)]
    forced: u8,
    /// Keep what is known of the repository when it is deleted
    #[arg(long)]
    keep_security_info: bool,
    /// Does nothing, as in Borg
    #[arg(long)]
    save_space: bool,
    /// Commit every SECONDS seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1800)]
    checkpoint_interval: u64,
    /// Which archives.
    #[command(flatten)]
    filter: ArchiveFilter,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Delete {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn outputs(&self) -> Outputs {
        Outputs {
            list: self.list,
            stats: self.stats || self.quick_stats,
        }
    }

    fn texts_with_placeholders(&mut self) -> Vec<&mut String> {
        self.filter.name.texts()
    }

    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        self.filter.sort_keys()?;
        self.filter.name.glob()?;
        drop_stats_of_dry_run(self.dry_run, &mut self.stats, &mut self.quick_stats)
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        run::delete(&self, context)
    }
}
