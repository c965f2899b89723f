//! `extract`: files from an archive.

use std::ffi::OsString;

use crate::options::{CommonOptions, ExcludeOptions};

/// Extract the contents of an archive
///
/// Files come into the current directory, under the paths they are stored with. With PATH, only
/// what lies at or below it; a PATH is a literal beginning unless it names another style ("borg
/// help patterns").
///
/// What stands in the way of a file is replaced, except for directories that are not empty.
/// Nothing is ever written outside the current directory.
#[derive(Clone, Debug, clap::Parser)]
pub struct Extract {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    pub location: OsString,
    /// What to extract
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Show the path of everything extracted
    #[arg(long)]
    pub list: bool,
    /// Write nothing, but read and check everything
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Restore owners by number only
    #[arg(long, alias = "numeric-owner")]
    pub numeric_ids: bool,
    /// Do not restore flags such as NODUMP and IMMUTABLE
    #[arg(long, alias = "nobsdflags")]
    pub noflags: bool,
    /// Do not restore access control lists
    #[arg(long)]
    pub noacls: bool,
    /// Do not restore extended attributes
    #[arg(long)]
    pub noxattrs: bool,
    /// Write the contents of files to standard output
    #[arg(long)]
    pub stdout: bool,
    /// Make holes in place of zeros
    #[arg(long)]
    pub sparse: bool,
    /// What to leave out.
    #[command(flatten)]
    pub exclude: ExcludeOptions,
    /// Cut off the first NUMBER parts of each path; shorter paths are left out
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        help_heading = "Include/Exclude options"
    )]
    pub strip_components: usize,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
