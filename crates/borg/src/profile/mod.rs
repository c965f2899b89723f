//! `--debug-profile`: how long each stage of a command took, and who called it.
//!
//! The crates below mark their stages with spans of `tracing`, which cost next to nothing while
//! nobody listens. Here somebody does: [`recorder`] adds the times up over all threads, and what
//! comes out has the form that Borg gives its own profiles, msgpack or what Python's `pstats`
//! reads ([`marshal`]).

pub mod marshal;
pub mod recorder;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use fastness_format::msgpack::Value;

use crate::error::{CommandError, errno_text};

/// Names that end like this get the form that Python reads by itself.
const PYTHON_SUFFIX: &[u8] = b".pyprof";

/// A profile that is being made.
#[derive(Debug)]
pub struct Profile {
    path: PathBuf,
    file: File,
}

impl Profile {
    /// Begins a profile of everything that this process does from here on. It is written to `path`.
    ///
    /// # Errors
    /// When the file cannot be made: told now, for afterwards the work would be done in vain.
    pub fn begin(path: &Path) -> Result<Self, CommandError> {
        let file = File::create(path).map_err(|error| failed(path, &error))?;
        recorder::start();
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Ends the profile and writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(), CommandError> {
        let profile = recorder::stop();
        let bytes = if is_for_python(&self.path) {
            marshal::encode(&profile)
        } else {
            let mut bytes = Vec::new();
            profile.write(&mut bytes);
            bytes
        };
        self.file
            .write_all(&bytes)
            .map_err(|error| failed(&self.path, &error))
    }
}

fn is_for_python(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(PYTHON_SUFFIX)
}

/// Turns a profile in Borg's form into one in Python's.
///
/// # Errors
/// When `bytes` are not one whole msgpack value that is a map.
pub fn convert(bytes: &[u8]) -> Result<Vec<u8>, String> {
    match Value::decode(bytes) {
        Ok(profile @ Value::Map(_)) => Ok(marshal::encode(&profile)),
        Ok(_) => Err("it holds something else than a map".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::general(errno_text(error, Some(path)))
}
