//! `check`: the configured checks, each in its own rhythm.

use crate::checks;
use crate::command_line::actions::Check;
use crate::config::typed::{CheckOptions, Options, SpotLimits};
use crate::plan::call::{ArchiveName, Call, Show};
use crate::plan::{CheckTask, Context, PlanError, SpotTask, Step, Task};
use crate::run::manifest_calls;

use super::common::maintenance_filter;

/// Makes the commands for the checks that turn out to be due.
#[derive(Debug, Clone)]
pub struct CheckCommands {
    /// Before the flags that name checks.
    repair: bool,
    max_duration: Option<String>,
    filter: Vec<String>,
    /// The flags after those that name checks, with the repository.
    rest: Call,
    progress: bool,
    latest: Call,
    extract: Call,
}

/// Plans it.
///
/// # Errors
/// When `--only` names no check.
pub fn plan(flags: &Check, context: &Context<'_>) -> Result<Step, PlanError> {
    let options = context.options;
    let configured = options.checks.clone().unwrap_or_else(checks::defaults);
    let candidates = match is_checked(context) {
        true => candidates(flags, &configured)?,
        false => Vec::new(),
    };
    let reads_archives = candidates
        .iter()
        .any(|check| matches!(check.name.as_str(), "archives" | "data"));
    let archive_filter = match reads_archives {
        true => last(options)
            .into_iter()
            .chain(maintenance_filter(options))
            .collect(),
        false => Vec::new(),
    };
    // Repairing is a change, and there is no other way to do without one.
    let repair = flags.repair && !context.dry_run;
    let progress = options.output.progress;
    let spot = configured.iter().find_map(|check| check.spot);
    let task = CheckTask {
        spot: spot_task(spot, context),
        identify: (!flags.repair).then(|| context.identify()),
        checks: candidates,
        force: flags.force || flags.repair,
        record: !flags.repair && !context.dry_run,
        filter: archive_filter.clone(),
        commands: CheckCommands {
            repair,
            max_duration: max_duration(flags, &configured),
            filter: archive_filter,
            rest: rest(flags, context),
            progress: progress || repair,
            latest: context.latest(),
            extract: extract(context),
        },
    };
    Ok(Step {
        action: "check",
        title: "Running consistency checks".to_owned(),
        title_is_answer: false,
        task: Task::Check(Box::new(task)),
    })
}

/// `check_repositories` may name those that are checked.
fn is_checked(context: &Context<'_>) -> bool {
    let named = context.options.check_repositories.as_deref();
    named.is_none_or(|names| names.iter().any(|name| context.repository.is_called(name)))
}

fn spot_task(limits: Option<SpotLimits>, context: &Context<'_>) -> SpotTask {
    let repository = context.repository.path.as_str();
    let listing = |format: &str| {
        context
            .call("list")
            .number("--umask", context.umask())
            .number("--lock-wait", context.lock_wait())
            .words(["--log-json", "--json-lines", "--format", format])
            .archive(repository, &ArchiveName::FoundByRun)
            .shown(Show::Query)
    };
    SpotTask {
        limits,
        latest: context.latest(),
        manifest: manifest_calls(context.options, repository),
        rehearsal: super::create::rehearsal(context),
        listing: listing("{type}{path}{NL}"),
        hashes: listing("{xxh64}{path}{linktarget}{NL}"),
    }
}

/// The checks that may run: those configured, or those of `--only` with their configured rhythm.
fn candidates(flags: &Check, configured: &[CheckOptions]) -> Result<Vec<CheckOptions>, PlanError> {
    if flags.only.is_empty() {
        // The old way to have no checks.
        let disabled = configured.iter().any(|check| check.name == "disabled");
        return Ok(if disabled {
            Vec::new()
        } else {
            configured.to_vec()
        });
    }
    let named = flags.only.iter().map(|name| {
        let refuse = |reason| {
            Err(PlanError::Check {
                name: name.clone(),
                reason,
            })
        };
        match name.as_str() {
            "repository" | "archives" | "data" | "extract" | "spot" => {}
            _ => return refuse("possible are repository, archives, data, extract, spot"),
        }
        let known = configured.iter().find(|check| check.name == *name);
        Ok(known.cloned().unwrap_or_else(|| CheckOptions {
            name: name.clone(),
            frequency: None,
            only_run_on: Vec::new(),
            max_duration: None,
            spot: None,
        }))
    });
    named.collect()
}

fn last(options: &Options) -> Vec<String> {
    match options.check_last {
        Some(number) if number != 0 => vec!["--last".to_owned(), number.to_string()],
        _ => Vec::new(),
    }
}

fn max_duration(flags: &Check, configured: &[CheckOptions]) -> Option<String> {
    flags.max_duration.clone().or_else(|| {
        configured
            .iter()
            .find(|check| check.name == "repository")?
            .max_duration
            .map(|seconds| seconds.to_string())
    })
}

fn rest(flags: &Check, context: &Context<'_>) -> Call {
    let progress = context.options.output.progress;
    let mut call = context.call("check");
    call.words.clear();
    call.number("--umask", context.umask())
        .flag("--log-json", !(flags.repair || progress))
        .number("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .flag("--progress", progress)
        .words(context.extra("check"))
        .word(context.repository.path.as_str())
}

/// A rehearsal of extracting the newest archive.
fn extract(context: &Context<'_>) -> Call {
    let progress = context.options.output.progress;
    context
        .call("extract")
        .word("--dry-run")
        .flag("--log-json", !progress)
        .number("--lock-wait", context.lock_wait())
        .flag("--info", context.info())
        .words(context.debug_words(true))
        .flag("--progress", progress)
        .flag("--list", context.debug())
        .archive(&context.repository.path, &ArchiveName::FoundByRun)
        .shown(if progress { Show::Through } else { Show::Info })
}

impl CheckCommands {
    /// Makes the commands for the checks that Borg itself knows.
    pub fn borg(&self, due: &[&str]) -> Vec<Call> {
        let data = due.contains(&"data");
        let archives = data || due.contains(&"archives");
        let repository = due.contains(&"repository");
        match (archives, repository) {
            (false, false) => Vec::new(),
            // Borg cannot pause a check that reads archives too.
            (true, true) if self.max_duration.is_some() => {
                vec![
                    self.command(true, false, data),
                    self.command(false, true, false),
                ]
            }
            (archives, repository) => vec![self.command(archives, repository, data)],
        }
    }

    fn command(&self, archives: bool, repository: bool, data: bool) -> Call {
        let mut call = Call {
            words: Vec::new(),
            ..self.rest.clone()
        }
        .word("check")
        .flag("--repair", self.repair)
        .value(
            "--max-duration",
            self.max_duration.as_ref().filter(|_| repository),
        )
        .flag("--repository-only", !archives)
        .flag("--archives-only", !repository)
        .words(self.filter.iter().filter(|_| archives).cloned())
        .flag("--verify-data", data)
        .shown(if self.progress {
            Show::Through
        } else {
            Show::Info
        });
        call.words.extend(self.rest.words.iter().cloned());
        call.warning_is_error = true;
        call
    }

    /// Makes the commands of the extract check: find the newest archive, then read it.
    pub fn extract(&self) -> [Call; 2] {
        [self.latest.clone(), self.extract.clone()]
    }
}
