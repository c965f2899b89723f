//! Which checks are due: their rhythm, their days, and when they last ran.
//!
//! The times are kept as borgmatic keeps them, as modification times of empty files under
//! `STATE/borgmatic/checks/<repository id>/`, so that the two programs can take turns.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::config::typed::CheckOptions;

const DAY: u64 = 24 * 60 * 60;
const WEEKDAYS: [&str; 5] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"];
const WEEKEND: [&str; 2] = ["Saturday", "Sunday"];

/// How often a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    /// Every time.
    Always,
    /// When this time has passed.
    Every(Duration),
}

/// A text that is no frequency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no frequency; write \"always\" or, for instance, \"2 weeks\"")]
pub struct InvalidFrequency(String);

impl FromStr for Frequency {
    type Err = InvalidFrequency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidFrequency(text.to_owned());
        let text = text.trim().to_lowercase();
        if text.is_empty() || text == "always" {
            return Ok(Self::Always);
        }
        let (number, unit) = text.split_once(' ').ok_or_else(invalid)?;
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let seconds = match unit.strip_suffix('s').unwrap_or(unit) {
            "second" => 1,
            "minute" => 60,
            "hour" => 60 * 60,
            "day" => DAY,
            "week" => 7 * DAY,
            "month" => 30 * DAY,
            "year" => 365 * DAY,
            _ => return Err(invalid()),
        };
        let total = number.checked_mul(seconds).ok_or_else(invalid)?;
        Ok(Self::Every(Duration::from_secs(total)))
    }
}

/// The checks that run when the configuration names none.
pub fn defaults() -> Vec<CheckOptions> {
    ["repository", "archives"]
        .map(|name| CheckOptions {
            name: name.to_owned(),
            frequency: Some("1 month".to_owned()),
            only_run_on: Vec::new(),
            max_duration: None,
            spot: None,
        })
        .to_vec()
}

/// Why a check does not run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// It runs on other days only.
    Day {
        /// The days.
        days: Vec<String>,
    },
    /// It ran not long enough ago.
    Frequency {
        /// Time until it is due.
        remaining: Duration,
    },
}

/// Tells why a check is not due at `now`, on the day of the week `today`; `None` when it is.
pub fn not_due(
    check: &CheckOptions,
    last: Option<SystemTime>,
    now: SystemTime,
    today: &str,
) -> Option<Skip> {
    if !check.only_run_on.is_empty() {
        let days = days(&check.only_run_on);
        if !days.iter().any(|day| day == today) {
            return Some(Skip::Day { days });
        }
    }
    let frequency = check.frequency.as_deref().unwrap_or("always");
    let Ok(Frequency::Every(wait)) = frequency.parse() else {
        return None;
    };
    // A time in the future, after the clock was set back, must not put the check off for long.
    let due = last?.min(now).checked_add(wait)?;
    let remaining = due.duration_since(now).ok()?;
    (!remaining.is_zero()).then_some(Skip::Frequency { remaining })
}

fn days(names: &[String]) -> Vec<String> {
    let mut days: Vec<String> = Vec::new();
    for name in names {
        let group: Vec<&str> = match name.as_str() {
            "weekday" => WEEKDAYS.to_vec(),
            "weekend" => WEEKEND.to_vec(),
            name => vec![name],
        };
        for day in group {
            if !days.iter().any(|known| known == day) {
                days.push(day.to_owned());
            }
        }
    }
    days
}

/// Where the times of the checks of one repository are kept.
#[derive(Debug, Clone)]
pub struct CheckTimes {
    directory: PathBuf,
    archives_id: Option<String>,
}

impl CheckTimes {
    /// Names the place for a repository; `filter` are the flags that choose its archives.
    pub fn new(state_directory: &Path, repository_id: &str, filter: &[String]) -> Self {
        let archives_id = (!filter.is_empty())
            .then(|| HEXLOWER.encode(&Sha256::digest(filter.join(" ").as_bytes())));
        Self {
            directory: state_directory.join("checks").join(repository_id),
            archives_id,
        }
    }

    /// Returns when a check last ran.
    pub fn last(&self, check: &str) -> Option<SystemTime> {
        let time = |path: PathBuf| std::fs::metadata(path).ok()?.modified().ok();
        if !depends_on_archives(check) {
            return time(self.directory.join(check));
        }
        // All archives include those of any filter.
        let all = time(self.directory.join(check).join("all"));
        all.max(time(self.path(check)))
    }

    /// Records that a check ran at `now`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record(&self, check: &str, now: SystemTime) -> std::io::Result<()> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let path = self.path(check);
        if let Some(parent) = path.parent() {
            // Old versions kept a plain file where the directory is now.
            if depends_on_archives(check) && parent.is_file() {
                migrate(parent)?;
            }
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(&path)?;
        file.set_modified(now)
    }

    fn path(&self, check: &str) -> PathBuf {
        let path = self.directory.join(check);
        match depends_on_archives(check) {
            true => path.join(self.archives_id.as_deref().unwrap_or("all")),
            false => path,
        }
    }
}

