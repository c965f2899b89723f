//! Times for people: the local zone, and the format language of `strftime`.

use super::{civil, storable_nanos};
use jiff::Timestamp;
use jiff::civil::{DateTime, Weekday};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// A time as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTime {
    time: DateTime,
    /// Seconds since 1970 of the same moment, for `%s`.
    seconds: i64,
    /// What `%z` and `%Z` give; both empty when the zone is not to be shown.
    offset: String,
    abbreviation: String,
}

impl LocalTime {
    /// Returns the time of an archive as Borg shows it: without fractions of a second.
    pub fn of_archive(time: Timestamp, zone: &TimeZone) -> Self {
        let seconds = time.as_microsecond().div_euclid(1_000_000);
        let whole = Timestamp::from_second(seconds).unwrap_or(time);
        Self::without_zone(whole, zone)
    }

    /// Returns a time in microseconds since 1970 as Borg shows times of archives.
    pub fn of_archive_micros(micros: i64, zone: &TimeZone) -> Self {
        Self::of_archive(
            Timestamp::from_microsecond(micros).unwrap_or_default(),
            zone,
        )
    }

    /// Returns the time of a file, cut to what Borg can store, to the microsecond.
    pub fn of_file(nanos: i64, zone: &TimeZone) -> Self {
        let micros = micros_as_python(storable_nanos(nanos));
        let time = Timestamp::from_microsecond(micros).unwrap_or_default();
        Self::without_zone(time, zone)
    }

    fn without_zone(time: Timestamp, zone: &TimeZone) -> Self {
        Self {
            time: civil(time, zone),
            seconds: time.as_microsecond().div_euclid(1_000_000),
            offset: String::new(),
            abbreviation: String::new(),
        }
    }

    /// Returns a time with its zone, for the placeholders `{now}` and `{utcnow}`.
    pub fn with_zone(time: Timestamp, zone: &TimeZone) -> Self {
        let info = zone.to_offset_info(time);
        let seconds = info.offset().seconds();
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.abs() / 60;
        Self {
            offset: format!("{sign}{:02}{:02}", minutes / 60, minutes % 60),
            abbreviation: info.abbreviation().to_owned(),
            ..Self::without_zone(time, zone)
        }
    }

    /// Returns `Sun, 2026-11-22 18:39:15`.
    pub fn human(&self) -> String {
        // Written for each line of a list, so without the detour over the format language.
        let day = match self.time.weekday() {
            Weekday::Monday => "Mon",
            Weekday::Tuesday => "Tue",
            Weekday::Wednesday => "Wed",
            Weekday::Thursday => "Thu",
            Weekday::Friday => "Fri",
            Weekday::Saturday => "Sat",
            Weekday::Sunday => "Sun",
        };
        let (year, month, day_of_month) = (self.time.year(), self.time.month(), self.time.day());
        let (hour, minute, second) = (self.time.hour(), self.time.minute(), self.time.second());
        format!("{day}, {year}-{month:02}-{day_of_month:02} {hour:02}:{minute:02}:{second:02}")
    }

    /// Returns `2026-11-22T18:39:15.123456`, as in JSON.
    pub fn iso(&self) -> String {
        iso(self.time)
    }

    /// Returns `2026-11-22T18:39:15`.
    pub fn iso_seconds(&self) -> String {
        let mut text = self.iso();
        text.truncate(text.len() - ".000000".len());
        text
    }

    /// Formats by Python's `strftime` on Linux, in the C locale.
    pub fn strftime(&self, format: &str) -> String {
        let mut out = String::new();
        let mut rest = format;
        while let Some((literal, after)) = rest.split_once('%') {
            out.push_str(literal);
            let is_flag = |c: char| "-_0^#".contains(c) || c.is_ascii_digit();
            let plain = after.trim_start_matches(is_flag);
            let flags = after.get(..after.len() - plain.len()).unwrap_or_default();
            let plain = plain.trim_start_matches(['E', 'O']);
            let mut chars = plain.chars();
            let Some(directive) = chars.next() else {
                out.push('%');
                rest = after;
                break;
            };
            rest = chars.as_str();
            self.directive(&mut out, flags, directive);
        }
        out.push_str(rest);
        out
    }

    fn directive(&self, out: &mut String, flags: &str, directive: char) {
        let micros = self.time.subsec_nanosecond() / 1000;
        // Writing to a string cannot fail.
        let _ = match directive {
            'f' => write!(out, "{micros:06}"),
            's' => write!(out, "{}", self.seconds),
            'z' => write!(out, "{}", self.offset),
            'Z' => write!(out, "{}", self.abbreviation),
            'c' => write!(out, "{}", self.strftime("%a %b %e %H:%M:%S %Y")),
            'x' => write!(out, "{}", self.strftime("%m/%d/%y")),
            'X' => write!(out, "{}", self.strftime("%H:%M:%S")),
            'r' => write!(out, "{}", self.strftime("%I:%M:%S %p")),
            _ => {
                let known = "aAbBCdDeFgGhHIjklmMnpPRStTuUVwWyY%".contains(directive);
                let format = format!("%{flags}{directive}");
                match strtime::format(&format, self.time) {
                    Ok(text) if known => write!(out, "{text}"),
                    _ => write!(out, "{format}"),
                }
            }
        };
    }
}

/// Writes date and time with six digits after the point.
pub(super) fn iso(time: DateTime) -> String {
    let (date, micros) = (time.date(), time.subsec_nanosecond() / 1000);
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Returns microseconds, rounded by way of a floating-point number of seconds as Python does it:
/// the last digit is shown to users and compared by programs.
pub(super) fn micros_as_python(nanos: i64) -> i64 {
    let seconds = nanos as f64 / 1e9;
    let whole = seconds.trunc();
    let micros = ((seconds - whole) * 1e6).round_ties_even();
    whole as i64 * 1_000_000 + micros as i64
}
