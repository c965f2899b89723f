//! Deletes archives, or hands over to what deletes a whole repository.

use std::cell::RefCell;

use fastness_engine::archives::delete::commit;
use fastness_format::manifest::{ArchiveEntry, Operation};
use fastness_format::timestamp;
use fastness_repository::local::lock::LockKind;
use jiff::tz::TimeZone;

use super::{Delete, repository};
use crate::access::Opened;
use crate::archives::Checkpoints;
use crate::context::{Context, Wanted};
use crate::deletion::{Deleting, Tables};
use crate::error::CommandError;
use crate::output::archive_info::archive_line;
use crate::output::text::replace_foreign;

/// Deletes what the arguments name.
pub fn delete(arguments: &Delete, context: &mut Context<'_>) -> Result<(), CommandError> {
    let location = context.location(
        "REPOSITORY_OR_ARCHIVE",
        arguments.location.as_deref(),
        Wanted::Either,
    )?;
    let named = named(arguments, context, location.archive.as_deref())?;
    let place = context.place(location);
    if named.is_empty() && !arguments.filter.is_given() {
        return repository::delete(arguments, context, &place);
    }
    if !named.is_empty() && arguments.filter.is_given() {
        return Err(CommandError::command(
            "Mixing archive filters and explicitly named archives is not supported.",
        ));
    }
    let mut opened = context.open(place, LockKind::Exclusive, &[Operation::Delete])?;
    let result = in_session(arguments, context, &mut opened, named);
    // Rolls back what was not committed and gives the lock back.
    let closed = opened.session.repository.close();
    result?;
    Ok(closed?)
}

fn named(
    arguments: &Delete,
    context: &Context<'_>,
    first: Option<&[u8]>,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let mut names: Vec<Vec<u8>> = first.map(<[u8]>::to_vec).into_iter().collect();
    for name in &arguments.archives {
        names.push(context.archive_name("ARCHIVE", name)?);
    }
    Ok(names)
}

fn in_session(
    arguments: &Delete,
    context: &Context<'_>,
    opened: &mut Opened,
    named: Vec<Vec<u8>>,
) -> Result<(), CommandError> {
    let names = if named.is_empty() {
        let manifest = &opened.session.catalogue.manifest;
        let picked = arguments.filter.archives(manifest, Checkpoints::Consider)?;
        picked.into_iter().map(|archive| archive.name).collect()
    } else {
        named
    };
    if names.is_empty() {
        return Ok(());
    }
    if arguments.forced >= 2 {
        return blindly(arguments, context, opened, &names);
    }
    let word = match arguments.dry_run {
        true => "Would delete archive",
        false => "Deleting archive",
    };
    let (existing, plan) = plan(opened, &names, word);
    if arguments.dry_run {
        plan.iter().for_each(|line| line.show(context));
        return Ok(());
    }
    let deleting = Deleting {
        forced: arguments.forced > 0,
        progress: context.common.progress,
        checkpoint_interval: arguments.checkpoint_interval,
        tables: Tables::new(arguments.stats, arguments.quick_stats),
    };
    let lines = RefCell::new(plan.iter());
    // Up to the next archive that is there, or to the end.
    let show = || {
        for line in lines.borrow_mut().by_ref() {
            line.show(context);
            if matches!(line, Line::Archive(_)) {
                break;
            }
        }
    };
    let (mut begin, mut end) = (|_: usize| show(), || show());
    context.delete_archives(opened, &existing, deleting, &mut begin, &mut end)
}

/// What is said about one of the names.
enum Line {
    /// It is that of an archive.
    Archive(String),
    /// It is not.
    NotFound(String),
}

impl Line {
    fn show(&self, context: &Context<'_>) {
        match self {
            Self::Archive(text) => context.log().list(text),
            Self::NotFound(text) => context.reporter.warn(None, text),
        }
    }
}

/// Returns the archives that exist, and what is said about all names in their order.
fn plan(opened: &Opened, names: &[Vec<u8>], word: &str) -> (Vec<Vec<u8>>, Vec<Line>) {
    let archives = &opened.session.catalogue.manifest.archives;
    let mut existing: Vec<Vec<u8>> = Vec::with_capacity(names.len());
    let mut lines = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let place = format!("({}/{})", index + 1, names.len());
        match archives.get(name) {
            // Named twice, it is gone the second time.
            Some(entry) if !existing.contains(name) => {
                lines.push(Line::Archive(format!(
                    "{word}: {} {place}",
                    line(name, entry)
                )));
                existing.push(name.clone());
            }
            _ => {
                let name = replace_foreign(name);
                lines.push(Line::NotFound(format!("Archive {name} not found {place}.")));
            }
        }
    }
    (existing, lines)
}

/// Takes archives out of the manifest without a look at them.
fn blindly(
    arguments: &Delete,
    context: &Context<'_>,
    opened: &mut Opened,
    names: &[Vec<u8>],
) -> Result<(), CommandError> {
    let word = match arguments.dry_run {
        true => "Would delete",
        false => "Deleted archive",
    };
    let (existing, plan) = plan(opened, names, word);
    plan.iter().for_each(|line| line.show(context));
    if arguments.dry_run {
        context.info("Finished dry-run.");
        return Ok(());
    }
    if existing.is_empty() {
        context.warning("Aborted.");
        return Ok(());
    }
    let archives = &mut opened.session.catalogue.manifest.archives;
    archives.retain(|name, _| !existing.contains(name));
    commit(&mut opened.session, crate::world::real())?;
    context.remember(opened)?;
    context.warning("Done. Run \"borg check --repair\" to clean up the mess.");
    Ok(())
}

/// Returns an archive as messages name it.
pub fn line(name: &[u8], entry: &ArchiveEntry) -> String {
    let time = timestamp::parse(&entry.time).unwrap_or_default();
    archive_line(name, time, &entry.id, &TimeZone::system())
}
