//! `key import`: puts a copy of the key in its place.

use std::ffi::OsString;
use std::path::Path;

use fastness_engine::keys::backup;
use fastness_repository::Repository;
use zeroize::Zeroizing;

use super::typed;
use crate::access::Place;
use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;

/// Put a copy of the key in its place
///
/// Into the repository, or into a key file, as the mode of the repository wants it. A key that is
/// there already is replaced.
#[derive(Clone, Debug, clap::Parser)]
pub struct Import {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// The file with the copy; - is standard input
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Ask for the lines of a copy on paper
    #[arg(long)]
    paper: bool,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Import {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let mut repository = context.open_repository(&place, None)?;
        backup::check_importable(&*repository)?;
        if self.paper {
            if self.path.is_some() {
                return Err(CommandError::command(
                    "with --paper import from file is not supported",
                ));
            }
            typed_in(context, &place, &mut *repository)?;
        } else {
            let content = self.content()?;
            backup::import(&context.key_context(&place), &mut *repository, &content)?;
        }
        Ok(repository.close()?)
    }
}

impl Import {
    fn content(&self) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        let path = self.path.as_deref().map(Path::new);
        let path =
            path.ok_or_else(|| CommandError::command("expected input file to import key from"))?;
        super::read_copy(path)
    }
}

/// Stores a key that is typed in, or nothing when the person gives up.
fn typed_in(
    context: &mut Context<'_>,
    place: &Place,
    repository: &mut dyn Repository,
) -> Result<(), CommandError> {
    match typed::ask_for_key(context, &repository.id(), |context, text| {
        context.print_now(text)
    })? {
        Some(blob) => Ok(backup::import_blob(
            &context.key_context(place),
            repository,
            &blob,
        )?),
        None => context.print("\n - aborted\n"),
    }
}
