//! A key on paper, typed in line by line.

use fastness_engine::keys::KeyError;
use fastness_format::crypto::paper_key::{self, IdLine, LineError};
use fastness_format::id::RepositoryId;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::CommandError;
use crate::output::questions::Question;

/// Shows a text to the person who types.
type Say = fn(&mut Context<'_>, &str) -> Result<(), CommandError>;

/// Asks for the key of a repository until all checksums are right; nothing when the person gives
/// up.
///
/// # Errors
/// When it is the key of another repository.
pub fn ask_for_key(
    context: &mut Context<'_>,
    repository: &RepositoryId,
    say: Say,
) -> Result<Option<Zeroizing<Vec<u8>>>, CommandError> {
    loop {
        let Some(id) = ask(context, "id: ", say, paper_key::read_id_line)? else {
            return Ok(None);
        };
        if !id.is_of(repository) {
            return Err(KeyError::OtherRepository.into());
        }
        let Some(blob) = body(context, &id, say)? else {
            return Ok(None);
        };
        if id.is_complete(&blob) {
            return Ok(Some(blob));
        }
        let text = "The overall checksum did not match, retry or enter a blank line to abort.\n";
        say(context, text)?;
    }
}

fn body(
    context: &mut Context<'_>,
    id: &IdLine,
    say: Say,
) -> Result<Option<Zeroizing<Vec<u8>>>, CommandError> {
    let mut blob = Zeroizing::new(Vec::new());
    for number in 1..=id.lines {
        let read = |text: &str| paper_key::read_line(number, text);
        match ask(context, &format!("{number:2}: "), say, read)? {
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
    say: Say,
    read: impl Fn(&str) -> Result<T, LineError>,
) -> Result<Option<T>, CommandError> {
    loop {
        say(context, prompt)?;
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
            Err(error) => say(context, &format!("{error}\n"))?,
        }
    }
}
