//! The texts that stand for times in manifests and archives: UTC, ISO 8601, microseconds.
//!
//! `YYYY-MM-DDTHH:MM:SS.ffffff` without a zone; old ones may lack the fraction. As numbers they
//! are microseconds since 1970.

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Latest time that can be written, the end of the year 9999.
const MAX_MICROS: i64 = 253_402_300_799_999_999;

/// Earliest time that can be written, the beginning of the year 1.
const MIN_MICROS: i64 = -62_135_596_800_000_000;

/// Reads a time as microseconds since 1970.
pub fn parse(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let (date, time) = whole.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let in_range = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range || fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let scale = 10i64.pow(6 - u32::try_from(fraction.len()).ok()?);
    let seconds =
        days_since_1970(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    Some(seconds * MICROS_PER_SECOND + number(fraction)? * scale)
}

/// Writes a time given as microseconds since 1970; beyond the years 1 to 9999 the nearest of it.
pub fn format(micros: i64) -> String {
    let micros = micros.clamp(MIN_MICROS, MAX_MICROS);
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let (year, month, day) = date_of_day(seconds.div_euclid(SECONDS_PER_DAY));
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}",
        second / 3600,
        second / 60 % 60,
        second % 60,
        micros.rem_euclid(MICROS_PER_SECOND)
    )
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(number);
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

fn number(digits: &str) -> Option<i64> {
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days before the first of January of `year`, counted from the year 1.
fn days_before_year(year: i64) -> i64 {
    let full = year - 1;
    full * 365 + full / 4 - full / 100 + full / 400
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let months: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
    days_before_year(year) - days_before_year(1970) + months + day - 1
}

fn date_of_day(days: i64) -> (i64, i64, i64) {
    let from_year_1 = days + days_before_year(1970);
    // An estimate that is never too late and at most one year early.
    let mut year = (from_year_1 * 400 / 146_097 + 1).max(1);
    while days_before_year(year) > from_year_1 {
        year -= 1;
    }
    while days_before_year(year + 1) <= from_year_1 {
        year += 1;
    }
    let mut day = from_year_1 - days_before_year(year);
    let mut month = 1;
    while day >= days_in_month(year, month) {
        day -= days_in_month(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times_are_read_with_and_without_fraction() {
        assert_eq!(parse("1970-01-01T00:00:00"), Some(0));
        assert_eq!(parse("1970-01-01T00:00:00.000001"), Some(1));
        assert_eq!(parse("2000-02-29T12:34:56.5"), Some(951_827_696_500_000));
        assert_eq!(
            parse("2026-11-22T16:12:03.321568"),
            Some(1_795_363_923_321_568)
        );
        assert_eq!(parse("0001-01-01T00:00:00"), Some(MIN_MICROS));
        assert_eq!(parse("9999-12-31T23:59:59.999999"), Some(MAX_MICROS));
    }

    #[test]
    fn impossible_times_are_refused() {
        for text in [
            "",
            "T",
            "2026-11-22",
            "2026-11-22 16:12:03",
            "2026-02-29T00:00:00",
            "2026-13-01T00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01T00:00:00.",
            "2026-01-01T00:00:00.1234567",
            "2026-01-01T00:00:00Z",
            "-026-01-01T00:00:00",
            "2026-01-01T00:00:+1",
            "2026-1-1-1T00:00:00",
            "0000-01-01T00:00:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn written_times_read_back(micros in MIN_MICROS..=MAX_MICROS) {
            prop_assert_eq!(parse(&format(micros)), Some(micros));
        }

        #[test]
        fn later_times_are_greater_texts(a in MIN_MICROS..=MAX_MICROS, b in MIN_MICROS..=MAX_MICROS) {
            prop_assert_eq!(a.cmp(&b), format(a).cmp(&format(b)));
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "\\PC{0,40}") {
            if let Some(micros) = parse(&text) {
                prop_assert!((MIN_MICROS..=MAX_MICROS).contains(&micros));
            }
        }
    }
}
