//! Options about how the data of a new archive is stored.

use fastness_format::chunker::ChunkerParams;
use fastness_format::compress::CompressionSpec;

use super::only_one;
use crate::error::CommandError;

/// How a new archive is made.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Archive options")]
pub struct ArchiveOptions {
    /// Store COMMENT with the archive
    #[arg(long, value_name = "COMMENT", default_value = "")]
    pub comment: String,
    /// Date the archive to this time (UTC, yyyy-mm-ddThh:mm:ss) or to that of a file
    #[arg(long, value_name = "TIMESTAMP", value_parser = super::values::timestamp)]
    pub timestamp: Option<i64>,
    /// Store a checkpoint every SECONDS seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1800)]
    pub checkpoint_interval: u64,
    /// Cut files by ALGO,PARAMETERS, such as buzhash,19,23,21,4095 or fixed,4194304
    #[arg(long, value_name = "PARAMS", action = clap::ArgAction::Append)]
    chunker_params: Vec<ChunkerParams>,
    /// Compress by this algorithm (see "borg help compression")
    #[arg(short = 'C', long, value_name = "COMPRESSION", default_value = "lz4")]
    pub compression: CompressionSpec,
}

impl ArchiveOptions {
    /// Returns how files are cut.
    ///
    /// # Errors
    /// When it was given twice.
    pub fn chunker_params(&self) -> Result<ChunkerParams, CommandError> {
        Ok(only_one("--chunker-params", &self.chunker_params)?.unwrap_or_default())
    }
}
