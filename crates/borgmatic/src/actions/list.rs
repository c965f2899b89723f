//! `list`: the archives of a repository, the files of one archive, or a search through them.

use crate::command_line::actions::{List, RepoList};
use crate::plan::call::{ArchiveName, Call, Show};
use crate::plan::{Context, Step, Task};

use super::repo_list;

/// Plans it.
pub fn plan(flags: &List, context: &Context<'_>) -> Step {
    let (title, task) = match &flags.archive {
        Some(name) => {
            let archive = ArchiveName::new(name);
            let latest = (archive == ArchiveName::FoundByRun).then(|| context.latest());
            let call = command(flags, context, &archive);
            (
                format!("Listing archive {name}"),
                Task::Borg { call, latest },
            )
        }
        None if flags.find.is_empty() => {
            let call = repo_list::command(&archives(flags, false), context);
            (
                "Listing archives".to_owned(),
                Task::Borg { call, latest: None },
            )
        }
        None => {
            let archives = repo_list::command(&archives(flags, true), context);
            let task = Task::Find {
                archives: archives.shown(Show::Query),
                paths: command(flags, context, &ArchiveName::FoundByRun),
            };
            ("Searching archives".to_owned(), task)
        }
    };
    Step {
        action: "list",
        title: if flags.json { String::new() } else { title },
        title_is_answer: true,
        task,
    }
}

/// The listing of archives that a call without an archive means, or that a search goes through.
fn archives(flags: &List, search: bool) -> RepoList {
    RepoList {
        short: search || flags.short,
        format: flags.format.clone().filter(|_| !search),
        json: flags.json && !search,
        choice: flags.choice.clone(),
    }
}

fn command(flags: &List, context: &Context<'_>, archive: &ArchiveName) -> Call {
    let configured = context.options.making.file_list_format.as_ref();
    context
        .level(context.call("list"), flags.json)
        .number("--umask", context.umask())
        .word("--log-json")
        .flag("--json-lines", flags.json)
        .number("--lock-wait", context.lock_wait())
        .value("--format", flags.format.as_ref().or(configured))
        .value("--exclude", flags.exclude.as_ref())
        .value("--exclude-from", flags.exclude_from.as_ref())
        .value("--pattern", flags.pattern.as_ref())
        .value("--patterns-from", flags.patterns_from.as_ref())
        .flag("--short", flags.short)
        .words(context.extra("list"))
        .archive(&context.repository.path, archive)
        .words(flags.paths.iter().cloned())
        .words(flags.find.iter().map(|find| search_pattern(find)))
        .shown(if flags.json {
            Show::Through
        } else {
            Show::Answer
        })
}

/// Makes a pattern of what is searched for, unless it is one.
fn search_pattern(find: &str) -> String {
    let mut chars = find.chars();
    let start: [Option<char>; 3] = [chars.next(), chars.next(), chars.next()];
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let is_pattern = match start {
        [Some(first), Some(' '), _] => "-!+RrPp".contains(first),
        [first, second, Some(':')] => is_word(first) && is_word(second),
        _ => false,
    };
    match is_pattern {
        true => find.to_owned(),
        false => format!("sh:**/*{find}*/**"),
    }
}
