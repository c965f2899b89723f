//! What a person at a terminal is told: one line for each step that was done.
//!
//! Only the default verbosity on a terminal gets it; cron and scripts see what borgmatic shows.

use std::time::Duration;

use serde_json::Value;

use crate::output::log::{Level, Log};
use crate::output::progress::{bytes, clock, grouped};
use crate::plan::Step;

/// Tells about steps, if there is somebody to tell.
pub struct Report {
    log: Option<Log>,
}

impl Report {
    /// Makes a report for a person, or one that says nothing.
    pub fn new(log: Option<Log>) -> Self {
        Self { log }
    }

    /// Tells whether anybody wants to know more than that a step succeeded.
    pub fn wants_results(&self) -> bool {
        self.log.is_some()
    }

    /// Tells which repository is next.
    pub fn repository(&self, name: &str, path: &str) {
        if let Some(log) = &self.log {
            let text = match name == path {
                true => path.to_owned(),
                false => format!("{name} ({path})"),
            };
            log.output(Level::Answer, &text);
        }
    }

    /// Tells that a step was done. Steps that print results speak for themselves.
    pub fn step(&self, step: &Step, done: &str, time: Duration) {
        if let Some(log) = self.log.as_ref().filter(|_| !step.title_is_answer) {
            let done = if done.is_empty() { "done" } else { done };
            let action = step.action;
            log.output(
                Level::Answer,
                &format!("  {action:<11} {done}  ({})", clock(time)),
            );
        }
    }
}

/// Describes a new archive by Borg's JSON about it.
pub fn archive(value: &Value) -> String {
    let name = value
        .get("archive")
        .and_then(|archive| archive.get("name"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    format!(
        "{name}: {} files, {}, {} new",
        grouped(stat(value, "nfiles")),
        bytes(original_size(value)),
        bytes(stat(value, "deduplicated_size"))
    )
}

/// Returns the bytes of all files of a new archive.
pub fn original_size(value: &Value) -> u64 {
    stat(value, "original_size")
}

fn stat(value: &Value, key: &str) -> u64 {
    value
        .get("archive")
        .and_then(|archive| archive.get("stats"))
        .and_then(|stats| stats.get(key))
        .and_then(Value::as_u64)
        .unwrap_or(0)
}

/// Describes what was pruned.
pub fn pruned([kept, removed]: [u64; 2]) -> String {
    let plural = if kept == 1 { "" } else { "s" };
    format!(
        "{} archive{plural} kept, {} removed",
        grouped(kept),
        grouped(removed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_told_by_name_and_sizes() {
        let value = serde_json::json!({"archive": {"name": "server-1", "stats": {
            "nfiles": 3210, "original_size": 1_200_000_000u64, "deduplicated_size": 14_100_000}}});
        insta::assert_snapshot!(archive(&value), @"server-1: 3,210 files, 1.20 GB, 14.1 MB new");
    }
}
