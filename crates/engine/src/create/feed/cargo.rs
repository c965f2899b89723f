//! Content that is carried over from elsewhere, chunk by chunk as it is, instead of being cut.
//!
//! Chunks of several items are gathered until they are worth a task; few tasks are under way, which
//! bounds what they hold in memory. A [`Carrier`] knows where the chunks come from.

use std::sync::Arc;

use fastness_format::item::{ChunkRef, Item};

use super::{Feed, Waiting};
use crate::create::crew::Crew;
use crate::create::stages::{Bench, StoredChunk};
use crate::error::EngineError;
use crate::tasks::{Priority, Slot};

/// Chunks that are carried over by one task, and their bytes, whichever is reached first.
const CARGO: usize = 64;
const CARGO_BYTES: usize = 4 << 20;

/// Brings chunks over from where they are, such as another repository.
pub trait Carrier: Sync {
    /// Is told, on the feeding thread, which chunks are about to be asked for.
    fn announce(&self, crew: &Crew<'_>, chunks: &[ChunkRef]);

    /// Stores chunks, counts a reference to each and returns them in order.
    ///
    /// # Errors
    /// When one cannot be read there or stored here.
    fn carry<'env>(
        &self,
        crew: &Crew<'env>,
        bench: &mut Bench<'env>,
        chunks: &[ChunkRef],
    ) -> Result<Vec<StoredChunk>, EngineError>;
}

impl Feed<'_, '_> {
    /// Takes an item with content that is elsewhere and lets the carrier bring it.
    ///
    /// # Errors
    /// [`EngineError::Abandoned`] when the operation failed.
    pub fn carried(&mut self, item: Item) -> Result<(), EngineError> {
        let chunks = item.chunks.as_deref().unwrap_or_default();
        let count = chunks.len();
        for (number, chunk) in chunks.iter().enumerate() {
            self.cargo.push(*chunk);
            self.cargo_bytes += chunk.size as usize;
            if self.cargo.len() >= CARGO || self.cargo_bytes >= CARGO_BYTES {
                self.send_cargo()?;
                // What is not complete must not get into a checkpoint.
                if self.monitor.interrupted() && number + 1 < count {
                    return Err(EngineError::Interrupted);
                }
            }
        }
        self.waiting.push_back(Waiting::Carried(item, count));
        self.look_around()
    }

    /// Lets a task bring what was gathered.
    pub(super) fn send_cargo(&mut self) -> Result<(), EngineError> {
        let Some(carrier) = self.carrier.filter(|_| !self.cargo.is_empty()) else {
            return Ok(());
        };
        self.wait_for_groups()?;
        let cargo = std::mem::take(&mut self.cargo);
        self.cargo_bytes = 0;
        carrier.announce(self.crew, &cargo);
        let slot = Arc::new(Slot::default());
        self.groups.push_back(Arc::clone(&slot));
        self.crew.spawn(Priority::Urgent, move |crew, bench| {
            match carrier.carry(crew, bench, &cargo) {
                Ok(stored) => slot.put(stored),
                Err(error) => crew.fail(error),
            }
        });
        Ok(())
    }
}

/// Lets the content that a file had before it was damaged follow its chunks to other names. What is
/// lost keeps the name it had, so that the file is still known to be damaged.
pub(super) fn follow_healthy(item: &mut Item, stored: &[StoredChunk]) {
    let Some(healthy) = &mut item.chunks_healthy else {
        return;
    };
    let old = item.chunks.iter().flatten().zip(stored);
    for (healthy, (old, new)) in healthy.iter_mut().zip(old) {
        if healthy.id == old.id {
            *healthy = new.chunk;
        }
    }
}
