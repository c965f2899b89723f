//! What checks, repairs and reads of golden repositories end with: as official Borg, row by row.
//!
//! Each row is a command on a fresh copy of a golden repository, run by ours and by Borg 1.4.5: same exit
//! code in both schemes, same text. `DEVIATIONS` is the table of what differs, and why. After a repair
//! of ours, official Borg finds no problem and extracts what it extracts after its own repair.
//! The exit codes that were recorded when the damage was done are in the last table.

use std::collections::BTreeSet;

use fastness_testkit::Borg;
use serde_json::Value;

use crate::golden::{Stage, repositories};
use crate::{ours, reference};

const REPAIR: &str = "check -v --repair repo";
const REPAIR_ALL: &str = "check -v --repair --verify-data repo";

/// Rows of an intact repository; what it lists and extracts is compared in `golden.rs`.
const OF_INTACT: [&str; 3] = ["check -v repo", "check -v --verify-data repo", REPAIR];

/// Rows of a damaged repository.
const OF_DAMAGED: [&str; 16] = [
    "list repo",
    "info repo",
    "list --format {mode}{path}{size}{health}{NL} repo::a1",
    "list --format {mode}{path}{size}{health}{NL} repo::a2",
    "info repo::a1",
    "extract --dry-run --list repo::a1",
    "extract repo::a1",
    "extract repo::a2",
    "check -v repo",
    "check -v --verify-data repo",
    "check -v --repository-only repo",
    "check -v --archives-only repo",
    "check -v --repair --archives-only repo",
    "check -v --repair --repository-only repo",
    REPAIR,
    REPAIR_ALL,
];

/// Where ours does not end as Borg 1.4.5 does.
struct Deviation {
    golden: &'static str,
    /// The beginnings of the commands.
    commands: &'static [&'static str],
    /// Exit codes of ours and of Borg, when they differ: legacy, modern.
    codes: Option<[(i32, i32); 2]>,
    /// Beginnings of lines that only one of them writes.
    lines: &'static [&'static str],
}

const DEVIATIONS: [Deviation; 6] = [
    // Borg ends with a traceback of a missing file, which is no exit code of its own; ours names the
    // damage and ends as with any other damaged data.
    Deviation {
        golden: "v14-damage-missing-segment",
        commands: &[
            "info",
            "list --format {mode}{path}{size}{health}{NL} repo::a1",
            "extract --dry-run",
            "extract repo::a1",
            "check -v --archives-only",
            "check -v --repair --archives-only",
        ],
        codes: Some([(2, 2), (90, 2)]),
        lines: &[],
    },
    // Borg ends with a traceback; ours finds the archives, and a repair writes a manifest of them.
    Deviation {
        golden: "v14-damage-manifest",
        commands: &["check -v --archives-only"],
        codes: Some([(1, 2), (1, 90)]),
        lines: &[],
    },
    Deviation {
        golden: "v14-damage-manifest",
        commands: &["check -v --repair --archives-only"],
        codes: Some([(0, 2), (0, 90)]),
        lines: &[],
    },
    // Borg commits an empty transaction with an index that it had to make anew, even under a shared
    // lock; ours writes the index of the transaction that there is.
    Deviation {
        golden: "v14-damage-bad-index",
        commands: &["check -v"],
        codes: None,
        lines: &["finished segment check at segment"],
    },
    // The reason in words instead of Python's.
    Deviation {
        golden: "v14-damage-missing-hints",
        commands: &["check -v --repair"],
        codes: None,
        lines: &["Repository hints file missing or corrupted, trying to recover: "],
    },
    // Borg writes the items of an archive with part files in other chunks and removes the former ones;
    // ours leaves an archive alone that has nothing to repair.
    Deviation {
        golden: "-partfiles",
        commands: &[REPAIR, REPAIR_ALL],
        codes: None,
        lines: &[
            "Deleting 0 orphaned and 5 superseded objects...",
            "Finished deleting orphaned/superseded objects.",
        ],
    },
];

/// How one program answered a row.
struct Answer {
    legacy: i32,
    modern: i32,
    lines: BTreeSet<String>,
    /// Borg ended with a traceback: its exit code counts, its text does not.
    crashed: bool,
}

