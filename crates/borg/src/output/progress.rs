//! Progress on stderr: lines that overwrite each other, or JSON objects.
//!
//! Texts and JSON keys are Borg's. How often something is shown is decided here: percentages at
//! fixed steps, the progress of an archive five times a second.

use std::collections::HashMap;

use fastness_engine::event::ArchiveStats;

use super::json::{Json, object};
use super::log::Log;
use super::text::{Units, fit, replace_foreign, width};

/// Seconds between two lines about an archive that is being made.
const ARCHIVE_SECONDS: f64 = 0.2;

/// How the percentage of one kind of progress is written.
struct Form {
    digits: usize,
    width: usize,
    step: f64,
    percent_first: bool,
}

/// Returns the form that Borg gives to a kind of progress.
fn form(msgid: &str) -> Form {
    let (digits, width, step, percent_first) = match msgid {
        "extract" => (1, 5, 0.1, true),
        "cache.sync" => (0, 3, 0.1, true),
        "check.verify_data" | "check.rebuild_manifest" => (2, 6, 0.01, false),
        "check.rebuild_refcounts" | "repository.check" => (1, 3, 0.1, false),
        "repository.compact_segments" => (0, 3, 1.0, false),
        _ => (0, 3, 5.0, false),
    };
    Form {
        digits,
        width,
        step,
        percent_first,
    }
}

/// Remembers what was shown last.
#[derive(Debug, Default)]
pub struct Progress {
    operations: u64,
    running: HashMap<&'static str, Running>,
    archive_shown: Option<f64>,
}

#[derive(Debug)]
struct Running {
    operation: u64,
    next: f64,
}

/// A share of a known amount.
#[derive(Clone, Copy, Debug)]
pub struct Share<'a> {
    /// Borg's id of the kind of progress.
    pub msgid: &'static str,
    /// What is being done, without the number.
    pub label: &'a str,
    /// Amount done.
    pub current: u64,
    /// Amount in all.
    pub total: u64,
    /// The path or archive being handled.
    pub path: Option<&'a [u8]>,
}

impl Progress {
    /// Shows a share, if it has grown by a step since the last time.
    pub fn percent(&mut self, log: &Log, share: Share<'_>) {
        let form = form(share.msgid);
        let percent = match share.total {
            0 => 100.0,
            total => share.current as f64 * 100.0 / total as f64,
        };
        let running = self.running(share.msgid);
        if percent < running.next {
            return;
        }
        running.next = ((percent / form.step).floor() + 1.0) * form.step;
        let operation = running.operation;
        let message = percent_message(&form, &share, percent, log.settings().columns);
        if !log.is_json() {
            // A line with a path fills the terminal already.
            match share.path {
                Some(_) => log.write(&message, "\r"),
                None => log.write(&justified(&message, log.settings().columns), "\r"),
            }
            return;
        }
        let info = share
            .path
            .map(|path| Json::List(vec![replace_foreign(path).as_ref().into()]));
        log.object(&object([
            ("message", message.into()),
            ("current", share.current.into()),
            ("total", share.total.into()),
            ("info", info.into()),
            ("operation", operation.into()),
            ("msgid", share.msgid.into()),
            ("type", "progress_percent".into()),
            ("finished", false.into()),
            ("time", log.now().into()),
        ]));
    }

    /// Shows that an amount is still to be found out.
    pub fn percent_begins(&mut self, log: &Log, msgid: &'static str, message: &str) {
        let operation = self.running(msgid).operation;
        if !log.is_json() {
            log.write(&justified(message, log.settings().columns), "\r");
            return;
        }
        log.object(&object([
            ("message", message.into()),
            ("current", 0u64.into()),
            ("total", 0u64.into()),
            ("info", None::<Json>.into()),
            ("operation", operation.into()),
            ("msgid", msgid.into()),
            ("type", "progress_percent".into()),
            ("finished", false.into()),
            ("time", log.now().into()),
        ]));
    }

    /// Shows that a kind of progress is over.
    pub fn percent_finished(&mut self, log: &Log, msgid: &'static str) {
        self.finished(log, msgid, "progress_percent");
    }

