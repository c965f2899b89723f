//! Sandboxes, peers and fault tools for the tests of Fastness.
//!
//! Nothing in here uses the code it judges: segments, trees and attributes are
//! read by small readers of its own, and real Borg is the second opinion.
//!
//! - [`Sandbox`] gives a test its own home, clean environment and scratch space;
//! - [`Borg`] is a program that answers to Borg's command line: ours or an official one;
//! - [`Outcome`] is what a run of it gave, to be asserted;
//! - [`source_tree`] makes files of every kind that Borg archives, [`Tree`] compares two trees;
//! - [`forge`] makes hostile archives; [`BorgsCache`] is what Borg makes of its own cache;
//! - [`Sshd`] is a server of OpenSSH on a loopback port, [`Relay`] a bad way to it;
//! - [`HttpRecorder`] writes down the requests that services would get, [`SmtpRecorder`] messages, [`Authority`] makes certificates;
//! - [`RamDisk`] is a small file system, [`Btrfs`] one with snapshots;
//! - [`PostgreSql`] and [`MariaDb`] are database servers on sockets of their own;
//! - [`Run::in_terminal`] puts somebody in front of a program;
//! - [`golden`] unpacks the repositories below `testdata/`;
//! - [`NonceLedger`] finds counter values used twice, [`kill`] ends programs at chosen system calls.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests fails the test by panicking"
)]

mod authority;
mod borgs_cache;
mod btrfs;
mod database_servers;
pub mod forge;
pub mod golden;
mod http_recorder;
pub mod kill;
mod nonces;
mod outcome;
mod program;
mod ram_disk;
mod relay;
mod run;
mod sandbox;
mod smtp_recorder;
pub mod source_tree;
mod sshd;
mod terminal;
mod tree;
mod zygote;

pub use authority::Authority;
pub use borgs_cache::BorgsCache;
pub use btrfs::Btrfs;
pub use database_servers::{MariaDb, PostgreSql};
pub use http_recorder::{HttpRecorder, HttpRequest};
pub use nonces::NonceLedger;
pub use outcome::{Exit, Outcome};
pub use program::{Borg, Version};
pub use ram_disk::RamDisk;
pub use relay::{Fault, Relay};
pub use run::Run;
pub use sandbox::{PASSPHRASE, Sandbox};
pub use smtp_recorder::{Mail, SmtpKind, SmtpRecorder};
pub use sshd::Sshd;
pub use tree::{Entry, Kind, Tree};

/// Returns whether the tests run as root, which owners, devices and mounts need.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns whether the long form of the tests was asked for (`FASTNESS_LONG=1`).
pub fn long() -> bool {
    std::env::var_os("FASTNESS_LONG").is_some_and(|value| value == "1")
}
