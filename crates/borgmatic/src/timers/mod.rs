//! When a configuration runs by itself: its schedule, and whether a run was missed.
//!
//! `fastness: schedule:` says when each action runs; without it there is a rhythm that suits most.
//! [`calendar`] understands the times, [`systemd`] makes units of them, [`install`] puts these into
//! place. A run counts as missed when its time, the random delay and [`GRACE`] are over and it has
//! not begun.

pub mod calendar;
pub mod install;
pub mod systemd;

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::checks::Frequency;
use crate::config::Configuration;
use crate::config::error::ConfigError;
use crate::config::options::EXTRAS;
use crate::config::tree::Node;
use crate::report::Time;
use crate::report::record::Record;
use calendar::Calendar;

/// How late a run may be beyond its random delay: timers are not exact, machines take time to start.
pub const GRACE: Duration = Duration::from_secs(60 * 60);

/// The most missed runs that are counted.
const MOST_MISSED: u64 = 1000;

/// The actions with their times when the configuration says nothing.
const DEFAULTS: [(&str, &str); 4] = [
    ("create", "00/6:00"),
    ("prune", AFTER_CREATE),
    ("compact", AFTER_CREATE),
    ("check", "daily"),
];

/// Says that an action follows each `create`.
const AFTER_CREATE: &str = "after create";

/// Says that no timer runs an action.
const OFF: &str = "off";

/// How long timers wait at most, so that not everybody calls a server at the same moment.
const RANDOM_DELAY: Duration = Duration::from_secs(30 * 60);

/// When a configuration runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Whether the configuration says anything about it.
    pub configured: bool,
    /// What runs.
    pub jobs: Vec<Job>,
    /// How long a timer waits at most.
    pub random_delay: Duration,
    /// Whether a run whose time passed while the machine was off runs when it is on again.
    pub catch_up: bool,
}

/// One thing that runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its name: that of its first action.
    pub name: &'static str,
    /// The words of its command line.
    pub actions: Vec<&'static str>,
    /// When it runs.
    pub calendar: Calendar,
}

impl Schedule {
    /// Reads it from a configuration that was validated.
    pub fn of(configuration: &Configuration) -> Self {
        let options = configuration.tree.get(EXTRAS);
        let node = options.and_then(|extras| extras.get("schedule"));
        let text = |key: &str| node?.get(key)?.as_text().map(str::to_owned);
        let mut jobs: Vec<Job> = Vec::new();
        let mut followers = Vec::new();
        for (action, default) in DEFAULTS {
            let given = text(action);
            let when = given.as_deref().unwrap_or(default).trim();
            let useless = given.is_none() && is_useless(action, configuration);
            if when == OFF || useless || is_skipped(action, configuration) {
                continue;
            }
            if when == AFTER_CREATE {
                followers.push(action);
            } else if let Ok(calendar) = when.parse() {
                jobs.push(Job {
                    name: action,
                    actions: vec![action],
                    calendar,
                });
            }
        }
        if let Some(create) = jobs.iter_mut().find(|job| job.name == "create") {
            create.actions.extend(followers);
        }
        jobs.extend(digest(configuration));
        Self {
            configured: node.is_some(),
            jobs,
            random_delay: text("random_delay")
                .and_then(|text| duration(&text))
                .unwrap_or(RANDOM_DELAY),
            catch_up: node
                .and_then(|node| node.get("catch_up"))
                .and_then(Node::as_boolean)
                .unwrap_or(true),
        }
    }

    /// The job that runs an action.
    pub fn job(&self, action: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.actions.contains(&action))
    }

    /// Counts the runs of a job that did not happen, by what is remembered of a repository. Where
    /// nothing is remembered, nothing is known to be missing.
    pub fn missed(&self, job: &Job, record: &Record, now: Time, zone: &TimeZone) -> u64 {
        let Some(last) = last_begin(record, job.name) else {
            return 0;
        };
        let late = self.random_delay.saturating_add(GRACE);
        let late = i64::try_from(late.as_secs()).unwrap_or(i64::MAX);
        let end = Time(now.0.saturating_sub(late));
        job.calendar.count(last, end, zone, MOST_MISSED)
    }
}

/// When an action was last begun, or should have been but for something that failed before it.
pub fn last_begin(record: &Record, action: &str) -> Option<Time> {
    let own = record.actions.get(action).and_then(|own| own.last_begin);
    let run = record.last_run.as_ref().filter(|run| {
        let mut actions = run.actions.iter();
        actions.any(|one| one.action == action)
    });
    let running = record.running.as_ref().filter(|running| {
        let mut actions = running.actions.iter();
        actions.any(|one| one == action)
    });
    [own, run.map(|run| run.begin), running.map(|run| run.begin)]
        .into_iter()
        .flatten()
        .max()
}

/// Returns when a calendar elapses next, in the zone of this machine, for people.
pub fn next_of(calendar: &Calendar) -> Option<String> {
    let zone = TimeZone::system();
    let next = calendar.next_after(Time::from(std::time::SystemTime::now()), &zone)?;
    let time = jiff::Timestamp::from_second(next.0).ok()?.to_zoned(zone);
    Some(time.strftime("%a %Y-%m-%d %H:%M:%S").to_string())
}

/// The summary by mail has a timer of its own.
fn digest(configuration: &Configuration) -> Option<Job> {
    let mail = configuration.tree.get(EXTRAS)?.get("mail")?;
    let calendar = match mail.get("digest")?.as_text()? {
        "weekly" => "Mon 07:00",
        _ => "07:00",
    };
    Some(Job {
        name: "digest",
        actions: vec!["digest"],
        calendar: calendar.parse().ok()?,
    })
}