fn answer(set: &str, name: &str, borg: &Borg, command: &str) -> (Answer, Stage) {
    let words: Vec<&str> = command.split(' ').collect();
    let run = |exit_codes: &str| {
        let stage = fresh(set, name);
        let outcome = stage
            .command(borg, &words)
            .env("BORG_EXIT_CODES", exit_codes)
            .go()
            .tidy();
        (outcome, stage)
    };
    let (outcome, stage) = run("legacy");
    // Success is success in both schemes.
    let modern = match outcome.code() {
        0 => 0,
        _ => run("modern").0.code(),
    };
    let text = outcome.out() + &outcome.err();
    let root = stage.sandbox.root().display().to_string();
    let line = |line: &str| line.replace(&root, "");
    let answer = Answer {
        legacy: outcome.code(),
        modern,
        lines: text.lines().map(line).collect(),
        crashed: text.contains("Traceback (most recent call last)"),
    };
    (answer, stage)
}

fn fresh(set: &str, name: &str) -> Stage {
    let stage = Stage::new(set, name);
    // The records end with a create in these two; the client remembers it, the repository came before.
    if ["v14-damage-missing-hints", "v14-damage-uncommitted"].contains(&name) {
        stage.golden.forget();
    }
    stage
}

/// Runs one row and returns what is wrong with the answer of ours.
fn row(set: &str, name: &str, command: &str) -> Option<String> {
    let (ours, our_stage) = answer(set, name, &ours(), command);
    let (borgs, borgs_stage) = answer(set, name, &reference(), command);
    let known = DEVIATIONS.iter().find(|deviation| {
        let applies = |beginning: &&str| command.starts_with(*beginning);
        name.ends_with(deviation.golden) && deviation.commands.iter().any(applies)
    });
    let codes = [(ours.legacy, borgs.legacy), (ours.modern, borgs.modern)];
    let as_expected = match known.and_then(|deviation| deviation.codes) {
        Some(expected) => codes == expected,
        None => codes.iter().all(|(ours, borgs)| ours == borgs),
    };
    if !as_expected {
        return Some(format!("{name}: {command}: (ours, Borg's) are {codes:?}"));
    }
    let but = known.map_or(&[][..], |deviation| deviation.lines);
    let differing: Vec<&String> = ours
        .lines
        .symmetric_difference(&borgs.lines)
        .filter(|line| !but.iter().any(|beginning| line.starts_with(beginning)))
        .collect();
    if !borgs.crashed && !differing.is_empty() {
        return Some(format!("{name}: {command}: {differing:#?}"));
    }
    let repaired = [REPAIR, REPAIR_ALL].contains(&command) && ours.legacy == 0;
    repaired
        .then(|| healed(&our_stage, &borgs_stage))
        .flatten()
        .map(|problem| format!("{name}: after {command}: {problem}"))
}

/// Official Borg finds ours repaired, and extracts from it what it extracts after its own repair.
fn healed(ours: &Stage, borgs: &Stage) -> Option<String> {
    let check = ours.run(&reference(), &["check", "--verify-data", "-v", "repo"]);
    if check.code() != 0 || !check.err().contains("no problems found") {
        return Some(check.to_string());
    }
    if !ours.golden.name().contains("damage") {
        return None;
    }
    let names = |stage: &Stage| {
        stage
            .run(&reference(), &["list", "--short", "repo"])
            .ok()
            .lines()
    };
    let archives = names(ours);
    if archives != names(borgs) {
        return Some(format!("there are {archives:?}"));
    }
    archives.iter().find_map(|archive| {
        let (code, tree) = ours.extracted(&reference(), archive);
        let (borgs_code, borgs_tree) = borgs.extracted(&reference(), archive);
        let differences = borgs_tree.differences(&tree);
        let same = code == borgs_code && differences.is_empty();
        (!same).then(|| format!("{archive}: exit code {code}, {differences:?}"))
    })
}

