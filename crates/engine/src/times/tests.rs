//! Expected values are those of real Borg 1.4.5 on the same inputs.

use super::*;

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

#[test]
fn times_of_archives_are_cut_to_the_second_towards_the_past() {
    for (micros, shown) in [
        (1_795_373_558_999_999, "2026-11-22T19:52:38.000000"),
        (-1, "1970-01-01T00:59:59.000000"),
    ] {
        assert_eq!(LocalTime::of_archive_micros(micros, &berlin()).iso(), shown);
    }
}

#[test]
fn file_times_are_rounded_and_cut_as_by_python() {
    for (nanos, shown, seconds) in [
        (0, "1970-01-01T01:00:00.000000", "0"),
        (999, "1970-01-01T01:00:00.000001", "0"),
        (
            1_700_000_000_123_456_789,
            "2023-11-14T23:13:20.123457",
            "1700000000",
        ),
        (
            1_700_000_000_123_456_500,
            "2023-11-14T23:13:20.123456",
            "1700000000",
        ),
        (
            1_711_846_799_999_999_999,
            "2024-03-31T03:00:00.000000",
            "1711846800",
        ),
        (
            1_729_990_800_000_002_500,
            "2024-10-27T02:00:00.000003",
            "1729990800",
        ),
        (-5, "1970-01-01T01:00:00.000000", "0"),
        (i64::MAX, "2038-01-17T04:14:07.000000", "2147310847"),
    ] {
        let time = LocalTime::of_file(nanos, &berlin());
        assert_eq!(time.iso(), shown);
        assert_eq!(time.strftime("%s"), seconds);
    }
}

#[test]
fn format_language_is_that_of_linux() {
    let time = LocalTime::of_file(1_704_432_005_123_456_000, &berlin());
    for (format, text) in [
        ("%a|%A|%b|%B|%h", "Fri|Friday|Jan|January|Jan"),
        (
            "%c|%x|%X|%r",
            "Fri Jan  5 06:20:05 2024|01/05/24|06:20:05|06:20:05 AM",
        ),
        (
            "%C|%d|%D|%e|%F|%g|%G",
            "20|05|01/05/24| 5|2024-01-05|24|2024",
        ),
        ("%H|%I|%j|%k|%l|%m|%M", "06|06|005| 6| 6|01|20"),
        ("%n|%t|%p|%P|%R|%S|%T", "\n|\t|AM|am|06:20|05|06:20:05"),
        ("%u|%U|%V|%w|%W|%y|%Y", "5|00|01|5|01|24|2024"),
        ("%z|%Z|%%|%f|%s", "||%|123456|1704432005"),
        ("%-d|%_d|%03d|%^a|%Ey|%Od", "5| 5|005|FRI|24|05"),
        ("%Q|x%", "%Q|x%"),
        ("<30", "<30"),
    ] {
        assert_eq!(time.strftime(format), text, "{format}");
    }
    assert_eq!(time.human(), "Fri, 2024-01-05 06:20:05");
    assert_eq!(time.iso_seconds(), "2024-01-05T06:20:05");
}

#[test]
fn placeholders_know_their_zone() {
    let time = Timestamp::from_second(1_704_428_405).unwrap();
    let local = LocalTime::with_zone(time, &berlin());
    assert_eq!(local.strftime("%H %z %Z"), "05 +0100 CET");
    let utc = LocalTime::with_zone(time, &TimeZone::UTC);
    assert_eq!(utc.strftime("%H %z %Z"), "04 +0000 UTC");
}

#[test]
fn archive_times_read_back_and_show_no_fractions() {
    let text = "2026-11-22T18:39:15.123456";
    let time = parse_archive_time(text).unwrap();
    assert_eq!(format_archive_time(time), text);
    let shown = LocalTime::of_archive(time, &berlin());
    assert_eq!(shown.iso(), "2026-11-22T19:39:15.000000");
    assert_eq!(shown.human(), "Sun, 2026-11-22 19:39:15");
    let whole = parse_archive_time("2026-11-22T18:39:15").unwrap();
    assert_eq!(format_archive_time(whole), "2026-11-22T18:39:15.000000");
    let short = parse_archive_time("2026-11-22T18:39:15.5").unwrap();
    assert_eq!(format_archive_time(short), "2026-11-22T18:39:15.500000");
    for text in [
        "",
        "2026-11-22",
        "2026-11-22T18:39:15Z",
        "2026-13-22T18:39:15",
        "0-0-0T0:0:0.",
    ] {
        assert!(parse_archive_time(text).is_err(), "{text}");
    }
}

#[test]
fn timestamp_arguments_have_many_forms() {
    for (text, time) in [
        ("2024-01-05T10:11:12Z", "2024-01-05T10:11:12"),
        ("2024-01-05T10:11:12+00:00", "2024-01-05T10:11:12"),
        ("2024-01-05T10:11:12", "2024-01-05T10:11:12"),
        ("2024-01-05  10:11:12", "2024-01-05T10:11:12"),
        ("2024-01-05T1:2", "2024-01-05T01:02:00"),
        ("2024-01-05 10:11", "2024-01-05T10:11:00"),
        ("2024-1-5", "2024-01-05T00:00:00"),
        ("2024-060", "2024-02-29T00:00:00"),
        ("2024-5", "2024-01-05T00:00:00"),
    ] {
        let parsed = parse_timestamp_argument(text).unwrap();
        assert_eq!(
            format_archive_time(parsed),
            format!("{time}.000000"),
            "{text}"
        );
    }
    for text in [
        "",
        "x",
        "2024-13-01",
        "2024-01-05 10:11:12Z",
        "2024-01-05T10",
        "2024-02-30",
    ] {
        assert!(parse_timestamp_argument(text).is_err(), "{text}");
    }
    let file = timestamp_of_file(1_700_000_000_123_456_789);
    assert_eq!(format_archive_time(file), "2023-11-14T22:13:20.123457");
}

#[test]
fn intervals_are_numbers_of_hours() {
    for (text, hours) in [
        ("1H", 1),
        ("2d", 48),
        ("3w", 504),
        ("4m", 2976),
        ("5y", 43800),
    ] {
        assert_eq!(parse_interval(text), Ok(hours));
    }
    let unit = TimeError::IntervalUnit("h".to_owned());
    assert_eq!(parse_interval("1h"), Err(unit));
    for number in ["0", "-1", "", "1.5", "99999999999999999999"] {
        let error = TimeError::IntervalNumber(number.to_owned());
        assert_eq!(parse_interval(&format!("{number}y")), Err(error));
    }
    assert!(parse_interval("").is_err());
}
