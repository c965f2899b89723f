//! Keeps account of a run: what each step did becomes the report of its repository, and that is
//! remembered in the state directory.
//!
//! Runs that make and keep backups are remembered, rehearsals and questions are not. What cannot be
//! remembered is a warning: no backup fails for it.

use std::time::{Duration, Instant};

use fastness_borg::facts::Facts;
use jiff::tz::TimeZone;

use crate::config::{Configuration, Repository};
use crate::hooks::dump::notes::DumpNotes;
use crate::output::log::{Fact, Level};
use crate::plan::{RepositoryPlan, Step};
use crate::report::files;
use crate::report::present::Present;
use crate::report::record::{Place, RecordError, Running};
use crate::report::standing::MAX_AGE;
use crate::report::{
    ActionReport, ArchiveReport, Failure, Outcome, Pruned, RepositoryReport, Time,
};

use crate::timers::Schedule;
use crate::timers::install::is_installed;

use super::Run;
use super::outcome::RunError;
use super::runner::Runner;

/// When a step began.
pub struct Begun {
    time: Time,
    clock: Instant,
    took: Option<Duration>,
}

impl Begun {
    /// It begins now.
    pub fn now(runner: &Runner<'_>) -> Self {
        Self {
            time: (runner.world.now)().into(),
            clock: Instant::now(),
            took: None,
        }
    }

    /// It took so long, whatever was waited for afterwards.
    pub fn took(self, time: Duration) -> Self {
        Self {
            took: Some(time),
            ..self
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
    pub fn begin(runner: &Runner<'_>, repository: &Repository, missed: u64) -> Self {
        // What earlier work found out is another's.
        drop(runner.take_facts());
        let begun = Begun::now(runner);
        Self {
            report: RepositoryReport {
                name: repository.name().to_owned(),
                path: repository.path.clone(),
                begin: begun.time,
                tries: 1,
                missed,
                ..RepositoryReport::default()
            },
            begun,
            checks: Vec::new(),
            databases: DumpNotes::default(),
        }
    }

    /// Notes what became of a step, and what its commands found out.
    pub fn step(&mut self, facts: Facts, step: &Step, begun: Begun, error: Option<&RunError>) {
        let report = &mut self.report;
        report.id = facts
            .repository
            .map(|id| id.to_string())
            .or(report.id.take());
        report.encryption = facts.encryption.or(report.encryption.take());
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
            milliseconds: milliseconds(begun.took.unwrap_or_else(|| begun.clock.elapsed())),
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
    let said = error.output().last().cloned();
    let own = || error.to_string().lines().last().map(str::to_owned);
    Failure {
        kind: error.kind().to_owned(),
        exit_code: match error {
            RunError::Command { code, .. } | RunError::Signal { code } => Some(*code),
            _ => None,
        },
        summary: said.or_else(own).unwrap_or_default(),
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

    /// Remembers that the work on a repository begins. Returns how many scheduled runs did not
    /// happen in time before it.
    pub(super) fn remember_begin(
        &self,
        configuration: &Configuration,
        plan: &RepositoryPlan,
    ) -> u64 {
        let missed = self.missed(configuration, &plan.repository);
        if missed > 0 {
            let text =
                format!("Scheduled runs that did not happen in time before this one: {missed}");
            self.log.record(Level::Info, &text);
        }
        let actions = plan.steps.iter().map(|step| step.action.to_owned());
        let running = Running {
            begin: (self.runner.world.now)().into(),
            pid: std::process::id(),
            actions: actions.collect(),
        };
        self.remembering(configuration, &plan.repository, |place| {
            place.begin(running)
        });
        missed
    }

    fn missed(&self, configuration: &Configuration, repository: &Repository) -> u64 {
        let variable = |name: &str| self.runner.world.variable(name);
        let schedule = Schedule::of(configuration);
        let scheduled = schedule.configured || is_installed(&configuration.path, &variable);
        if !scheduled || !self.is_remembered() {
            return 0;
        }
        let place = Place::of(configuration, repository, &variable);
        // One that cannot be read is told when it is written.
        let record = place.read().ok().flatten().unwrap_or_default();
        let (now, zone) = ((self.runner.world.now)().into(), TimeZone::system());
        let actions = self.actions();
        let jobs = schedule.jobs.iter();
        let own = jobs.filter(|job| actions.contains(&job.name));
        own.map(|job| schedule.missed(job, &record, now, &zone))
            .max()
            .unwrap_or(0)
    }

    /// Remembers what became of a repository, if it was worked on.
    pub(super) fn remember(&self, configuration: &Configuration, repository: &Repository) {
        let account = self.account.borrow();
        let mut reports = account.repositories.iter();
        if let Some(report) = reports.find(|report| report.path == repository.path) {
            self.remembering(configuration, repository, |place| place.finish(report));
        }
    }

    /// Tells programs that read the journal what became of each action.
    pub(super) fn tell_journal(&self, configuration: &Configuration, report: &RepositoryReport) {
        for action in &report.actions {
            let (outcome, level) = match action.outcome {
                Outcome::Done => ("done", Level::Info),
                Outcome::Failed => ("failed", Level::Error),
                Outcome::NotDone => ("not done", Level::Info),
            };
            let seconds = action.milliseconds as f64 / 1000.0;
            let mut fields = vec![
                (
                    "FASTNESS_CONFIGURATION",
                    configuration.path.display().to_string(),
                ),
                ("FASTNESS_REPOSITORY", report.name.clone()),
                ("FASTNESS_ACTION", action.action.clone()),
                ("FASTNESS_OUTCOME", outcome.to_owned()),
                ("FASTNESS_SECONDS", seconds.to_string()),
            ];
            let archive = action.archive.as_ref();
            fields.extend(archive.map(|archive| ("FASTNESS_ARCHIVE", archive.name.clone())));
            if let Some(error) = report.error.as_ref().filter(|_| outcome == "failed") {
                fields.push(("FASTNESS_ERROR", error.kind.clone()));
                let code = error.exit_code;
                fields.extend(code.map(|code| ("FASTNESS_EXIT_CODE", code.to_string())));
            }
            self.log.fact(&Fact {
                level,
                text: &format!("{}: {} {outcome}", report.name, action.action),
                fields: &fields,
            });
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

    /// Writes the files that the configuration wants for those who watch.
    pub(super) fn tell_watchers(&self, configuration: &Configuration) {
        if !self.is_remembered() || !files::are_wanted(configuration) {
            return;
        }
        let variable = |name: &str| self.runner.world.variable(name);
        let now = (self.runner.world.now)();
        let one = std::slice::from_ref(configuration);
        let present = Present::of(one, None, MAX_AGE, now, &variable);
        for error in files::write(configuration, &present.standings, present.now, &variable) {
            self.log.record(Level::Warning, &format!("{error}"));
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
