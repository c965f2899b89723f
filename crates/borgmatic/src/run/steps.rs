//! Runs the steps of a plan on one repository.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::checks::{self, CheckTimes, Skip};
use crate::config::Repository;
use crate::directories::state_directory;
use crate::hooks::command::Scope;
use crate::output::log::Level;
use crate::output::progress::span;
use crate::plan::call::{Call, Environment, Show};
use crate::plan::{CheckTask, KeyTask, RepositoryPlan, Step, Task};

use super::account::{Account, Begun};
use super::hooked::Hooks;
use super::outcome::RunError;
use super::report::{self, Report};
use super::restore;
use super::runner::{Attached, Extra, Given, Runner, parse_json};
use super::selection::{Parts, Selection};
use super::spot;

/// Exit codes of a query for a repository that is not there.
const NO_REPOSITORY: [u8; 3] = [2, 13, 15];

/// Runs the steps of one repository.
pub struct Steps<'a> {
    /// Runs commands.
    pub runner: &'a Runner<'a>,
    /// All configuration files of the run.
    pub config_files: &'a [PathBuf],
    /// Tells people what was done.
    pub report: &'a Report,
    /// Commands around each action.
    pub hooks: &'a Hooks<'a>,
    /// JSON results of the whole run.
    pub results: &'a mut Vec<Value>,
    /// What was done.
    pub account: &'a mut Account,
}

