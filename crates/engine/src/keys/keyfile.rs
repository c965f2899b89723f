//! Key files: a file of the client holds the key, and the server never sees it.
//!
//! A file belongs to a repository by the id in its first line; its name does not matter, except
//! that new files are named after the repository so that people find them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fastness_format::crypto::key_blob::{self, KeyFileError};
use fastness_format::id::RepositoryId;

use super::{KeyContext, KeyError};
use crate::directories;

/// Larger files in the keys directory are no keys.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Finds the key file of a repository: the one that was named, or any in the keys directory.
///
/// # Errors
/// [`KeyError::KeyfileNotFound`]; for a named file also [`KeyError::KeyfileInvalid`] and
/// [`KeyError::KeyfileMismatch`].
pub fn find(context: &KeyContext<'_>, id: &RepositoryId) -> Result<PathBuf, KeyError> {
    if let Some(path) = context.key_file {
        read(context, path, id)?;
        return Ok(path.to_owned());
    }
    find_in_directory(context, id).ok_or_else(|| KeyError::KeyfileNotFound {
        repository: context.repository.to_owned(),
        searched: context.directories.keys.clone(),
    })
}

/// Finds the file into which a key is imported: an existing one of the repository, or a new name.
pub fn existing_or_new(context: &KeyContext<'_>, id: &RepositoryId) -> PathBuf {
    match context.key_file {
        Some(path) => path.to_owned(),
        None => find_in_directory(context, id).unwrap_or_else(|| new_path(context)),
    }
}

/// Returns the path of a new key file: the one that was named, or a free name.
pub fn new_path(context: &KeyContext<'_>) -> PathBuf {
    if let Some(path) = context.key_file {
        return path.to_owned();
    }
    let first = context.directories.keys.join(context.key_file_name);
    let mut path = first.clone();
    let mut number = 2u32;
    while path.symlink_metadata().is_ok() {
        let mut name = first.clone().into_os_string();
        name.push(format!(".{number}"));
        path = name.into();
        number += 1;
    }
    path
}

fn find_in_directory(context: &KeyContext<'_>, id: &RepositoryId) -> Option<PathBuf> {
    let entries = fs::read_dir(&context.directories.keys).ok()?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    // What cannot be read or is no key is none of ours: people keep other files there, too.
    paths
        .into_iter()
        .find(|path| read(context, path, id).is_ok())
}

/// Reads the text form of the key out of a key file and checks that it is the repository's.
///
/// # Errors
/// When there is no such file, or it holds something else.
pub fn read(context: &KeyContext<'_>, path: &Path, id: &RepositoryId) -> Result<String, KeyError> {
    let repository = || context.repository.to_owned();
    let invalid = |reason: &str| KeyError::KeyfileInvalid {
        repository: repository(),
        found_in: path.display().to_string(),
        reason: reason.to_owned(),
    };
    let content = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(invalid("it is no regular file")),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => return Err(invalid("it is too large")),
        Ok(_) => fs::read(path),
        Err(error) => Err(error),
    };
    let content = content.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyError::KeyfileNotFound {
            repository: repository(),
            searched: path.to_owned(),
        },
        _ => io_error("cannot read the key file", path, source),
    })?;
    match key_blob::from_key_file(&content, id) {
        Ok(text) => Ok(text.to_owned()),
        Err(KeyFileError::Invalid(reason)) => Err(invalid(reason)),
        Err(KeyFileError::OtherRepository) => Err(KeyError::KeyfileMismatch {
            repository: repository(),
            path: path.to_owned(),
        }),
    }
}

/// Whether a key file may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and writing is an error: it may be the only key of another repository.
    Keep,
}

/// Writes a key file, durably and in one step.
///
/// # Errors
/// [`KeyError::KeyExists`]; a failure to write.
pub fn write(
    path: &Path,
    id: &RepositoryId,
    text: &str,
    existing: Existing,
) -> Result<(), KeyError> {
    let content = key_blob::to_key_file(id, text);
    if let Some(parent) = path.parent() {
        directories::ensure(parent)
            .map_err(|source| io_error("cannot make the keys directory", parent, source))?;
    }
    let written = match existing {
        Existing::Replace => directories::replace_file(path, content.as_bytes()),
        Existing::Keep => directories::create_file(path, content.as_bytes()),
    };
    written.map_err(|source| match (existing, source.kind()) {
        (Existing::Keep, io::ErrorKind::AlreadyExists) => KeyError::KeyExists(path.to_owned()),
        _ => io_error("cannot write the key file", path, source),
    })
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
