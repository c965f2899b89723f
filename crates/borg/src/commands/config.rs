//! `config`: shows and changes settings of a repository, or of what is cached of it.

use std::ffi::OsString;

use fastness_format::location::Location;
use fastness_format::manifest::Operation;
use fastness_format::repository_config::{ConfigText, MAX_SEGMENT_SIZE_LIMIT, parse_bytes};
use fastness_repository::Repository;
use fastness_repository::local::lock::LockKind;

use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Show or change the settings of a repository
///
/// With NAME the setting is shown, with VALUE it is set. Settings are: segments_per_dir,
/// max_segment_size, storage_quota, additional_free_space, append_only, id and
/// last_segment_checked. Nothing checks whether a new value suits the repository as it is: a wrong
/// one can make it unusable.
#[derive(Clone, Debug, clap::Parser)]
pub struct Config {
    /// Show or change what is cached of the repository: previous_location
    #[arg(short = 'c', long)]
    cache: bool,
    /// Remove the setting, so that its default holds
    #[arg(short = 'd', long, conflicts_with = "list")]
    delete: bool,
    /// Show all settings
    #[arg(short = 'l', long)]
    list: bool,
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Name of the setting
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Its new value
    #[arg(value_name = "VALUE")]
    value: Option<String>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

const REPOSITORY: &str = "repository";
const CACHE: &str = "cache";
const PREVIOUS_LOCATION: &str = "previous_location";

/// The settings that `--list` shows, whether they are set or not.
const LISTED: [&str; 7] = [
    "version",
    "segments_per_dir",
    "max_segment_size",
    "storage_quota",
    "additional_free_space",
    "append_only",
    "id",
];
const LAST_CHECKED: &str = "last_segment_checked";

/// The least limit of space.
const LEAST_LIMIT: u64 = 10_000_000;

impl Action for Config {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location =
            context.location("REPOSITORY", self.location.as_deref(), Wanted::Repository)?;
        if !location.is_local() {
            return Err(CommandError::usage(format!(
                "argument REPOSITORY: \"{}\": Repository must be local",
                location.repository_text()
            )));
        }
        let place = context.place(location);
        let wanted = self.wanted()?;
        if self.cache {
            let opened = context.open(place, LockKind::Exclusive, &[Operation::Write])?;
            let result = self.in_cache(context, &opened, wanted);
            let mut repository = opened.session.repository;
            let closed = repository.close();
            result?;
            return Ok(closed?);
        }
        let mut repository = context.open_local(&place, Some(LockKind::Exclusive))?;
        let text = repository.config_text()?;
        match wanted {
            Wish::List => context.print(listing(&text))?,
            Wish::Show(name) => context.print(shown(&text, name)?)?,
            Wish::Set(name, value) => {
                check_name(name)?;
                check_value(name.option, value)?;
                repository.change_config(|text| text.set(name.option, value))?;
            }
            Wish::Delete(name) => {
                check_name(name)?;
                repository.change_config(|text| {
                    let _ = text.remove(name.option);
                })?;
            }
        }
        Ok(repository.close()?)
    }
}

/// What is to be done.
#[derive(Clone, Copy)]
enum Wish<'a> {
    List,
    Show(Name<'a>),
    Set(Name<'a>, &'a str),
    Delete(Name<'a>),
}

/// A setting in its section.
#[derive(Clone, Copy)]
struct Name<'a> {
    section: &'a str,
    option: &'a str,
}

impl Config {
    fn wanted(&self) -> Result<Wish<'_>, CommandError> {
        if self.list {
            return Ok(Wish::List);
        }
        let name = self.name.as_deref();
        let name = name.ok_or_else(|| CommandError::command("No config key name was provided."))?;
        let name = match name.split_once('.') {
            Some((section, option)) if !option.contains('.') => Name { section, option },
            _ => Name {
                section: if self.cache { CACHE } else { REPOSITORY },
                option: name,
            },
        };
        Ok(
            match self.value.as_deref().filter(|value| !value.is_empty()) {
                _ if self.delete => Wish::Delete(name),
                Some(value) => Wish::Set(name, value),
                None => Wish::Show(name),
            },
        )
    }

    fn in_cache(
        &self,
        context: &mut Context<'_>,
        opened: &crate::access::Opened,
        wanted: Wish<'_>,
    ) -> Result<(), CommandError> {
        match wanted {
            // As Borg, which looks for the settings of the repository in the cache.
            Wish::List => context.print(listing(&ConfigText::default())),
            Wish::Show(name) if (name.section, name.option) == (CACHE, PREVIOUS_LOCATION) => {
                let mut location = opened.place.canonical.clone();
                location.push(b'\n');
                context.print(location)
            }
            Wish::Show(name) if name.section == CACHE => Err(no_option(name)),
            Wish::Show(name) => Err(no_section(name)),
            Wish::Set(name, _) | Wish::Delete(name) if name.section != CACHE => {
                Err(invalid_section(name.section))
            }
            Wish::Set(name, _) | Wish::Delete(name) if name.option != PREVIOUS_LOCATION => {
                Err(invalid_name(name.option))
            }
            Wish::Set(_, value) => {
                Location::parse(value.as_bytes(), None)
                    .map_err(|error| CommandError::general(format!("Invalid value: {error}")))?;
                context.set_cached_location(opened, Some(value.as_bytes()));
                Ok(())
            }
            Wish::Delete(_) => {
                context.set_cached_location(opened, None);
                Ok(())
            }
        }
    }
}

