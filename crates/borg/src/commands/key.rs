//! The commands about keys.

pub mod change_passphrase;
pub mod export;
pub mod export_related_secrets;
pub mod import;
pub mod migrate_to_repokey;
mod printable;

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::context::Context;
use crate::error::{CommandError, errno_text};

impl Context<'_> {
    /// Writes something secret into a file that only its owner may read, or to stdout.
    fn write_secret(&mut self, path: Option<&OsStr>, content: &[u8]) -> Result<(), CommandError> {
        let Some(path) = path.filter(|path| *path != "-").map(Path::new) else {
            return self.print(content);
        };
        if path.is_dir() {
            return Err(CommandError::command(format!(
                "'{}' must be a file, not a directory",
                path.display()
            )));
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(path).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        written.map_err(|error| CommandError::general(errno_text(&error, Some(path))))
    }
}
