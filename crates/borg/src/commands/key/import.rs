//! `key import`: puts a copy of the key in its place.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use fastness_engine::keys::{KeyError, backup};
use fastness_format::crypto::paper_key::{self, IdLine, LineError};
use fastness_repository::Repository;
use zeroize::Zeroizing;

use crate::access::Place;
use crate::commands::Action;
use crate::context::Context;
use crate::error::{CommandError, errno_text};
use crate::options::CommonOptions;
use crate::output::questions::Question;

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

/// Longer files are no keys.
const MAX_BYTES: u64 = 1 << 20;

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
        let mut content = Zeroizing::new(Vec::new());
        let read = if path.as_os_str() == "-" {
            std::io::stdin().take(MAX_BYTES).read_to_end(&mut content)
        } else if !path.exists() {
            return Err(CommandError::command(format!(
                "input file does not exist: {}",
                path.display()
            )));
        } else {
            std::fs::File::open(path)
                .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content))
        };
        read.map_err(|error| CommandError::general(errno_text(&error, Some(path))))?;
        Ok(content)
    }
}

/// Asks for a key on paper, line by line, until all checksums are right or the person gives up.
fn typed_in(
    context: &mut Context<'_>,
    place: &Place,
    repository: &mut dyn Repository,
) -> Result<(), CommandError> {
    loop {
        let Some(id) = ask(context, "id: ", paper_key::read_id_line)? else {
            return context.print("\n - aborted\n");
        };
        if !id.is_of(&repository.id()) {
            return Err(KeyError::OtherRepository.into());
        }
        let Some(blob) = body(context, &id)? else {
            return context.print("\n - aborted\n");
        };
        if id.is_complete(&blob) {
            return Ok(backup::import_blob(
                &context.key_context(place),
                repository,
                &blob,
            )?);
        }
        let text = "The overall checksum did not match, retry or enter a blank line to abort.\n";
        context.print(text)?;
    }
}

fn body(
    context: &mut Context<'_>,
    id: &IdLine,
) -> Result<Option<Zeroizing<Vec<u8>>>, CommandError> {
    let mut blob = Zeroizing::new(Vec::new());
    for number in 1..=id.lines {
        let read = |text: &str| paper_key::read_line(number, text);
        match ask(context, &format!("{number:2}: "), read)? {
            Some(bytes) => blob.extend(bytes),
            None => return Ok(None),
        }
    }
    Ok(Some(blob))
}

/// Asks for one line until it is right; nothing when the person gives up.
fn ask<T>(
    context: &mut Context<'_>,
    prompt: &str,
    read: impl Fn(&str) -> Result<T, LineError>,
) -> Result<Option<T>, CommandError> {
    loop {
        context.print_now(prompt)?;
        let Some(line) = context.person.line() else {
            return Ok(None);
        };
        let line = Zeroizing::new(line);
        let abort = Question {
            message: "Abort import? [yN]:",
            ..Question::default()
        };
        if line.trim().is_empty() && context.ask(&abort) {
            return Ok(None);
        }
        match read(&line) {
            Ok(read) => return Ok(Some(read)),
            Err(error) => context.print(format!("{error}\n"))?,
        }
    }
}
