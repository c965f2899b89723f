//! `break-lock`: removes the locks of a run that died.

use std::ffi::OsString;

use crate::options::CommonOptions;

/// Remove the locks of a repository and its cache
///
/// Only for locks that were left behind: be sure that nobody uses the repository. Locks of dead
/// processes of this machine are removed without being asked to.
#[derive(Clone, Debug, clap::Parser)]
pub struct BreakLock {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    pub location: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
