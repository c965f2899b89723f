//! Calendar expressions as systemd's timers take them, and when they elapse.
//!
//! `[WEEKDAYS] [[YEAR-]MONTH-DAY] [HOUR:MINUTE[:SECOND]] [ZONE]`, each part with lists, ranges
//! (`Mon..Fri`), steps (`0/6`) and `*`; or a name such as `daily`. What systemd knows besides (`~`
//! for days before the end of a month, fractions of seconds) is refused, so that what is accepted
//! means the same to both. Pure: the time and the zone are given.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::report::Time;

/// How many days are looked through for the next time: a 29th of February that is a Sunday comes
/// every 28 years.
const HORIZON_DAYS: usize = 40 * 366;

/// Names and what they stand for.
const NAMES: [(&str, &str); 9] = [
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
];

const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// A text that is no calendar expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time such as \"daily\", \"06:30\", \"00/6:00\" or \"Sun *-*-* 03:00\" (see systemd.time(7))"
)]
pub struct InvalidCalendar(String);

/// When something happens again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    text: String,
    /// Monday is 1.
    weekdays: Values,
    date: [Values; 3],
    time: [Values; 3],
    zone: Option<TimeZone>,
}

/// The values that one part may have; none is any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Values(Vec<Range>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: i16,
    last: i16,
    step: i16,
}

impl Values {
    fn contain(&self, value: i16) -> bool {
        let inside = |range: &Range| {
            (range.first..=range.last).contains(&value) && (value - range.first) % range.step == 0
        };
        self.0.is_empty() || self.0.iter().any(inside)
    }

    /// The first allowed value from `from` to `last`.
    fn from(&self, from: i16, last: i16) -> Option<i16> {
        (from..=last).find(|value| self.contain(*value))
    }

    /// Reads a list of numbers from `least` to `most`, in which names may stand.
    fn read(text: &str, least: i16, most: i16, name: impl Fn(&str) -> Option<i16>) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = name(text).or_else(|| text.parse().ok().filter(|_| digits))?;
            (least..=most).contains(&number).then_some(number)
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (part, step) = match part.split_once('/') {
                Some((part, step)) => (part, Some(step.parse().ok().filter(|step| *step > 0)?)),
                None => (part, None),
            };
            let (first, last) = match (part, part.split_once("..")) {
                ("*", _) if step.is_none() => return Some(Self::default()),
                ("*", _) => (least, most),
                (_, Some((first, last))) => (number(first)?, number(last)?),
                // Without an end a step goes on to the last value.
                (one, None) if step.is_some() => (number(one)?, most),
                (one, None) => (number(one)?, number(one)?),
            };
            if first > last {
                return None;
            }
            let step = step.unwrap_or(1);
            ranges.push(Range { first, last, step });
        }
        Some(Self(ranges))
    }
}

fn weekday(name: &str) -> Option<i16> {
    let name = name.to_ascii_lowercase();
    let same = |day: &&'static str| **day == name || (name.len() == 3 && day.starts_with(&name));
    let index = WEEKDAYS.iter().position(same)?;
    i16::try_from(index + 1).ok()
}

impl FromStr for Calendar {
    type Err = InvalidCalendar;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = text.trim();
        // A zone may follow a name.
        let (word, rest) = wanted.split_once(' ').unwrap_or((wanted, ""));
        let word = word.to_ascii_lowercase();
        let name = NAMES.iter().find(|(name, _)| *name == word);
        let long = name.map(|(_, long)| format!("{long} {rest}"));
        let mut calendar = read(long.as_deref().unwrap_or(wanted))
            .ok_or_else(|| InvalidCalendar(text.to_owned()))?;
        wanted.clone_into(&mut calendar.text);
        Ok(calendar)
    }
}

