//! `delete` and `repo-delete`: archives, or a whole repository, go.

use crate::command_line::actions::{Delete, RepoDelete};
use crate::config::typed::Statistics;
use crate::plan::call::{Call, Show};
use crate::plan::{Context, Step, Task};

/// Plans `delete`. Without a choice of archives it means the whole repository, as in borgmatic.
pub fn plan(flags: &Delete, context: &Context<'_>) -> Step {
    let title = "Deleting archives".to_owned();
    if !flags.chooses_archives() {
        let whole = RepoDelete {
            force: flags.force,
            cache_only: flags.cache_only,
            keep_security_info: flags.keep_security_info,
        };
        return Step {
            action: "delete",
            title,
            title_is_answer: true,
            task: Task::Borg {
                call: repository_command(&whole, context),
                latest: None,
            },
        };
    }
    let latest = (flags.archive.as_deref() == Some("latest")).then(|| context.latest());
    Step {
        action: "delete",
        title,
        title_is_answer: true,
        task: Task::Borg {
            call: archives_command(flags, context),
            latest,
        },
    }
}

/// Plans `repo-delete`.
pub fn plan_repository(flags: &RepoDelete, context: &Context<'_>) -> Step {
    let cache = if flags.cache_only { " cache" } else { "" };
    Step {
        action: "repo-delete",
        title: format!("Deleting repository{cache}"),
        title_is_answer: true,
        task: Task::Borg {
            call: repository_command(flags, context),
            latest: None,
        },
    }
}

/// The filter of the configuration plays no part: what is deleted must be said.
fn archives_command(flags: &Delete, context: &Context<'_>) -> Call {
    let options = context.options;
    let call = begin(context)
        .word("--log-json")
        .number("--lock-wait", context.lock_wait())
        .flag("--list", options.output.list_details);
    let call = force(call, flags.force);
    let pattern = flags.match_archives.as_ref().map(|pattern| {
        let pattern = pattern.strip_prefix("sh:").unwrap_or(pattern);
        pattern.to_owned()
    });
    let call = match (pattern, flags.archive.as_deref()) {
        (Some(pattern), _) => call.word("--glob-archives").word(pattern),
        (None, Some("latest")) => call.word("--glob-archives").found_archive(),
        (None, Some(archive)) => call.word("--glob-archives").word(archive),
        (None, None) => call,
    };
    call.flag("--stats", options.output.statistics == Statistics::Standard)
        .flag("--cache-only", flags.cache_only)
        .flag("--keep-security-info", flags.keep_security_info)
        .flag("--save-space", flags.save_space)
        .value("--checkpoint-interval", flags.checkpoint_interval.as_ref())
        .value("--sort-by", flags.choice.sort_by.as_ref())
        .value("--first", flags.choice.first.as_ref())
        .value("--last", flags.choice.last.as_ref())
        .words(context.extra("delete"))
        .word(context.repository.path.as_str())
        .shown(Show::Answer)
}

/// Borg asks whether it may, unless it is forced or only the cache goes.
fn repository_command(flags: &RepoDelete, context: &Context<'_>) -> Call {
    let asks = flags.force == 0 && !flags.cache_only;
    let call = begin(context)
        .flag("--log-json", !asks)
        .number("--lock-wait", context.lock_wait())
        .flag("--list", context.options.output.list_details);
    force(call, flags.force)
        .flag("--cache-only", flags.cache_only)
        .flag("--keep-security-info", flags.keep_security_info)
        .words(context.extra("delete"))
        .word(context.repository.path.as_str())
        .shown(if asks { Show::Through } else { Show::Answer })
}

fn begin(context: &Context<'_>) -> Call {
    context
        .call("delete")
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .flag("--dry-run", context.dry_run)
        .number("--umask", context.umask())
}

fn force(call: Call, times: u8) -> Call {
    call.flag("--force", times > 0).flag("--force", times > 1)
}
