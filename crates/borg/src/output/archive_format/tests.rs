//! Expected texts are those of real Borg 1.4.5.

use super::*;

fn details() -> ArchiveDetails {
    ArchiveDetails {
        hostname: b"nas".to_vec(),
        username: b"root".to_vec(),
        comment: b"a \xff comment".to_vec(),
        end: Timestamp::from_microsecond(1_700_000_001_500_000).unwrap(),
        command_line: vec![b"borg".to_vec(), b"create".to_vec(), b"it's".to_vec()],
        verified: true,
    }
}

fn row() -> ArchiveRow<'static> {
    ArchiveRow {
        name: b"monday\xfe",
        id: ChunkId::new([0xab; 32]),
        time: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
    }
}

fn line(format: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let format = ArchiveFormat::new(format, &TimeZone::UTC).unwrap();
    format.write(&mut out, &row(), &details()).unwrap();
    out
}

fn text(format: &str) -> String {
    String::from_utf8(line(format)).unwrap()
}

#[test]
fn archives_are_listed_as_by_borg() {
    let id = "ab".repeat(32);
    let expected =
        format!("monday?                              Tue, 2023-11-14 22:13:20 [{id}]\n");
    assert_eq!(text(DEFAULT_ARCHIVE_FORMAT), expected);
    assert_eq!(text(SHORT_ARCHIVE_FORMAT), "monday?\n");
    assert_eq!(
        line("{barchive}/{bcomment}{NUL}"),
        b"monday\xfe/a \xff comment\0"
    );
    let all = "{name}|{comment}|{id:.4}|{tam}|{start:%F}|{end}|{hostname:>6}|{username}";
    let expected =
        "monday?|a ? comment|abab|verified|2023-11-14|Tue, 2023-11-14 22:13:21|   nas|root";
    assert_eq!(text(all), expected);
    assert_eq!(text("{command_line}"), "borg create 'it'\"'\"'s'");
}

#[test]
fn json_has_what_the_format_asks_for() {
    let format =
        ArchiveFormat::new("{archive}{end}{command_line}{comment}", &TimeZone::UTC).unwrap();
    let id = "ab".repeat(32);
    let expected = format!(
        "{{\"archive\": \"monday?\", \"barchive\": \"monday\\udcfe\", \"id\": \"{id}\", \
         \"name\": \"monday?\", \"start\": \"2023-11-14T22:13:20.000000\", \
         \"time\": \"2023-11-14T22:13:20.000000\", \"end\": \"2023-11-14T22:13:21.000000\", \
         \"command_line\": [\"borg\", \"create\", \"it's\"], \"comment\": \"a ? comment\"}}"
    );
    assert_eq!(format.json(&row(), &details()).to_line(), expected);
}

#[test]
fn metadata_are_needed_only_for_some_keys() {
    let needs = |format| {
        ArchiveFormat::new(format, &TimeZone::UTC)
            .unwrap()
            .needs_details()
    };
    assert!(!needs(DEFAULT_ARCHIVE_FORMAT));
    assert!(!needs("{barchive}{name}{start}{NL}"));
    assert!(needs("{comment}"));
    assert!(needs("{tam}"));
}

#[test]
fn unknown_keys_are_errors() {
    let error = ArchiveFormat::new("{path}", &TimeZone::UTC).unwrap_err();
    assert_eq!(error.msgid, "InvalidPlaceholder");
    let error = ArchiveFormat::new("{name:d}", &TimeZone::UTC).unwrap();
    let error = error
        .write(&mut Vec::new(), &row(), &details())
        .unwrap_err();
    assert_eq!(error.msgid, "PlaceholderError");
}
