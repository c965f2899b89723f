//! A year of four backups a day, pruned by the rules of a server, beside the real Borg.

use fastness_testkit::{Borg, Sandbox, forge};
use jiff::civil::date;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{ours, reference};

/// How many backups four a day make in a year.
const YEAR: usize = 1460;

/// What the server keeps.
const SERVER: &str =
    "--keep-within 24H --keep-daily 7 --keep-weekly 4 --keep-monthly 6 --keep-yearly 2";

/// Names and times of backups, every six hours from `from` on.
fn series(prefix: &str, from: Timestamp, count: usize) -> Vec<(String, String)> {
    let at = |index: usize| from + SignedDuration::from_hours(6 * index as i64);
    let named = |time: Timestamp| {
        let time = time.to_zoned(TimeZone::UTC);
        (
            time.strftime(&format!("{prefix}-%Y-%m-%d-%H%M"))
                .to_string(),
            time.strftime("%Y-%m-%dT%H:%M:%S.000000").to_string(),
        )
    };
    (0..count).map(at).map(named).collect()
}

/// A repository with a year that has a leap day and changes of the clock, and the last days.
fn place() -> Sandbox {
    let sandbox = Sandbox::new();
    let borg = reference();
    sandbox.directory("source");
    let _ = sandbox
        .run(&borg, &["init", "-e", "none", "repository"])
        .ok();
    let first = [
        "create",
        "--timestamp",
        "2023-01-01T00:00:00",
        "repository::first",
        "source",
    ];
    let _ = sandbox.run(&borg, &first).ok();
    // Twice a year six hours after the last backup it is another hour of the day in Berlin, and
    // some backups are of another day there than in UTC.
    let begin = date(2023, 11, 2).at(5, 30, 0, 0);
    let begin = begin.to_zoned(TimeZone::UTC).unwrap().timestamp();
    let mut all = series("year", begin, YEAR);
    assert!(all.iter().any(|(name, _)| name.contains("2024-02-29")));
    let days = Timestamp::now() - SignedDuration::from_hours(6 * 40 - 1);
    all.extend(series("last", days, 40));
    forge::copies(&sandbox, &sandbox.path("repository"), "first", &all);
    sandbox
}

fn pruned(sandbox: &Sandbox, borg: &Borg, rules: &str, zone: &str) -> Vec<String> {
    let run = sandbox.command(borg).env("TZ", zone);
    let run = run.args(["prune", "--list", "--dry-run"]);
    let outcome = run.args(rules.split(' ')).arg("repository").go().ok();
    outcome.err().lines().map(str::to_owned).collect()
}

#[test]
fn a_year_of_backups_is_thinned_out_as_by_borg() {
    let sandbox = place();
    let (ours, theirs) = (ours(), reference());
    // Until the day on which the clock goes forward, and until that on which it went back.
    let spring = format!("{SERVER} --glob-archives year-202[34]-[01][123]-*");
    let autumn = format!("{SERVER} --glob-archives year-*");
    let many = "-H 50 -d 200 -w 30 -m 9 -y 1 --glob-archives year-*".to_owned();
    let rules = [SERVER.to_owned(), spring, autumn, many];
    for rules in &rules {
        for zone in ["Europe/Berlin", "UTC"] {
            let ours = pruned(&sandbox, &ours, rules, zone);
            let theirs = pruned(&sandbox, &theirs, rules, zone);
            assert!(ours.len() > 350, "{rules}: {} lines", ours.len());
            assert_eq!(ours, theirs, "{rules} in {zone}");
        }
    }
    let all = pruned(&sandbox, &ours, SERVER, "Europe/Berlin");
    assert_eq!(all.len(), YEAR + 40 + 1);
    let kept = |rule: &str| all.iter().filter(|line| line.contains(rule)).count();
    assert_eq!(kept("rule: within"), 4);
    assert_eq!(kept("rule: daily"), 7);
    assert_eq!(kept("rule: weekly"), 4);
    assert_eq!(kept("rule: monthly"), 6);
    assert_eq!(kept("rule: yearly"), 2);
}
