//! Borg's retention rules over the names and times of archives.
//!
//! Rules are applied in a fixed order, from `within` over seconds to years. A period rule goes from
//! the newest to the oldest archive and keeps the newest one of each period (second, day, ...) that
//! no earlier rule keeps, until it has kept its number; if it runs out of archives before, it also
//! keeps the oldest one. Periods are those of the local time zone.
//!
//! Checkpoint archives are no backups: all of them go, but for the newest one while no later
//! archive exists.

use crate::times::civil;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How many archives each rule keeps; -1 is all, 0 switches a rule off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepOptions {
    /// Everything younger than this many hours (`--keep-within`).
    pub within_hours: Option<u64>,
    /// `--keep-last`, `--keep-secondly`.
    pub secondly: i64,
    /// `--keep-minutely`.
    pub minutely: i64,
    /// `--keep-hourly`.
    pub hourly: i64,
    /// `--keep-daily`.
    pub daily: i64,
    /// `--keep-weekly`: weeks of ISO 8601, from Monday on.
    pub weekly: i64,
    /// `--keep-monthly`.
    pub monthly: i64,
    /// `--keep-13weekly`: quarters of 13 ISO weeks.
    pub quarterly_13weekly: i64,
    /// `--keep-3monthly`: quarters of three months.
    pub quarterly_3monthly: i64,
    /// `--keep-yearly`.
    pub yearly: i64,
}

impl KeepOptions {
    /// Returns whether no rule is switched on: everything would go, which nobody can mean.
    pub fn is_empty(&self) -> bool {
        self.within_hours.unwrap_or(0) == 0 && self.periods().iter().all(|&(_, n)| n == 0)
    }

    fn periods(&self) -> [(Period, i64); 9] {
        [
            (Period::Second, self.secondly),
            (Period::Minute, self.minutely),
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::ThirteenWeeks, self.quarterly_13weekly),
            (Period::ThreeMonths, self.quarterly_3monthly),
            (Period::Year, self.yearly),
        ]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    ThirteenWeeks,
    ThreeMonths,
    Year,
}

impl Period {
    fn rule(self) -> &'static str {
        match self {
            Self::Second => "secondly",
            Self::Minute => "minutely",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::ThirteenWeeks => "quarterly_13weekly",
            Self::ThreeMonths => "quarterly_3monthly",
            Self::Year => "yearly",
        }
    }

    /// Returns the same for all times of one period, and another for the next one.
    fn of(self, time: DateTime) -> (i16, [i8; 5]) {
        let (month, day) = (time.month(), time.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        let week = time.date().iso_week_date();
        match self {
            Self::Second => (time.year(), [month, day, hour, minute, second]),
            Self::Minute => (time.year(), [month, day, hour, minute, 0]),
            Self::Hour => (time.year(), [month, day, hour, 0, 0]),
            Self::Day => (time.year(), [month, day, 0, 0, 0]),
            Self::Week => (week.year(), [week.week(), 0, 0, 0, 0]),
            Self::Month => (time.year(), [month, 0, 0, 0, 0]),
            // Week 53 belongs to the fourth quarter.
            Self::ThirteenWeeks => (week.year(), [((week.week() - 1) / 13).min(3), 0, 0, 0, 0]),
            Self::ThreeMonths => (time.year(), [(month - 1) / 3, 0, 0, 0, 0]),
            Self::Year => (time.year(), [0; 5]),
        }
    }
}

/// Why an archive is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// By a rule.
    Rule {
        /// Borg's name of it, such as `daily`.
        rule: &'static str,
        /// The rule was not satisfied, and this is the oldest archive of all.
        oldest: bool,
        /// How many this rule had kept, with this one.
        number: usize,
    },
    /// As the newest checkpoint, without an archive after it.
    Checkpoint,
}

/// What happens to one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Its place in the list that was given.
    pub index: usize,
    /// It is a checkpoint.
    pub checkpoint: bool,
    /// Why it is kept; it goes without a reason.
    pub kept: Option<Kept>,
}

/// Returns whether a name is that of a checkpoint: `….checkpoint` or `….checkpoint.<number>`.
pub fn is_checkpoint(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    let (head, _) = name.split_at(name.len() - digits);
    let base = match digits {
        0 => name,
        _ => match head.strip_suffix(b".") {
            None => return false,
            Some(base) => base,
        },
    };
    base.ends_with(b".checkpoint")
}

/// Decides about archives, given by name and time in the order of the manifest; returns the newest
/// one first.
pub fn decide<'a>(
    archives: impl IntoIterator<Item = (&'a [u8], Timestamp)>,
    options: &KeepOptions,
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<Decision> {
    let mut all: Vec<(Decision, Timestamp)> = archives
        .into_iter()
        .enumerate()
        .map(|(index, (name, time))| {
            let decision = Decision {
                index,
                checkpoint: is_checkpoint(name),
                kept: None,
            };
            (decision, time)
        })
        .collect();
    // Of archives with the same time the later in the manifest comes first.
    all.sort_by_key(|(_, time)| *time);
    all.reverse();
    if let Some((newest, _)) = all.first_mut()
        && newest.checkpoint
    {
        newest.kept = Some(Kept::Checkpoint);
    }
    let mut backups: Vec<Backup<'_>> = all
        .iter_mut()
        .filter(|(decision, _)| !decision.checkpoint)
        .map(|(decision, time)| Backup {
            time: *time,
            local: civil(*time, zone),
            kept: &mut decision.kept,
        })
        .collect();
    if let Some(hours) = options.within_hours {
        keep_within(&mut backups, hours, now);
    }
    for (period, number) in options.periods() {
        keep_periods(&mut backups, period, number);
    }
    all.into_iter().map(|(decision, _)| decision).collect()
}

struct Backup<'a> {
    time: Timestamp,
    local: DateTime,
    kept: &'a mut Option<Kept>,
}

fn keep_within(backups: &mut [Backup<'_>], hours: u64, now: Timestamp) {
    let seconds = i64::try_from(hours)
        .unwrap_or(i64::MAX)
        .saturating_mul(3600);
    let oldest = now
        .as_microsecond()
        .saturating_sub(seconds.saturating_mul(1_000_000));
    let mut number = 0;
    for backup in backups {
        if backup.time.as_microsecond() > oldest {
            number += 1;
            *backup.kept = Some(Kept::Rule {
                rule: "within",
                oldest: false,
                number,
            });
        }
    }
}

fn keep_periods(backups: &mut [Backup<'_>], period: Period, wanted: i64) {
    if wanted == 0 {
        return;
    }
    let satisfied = |number: usize| usize::try_from(wanted).is_ok_and(|wanted| number >= wanted);
    let rule = period.rule();
    let (mut last, mut number) = (None, 0);
    for backup in backups.iter_mut() {
        let current = Some(period.of(backup.local));
        if current == last {
            continue;
        }
        last = current;
        if backup.kept.is_none() {
            number += 1;
            *backup.kept = Some(Kept::Rule {
                rule,
                oldest: false,
                number,
            });
            if satisfied(number) {
                return;
            }
        }
    }
    // An unlimited rule (-1) has enough in any case.
    if let Some(backup) = backups.last_mut()
        && wanted > 0
        && backup.kept.is_none()
    {
        *backup.kept = Some(Kept::Rule {
            rule,
            oldest: true,
            number: number + 1,
        });
    }
}

#[cfg(test)]
mod tests;
