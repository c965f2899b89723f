//! The borgmatic 2.1 configuration and command line.
//!
//! A run is `YAML → Configuration → Vec<Step> → Borg commands in this process → summary`.
//! [`config`] reads and checks files, [`plan`] turns them into steps (pure, printable), and
//! [`run`] executes them.

pub mod checks;
pub mod config;
pub mod directories;
pub mod glob;
pub mod patterns;
