//! Tests of the whole program, beside the official ones.
//!
//! The program under test is our binary called `borg`; `FASTNESS_CANDIDATE` puts
//! another in its place. With real Borg there, these tests prove themselves.
//! `FASTNESS_LONG=1` makes them exhaustive.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod bad_input;
mod borgmatic;
mod borgmatic_actions;
mod borgmatic_config;
mod borgmatic_credentials;
mod borgmatic_destinations;
mod borgmatic_drives;
mod borgmatic_logging;
mod borgmatic_mail;
mod borgmatic_monitoring;
mod borgmatic_mount;
mod borgmatic_pages;
mod borgmatic_remote;
mod borgmatic_scenarios;
mod borgmatic_snapshots;
mod borgmatic_status;
mod borgmatic_timers;
mod borgs_cache;
mod browse;
mod commands;
mod crash;
mod create;
mod damage;
mod databases;
mod databases_failures;
mod databases_physical;
mod doctor;
mod estimate;
mod extract;
mod golden;
mod hostile;
mod interop;
mod key_confirm;
mod locks;
mod manual;
mod mount;
mod parallel_repositories;
mod parity;
mod passphrase;
mod recover;
mod recover_databases;
mod recreate;
mod remote;
mod remote_link;
mod remote_waits;
mod retention;
mod selfcheck;
mod serve;
mod serve_hostile;
mod setup;
mod side_by_side;
mod signals;
mod tar;
mod transfer;
mod transfer_hard;
mod vorta;

use std::path::Path;

use fastness_testkit::{Borg, Version};

/// The program under test.
fn ours() -> Borg {
    Borg::candidate(Path::new(env!("CARGO_BIN_EXE_fastness")))
}

/// The reference: official BorgBackup 1.4.5.
fn reference() -> Borg {
    Borg::official(Version::V14)
}
