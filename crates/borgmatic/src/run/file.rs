//! The run of one configuration file: its repositories with their retries, hooks around them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use crate::config::{Configuration, Repository};
use crate::hooks::command::{Scope, Side, State};
use crate::hooks::monitoring::net::Net;
use crate::hooks::monitoring::{self, Monitors, State as Watched};
use crate::output::log::{Level, Record};
use crate::plan::{self, Plan, RepositoryPlan};
use crate::report;

use super::account::Account;
use super::hooked::Hooks;
use super::outcome::RunError;
use super::report::Report;
use super::steps::Steps;
use super::{Loaded, Run, together};

/// What went wrong with a file.
#[derive(Default)]
struct Trouble {
    /// For the summary.
    records: Vec<Record>,
    /// The repository that failed last.
    repository: Option<Repository>,
}

/// A repository that is to be run.
pub(super) struct Turn {
    /// Its place in the configuration.
    pub number: usize,
    /// What is done.
    pub plan: RepositoryPlan,
    /// How often it was tried.
    pub tries: u32,
}

/// What became of a try.
pub(super) struct Tried {
    /// Its results in JSON.
    pub result: Result<Vec<Value>, RunError>,
    /// Whether it only failed because others did not wait for it.
    pub left_behind: bool,
}

/// What became of the repositories of a file.
struct Done {
    /// The error of the one that failed last.
    outcome: Result<(), RunError>,
    /// Those that are still to be run.
    queue: VecDeque<Turn>,
    /// Results in JSON, by the number of the repository.
    results: Vec<(usize, Vec<Value>)>,
}

