//! The words of a command line, brought into the order the parser wants.
//!
//! Borg takes the common options before the words of a command, between and after them, and the
//! innermost wins. Moving the early ones right behind the words gives just that, because the
//! last of several wins.

use std::ffi::OsString;

use clap::{Arg, Args, Command};

use super::common::CommonOptions;

/// What the first words of a command line ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `--version` before any command.
    Version,
    /// Help about everything, or about the group of commands named.
    Overview(Option<String>),
    /// A command and everything after its words, early options first.
    Command {
        /// The place in the table of commands.
        index: usize,
        /// The options and arguments.
        arguments: Vec<OsString>,
    },
    /// Nothing that is known.
    Misunderstood {
        /// The group of commands that was named before it.
        group: Option<String>,
        /// What is wrong.
        reason: String,
    },
}

/// Finds the command in the arguments (without the program's name).
pub fn understand(arguments: &[OsString], table: &[&[&str]]) -> Invocation {
    let mut early = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let options = CommonOptions::augment_args(Command::new("borg"));
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy();
        if let Some(option) = text.strip_prefix("--").filter(|option| !option.is_empty()) {
            match long_option(&options, option) {
                Ok(Early::Version) => return Invocation::Version,
                Ok(Early::Help) => return Invocation::Overview(words.pop()),
                Ok(Early::Flag) => early.push(argument.clone()),
                Ok(Early::Value) => {
                    early.push(argument.clone());
                    early.extend(rest.next().cloned());
                }
                Err(reason) => return misunderstood(&words, reason),
            }
        } else if let Some(flags) = text.strip_prefix('-').filter(|flags| !flags.is_empty()) {
            for flag in flags.chars() {
                match flag {
                    'V' => return Invocation::Version,
                    'h' => return Invocation::Overview(words.pop()),
                    'v' | 'p' => {}
                    // This one Borg finds as a whole.
                    _ => return misunderstood(&[], unrecognized(&text)),
                }
            }
            early.push(argument.clone());
        } else {
            words.push(text.into_owned());
            match matching(&words, table) {
                Match::Whole(index) => {
                    early.extend(rest.cloned());
                    return Invocation::Command {
                        index,
                        arguments: early,
                    };
                }
                Match::Begun => {}
                Match::None => {
                    let reason = invalid_choice(&words, table);
                    words.pop();
                    return misunderstood(&words, reason);
                }
            }
        }
    }
    Invocation::Overview(words.pop())
}

fn misunderstood(words: &[String], reason: String) -> Invocation {
    let group = words.first().cloned();
    Invocation::Misunderstood { group, reason }
}

enum Match {
    Whole(usize),
    Begun,
    None,
}

fn matching(words: &[String], table: &[&[&str]]) -> Match {
    let mut begun = Match::None;
    for (index, names) in table.iter().enumerate() {
        if names.len() >= words.len() && names.iter().zip(words).all(|(name, word)| name == word) {
            if names.len() == words.len() {
                return Match::Whole(index);
            }
            begun = Match::Begun;
        }
    }
    begun
}

