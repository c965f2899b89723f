//! `compact`: gives back the space of what was removed.

use crate::plan::call::Show;
use crate::plan::{Context, Step, Task};

/// Plans it.
pub fn plan(context: &Context<'_>) -> Step {
    let progress = context.options.output.progress;
    let call = context
        .call("compact")
        .number("--umask", context.umask())
        .flag("--log-json", !progress)
        .number("--lock-wait", context.lock_wait())
        .flag("--progress", progress)
        .value("--threshold", context.options.compact_threshold)
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .flag("--dry-run", context.dry_run)
        .words(context.extra("compact"))
        .word(context.repository.path.as_str())
        .shown(if progress { Show::Through } else { Show::Info });
    Step {
        action: "compact",
        title: format!("Compacting segments{}", context.dry_run_label()),
        title_is_answer: false,
        task: Task::Borg { call, latest: None },
    }
}