impl Run<'_> {
    /// Names of the actions of the call, for hooks that run with some only.
    pub(super) fn actions(&self) -> Vec<&'static str> {
        self.line
            .actions
            .iter()
            .map(|action| action.name())
            .collect()
    }

    /// Runs the hooks around everything; an equal one in several files runs once. Tells whether
    /// they went well.
    pub(super) fn everything(&mut self, loaded: &Loaded, side: Side) -> bool {
        let (world, actions) = (self.runner.world, self.actions());
        let failed = |record: &Record| record.level == Level::Critical;
        let state = match self.summary.iter().any(failed) {
            true => State::Fail,
            false => State::Finish,
        };
        let mut seen = Vec::new();
        for configuration in &loaded.configurations {
            let options = &configuration.options;
            let hooks = Hooks::new(configuration, options, world, &self.log, self.line.dry_run);
            if let Err(error) = hooks.everything(side, &actions, state, &mut seen) {
                for line in error.lines() {
                    self.add(Level::Critical, line);
                }
                if let RunError::Signal { code } = error {
                    self.signal = Some(code);
                }
                return false;
            }
        }
        true
    }

    pub(super) fn run_file(&mut self, configuration: &Configuration, files: &[PathBuf]) {
        let name = configuration.path.display().to_string();
        let mut trouble = Trouble::default();
        self.log.set_prefix(&name);
        let result = self.watched(configuration, files, &mut trouble);
        self.after_file(configuration, result, &mut trouble);
        self.log.set_prefix("");
        if trouble.records.is_empty() {
            let text = format!("{name}: Successfully ran configuration file");
            self.add(Level::Info, text);
        } else {
            self.add(Level::Critical, format!("{name}: An error occurred"));
            self.summary.extend(trouble.records);
        }
    }

    /// Runs a file while services watch that it names.
    fn watched(
        &mut self,
        configuration: &Configuration,
        files: &[PathBuf],
        trouble: &mut Trouble,
    ) -> Result<(), RunError> {
        let log = self.log.clone();
        let credentials = Rc::clone(&self.runner.credentials);
        *self.account.borrow_mut() = report::Report::default();
        let mut monitors = self.is_watched().then(|| {
            let context = monitoring::Context {
                path: &configuration.path,
                log: &log,
                verbosity: (configuration.options.output.monitoring_verbosity)
                    .unwrap_or(monitoring::DEFAULT_VERBOSITY),
                dry_run: self.line.dry_run,
                variables: &self.runner.world.variables,
                credentials: &credentials,
                settings: &configuration.options.access.credentials,
                now: &self.runner.world.now,
                net: Net::new(&self.runner.world.variables),
                account: Rc::clone(&self.account),
            };
            Monitors::begin(&configuration.tree, context)
        });
        let mut tell = |state| {
            if let Some(monitors) = &mut monitors {
                monitors.tell(state);
            }
        };
        tell(Watched::Start);
        let result = self.run_plan(configuration, files, trouble);
        if let Err(error) = &result {
            self.note_unreached(configuration, error);
        }
        self.tell_watchers(configuration);
        tell(Watched::Log);
        tell(match result {
            Ok(()) | Err(RunError::SoftFailure) => Watched::Finish,
            Err(_) => Watched::Fail,
        });
        if let Some(monitors) = monitors {
            monitors.end();
        }
        result
    }

    /// Services watch what makes and keeps backups.
    pub(super) fn is_watched(&self) -> bool {
        let primary = ["create", "prune", "compact", "check"];
        self.actions().iter().any(|action| primary.contains(action))
    }

    /// Runs the repositories of a file between its hooks.
    fn run_plan(
        &mut self,
        configuration: &Configuration,
        files: &[PathBuf],
        trouble: &mut Trouble,
    ) -> Result<(), RunError> {
        let plan = plan::plan(configuration, self.line, self.log.verbosity())?;
        let (world, log, actions) = (self.runner.world, self.log.clone(), self.actions());
        let options = &configuration.options;
        let hooks = Hooks::new(configuration, options, world, &log, self.line.dry_run);
        hooks.around(Scope::Configuration, &actions, || {
            self.run_repositories(configuration, plan, files, trouble)
        })
    }

    /// Tells of what a file failed with, and runs the hooks for errors.
    fn after_file(
        &mut self,
        configuration: &Configuration,
        result: Result<(), RunError>,
        trouble: &mut Trouble,
    ) {
        let (world, log, actions) = (self.runner.world, self.log.clone(), self.actions());
        let options = &configuration.options;
        let hooks = Hooks::new(configuration, options, world, &log, self.line.dry_run);
        let error = match result {
            Ok(()) | Err(RunError::SoftFailure) => return,
            // A plan that cannot be made is a mistake of the call: nothing ran.
            Err(RunError::Plan(error)) => {
                let record = Record::new(Level::Critical, error.to_string());
                trouble.records.push(record);
                return;
            }
            Err(error) => error,
        };
        // What a repository failed with is told already.
        if trouble.records.is_empty() {
            self.note(&error, "Error running configuration", trouble);
        }
        let failed = trouble.repository.as_ref();
        let path = failed.map_or_else(String::new, |repository| repository.path.clone());
        let label = failed.and_then(|repository| repository.label.clone());
        let hooks = hooks.with([
            ("repository", path),
            ("repository_label", label.unwrap_or_default()),
            ("error", error.to_string()),
            ("output", error.output().join("\n")),
        ]);
        match hooks.point(Side::After, Scope::Error, &actions, State::Fail) {
            Ok(()) | Err(RunError::SoftFailure) => {}
            Err(error) => self.note(&error, "Error running after error hook", trouble),
        }
    }

    /// Tells of an error and keeps it for the summary.
    fn note(&mut self, error: &RunError, what: &str, trouble: &mut Trouble) {
        if let RunError::Signal { code } = error {
            self.signal = Some(*code);
        }
        self.tell(error, what, Level::Critical);
        let lines = [what.to_owned()].into_iter().chain(error.lines());
        let records = lines.map(|line| Record::new(Level::Critical, line));
        trouble.records.extend(records);
    }

    /// Runs the repositories of a file; one that fails goes to the end of the queue as often as
    /// its retries allow. Returns the error of the one that failed last.
    fn run_repositories(
        &mut self,
        configuration: &Configuration,
        plan: Plan,
        files: &[PathBuf],
        trouble: &mut Trouble,
    ) -> Result<(), RunError> {
        let mut done = Done {
            outcome: Ok(()),
            queue: VecDeque::new(),
            results: Vec::new(),
        };
        let plans = plan.repositories.into_iter().enumerate();
        let turns = plans.map(|(number, plan)| Turn {
            number,
            plan,
            tries: 0,
        });
        let (together, alone) = together::members(configuration, turns.collect());
        done.queue.extend(alone);
        let side_by_side = !together.is_empty();
        let plans: Vec<&RepositoryPlan> = together.iter().map(|turn| &turn.plan).collect();
        let tried = self.run_together(configuration, &plans, files);
        for (turn, tried) in together.into_iter().zip(tried) {
            self.log.set_prefix(turn.plan.repository.name());
            self.settle(configuration, turn, tried, &mut done, trouble);
        }
        while let Some(turn) = done.queue.pop_front() {
            let control = &turn.plan.repository.options.control;
            self.log.set_prefix(turn.plan.repository.name());
            let wait = u64::from(turn.tries).saturating_mul(control.retry_wait);
            if wait > 0 {
                let text = format!("Sleeping {wait}s before next retry");
                self.log.record(Level::Warning, &text);
                (self.runner.world.sleep)(Duration::from_secs(wait));
            }
            let tried = Tried {
                result: self.run_repository(configuration, &turn.plan, files),
                left_behind: false,
            };
            self.settle(configuration, turn, tried, &mut done, trouble);
        }
        self.log
            .set_prefix(&configuration.path.display().to_string());
        if side_by_side {
            done.results.sort_by_key(|(number, _)| *number);
        }
        let results = done.results.into_iter().flat_map(|(_, results)| results);
        self.results.extend(results);
        done.outcome
    }

    /// Decides what becomes of a repository that was tried.
    fn settle(
        &mut self,
        configuration: &Configuration,
        turn: Turn,
        tried: Tried,
        done: &mut Done,
        trouble: &mut Trouble,
    ) {
        let Turn {
            number,
            plan,
            tries,
        } = turn;
        let control = &plan.repository.options.control;
        let name = plan.repository.name().to_owned();
        let again = match &tried.result {
            Ok(_) | Err(RunError::Signal { .. }) => false,
            Err(_) => tried.left_behind || tries < control.retries,
        };
        if !again {
            self.remember(configuration, &plan.repository);
        }
        match tried.result {
            Ok(results) => done.results.push((number, results)),
            Err(RunError::Signal { code }) => {
                self.signal = Some(code);
                let text = format!("{name}: ended by a signal");
                trouble.records.push(Record::new(Level::Critical, text));
                trouble.repository = Some(plan.repository);
                done.outcome = Err(RunError::Signal { code });
                done.queue.clear();
            }
            Err(error) if again => {
                let text = "Error running actions for repository";
                self.tell(&error, text, Level::Warning);
                // Being too slow for others is no failure of its own.
                let (text, tries) = match tried.left_behind {
                    true => ("Trying again, alone".to_owned(), tries),
                    false => (
                        format!("Retrying... attempt {}/{}", tries + 1, control.retries),
                        tries + 1,
                    ),
                };
                self.log.record(Level::Warning, &text);
                done.queue.push_back(Turn {
                    number,
                    plan,
                    tries,
                });
            }
            Err(RunError::SoftFailure) => {}
            Err(error) => {
                let text = "Error running actions for repository";
                self.tell(&error, text, Level::Critical);
                let text = format!("{name}: {text}");
                let lines = [text].into_iter().chain(error.lines());
                let records = lines.map(|line| Record::new(Level::Critical, line));
                trouble.records.extend(records);
                trouble.repository = Some(plan.repository);
                done.outcome = Err(error);
            }
        }
    }

    /// The hooks of a repository, with what their commands may name.
    pub(super) fn hooks_of<'h>(
        &'h self,
        configuration: &Configuration,
        repository: &'h Repository,
    ) -> Hooks<'h> {
        let (world, dry_run) = (self.runner.world, self.line.dry_run);
        let paths = configuration.repositories.iter();
        let paths: Vec<&str> = paths.map(|repository| repository.path.as_str()).collect();
        let label = repository.label.clone().unwrap_or_default();
        Hooks::new(
            configuration,
            &repository.options,
            world,
            &self.log,
            dry_run,
        )
        .with([
            ("repository", repository.path.clone()),
            ("repository_label", label),
            ("repositories", paths.join(",")),
        ])
    }

    fn run_repository(
        &self,
        configuration: &Configuration,
        plan: &RepositoryPlan,
        files: &[PathBuf],
    ) -> Result<Vec<Value>, RunError> {
        let report = Report::new(self.person.then(|| self.log.clone()));
        if plan.steps.iter().any(|step| !step.title_is_answer) {
            report.repository(plan.repository.name(), &plan.repository.path);
        }
        let missed = self.remember_begin(configuration, plan);
        let mut account = Account::begin(&self.runner, &plan.repository, missed);
        let actions = self.actions();
        let hooks = self.hooks_of(configuration, &plan.repository);
        // Results of a try that fails must not stand beside those of the next.
        let mut results = Vec::new();
        let mut steps = Steps {
            runner: &self.runner,
            config_files: files,
            report: &report,
            hooks: &hooks,
            results: &mut results,
            account: &mut account,
        };
        let outcome = hooks.around(Scope::Repository, &actions, || steps.run(plan));
        self.account_for(configuration, plan, account, outcome.as_ref().err());
        outcome.map(|()| results)
    }

    /// The work on a repository is over.
    pub(super) fn account_for(
        &self,
        configuration: &Configuration,
        plan: &RepositoryPlan,
        account: Account,
        error: Option<&RunError>,
    ) {
        self.runner.kept.close_all();
        let report = account.end(plan, error);
        self.tell_journal(configuration, &report);
        self.account.borrow_mut().note(report);
    }

    /// Tells of an error when it happens; the summary repeats it.
    fn tell(&self, error: &RunError, what: &str, level: Level) {
        // What the command itself said is in the log already.
        for text in [what, &error.to_string()] {
            match self.person && level == Level::Critical {
                // A person sees the summary right below.
                true => self.log.aside(level, text),
                false => self.log.record(level, text),
            }
        }
    }
}
