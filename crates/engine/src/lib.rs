//! Archives and everything done with them: create, list, extract, check, prune, delete.
//!
//! Knows no terminal, no environment and no command line: callers give options, a clock, random
//! bytes and a [`event::Monitor`].

pub mod attributes;
pub mod cache;
pub mod directories;
pub mod event;
pub mod keys;
pub mod parallel;
pub mod prune;
pub mod security;
pub mod select;
pub mod times;
pub mod world;
