//! The command line: global flags, actions in any order, each with its flags.
//!
//! As in borgmatic the order of words is free, several actions may be named, and a flag that two
//! of them know goes to both. Every option of the configuration is a flag too, and goes over the
//! configuration files.

pub mod actions;
pub mod configs;
mod flags;
mod matches;
mod mount;
mod parser;
mod prune;
pub mod specs;
mod transfer;

use std::path::PathBuf;

use crate::config::error::closest;
use crate::config::settings::{OptionFlag, Setting};
use actions::Action;
use flags::{Flag, GLOBAL};
use matches::Matches;
use parser::{command, help};
use specs::{ACTIONS, ActionSpec, DEFAULT_ACTIONS};

/// The version of borgmatic whose behaviour this is.
pub const BORGMATIC_VERSION: &str = "2.1.10";

/// What a call asks for.
#[derive(Debug, Clone, Default)]
pub struct CommandLine {
    /// The actions, in order.
    pub actions: Vec<Action>,
    /// Whether they were named; if not, they are the default ones.
    pub named: bool,
    /// Configuration files and directories; none for the default places.
    pub config_paths: Vec<PathBuf>,
    /// Change nothing.
    pub dry_run: bool,
    /// Replace `${VARIABLES}` in configuration files.
    pub interpolate_environment: bool,
    /// Only this repository.
    pub repository: Option<String>,
    /// Options that go over the configuration files.
    pub overrides: Vec<Setting>,
    /// What is accepted but should be written otherwise.
    pub warnings: Vec<String>,
}

/// What a call means.
#[derive(Debug, Clone)]
pub enum Parsed {
    /// Work to do.
    Run(Box<CommandLine>),
    /// A text to print.
    Print(String),
}

/// A call that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// Understands the words after the program's name.
///
/// # Errors
/// When a flag is unknown, a value is missing, or actions contradict each other.
pub fn parse(program: &str, words: &[String]) -> Result<Parsed, UsageError> {
    let mut split = split_actions(words)?;
    take_flags_before_borg(&mut split);
    if split.flags.iter().any(|word| word == "--version") {
        return Ok(Parsed::Print(version(program)));
    }
    let named = !split.actions.is_empty();
    if split
        .flags
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        return Ok(Parsed::Print(help(program, &split.actions)));
    }
    let borg = split.borg;
    let specs: Vec<&ActionSpec> = match named {
        true => split.actions,
        false => DEFAULT_ACTIONS
            .iter()
            .filter_map(|name| specs::action(name))
            .collect(),
    };
    let (flags, settings) = take_option_flags(split.flags, &specs)?;
    let command = command(program, &specs);
    let matches = command
        .try_get_matches_from(flags)
        .map_err(|error| UsageError(error.to_string().trim_end().to_owned()))?;
    let read = Matches(&matches);
    let mut actions: Vec<Action> = specs
        .iter()
        .filter_map(|spec| Action::read(spec.name, &matches))
        .collect();
    for action in &mut actions {
        if let Action::Borg(any) = action {
            any.words.clone_from(&borg);
        }
    }
    let line = CommandLine {
        actions,
        named,
        config_paths: read.texts("config").iter().map(PathBuf::from).collect(),
        dry_run: read.given("dry-run"),
        interpolate_environment: !read.given("no-environment-interpolation"),
        repository: read.text("repository"),
        overrides: overrides(&read, &specs, settings)?,
        warnings: warnings(&read),
    };
    refuse_contradictions(&line, &read)?;
    Ok(Parsed::Run(Box::new(line)))
}

/// The version line. Other programs compare borgmatic's, so under that name it is the version
/// whose behaviour this is.
fn version(program: &str) -> String {
    match program {
        "borgmatic" => format!("{BORGMATIC_VERSION}\n"),
        program => format!("{program} {}\n", env!("CARGO_PKG_VERSION")),
    }
}

struct Split {
    actions: Vec<&'static ActionSpec>,
    flags: Vec<String>,
    /// The words after the action `borg`.
    borg: Vec<String>,
}

/// Takes the names of actions out of the words. The value of a flag is never one.
fn split_actions(words: &[String]) -> Result<Split, UsageError> {
    let mut split = Split {
        actions: Vec::new(),
        flags: Vec::new(),
        borg: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let action = match word.as_str() {
            "borg" => {
                // Everything behind it is Borg's.
                split.borg = words.by_ref().cloned().collect();
                specs::action(word)
            }
            "config" | "key" => {
                let sub = words.next().map(String::as_str).unwrap_or_default();
                Some(sub_action(word, sub)?)
            }
            word => specs::action(word),
        };
        match action {
            Some(spec) if split.actions.iter().any(|known| known.name == spec.name) => {}
            Some(spec) => split.actions.push(spec),
            None if !word.starts_with('-') => return Err(unknown_action(word)),
            None => {
                split.flags.push(word.clone());
                if takes_value(word) {
                    split.flags.extend(words.next().cloned());
                }
            }
        }
    }
    Ok(split)
}