fn read(text: &str) -> Option<Calendar> {
    let none = |_: &str| None;
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let zone = match words.last() {
        Some(&"UTC") => Some(TimeZone::UTC),
        Some(word) if word.contains('/') && word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Some(TimeZone::get(word).ok()?)
        }
        _ => None,
    };
    if zone.is_some() {
        words.pop();
    }
    let mut calendar = Calendar {
        text: String::new(),
        weekdays: Values::default(),
        date: Default::default(),
        time: ["0", "0", "0"].map(|zero| Values::read(zero, 0, 0, none).unwrap_or_default()),
        zone,
    };
    let mut rest = words.iter().peekable();
    if rest.peek()?.starts_with(|c: char| c.is_ascii_alphabetic()) {
        calendar.weekdays = Values::read(rest.next()?, 1, 7, weekday)?;
    }
    if let Some(date) = rest.next_if(|word| word.contains('-')) {
        let parts: Vec<&str> = date.split('-').collect();
        let (year, month, day) = match parts.as_slice() {
            [year, month, day] => (*year, *month, *day),
            [month, day] => ("*", *month, *day),
            _ => return None,
        };
        calendar.date = [
            Values::read(year, 1970, 2199, none)?,
            Values::read(month, 1, 12, none)?,
            Values::read(day, 1, 31, none)?,
        ];
    }
    if let Some(time) = rest.next() {
        let parts: Vec<&str> = time.split(':').collect();
        let (hour, minute, second) = match parts.as_slice() {
            [hour, minute] => (*hour, *minute, "0"),
            [hour, minute, second] => (*hour, *minute, *second),
            _ => return None,
        };
        calendar.time = [
            Values::read(hour, 0, 23, none)?,
            Values::read(minute, 0, 59, none)?,
            Values::read(second, 0, 59, none)?,
        ];
    }
    rest.next().is_none().then_some(calendar)
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Calendar {
    /// Returns the first time after `time`, in the zone it names or else in `zone`.
    pub fn next_after(&self, time: Time, zone: &TimeZone) -> Option<Time> {
        let zone = self.zone.as_ref().unwrap_or(zone);
        let after = Timestamp::from_second(time.0).ok()?;
        let begin = (after + 1.second()).to_zoned(zone.clone()).datetime();
        let mut day = begin.date();
        for offset in 0..HORIZON_DAYS {
            let from = match offset {
                0 => [begin.hour(), begin.minute(), begin.second()].map(i16::from),
                _ => [0; 3],
            };
            if self.contains_day(day)
                && let Some(at) = self.time_from(day, from)
            {
                let found = at.to_zoned(zone.clone()).ok()?.timestamp();
                // An hour that comes twice is taken once.
                if found > after {
                    return Some(Time(found.as_second()));
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// Counts the times after `begin` up to `end`, at most `most`.
    pub fn count(&self, begin: Time, end: Time, zone: &TimeZone, most: u64) -> u64 {
        let (mut time, mut count) = (begin, 0);
        while count < most {
            match self.next_after(time, zone) {
                Some(next) if next <= end => time = next,
                _ => break,
            }
            count += 1;
        }
        count
    }

    fn contains_day(&self, day: Date) -> bool {
        let [years, months, days] = &self.date;
        let weekday = match day.weekday() {
            Weekday::Sunday => 7,
            weekday => i16::from(weekday.to_monday_one_offset()),
        };
        years.contain(day.year())
            && months.contain(day.month().into())
            && days.contain(day.day().into())
            && self.weekdays.contain(weekday)
    }

    /// The first allowed time of a day that is not before this hour, minute and second.
    fn time_from(&self, day: Date, [hour, minute, second]: [i16; 3]) -> Option<DateTime> {
        let [hours, minutes, seconds] = &self.time;
        let (mut hour, mut minute, mut second) = (hour, minute, second);
        loop {
            let found = hours.from(hour, 23)?;
            if found > hour {
                (minute, second) = (0, 0);
            }
            hour = found;
            let Some(found) = minutes.from(minute, 59) else {
                (hour, minute, second) = (hour + 1, 0, 0);
                continue;
            };
            if found > minute {
                second = 0;
            }
            minute = found;
            if let Some(second) = seconds.from(second, 59) {
                let [hour, minute, second] =
                    [hour, minute, second].map(|value| i8::try_from(value).unwrap_or(0));
                return Some(day.at(hour, minute, second, 0));
            }
            (minute, second) = (minute + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, after: &str) -> String {
        let calendar: Calendar = text.parse().unwrap();
        let next = calendar.next_after(after.parse().unwrap(), &TimeZone::UTC);
        next.map_or_else(String::new, |time| time.to_string())
    }

    #[test]
    fn times_follow_each_other_as_systemd_says() {
        // Each was compared with systemd-analyze calendar --base-time.
        for (text, after, expected) in [
            ("00/6:00", "2026-11-23T11:20:17Z", "2026-11-23T12:00:00Z"),
            ("00/6:00", "2026-11-23T18:00:00Z", "2026-11-24T00:00:00Z"),
            ("daily", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("hourly", "2026-11-23T11:59:59Z", "2026-11-23T12:00:00Z"),
            ("weekly", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (
                "Mon..Fri 03:30",
                "2026-11-27T04:00:00Z",
                "2026-11-30T03:30:00Z",
            ),
            (
                "Sat,Sun *:0/20:30",
                "2026-11-28T23:40:30Z",
                "2026-11-29T00:00:30Z",
            ),
            (
                "*-02-29 12:00",
                "2026-01-01T00:00:00Z",
                "2028-02-29T12:00:00Z",
            ),
            (
                "01..03-01/10 05:00",
                "2026-01-02T00:00:00Z",
                "2026-01-11T05:00:00Z",
            ),
            ("quarterly", "2026-11-23T00:00:00Z", "2027-01-01T00:00:00Z"),
            (
                "*-*-1,15 22:00:05",
                "2026-11-15T22:00:05Z",
                "2026-12-01T22:00:05Z",
            ),
            (
                "12:00 Europe/Berlin",
                "2026-11-23T10:00:00Z",
                "2026-11-23T11:00:00Z",
            ),
            (
                "daily Europe/Berlin",
                "2026-11-23T10:00:00Z",
                "2026-11-23T23:00:00Z",
            ),
            ("2020-01-01", "2026-11-23T10:00:00Z", ""),
        ] {
            assert_eq!(next(text, after), expected, "{text}");
        }
    }

    #[test]
    fn what_systemd_may_read_otherwise_is_refused() {
        for text in [
            "",
            "soon",
            "25:00",
            "12:60",
            "Mon..",
            "5..3:00",
            "*-13-01",
            "0/0:00",
            "*-*~01",
            "12:00:00.5",
            "12:00 Nowhere/City",
            "Mon Tue 12:00",
            "-1:00",
            "12",
            "Mon 12:00 x",
        ] {
            assert!(text.parse::<Calendar>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_between_two_are_counted() {
        let calendar: Calendar = "00/6:00".parse().unwrap();
        let [begin, end] = ["2026-11-22T06:00:00Z", "2026-11-23T06:00:00Z"]
            .map(|time| time.parse::<Time>().unwrap());
        assert_eq!(calendar.count(begin, end, &TimeZone::UTC, 100), 4);
        assert_eq!(calendar.count(begin, end, &TimeZone::UTC, 3), 3);
        assert_eq!(calendar.count(end, begin, &TimeZone::UTC, 100), 0);
    }

    #[test]
    fn an_hour_that_a_clock_change_leaves_out_is_made_up_for() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let calendar: Calendar = "02:30".parse().unwrap();
        // 2026-03-29: 02:00 is followed by 03:00.
        let night: Time = "2026-03-28T12:00:00Z".parse().unwrap();
        let next = calendar.next_after(night, &zone).unwrap();
        assert_eq!(next.to_string(), "2026-03-29T01:30:00Z");
    }
}
