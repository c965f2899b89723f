//! What `list` does: archives from the manifest, items from their stream, each a line.

use std::io::Write;

use fastness_engine::archives::items::ItemSource;
use fastness_engine::catalogue::ReadArchive;
use fastness_engine::error::EngineError;
use fastness_engine::event::Monitor;
use fastness_engine::security::Authenticity;
use fastness_engine::select::patterns::PatternMatcher;
use fastness_engine::times;
use fastness_format::item::ItemRef;
use fastness_format::manifest::Operation;
use fastness_repository::local::lock::LockKind;
use jiff::tz::TimeZone;

use super::List;
use super::facts::Contents;
use crate::access::Opened;
use crate::archives::{Checkpoints, ListedArchive};
use crate::console::Output;
use crate::context::{Context, Wanted, stdout_failed};
use crate::error::CommandError;
use crate::output::archive_format::{
    ArchiveDetails, ArchiveFormat, ArchiveRow, DEFAULT_ARCHIVE_FORMAT, SHORT_ARCHIVE_FORMAT,
};
use crate::output::item_format::{DEFAULT_ITEM_FORMAT, ItemFormat, SHORT_ITEM_FORMAT};
use crate::output::json::Json;

/// Lines are handed on when so many bytes of them are there.
const CHUNK_BYTES: usize = 1 << 16;

/// Lists what the address names.
pub fn list(arguments: &List, context: &mut Context<'_>) -> Result<(), CommandError> {
    let location = context.location(
        "REPOSITORY_OR_ARCHIVE",
        arguments.location.as_deref(),
        Wanted::Either,
    )?;
    let archive = location.archive.clone();
    let matcher = arguments.exclude.matcher(&arguments.paths)?;
    let place = context.place(location);
    let mut opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
    let result = match archive {
        Some(name) => list_items(arguments, context, &opened, &name, &matcher),
        None => list_archives(arguments, context, &opened),
    };
    let closed = opened.session.repository.close();
    result?;
    Ok(closed?)
}

impl List {
    /// The format wanted, or the one of the two that stands in for it.
    fn format<'a>(&'a self, usual: &'a str, short: &'a str) -> &'a str {
        match &self.format {
            Some(format) => format,
            None if self.short => short,
            None => usual,
        }
    }
}

fn list_archives(
    arguments: &List,
    context: &mut Context<'_>,
    opened: &Opened,
) -> Result<(), CommandError> {
    if arguments.json_lines {
        return Err(CommandError::command(
            "The --json-lines option is only valid for listing archive contents, not archives.",
        ));
    }
    let zone = TimeZone::system();
    let format = arguments.format(DEFAULT_ARCHIVE_FORMAT, SHORT_ARCHIVE_FORMAT);
    let format = ArchiveFormat::new(format, &zone)?;
    let checkpoints = match arguments.consider_checkpoints {
        true => Checkpoints::Consider,
        false => Checkpoints::Ignore,
    };
    let manifest = &opened.session.catalogue.manifest;
    let archives = arguments.filter.archives(manifest, checkpoints)?;
    let mut listed = Vec::new();
    let mut line = Vec::new();
    for archive in &archives {
        let row = ArchiveRow {
            name: &archive.name,
            id: archive.id,
            time: archive.time,
        };
        let details = match format.needs_details() {
            true => details(context, opened, archive)?,
            false => ArchiveDetails::default(),
        };
        if arguments.json {
            listed.push(format.json(&row, &details));
        } else {
            line.clear();
            format.write(&mut line, &row, &details)?;
            context.print(&line)?;
        }
    }
    if !arguments.json {
        return Ok(());
    }
    let mut members = context.repository_json(opened, &zone)?;
    members.push(("archives".to_owned(), Json::List(listed)));
    context.print_json(&Json::Map(members))
}

