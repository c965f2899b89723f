//! Repositories on other machines, over `borg serve`.
//!
//! The messages are those of [`fastness_format::rpc`]; here they meet pipes, files and processes.
//! [`server`] answers one client on behalf of a repository of this machine, and knows no key.

pub mod restrict;
pub mod server;
