//! `transfer`: archives are copied from another repository.
//!
//! Neither Borg 1.4 nor borgmatic can do this between repositories of Borg 1. The flags are those
//! that borgmatic has for Borg 2.

use crate::command_line::actions::Transfer;
use crate::plan::call::{Environment, Show};
use crate::plan::{Context, PlanError, Step, Task};

use super::common::filter;

/// Plans it. Every repository of the configuration gets the archives, but for the one they come
/// from.
///
/// # Errors
/// When that is the only one.
pub fn plan(flags: &Transfer, context: &Context<'_>) -> Result<Step, PlanError> {
    let (output, repository) = (&context.options.output, context.repository);
    let source = context.all.iter().find(|one| one.is_called(&flags.source));
    if source.is_some_and(|source| source.path == repository.path) {
        let repository = repository.path.clone();
        return match context.all.len() {
            1 => Err(PlanError::TransferToItself { repository }),
            _ => Ok(step(Task::Skipped("This is the repository to copy from."))),
        };
    }
    let path = source.map_or(&flags.source, |source| &source.path);
    let (from, archives) = match flags.archive.as_deref() {
        Some("latest") => {
            let last = ["--last".to_owned(), "1".to_owned()];
            (
                path.clone(),
                [filter(context.options), last.to_vec()].concat(),
            )
        }
        Some(archive) => (format!("{path}::{archive}"), Vec::new()),
        None => (path.clone(), filter(context.options)),
    };
    let call = context
        .call("transfer")
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .number("--umask", context.umask())
        .flag("--log-json", !output.progress)
        .number("--lock-wait", context.lock_wait())
        .flag("--progress", output.progress)
        .value("--first", flags.choice.first.as_ref())
        .value("--last", flags.choice.last.as_ref())
        .value("--sort-by", flags.choice.sort_by.as_ref())
        .words(archives)
        .words(context.extra("transfer"))
        .word(repository.path.as_str())
        .words(["--other-repo", from.as_str()])
        .flag("--dry-run", context.dry_run)
        .shown(match output.progress {
            true => Show::Through,
            false => Show::Answer,
        });
    let source = source.map(|source| Environment::of(&source.options));
    Ok(step(Task::Transfer { call, source }))
}

fn step(task: Task) -> Step {
    Step {
        action: "transfer",
        title: "Transferring archives to repository".to_owned(),
        title_is_answer: false,
        task,
    }
}
