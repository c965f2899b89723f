//! The commands that neither Borg nor borgmatic has, one file for each.
//!
//! `fastness WORD ...` looks here first; what is not in [`COMMANDS`] is an action on the
//! repositories of configuration files. A command parses its own words and tells its own errors.

mod digest;
mod doctor;
mod key_confirm;
mod manual;
mod passphrase;
mod recover;
mod selfcheck;
mod setup;
mod status;
mod timer;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

/// A command behind the word `fastness`.
pub struct Command {
    /// The words that it begins with; several where a group has further actions, as in `key confirm`.
    pub words: &'static [&'static str],
    /// What it does, in a line.
    pub summary: &'static str,
    /// Runs it with the words behind its own.
    pub run: fn(&[OsString]) -> ExitCode,
}

/// All commands, in the order of the help.
pub static COMMANDS: &[Command] = &[
    Command {
        words: &["setup"],
        summary: "Go from nothing to a first backup",
        run: setup::run,
    },
    Command {
        words: &["status"],
        summary: "Show how each repository stands, with an exit code for monitoring",
        run: status::run,
    },
    Command {
        words: &["digest"],
        summary: "Mail a summary of the last day or week",
        run: digest::run,
    },
    Command {
        words: &["timer"],
        summary: "Let systemd run configurations by themselves: install, list, remove",
        run: timer::run,
    },
    Command {
        words: &["doctor"],
        summary: "Examine the backups of this machine, and say what to do",
        run: doctor::run,
    },
    Command {
        words: &["passphrase"],
        summary: "Make a passphrase of seven random words",
        run: passphrase::run,
    },
    Command {
        words: &["key", "confirm"],
        summary: "Prove that a copy of the key and the passphrase are enough to recover",
        run: key_confirm::run,
    },
    Command {
        words: &["selfcheck"],
        summary: "Prove that this program and an installed Borg read each other",
        run: |words| ended(selfcheck::run(words)),
    },
    Command {
        words: &["recover"],
        summary: "Restore a whole machine from a repository, or print how to reinstall it",
        run: recover::run,
    },
    Command {
        words: &["completions"],
        summary: "Print completions of Borg's command line for bash, zsh or fish",
        run: |words| ended(manual::completions(words)),
    },
    Command {
        words: &["man"],
        summary: "Write manual pages of Borg's command line to a directory",
        run: |words| ended(manual::pages(words)),
    },
];

/// Finds the command that a command line begins with, and the words behind it.
pub fn find(arguments: &[OsString]) -> Option<(&'static Command, &[OsString])> {
    COMMANDS.iter().find_map(|command| {
        let (own, rest) = arguments.split_at_checked(command.words.len())?;
        let begins = own.iter().zip(command.words).all(|(a, b)| a == b);
        begins.then_some((command, rest))
    })
}

/// Lists the commands, for the end of the help.
pub fn overview() -> String {
    let borg = "Borg's command line; the program is the same when it is called borg";
    let mut text = format!("\nBesides:\n  {:16} {borg}\n", "borg");
    for command in COMMANDS {
        let words = command.words.join(" ");
        // A string takes everything.
        let _ = writeln!(text, "  {words:16} {}", command.summary);
    }
    text
}

/// Reads the words behind a command's own. Help is printed, mistakes are told, and both give how
/// the program ends.
fn parsed<T: clap::Parser>(words: &[OsString]) -> Result<T, ExitCode> {
    // Usage lines begin with it.
    let name = T::command().get_name().to_owned();
    let all = [OsString::from(name)].into_iter();
    T::try_parse_from(all.chain(words.iter().cloned())).map_err(|error| {
        // A reader that left wants no more of it.
        let _ = error.print();
        ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })
}

/// Tells an error, if there is one.
fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fastness: error: {}", error.trim_end());
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_its_own_words_and_leaves_the_rest() {
        let words = ["man", "selfcheck"].map(OsString::from);
        let (command, rest) = find(&words).expect("man is a command");
        assert_eq!(command.words, ["man"]);
        assert_eq!(rest, ["selfcheck"]);
        assert!(find(&["create".into()]).is_none());
        assert!(find(&[]).is_none());
    }
}
