//! Where records go in a run: the terminal, a log file, the system's log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::command_line::CommandLine;
use crate::config::Configuration;
use crate::config::typed::OutputOptions;
use crate::output::log::{Attachment, Log, LogSettings};
use crate::output::log_file::{BadFormat, Form, LogFile};
use crate::output::system_log::SystemLog;

use super::World;

/// Why records cannot go where the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Several files of one run say different things.
    #[error("The {option} option has conflicting values across configuration files: {values}")]
    Conflict {
        /// The option.
        option: &'static str,
        /// What they say.
        values: String,
    },
    /// The log file cannot be opened.
    #[error("Error configuring logging: {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its format is none.
    #[error("Error configuring logging: \"log_file_format\" {0}")]
    Format(#[from] BadFormat),
}

/// How the log looks on the terminal.
pub fn settings(
    line: &CommandLine,
    configurations: &[Configuration],
    world: &World,
    person: bool,
) -> LogSettings {
    let all = || {
        configurations
            .iter()
            .map(|configuration| &configuration.options.output)
    };
    let log_json = all().any(|output| output.log_json == Some(true));
    let json = log_json || line.actions.iter().any(|action| action.json());
    let dumb = world.variable("TERM").as_deref() == Some("dumb");
    let wanted = all().all(|output| output.color.unwrap_or(true)) && !json;
    let given = |name: &str| world.variable(name).filter(|value| !value.is_empty());
    let forced = world
        .variable("PY_COLORS")
        .map(|value| ["yes", "on", "1", "true"].contains(&value.to_lowercase().as_str()));
    let color = |terminal: bool| match (given("NO_COLOR"), forced) {
        (Some(_), _) => false,
        (None, Some(forced)) => forced,
        (None, None) => terminal && !dumb,
    };
    let asked = all().any(|output| output.progress);
    LogSettings {
        verbosity: verbosity(configurations, 0, |output| output.verbosity),
        color: [world.person, world.columns.is_some()].map(|terminal| wanted && color(terminal)),
        json: log_json,
        progress_columns: world
            .columns
            .filter(|_| (asked || person) && !dumb && !json),
    }
}

/// The highest verbosity that any file of a run asks for.
fn verbosity(
    configurations: &[Configuration],
    default: i64,
    option: impl Fn(&OutputOptions) -> Option<i64>,
) -> i64 {
    let levels = configurations.iter().map(|configuration| {
        let level = option(&configuration.options.output);
        level.unwrap_or(default)
    });
    levels.max().unwrap_or(default)
}

/// The value of an option that all files of a run must agree on.
fn single(
    configurations: &[Configuration],
    option: &'static str,
    value: impl Fn(&OutputOptions) -> Option<String>,
) -> Result<Option<String>, LoggingError> {
    let outputs = configurations
        .iter()
        .map(|configuration| &configuration.options.output);
    let mut values: Vec<String> = outputs.filter_map(value).collect();
    values.sort_unstable();
    values.dedup();
    match values.len() {
        0 | 1 => Ok(values.pop()),
        _ => Err(LoggingError::Conflict {
            option,
            values: values.join(", "),
        }),
    }
}

/// Opens the logs that a run keeps beside the terminal.
///
/// # Errors
/// When files contradict each other, or the log file cannot be written.
pub fn attach(
    log: &Log,
    configurations: &[Configuration],
) -> Result<Vec<Attachment>, LoggingError> {
    let mut attached = Vec::new();
    let path = single(configurations, "log_file", |output| output.log_file.clone())?;
    let format = single(configurations, "log_file_format", |output| {
        output.log_file_format.clone()
    })?;
    let json = single(configurations, "log_json", |output| {
        output.log_json.map(|json| json.to_string())
    })?;
    let level = verbosity(configurations, -2, |output| output.syslog_verbosity);
    if level > -2
        && let Some(system) = SystemLog::find()
    {
        attached.push(log.attach(level, Box::new(system)));
    }
    let level = verbosity(configurations, 1, |output| output.log_file_verbosity);
    if let Some(path) = path.filter(|path| !path.is_empty() && level > -2) {
        let form = match json.as_deref() {
            Some("true") => Form::Json,
            _ => Form::read(format.as_deref())?,
        };
        let path = Path::new(&path);
        let file = LogFile::open(path, form, Arc::new(SystemTime::now));
        let file = file.map_err(|source| LoggingError::File {
            path: path.to_owned(),
            source,
        })?;
        attached.push(log.attach(level, Box::new(file)));
    }
    Ok(attached)
}
