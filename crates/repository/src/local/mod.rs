//! Repositories in a local directory.

pub mod lock;