fn invalid_choice(words: &[String], table: &[&[&str]]) -> String {
    let depth = words.len().saturating_sub(1);
    let mut choices: Vec<&str> = Vec::new();
    for names in table {
        let inside = names
            .iter()
            .zip(words.iter().take(depth))
            .all(|(name, word)| name == word);
        if let (true, Some(name)) = (inside, names.get(depth))
            && !choices.contains(name)
        {
            choices.push(name);
        }
    }
    let word = words.last().map(String::as_str).unwrap_or_default();
    format!(
        "argument <command>: invalid choice: '{word}' (choose from {})",
        choices
            .iter()
            .map(|choice| format!("'{choice}'"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

fn unrecognized(text: &str) -> String {
    format!("unrecognized arguments: {text}")
}

enum Early {
    Version,
    Help,
    Flag,
    Value,
}

/// Finds a common option by its name or a beginning that only it has.
fn long_option(options: &Command, text: &str) -> Result<Early, String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let mut candidates: Vec<(String, Option<&Arg>)> = vec![("version".to_owned(), None)];
    for option in options.get_arguments() {
        let names = option.get_long_and_visible_aliases().into_iter().flatten();
        candidates.extend(names.map(|name| (name.to_owned(), Some(option))));
    }
    let found = match candidates.iter().find(|(candidate, _)| candidate == name) {
        Some(exact) => exact,
        None => {
            let mut near = candidates
                .iter()
                .filter(|(candidate, _)| candidate.starts_with(name));
            match (near.next(), near.next()) {
                (Some(only), None) => only,
                (None, _) => return Err(unrecognized(&format!("--{text}"))),
                (Some(_), Some(_)) => {
                    let near = candidates
                        .iter()
                        .filter(|(other, _)| other.starts_with(name));
                    let near: Vec<String> = near.map(|(other, _)| format!("--{other}")).collect();
                    return Err(format!(
                        "ambiguous option: --{name} could match {}",
                        near.join(", ")
                    ));
                }
            }
        }
    };
    Ok(match found {
        (_, None) => Early::Version,
        (name, _) if name == "help" => Early::Help,
        (_, Some(option)) if option.get_action().takes_values() && value.is_none() => Early::Value,
        _ => Early::Flag,
    })
}

/// Options that still work but should not be used, and what to say about them.
const DEPRECATED: [(&str, &str); 7] = [
    (
        "--noatime",
        "\"--noatime\" has been deprecated because it is the default now.",
    ),
    (
        "--nobsdflags",
        "\"--nobsdflags\" has been deprecated. Use --noflags instead.",
    ),
    (
        "--numeric-owner",
        "\"--numeric-owner\" has been deprecated. Use --numeric-ids instead.",
    ),
    (
        "--remote-ratelimit",
        "\"--remote-ratelimit\" has been deprecated. Use --upload-ratelimit instead.",
    ),
    (
        "--remote-buffer",
        "\"--remote-buffer\" has been deprecated. Use --upload-buffer instead.",
    ),
    (
        "--prefix",
        "\"--prefix\" has been deprecated. Use \"--glob-archives 'yourprefix*'\" (-a) instead.",
    ),
    (
        "--sort",
        "\"--sort\" is deprecated. Use \"--sort-by=path\" instead.",
    ),
];

/// Returns a warning for every deprecated option in the arguments.
pub fn deprecations(arguments: &[OsString]) -> Vec<String> {
    let mut warnings = Vec::new();
    for argument in arguments.iter().take_while(|argument| *argument != "--") {
        let text = argument.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        let known = DEPRECATED.iter().find(|(old, _)| *old == name);
        warnings.extend(known.map(|(_, warning)| format!("Warning: {warning}")));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[&[&str]] = &[&["create"], &["key", "change-passphrase"]];

    fn understood(line: &str) -> Invocation {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        understand(&words, TABLE)
    }

    fn command(index: usize, line: &str) -> Invocation {
        let arguments = line.split_whitespace().map(OsString::from).collect();
        Invocation::Command { index, arguments }
    }

    #[test]
    fn early_options_move_behind_the_words() {
        assert_eq!(
            understood("--debug create --info r::a"),
            command(0, "--debug --info r::a")
        );
        assert_eq!(
            understood("-vp --lock-wait 5 key --umask=0022 change-passphrase r"),
            command(1, "-vp --lock-wait 5 --umask=0022 r")
        );
    }

    #[test]
    fn unambiguous_beginnings_of_options_are_enough() {
        assert_eq!(understood("--lock-w 5 create"), command(0, "--lock-w 5"));
        assert_eq!(
            understood("--show create"),
            misunderstood(
                &[],
                "ambiguous option: --show could match --show-version, --show-rc".into()
            )
        );
    }

    #[test]
    fn version_and_help_come_before_anything_else() {
        assert_eq!(understood("-vV create"), Invocation::Version);
        assert_eq!(understood("--vers"), Invocation::Version);
        assert_eq!(understood(""), Invocation::Overview(None));
        assert_eq!(understood("key"), Invocation::Overview(Some("key".into())));
        assert_eq!(understood("-h create"), Invocation::Overview(None));
    }

    #[test]
    fn unknown_commands_name_the_known_ones() {
        assert_eq!(
            understood("key destroy"),
            misunderstood(
                &["key".into()],
                "argument <command>: invalid choice: 'destroy' (choose from 'change-passphrase')"
                    .into()
            )
        );
    }

    #[test]
    fn deprecated_options_are_named_once_each_and_not_behind_two_dashes() {
        let words: Vec<OsString> = [
            "create",
            "--noatime",
            "--prefix=x",
            "--prefixes",
            "--",
            "--sort",
        ]
        .map(OsString::from)
        .into();
        assert_eq!(deprecations(&words).len(), 2);
    }
}
