//! What `create` does: options become the engine's, the report becomes tables or JSON.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fastness_engine::attributes::AttributeOptions;
use fastness_engine::cache::ChunkTable;
use fastness_engine::create::{
    ClientState, CreateOptions, CreateReport, SkippedInodes, create as make_archive, dry_run,
    estimate,
};
use fastness_engine::error::EngineError;
use fastness_engine::select::patterns::PatternMatcher;
use fastness_engine::select::tags::TagRules;
use fastness_format::id::ChunkId;
use fastness_format::manifest::Operation;
use fastness_format::timestamp;
use fastness_repository::MAX_VALUE_BYTES;
use fastness_repository::local::lock::LockKind;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Create;
use super::input::{Input, RunningCommand};
use crate::access::{Opened, Place};
use crate::context::{Context, Wanted};
use crate::error::{CommandError, with_causes};
use crate::facts::MadeArchive;
use crate::foresight::{Foreseen, ForeseenCreate};
use crate::output::archive_info::ArchiveFacts;
use crate::output::json::Json;
use crate::output::stats::{DASHES, HEADER};
use crate::signals::Watch;

/// Makes the archive and tells about it.
pub fn create(arguments: &Create, context: &mut Context<'_>) -> Result<(), CommandError> {
    let now = match arguments.archive.timestamp {
        Some(micros) => Timestamp::from_microsecond(micros).unwrap_or_default(),
        None => Timestamp::now(),
    };
    let text = Some(arguments.location.as_os_str());
    let location = context.location_at("ARCHIVE", text, Wanted::Archive, now)?;
    let place = context.place(location);
    let selection = arguments.exclude.selection()?;
    let patterns = PatternMatcher::for_create(&selection.rules)
        .map_err(|error| CommandError::usage(with_causes(&error)))?;
    context.reporter.show_only(arguments.status_filter()?);
    context.info(format!("Creating archive at \"{}\"", place.location.text()));
    if arguments.dry_run {
        // Neither the repository nor its key is needed to look at files, but to look ahead.
        let input = input(arguments, context, selection.roots)?;
        let (_, mut options) = options(arguments, context, &place, patterns, input)?;
        let _watch = Watch::begin();
        let monitor = context.reporter.as_ref();
        if context.foresight.is_none() || options.list {
            dry_run(&options, crate::world::real(), monitor)?;
        }
        options.dry_run = false;
        return look_ahead(arguments, context, place, &options);
    }
    let mut opened = context.open(place, LockKind::Exclusive, &[Operation::Write])?;
    // Commands are started last: what is wrong before that needs none.
    let input = input(arguments, context, selection.roots);
    let result = input.and_then(|input| {
        let (command, options) = options(arguments, context, &opened.place, patterns, input)?;
        in_session(arguments, context, &mut opened, &options, command)
    });
    // Rolls back what was not committed and gives the lock back.
    let closed = opened.session.repository.close();
    result?;
    Ok(closed?)
}

/// Finds out what would be added, for a caller who wants to know.
fn look_ahead(
    arguments: &Create,
    context: &mut Context<'_>,
    place: Place,
    options: &CreateOptions,
) -> Result<(), CommandError> {
    let Some(foresight) = context.foresight.clone() else {
        return Ok(());
    };
    let mut opened = context.open(place, LockKind::Shared, &[Operation::Read])?;
    let chunks = context.load_chunks(&opened);
    let mode = arguments.filesystem.files_cache()?;
    let files = context.known_files(&opened, mode);
    // Others may use the repository while files are read.
    opened.session.repository.close()?;
    let begin = Instant::now();
    let (crypto, world) = (&opened.session.crypto, crate::world::real());
    let estimate = estimate(
        crypto,
        chunks?,
        &files,
        options,
        world,
        context.reporter.as_ref(),
    )?;
    foresight.set(Foreseen::Create(ForeseenCreate {
        estimate,
        time: begin.elapsed(),
    }));
    Ok(())
}

/// What is stored: that of the command line, and what the caller of this program adds.
fn input(
    arguments: &Create,
    context: &mut Context<'_>,
    roots: Vec<Vec<u8>>,
) -> Result<Input, CommandError> {
    let mut input = arguments.input(roots)?;
    input.streams.append(&mut context.additions.streams);
    input.streams.sort_by_key(|stream| stream.place);
    Ok(input)
}

fn in_session(
    arguments: &Create,
    context: &mut Context<'_>,
    opened: &mut Opened,
    options: &CreateOptions,
    mut command: Option<RunningCommand>,
) -> Result<(), CommandError> {
    let mode = arguments.filesystem.files_cache()?;
    let mut chunks = context.load_chunks(opened)?;
    let (files, remember) = context.files_cache(opened, mode);
    let mut failure = None;
    let mut confirm = || match command.as_mut().map(RunningCommand::finish) {
        Some(Err(error)) => {
            failure = Some(error);
            Err(EngineError::Abandoned)
        }
        _ => Ok(()),
    };
    let writer = context.writer(opened);
    let prepared = OnceLock::new();
    let meanwhile = |chunks: &ChunkTable, manifest: &ChunkId| {
        let _ = prepared.set(writer.prepare(chunks, manifest));
    };
    let state = ClientState {
        chunks: &mut chunks,
        files: &files,
        remember,
        confirm: &mut confirm,
        meanwhile: &meanwhile,
    };
    let watch = Watch::begin();
    let (world, monitor) = (crate::world::real(), context.reporter.as_ref());
    let made = make_archive(&mut opened.session, state, options, world, monitor);
    drop(watch);
    let (report, remembered) = match (made, failure) {
        (Err(_), Some(failure)) => return Err(failure),
        (made, _) => made?,
    };
    context.remember(opened)?;
    if let Some(prepared) = prepared.into_inner() {
        context.save_prepared(opened, prepared);
    }
    context.tell_files_cache(mode, remembered);
    note(context, &report, &chunks);
    let tables = Tables {
        stats: arguments.stats,
        quick_stats: arguments.quick_stats,
        json: arguments.json,
        news: false,
    };
    tell(tables, context, opened, &report, &chunks)
}

