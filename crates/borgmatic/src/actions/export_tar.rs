//! `export-tar`: an archive as a tar file.

use crate::command_line::actions::ExportTar;
use crate::plan::call::{ArchiveName, Show};
use crate::plan::{Context, Step, Task};

/// Plans it. In a dry run nothing is exported.
pub fn plan(flags: &ExportTar, context: &Context<'_>) -> Step {
    let archive = ArchiveName::new(&flags.archive);
    let streams = flags.destination == "-";
    let listed = context.options.output.list_details;
    let call = context
        .call("export-tar")
        .number("--umask", context.umask())
        .flag("--log-json", !streams)
        .number("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .flag("--list", listed)
        .words(context.debug_words(true))
        .value("--tar-filter", flags.tar_filter.as_ref())
        .value(
            "--strip-components",
            flags
                .strip_components
                .as_ref()
                .filter(|number| *number != "0"),
        )
        .words(context.extra("export_tar"))
        .archive(&context.repository.path, &archive)
        .word(flags.destination.as_str())
        .words(flags.paths.iter().cloned())
        .shown(match (streams, listed) {
            (true, _) => Show::Through,
            (false, true) => Show::Answer,
            (false, false) => Show::Info,
        });
    let latest = (archive == ArchiveName::FoundByRun).then(|| context.latest());
    Step {
        action: "export-tar",
        title: format!("Exporting archive {} as tar file", flags.archive),
        title_is_answer: false,
        task: match context.dry_run {
            true => Task::Skipped("Skipping export to tar file (dry run)"),
            false => Task::Borg { call, latest },
        },
    }
}
