//! `create`: one new archive of the configured sources.

use crate::command_line::actions::Create;
use crate::config::typed::{Making, Sources, Statistics};
use crate::plan::call::{ArchiveName, Call, Show, Word};
use crate::plan::{Context, Form, PlanError, Step, Task};

use super::common::DEFAULT_ARCHIVE_NAME_FORMAT;

/// Plans it.
///
/// # Errors
/// When a listing is asked for together with progress or JSON, or an estimate of a real run.
pub fn plan(flags: &Create, context: &Context<'_>) -> Result<Step, PlanError> {
    let output = &context.options.output;
    if output.list_details && (output.progress || flags.json) {
        return Err(PlanError::ListDetails);
    }
    if flags.estimate && !context.dry_run {
        return Err(PlanError::EstimateOfRealRun { action: "create" });
    }
    // An estimate as JSON is made here: Borg's dry runs have none.
    let json = flags.json && !flags.estimate;
    let call = command(flags, json, context);
    Ok(Step {
        action: "create",
        title: format!("Creating archive{}", context.dry_run_label()),
        title_is_answer: false,
        task: Task::Create {
            call,
            store_config_files: context.options.sources.store_config_files && !context.dry_run,
            databases: match context.dry_run {
                true => Vec::new(),
                false => context.options.databases.clone(),
            },
            physical: match context.dry_run {
                true => Vec::new(),
                false => context.options.physical.clone(),
            },
            inventory: match context.dry_run {
                true => None,
                false => context.options.inventory.clone(),
            },
            snapshots: context.options.snapshots.clone(),
            dry_run: context.dry_run,
            estimate: flags.estimate.then_some(match flags.json {
                true => Form::Json,
                false => Form::Text,
            }),
        },
    })
}

fn command(flags: &Create, json: bool, context: &Context<'_>) -> Call {
    let (making, output) = (&context.options.making, &context.options.output);
    let mut call = context.call("create").word("--patterns-from");
    call.words.push(Word::PatternsFile);
    let call = excludes(call, &context.options.sources).value("--comment", flags.comment.as_ref());
    let call = content(call, making)
        .number("--umask", context.umask())
        .number("--lock-wait", context.lock_wait())
        .flag("--log-json", !output.progress)
        .words(list_filter(context, json))
        .flag("--dry-run", context.dry_run)
        .flag("--info", context.info() && !json);
    let statistics = match json || context.dry_run {
        true => Statistics::None,
        false => output.statistics,
    };
    let format = making
        .archive_name_format
        .as_deref()
        .unwrap_or(DEFAULT_ARCHIVE_NAME_FORMAT);
    call.flag("--stats", statistics == Statistics::Standard)
        .flag("--quick-stats", statistics == Statistics::Quick)
        .words(context.debug_words(!json))
        .flag("--progress", output.progress)
        .flag("--json", json)
        .words(context.extra("create"))
        .archive(
            &context.repository.path,
            &ArchiveName::Known(format.to_owned()),
        )
        .shown(match (json, output.progress) {
            (true, _) => Show::Json,
            (false, true) => Show::Through,
            (false, false) if output.list_details || statistics != Statistics::None => Show::Answer,
            (false, false) => Show::Info,
        })
}

pub(super) fn excludes(call: Call, sources: &Sources) -> Call {
    let tags = sources.exclude_if_present.iter();
    call.flag("--exclude-caches", sources.exclude_caches)
        .words(tags.flat_map(|tag| ["--exclude-if-present", tag.as_str()]))
        .flag("--keep-exclude-tags", sources.keep_exclude_tags)
        .flag("--exclude-nodump", sources.exclude_nodump)
}

fn content(call: Call, making: &Making) -> Call {
    call.number("--checkpoint-interval", making.checkpoint_interval)
        .value("--chunker-params", making.chunker_params.as_ref())
        .value("--compression", making.compression.as_ref())
        .number("--upload-ratelimit", making.upload_rate_limit)
        .number("--upload-buffer", making.upload_buffer_size)
        .flag("--one-file-system", making.one_file_system)
        .flag("--numeric-ids", making.numeric_ids)
        .flag("--atime", making.atime)
        .flag("--noctime", !making.ctime)
        .flag("--nobirthtime", !making.birthtime)
        .flag("--read-special", making.read_special)
        .flag("--noflags", !making.flags)
        .value("--files-changed", making.files_changed.as_ref())
        .value("--files-cache", making.files_cache.as_ref())
}

/// A rehearsal that lists what an archive made now would hold.
pub(super) fn rehearsal(context: &Context<'_>) -> Call {
    let mut call = context.call("create").word("--patterns-from");
    call.words.push(Word::PatternsFile);
    let call = excludes(call, &context.options.sources);
    content(call, &context.options.making)
        .number("--umask", context.umask())
        .number("--lock-wait", context.lock_wait())
        .words(["--log-json", "--dry-run", "--list"])
        .words(context.extra("create"))
        .archive(
            &context.repository.path,
            &ArchiveName::Known("spot-check".to_owned()),
        )
        .shown(Show::Listing)
}

fn list_filter(context: &Context<'_>, json: bool) -> &'static [&'static str] {
    let output = &context.options.output;
    match output.list_details && !json && !output.progress {
        false => &[],
        true if context.debug() => &["--list", "--filter", "AMEx-"],
        true => &["--list", "--filter", "AME-"],
    }
}
