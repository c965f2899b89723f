//! Looks behind the transactions, for those who search for a mistake or save what can be saved.

use std::sync::atomic::AtomicBool;

use fastness_format::hash_index::Location;
use fastness_format::hints::Hints;
use fastness_format::id::SegmentNumber;
use fastness_format::segment::{Entry, Tag};

use super::LocalRepository;
use super::segments::ScanError;
use crate::error::Result;

/// An entry of a segment, whether it still counts or not.
#[derive(Debug)]
pub struct LowLevelEntry {
    /// Number of its segment.
    pub segment: u32,
    /// The entry.
    pub entry: Entry,
    /// The value of a PUT.
    pub value: Option<Vec<u8>>,
}

impl LocalRepository {
    /// Hands out every entry of all segments in the order of the log: also what is superseded,
    /// deleted or not committed. With a segment only those of it, with an offset only the one
    /// there. Segments that are damaged are told to the monitor and end where the damage is.
    ///
    /// # Errors
    /// When a segment cannot be read; what `visit` gives.
    pub fn low_level<E: From<crate::RepositoryError>>(
        &self,
        segment: Option<u32>,
        offset: Option<u32>,
        mut visit: impl FnMut(LowLevelEntry) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        for number in self.segments.list()? {
            if segment.is_some_and(|wanted| wanted != number) {
                continue;
            }
            let mut entries = Vec::new();
            let never = AtomicBool::new(false);
            let read = self
                .segments
                .verify(number, &never, |entry| entries.push(entry));
            for entry in entries {
                if offset.is_some_and(|wanted| wanted != entry.offset.0) {
                    continue;
                }
                let at = Location {
                    segment: SegmentNumber(number),
                    offset: entry.offset,
                };
                let value = match entry.tag {
                    Tag::Put => Some(self.segments.read(at, &entry.id, &mut Vec::with_capacity)?),
                    Tag::Delete | Tag::Commit => None,
                };
                visit(LowLevelEntry {
                    segment: number,
                    entry,
                    value,
                })?;
            }
            match read {
                Ok(()) => {}
                Err(ScanError::Unreadable(error)) => return Err(error.into()),
                Err(ScanError::Damaged(damage)) => self.monitor.warning(format!(
                    "Segment {number} has IntegrityError(s) [{damage}] - skipping."
                )),
            }
        }
        Ok(())
    }

    /// Returns what a writer would know of the segments.
    ///
    /// # Errors
    /// When it can neither be read nor counted anew.
    pub fn hints(&mut self) -> Result<Hints> {
        self.begin()?;
        let hints = self.open_transaction()?.hints().clone();
        self.roll_back();
        Ok(hints)
    }
}
