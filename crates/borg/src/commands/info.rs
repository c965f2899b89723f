//! `info`: what is known of a repository or an archive.

use std::ffi::OsString;

use crate::options::{ArchiveFilter, CommonOptions};

/// Show details of a repository or an archive
///
/// The deduplicated size of an archive counts the chunks that no other archive has: what would
/// become free if it were deleted. For a repository it is what all chunks take together.
#[derive(Clone, Debug, clap::Parser)]
pub struct Info {
    /// The repository or archive
    #[arg(value_name = "REPOSITORY_OR_ARCHIVE")]
    pub location: Option<OsString>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Which archives.
    #[command(flatten)]
    pub filter: ArchiveFilter,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
