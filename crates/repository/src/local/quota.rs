//! Limits of what a transaction may use: the quota, and the space that is free.

use fastness_format::hints::Hints;
use fastness_format::segment::MAX_ENTRY_LEN;

use super::{Doom, LocalRepository};
use crate::Repository;
use crate::error::{RepositoryError, Result, format_bytes};
use crate::storage;

/// With fewer segments to compact than this, their own size is what compaction may need.
const FEW_SEGMENTS: usize = 10;

impl LocalRepository {
    /// Dooms the transaction when it uses more than the quota.
    pub(super) fn enforce_quota(&mut self) -> Result<()> {
        let Some(quota) = self.quota else {
            return Ok(());
        };
        let used = self.state_mut()?.hints.as_ref().map_or(0, used_bytes);
        if used > quota {
            self.doomed = Some(Doom::Quota { quota, used });
            return Err(RepositoryError::StorageQuotaExceeded { quota, used });
        }
        Ok(())
    }

    /// As [`LocalRepository::tell_quota`], for the open transaction.
    pub(super) fn tell_quota_now(&self) -> Result<()> {
        if let Some(hints) = &self.state()?.hints {
            self.tell_quota(hints);
        }
        Ok(())
    }

    /// Tells how much of the quota is used.
    pub(super) fn tell_quota(&self, hints: &Hints) {
        if let Some(quota) = self.quota {
            self.monitor.info(format!(
                "Storage quota: {} out of {} used.",
                format_bytes(used_bytes(hints)),
                format_bytes(quota)
            ));
        }
    }

    /// Refuses to commit when the disk is so full that neither this commit nor later ones, which
    /// could free space, would be sure to succeed. Demands as much as Borg does.
    pub(super) fn check_free_space(&mut self) -> Result<()> {
        let state = self.state()?;
        let required = state.hints.as_ref().map_or(0, |hints| {
            self.required_bytes(hints, state.index.file_len())
        });
        let Some(available) = storage::free_bytes(&self.path) else {
            self.monitor
                .warning("Failed to check free space before committing");
            return Ok(());
        };
        self.monitor.debug(format!(
            "check_free_space: required bytes {required}, free bytes {available}"
        ));
        if available >= required {
            return Ok(());
        }
        self.roll_back();
        if self.created {
            self.monitor
                .error("Not enough free space to initialize repository at this location.");
            self.destroy()?;
        }
        Err(RepositoryError::InsufficientFreeSpace {
            required,
            available,
        })
    }

    fn required_bytes(&self, hints: &Hints, index_bytes: u64) -> u64 {
        let entries = (hints.segments.len() + hints.compact.len()) as u64;
        let tables = 4 * index_bytes + 10 * entries + 4096;
        let mut required = tables.saturating_add(self.config.additional_free_space);
        if !self.append_only {
            let full_segment = self.config.max_segment_size + MAX_ENTRY_LEN as u64;
            let to_copy = if hints.compact.len() < FEW_SEGMENTS {
                hints
                    .compact
                    .iter()
                    .map(|(&segment, &freeable)| {
                        let len = self.segments.len(segment).ok().flatten().unwrap_or(0);
                        len.saturating_sub(freeable.max(0).cast_unsigned())
                    })
                    .sum()
            } else {
                full_segment
            };
            required = required.saturating_add(to_copy.min(full_segment));
        }
        required
    }
}

fn used_bytes(hints: &Hints) -> u64 {
    hints.storage_quota_use.max(0).cast_unsigned()
}
