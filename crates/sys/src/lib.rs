//! The operating system as Fastness uses it: the only crate that may hold `unsafe` code.
//!
//! Knows nothing of backups. Below all others; Linux only. What goes over files takes
//! an open directory and a name in it, so that nobody can bend a path meanwhile.
//!
//! - [`directory`] lists, [`stat`] describes, [`mod@file`] reads, [`sparse`] finds holes
//! - [`node`] changes metadata; [`xattr`], [`acl`], [`inode_flags`] are the extended kinds
//! - [`beneath`] writes below one directory and never outside
//! - [`mount`] tells of mount points, [`sync`] makes durable, [`memory`] maps files and guards secrets
//! - [`process`], [`host`], [`users`] tell who and where we are, [`daemon`] goes to the background

pub mod acl;
pub mod beneath;
pub mod daemon;
pub mod directory;
pub mod file;
pub mod host;
pub mod inode_flags;
pub mod memory;
pub mod mount;
pub mod node;
pub mod process;
pub mod sparse;
pub mod stat;
pub mod sync;
pub mod users;
pub mod xattr;
