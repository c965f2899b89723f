//! `break-lock`: locks that a program left behind go.

use crate::plan::{Context, Step, Task};

/// Plans it.
pub fn plan(context: &Context<'_>) -> Step {
    let call = context
        .call("break-lock")
        .number("--umask", context.umask())
        .word("--log-json")
        .number("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .words(context.extra("break_lock"))
        .word(context.repository.path.as_str());
    Step {
        action: "break-lock",
        title: "Breaking repository and cache locks".to_owned(),
        title_is_answer: false,
        task: Task::Borg { call, latest: None },
    }
}
