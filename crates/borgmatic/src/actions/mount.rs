//! `mount` shows archives as a file system, `umount` takes it away.
//!
//! Where the file system is to be seen is looked for from the working directory, as all paths of a
//! configuration are.

use crate::command_line::actions::Mount;
use crate::config::typed::Options;
use crate::plan::call::{ArchiveName, Call, Show};
use crate::plan::{Context, Step, Task};

/// Plans the first.
pub fn plan(flags: &Mount, context: &Context<'_>) -> Step {
    let archive = flags.archive.as_deref().map(ArchiveName::new);
    let call = context
        .call("mount")
        .number("--umask", context.umask())
        .flag("--log-json", !flags.foreground)
        .number("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .value("--first", flags.first.as_ref())
        .flag("--foreground", flags.foreground)
        .value("--last", flags.last.as_ref())
        .value("-o", flags.options.as_ref())
        .words(context.extra("mount"));
    let call = match &archive {
        Some(archive) => call.archive(&context.repository.path, archive),
        None => call.word(context.repository.path.as_str()),
    };
    let call = call
        .word(flags.mount_point.as_str())
        .words(flags.paths.iter().cloned())
        .shown(match flags.foreground {
            true => Show::Through,
            false => Show::Info,
        });
    let latest = (archive == Some(ArchiveName::FoundByRun)).then(|| context.latest());
    Step {
        action: "mount",
        title: match &flags.archive {
            Some(archive) => format!("Mounting archive {archive}"),
            None => "Mounting repository".to_owned(),
        },
        title_is_answer: false,
        task: Task::Borg { call, latest },
    }
}

/// Returns the command for the second, which is about no repository.
pub fn umount(mount_point: &str, options: &Options, verbosity: i64) -> Call {
    let extra = options.extra.get("umount").map(String::as_str);
    let debug: &[&str] = match verbosity {
        2.. => &["--debug", "--show-rc"],
        _ => &[],
    };
    Call::new("umount", options)
        .word("--log-json")
        .flag("--info", verbosity == 1)
        .words(debug)
        .words(shlex::split(extra.unwrap_or_default()).unwrap_or_default())
        .word(mount_point)
}
