//! Options that pick files: excludes and patterns, in the order in which they are given.
//!
//! The four pattern options feed one list, and its order matters. The parser keeps each option
//! apart, so the order is taken from the places of the values on the command line.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

/// One of the options that feed the list of patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternOption {
    /// `--exclude PATTERN`.
    Exclude(OsString),
    /// `--exclude-from FILE`.
    ExcludeFrom(OsString),
    /// `--pattern PATTERN`.
    Pattern(OsString),
    /// `--patterns-from FILE`.
    PatternsFrom(OsString),
}

/// The pattern options in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExcludeOptions(pub Vec<PatternOption>);

type Make = fn(OsString) -> PatternOption;

const OPTIONS: [(&str, Make); 4] = [
    ("exclude", PatternOption::Exclude),
    ("exclude-from", PatternOption::ExcludeFrom),
    ("pattern", PatternOption::Pattern),
    ("patterns-from", PatternOption::PatternsFrom),
];

fn argument(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help)
        .help_heading("Include/Exclude options")
        .action(ArgAction::Append)
        .value_parser(value_parser!(OsString))
}

impl clap::Args for ExcludeOptions {
    fn augment_args(command: Command) -> Command {
        command
            .arg(argument("exclude", "PATTERN", "Leave out paths that match PATTERN").short('e'))
            .arg(argument(
                "exclude-from",
                "FILE",
                "Leave out what the patterns in FILE match",
            ))
            .arg(argument(
                "pattern",
                "PATTERN",
                "Take or leave out paths that match PATTERN",
            ))
            .arg(argument(
                "patterns-from",
                "FILE",
                "Take or leave out what the patterns in FILE match",
            ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for ExcludeOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found = Vec::new();
        for (name, make) in OPTIONS {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<OsString>(name).into_iter().flatten();
            found.extend(
                places
                    .zip(values)
                    .map(|(place, value)| (place, make(value.clone()))),
            );
        }
        found.sort_by_key(|(place, _)| *place);
        Ok(Self(found.into_iter().map(|(_, option)| option).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ExcludeOptions {
    /// Tells whether patterns may bring paths to begin at (`R`).
    pub fn may_have_roots(&self) -> bool {
        self.0.iter().any(|option| {
            matches!(
                option,
                PatternOption::Pattern(_) | PatternOption::PatternsFrom(_)
            )
        })
    }
}

/// Leaves out directories by what they contain.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Include/Exclude options")]
pub struct TagOptions {
    /// Leave out directories that are marked as caches by a CACHEDIR.TAG file
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out directories that contain an object called NAME; repeatable
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    pub exclude_if_present: Vec<OsString>,
    /// Of directories left out for what they contain, keep the object that decided it
    #[arg(long)]
    pub keep_exclude_tags: bool,
}
/// What is cut off the paths of an archive.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StripOptions {
    /// Cut off the first NUMBER parts of each path; shorter paths are left out
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        help_heading = "Include/Exclude options"
    )]
    strip_components: usize,
}

impl StripOptions {
    /// The number of parts.
    pub fn components(&self) -> usize {
        self.strip_components
    }
}