fn rows(set: &str, name: &str, commands: &[&str]) {
    let problems: Vec<String> = commands
        .iter()
        .filter_map(|command| row(set, name, command))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn intact_repositories_are_judged_as_by_borg() {
    for name in repositories() {
        rows("repositories", &name, &OF_INTACT);
    }
}

/// Commands with the exit codes that were recorded for them.
type Record = [(&'static str, i32)];

const CHECK: &str = "check -v repo";
const LIST: &str = "list --json repo";
const LIST_A1: &str = "list --json-lines --format {path}{size}{health} repo::a1";
const CREATE: &str = "create repo::new repo/README";

/// What Borg mends by the way.
const HARMLESS: &Record = &[(CHECK, 0), (LIST, 0)];
/// Damage of segments, by what a check of the archives alone ends with.
const fn broken(repository: i32, archives: i32) -> [(&'static str, i32); 6] {
    [
        (CHECK, 1),
        ("check -v --repository-only repo", repository),
        ("check -v --archives-only repo", archives),
        ("check -v --verify-data repo", 1),
        ("extract --dry-run repo::a1", 2),
        (REPAIR, 0),
    ]
}

/// Each command of the first list on a fresh copy, those of the second on what the last one left.
fn recorded(name: &str, on_fresh: &Record, then: &Record) {
    let mut stage = fresh("damaged", name);
    let step = |stage: &Stage, command: &str, code: i32| {
        let words: Vec<&str> = command.split(' ').collect();
        let outcome = stage.run(&ours(), &words).tidy();
        assert_eq!(outcome.code(), code, "{name}: {command}: {outcome}");
        outcome
    };
    for (command, code) in on_fresh {
        stage = fresh("damaged", name);
        let _ = step(&stage, command, *code);
    }
    for (command, code) in then {
        let outcome = step(&stage, command, *code);
        if *command == LIST_A1 && *code == 0 {
            // Which files a repair has hurt is a fact as well.
            let recorded = stage.golden.expected("list-after-repair.txt").unwrap();
            assert_eq!(items(&outcome.out()), items(&recorded), "{name}");
        }
    }
    let check = ["check", "--verify-data", "-v", "repo"];
    let check = stage.run(&reference(), &check).ok();
    assert!(check.err().contains("no problems found"), "{name}: {check}");
}

fn items(text: &str) -> Vec<Value> {
    text.lines()
        .filter(|line| line.starts_with("{\"type\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

macro_rules! damaged {
    ($($test:ident: $name:literal, $fresh:expr, then $then:expr;)*) => {$(
        mod $test {
            use super::*;

            #[test]
            fn is_answered_as_by_borg() {
                rows("damaged", $name, &OF_DAMAGED);
            }

            #[test]
            fn is_answered_with_the_recorded_exit_codes() {
                recorded($name, $fresh, $then);
            }
        }
    )*};
}

damaged! {
    base: "v14-damage-base", HARMLESS, then HARMLESS;
    bad_index: "v14-damage-bad-index", HARMLESS, then &[(CHECK, 0)];
    missing_index: "v14-damage-missing-index", HARMLESS, then &[(CHECK, 0)];
    missing_hints: "v14-damage-missing-hints", HARMLESS, then &[(CHECK, 0), (CREATE, 0)];
    uncommitted: "v14-damage-uncommitted", HARMLESS, then &[(CHECK, 0), (CREATE, 0)];
    flip_data: "v14-damage-flip-data", &broken(1, 0), then &[(CHECK, 0), (LIST_A1, 0)];
    flip_size: "v14-damage-flip-size", &broken(1, 0), then &[(CHECK, 0), (LIST_A1, 0)];
    manifest: "v14-damage-manifest", &[(CHECK, 1), (REPAIR, 0)], then HARMLESS;
    missing_chunk: "v14-damage-missing-chunk", &broken(0, 1), then &[(CHECK, 0), (LIST_A1, 0)];
    missing_segment: "v14-damage-missing-segment", &broken(1, 2), then &[(CHECK, 0), (LIST_A1, 2)];
}

#[test]
fn every_damaged_repository_has_its_rows() {
    assert_eq!(fastness_testkit::golden::all("damaged").len(), 10);
}
