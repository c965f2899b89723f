//! `diff`: what differs between two archives.

use crate::command_line::actions::Diff;
use crate::plan::call::{ArchiveName, Call, Show, Word};
use crate::plan::{Context, Step, Task};

/// Plans it.
pub fn plan(flags: &Diff, context: &Context<'_>) -> Step {
    let archive = ArchiveName::new(&flags.archive);
    let second = ArchiveName::new(&flags.second_archive);
    let mut call = context
        .call("diff")
        .word("--log-json")
        .value("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(context.debug_words(true));
    if flags.only_patterns {
        call = call.word("--patterns-from");
        call.words.push(Word::PatternsFile);
    }
    let sort_keys = (!flags.sort_by.is_empty()).then(|| flags.sort_by.join(","));
    let call = call
        .flag("--numeric-ids", context.options.making.numeric_ids)
        .flag("--same-chunker-params", flags.same_chunker_params)
        .value("--sort-by", sort_keys)
        .flag("--content-only", flags.content_only)
        .words(context.extra("diff"))
        .archive(&context.repository.path, &archive);
    let found = [&archive, &second].contains(&&ArchiveName::FoundByRun);
    let call = second_archive(call, second).shown(Show::Answer);
    let latest = found.then(|| context.latest());
    Step {
        action: "diff",
        title: String::new(),
        title_is_answer: true,
        task: match flags.only_patterns {
            true => Task::Selected {
                call,
                latest,
                own_files: false,
            },
            false => Task::Borg { call, latest },
        },
    }
}

fn second_archive(call: Call, archive: ArchiveName) -> Call {
    match archive {
        ArchiveName::Known(name) => call.word(name),
        ArchiveName::FoundByRun => call.found_archive(),
    }
}
