//! `info`: tells about archives.

use crate::command_line::actions::Info;
use crate::plan::call::{ArchiveName, Show, Word};
use crate::plan::{Context, Step, Task};

use super::common::archive_filter;

/// Plans it.
pub fn plan(flags: &Info, context: &Context<'_>) -> Step {
    let (options, choice) = (context.options, &flags.choice);
    let mut call = context
        .level(context.call("info"), flags.json)
        .number("--umask", context.umask())
        .word("--log-json")
        .number("--lock-wait", context.lock_wait());
    let mut latest = None;
    let archive = flags.archive.as_deref().map(ArchiveName::new);
    match (&choice.prefix, archive) {
        (Some(prefix), _) => call = call.words(["--glob-archives", &format!("{prefix}*")]),
        (None, Some(ArchiveName::FoundByRun)) => {
            latest = Some(context.latest());
            call = call.word("--glob-archives");
            call.words.push(Word::Archive(String::new()));
        }
        (None, Some(ArchiveName::Known(name))) => {
            call = call.words(archive_filter(Some(&name), &options.making, flags.json));
        }
        (None, None) => {
            let pattern = options.making.match_archives.as_deref();
            call = call.words(archive_filter(pattern, &options.making, flags.json));
        }
    }
    let call = call
        .value("--first", choice.first.as_ref())
        .flag("--json", flags.json)
        .value("--last", choice.last.as_ref())
        .value("--sort-by", choice.sort_by.as_ref())
        .words(context.extra("info"))
        .word(context.repository.path.as_str())
        .shown(if flags.json { Show::Json } else { Show::Answer });
    Step {
        action: "info",
        title: match flags.json {
            true => String::new(),
            false => "Displaying archive summary information".to_owned(),
        },
        title_is_answer: true,
        task: Task::Borg { call, latest },
    }
}
