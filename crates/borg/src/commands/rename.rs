//! `rename`: another name for an archive.

use std::ffi::OsString;

use crate::options::CommonOptions;

/// Rename an archive
///
/// The archive gets a new id with its new name; its data is not touched.
#[derive(Clone, Debug, clap::Parser)]
pub struct Rename {
    /// The archive
    #[arg(value_name = "ARCHIVE")]
    pub location: OsString,
    /// Its new name
    #[arg(value_name = "NEWNAME")]
    pub name: OsString,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
