//! Standings as a table for people.

use super::Time;
use super::standing::{Health, Standing};
use crate::output::progress::{bytes, span};

const HEADINGS: [&str; 7] = [
    "REPOSITORY",
    "STATE",
    "LAST ARCHIVE",
    "STORED",
    "LAST NEW",
    "NEXT RUN",
    "CHECKED",
];

/// Makes the table, with what somebody should know below it.
pub fn table(standings: &[Standing], now: Time) -> String {
    let rows: Vec<[String; 7]> = standings.iter().map(|one| row(one, now)).collect();
    let mut text = String::new();
    let headings = HEADINGS.map(str::to_owned);
    let all: Vec<&[String; 7]> = std::iter::once(&headings).chain(&rows).collect();
    let mut widths = [0; 7];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row.iter()) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in all {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for standing in standings.iter().filter(|one| !one.findings.is_empty()) {
        text.push_str(&format!("\n{}\n", standing.name()));
        for finding in &standing.findings {
            text.push_str(&format!("    {}\n", finding.text));
        }
    }
    text
}

fn row(standing: &Standing, now: Time) -> [String; 7] {
    let none = || "-".to_owned();
    let archive = standing.archive.as_ref();
    let state = match (standing.health, &standing.running) {
        (Health::Failed, _) => "FAILED",
        (_, Some(_)) => "running",
        (Health::Warning, None) => "warning",
        (Health::Ok, None) => "ok",
    };
    let stored = archive.map(|archive| archive.facts.repository_bytes);
    let new = archive.map(|archive| archive.facts.deduplicated_bytes);
    let checks = standing.checks.iter();
    let checks: Vec<String> = checks
        .map(|(name, check)| match check.last {
            Some(last) => format!("{name} {} ago", span(now.since(last))),
            None => format!("{name} never"),
        })
        .collect();
    [
        standing.name().to_owned(),
        state.to_owned(),
        standing.last_success.map_or_else(
            || "never".to_owned(),
            |last| format!("{} ago", span(now.since(last))),
        ),
        stored.filter(|bytes| *bytes > 0).map_or_else(none, bytes),
        new.map_or_else(none, bytes),
        standing
            .next_run
            .map_or_else(none, |next| format!("in {}", span(next.since(now)))),
        match checks.is_empty() {
            true => none(),
            false => checks.join(", "),
        },
    ]
}
