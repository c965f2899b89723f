//! `restore`: databases out of the dumps of an archive.

use crate::command_line::actions::Restore;
use crate::plan::call::{ArchiveName, Call, Show};
use crate::plan::{Context, RestoreTask, Step, Task};

use super::common::absolute_repository;

/// Where dumps may be in an archive: today's place, that below a path of a run, that of old versions.
const PLACES: [&str; 3] = [
    "sh:borgmatic/*_databases/**",
    "sh:**/borgmatic-*/borgmatic/*_databases/**",
    "sh:**/.borgmatic/*_databases/**",
];

/// Plans it.
pub fn plan(flags: &Restore, context: &Context<'_>) -> Step {
    let archive = match ArchiveName::new(&flags.archive) {
        ArchiveName::Known(name) => Some(name),
        ArchiveName::FoundByRun => None,
    };
    let old_place = context.options.access.old_place();
    let old_dumps = old_place.map(|place| format!("sh:{place}/*_databases/**"));
    let listing = begin("list", context)
        .words(["--format", "{type} {path}{NUL}"])
        .archive(&absolute_repository(context), &ArchiveName::FoundByRun)
        .words(PLACES)
        .words(old_dumps)
        .shown(Show::Query);
    let physical_listing = begin("list", context)
        .words(["--format", "{path}{NUL}"])
        .archive(&absolute_repository(context), &ArchiveName::FoundByRun)
        .word("sh:borgmatic/mariadb_physical/*/fastness-backup.json")
        .shown(Show::Query);
    let content = extract(context).word("--stdout");
    let stripped = extract(context).words(["--strip-components", "3"]);
    let task = RestoreTask {
        flags: flags.clone(),
        archive,
        latest: context.latest(),
        listing,
        content: to_archive(content, context),
        files: to_archive(extract(context), context),
        physical_listing,
        physical_files: to_archive(stripped, context),
        dry_run: context.dry_run,
    };
    Step {
        action: "restore",
        title: format!(
            "Restoring data sources from archive {}{}",
            flags.archive,
            context.dry_run_label()
        ),
        title_is_answer: false,
        task: Task::Restore(Box::new(task)),
    }
}

fn begin(command: &str, context: &Context<'_>) -> Call {
    context
        .call(command)
        .number("--umask", context.umask())
        .word("--log-json")
        .number("--lock-wait", context.lock_wait())
}

/// What is missing or damaged is an error here.
fn extract(context: &Context<'_>) -> Call {
    let mut call = begin("extract", context).words(context.extra("extract"));
    call.warning_is_error = true;
    call
}

fn to_archive(call: Call, context: &Context<'_>) -> Call {
    call.archive(&absolute_repository(context), &ArchiveName::FoundByRun)
}
