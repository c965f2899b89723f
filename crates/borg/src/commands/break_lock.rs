//! `break-lock`: removes the locks of a run that died.

use std::ffi::OsString;

use fastness_repository::local::lock::break_lock;

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Remove the locks of a repository and its cache
///
/// Only for locks that were left behind: be sure that nobody uses the repository. Locks of dead
/// processes of this machine are removed without being asked to.
#[derive(Clone, Debug, clap::Parser)]
pub struct BreakLock {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for BreakLock {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let mut repository = context.open_repository(&place, None)?;
        repository.break_lock()?;
        let cache = context.environment.directories.cache_of(&repository.id());
        if cache.is_dir() {
            break_lock(&cache)?;
        }
        Ok(repository.close()?)
    }
}
