//! The flags of `prune`.

use super::matches::Matches;

/// Flags of `prune`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prune {
    /// Tell what would become free.
    pub estimate: bool,
    /// The same as JSON.
    pub json: bool,
}

impl Prune {
    pub(super) fn read(read: &Matches<'_>) -> Self {
        Self {
            estimate: read.given("estimate"),
            // Next to another action it is that one's flag: a prune as such has nothing to tell as JSON.
            json: read.given("estimate") && read.given("json"),
        }
    }
}
