//! Repokeys: the encrypted key is in the repository's own config.

use fastness_repository::Repository;

use super::{KeyContext, KeyError};

/// Reads the text form of the key.
///
/// # Errors
/// [`KeyError::RepoKeyNotFound`] when there is none or it is empty.
pub fn read(context: &KeyContext<'_>, repository: &dyn Repository) -> Result<String, KeyError> {
    match repository.load_key()? {
        Some(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(KeyError::RepoKeyNotFound(context.repository.to_owned())),
    }
}

/// Stores the text form of a key in the place of the one that is there.
///
/// # Errors
/// When the repository cannot be written.
pub fn write(repository: &mut dyn Repository, text: &str) -> Result<(), KeyError> {
    repository.save_key(text)?;
    Ok(())
}
