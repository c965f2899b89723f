//! Objects that no archive needs.
//!
//! Only told of, and with a repair deleted, when all archives were checked: else an object may be
//! needed by one that was not looked at.

use fastness_format::id::ChunkId;

use super::Checker;
use crate::error::EngineError;

impl Checker<'_> {
    /// Looks for orphans and deletes what is not needed any more.
    pub(super) fn check_orphans(&mut self) -> Result<(), EngineError> {
        let _stage = tracing::trace_span!("check_orphans").entered();
        if !self.options.all_archives() {
            self.info("Orphaned objects check skipped (needs all archives checked).");
            return Ok(());
        }
        let unused: Vec<ChunkId> = self.inventory.unreferenced().copied().collect();
        let orphans = unused.iter().filter(|id| !self.superseded.contains(*id));
        let orphans = orphans.count();
        if orphans > 0 {
            self.problem(format!("{orphans} orphaned objects found!"));
        }
        if self.options.repair && !unused.is_empty() {
            self.info(format!(
                "Deleting {orphans} orphaned and {} superseded objects...",
                self.superseded.len()
            ));
            for id in &unused {
                self.repository.delete(id)?;
            }
            self.info("Finished deleting orphaned/superseded objects.");
        }
        Ok(())
    }
}
