//! How a repository stands: what is remembered of its runs, seen from now.
//!
//! `fastness status`, the digest and the files for monitoring are views of a [`Standing`]. It is
//! made without opening the repository, so it is there at once, also when the repository is not.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::record::{
    ActionRecord, DatabaseRecord, Failures, NewestArchive, Place, Record, RepositoryName, Running,
};
use super::{RepositoryReport, Time, history};
use crate::checks::{self, Frequency};
use crate::config::paths::Variables;
use crate::config::{Configuration, Repository};
use crate::confirmations::Confirmations;
use crate::directories::state_directory;
use crate::output::progress::span;
use crate::timers::Schedule;

/// How old the newest archive may be where no schedule says when the next one is due.
pub const MAX_AGE: Duration = Duration::from_secs(48 * 60 * 60);

/// How long a check may be overdue: it waits for the next run, and perhaps for its day.
const CHECK_GRACE: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The span over which growth is told.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How good or bad something is. The numbers are exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All is as it should be.
    Ok = 0,
    /// Somebody should look.
    Warning = 1,
    /// There is no backup, or the last one failed.
    Failed = 2,
}

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub health: Health,
    /// What it is, in a word, for programs.
    pub kind: &'static str,
    /// What it is, in a sentence.
    pub text: String,
}

/// How a repository stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The configuration file.
    pub configuration: String,
    /// The repository.
    pub repository: RepositoryName,
    /// The worst of the findings.
    pub health: Health,
    /// What somebody should know.
    pub findings: Vec<Finding>,
    /// When an archive was last made.
    pub last_success: Option<Time>,
    /// How long ago that was.
    pub age_seconds: Option<u64>,
    /// The newest archive.
    pub archive: Option<NewestArchive>,
    /// By how much the repository grew in a week; less than nothing when archives went.
    pub week_growth_bytes: Option<i64>,
    /// When the next archive is due.
    pub next_run: Option<Time>,
    /// How many runs did not happen.
    pub missed_runs: u64,
    /// When each configured check last ran.
    pub checks: BTreeMap<String, CheckStanding>,
    /// Whether the repository was opened with nothing but a copy of its key and the passphrase; not
    /// known for one that was not reached, or has no key.
    pub key_confirmed: Option<bool>,
    /// What became of each database.
    pub databases: BTreeMap<String, DatabaseRecord>,
    /// What became of each action.
    pub actions: BTreeMap<String, ActionRecord>,
    /// What failed since the last run that went well.
    pub failures: Failures,
    /// The run that is at work.
    pub running: Option<Running>,
    /// The last run.
    pub last_run: Option<RepositoryReport>,
}

/// How a check stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckStanding {
    /// When it last ran and found nothing.
    pub last: Option<Time>,
    /// When it is due, if it has a rhythm of its own.
    pub due: Option<Time>,
}

/// What a standing is made with.
pub struct Observer<'a> {
    /// The time.
    pub now: Time,
    /// The zone that times without one are in.
    pub zone: &'a TimeZone,
    /// The environment.
    pub variable: Variables<'a>,
    /// Whether timers of a configuration are installed.
    pub has_timers: &'a dyn Fn(&Configuration) -> bool,
    /// How old the newest archive may be where no schedule says more.
    pub max_age: Duration,
}

