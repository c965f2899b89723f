//! `key export`, `key import` and `key change-passphrase`.

use std::path::PathBuf;

use crate::command_line::actions::{KeyExport, KeyImport};
use crate::plan::call::{Call, Environment, Passphrase, Show};
use crate::plan::{Context, KeyTask, Step, Task};

/// Plans the export. A file that is there is never overwritten.
pub fn export(flags: &KeyExport, context: &Context<'_>) -> Step {
    let file = flags.path.as_deref().filter(|path| *path != "-");
    let call = begin("export", file.is_some(), context)
        .flag("--paper", flags.paper)
        .flag("--qr-html", flags.qr_html)
        .words(context.extra("key_export"))
        .word(context.repository.path.as_str())
        .words(file)
        .shown(match file {
            Some(_) => Show::Answer,
            None => Show::Through,
        });
    step(
        "export",
        "Exporting repository key",
        match context.dry_run {
            true => Task::Skipped("Skipping key export (dry run)"),
            false => Task::Key(KeyTask {
                call,
                must_be_new: file.map(|file| in_working_directory(file, context)),
                must_exist: None,
                environment: None,
                advice: None,
            }),
        },
    )
}

/// Plans the import, from stdin unless a file is named.
pub fn import(flags: &KeyImport, context: &Context<'_>) -> Step {
    let file = flags.path.as_deref().filter(|path| *path != "-");
    let call = begin("import", true, context)
        .flag("--paper", flags.paper)
        .words(context.extra("key_import"))
        .word(context.repository.path.as_str())
        .word(file.unwrap_or("-"))
        .shown(if flags.paper {
            Show::Through
        } else {
            Show::Info
        });
    step(
        "import",
        "Importing repository key",
        match context.dry_run {
            true => Task::Skipped("Skipping key import (dry run)"),
            false => Task::Key(KeyTask {
                call,
                must_be_new: None,
                must_exist: file.map(|file| in_working_directory(file, context)),
                environment: None,
                advice: None,
            }),
        },
    )
}

/// Plans a change of the passphrase. Borg asks for the old and the new one: with the passphrase
/// of the configuration it would take that for both.
pub fn change_passphrase(context: &Context<'_>) -> Step {
    let call = begin("change-passphrase", false, context)
        .words(context.extra("key_change_passphrase"))
        .word(context.repository.path.as_str())
        .shown(Show::Through);
    let environment = Environment {
        passphrase: Passphrase::Inherited,
        ..Environment::of(context.options)
    };
    step(
        "change-passphrase",
        "Changing repository passphrase",
        match context.dry_run {
            true => Task::Skipped("Skipping change password (dry run)"),
            false => Task::Key(KeyTask {
                call,
                must_be_new: None,
                must_exist: None,
                environment: Some(environment),
                advice: Some(
                    "Don't forget to update your encryption_passphrase option (if needed)",
                ),
            }),
        },
    )
}

fn begin(command: &str, log_json: bool, context: &Context<'_>) -> Call {
    context
        .call("key")
        .word(command)
        .number("--umask", context.umask())
        .flag("--log-json", log_json)
        .number("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(context.debug_words(true))
}

fn in_working_directory(file: &str, context: &Context<'_>) -> PathBuf {
    let directory = context.options.sources.working_directory.as_deref();
    PathBuf::from(directory.unwrap_or_default()).join(file)
}

fn step(action: &'static str, title: &str, task: Task) -> Step {
    Step {
        action,
        title: title.to_owned(),
        title_is_answer: false,
        task,
    }
}