fn is_skipped(action: &str, configuration: &Configuration) -> bool {
    let mut repositories = configuration.repositories.iter();
    repositories.all(|repository| {
        let skipped = &repository.options.control.skip_actions;
        skipped.iter().any(|name| name == action)
    })
}

/// Without a rule nothing may be removed; with all checks switched off there is nothing to check.
fn is_useless(action: &str, configuration: &Configuration) -> bool {
    let options = &configuration.options;
    let mut repositories = configuration.repositories.iter();
    match action {
        "prune" => repositories.all(|repository| repository.options.keep.is_empty()),
        "check" => {
            let mut checks = options.checks.iter().flatten();
            checks.any(|check| check.name == "disabled")
        }
        _ => false,
    }
}

/// A time such as `30 minutes`; `0` is none.
fn duration(text: &str) -> Option<Duration> {
    match text.trim() {
        "0" => Some(Duration::ZERO),
        text => match text.parse() {
            Ok(Frequency::Every(wait)) => Some(wait),
            _ => None,
        },
    }
}

/// Finds what is wrong in the schedule beyond types.
pub fn examine(root: &Node, errors: &mut Vec<ConfigError>) {
    let schedule = root.get(EXTRAS).and_then(|extras| extras.get("schedule"));
    for entry in schedule.map(Node::entries).unwrap_or_default() {
        // What is no text has a wrong type, which is told already.
        let Some(text) = entry.value.as_text().map(str::trim) else {
            continue;
        };
        let message = match entry.key.as_str() {
            "create" | "check" if text == AFTER_CREATE => {
                format!("{AFTER_CREATE:?} is for prune and compact")
            }
            "create" | "prune" | "compact" | "check" if text != OFF && text != AFTER_CREATE => {
                match text.parse::<Calendar>() {
                    Ok(_) => continue,
                    Err(error) => error.to_string(),
                }
            }
            "random_delay" if duration(text).is_none() => {
                "is no time such as \"30 minutes\"".to_owned()
            }
            _ => continue,
        };
        errors.push(ConfigError::Invalid {
            at: entry.value.at.clone(),
            option: format!("{EXTRAS}.schedule.{}", entry.key),
            message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadContext;
    use crate::config::load::load_text;
    use crate::report::record::{ActionRecord, Running};

    fn configuration(extra: &str) -> Configuration {
        let text = format!("source_directories: [/x]\nrepositories: [{{path: /r}}]\n{extra}");
        let context = LoadContext {
            variable: &|_| None,
            interpolate_environment: false,
            overrides: &[],
        };
        let tree = load_text(&text, "c.yaml").unwrap();
        Configuration::from_tree(vec!["c.yaml".into()], tree, context).unwrap()
    }

    fn told(extra: &str) -> String {
        let schedule = Schedule::of(&configuration(extra));
        let jobs = schedule.jobs.iter();
        let jobs: Vec<_> = jobs
            .map(|job| format!("{} at {}", job.actions.join(" "), job.calendar))
            .collect();
        jobs.join("; ")
    }

    #[test]
    fn without_a_word_archives_are_made_four_times_a_day_and_checked_daily() {
        assert_eq!(told(""), "create compact at 00/6:00; check at daily");
        assert_eq!(
            told("keep_daily: 7\n"),
            "create prune compact at 00/6:00; check at daily"
        );
        assert_eq!(
            told("keep_daily: 7\nskip_actions: [compact]\nchecks: [{name: disabled}]\n"),
            "create prune at 00/6:00"
        );
    }

    #[test]
    fn each_action_has_a_rhythm_of_its_own_where_one_is_given() {
        let extra = "\
keep_daily: 7
fastness:
    schedule: {create: hourly, prune: 'Sun 03:00', check: 'off', random_delay: 5 minutes, catch_up: false}
    mail: {to: [root], digest: weekly}
";
        assert_eq!(
            told(extra),
            "create compact at hourly; prune at Sun 03:00; digest at Mon 07:00"
        );
        let schedule = Schedule::of(&configuration(extra));
        assert!(schedule.configured && !schedule.catch_up);
        assert_eq!(schedule.random_delay.as_secs(), 300);
        assert_eq!(schedule.job("compact").unwrap().name, "create");
    }

    #[test]
    fn what_no_timer_understands_is_refused_with_its_place() {
        let text =
            "fastness:\n    schedule: {create: after create, check: soon, random_delay: much}\n";
        let tree = load_text(text, "c.yaml").unwrap();
        let mut errors = Vec::new();
        examine(&tree, &mut errors);
        let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[1].contains("schedule.check"), "{told:?}");
    }

    #[test]
    fn a_run_is_missed_when_it_has_not_begun_within_its_delay_and_an_hour() {
        let schedule = Schedule::of(&configuration(""));
        let job = schedule.job("create").unwrap();
        let time = |text: &str| text.parse::<Time>().unwrap();
        let missed =
            |record: &Record, now: &str| schedule.missed(job, record, time(now), &TimeZone::UTC);
        let mut record = Record::default();
        assert_eq!(missed(&record, "2026-11-23T12:00:00Z"), 0);
        let create = ActionRecord {
            last_begin: Some(time("2026-11-23T06:20:00Z")),
            ..ActionRecord::default()
        };
        record.actions.insert("create".to_owned(), create);
        assert_eq!(missed(&record, "2026-11-23T13:29:59Z"), 0);
        assert_eq!(missed(&record, "2026-11-23T13:30:00Z"), 1);
        assert_eq!(missed(&record, "2026-11-24T13:30:00Z"), 5);
        record.running = Some(Running {
            begin: time("2026-11-24T12:10:00Z"),
            actions: vec!["create".to_owned()],
            ..Running::default()
        });
        assert_eq!(missed(&record, "2026-11-24T13:30:00Z"), 0);
    }
}
