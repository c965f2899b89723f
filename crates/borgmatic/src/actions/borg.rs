//! `borg`: any command of Borg, with the repository and the passphrase of the configuration.

use crate::command_line::actions::AnyBorg;
use crate::plan::call::Show;
use crate::plan::{Context, Step, Task};

/// Commands that have commands of their own.
const WITH_SUB_COMMANDS: [&str; 2] = ["key", "debug"];

/// Plans it. The command finds the repository in `BORG_REPO` and the archive in `ARCHIVE`.
pub fn plan(flags: &AnyBorg, context: &Context<'_>) -> Step {
    let mut words = flags.words.iter().peekable();
    words.next_if(|word| *word == "--");
    let command = words.next().cloned().unwrap_or_default();
    let mut call = context.call(&command);
    if WITH_SUB_COMMANDS.contains(&command.as_str()) {
        call = call.words(words.next());
    }
    let call = call
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .value("--lock-wait", context.lock_wait())
        .words(words)
        .shown(Show::Through);
    let latest = (flags.archive.as_deref() == Some("latest")).then(|| context.latest());
    Step {
        action: "borg",
        title: "Running arbitrary Borg command".to_owned(),
        title_is_answer: false,
        task: Task::AnyBorg {
            call,
            archive: flags.archive.clone().filter(|name| name != "latest"),
            latest,
        },
    }
}
