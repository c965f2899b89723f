//! The flags of `mount`.

use super::matches::Matches;

/// Flags of `mount`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// The archive; all without one.
    pub archive: Option<String>,
    /// Where to.
    pub mount_point: String,
    /// What to show of it.
    pub paths: Vec<String>,
    /// Stay in the foreground.
    pub foreground: bool,
    /// The first N archives.
    pub first: Option<String>,
    /// The last N archives.
    pub last: Option<String>,
    /// Options of the file system.
    pub options: Option<String>,
}

impl Mount {
    pub(super) fn read(read: &Matches<'_>) -> Self {
        Self {
            archive: read.text("archive"),
            mount_point: read.text("mount-point").unwrap_or_default(),
            paths: read.texts("path"),
            foreground: read.given("foreground"),
            first: read.text("first"),
            last: read.text("last"),
            options: read.text("options"),
        }
    }
}
