//! What a configuration attaches to a run: commands around it, secrets from elsewhere, services that watch,
//! databases that are dumped, lists of what is installed, file systems that stand still.
//!
//! Each kind has its own module; nothing here knows Borg.

pub mod command;
pub mod credential;
pub mod dump;
pub mod inventory;
pub mod monitoring;
pub mod snapshot;
