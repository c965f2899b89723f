//! All configuration files of a call: those that are named, or those in the usual places.

use std::path::{Path, PathBuf};

use super::error::ConfigErrors;
use super::{Configuration, LoadContext, paths};

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The configurations that are valid.
    pub configurations: Vec<Configuration>,
    /// The files that are not, with everything that is wrong in them.
    pub errors: Vec<(PathBuf, ConfigErrors)>,
    /// Where was looked.
    pub looked_at: Vec<PathBuf>,
}

impl Found {
    /// Reads the files that `named` leads to, or without any those in the usual places.
    pub fn read(named: &[PathBuf], context: LoadContext<'_>) -> Self {
        let defaults = paths::default_paths(context.variable);
        let looked_at = match named {
            [] => defaults.clone(),
            named => named.to_vec(),
        };
        let mut found = Self {
            looked_at,
            ..Self::default()
        };
        for path in paths::collect(&found.looked_at, &defaults) {
            match Configuration::load(&path, context) {
                Ok(configuration) => found.configurations.push(configuration),
                Err(errors) => found.errors.push((path, errors)),
            }
        }
        found
    }

    /// Reads them in the environment of this process, with nothing put over them.
    pub fn of_process(named: &[PathBuf]) -> Self {
        Self::read(
            named,
            LoadContext {
                variable: &|name| std::env::var(name).ok(),
                interpolate_environment: true,
                overrides: &[],
            },
        )
    }

    /// Returns what is wrong, a line each; also that there is nothing.
    pub fn complaints(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, errors) in &self.errors {
            lines.push(format!(
                "{}: Error parsing configuration file",
                path.display()
            ));
            lines.extend(errors.to_string().lines().map(str::to_owned));
        }
        if self.configurations.is_empty() && self.errors.is_empty() {
            let paths = self.looked_at.iter().map(|path| path.as_path());
            let paths: Vec<String> = paths
                .map(Path::display)
                .map(|path| path.to_string())
                .collect();
            lines.push(format!(
                "{}: No valid configuration files found",
                paths.join(" ")
            ));
        }
        lines
    }
}