/// Reads what the manifest does not know.
fn details(
    context: &Context<'_>,
    opened: &Opened,
    archive: &ListedArchive,
) -> Result<ArchiveDetails, CommandError> {
    let session = &opened.session;
    let ReadArchive {
        metadata,
        authenticity,
        ..
    } = session.catalogue.archive_by_id(
        session.repository.as_ref(),
        &archive.name,
        &archive.id,
        context.reporter.as_ref(),
    )?;
    let end = metadata.time_end.filter(|end| !end.is_empty());
    let end = times::parse_archive_time(&end.unwrap_or(metadata.time))
        .map_err(|error| CommandError::general(crate::error::with_causes(&error)))?;
    Ok(ArchiveDetails {
        hostname: metadata.hostname.unwrap_or_default(),
        username: metadata.username.unwrap_or_default(),
        comment: metadata.comment.unwrap_or_default(),
        end,
        command_line: metadata.cmdline,
        verified: matches!(authenticity, Authenticity::Verified(_)),
    })
}

fn list_items(
    arguments: &List,
    context: &mut Context<'_>,
    opened: &Opened,
    name: &[u8],
    matcher: &PatternMatcher,
) -> Result<(), CommandError> {
    if arguments.json {
        return Err(CommandError::command(
            "The --json option is only valid for listing archives, not archive contents.",
        ));
    }
    let session = &opened.session;
    let repository = session.repository.as_ref();
    let reporter = std::sync::Arc::clone(&context.reporter);
    let archive = session
        .catalogue
        .archive(repository, name, reporter.as_ref())?;
    let format = ItemFormat::new(
        arguments.format(DEFAULT_ITEM_FORMAT, SHORT_ITEM_FORMAT),
        &archive.metadata.name,
        &archive.id.to_string(),
        &TimeZone::system(),
    )?;
    let chunks = match format.needs_chunk_index() {
        true => Some(context.load_chunks_to_read(opened)?),
        false => None,
    };
    let threads = context.threads();
    let mut lines = Lines {
        form: match arguments.json_lines {
            true => Form::JsonLines,
            false => Form::Text,
        },
        format,
        facts: Contents::new(session, chunks, threads),
        text: Vec::with_capacity(2 * CHUNK_BYTES),
        stdout: context.stdout,
    };
    let source = ItemSource {
        repository,
        crypto: &session.crypto,
        archive: name,
        ids: &archive.metadata.items,
        threads,
    };
    let part_files = context.common.consider_part_files;
    let mut failed = None;
    let result = source.for_each(|item| {
        let wanted = (part_files || item.part.is_none()) && matcher.check(item.path).included;
        if !wanted {
            return Ok(());
        }
        lines.item(item, reporter.as_ref()).map_err(|error| {
            failed = Some(error);
            EngineError::Abandoned
        })
    });
    // What was right up to an error is shown.
    let shown = lines.hand_on();
    if lines.stdout.is_gone() {
        return Ok(());
    }
    if let Some(error) = failed {
        return Err(error);
    }
    result?;
    shown
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    JsonLines,
}

/// Lines about items on their way to stdout.
struct Lines<'a> {
    form: Form,
    format: ItemFormat,
    facts: Contents<'a>,
    text: Vec<u8>,
    stdout: &'a mut Output,
}

impl Lines<'_> {
    fn item(&mut self, item: &ItemRef<'_>, monitor: &dyn Monitor) -> Result<(), CommandError> {
        match self.form {
            Form::Text => self.format.write(&mut self.text, item, &mut self.facts)?,
            Form::JsonLines => {
                let line = self.format.json(item, &mut self.facts)?.to_line();
                self.text.extend_from_slice(line.as_bytes());
                self.text.push(b'\n');
            }
        }
        if self.text.len() < CHUNK_BYTES && !self.format.needs_content() {
            return Ok(());
        }
        self.hand_on()?;
        if self.stdout.is_gone() {
            // Nobody wants the rest; that is no error.
            return Err(CommandError::general("stdout is gone"));
        }
        if monitor.interrupted() {
            return Err(EngineError::Interrupted.into());
        }
        Ok(())
    }

    fn hand_on(&mut self) -> Result<(), CommandError> {
        let written = self.stdout.write_all(&self.text);
        self.text.clear();
        written.map_err(|error| stdout_failed(&error))
    }
}