fn unknown_action(word: &str) -> UsageError {
    let names = ACTIONS
        .iter()
        .flat_map(|spec| spec.aliases.iter().copied().chain([spec.name]));
    let hint = match closest(word, names) {
        Some(name) => format!("; did you mean {name:?}?"),
        None => String::new(),
    };
    UsageError(format!("unknown action {word:?}{hint}"))
}

/// Finds an action of two words.
fn sub_action(word: &str, sub: &str) -> Result<&'static ActionSpec, UsageError> {
    let name = format!("{word} {sub}");
    specs::action(&name).ok_or_else(|| {
        let begin = format!("{word} ");
        let known = ACTIONS
            .iter()
            .filter_map(|spec| spec.name.strip_prefix(&begin));
        UsageError(format!(
            "Missing sub-action after {word} action. Expected one of: {}",
            known.collect::<Vec<_>>().join(", ")
        ))
    })
}

/// Tells whether the next word belongs to this one.
fn takes_value(word: &str) -> bool {
    if let Some(long) = word.strip_prefix("--") {
        if long.contains('=') {
            return false;
        }
        let known = all_flags()
            .find(|flag| flag.long == long || flag.aliases.contains(&long))
            .map(|flag| flag.takes.has_value());
        return known
            .unwrap_or_else(|| OptionFlag::find(long).is_some_and(|flag| flag.takes_value()));
    }
    // A short flag with its value in the same word needs no other.
    let mut letters = word.strip_prefix('-').unwrap_or_default().chars();
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        return false;
    };
    all_flags().any(|flag| flag.short == Some(letter) && flag.takes.has_value())
}

fn all_flags() -> impl Iterator<Item = &'static Flag> {
    let of_actions = ACTIONS.iter().flat_map(|spec| spec.flags.iter().copied());
    GLOBAL.iter().chain(of_actions)
}

/// `--repository` and `--archive` right behind `borg` are ours, up to the first other word; all
/// other actions of such a call are left out, as in borgmatic.
fn take_flags_before_borg(split: &mut Split) {
    let Some(borg) = split.actions.iter().find(|spec| spec.name == "borg") else {
        return;
    };
    split.actions = vec![borg];
    while let Some(word) = split.borg.first() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if !["--repository", "--archive"].contains(&name) {
            break;
        }
        let count = if value.is_empty() { 2 } else { 1 };
        let count = count.min(split.borg.len());
        split.flags.extend(split.borg.drain(..count));
    }
}

/// Takes the flags of options out of the words. One that a named action has too is the action's.
fn take_option_flags(
    words: Vec<String>,
    specs: &[&'static ActionSpec],
) -> Result<(Vec<String>, Vec<Setting>), UsageError> {
    let of_actions = || specs.iter().flat_map(|spec| spec.flags.iter().copied());
    let known = |long: &str| {
        let mut flags = GLOBAL.iter().chain(of_actions());
        flags.any(|flag| flag.long == long || flag.aliases.contains(&long))
    };
    let (mut rest, mut settings) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let long = word.strip_prefix("--").unwrap_or_default();
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        let Some(flag) = OptionFlag::find(name).filter(|_| !name.is_empty() && !known(name)) else {
            // Its value, which is no flag, goes with it.
            let value = takes_value(&word).then(|| words.next()).flatten();
            rest.push(word);
            rest.extend(value);
            continue;
        };
        let value = match (flag.takes_value(), value) {
            (true, None) => Some(
                words
                    .next()
                    .ok_or_else(|| UsageError(format!("--{name} needs a value")))?,
            ),
            (false, Some(_)) => {
                return Err(UsageError(format!("--{name} takes no value")));
            }
            (_, value) => value,
        };
        settings.push(flag.setting(value.as_deref()).map_err(UsageError)?);
    }
    Ok((rest, settings))
}

