//! `repo-list`: the archives of a repository.

use crate::command_line::actions::RepoList;
use crate::plan::call::{Call, Show};
use crate::plan::{Context, Step, Task};

use super::common::prefix_or_filter;

/// Plans it.
pub fn plan(flags: &RepoList, context: &Context<'_>) -> Step {
    Step {
        action: "repo-list",
        title: match flags.json {
            true => String::new(),
            false => "Listing repository".to_owned(),
        },
        title_is_answer: true,
        task: Task::Borg {
            call: command(flags, context),
            latest: None,
        },
    }
}

/// The command that lists archives.
pub(super) fn command(flags: &RepoList, context: &Context<'_>) -> Call {
    let configured = context.options.making.archive_list_format.as_ref();
    let choice = &flags.choice;
    context
        .level(context.call("list"), flags.json)
        .number("--umask", context.umask())
        .word("--log-json")
        .number("--lock-wait", context.lock_wait())
        .words(prefix_or_filter(choice, context.options))
        .value("--format", flags.format.as_ref().or(configured))
        .value("--first", choice.first.as_ref())
        .flag("--json", flags.json)
        .value("--last", choice.last.as_ref())
        .flag("--short", flags.short)
        .value("--sort-by", choice.sort_by.as_ref())
        .words(context.extra("list"))
        .word(context.repository.path.as_str())
        .shown(if flags.json { Show::Json } else { Show::Answer })
}