fn options(
    arguments: &Create,
    context: &Context<'_>,
    place: &Place,
    patterns: PatternMatcher,
    input: Input,
) -> Result<(Option<RunningCommand>, CreateOptions), CommandError> {
    let filesystem = &arguments.filesystem;
    let options = CreateOptions {
        name: place.archive_name()?.to_vec(),
        comment: arguments.archive.comment.as_bytes().to_vec(),
        timestamp: arguments.archive.timestamp,
        roots: input.roots,
        descend: !arguments.paths_from_stdin && !arguments.paths_from_command,
        streams: input.streams,
        aliases: context.additions.aliases.clone(),
        read_special: filesystem.read_special,
        patterns,
        tags: TagRules {
            exclude_caches: arguments.tags.exclude_caches,
            exclude_if_present: (arguments.tags.exclude_if_present.iter())
                .map(|name| name.as_bytes().to_vec())
                .collect(),
            keep_exclude_tags: arguments.tags.keep_exclude_tags,
        },
        exclude_nodump: filesystem.exclude_nodump,
        one_file_system: filesystem.one_file_system,
        skipped: skipped(context, place),
        attributes: AttributeOptions {
            numeric_ids: filesystem.numeric_ids,
            atime: filesystem.atime,
            no_ctime: filesystem.noctime,
            no_flags: filesystem.noflags,
            no_acls: filesystem.noacls,
            no_xattrs: filesystem.noxattrs,
        },
        chunker: arguments.archive.chunker_params()?,
        sparse: filesystem.sparse,
        compression: arguments.archive.compression.clone(),
        files_changed: filesystem.files_changed()?,
        checkpoint_interval: match arguments.archive.checkpoint_interval {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        },
        dry_run: arguments.dry_run,
        list: arguments.list,
        threads: context.threads(),
        command_line: context
            .command_line
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect(),
        cwd: context.directory.as_os_str().as_bytes().to_vec(),
        hostname: context.hostname(),
        username: context.username(),
    };
    Ok((input.command, options))
}

/// The repository and the caches are not archived.
fn skipped(context: &Context<'_>, place: &Place) -> SkippedInodes {
    let cache = context.environment.directories.cache.as_path();
    let own = [Some(cache), place.path.as_deref()];
    let inodes = own.into_iter().flatten().filter_map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.dev()))
    });
    inodes.collect::<HashSet<_>>()
}

/// Notes the archive for the caller, if that wants to know.
fn note(context: &Context<'_>, report: &CreateReport, chunks: &ChunkTable) {
    let Some(notes) = &context.notes else {
        return;
    };
    let totals = chunks.totals();
    let made = MadeArchive {
        name: String::from_utf8_lossy(&report.metadata.name).into_owned(),
        id: report.id.to_string(),
        stats: report.stats,
        repository_bytes: totals.unique_stored_bytes,
        repository_chunks: totals.unique_chunks,
    };
    notes.note(|facts| facts.archive = Some(made));
}

/// What is told of an archive that was made.
#[derive(Clone, Copy)]
pub struct Tables {
    /// Sizes of the archive and the repository.
    pub stats: bool,
    /// Sizes of the archive only.
    pub quick_stats: bool,
    /// The same as JSON.
    pub json: bool,
    /// They are only news (`-v`), without the line above the sizes, as in Borg's recreate.
    pub news: bool,
}

/// Tells about an archive that was made, as far as that was asked for.
pub fn tell(
    tables: Tables,
    context: &mut Context<'_>,
    opened: &Opened,
    report: &CreateReport,
    chunks: &ChunkTable,
) -> Result<(), CommandError> {
    if !tables.stats && !tables.quick_stats && !tables.json {
        return Ok(());
    }
    let (zone, units) = (TimeZone::system(), context.units());
    let facts = facts(report);
    let totals = match tables.quick_stats {
        true => None,
        false => Some(context.totals(opened, chunks)?),
    };
    if tables.json {
        let mut members = context.repository_json(opened, &zone)?;
        members.push(("archive".to_owned(), facts.json(&zone)));
        members.extend(totals.map(|totals| context.cache_json(opened, &totals)));
        return context.print_json(&Json::Map(members));
    }
    let mut lines = vec![
        DASHES.to_owned(),
        facts.head(&opened.place.name, &zone),
        DASHES.to_owned(),
        HEADER.to_owned(),
        facts.sizes(units),
    ];
    lines.extend(totals.map(|totals| totals.table(units)));
    lines.push(DASHES.to_owned());
    if tables.news {
        lines.retain(|line| line != HEADER);
        for line in lines.join("\n").lines() {
            context.log().info("borg.helpers.misc", line);
        }
        return Ok(());
    }
    context.log().stats(&lines.join("\n"));
    Ok(())
}

fn facts(report: &CreateReport) -> ArchiveFacts {
    let metadata = &report.metadata;
    let start = timestamp::parse(&metadata.time).unwrap_or_default();
    let end = metadata
        .time_end
        .as_deref()
        .and_then(timestamp::parse)
        .unwrap_or(start);
    ArchiveFacts {
        name: metadata.name.clone(),
        id: report.id,
        start,
        end,
        stats: report.stats,
        used_share: report.stored_metadata_bytes as f64 / MAX_VALUE_BYTES as f64,
        command_line: metadata.cmdline.clone(),
    }
}
