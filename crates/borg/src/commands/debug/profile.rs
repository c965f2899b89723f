//! `debug convert-profile`: a profile of `--debug-profile` for Python's tools.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use crate::commands::Action;
use crate::commands::debug::{file_failed, write_failed};
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;
use crate::profile;

/// Turn a profile into one that Python's tools read
#[derive(Clone, Debug, clap::Parser)]
pub struct ConvertProfile {
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
    /// File that --debug-profile has written, here or with Borg
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// File to be written
    #[arg(value_name = "OUTPUT")]
    output: OsString,
}

impl Action for ConvertProfile {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let bytes = std::fs::read(&self.input).map_err(|error| file_failed(&self.input, &error))?;
        let converted = profile::convert(&bytes).map_err(|reason| {
            let input = self.input.display();
            CommandError::general(format!(
                "{input}: not a profile of --debug-profile: {reason}"
            ))
        })?;
        let mut output = context.sink(&self.output)?;
        output
            .write_all(&converted)
            .and_then(|()| output.flush())
            .map_err(write_failed)
    }
}
