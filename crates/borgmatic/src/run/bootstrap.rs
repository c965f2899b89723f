//! `config bootstrap`: the configuration files of an archive, on a machine that has none.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::command_line::CommandLine;
use crate::command_line::actions::{Action, Bootstrap};
use crate::config::Configuration;
use crate::output::log::Level;
use crate::plan::call::{ArchiveName, Call, Environment, Show};

use super::outcome::RunError;
use super::runner::{Extra, Runner};

/// Where archives have the list of their configuration files: of today, and of old versions.
pub const MANIFESTS: [&str; 3] = [
    "sh:borgmatic/bootstrap/manifest.json",
    "sh:**/borgmatic-*/./borgmatic/bootstrap/manifest.json",
    "sh:**/.borgmatic/bootstrap/manifest.json",
];

/// Tells what is asked for, if it is this.
pub fn asked(line: &CommandLine) -> Option<&Bootstrap> {
    line.actions.iter().find_map(|action| match action {
        Action::ConfigBootstrap(flags) => Some(flags),
        _ => None,
    })
}

/// Brings the files back.
///
/// # Errors
/// When there is no such archive, or no configuration in it.
pub fn run(
    runner: &Runner<'_>,
    flags: &Bootstrap,
    configuration: &Configuration,
    dry_run: bool,
) -> Result<(), RunError> {
    let Some(repository) = configuration.repositories.first() else {
        return Err(RunError::NoArchives);
    };
    let (options, path) = (&repository.options, repository.path.as_str());
    let environment = Environment::of(options);
    let archive = match ArchiveName::new(&flags.archive) {
        ArchiveName::Known(name) => name,
        ArchiveName::FoundByRun => {
            let call = Call::new("info", options)
                .words(["--log-json", "--glob-archives", "*", "--json"])
                .word(path)
                .shown(Show::Query);
            newest(&runner.query(&call, &environment)?, path)?
        }
    };
    let manifest = manifest_calls(options, path);
    let files = config_paths(runner, &manifest, &archive, &environment)?;
    let text = format!("Bootstrapping configuration paths: {}", files.join(", "));
    runner.log.record(Level::Info, &text);
    let progress = options.output.progress;
    let mut call = Call::new("extract", options)
        .flag("--log-json", !progress)
        .flag("--dry-run", dry_run)
        .value("--strip-components", strip_components(flags, &files))
        .flag("--progress", progress)
        .word(format!("{path}::{archive}"))
        .words(files.iter().map(|file| file.trim_start_matches('/')));
    call.directory = (!dry_run).then(|| flags.destination.clone().into());
    call.makes_directory = !dry_run;
    call.show = if progress { Show::Through } else { Show::Info };
    runner.run(&call, &environment, Extra::default())?;
    Ok(())
}

fn strip_components(flags: &Bootstrap, files: &[String]) -> Option<String> {
    match flags.strip_components.as_deref()? {
        "all" => {
            let depth = |file: &String| file.split('/').filter(|part| !part.is_empty()).count();
            let deepest = files.iter().map(depth).max()?;
            Some(deepest.saturating_sub(1).to_string())
        }
        number => Some(number.to_owned()),
    }
}

/// The commands that look for the list of configuration files.
pub fn manifest_calls(options: &crate::config::typed::Options, repository: &str) -> Vec<Call> {
    let old_place = options.access.old_place();
    let old_manifest = old_place.map(|place| format!("sh:{place}/bootstrap/manifest.json"));
    MANIFESTS
        .iter()
        .copied()
        .chain(old_manifest.as_deref())
        .map(|place| {
            Call::new("extract", options)
                .words(["--log-json", "--stdout"])
                .archive(repository, &ArchiveName::FoundByRun)
                .word(place)
                .shown(Show::Query)
        })
        .collect()
}

/// Reads the list of configuration files of an archive.
///
/// # Errors
/// When it has none.
pub fn config_paths(
    runner: &Runner<'_>,
    manifest: &[Call],
    archive: &str,
    environment: &Environment,
) -> Result<Vec<String>, RunError> {
    let missing = || RunError::NoManifest {
        archive: archive.to_owned(),
    };
    for call in manifest {
        let extra = Extra {
            archive: Some(archive),
            quiet: true,
            ..Extra::default()
        };
        let (code, given, output) = runner.attempt(call, environment, extra)?;
        if (2..100).contains(&code) {
            return Err(RunError::Command {
                command: call.to_string(),
                code,
                output,
            });
        }
        if !given.data.is_empty() {
            let value = super::runner::parse_json(&given.data).map_err(|_| missing())?;
            let paths = value.get("config_paths").and_then(Value::as_array);
            let paths = paths.ok_or_else(missing)?.iter();
            return Ok(paths
                .filter_map(|path| path.as_str().map(str::to_owned))
                .collect());
        }
    }
    Err(missing())
}

/// The newest archive of a repository. Archives of several machines or purposes are told apart by
/// the name format in their command line; then the person must choose.
fn newest(value: &Value, repository: &str) -> Result<String, RunError> {
    let archives = value.get("archives").and_then(Value::as_array);
    let mut newest: BTreeMap<String, (String, String)> = BTreeMap::new();
    for archive in archives.into_iter().flatten() {
        let text = |key: &str| archive.get(key).and_then(Value::as_str).map(str::to_owned);
        let words = archive.get("command_line").and_then(Value::as_array);
        let format = words.and_then(|words| words.last()).and_then(Value::as_str);
        let (Some(format), Some(name), Some(start)) = (format, text("name"), text("start")) else {
            continue;
        };
        if format.ends_with("checkpoint") {
            continue;
        }
        let entry = newest.entry(format.to_owned()).or_default();
        if entry.0 < start {
            *entry = (start, name);
        }
    }
    let names: Vec<String> = newest.into_values().map(|(_, name)| name).collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] => Err(RunError::NoArchives),
        names => Err(RunError::SeveralNewest {
            repository: repository.to_owned(),
            archives: names.join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn archive(name: &str, start: &str, format: &str) -> Value {
        json!({"name": name, "start": start, "command_line": ["borg", "create", format]})
    }

    #[test]
    fn the_newest_archive_is_that_of_the_only_format() {
        let value = json!({"archives": [
            archive("a-1", "2026-01-01T00:00:00", "r::a-{now}"),
            archive("a-2", "2026-01-02T00:00:00", "r::a-{now}"),
            archive("x", "2026-01-03T00:00:00", "r::a-{now}.checkpoint"),
        ]});
        assert_eq!(newest(&value, "r").unwrap(), "a-2");
    }

    #[test]
    fn several_formats_leave_the_choice_to_the_person() {
        let value = json!({"archives": [
            archive("a-1", "2026-01-01T00:00:00", "r::a-{now}"),
            archive("b-1", "2026-01-02T00:00:00", "r::b-{now}"),
        ]});
        insta::assert_snapshot!(newest(&value, "/r").unwrap_err(), @"/r has newest archives of several kinds: a-1, b-1; select one with --archive");
    }
}
