//! `key change-passphrase`: the same key under another passphrase.

use std::ffi::OsString;
use std::sync::Arc;

use fastness_engine::keys::{Key, KeyError, KeyTarget, change_passphrase};
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Change the passphrase that protects the key
///
/// The key itself stays the same: whoever has an old copy of it and the old passphrase can still
/// use both.
#[derive(Clone, Debug, clap::Parser)]
pub struct ChangePassphrase {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for ChangePassphrase {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let opened = context.open(place, LockKind::Shared, &[Operation::Check])?;
        let target = context.key_target(&opened)?;
        let (mut repository, place) = (opened.session.repository, opened.place);
        drop(opened.session.catalogue);
        let crypto = Arc::into_inner(opened.session.crypto).ok_or(KeyError::Unencrypted)?;
        let mut key = Key {
            crypto,
            target,
            logically_encrypted: true,
            without_key: context.environment.workarounds.authenticated_no_key,
        };
        let random = crate::world::real().random;
        change_passphrase(
            &context.key_context(&place),
            repository.as_mut(),
            &mut key,
            random,
        )?;
        context.info("Key updated");
        let where_it_is = match &key.target {
            KeyTarget::File(path) => path.display().to_string(),
            _ => place.name.clone(),
        };
        context.info(format!("Key location: {where_it_is}"));
        Ok(repository.close()?)
    }
}
