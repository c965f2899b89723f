//! `recreate`: archives are written anew by today's rules of selection.

use crate::command_line::actions::Recreate;
use crate::plan::call::{ArchiveName, Show, Word};
use crate::plan::{Context, PlanError, Step, Task};

use super::create::excludes;

/// What Borg calls an archive while it is made anew.
const UNFINISHED: &str = ".recreate";

/// Plans it.
///
/// # Errors
/// When the archive is what an interrupted run left.
pub fn plan(flags: &Recreate, context: &Context<'_>) -> Result<Step, PlanError> {
    let (making, output) = (&context.options.making, &context.options.output);
    if let Some(archive) = flags
        .archive
        .as_ref()
        .filter(|name| name.ends_with(UNFINISHED))
    {
        return Err(PlanError::Unfinished {
            archive: archive.clone(),
        });
    }
    let archive = flags.archive.as_deref().map(ArchiveName::new);
    let latest = (archive == Some(ArchiveName::FoundByRun)).then(|| context.latest());
    let mut call = context
        .call("recreate")
        .word("--log-json")
        .value("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .word("--patterns-from");
    call.words.push(Word::PatternsFile);
    if output.list_details {
        let filter = if context.debug() { "AMEx-" } else { "AME-" };
        call = call.words(["--list", "--filter", filter]);
    }
    let call = call
        .value(
            "--target",
            flags.target.as_ref().filter(|_| archive.is_some()),
        )
        .value("--comment", flags.comment.as_ref())
        .value("--timestamp", flags.timestamp.as_ref())
        .value("--compression", making.compression.as_ref())
        .value("--chunker-params", making.chunker_params.as_ref())
        .value("--recompress", making.recompress.as_ref());
    let call = excludes(call, &context.options.sources)
        .flag("--dry-run", context.dry_run)
        .words(context.extra("recreate"));
    let call = match &archive {
        Some(archive) => call.archive(&context.repository.path, archive),
        None => call.word(context.repository.path.as_str()),
    };
    let what = match &flags.archive {
        Some(archive) => format!("archive {archive}"),
        None => "repository".to_owned(),
    };
    Ok(Step {
        action: "recreate",
        title: format!("Recreating {what}{}", context.dry_run_label()),
        title_is_answer: true,
        task: Task::Selected {
            call: call.shown(Show::Info),
            latest,
            own_files: true,
        },
    })
}
