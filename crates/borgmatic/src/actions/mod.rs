//! What each action means in Borg commands: one file per action, no side effects.
//!
//! The order of flags is that of borgmatic 2.1, so that recorded command lines can be compared
//! word for word. What several actions share is in [`common`].

pub mod borg;
pub mod break_lock;
pub mod check;
pub mod common;
pub mod compact;
pub mod create;
pub mod delete;
pub mod diff;
pub mod export_tar;
pub mod extract;
pub mod info;
pub mod key;
pub mod list;
pub mod mount;
pub mod prune;
pub mod recreate;
pub mod repo_create;
pub mod repo_info;
pub mod repo_list;
pub mod restore;
pub mod transfer;
