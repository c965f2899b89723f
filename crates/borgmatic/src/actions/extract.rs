//! `extract`: restores files of an archive.

use std::path::PathBuf;

use crate::command_line::actions::Extract;
use crate::plan::call::{ArchiveName, Show};
use crate::plan::{Context, PlanError, Step, Task};

use super::common::absolute_repository;

/// Plans it.
///
/// # Errors
/// When all leading directories are to be left out of paths that are not named.
pub fn plan(flags: &Extract, context: &Context<'_>) -> Result<Step, PlanError> {
    let progress = context.options.output.progress;
    let archive = ArchiveName::new(&flags.archive);
    let debug: &[&str] = match context.debug() {
        true => &["--debug", "--list", "--show-rc"],
        false => &[],
    };
    let mut call = context
        .call("extract")
        .flag("--numeric-ids", context.options.making.numeric_ids)
        .number("--umask", context.umask())
        .flag("--log-json", !progress)
        .number("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(debug)
        .flag("--dry-run", context.dry_run)
        .value("--strip-components", strip_components(flags)?)
        .flag("--progress", progress)
        .words(context.extra("extract"))
        .archive(&absolute_repository(context), &archive)
        .words(flags.paths.iter().cloned())
        .shown(if progress { Show::Through } else { Show::Info });
    // A rehearsal writes nothing: it needs no directory, and makes none.
    call.directory = destination(flags, context).filter(|_| !context.dry_run);
    call.makes_directory = call.directory.is_some();
    let latest = (archive == ArchiveName::FoundByRun).then(|| context.latest());
    Ok(Step {
        action: "extract",
        title: format!(
            "Extracting archive {}{}",
            flags.archive,
            context.dry_run_label()
        ),
        title_is_answer: false,
        task: Task::Borg { call, latest },
    })
}

/// The destination; without one, files go to where the run is, not to the working directory.
fn destination(flags: &Extract, context: &Context<'_>) -> Option<PathBuf> {
    let base = context
        .options
        .sources
        .working_directory
        .as_deref()
        .unwrap_or_default();
    flags
        .destination
        .as_ref()
        .map(|destination| PathBuf::from(base).join(destination))
}

fn strip_components(flags: &Extract) -> Result<Option<String>, PlanError> {
    let given = match flags.strip_components.as_deref() {
        None | Some("0") => return Ok(None),
        Some("all") => {
            let depth = |path: &String| path.split('/').filter(|part| !part.is_empty()).count();
            let deepest = flags.paths.iter().map(depth).max();
            deepest
                .ok_or(PlanError::StripAllWithoutPath)?
                .saturating_sub(1)
                .to_string()
        }
        Some(number) => number.to_owned(),
    };
    Ok((given != "0").then_some(given))
}
