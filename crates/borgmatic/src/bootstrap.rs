//! What an archive holds so that a new machine can start from it: the configuration files and a
//! manifest that names them, as borgmatic stores them.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::command_line::BORGMATIC_VERSION;
use crate::patterns::{Kind, Pattern, root};

/// Writes the manifest into the runtime directory and returns the patterns that bring it and the
/// configuration files into the archive, past all excludes.
///
/// # Errors
/// When the manifest cannot be written.
pub fn store(runtime_directory: &Path, config_files: &[PathBuf]) -> io::Result<Vec<Pattern>> {
    let mut files: Vec<String> = config_files
        .iter()
        .flat_map(|file| with_links(file))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    files.sort();
    files.dedup();
    let directory = runtime_directory.join("bootstrap");
    std::fs::create_dir(&directory)?;
    let manifest = json!({"borgmatic_version": BORGMATIC_VERSION, "config_paths": files});
    std::fs::write(directory.join("manifest.json"), manifest.to_string())?;
    // The last one added stands first.
    Ok(files
        .into_iter()
        .rev()
        .chain([directory.to_string_lossy().into_owned()])
        .flat_map(|path| saved(&path))
        .collect())
}

/// The patterns that bring a file or directory into an archive, past all excludes.
pub fn saved(path: &str) -> [Pattern; 2] {
    let included = Pattern {
        kind: Kind::Include,
        ..root(path)
    };
    [root(path), included]
}

/// A file with every symbolic link on the way to it, ten at most.
fn with_links(file: &Path) -> Vec<PathBuf> {
    let mut paths = vec![file.to_owned()];
    let mut path = file.to_owned();
    for _ in 0..10 {
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
        paths.push(path.clone());
    }
    paths
}
