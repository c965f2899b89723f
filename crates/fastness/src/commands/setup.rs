//! `fastness setup`: from nothing to a first backup.
//!
//! First everything is asked, proposed and tried ([`answers`]); nothing is written until the last
//! question is answered. Then it is done ([`work`]), and what fails is told with what is there.

mod answers;
mod person;
mod work;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::{ended, parsed};
use answers::Answers;
use person::Person;

/// Go from nothing to a first backup
///
/// Asks what to save and where to, makes a passphrase and the repositories, writes a configuration
/// with comments, exports the keys for paper and makes the first backup. Every question has an
/// option here: what is given is not asked. Without a terminal what is missing is an error, or the
/// usual proposal with --yes.
#[derive(Debug, Parser)]
#[command(name = "fastness setup")]
pub struct Arguments {
    /// A directory to save; may be given several times
    #[arg(long, value_name = "DIRECTORY")]
    source: Vec<PathBuf>,
    /// Where to: a directory, or ssh://user@host/./path; may be given several times
    #[arg(long, value_name = "PATH")]
    repository: Vec<String>,
    /// Where the key is: in the repository, or on this machine
    #[arg(long, value_name = "MODE", value_parser = ["repokey-blake2", "keyfile-blake2", "none"])]
    encryption: Option<String>,
    /// The file that holds the passphrase, or gets a new one
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// How other machines are reached
    #[arg(long, value_name = "COMMAND", default_value = "ssh -o BatchMode=yes")]
    ssh_command: String,
    /// The configuration file to write
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace a configuration file that is there; it is kept with .old behind its name
    #[arg(long)]
    overwrite: bool,
    /// The directory that gets the keys for paper
    #[arg(long, value_name = "DIRECTORY")]
    key_directory: Option<PathBuf>,
    /// Do not make a first backup
    #[arg(long)]
    no_backup: bool,
    /// Install and start timers, so that backups are made by themselves
    #[arg(long, conflicts_with = "no_timer")]
    timer: bool,
    /// Do not ask about timers
    #[arg(long)]
    no_timer: bool,
    /// Ask nothing: take what is usual for what is not given
    #[arg(short, long)]
    yes: bool,
}

/// Asks, and does it.
pub fn run(words: &[OsString]) -> ExitCode {
    match parsed::<Arguments>(words) {
        Ok(arguments) => ended(set_up(arguments)),
        Err(code) => code,
    }
}

fn set_up(arguments: Arguments) -> Result<(), String> {
    let person = Person::new(!arguments.yes);
    let answers = Answers::gather(arguments, &person)?;
    work::carry_out(&answers, &person)
}