impl Observer<'_> {
    /// Finds out how a repository stands.
    pub fn look(&self, configuration: &Configuration, repository: &Repository) -> Standing {
        let place = Place::of(configuration, repository, self.variable);
        let mut standing = Standing {
            configuration: configuration.path.display().to_string(),
            repository: RepositoryName {
                path: repository.path.clone(),
                label: repository.label.clone(),
                ..RepositoryName::default()
            },
            health: Health::Ok,
            findings: Vec::new(),
            last_success: None,
            age_seconds: None,
            archive: None,
            week_growth_bytes: None,
            next_run: None,
            missed_runs: 0,
            checks: BTreeMap::new(),
            key_confirmed: None,
            databases: BTreeMap::new(),
            actions: BTreeMap::new(),
            failures: Failures::default(),
            running: None,
            last_run: None,
        };
        let record = match place.read() {
            Ok(record) => record.unwrap_or_default(),
            Err(error) => {
                standing.find(Health::Failed, "record", error.to_string());
                return standing;
            }
        };
        let runs = history::read(&place.history()).unwrap_or_default();
        standing.repository.id.clone_from(&record.repository.id);
        standing
            .repository
            .encryption
            .clone_from(&record.repository.encryption);
        standing.last_success = record.last_success("create");
        let age = standing.last_success.map(|last| self.now.since(last));
        standing.age_seconds = age.map(|age| age.as_secs());
        standing.week_growth_bytes = self.growth(&record, &runs);
        self.look_at_runs(&mut standing, &record);
        self.look_at_schedule(&mut standing, &record, configuration);
        self.look_at_checks(&mut standing, &record, &runs, configuration, repository);
        self.look_at_key(&mut standing, configuration);
        standing.archive = record.archive;
        standing.databases = record.databases;
        standing.actions = record.actions;
        standing.failures = record.failures;
        standing.last_run = record.last_run;
        standing
    }

    fn ago(&self, time: Time) -> String {
        format!("{} ago", span(self.now.since(time)))
    }

    /// What became of the last run, and of databases.
    fn look_at_runs(&self, standing: &mut Standing, record: &Record) {
        if let Some(running) = &record.running {
            if is_alive(running.pid) {
                standing.running = Some(running.clone());
            } else {
                let text = format!("the run of {} was cut off", self.ago(running.begin));
                standing.find(Health::Failed, "interrupted", text);
            }
        }
        if let Some((run, error)) = record
            .last_run
            .as_ref()
            .and_then(|run| Some((run, run.error.as_ref()?)))
        {
            let text = format!(
                "the last run failed {} ({}): {}",
                self.ago(run.end),
                error.kind,
                error.summary
            );
            standing.find(Health::Failed, "failed", text);
        }
        for (name, database) in &record.databases {
            if let Some(error) = &database.error {
                let text = format!("{name} was not saved: {error}");
                standing.find(Health::Failed, "database", text);
            }
        }
        if standing.last_success.is_none() {
            let text = "no archive was made yet, as far as this machine knows".to_owned();
            standing.find(Health::Failed, "never", text);
        }
    }

    /// Whether runs come when they should.
    fn look_at_schedule(
        &self,
        standing: &mut Standing,
        record: &Record,
        configuration: &Configuration,
    ) {
        let schedule = Schedule::of(configuration);
        let timers = (self.has_timers)(configuration);
        let job = schedule
            .job("create")
            .filter(|_| schedule.configured || timers);
        let Some(job) = job else {
            let age = standing.last_success.map(|last| self.now.since(last));
            if let Some(age) = age.filter(|age| *age > self.max_age) {
                let text = format!("the newest archive is {} old", span(age));
                standing.find(Health::Warning, "stale", text);
            }
            return;
        };
        standing.next_run = job.calendar.next_after(self.now, self.zone);
        standing.missed_runs = schedule.missed(job, record, self.now, self.zone);
        if standing.missed_runs > 0 {
            let text = match standing.missed_runs {
                1 => "a scheduled run did not happen".to_owned(),
                missed => format!("{missed} scheduled runs did not happen"),
            };
            standing.find(Health::Warning, "missed", text);
        }
        if !timers {
            let text = format!(
                "the schedule is not at work: fastness timer install --enable --config {}",
                configuration.path.display()
            );
            standing.find(Health::Warning, "timers", text);
        }
    }

    /// Whether the checks of the configuration ran when they should.
    fn look_at_checks(
        &self,
        standing: &mut Standing,
        record: &Record,
        runs: &[RepositoryReport],
        configuration: &Configuration,
        repository: &Repository,
    ) {
        let defaults = checks::defaults();
        let configured = repository.options.checks.as_ref().unwrap_or(&defaults);
        let state = state_directory(&configuration.options.access, self.variable);
        let skipped = &repository.options.control.skip_actions;
        if skipped.iter().any(|action| action == "check") {
            return;
        }
        for check in configured.iter().filter(|check| check.name != "disabled") {
            let id = record.repository.id.as_deref();
            let file = id.and_then(|id| checks::newest(&state, id, &check.name));
            let own = record.checks.get(&check.name).copied();
            let last = own.max(file.map(Time::from));
            let rhythm = check.frequency.as_deref().unwrap_or("always").parse();
            let rhythm = match rhythm {
                Ok(Frequency::Every(rhythm)) => Some(rhythm),
                _ => None,
            };
            // One that never ran is due since the first run that is known.
            let since = last.or(runs.first().map(|run| run.begin));
            let due = rhythm.and_then(|rhythm| Some(since?.after(rhythm)));
            if let Some(due) = due.filter(|due| self.now > due.after(CHECK_GRACE)) {
                let text = format!(
                    "the {} check is overdue for {}",
                    check.name,
                    span(self.now.since(due))
                );
                standing.find(Health::Warning, "check", text);
            }
            let found = CheckStanding { last, due };
            standing.checks.insert(check.name.clone(), found);
        }
    }

    /// Whether somebody proved that the key is safe.
    fn look_at_key(&self, standing: &mut Standing, configuration: &Configuration) {
        let name = &standing.repository;
        let (Some(id), Some(encryption)) = (&name.id, &name.encryption) else {
            return;
        };
        if encryption == "none" {
            return;
        }
        let state = state_directory(&configuration.options.access, self.variable);
        let copies = Confirmations::new(&state).of(id);
        standing.key_confirmed = Some(copies.confirmed.is_some());
        if copies.confirmed.is_none() {
            let copy = match copies.exported {
                Some(_) => "a copy of its key was made, but never tried",
                None => {
                    "no copy of its key is known, and without the key nobody can read the archives"
                }
            };
            let text = format!("{copy}; run: fastness key confirm");
            standing.find(Health::Warning, "key", text);
        }
    }

    /// By how much the repository grew since the newest run that is older than a week, or else the
    /// first that is known.
    fn growth(&self, record: &Record, runs: &[RepositoryReport]) -> Option<i64> {
        let now = record.archive.as_ref()?.facts.repository_bytes;
        let mut sizes = runs.iter().filter_map(|run| {
            let bytes = run.archive()?.repository_bytes;
            Some((run.begin, bytes))
        });
        let first = sizes.clone().next();
        let older = sizes.rfind(|(begin, _)| self.now.since(*begin) >= WEEK);
        let (_, before) = older.or(first)?;
        let [now, before] = [now, before].map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        Some(now.saturating_sub(before))
    }
}

impl Standing {
    /// Adds something that somebody should know.
    pub fn find(&mut self, health: Health, kind: &'static str, text: String) {
        self.health = self.health.max(health);
        self.findings.push(Finding { health, kind, text });
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        let label = self.repository.label.as_deref();
        label.unwrap_or(&self.repository.path)
    }
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests;
