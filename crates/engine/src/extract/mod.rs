//! Restoring the content of an archive into a directory.
//!
//! The caller's thread walks the items in order and makes everything but regular files itself;
//! workers fetch, open and write files, small ones in batches, big ones in several pieces at once.
//! Directories get their attributes when what is in them is complete. All paths are resolved by
//! [`fastness_sys::beneath`]: nothing is written outside the target, whatever the archive says.

mod crew;
mod existing;
mod files;
pub(crate) mod links;
#[cfg(test)]
mod tests;
pub(crate) mod walk;

use std::io::Write;
use std::path::Path;

use crate::attributes::AttributeOptions;
use crate::catalogue::ReadArchive;
use crate::error::EngineError;
use crate::event::Monitor;
use crate::select::patterns::PatternMatcher;
use crate::session::Session;

pub use existing::Existing;

/// What is restored, and how.
#[derive(Debug)]
pub struct ExtractOptions {
    /// What of the archive is taken.
    pub patterns: PatternMatcher,
    /// Leading directories that paths lose; shorter paths are left out.
    pub strip_components: usize,
    /// Which metadata is restored.
    pub attributes: AttributeOptions,
    /// What happens where something is already.
    pub existing: Existing,
    /// All-zero chunks become holes.
    pub sparse: bool,
    /// Reads and verifies everything, writes nothing.
    pub dry_run: bool,
    /// Whether paths are to be told.
    pub list: bool,
    /// Whether a share of the work is to be told; costs a look at all items before.
    pub progress: bool,
    /// Also restores the part files that checkpoints leave.
    pub part_files: bool,
    /// Number of worker threads, at least 1.
    pub threads: usize,
}

/// Restores into the directory `target`.
///
/// # Errors
/// When the archive cannot be read or an object of it is damaged; problems of single files only
/// warn.
pub fn extract(
    session: &Session,
    archive: &ReadArchive,
    target: &Path,
    options: &ExtractOptions,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    walk::extract(session, archive, target, options, monitor)
}

/// Writes the content of all files that are taken to `output`, one after the other.
///
/// # Errors
/// As [`extract`], or when `output` takes no more.
pub fn extract_to(
    session: &Session,
    archive: &ReadArchive,
    output: &mut dyn Write,
    options: &ExtractOptions,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    walk::extract_to(session, archive, output, options, monitor)
}
