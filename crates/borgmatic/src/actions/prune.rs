//! `prune`: removes the archives that the retention rules do not keep.

use crate::command_line::actions::Prune;
use crate::config::typed::Statistics;
use crate::plan::call::{Call, Show};
use crate::plan::{Context, Form, PlanError, Step, Task};

use super::common::maintenance_filter;

/// Plans it.
///
/// # Errors
/// When an estimate is asked for that cannot be, or in a form that does not go with the rest.
pub fn plan(flags: Prune, context: &Context<'_>) -> Result<Step, PlanError> {
    if flags.estimate && !context.dry_run {
        return Err(PlanError::EstimateOfRealRun { action: "prune" });
    }
    if flags.json && context.options.output.list_details {
        return Err(PlanError::PruneListDetails);
    }
    let call = command(context);
    Ok(Step {
        action: "prune",
        title: format!("Pruning archives{}", context.dry_run_label()),
        title_is_answer: false,
        task: match flags.estimate {
            true => Task::LookAhead {
                call,
                form: match flags.json {
                    true => Form::Json,
                    false => Form::Text,
                },
            },
            false => Task::Borg { call, latest: None },
        },
    })
}

fn command(context: &Context<'_>) -> Call {
    let (options, output) = (context.options, &context.options.output);
    let keep = options.keep.iter();
    let statistics = match context.dry_run {
        true => Statistics::None,
        false => output.statistics,
    };
    context
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
        )
}
