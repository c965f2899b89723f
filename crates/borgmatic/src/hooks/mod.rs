//! What a configuration attaches to a run: commands around it, and secrets from elsewhere.
//!
//! Each kind has its own module; nothing here knows Borg.

pub mod command;
pub mod credential;