    /// Shows a step without a measure; an empty message ends it.
    pub fn step(&mut self, log: &Log, msgid: &'static str, message: &str) {
        if message.is_empty() {
            self.finished(log, msgid, "progress_message");
        } else if log.is_json() {
            let operation = self.running(msgid).operation;
            log.object(&object([
                ("message", message.into()),
                ("operation", operation.into()),
                ("msgid", msgid.into()),
                ("type", "progress_message".into()),
                ("finished", false.into()),
                ("time", log.now().into()),
            ]));
        } else {
            self.running(msgid);
            log.write(&justified(message, log.settings().columns), "\r");
        }
    }

    /// Shows how far an archive is, but not too often.
    pub fn archive(&mut self, log: &Log, units: Units, stats: &ArchiveStats, path: &[u8]) {
        let now = log.now();
        if self
            .archive_shown
            .is_some_and(|shown| (0.0..=ARCHIVE_SECONDS).contains(&(now - shown)))
        {
            return;
        }
        self.archive_shown = Some(now);
        let path = replace_foreign(path);
        if log.is_json() {
            log.object(&object([
                ("original_size", stats.original_bytes.into()),
                ("compressed_size", stats.compressed_bytes.into()),
                ("deduplicated_size", stats.deduplicated_bytes.into()),
                ("nfiles", stats.files.into()),
                ("path", path.as_ref().into()),
                ("time", now.into()),
                ("type", "archive_progress".into()),
                ("finished", false.into()),
            ]));
            return;
        }
        match log.settings().columns {
            Some(columns) => log.write(&archive_line(units, stats, &path, Some(columns)), "\r"),
            None => log.write(&archive_line(units, stats, &path, None), "\n"),
        }
    }

    /// Clears the line about an archive.
    pub fn archive_finished(&mut self, log: &Log) {
        if log.is_json() {
            log.object(&object([
                ("time", log.now().into()),
                ("type", "archive_progress".into()),
                ("finished", true.into()),
            ]));
            return;
        }
        match log.settings().columns {
            Some(columns) => log.write(&" ".repeat(columns), "\r"),
            None => log.write("", "\n"),
        }
    }

    fn running(&mut self, msgid: &'static str) -> &mut Running {
        let operations = &mut self.operations;
        self.running.entry(msgid).or_insert_with(|| {
            *operations += 1;
            Running {
                operation: *operations,
                next: 0.0,
            }
        })
    }

    fn finished(&mut self, log: &Log, msgid: &'static str, kind: &'static str) {
        let Some(running) = self.running.remove(msgid) else {
            return;
        };
        if log.is_json() {
            log.object(&object([
                ("operation", running.operation.into()),
                ("msgid", msgid.into()),
                ("type", kind.into()),
                ("finished", true.into()),
                ("time", log.now().into()),
            ]));
        } else {
            log.write(&justified("", log.settings().columns), "\r");
        }
    }
}

fn percent_message(form: &Form, share: &Share<'_>, percent: f64, columns: Option<usize>) -> String {
    let number = format!(
        "{percent:>width$.digits$}%",
        width = form.width,
        digits = form.digits
    );
    let colon = match share.msgid {
        "extract" if !share.label.ends_with(':') => ":",
        _ => "",
    };
    let head = match (form.percent_first, share.path) {
        (true, Some(_)) => format!("{number} {}{colon} ", share.label),
        (true, None) => format!("{number} {}", share.label),
        (false, _) => format!("{} {number}", share.label),
    };
    match (share.path, columns) {
        (Some(path), None) => format!("{head}{}", replace_foreign(path)),
        (Some(path), Some(columns)) => {
            let space = columns.saturating_sub(width(&head));
            format!("{head}{}", fit(&replace_foreign(path), space))
        }
        (None, _) => head,
    }
}