fn listing(text: &ConfigText) -> String {
    let mut lines = format!("[{REPOSITORY}]\n");
    for name in LISTED {
        // The word that Borg prints for what is not set.
        let value = text.get(name).unwrap_or("False");
        lines.push_str(&format!("{name} = {value}\n"));
    }
    if let Some(value) = text.get(LAST_CHECKED) {
        lines.push_str(&format!("{LAST_CHECKED} = {value}\n"));
    }
    lines
}

fn shown(text: &ConfigText, name: Name<'_>) -> Result<String, CommandError> {
    if name.section != REPOSITORY {
        return Err(no_section(name));
    }
    match text.get(&name.option.to_lowercase()) {
        Some(value) => Ok(format!("{value}\n")),
        None => Err(no_option(name)),
    }
}

fn no_option(name: Name<'_>) -> CommandError {
    CommandError::general(format!(
        "No option '{}' in section: '{}'",
        name.option.to_lowercase(),
        name.section
    ))
}

fn no_section(name: Name<'_>) -> CommandError {
    CommandError::general(format!("No section: '{}'", name.section))
}

fn check_name(name: Name<'_>) -> Result<(), CommandError> {
    if name.section != REPOSITORY {
        return Err(invalid_section(name.section));
    }
    let changeable = LISTED.iter().skip(1).chain([&LAST_CHECKED]);
    match changeable.into_iter().any(|known| *known == name.option) {
        true => Ok(()),
        false => Err(invalid_name(name.option)),
    }
}

fn invalid_section(name: &str) -> CommandError {
    CommandError::general(format!("Invalid section: {name}"))
}

fn invalid_name(name: &str) -> CommandError {
    CommandError::general(format!("Invalid name: {name}"))
}

fn check_value(name: &str, value: &str) -> Result<(), CommandError> {
    let invalid = |what: &str| Err(CommandError::general(format!("Invalid value: {what}")));
    let bytes = || parse_bytes(value);
    match name {
        "segments_per_dir" | LAST_CHECKED if value.trim().parse::<i64>().is_err() => {
            invalid(&format!("{name} = {value} is no number"))
        }
        "append_only" if !["0", "1"].contains(&value) => {
            invalid(&format!("{name} = {value} is neither 0 nor 1"))
        }
        "id" if value.len() != 64 || !value.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            invalid(&format!("{value} has not 64 hexadecimal digits"))
        }
        "max_segment_size" | "storage_quota" | "additional_free_space" => match bytes() {
            None => invalid(&format!("{name} = {value} is no size")),
            Some(size) if name == "max_segment_size" && size >= MAX_SEGMENT_SIZE_LIMIT => {
                invalid(&format!("{name} >= {MAX_SEGMENT_SIZE_LIMIT}"))
            }
            Some(1..LEAST_LIMIT) if name != "max_segment_size" => invalid(&format!("{name} < 10M")),
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_would_make_the_repository_unusable_are_refused() {
        for (name, value, fine) in [
            ("append_only", "1", true),
            ("append_only", "yes", false),
            ("storage_quota", "0", true),
            ("storage_quota", "5M", false),
            ("additional_free_space", "10M", true),
            ("max_segment_size", "500M", true),
            ("max_segment_size", "5G", false),
            ("max_segment_size", "much", false),
            ("segments_per_dir", "x", false),
            ("last_segment_checked", "12", true),
            ("id", "12", false),
        ] {
            assert_eq!(check_value(name, value).is_ok(), fine, "{name} = {value}");
        }
        let version = Name {
            section: REPOSITORY,
            option: "version",
        };
        assert!(check_name(version).is_err());
    }
}
