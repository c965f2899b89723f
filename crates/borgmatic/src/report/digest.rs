//! A summary of some days for people: what was saved, what changed, what failed, what to do.
//!
//! It is made of what runs remember, so it also tells of runs that did not happen. Pure; it is
//! sent in [`crate::run::digest`].

use std::fmt::Write as _;
use std::time::Duration;

use super::standing::{Health, Standing};
use super::{Outcome, RepositoryReport, Time};
use crate::config::Configuration;
use crate::config::options::EXTRAS;
use crate::config::tree::Node;
use crate::output::progress::{bytes, grouped, span};

/// How many failed runs are told one by one.
const TOLD_FAILURES: usize = 5;

/// How much time a summary is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// The last 24 hours.
    Day,
    /// The last seven days.
    Week,
}

impl Period {
    /// Returns the one that a configuration asks for, if it does.
    pub fn of(configuration: &Configuration) -> Option<Self> {
        let mail = configuration.tree.get(EXTRAS)?.get("mail")?;
        Some(match mail.get("digest").and_then(Node::as_text)? {
            "weekly" => Self::Week,
            _ => Self::Day,
        })
    }

    fn length(self) -> Duration {
        let days = match self {
            Self::Day => 1,
            Self::Week => 7,
        };
        Duration::from_secs(days * 24 * 60 * 60)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Day => "the last 24 hours",
            Self::Week => "the last seven days",
        }
    }
}

/// A repository as it stands, and the runs on it that are remembered.
#[derive(Debug)]
pub struct Told {
    /// How it stands.
    pub standing: Standing,
    /// Its runs, oldest first.
    pub runs: Vec<RepositoryReport>,
}

/// Makes subject and body.
pub fn message(host: &str, period: Period, told: &[Told], now: Time) -> [String; 2] {
    let subject = subject(host, told);
    let mut body = format!("Backups on {host} in {}.\n", period.name());
    for one in told {
        repository(&mut body, one, period, now);
    }
    let mut paths: Vec<&str> = told
        .iter()
        .map(|one| one.standing.configuration.as_str())
        .collect();
    paths.dedup();
    body.push_str("\nTo look closer:\n");
    for path in paths {
        let _ = writeln!(body, "    fastness status --config {path}");
        let _ = writeln!(body, "    fastness --config {path} repo-list --last 10");
    }
    [subject, body]
}

fn subject(host: &str, told: &[Told]) -> String {
    let count = |health| {
        told.iter()
            .filter(|one| one.standing.health == health)
            .count()
    };
    match (count(Health::Failed), count(Health::Warning)) {
        (0, 0) => format!("Backups on {host}: all is well"),
        (0, 1) => format!("Backups on {host}: a repository needs a look"),
        (0, some) => format!("Backups on {host}: {some} repositories need a look"),
        (failed, _) => format!("Backups on {host}: {failed} of {} FAILED", told.len()),
    }
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// A string takes everything.
fn repository(body: &mut String, told: &Told, period: Period, now: Time) {
    let standing = &told.standing;
    let _ = writeln!(body, "\n{} ({})", standing.name(), standing.configuration);
    for finding in &standing.findings {
        let _ = writeln!(body, "    ! {}", finding.text);
    }
    let recent = |run: &&RepositoryReport| now.since(run.end) < period.length();
    let runs: Vec<&RepositoryReport> = told.runs.iter().filter(recent).collect();
    let failed: Vec<&&RepositoryReport> = runs.iter().filter(|run| !run.succeeded()).collect();
    let went_well = runs.len() - failed.len();
    let _ = writeln!(
        body,
        "    runs        {}, {went_well} went well",
        runs.len()
    );
    for run in failed.iter().rev().take(TOLD_FAILURES) {
        let error = run.error.clone().unwrap_or_default();
        let _ = writeln!(
            body,
            "    failed      {} ({}): {}",
            run.end, error.kind, error.summary
        );
    }
    if let Some(archive) = &standing.archive {
        let facts = &archive.facts;
        let _ = writeln!(
            body,
            "    newest      {}, {} ago: {} files, {}",
            facts.name,
            span(now.since(archive.begin)),
            grouped(facts.files),
            bytes(facts.original_bytes)
        );
    }
    let archives = runs.iter().filter_map(|run| run.archive());
    let (made, new) = archives.fold((0, 0), |(made, new), archive| {
        (made + 1, new + archive.deduplicated_bytes)
    });
    let _ = writeln!(
        body,
        "    saved       {}, {} new",
        counted(made, "archive"),
        bytes(new)
    );
    let pruned = runs.iter().flat_map(|run| &run.actions);
    let done = pruned.filter(|action| action.outcome == Outcome::Done);
    let pruned = done.filter_map(|action| action.pruned);
    let (removed, kept) = pruned.fold((0, None), |(removed, _), one| {
        (removed + one.removed, Some(one.kept))
    });
    if let Some(kept) = kept {
        let _ = writeln!(
            body,
            "    removed     {} by rules, {kept} kept",
            counted(removed, "archive")
        );
    }
    let stored = standing.archive.as_ref();
    let stored = stored.map(|archive| archive.facts.repository_bytes);
    if let Some(stored) = stored.filter(|stored| *stored > 0) {
        let growth = standing.week_growth_bytes.unwrap_or(0);
        let sign = if growth < 0 { "less" } else { "more" };
        let growth = bytes(growth.unsigned_abs());
        let stored = bytes(stored);
        let _ = writeln!(
            body,
            "    stored      {stored}, {growth} {sign} than a week ago"
        );
    }
    for (name, database) in &standing.databases {
        let size = database
            .bytes
            .map_or_else(String::new, |size| format!(", {}", bytes(size)));
        if let Some(last) = database.last_success {
            let ago = span(now.since(last));
            let _ = writeln!(body, "    database    {name}: saved {ago} ago{size}");
        }
    }
    for (name, check) in &standing.checks {
        let last = check.last.map_or_else(
            || "never".to_owned(),
            |last| format!("{} ago", span(now.since(last))),
        );
        let _ = writeln!(body, "    check       {name}: {last}");
    }
    if let Some(next) = standing.next_run {
        let _ = writeln!(body, "    next run    in {}", span(next.since(now)));
    }
}
