//! `check`: is everything there and unharmed?

use std::ffi::OsString;

use crate::options::{ArchiveFilter, CommonOptions};

/// Check the consistency of a repository
///
/// First the repository: every segment is read, and every entry compared with its checksum. Then
/// the archives: every file's chunks must be there. --verify-data also decrypts and decompresses
/// every chunk and compares it with its id, which finds what checksums cannot.
///
/// --repair writes back what can be saved. Damaged files get zeros of the same length for what is
/// missing, and heal when a later backup brings the missing chunk again. Copy the repository
/// before you use it.
#[derive(Clone, Debug, clap::Parser)]
pub struct Check {
    /// The repository or archive
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    pub location: Option<OsString>,
    /// Check only the repository
    #[arg(long, conflicts_with = "archives_only")]
    pub repository_only: bool,
    /// Check only the archives
    #[arg(long)]
    pub archives_only: bool,
    /// Decrypt all data and compare it with its ids
    #[arg(long)]
    pub verify_data: bool,
    /// Try to repair what is found
    #[arg(long)]
    pub repair: bool,
    /// Use less space while repairing
    #[arg(long)]
    pub save_space: bool,
    /// Stop after SECONDS and go on there the next time (with --repository-only)
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub max_duration: u64,
    /// Which archives.
    #[command(flatten)]
    pub filter: ArchiveFilter,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
