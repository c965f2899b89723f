//! What a dry run found out about the real one, for the caller who asked for it.
//!
//! Borg's dry runs tell less, and its command line has no word for more. A caller in this process
//! lends a [`Foresight`] (see [`Lent`](crate::Lent)); the command fills it in, beside what it
//! prints as ever.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastness_engine::create::Estimate;
use fastness_engine::prune::space::Space;

/// A place for what a dry run found out. Clones are the same place.
#[derive(Debug, Clone, Default)]
pub struct Foresight(Arc<Mutex<Option<Foreseen>>>);

/// What a command would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foreseen {
    /// `create`.
    Create(ForeseenCreate),
    /// `prune`.
    Prune(ForeseenPrune),
}

/// What `create` would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeseenCreate {
    /// What it would add.
    pub estimate: Estimate,
    /// How long it took to read and make that.
    pub time: Duration,
}

/// What `prune` would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeseenPrune {
    /// Archives that stay, of those that the rules apply to.
    pub kept: usize,
    /// Archives that go.
    pub removed: usize,
    /// What goes with them.
    pub space: Space,
}

impl Foresight {
    /// Fills it in.
    pub fn set(&self, foreseen: Foreseen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(foreseen);
    }

    /// Takes what was found out, if the command came that far.
    pub fn take(&self) -> Option<Foreseen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
