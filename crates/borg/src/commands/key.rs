//! The commands about keys.

pub mod change_passphrase;
pub mod export;
pub mod export_related_secrets;
pub mod import;
pub mod migrate_to_repokey;
mod printable;
mod typed;
pub mod verify;

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

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

/// Longer files are no keys.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a copy of a key from a file, or from stdin when that is called `-`.
fn read_copy(path: &Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let mut content = Zeroizing::new(Vec::new());
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_BYTES).read_to_end(&mut content)
    } else if !path.exists() {
        return Err(CommandError::command(format!(
            "input file does not exist: {}",
            path.display()
        )));
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content))
    };
    read.map_err(|error| CommandError::general(errno_text(&error, Some(path))))?;
    Ok(content)
}
