//! Keeps account of a run: what each step did becomes the report of its repository, and that is
//! remembered in the state directory.
//!
//! Runs that make and keep backups are remembered, rehearsals and questions are not. What cannot be
//! remembered is a warning: no backup fails for it.

use std::time::{Duration, Instant};

use crate::config::{Configuration, Repository};
use crate::hooks::dump::notes::DumpNotes;
use crate::output::log::Level;
use crate::plan::{RepositoryPlan, Step};
use crate::report::record::{Place, RecordError, Running};
use crate::report::{
    ActionReport, ArchiveReport, Failure, Outcome, Pruned, RepositoryReport, Time,
};

use super::Run;
use super::outcome::RunError;
use super::runner::Runner;

/// When a step began.
pub struct Begun {
    time: Time,
    clock: Instant,
}

impl Begun {
    /// It begins now.
    pub fn now(runner: &Runner<'_>) -> Self {
        Self {
            time: (runner.world.now)().into(),
            clock: Instant::now(),
        }
    }
}

/// What the steps of one repository did.
pub struct Account {
    begun: Begun,
    report: RepositoryReport,
    /// The checks of the step at work that found nothing.
    pub checks: Vec<String>,
    /// The dumps of the step at work.
    pub databases: DumpNotes,
}

impl Account {
    /// The work on a repository begins.
    pub fn begin(runner: &Runner<'_>, repository: &Repository) -> Self {
        // What earlier work found out is another's.
        drop(runner.take_facts());
        let begun = Begun::now(runner);
        Self {
            report: RepositoryReport {
                name: repository.name().to_owned(),
                path: repository.path.clone(),
                begin: begun.time,
                tries: 1,
                ..RepositoryReport::default()
            },
            begun,
            checks: Vec::new(),
            databases: DumpNotes::default(),
        }
    }

    /// Notes what became of a step.
    pub fn step(
        &mut self,
        runner: &Runner<'_>,
        step: &Step,
        begun: Begun,
        error: Option<&RunError>,
    ) {
        let facts = runner.take_facts();
        let report = &mut self.report;
        report.id = facts
            .repository
            .map(|id| id.to_string())
            .or(report.id.take());
        for (kind, count) in facts.warnings {
            *report.warnings.entry(kind).or_default() += count;
        }
        report.actions.push(ActionReport {
            action: step.action.to_owned(),
            outcome: match error {
                None => Outcome::Done,
                Some(RunError::SoftFailure) => Outcome::NotDone,
                Some(_) => Outcome::Failed,
            },
            begin: Some(begun.time),
            milliseconds: milliseconds(begun.clock.elapsed()),
            archive: facts.archive.map(|made| ArchiveReport {
                name: made.name,
                id: made.id,
                files: made.stats.files,
                original_bytes: made.stats.original_bytes,
                compressed_bytes: made.stats.compressed_bytes,
                deduplicated_bytes: made.stats.deduplicated_bytes,
                repository_bytes: made.repository_bytes,
            }),
            checks: std::mem::take(&mut self.checks),
            pruned: facts.pruned.map(|[kept, removed]| Pruned { kept, removed }),
            databases: std::mem::take(&mut self.databases).all(),
        });
    }

    /// The work is over.
    pub fn end(self, plan: &RepositoryPlan, error: Option<&RunError>) -> RepositoryReport {
        let mut report = self.report;
        report.end = report.begin.after(self.begun.clock.elapsed());
        let rest = plan.steps.iter().skip(report.actions.len());
        let rest: Vec<_> = rest.map(|step| not_done(step.action)).collect();
        report.actions.extend(rest);
        report.skipped = matches!(error, Some(RunError::SoftFailure));
        report.error = error.filter(|_| !report.skipped).map(failure);
        if let (Some(error), Some(last)) = (&mut report.error, failed(&report.actions)) {
            // What a check complains of is no trouble with sources.
            if last == "check" && error.kind == "source" {
                "integrity".clone_into(&mut error.kind);
            }
        }
        report
    }
}

fn failed(actions: &[ActionReport]) -> Option<&str> {
    let failed = |action: &&ActionReport| action.outcome == Outcome::Failed;
    actions
        .iter()
        .find(failed)
        .map(|action| action.action.as_str())
}

fn not_done(action: &str) -> ActionReport {
    ActionReport {
        action: action.to_owned(),
        ..ActionReport::default()
    }
}

fn failure(error: &RunError) -> Failure {
    Failure {
        kind: error.kind().to_owned(),
        exit_code: match error {
            RunError::Command { code, .. } | RunError::Signal { code } => Some(*code),
            _ => None,
        },
        text: error.lines().join("\n"),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Run<'_> {
    /// Tells whether this run makes or keeps backups, and is remembered.
    fn is_remembered(&self) -> bool {
        self.is_watched() && !self.line.dry_run
    }

    /// Remembers that the work on a repository begins.
    pub(super) fn remember_begin(&self, configuration: &Configuration, plan: &RepositoryPlan) {
        let actions = plan.steps.iter().map(|step| step.action.to_owned());
        let running = Running {
            begin: (self.runner.world.now)().into(),
            pid: std::process::id(),
            actions: actions.collect(),
        };
        self.remembering(configuration, &plan.repository, |place| {
            place.begin(running)
        });
    }

    /// Remembers what became of a repository, if it was worked on.
    pub(super) fn remember(&self, configuration: &Configuration, repository: &Repository) {
        let account = self.account.borrow();
        let mut reports = account.repositories.iter();
        if let Some(report) = reports.find(|report| report.path == repository.path) {
            self.remembering(configuration, repository, |place| place.finish(report));
        }
    }

    /// Notes repositories that were not reached because of an error before them.
    pub(super) fn note_unreached(&self, configuration: &Configuration, error: &RunError) {
        if matches!(error, RunError::SoftFailure | RunError::Plan(_)) {
            return;
        }
        let wanted = self.line.repository.as_deref();
        for repository in &configuration.repositories {
            let known = |report: &RepositoryReport| report.path == repository.path;
            let reached = self.account.borrow().repositories.iter().any(known);
            if reached || !wanted.is_none_or(|wanted| repository.is_called(wanted)) {
                continue;
            }
            let now = Time::from((self.runner.world.now)());
            let actions = self.actions().into_iter().map(not_done);
            self.account.borrow_mut().note(RepositoryReport {
                name: repository.name().to_owned(),
                path: repository.path.clone(),
                begin: now,
                end: now,
                tries: 1,
                actions: actions.collect(),
                error: Some(failure(error)),
                ..RepositoryReport::default()
            });
            self.remember(configuration, repository);
        }
    }

    fn remembering(
        &self,
        configuration: &Configuration,
        repository: &Repository,
        work: impl FnOnce(&Place) -> Result<(), RecordError>,
    ) {
        if !self.is_remembered() {
            return;
        }
        let variable = |name: &str| self.runner.world.variable(name);
        let place = Place::of(configuration, repository, &variable);
        if let Err(error) = work(&place) {
            let text = format!("What this run does cannot be remembered: {error}");
            self.log.record(Level::Warning, &text);
        }
    }
}
