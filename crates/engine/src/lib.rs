//! Archives and everything done with them: create, list, extract, check, prune, delete.
//!
//! Knows no terminal, no environment and no command line: callers give options, a clock, random
//! bytes and a [`event::Monitor`].

pub mod archives;
pub mod attributes;
pub mod cache;
pub mod catalogue;
pub mod check;
pub mod conveyor;
pub mod create;
pub mod directories;
pub mod error;
pub mod event;
pub mod extract;
pub mod init;
pub mod keys;
#[cfg(test)]
mod made;
pub mod objects;
pub mod parallel;
pub mod prune;
pub mod recreate;
pub mod security;
pub mod select;
pub mod session;
pub mod shelf;
pub mod tar;
pub mod tasks;
pub mod times;
pub mod transfer;
pub mod upgrade;
pub mod vfs;
pub mod world;
