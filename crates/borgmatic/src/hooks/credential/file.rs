//! `{credential file PATH}`: a file that holds the secret.

use super::{Context, CredentialError, Provider, only};

/// Files.
pub(super) struct File;

impl Provider for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn load(&self, words: &[String], context: &Context<'_>) -> Result<String, CredentialError> {
        let path = context.expanded(only(words)?);
        context.read(&context.placed(&path))
    }
}
