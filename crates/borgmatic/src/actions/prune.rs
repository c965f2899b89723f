//! `prune`: removes the archives that the retention rules do not keep.

use crate::config::typed::Statistics;
use crate::plan::call::Show;
use crate::plan::{Context, Step, Task};

use super::common::maintenance_filter;

/// Plans it.
pub fn plan(context: &Context<'_>) -> Step {
    let (options, output) = (context.options, &context.options.output);
    let keep = options.keep.iter();
    let statistics = match context.dry_run {
        true => Statistics::None,
        false => output.statistics,
    };
    let call = context
        .call("prune")
        .words(
            keep.flat_map(|(name, value)| [format!("--{}", name.replace('_', "-")), value.clone()]),
        )
        .words(maintenance_filter(options))
        .word("--log-json")
        .number("--umask", context.umask())
        .number("--lock-wait", context.lock_wait())
        .flag("--stats", statistics == Statistics::Standard)
        .flag("--quick-stats", statistics == Statistics::Quick)
        .flag("--info", context.info())
        .flag("--list", output.list_details)
        .words(context.debug_words(true))
        .flag("--dry-run", context.dry_run)
        .words(context.extra("prune"))
        .word(context.repository.path.as_str())
        .shown(
            match output.list_details || output.statistics != Statistics::None {
                true => Show::Answer,
                false => Show::Info,
            },
        );
    Step {
        action: "prune",
        title: format!("Pruning archives{}", context.dry_run_label()),
        title_is_answer: false,
        task: Task::Borg { call, latest: None },
    }
}
