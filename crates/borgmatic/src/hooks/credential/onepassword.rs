//! `{credential onepassword op://VAULT/ITEM/FIELD}`: a secret that 1Password keeps.

use super::{Context, CredentialError, Provider, only};

/// 1Password.
pub(super) struct OnePassword;

impl Provider for OnePassword {
    fn name(&self) -> &'static str {
        "onepassword"
    }

    fn load(&self, words: &[String], context: &Context<'_>) -> Result<String, CredentialError> {
        let reference = only(words)?;
        if !reference.starts_with("op://") {
            return Err(CredentialError::Name {
                name: reference.to_owned(),
            });
        }
        let program = context.settings.op_command.as_deref();
        context.run(
            program.unwrap_or("op"),
            &["read", "--no-newline", reference],
        )
    }
}
