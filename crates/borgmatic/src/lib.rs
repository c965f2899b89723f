//! The borgmatic 2.1 configuration and command line.
//!
//! A run is `YAML → Configuration → Vec<Step> → Borg commands in this process → summary`.
//! [`config`] reads and checks files, [`plan`] turns them into steps (pure, printable), and
//! [`run`] executes them.

pub mod actions;
mod bootstrap;
mod browse;
pub mod checks;
pub mod command_line;
pub mod config;
pub mod confirmations;
pub mod directories;
pub mod doctor;
pub mod glob;
pub mod hooks;
pub mod output;
pub mod patterns;
pub mod plan;
pub mod report;
pub mod run;
pub mod timers;

use std::ffi::OsString;

/// Runs the command line of this process under the name `program` (`fastness` or `borgmatic`);
/// `words` are those after it. Returns the exit code.
pub fn main(program: &str, words: &[OsString]) -> u8 {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    run::run(
        program,
        &words,
        &run::World::of_process(),
        Box::new(std::io::stdout()),
        Box::new(std::io::stderr()),
    )
}
