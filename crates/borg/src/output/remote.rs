//! Lines from a server's stderr, as Borg shows them: marked as coming from afar.

use fastness_engine::event::Level;
use fastness_format::rpc::LogLine;
use serde_json::Value;

use super::log::Log;

/// Shows a line; `text` is as it came.
pub fn show(log: &Log, line: &LogLine<'_>, text: &str) {
    match line {
        LogLine::Message {
            level,
            logger,
            message,
            msgid,
        } => {
            let message = format!("Remote: {message}");
            log.log(level_of(level), logger, &message, msgid.as_deref());
        }
        LogLine::Progress(progress) if log.settings().progress => {
            match (&progress.message, log.is_json()) {
                (_, true) => log.write(&marked(text), "\n"),
                (Some(message), false) => log.write(&format!("Remote: {message}"), "\r"),
                (None, false) => {}
            }
        }
        LogLine::Progress(_) => {}
        LogLine::Unknown(text) => {
            let message = format!("Dropped remote log message with unknown type: {text}");
            log.log(Level::Warning, "borg.remote", &message, None);
        }
        LogLine::Foreign(text) => {
            let message = format!("Remote: {text}");
            match log.is_json() {
                true => log.log(Level::Warning, "root", &message, None),
                false => log.write(&message, "\n"),
            }
        }
    }
}

/// The JSON object of a progress, with its message marked.
fn marked(text: &str) -> String {
    let Ok(mut object) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    if let Some(Value::String(message)) = object.get_mut("message") {
        message.insert_str(0, "Remote: ");
    }
    object.to_string()
}

fn level_of(name: &str) -> Level {
    match name {
        "DEBUG" => Level::Debug,
        "INFO" => Level::Info,
        "WARNING" => Level::Warning,
        "ERROR" => Level::Error,
        _ => Level::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::log::LogSettings;
    use crate::output::log::tests::log;

    const LINES: [&str; 5] = [
        r#"{"type": "log_message", "time": 1.0, "message": "seen", "levelname": "WARNING", "name": "borg.repository"}"#,
        r#"{"type": "log_message", "time": 1.0, "message": "detail", "levelname": "INFO", "name": "borg.repository"}"#,
        r#"{"operation": 1, "msgid": "repository.check", "type": "progress_percent", "finished": false, "message": "Checking 5%", "current": 1, "total": 20}"#,
        "Warning: Permanently added nas",
        r#"{"type": "other"}"#,
    ];

    fn shown(settings: LogSettings) -> String {
        let (log, buffer) = log(settings);
        for line in LINES {
            show(&log, &LogLine::parse(line), line);
        }
        buffer.text().replace('\r', "<CR>")
    }

    #[test]
    fn lines_are_marked_and_filtered_like_our_own() {
        insta::assert_snapshot!(shown(LogSettings::default()), @r#"
        Remote: seen
        Remote: Warning: Permanently added nas
        Dropped remote log message with unknown type: {"type": "other"}
        "#);
        let settings = LogSettings {
            level: Level::Info,
            progress: true,
            ..LogSettings::default()
        };
        assert!(shown(settings).contains("Remote: detail\nRemote: Checking 5%<CR>"));
    }

    #[test]
    fn json_stays_json() {
        let settings = LogSettings {
            json: true,
            progress: true,
            ..LogSettings::default()
        };
        for line in shown(settings).lines() {
            let object: Value = serde_json::from_str(line).unwrap();
            let message = object["message"].as_str().unwrap();
            assert!(
                message.starts_with("Remote: ") || message.starts_with("Dropped"),
                "{line}"
            );
        }
    }
}
