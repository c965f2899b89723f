//! What a Borg command says while it runs.
//!
//! Commands run in this process with `--log-json`; each line they write to stderr is one JSON
//! object of Borg's documented kind. [`understand`] turns it into a [`Line`]; what is no such
//! object is a line of text.

use serde_json::Value;

use super::log::Level;
use super::progress::Progress;

/// One line of stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A log record.
    Record {
        /// Its level.
        level: Level,
        /// The text.
        text: String,
        /// Borg's name of the message.
        msgid: Option<String>,
        /// The part of Borg that says it.
        name: String,
    },
    /// A file or archive was handled; shown where results are shown.
    Status(String),
    /// How far it is; an end when `None`.
    Progress(Option<Progress>),
    /// Text that is no JSON.
    Text(String),
}

/// Understands one line.
pub fn understand(line: &str) -> Line {
    let Ok(value) = serde_json::from_str::<Value>(line) else {
        return Line::Text(line.to_owned());
    };
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "log_message" => Line::Record {
            level: level(text("levelname")),
            text: text("message").to_owned(),
            msgid: value
                .get("msgid")
                .and_then(Value::as_str)
                .map(str::to_owned),
            name: text("name").to_owned(),
        },
        "file_status" => Line::Status(format!("{} {}", text("status"), text("path"))),
        "archive_progress" | "progress_percent" | "progress_message" => {
            Line::Progress(progress(&value))
        }
        _ => Line::Text(line.to_owned()),
    }
}

fn level(name: &str) -> Level {
    match name {
        "DEBUG" => Level::Debug,
        "INFO" => Level::Info,
        "WARNING" => Level::Warning,
        "CRITICAL" => Level::Critical,
        _ => Level::Error,
    }
}

fn progress(value: &Value) -> Option<Progress> {
    if value.get("finished").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let number = |key: &str| value.get(key).and_then(Value::as_u64);
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let archive = text("type") == "archive_progress";
    Some(Progress {
        label: String::new(),
        done: number(if archive { "original_size" } else { "current" }).unwrap_or(0),
        total: number("total"),
        bytes: archive,
        files: number("nfiles"),
        item: match archive {
            true => text("path").to_owned(),
            // The share stands in the line already.
            false => text("message")
                .trim_end_matches('%')
                .trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' '))
                .to_owned(),
        },
        elapsed: std::time::Duration::ZERO,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_kinds_are_understood() {
        let record = r#"{"type": "log_message", "time": 1.5, "message": "gone", "levelname": "ERROR", "name": "borg", "msgid": "Repository.DoesNotExist"}"#;
        assert_eq!(
            understand(record),
            Line::Record {
                level: Level::Error,
                text: "gone".into(),
                msgid: Some("Repository.DoesNotExist".into()),
                name: "borg".into(),
            }
        );
        assert_eq!(
            understand(r#"{"type": "file_status", "status": "A", "path": "etc/hosts"}"#),
            Line::Status("A etc/hosts".into())
        );
        assert_eq!(understand("warning: x"), Line::Text("warning: x".into()));
        assert_eq!(
            understand(r#"{"type": "archive_progress", "finished": true}"#),
            Line::Progress(None)
        );
        let Line::Progress(Some(progress)) = understand(
            r#"{"type": "archive_progress", "original_size": 9, "nfiles": 2, "path": "a"}"#,
        ) else {
            panic!()
        };
        assert_eq!(
            (progress.done, progress.files, progress.bytes),
            (9, Some(2), true)
        );
    }
}
