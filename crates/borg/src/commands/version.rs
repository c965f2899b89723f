//! `version`: what speaks here, and what would answer there.

use std::ffi::OsString;

use fastness_repository::Repository;
use fastness_repository::remote::client::Ahead;

use crate::BORG_VERSION;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Show the versions of client and server
///
/// What is shown is the version of Borg that this program behaves like, and the one that the server
/// of the repository tells. A repository on this machine needs no server, so both are the same; it
/// need not exist.
#[derive(Clone, Debug, clap::Parser)]
pub struct Version {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Version {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location =
            context.location("REPOSITORY", self.location.as_deref(), Wanted::Repository)?;
        let server = match location.is_local() {
            true => BORG_VERSION.to_owned(),
            false => {
                let mut repository = context.open_remote(&location, None, Ahead::Nothing)?;
                let version = repository.server_version().to_string();
                repository.close()?;
                version
            }
        };
        context.print(format!("{BORG_VERSION} / {server}\n"))
    }
}