fn archive_line(units: Units, stats: &ArchiveStats, path: &str, columns: Option<usize>) -> String {
    let head = format!(
        "{} O {} C {} D {} N ",
        units.bytes(stats.original_bytes),
        units.bytes(stats.compressed_bytes),
        units.bytes(stats.deduplicated_bytes),
        stats.files
    );
    let Some(columns) = columns else {
        return head + path;
    };
    let space = columns.saturating_sub(width(&head));
    if space >= 12 {
        head + &fit(path, space)
    } else if columns >= 8 {
        fit(path, columns)
    } else {
        String::new()
    }
}

fn justified(message: &str, columns: Option<usize>) -> String {
    let columns = columns.unwrap_or(0);
    format!("{message:<columns$}")
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::log;
    use super::super::log::{LogSettings, tests::Buffer};
    use super::*;

    fn progress(json: bool, columns: Option<usize>) -> (Log, Buffer) {
        log(LogSettings {
            progress: true,
            json,
            columns,
            ..LogSettings::default()
        })
    }

    fn share(current: u64) -> Share<'static> {
        Share {
            msgid: "repository.check",
            label: "Checking segments",
            current,
            total: 2000,
            path: None,
        }
    }

    #[test]
    fn percentages_come_in_steps_and_overwrite_each_other() {
        let (log, buffer) = progress(false, Some(26));
        let mut progress = Progress::default();
        for current in [0, 1, 2, 1000] {
            progress.percent(&log, share(current));
        }
        progress.percent_finished(&log, "repository.check");
        progress.percent_finished(&log, "repository.check");
        assert_eq!(
            buffer.text(),
            "Checking segments 0.0%    \rChecking segments 0.1%    \r\
             Checking segments 50.0%   \r                          \r"
        );
    }

    #[test]
    fn json_progress_has_borgs_keys() {
        let (log, buffer) = progress(true, None);
        let mut progress = Progress::default();
        progress.percent(&log, share(20));
        progress.percent_finished(&log, "repository.check");
        progress.step(&log, "cache.commit", "Saving chunks cache");
        progress.archive(&log, Units::Decimal, &ArchiveStats::default(), b"etc");
        progress.archive_finished(&log);
        insta::assert_snapshot!(buffer.text(), @r#"
        {"message": "Checking segments 1.0%", "current": 20, "total": 2000, "info": null, "operation": 1, "msgid": "repository.check", "type": "progress_percent", "finished": false, "time": 1.5}
        {"operation": 1, "msgid": "repository.check", "type": "progress_percent", "finished": true, "time": 1.5}
        {"message": "Saving chunks cache", "operation": 2, "msgid": "cache.commit", "type": "progress_message", "finished": false, "time": 1.5}
        {"original_size": 0, "compressed_size": 0, "deduplicated_size": 0, "nfiles": 0, "path": "etc", "time": 1.5, "type": "archive_progress", "finished": false}
        {"time": 1.5, "type": "archive_progress", "finished": true}
        "#);
    }

    #[test]
    fn extraction_names_the_path_as_far_as_the_terminal_is_wide() {
        let long = Share {
            msgid: "extract",
            label: "Extracting",
            current: 1,
            total: 3,
            path: Some(b"home/ann/documents/letter.txt"),
        };
        let message = percent_message(&form("extract"), &long, 100.0 / 3.0, Some(40));
        assert_eq!(message, " 33.3% Extracting: home/an.../letter.txt");
        let message = percent_message(&form("extract"), &long, 100.0 / 3.0, None);
        assert_eq!(message, " 33.3% Extracting: home/ann/documents/letter.txt");
    }

    #[test]
    fn archives_are_shown_in_one_line() {
        let stats = ArchiveStats {
            original_bytes: 2_048_000,
            compressed_bytes: 1000,
            files: 3,
            ..ArchiveStats::default()
        };
        assert_eq!(
            archive_line(Units::Decimal, &stats, "etc/hosts", None),
            "2.05 MB O 1.00 kB C 0 B D 3 N etc/hosts"
        );
        assert_eq!(
            archive_line(Units::Decimal, &stats, "etc/hosts", Some(44)),
            "2.05 MB O 1.00 kB C 0 B D 3 N etc/hosts     "
        );
        assert_eq!(
            archive_line(Units::Decimal, &stats, "etc/hosts", Some(14)),
            "etc/hosts     "
        );
    }
}
