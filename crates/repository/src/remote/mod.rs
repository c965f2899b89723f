//! Repositories on other machines, over `borg serve`.
//!
//! The messages are those of [`fastness_format::rpc`]; here they meet pipes, files and processes.
//! [`client`] is a repository that a server on another machine keeps; [`server`] answers one client
//! on behalf of a repository of this machine, and knows no key.

pub mod client;
pub mod restrict;
pub mod server;
