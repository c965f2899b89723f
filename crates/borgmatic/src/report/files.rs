//! The files that a run writes for those who watch: metrics and a JSON status, each where the
//! configuration says.
//!
//! A path that is a directory gets a file named after the configuration, so that several
//! configurations can share the option. Everybody may read the files; they are replaced whole.

use std::path::{Path, PathBuf};

use fastness_engine::directories::replace_file_with_mode;
use serde::Serialize;

use super::record::{RecordError, SCHEMA, host, write_json};
use super::standing::Standing;
use super::{Time, metrics};
use crate::config::Configuration;
use crate::config::options::EXTRAS;
use crate::config::paths::{Variables, expand_home};
use crate::config::tree::Node;

/// Everybody may read.
const PUBLIC: u32 = 0o644;

/// All that is told of some repositories, as JSON.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// The version of the structure.
    pub schema: u32,
    /// The machine that ran.
    pub host: String,
    /// When this was written.
    pub time: Time,
    /// The repositories.
    pub repositories: &'a [Standing],
}

impl<'a> Document<'a> {
    /// Makes one.
    pub fn new(standings: &'a [Standing], time: Time) -> Self {
        Self {
            schema: SCHEMA,
            host: host(),
            time,
            repositories: standings,
        }
    }

    /// The document as text.
    pub fn to_json(&self) -> String {
        // All keys are text, so nothing in it cannot be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Tells whether a configuration wants any of the files.
pub fn are_wanted(configuration: &Configuration) -> bool {
    let mut keys = ["metrics", "status_file"].into_iter();
    keys.any(|key| option(configuration, key).is_some())
}

fn option<'a>(configuration: &'a Configuration, key: &str) -> Option<&'a str> {
    let extras = configuration.tree.get(EXTRAS)?;
    extras.get(key).and_then(Node::as_text)
}

/// Where a file goes that an option of a configuration names.
pub fn path_of(
    configuration: &Configuration,
    key: &str,
    ending: &str,
    variable: Variables<'_>,
) -> Option<PathBuf> {
    let text = expand_home(option(configuration, key)?, variable);
    let path = PathBuf::from(&text);
    if !text.ends_with('/') && !path.is_dir() {
        return Some(path);
    }
    let stem = configuration.path.file_stem().unwrap_or_default();
    Some(path.join(format!("fastness-{}.{ending}", stem.to_string_lossy())))
}

/// Writes the files that a configuration wants. Each that cannot be written is an error of its own.
pub fn write(
    configuration: &Configuration,
    standings: &[Standing],
    now: Time,
    variable: Variables<'_>,
) -> Vec<RecordError> {
    let mut errors = Vec::new();
    if let Some(path) = path_of(configuration, "metrics", "prom", variable) {
        let text = metrics::text(standings);
        errors.extend(replace(&path, text.as_bytes()).err());
    }
    if let Some(path) = path_of(configuration, "status_file", "json", variable) {
        let document = Document::new(standings, now);
        errors.extend(write_json(&path, &document, PUBLIC).err());
    }
    errors
}

fn replace(path: &Path, content: &[u8]) -> Result<(), RecordError> {
    replace_file_with_mode(path, content, PUBLIC).map_err(|source| RecordError::System {
        path: path.to_owned(),
        source,
    })
}
