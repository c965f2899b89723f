//! The file that tells Borg what is selected, for as long as a command needs it.

use std::path::{Path, PathBuf};

use crate::bootstrap;
use crate::config::typed::Options;
use crate::directories::RuntimeDirectory;
use crate::patterns::{self, Pattern};

use super::outcome::RunError;
use super::runner::Runner;

/// A file with patterns in a directory of this run, which goes with it.
pub struct Selection {
    _directory: RuntimeDirectory,
    file: PathBuf,
    /// Its lines.
    pub lines: Vec<String>,
}

impl Selection {
    /// Writes what is configured, and these further files.
    ///
    /// # Errors
    /// When the patterns cannot be made or written.
    pub fn make(runner: &Runner<'_>, options: &Options, more: &[String]) -> Result<Self, RunError> {
        let more = more.iter().map(|path| patterns::root(path)).collect();
        Self::write(runner, options, |_| Ok(more))
    }

    /// Writes what is configured, and for a new archive the configuration files before it.
    ///
    /// # Errors
    /// When the patterns cannot be made or written.
    pub fn of_archive(
        runner: &Runner<'_>,
        options: &Options,
        config_files: &[PathBuf],
    ) -> Result<Self, RunError> {
        Self::write(runner, options, |directory| match config_files {
            [] => Ok(Vec::new()),
            files => bootstrap::store(directory, files).map_err(failed),
        })
    }

    fn write(
        runner: &Runner<'_>,
        options: &Options,
        own: impl FnOnce(&Path) -> Result<Vec<Pattern>, RunError>,
    ) -> Result<Self, RunError> {
        let variable = |name: &str| runner.world.variable(name);
        let unique = (runner.world.unique)();
        let configured = patterns::collect(&options.sources, &variable)?;
        let directory = RuntimeDirectory::create(&options.access, &variable, &unique)?;
        let file = directory.path().join(format!("patterns-{unique}"));
        let mut all = own(&directory.path())?;
        all.extend(configured);
        let lines = patterns::unique_lines(&all);
        std::fs::write(&file, lines.join("\n")).map_err(failed)?;
        Ok(Self {
            _directory: directory,
            file,
            lines,
        })
    }

    /// The path of the file.
    pub fn file(&self) -> Option<&str> {
        self.file.to_str()
    }
}

fn failed(source: std::io::Error) -> RunError {
    RunError::System {
        what: "preparing the selection".to_owned(),
        source,
    }
}