/// Options set by flags: those of actions, those of the options themselves, old overrides.
fn overrides(
    read: &Matches<'_>,
    specs: &[&'static ActionSpec],
    mut settings: Vec<Setting>,
) -> Result<Vec<Setting>, UsageError> {
    let of_actions = specs.iter().flat_map(|spec| spec.flags.iter().copied());
    for flag in GLOBAL.iter().chain(of_actions) {
        let Some((option, fixed)) = flag.option else {
            continue;
        };
        let text = match fixed {
            "" => read.text(flag.long),
            fixed => read.given(flag.long).then(|| fixed.to_owned()),
        };
        if let Some(text) = text {
            settings.push(Setting::option(flag.long, option, &text).map_err(UsageError)?);
        }
    }
    for text in read.texts("override") {
        settings.extend(Setting::from_override(&text).map_err(UsageError)?);
    }
    Ok(settings)
}

/// Flags of `restore` that mean nothing for data files.
const DUMPS_ONLY: [&str; 11] = [
    "data-source",
    "schema",
    "hostname",
    "port",
    "container",
    "username",
    "password",
    "restore-path",
    "original-hostname",
    "original-container",
    "hook",
];

fn warnings(read: &Matches<'_>) -> Vec<String> {
    match read.texts("override").is_empty() {
        true => Vec::new(),
        false => vec![
            "--override is deprecated; every option is a flag of its own, such as --compression zstd"
                .to_owned(),
        ],
    }
}

/// Data files go to a directory, dumps to servers: flags are about the one or the other.
fn refuse_contradictions_of_restore(read: &Matches<'_>) -> Result<(), UsageError> {
    let refuse = |text: &str| Err(UsageError(text.to_owned()));
    let (to, scratch) = (read.text("to"), read.text("to-scratch"));
    match (to.as_deref(), scratch.as_deref()) {
        (Some(_), Some(_)) => return refuse("--to and --to-scratch do not go together"),
        (Some(""), _) | (_, Some("")) => return refuse("--to and --to-scratch name a directory"),
        (None, None) if read.given("overwrite") => {
            return refuse("--overwrite of restore goes with --to and --to-scratch");
        }
        (None, None) => return Ok(()),
        _ => {}
    }
    for flag in DUMPS_ONLY {
        if !read.texts(flag).is_empty() {
            return refuse(&format!(
                "--{flag} is about dumps, --to and --to-scratch about data files (mariadb_physical)"
            ));
        }
    }
    Ok(())
}

fn refuse_contradictions(line: &CommandLine, read: &Matches<'_>) -> Result<(), UsageError> {
    let has = |name: &str| line.actions.iter().any(|action| action.name() == name);
    let refuse = |text: &str| Err(UsageError(text.to_owned()));
    for alone in ["validate", "show", "generate", "schema", "bootstrap"] {
        if has(alone) && line.actions.len() > 1 {
            return refuse(&format!("\"config {alone}\" goes with no other action"));
        }
    }
    if has("extract") && read.text("archive").is_none() {
        return refuse("extract needs --archive NAME; --archive latest is the newest one");
    }
    if has("restore") && read.text("archive").is_none() {
        return refuse("restore needs --archive NAME; --archive latest is the newest one");
    }
    if has("restore") {
        refuse_contradictions_of_restore(read)?;
    }
    if has("export-tar") && (read.text("archive").is_none() || read.text("destination").is_none()) {
        return refuse("export-tar needs --archive NAME and --destination FILE (or -)");
    }
    if has("diff") && (read.text("archive").is_none() || read.text("second-archive").is_none()) {
        return refuse("diff needs --archive NAME and --second-archive NAME");
    }
    if has("transfer") {
        transfer::refuse(read).map_or(Ok(()), refuse)?;
    }
    for name in ["mount", "umount"] {
        if has(name) && read.text("mount-point").is_none() {
            return refuse(&format!("{name} needs --mount-point DIRECTORY"));
        }
    }
    if has("bootstrap") && read.text("repository").is_none() {
        return refuse("config bootstrap needs --repository PATH");
    }
    if has("borg") && line.dry_run {
        return refuse("the borg action has no dry run");
    }
    if read.given("stats") && read.given("quick-stats") {
        return refuse("--stats and --quick-stats do not go together");
    }
    if has("create") && read.given("list") && (read.given("progress") || read.given("json")) {
        return refuse("with create, --list goes neither with --progress nor with --json");
    }
    if read.text("prefix").is_some() && read.text("match-archives").is_some() {
        return refuse("--prefix and --match-archives do not go together");
    }
    let by_archive = read.text("prefix").is_some() || read.text("match-archives").is_some();
    if has("info") && read.text("archive").is_some() && by_archive {
        return refuse("with info, --archive goes neither with --prefix nor with --match-archives");
    }
    let json = line.actions.iter().filter(|action| action.json()).count();
    if json == 0 && has("prune") && read.given("json") {
        return refuse("prune --json goes with --dry-run --estimate");
    }
    if json > 1 {
        return refuse("--json goes with one action at a time");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
