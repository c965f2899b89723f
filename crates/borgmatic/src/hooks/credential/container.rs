//! `{credential container NAME}`: a secret that Docker or Podman gives its container as a file.

use super::{Context, CredentialError, Provider, only};

/// Secrets of a container.
pub(super) struct Container;

impl Provider for Container {
    fn name(&self) -> &'static str {
        "container"
    }

    fn load(&self, words: &[String], context: &Context<'_>) -> Result<String, CredentialError> {
        let name = only(words)?;
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(CredentialError::Name {
                name: name.to_owned(),
            });
        }
        let directory = context.settings.secrets_directory.as_deref();
        let directory = context.placed(directory.unwrap_or("/run/secrets").as_ref());
        context.read(&directory.join(name))
    }
}