/// Returns when a check of a repository last ran, whichever archives it was about.
pub fn newest(state_directory: &Path, repository_id: &str, check: &str) -> Option<SystemTime> {
    let path = state_directory
        .join("checks")
        .join(repository_id)
        .join(check);
    let time = |path: &Path| std::fs::metadata(path).ok()?.modified().ok();
    match std::fs::read_dir(&path) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| time(&entry.path()))
            .max(),
        Err(_) => time(&path),
    }
}

fn depends_on_archives(check: &str) -> bool {
    matches!(check, "archives" | "data")
}

/// Makes `archives/all` of the file `archives`.
fn migrate(path: &Path) -> std::io::Result<()> {
    let aside = path.with_extension("temp");
    std::fs::rename(path, &aside)?;
    std::fs::create_dir(path)?;
    std::fs::rename(aside, path.join("all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frequency: &str, days: &[&str]) -> CheckOptions {
        CheckOptions {
            name: "archives".into(),
            frequency: Some(frequency.into()),
            only_run_on: days.iter().map(|day| (*day).to_owned()).collect(),
            max_duration: None,
            spot: None,
        }
    }

    #[test]
    fn frequencies_are_always_or_a_number_and_a_unit() {
        let every = |seconds| Ok(Frequency::Every(Duration::from_secs(seconds)));
        assert_eq!("always".parse(), Ok(Frequency::Always));
        assert_eq!("2 weeks".parse::<Frequency>(), every(14 * DAY));
        assert_eq!("1 Month".parse::<Frequency>(), every(30 * DAY));
        assert_eq!("90 second".parse::<Frequency>(), every(90));
        for text in [
            "2",
            "weeks",
            "two weeks",
            "2 fortnights",
            "-1 days",
            "99999999999999999999 days",
        ] {
            assert!(text.parse::<Frequency>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_check_waits_for_its_time_and_its_day() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * DAY);
        let ago = |days| Some(now - Duration::from_secs(days * DAY));
        assert_eq!(
            not_due(&check("2 weeks", &[]), ago(14), now, "Monday"),
            None
        );
        assert_eq!(
            not_due(&check("2 weeks", &[]), ago(13), now, "Monday"),
            Some(Skip::Frequency {
                remaining: Duration::from_secs(DAY)
            })
        );
        assert_eq!(not_due(&check("2 weeks", &[]), None, now, "Monday"), None);
        assert_eq!(
            not_due(&check("always", &["weekend"]), None, now, "Sunday"),
            None
        );
        assert_eq!(
            not_due(
                &check("always", &["weekend", "Friday"]),
                None,
                now,
                "Monday"
            ),
            Some(Skip::Day {
                days: ["Saturday", "Sunday", "Friday"].map(str::to_owned).to_vec()
            })
        );
    }

    #[test]
    fn a_clock_set_back_does_not_put_checks_off_for_ever() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100 * DAY);
        let future = Some(now + Duration::from_secs(1000 * DAY));
        assert_eq!(
            not_due(&check("1 day", &[]), future, now, "Monday"),
            Some(Skip::Frequency {
                remaining: Duration::from_secs(DAY)
            })
        );
    }

    #[test]
    fn times_are_kept_where_borgmatic_looks() {
        let state = tempfile::tempdir().unwrap();
        let filter = ["--glob-archives", "{hostname}-*"].map(str::to_owned);
        let times = CheckTimes::new(state.path(), "ab12", &filter);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        times.record("repository", now).unwrap();
        times.record("archives", now).unwrap();
        let base = state.path().join("checks/ab12");
        assert!(base.join("repository").is_file());
        // sha256 of "--glob-archives {hostname}-*"
        let name = HEXLOWER.encode(&Sha256::digest(b"--glob-archives {hostname}-*"));
        assert!(base.join("archives").join(name).is_file());
        assert_eq!(times.last("repository"), Some(now));
        assert_eq!(times.last("archives"), Some(now));
        assert_eq!(times.last("data"), None);
        let seen = |check| newest(state.path(), "ab12", check);
        let seen = ["repository", "archives", "data"].map(seen);
        assert_eq!(seen, [Some(now), Some(now), None]);
        let all = CheckTimes::new(state.path(), "ab12", &[]);
        assert_eq!(all.last("archives"), None);
        all.record("archives", now + Duration::from_secs(5))
            .unwrap();
        assert_eq!(times.last("archives"), Some(now + Duration::from_secs(5)));
    }

    #[test]
    fn a_file_of_an_old_version_becomes_the_time_of_all_archives() {
        let state = tempfile::tempdir().unwrap();
        let base = state.path().join("checks/ab12");
        std::fs::create_dir_all(&base).unwrap();
        std::fs::write(base.join("archives"), "").unwrap();
        let times = CheckTimes::new(state.path(), "ab12", &["x".to_owned()]);
        times.record("archives", SystemTime::now()).unwrap();
        assert!(base.join("archives/all").is_file());
    }
}
