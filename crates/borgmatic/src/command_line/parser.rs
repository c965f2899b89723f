//! The parser for a call, and its help: both made of the tables of flags and options.

use clap::{Arg, ArgAction, Command};

use super::flags::{Flag, GLOBAL, Takes};
use super::specs::{ACTIONS, ActionSpec};

/// The parser for the flags of some actions.
pub(super) fn command(program: &str, specs: &[&'static ActionSpec]) -> Command {
    let mut command = Command::new(program.to_owned())
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .max_term_width(100);
    let mut longs: Vec<&str> = Vec::new();
    let mut shorts: Vec<char> = Vec::new();
    let of_actions = specs.iter().flat_map(|spec| spec.flags.iter().copied());
    for flag in GLOBAL.iter().chain(of_actions) {
        if longs.contains(&flag.long) {
            continue;
        }
        longs.push(flag.long);
        let short = flag.short.filter(|short| !shorts.contains(short));
        shorts.extend(short);
        command = command.arg(argument(flag, short));
    }
    command
}

fn argument(flag: &'static Flag, short: Option<char>) -> Arg {
    let mut argument = Arg::new(flag.long)
        .long(flag.long)
        .help(flag.about)
        .visible_aliases(flag.aliases.iter().copied());
    if let Some(short) = short {
        argument = argument.short(short);
    }
    match flag.takes {
        Takes::Nothing => argument
            .action(ArgAction::SetTrue)
            .overrides_with(flag.long),
        Takes::Value(name) => valued(argument, name).overrides_with(flag.long),
        Takes::Values(name) => valued(argument, name).action(ArgAction::Append),
        Takes::Counted => argument.action(ArgAction::Count),
    }
}

fn valued(argument: Arg, name: &'static str) -> Arg {
    argument.value_name(name).allow_hyphen_values(true)
}

/// The help for some actions, or the overview.
pub(super) fn help(program: &str, specs: &[&'static ActionSpec]) -> String {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    let usage = match names.is_empty() {
        true => format!("{program} [FLAGS] [ACTION [FLAGS]]..."),
        false => format!("{program} [FLAGS] {} [FLAGS]", names.join(" ")),
    };
    let about = match specs {
        [] => "Back up what configuration files say. Without an action: create, prune, compact and check"
            .to_owned(),
        specs => specs.iter().map(|spec| spec.about).collect::<Vec<_>>().join(". "),
    };
    let mut actions = String::new();
    if specs.is_empty() {
        actions.push_str("Actions:\n");
        for spec in ACTIONS {
            actions += &format!("  {:<16} {}\n", spec.name, spec.about);
        }
        actions.push('\n');
    }
    actions +=
        "Every option of the configuration is a flag as well: --compression zstd, --no-atime";
    command(program, specs)
        .override_usage(usage)
        .about(about)
        .after_help(actions)
        .render_help()
        .to_string()
}
