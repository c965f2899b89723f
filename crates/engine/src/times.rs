//! Times as Borg stores, reads and shows them.
//!
//! | where | form |
//! |---|---|
//! | manifest and archives | UTC, `2026-11-22T18:39:15.123456`, the fraction may be missing |
//! | `--timestamp` | UTC, from a year and day to seconds, or the mtime of a file |
//! | `--keep-within` | a number and `H`, `d`, `w`, `m` or `y` |
//! | output | the local zone, by [`LocalTime`] |
//!
//! File times are cut to what Borg can store: not before 1970, not after 2038-01-17.

mod local;

pub use self::local::LocalTime;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// The last second that Borg stores: two days before 32 bits end.
pub const MAX_SECONDS: i64 = (1 << 31) - 1 - 48 * 3600;

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The time of an archive has another form.
    #[error("invalid archive time {0:?}")]
    Archive(String),
    /// An interval ends with an unknown unit.
    #[error("Unexpected interval time unit \"{0}\": expected one of ['H', 'd', 'w', 'm', 'y']")]
    IntervalUnit(String),
    /// An interval begins with something else than a positive number.
    #[error("Unexpected interval number \"{0}\": expected an integer greater than 0")]
    IntervalNumber(String),
    /// A `--timestamp` has none of the known forms.
    #[error("invalid timestamp {0:?}")]
    Timestamp(String),
}

/// Cuts a file time to what Borg stores.
pub fn storable_nanos(nanos: i64) -> i64 {
    nanos.clamp(0, MAX_SECONDS * 1_000_000_000)
}

/// Returns a time in a zone, without the zone.
pub fn civil(time: Timestamp, zone: &TimeZone) -> DateTime {
    zone.to_datetime(time)
}

/// Reads the time of an archive.
///
/// # Errors
/// [`TimeError::Archive`] for other forms.
pub fn parse_archive_time(text: &str) -> Result<Timestamp, TimeError> {
    archive_time(text).ok_or_else(|| TimeError::Archive(text.to_owned()))
}

fn archive_time(text: &str) -> Option<Timestamp> {
    let mut scan = Scan(text.as_bytes());
    let date = scan.date()?;
    scan.literal("T")?;
    let (hour, minute) = scan.hour_and_minute()?;
    scan.literal(":")?;
    let second = scan.number(1, 2)?;
    let mut nanos = 0;
    if scan.literal(".").is_some() {
        let digits = scan.0.len();
        nanos = scan.number(1, 6)?;
        let digits = digits - scan.0.len();
        for _ in digits..9 {
            nanos *= 10;
        }
    }
    scan.end(date, hour, minute, second, nanos)
}

/// Writes the time of an archive, always with six digits after the point.
pub fn format_archive_time(time: Timestamp) -> String {
    let time = civil(time, &TimeZone::UTC);
    local::iso(time)
}

/// Reads the value of `--timestamp`, other than the name of a file.
///
/// # Errors
/// [`TimeError::Timestamp`] for unknown forms.
pub fn parse_timestamp_argument(text: &str) -> Result<Timestamp, TimeError> {
    let forms = [day_of_year, date_and_time];
    let time = forms.iter().find_map(|form| form(text));
    time.ok_or_else(|| TimeError::Timestamp(text.to_owned()))
}

/// Returns the value of `--timestamp` when it names a file with this mtime.
pub fn timestamp_of_file(mtime_nanos: i64) -> Timestamp {
    let nanos = storable_nanos(mtime_nanos);
    // Within what a timestamp can be, by far.
    Timestamp::from_microsecond(local::micros_as_python(nanos)).unwrap_or_default()
}

fn day_of_year(text: &str) -> Option<Timestamp> {
    let mut scan = Scan(text.as_bytes());
    let year = i16::try_from(scan.number(4, 4)?).ok()?;
    scan.literal("-")?;
    let day = i16::try_from(scan.number(1, 3)?).ok()?;
    let date = Date::new(year, 1, 1)
        .ok()?
        .with()
        .day_of_year(day)
        .build()
        .ok()?;
    scan.end(date, 0, 0, 0, 0)
}

fn date_and_time(text: &str) -> Option<Timestamp> {
    let mut scan = Scan(text.as_bytes());
    let date = scan.date()?;
    let (mut hour, mut minute, mut second) = (0, 0, 0);
    let t = scan.literal("T").is_some();
    if t || scan.space().is_some() {
        (hour, minute) = scan.hour_and_minute()?;
        if scan.literal(":").is_some() {
            second = scan.number(1, 2)?;
            if t {
                let _ = scan.literal("Z").or_else(|| scan.literal("+00:00"));
            }
        }
    }
    scan.end(date, hour, minute, second, 0)
}

/// Reads a text from the left.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self
            .0
            .iter()
            .take(most)
            .take_while(|byte| byte.is_ascii_digit());
        let digits = digits.count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        std::str::from_utf8(number).ok()?.parse().ok()
    }

    fn literal(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    fn space(&mut self) -> Option<()> {
        let trimmed = self.0.trim_ascii_start();
        (trimmed.len() < self.0.len()).then(|| self.0 = trimmed)
    }

    fn date(&mut self) -> Option<Date> {
        let year = i16::try_from(self.number(4, 4)?).ok()?;
        self.literal("-")?;
        let month = i8::try_from(self.number(1, 2)?).ok()?;
        self.literal("-")?;
        let day = i8::try_from(self.number(1, 2)?).ok()?;
        Date::new(year, month, day).ok()
    }

    fn hour_and_minute(&mut self) -> Option<(i64, i64)> {
        let hour = self.number(1, 2)?;
        self.literal(":")?;
        Some((hour, self.number(1, 2)?))
    }

    /// Makes a time in UTC if nothing is left.
    fn end(
        &self,
        date: Date,
        hour: i64,
        minute: i64,
        second: i64,
        nanos: i64,
    ) -> Option<Timestamp> {
        if !self.0.is_empty() {
            return None;
        }
        let small = |value: i64| i8::try_from(value).ok();
        let nanos = i32::try_from(nanos).ok()?;
        let time = Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()?;
        let time = DateTime::from_parts(date, time);
        time.to_zoned(TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    }
}

/// Reads an interval such as `7d` as a number of hours; a month has 31 days, a year 365.
///
/// # Errors
/// [`TimeError::IntervalUnit`] or [`TimeError::IntervalNumber`] for the part that is wrong.
pub fn parse_interval(text: &str) -> Result<u64, TimeError> {
    let unit = text.chars().next_back();
    let hours = match unit {
        Some('H') => 1,
        Some('d') => 24,
        Some('w') => 24 * 7,
        Some('m') => 24 * 31,
        Some('y') => 24 * 365,
        other => {
            let unit = other.map(String::from).unwrap_or_default();
            return Err(TimeError::IntervalUnit(unit));
        }
    };
    let number = text.get(..text.len() - 1).unwrap_or_default();
    let count = number.trim().parse::<u64>().ok().filter(|&count| count > 0);
    count
        .and_then(|count| count.checked_mul(hours))
        .ok_or_else(|| TimeError::IntervalNumber(number.to_owned()))
}

#[cfg(test)]
mod tests;
