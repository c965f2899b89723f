//! Times for people and for JSON: local, as Borg writes them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Returns the time zone of this machine.
pub fn local_zone() -> TimeZone {
    TimeZone::system()
}

/// Returns a time with its day of the week: `Sun, 2026-11-22 18:52:38`.
pub fn with_weekday(micros: i64, zone: &TimeZone) -> String {
    zoned(micros, zone, "%a, %Y-%m-%d %H:%M:%S")
}

/// Returns a time for JSON: local, without zone, to the second but with six digits more.
pub fn iso(micros: i64, zone: &TimeZone) -> String {
    zoned(micros, zone, "%Y-%m-%dT%H:%M:%S.000000")
}

fn zoned(micros: i64, zone: &TimeZone, format: &str) -> String {
    // Rounding towards the past, also before 1970.
    let time = Timestamp::from_second(micros.div_euclid(1_000_000)).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_local_and_cut_to_the_second() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let micros = 1_795_373_558_999_999;
        assert_eq!(with_weekday(micros, &zone), "Sun, 2026-11-22 20:52:38");
        assert_eq!(iso(micros, &zone), "2026-11-22T20:52:38.000000");
        assert_eq!(iso(-1, &TimeZone::UTC), "1969-12-31T23:59:59.000000");
    }
}