impl Steps<'_> {
    /// Runs all steps; the first error ends them.
    ///
    /// # Errors
    /// When a step fails.
    pub fn run(&mut self, plan: &RepositoryPlan) -> Result<(), RunError> {
        self.run_some(&plan.steps, plan)
    }

    /// Runs some of the steps of a plan; the first error ends them.
    ///
    /// # Errors
    /// When a step fails.
    pub fn run_some(&mut self, steps: &[Step], plan: &RepositoryPlan) -> Result<(), RunError> {
        for step in steps {
            let hooks = self.hooks;
            let begun = Begun::now(self.runner);
            let result = hooks.around(Scope::Action, &[step.action], || self.told_step(step, plan));
            let facts = self.runner.take_facts();
            self.account.step(facts, step, begun, result.as_ref().err());
            result?;
        }
        Ok(())
    }

    /// Runs one step between what is said before it and after it.
    fn told_step(&mut self, step: &Step, plan: &RepositoryPlan) -> Result<(), RunError> {
        let latest = match &step.task {
            Task::Borg { latest, .. } => latest.as_ref(),
            _ => None,
        };
        let latest = latest.map(|latest| self.latest(latest, &plan.environment));
        let latest = latest.transpose()?;
        if !step.title.is_empty() {
            let level = match step.title_is_answer {
                true => Level::Answer,
                false => Level::Info,
            };
            let title = match (step.action, &latest) {
                // A listing tells whose it is; other titles repeat what was asked for.
                ("list", Some(archive)) => &format!("Listing archive {archive}"),
                _ => &step.title,
            };
            self.runner.log.record(level, title);
        }
        let begin = Instant::now();
        let done = self.step(step, latest, plan)?;
        self.report.step(step, &done, begin.elapsed());
        Ok(())
    }

    /// Runs one step and returns what people may want to know about it.
    fn step(
        &mut self,
        step: &Step,
        archive: Option<String>,
        plan: &RepositoryPlan,
    ) -> Result<String, RunError> {
        let environment = &plan.environment;
        match &step.task {
            Task::Borg { call, .. } => {
                let extra = Extra {
                    archive: archive.as_deref(),
                    report: match step.action {
                        "prune" => self.report_flag(call, "--list"),
                        _ => None,
                    },
                    ..Extra::default()
                };
                let given = self.runner.run(call, environment, extra)?;
                self.keep_result(call, &given, &plan.repository)?;
                Ok(match extra.report {
                    Some(_) => report::pruned(given.pruned),
                    None => archive.unwrap_or_default(),
                })
            }
            Task::Create { call, estimate, .. } => {
                let parts = Parts::of(&step.task, self.config_files);
                self.create(call, &parts, *estimate, plan)
            }
            Task::LookAhead { call, form } => self.look_ahead(call, *form, plan),
            Task::Restore(task) => restore::run(self.runner, task, plan),
            Task::RepoCreate {
                probe,
                encryption,
                create,
            } => self.repo_create(probe, encryption, create.as_ref(), environment),
            Task::Find { archives, paths } => self.find(archives, paths, environment),
            Task::Check(task) => self.check(task, plan),
            Task::Selected {
                call,
                latest,
                own_files,
            } => self.selected(call, latest.as_ref(), *own_files, plan),
            Task::Key(task) => self.key(task, environment),
            Task::Transfer { call, source } => self.transfer(call, source.as_ref(), environment),
            Task::AnyBorg {
                call,
                archive,
                latest,
            } => self.any_borg(call, archive.as_ref(), latest.as_ref(), plan),
            Task::Skipped(text) => {
                self.runner.log.record(Level::Info, text);
                Ok("not done in a dry run".to_owned())
            }
        }
    }

    /// The flag that makes a command tell its results, if a person wants them and no other
    /// output was asked for.
    pub(super) fn report_flag(&self, call: &Call, flag: &'static str) -> Option<&'static str> {
        (self.report.wants_results() && call.show == Show::Info).then_some(flag)
    }

    /// Keeps a JSON result, with the label of the repository in it.
    pub(super) fn keep_result(
        &mut self,
        call: &Call,
        given: &Given,
        repository: &Repository,
    ) -> Result<(), RunError> {
        if call.show != Show::Json {
            return Ok(());
        }
        let mut value = parse_json(&given.data).map_err(|source| RunError::Output {
            command: call.to_string(),
            source,
        })?;
        if let Some(Value::Object(members)) = value.get_mut("repository") {
            let label = repository.label.clone().unwrap_or_default();
            members.insert("label".to_owned(), Value::String(label));
        }
        self.results.push(value);
        Ok(())
    }

    /// The name of the newest archive.
    fn latest(&self, call: &Call, environment: &Environment) -> Result<String, RunError> {
        latest(self.runner, call, environment)
    }

    fn repo_create(
        &mut self,
        probe: &Call,
        encryption: &str,
        create: Option<&Call>,
        environment: &Environment,
    ) -> Result<String, RunError> {
        let extra = Extra {
            hidden: Some("Repository.DoesNotExist"),
            ..Extra::default()
        };
        let (code, given, output) = self.runner.attempt(probe, environment, extra)?;
        if NO_REPOSITORY.contains(&code) {
            let Some(create) = create else {
                let text = "Skipping repository creation (dry run)";
                self.runner.log.record(Level::Info, text);
                return Ok("not made in a dry run".to_owned());
            };
            self.runner.run(create, environment, Extra::default())?;
            return Ok(format!("made, {encryption}"));
        }
        if code >= 2 {
            return Err(RunError::Command {
                command: probe.to_string(),
                code,
                output,
            });
        }
        let value = parse_json(&given.data).map_err(|source| RunError::Output {
            command: probe.to_string(),
            source,
        })?;
        let found = value
            .get("encryption")
            .and_then(|encryption| encryption.get("mode"))
            .and_then(Value::as_str)
            .unwrap_or("unknown");
        if found != encryption {
            return Err(RunError::OtherEncryption {
                wanted: encryption.to_owned(),
                found: found.to_owned(),
            });
        }
        let text = "Repository already exists. Skipping creation.";
        self.runner.log.record(Level::Info, text);
        Ok("is there already".to_owned())
    }

    fn find(
        &mut self,
        archives: &Call,
        paths: &Call,
        environment: &Environment,
    ) -> Result<String, RunError> {
        let given = self.runner.run(archives, environment, Extra::default())?;
        for name in String::from_utf8_lossy(&given.data).lines() {
            if paths.show == Show::Answer {
                self.runner
                    .log
                    .record(Level::Answer, &format!("Listing archive {name}"));
            }
            let extra = Extra {
                archive: Some(name),
                ..Extra::default()
            };
            self.runner.run(paths, environment, extra)?;
        }
        Ok(String::new())
    }

    /// Runs a command that is told what the configuration selects.
    fn selected(
        &self,
        call: &Call,
        latest: Option<&Call>,
        own_files: bool,
        plan: &RepositoryPlan,
    ) -> Result<String, RunError> {
        let archive = latest
            .map(|latest| self.latest(latest, &plan.environment))
            .transpose()?;
        // What this program put into an archive is no source, and stays.
        let own: &[String] = match own_files {
            true => &["/borgmatic".to_owned()],
            false => &[],
        };
        let selection = Selection::make(self.runner, &plan.repository.options, own)?;
        let extra = Extra {
            patterns: selection.file(),
            archive: archive.as_deref(),
            ..Extra::default()
        };
        self.runner.run(call, &plan.environment, extra)?;
        Ok(archive.unwrap_or_default())
    }

    fn key(&self, task: &KeyTask, environment: &Environment) -> Result<String, RunError> {
        if let Some(file) = task.must_be_new.as_ref().filter(|file| file.exists()) {
            return Err(RunError::Exists(file.clone()));
        }
        if let Some(file) = task.must_exist.as_ref().filter(|file| !file.exists()) {
            return Err(RunError::Missing(file.clone()));
        }
        let environment = task.environment.as_ref().unwrap_or(environment);
        self.runner.run(&task.call, environment, Extra::default())?;
        if let Some(advice) = task.advice {
            self.runner.log.record(Level::Answer, advice);
        }
        Ok(String::new())
    }

    /// Copies archives. No Borg 1 can do that, so the engine does, whichever program makes archives.
    fn transfer(
        &self,
        call: &Call,
        source: Option<&Environment>,
        environment: &Environment,
    ) -> Result<String, RunError> {
        let environment = Environment {
            program: None,
            ..environment.clone()
        };
        let attached = Attached {
            other: source.cloned(),
            ..Attached::default()
        };
        let runner = self.runner;
        runner.run_attached(call, &environment, Extra::default(), attached)?;
        Ok(String::new())
    }

    /// Runs a command of the user, whose words may name the repository and the archive.
    fn any_borg(
        &self,
        call: &Call,
        archive: Option<&String>,
        latest: Option<&Call>,
        plan: &RepositoryPlan,
    ) -> Result<String, RunError> {
        let archive = match (archive, latest) {
            (Some(archive), _) => archive.clone(),
            (None, Some(latest)) => self.latest(latest, &plan.environment)?,
            (None, None) => String::new(),
        };
        let repository = plan.repository.path.as_str();
        let variables = [
            ("BORG_REPO", repository.to_owned()),
            ("ARCHIVE", archive.clone()),
        ];
        let call = call.with_variables(&variables);
        let extra = Extra {
            variables: &variables,
            ..Extra::default()
        };
        self.runner.run(&call, &plan.environment, extra)?;
        Ok(archive)
    }

    fn check(&mut self, task: &CheckTask, plan: &RepositoryPlan) -> Result<String, RunError> {
        let environment = &plan.environment;
        let times = match &task.identify {
            Some(identify) => Some(self.check_times(identify, task, plan)?),
            None => None,
        };
        let (due, next) = self.due(task, times.as_ref());
        let borg = |name: &&&str| matches!(**name, "repository" | "archives" | "data");
        let names: Vec<&str> = due.iter().filter(borg).copied().collect();
        for call in task.commands.borg(&names) {
            self.runner.run(&call, environment, Extra::default())?;
        }
        let mut done = names.clone();
        if names.contains(&"data") && !names.contains(&"archives") {
            // Reading the data of all archives is more than reading the archives.
            done.push("archives");
        }
        self.checked(task, times.as_ref(), &done)?;
        if due.contains(&"extract") {
            self.runner.log.record(Level::Info, "Running extract check");
            self.extract_check(task, environment)?;
            self.checked(task, times.as_ref(), &["extract"])?;
        }
        if due.contains(&"spot") {
            self.runner.log.record(Level::Info, "Running spot check");
            let archive = self.latest(&task.spot.latest, environment)?;
            spot::run(self.runner, &task.spot, &archive, plan)?;
            self.checked(task, times.as_ref(), &["spot"])?;
        }
        Ok(match (due.is_empty(), next) {
            (true, Some(next)) => format!("nothing due for {}", span(next)),
            (true, None) => "nothing due".to_owned(),
            (false, _) => format!("{}: no problems found", due.join(", ")),
        })
    }

    fn check_times(
        &self,
        identify: &Call,
        task: &CheckTask,
        plan: &RepositoryPlan,
    ) -> Result<CheckTimes, RunError> {
        let value = self.runner.query(identify, &plan.environment)?;
        let id = value
            .get("repository")
            .and_then(|repository| repository.get("id"))
            .and_then(Value::as_str)
            // It becomes the name of a directory.
            .filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()))
            .unwrap_or("unknown");
        let variable = |name: &str| self.runner.world.variable(name);
        let state: PathBuf = state_directory(&plan.repository.options.access, &variable);
        Ok(CheckTimes::new(Path::new(&state), id, &task.filter))
    }

    /// The checks that are due, and the time until the first of the others.
    fn due<'t>(
        &self,
        task: &'t CheckTask,
        times: Option<&CheckTimes>,
    ) -> (Vec<&'t str>, Option<Duration>) {
        let (now, today) = ((self.runner.world.now)(), (self.runner.world.weekday)());
        let mut due: Vec<&str> = Vec::new();
        let mut next: Option<Duration> = None;
        for check in &task.checks {
            let name = check.name.as_str();
            let last = times.and_then(|times| times.last(name));
            let skip = match task.force {
                true => None,
                false => checks::not_due(check, last, now, &today),
            };
            if let Some(skip) = &skip {
                self.runner.log.record(Level::Info, &skipping(name, skip));
            } else if !due.contains(&name) {
                due.push(name);
            }
            if let Some(Skip::Frequency { remaining }) = skip {
                next = Some(next.map_or(remaining, |next| next.min(remaining)));
            }
        }
        (due, next)
    }

    /// Keeps the time of checks that found nothing.
    fn checked(
        &mut self,
        task: &CheckTask,
        times: Option<&CheckTimes>,
        names: &[&str],
    ) -> Result<(), RunError> {
        let names_of = names.iter().map(|name| (*name).to_owned());
        self.account.checks.extend(names_of);
        let Some(times) = times.filter(|_| task.record) else {
            return Ok(());
        };
        for name in names {
            times
                .record(name, (self.runner.world.now)())
                .map_err(|source| RunError::System {
                    what: format!("recording the time of the {name} check"),
                    source,
                })?;
        }
        Ok(())
    }

    fn extract_check(&self, task: &CheckTask, environment: &Environment) -> Result<(), RunError> {
        let [latest, extract] = task.commands.extract();
        let archive = match self.latest(&latest, environment) {
            Err(RunError::NoArchives) => {
                let text = "No archives found. Skipping extract consistency check.";
                self.runner.log.record(Level::Warning, text);
                return Ok(());
            }
            archive => archive?,
        };
        let extra = Extra {
            archive: Some(&archive),
            ..Extra::default()
        };
        self.runner.run(&extract, environment, extra)?;
        Ok(())
    }
}

/// The name of the newest archive.
///
/// # Errors
/// When there is none, or it cannot be asked for.
pub fn latest(
    runner: &Runner<'_>,
    call: &Call,
    environment: &Environment,
) -> Result<String, RunError> {
    let value = runner.query(call, environment)?;
    let name = value
        .get("archives")
        .and_then(Value::as_array)
        .and_then(|archives| archives.last())
        .and_then(|archive| archive.get("name"))
        .and_then(Value::as_str)
        .ok_or(RunError::NoArchives)?;
    runner
        .log
        .record(Level::Debug, &format!("Latest archive is {name}"));
    Ok(name.to_owned())
}

fn skipping(name: &str, skip: &Skip) -> String {
    match skip {
        Skip::Day { days } => format!(
            "Skipping {name} check due to day of the week; check only runs on {} (use --force to check anyway)",
            days.join("/")
        ),
        Skip::Frequency { remaining } => format!(
            "Skipping {name} check due to configured frequency; {} until next check (use --force to check anyway)",
            span(*remaining)
        ),
    }
}
