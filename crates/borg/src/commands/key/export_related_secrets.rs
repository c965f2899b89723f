//! `key export-related-secrets`: what a second repository needs to find the same chunks.

use std::ffi::OsString;

use fastness_engine::keys::KeyError;
use fastness_format::crypto::KeyStorage;
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;
use crate::output::json::{Indent, object};

/// Write the secrets that a related repository shares
///
/// A repository that is made with "borg init --import-related-secrets" cuts files and names chunks
/// as this one does. What is written is not encrypted: delete it when the other repository is made.
#[derive(Clone, Debug, clap::Parser)]
pub struct ExportRelatedSecrets {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Where the secrets go; - is standard output
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for ExportRelatedSecrets {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        if self.path.is_none() {
            return Err(CommandError::general(
                "expected a file to write the secrets to (- is standard output)",
            ));
        }
        let place = context.repository_place(self.location.as_deref())?;
        let opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
        let key_type = opened.key_type();
        if key_type.storage() == KeyStorage::None {
            return Err(KeyError::UnencryptedRepository.into());
        }
        let secrets = opened.session.crypto.material().related_secrets();
        let id_key: String = secrets
            .id_key
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let document = object([
            ("version", 1_i64.into()),
            ("id_key", id_key.into()),
            ("chunk_seed", i64::from(secrets.chunk_seed).into()),
            ("key_name", key_type.name().into()),
        ]);
        let text = document.to_document_in_order(&Indent::default()) + "\n";
        context.write_secret(self.path.as_deref(), text.as_bytes())?;
        let mut repository = opened.session.repository;
        Ok(repository.close()?)
    }
}
