//! `key verify`: is a copy of the key enough to open the repository?

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fastness_engine::keys::keyfile;
use fastness_engine::keys::rehearsal::{self, Copy};
use fastness_repository::Repository;

use super::{read_copy, typed};
use crate::access::Place;
use crate::commands::Action;
use crate::context::Context;
use crate::error::{CommandError, with_causes};
use crate::options::CommonOptions;
use crate::output::json::object;

/// Try whether a copy of the key opens the repository
///
/// The copy and the passphrase are all that is used: the key in its place is not looked at. The
/// manifest and the newest archive must be readable with them. Nothing is changed.
#[derive(Clone, Debug, clap::Parser)]
pub struct Verify {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: Option<OsString>,
    /// The file with the copy, a key file or a text for paper; - is standard input
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Ask for the lines of a copy on paper
    #[arg(long, conflicts_with = "path")]
    paper: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Verify {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(self.location.as_deref())?;
        let mut repository = context.open_repository(&place, None)?;
        let copy = match &self.path {
            Some(path) => in_file(context, &place, &*repository, Path::new(path))?,
            None if self.paper => typed_in(context, &*repository)?,
            None => {
                let text = "name the file with the copy, or type it in with --paper";
                return Err(CommandError::command(text));
            }
        };
        let monitor = context.reporter.as_ref();
        let proof = rehearsal::prove(&copy, &context.person, &*repository, monitor)?;
        let kind = if copy.paper { "paper" } else { "file" };
        let archives = proof.archives;
        if self.json {
            let id: String = repository
                .id()
                .as_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let document = object([
                ("repository_id", id.into()),
                ("kind", kind.into()),
                ("encryption", proof.key_type.name().into()),
                (
                    "archives",
                    i64::try_from(archives).unwrap_or(i64::MAX).into(),
                ),
            ]);
            context.print_json(&document)?;
        } else {
            let text = format!("The copy ({kind}) and the passphrase open the repository.\n");
            context.print(text)?;
        }
        Ok(repository.close()?)
    }
}

fn typed_in(context: &mut Context<'_>, repository: &dyn Repository) -> Result<Copy, CommandError> {
    let typed = typed::ask_for_key(context, &repository.id(), |context, text| {
        // Results alone go to stdout.
        context.log().write(text, "");
        Ok(())
    })?;
    let blob = typed.ok_or_else(CommandError::cancelled)?;
    Ok(Copy::typed(blob))
}

/// Reads a copy. The file that is in use proves nothing: it is lost together with this machine.
fn in_file(
    context: &Context<'_>,
    place: &Place,
    repository: &dyn Repository,
    path: &Path,
) -> Result<Copy, CommandError> {
    let id = repository.id();
    let in_use = keyfile::find(&context.key_context(place), &id).ok();
    let node = |path: &Path| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    if in_use.is_some_and(|key| node(&key).is_some() && node(&key) == node(path)) {
        return Err(CommandError::general(format!(
            "{} is the key that is in use here, not a copy of it",
            path.display()
        )));
    }
    let content = read_copy(path)?;
    let text = String::from_utf8_lossy(&content);
    Copy::in_text(&text, &id).map_err(|error| {
        CommandError::general(format!("{}: {}", path.display(), with_causes(&error)))
    })
}
