//! The commands: one file each, and the table of all of them.
//!
//! A file holds the arguments, whose doc comments are the help, and what the command does. A new
//! command is a file and a line in [`COMMANDS`].

pub mod help;

use clap::{ArgMatches, ColorChoice};

use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Parts of the output that options of a command switch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// `--list`.
    pub list: bool,
    /// `--stats` or `--quick-stats`.
    pub stats: bool,
}

/// A command with its arguments, ready to run.
pub trait Action {
    /// Returns the options that all commands have.
    fn common(&self) -> &CommonOptions;

    /// Returns the parts of the output that the options ask for.
    fn outputs(&self) -> Outputs {
        Outputs::default()
    }

    /// Finds mistakes in the command line that the parser does not see, and drops options that
    /// mean nothing together, with a warning for each.
    ///
    /// # Errors
    /// When the arguments contradict each other.
    fn settle(&mut self) -> Result<Vec<String>, CommandError> {
        Ok(Vec::new())
    }

    /// Does it.
    ///
    /// # Errors
    /// What kept it from being done.
    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError>;
}

/// A line of the table of commands.
pub struct Entry {
    /// The words that name it.
    pub words: &'static [&'static str],
    /// Whether it can do without the lock of the repository.
    pub may_bypass_lock: bool,
    build: fn() -> clap::Command,
    parse: fn(&ArgMatches) -> Result<Box<dyn Action>, clap::Error>,
}

impl Entry {
    const fn new<A>(words: &'static [&'static str]) -> Self
    where
        A: Action + clap::Parser + 'static,
    {
        Self {
            words,
            may_bypass_lock: false,
            build: A::command,
            parse: |matches| Ok(Box::new(A::from_arg_matches(matches)?)),
        }
    }

    /// Returns the words in one text.
    pub fn name(&self) -> String {
        self.words.join(" ")
    }

    /// Returns what it does, in one line.
    pub fn summary(&self) -> String {
        (self.build)()
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// Returns the parser.
    pub fn command(&self) -> clap::Command {
        let name = format!("borg {}", self.name());
        let command = (self.build)();
        // The whole explanation, but a single line for each option.
        let about = command
            .get_long_about()
            .or(command.get_about())
            .cloned()
            .unwrap_or_default();
        command
            .about(about)
            .name(name.clone())
            .bin_name(name)
            .no_binary_name(true)
            .disable_help_flag(true)
            .disable_version_flag(true)
            .args_override_self(true)
            .infer_long_args(true)
            .color(ColorChoice::Never)
    }

    /// Reads the arguments of the command.
    ///
    /// # Errors
    /// When they are not its arguments.
    pub fn action(&self, matches: &ArgMatches) -> Result<Box<dyn Action>, clap::Error> {
        (self.parse)(matches)
    }
}

/// All commands.
pub static COMMANDS: &[Entry] = &[Entry::new::<help::Help>(&["help"])];

/// Returns the words of all commands, in the order of the table.
pub fn words() -> Vec<&'static [&'static str]> {
    COMMANDS.iter().map(|entry| entry.words).collect()
}
