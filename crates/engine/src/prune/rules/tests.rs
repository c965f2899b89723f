//! A year of archives against what real Borg 1.4.5 keeps of it (`testdata/prune`).

use super::*;
use crate::times::parse_archive_time;
use serde_json::Value;

const YEAR: &str = include_str!("../../../../../testdata/prune/year.json");

fn options(json: &Value) -> KeepOptions {
    let number = |key: &str| json.get(key).map_or(0, |value| value.as_i64().unwrap());
    KeepOptions {
        within_hours: json.get("within").map(|value| value.as_u64().unwrap()),
        secondly: number("secondly"),
        minutely: number("minutely"),
        hourly: number("hourly"),
        daily: number("daily"),
        weekly: number("weekly"),
        monthly: number("monthly"),
        quarterly_13weekly: number("quarterly_13weekly"),
        quarterly_3monthly: number("quarterly_3monthly"),
        yearly: number("yearly"),
    }
}

fn archive(json: &Value) -> (String, Timestamp) {
    let text = |at: usize| json[at].as_str().unwrap();
    (text(0).to_owned(), parse_archive_time(text(1)).unwrap())
}

fn kept(year: &Value, archives: &[(String, Timestamp)], options: &KeepOptions) -> Value {
    let zone = TimeZone::posix(year["zone"].as_str().unwrap()).unwrap();
    let now = parse_archive_time(year["now"].as_str().unwrap()).unwrap();
    let list = archives.iter().map(|(name, time)| (name.as_bytes(), *time));
    let decisions = decide(list, options, now, &zone);
    assert_eq!(decisions.len(), archives.len());
    let kept = decisions.iter().filter_map(|decision| {
        let name = archives[decision.index].0.as_str();
        Some(match decision.kept? {
            Kept::Checkpoint => serde_json::json!([name, "checkpoint", 0]),
            Kept::Rule {
                rule,
                oldest,
                number,
            } => {
                let oldest = if oldest { "[oldest]" } else { "" };
                serde_json::json!([name, format!("{rule}{oldest}"), number])
            }
        })
    });
    kept.collect()
}

#[test]
fn a_year_of_archives_is_thinned_out_as_by_borg() {
    let year: Value = serde_json::from_str(YEAR).unwrap();
    let mut archives: Vec<_> = year["archives"]
        .as_array()
        .unwrap()
        .iter()
        .map(archive)
        .collect();
    let cases = year["cases"].as_array().unwrap();
    assert!(cases.len() >= 16);
    for case in cases {
        let options = options(&case["options"]);
        assert!(!options.is_empty());
        assert_eq!(
            kept(&year, &archives, &options),
            case["kept"],
            "{options:?}"
        );
    }
    archives.push(archive(&year["later_checkpoint"]));
    let case = &year["case_with_later_checkpoint"];
    let options = options(&case["options"]);
    assert_eq!(kept(&year, &archives, &options), case["kept"]);
}

#[test]
fn checkpoints_are_known_by_the_end_of_their_name() {
    for name in ["a.checkpoint", "a.checkpoint.1", ".checkpoint.22"] {
        assert!(is_checkpoint(name.as_bytes()), "{name}");
    }
    for name in [
        "checkpoint",
        "a.checkpoint.",
        "a.checkpoint1",
        "a.checkpoint.x",
        "",
        "12",
    ] {
        assert!(!is_checkpoint(name.as_bytes()), "{name}");
    }
}

#[test]
fn without_rules_or_archives_nothing_is_kept() {
    assert!(KeepOptions::default().is_empty());
    let options = KeepOptions {
        daily: 3,
        ..KeepOptions::default()
    };
    assert!(decide([], &options, Timestamp::UNIX_EPOCH, &TimeZone::UTC).is_empty());
}
