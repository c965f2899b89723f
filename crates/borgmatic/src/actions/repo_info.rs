//! `repo-info`: tells about a repository.

use crate::plan::call::Show;
use crate::plan::{Context, Step, Task};

/// Plans it.
pub fn plan(json: bool, context: &Context<'_>) -> Step {
    let call = context
        .level(context.call("info"), json)
        .number("--umask", context.umask())
        .number("--lock-wait", context.lock_wait())
        .word("--log-json")
        .flag("--json", json)
        .words(context.extra("info"))
        .word(context.repository.path.as_str())
        .shown(if json { Show::Json } else { Show::Answer });
    Step {
        action: "repo-info",
        title: match json {
            true => String::new(),
            false => "Displaying repository summary information".to_owned(),
        },
        title_is_answer: true,
        task: Task::Borg { call, latest: None },
    }
}
