//! `key migrate-to-repokey`: out of a mode that Borg had before 1.0.

use std::ffi::OsString;

use fastness_engine::keys::backup::migrate_to_repokey;
use fastness_repository::local::lock::LockKind;

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Turn passphrase mode into repokey mode
///
/// In passphrase mode, which Borg had before 1.0, the key was made of the passphrase itself. The
/// key stays the same, but is kept in the repository from now on, under a passphrase that can be
/// changed.
#[derive(Clone, Debug, clap::Parser)]
pub struct MigrateToRepokey {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for MigrateToRepokey {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let mut repository = context.open_repository(&place, Some(LockKind::Shared))?;
        let random = crate::world::real().random;
        migrate_to_repokey(&context.key_context(&place), &mut *repository, random)?;
        context.info("Key updated");
        Ok(repository.close()?)
    }
}
