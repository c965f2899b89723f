//! Lines that a server writes to stderr.
//!
//! Since 1.1 they are JSON objects, once the versions are told; before that, and from older
//! servers, `$LOG LEVEL [logger ]Remote: text`. Anything else comes from ssh or from the login
//! shell, and is shown as it is.

use serde_json::Value;

/// One line, without its end.
#[derive(Debug, Clone, PartialEq)]
pub enum LogLine<'a> {
    /// A message of a logger.
    Message {
        /// `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`; others may come.
        level: String,
        /// The logger, such as `borg.repository`.
        logger: String,
        /// The text, without a note that it comes from afar.
        message: String,
        /// Borg's id of the message, if it has one.
        msgid: Option<String>,
    },
    /// Progress of a long call.
    Progress(Progress),
    /// A JSON object of a type that is not known.
    Unknown(&'a str),
    /// Words of something else than a server.
    Foreign(&'a str),
}

/// Progress as a server tells it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Borg's id of the kind of progress, such as `repository.check`.
    pub msgid: Option<String>,
    /// What to show; none when it is over.
    pub message: Option<String>,
    /// Amount done and amount in all, if they are known.
    pub share: Option<(u64, u64)>,
    /// Whether it is over.
    pub finished: bool,
    /// The number of this progress among those of the server.
    pub operation: u64,
}

impl<'a> LogLine<'a> {
    /// Reads a line.
    pub fn parse(line: &'a str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.starts_with('{')
            && let Ok(object) = serde_json::from_str::<Value>(line)
        {
            return Self::of_object(&object).unwrap_or(Self::Unknown(line));
        }
        Self::plain(line).unwrap_or(Self::Foreign(line))
    }

    fn of_object(object: &Value) -> Option<Self> {
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| object.get(name).and_then(Value::as_u64);
        match object.get("type")?.as_str()? {
            "log_message" => Some(Self::Message {
                level: text("levelname").unwrap_or_else(|| "CRITICAL".to_owned()),
                logger: text("name").unwrap_or_default(),
                message: text("message").unwrap_or_default(),
                msgid: text("msgid"),
            }),
            "progress_message" | "progress_percent" => Some(Self::Progress(Progress {
                msgid: text("msgid"),
                message: text("message"),
                share: number("current").zip(number("total")),
                finished: object.get("finished").and_then(Value::as_bool) == Some(true),
                operation: number("operation").unwrap_or_default(),
            })),
            _ => None,
        }
    }

    fn plain(line: &str) -> Option<Self> {
        let (level, rest) = line.strip_prefix("$LOG ")?.split_once(' ')?;
        // The logger is missing before 1.1.
        let (logger, message) = match rest.strip_prefix("Remote: ") {
            Some(message) => ("", message),
            None => rest.split_once(" Remote: ")?,
        };
        Some(Self::Message {
            level: level.to_owned(),
            logger: logger.to_owned(),
            message: message.to_owned(),
            msgid: None,
        })
    }
}
