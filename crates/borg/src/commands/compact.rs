//! `compact`: frees the space of what was deleted.

use std::ffi::OsString;

use fastness_repository::CompactOptions;
use fastness_repository::local::lock::LockKind;
use fastness_repository::remote::client::Ahead;

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Free the space of what was deleted
///
/// Segments that hold much deleted data are written anew without it. Run it after prune and
/// delete, not necessarily each time. Append-only repositories are never compacted.
#[derive(Clone, Debug, clap::Parser)]
pub struct Compact {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Also remove the 17-byte segments that Borg 1.1 left in great numbers
    #[arg(long)]
    cleanup_commits: bool,
    /// Leave segments as they are of which less than PERCENT would become free
    #[arg(long, value_name = "PERCENT", default_value_t = 10,
          value_parser = clap::value_parser!(u8).range(0..=99))]
    threshold: u8,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Compact {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        // A server begins a transaction with it.
        let ahead = match self.dry_run {
            true => Ahead::Nothing,
            false => Ahead::Manifest,
        };
        let mut repository =
            context.open_repository_ahead(&place, Some(LockKind::Exclusive), ahead)?;
        if !self.dry_run {
            repository.commit(Some(CompactOptions {
                threshold: f64::from(self.threshold) / 100.0,
                cleanup_commits: self.cleanup_commits,
            }))?;
        }
        Ok(repository.close()?)
    }
}
