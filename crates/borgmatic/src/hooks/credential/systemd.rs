//! `{credential systemd NAME}`: what the unit of this service loads, or an encrypted credential.

use std::path::Path;

use super::{Context, CredentialError, Provider, only};

/// Credentials of systemd.
pub(super) struct Systemd;

impl Provider for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn load(&self, words: &[String], context: &Context<'_>) -> Result<String, CredentialError> {
        let name = only(words)?;
        let allowed = |c: char| c.is_alphanumeric() || "_.-".contains(c);
        if name.is_empty() || matches!(name, "." | "..") || !name.chars().all(allowed) {
            return Err(CredentialError::Name {
                name: name.to_owned(),
            });
        }
        match context.variable("CREDENTIALS_DIRECTORY") {
            Some(directory) if !directory.is_empty() => {
                context.read(&Path::new(&directory).join(name))
            }
            // Not started by systemd.
            _ => {
                let settings = context.settings;
                let directory = settings.encrypted_credentials_directory.as_deref();
                let directory = directory.unwrap_or("/etc/credstore.encrypted");
                let path = Path::new(directory).join(name);
                let program = settings.systemd_creds_command.as_deref();
                context.run(
                    program.unwrap_or("systemd-creds"),
                    &["decrypt", &path.to_string_lossy()],
                )
            }
        }
    }
}
