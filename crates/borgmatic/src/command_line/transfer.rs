//! The flags of `transfer`.

use super::actions::ArchiveChoice;
use super::matches::Matches;

/// Flags of `transfer`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfer {
    /// Where from: a path, or the label of a configured repository.
    pub source: String,
    /// The archive.
    pub archive: Option<String>,
    /// Which archives.
    pub choice: ArchiveChoice,
}

impl Transfer {
    pub(super) fn read(read: &Matches<'_>) -> Self {
        Self {
            source: read.text("source-repository").unwrap_or_default(),
            archive: read.text("archive"),
            choice: ArchiveChoice::read(read),
        }
    }
}

/// Says what is wrong with the flags.
pub(super) fn refuse(read: &Matches<'_>) -> Option<&'static str> {
    if read.given("from-borg1") || read.text("upgrader").is_some() {
        return Some(
            "--from-borg1 and --upgrader are for repositories of Borg 2; here both are of Borg 1, \
             and nothing is to be upgraded: leave them out",
        );
    }
    if read.text("source-repository").is_none() {
        return Some("transfer needs --source-repository NAME");
    }
    let archives = read.text("match-archives").is_some();
    (archives && read.text("archive").is_some())
        .then_some("with transfer, --archive does not go with --match-archives")
}
