//! The log file: one line for each record, in a format of Python's kind or as JSON.
//!
//! The file is opened anew when it was moved away or removed, as log rotation does. When it cannot
//! be written any more the run goes on: a full disk must not end a backup.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fastness_borg::output::python_format::{self, FormatError, Piece, Specifier};
use jiff::Zoned;
use serde_json::{Value, json};

use super::log::{Entry, Level, Sink};

/// How lines look unless the configuration says otherwise.
const USUAL: &str = "[{asctime}] {levelname}: {prefix}{message}";

/// What a format may name.
const FIELDS: [&str; 9] = [
    "asctime",
    "created",
    "levelname",
    "levelno",
    "message",
    "msecs",
    "name",
    "prefix",
    "process",
];

/// Gives the time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Why a format cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadFormat {
    /// It is not written as it must be.
    #[error("{0}")]
    Syntax(#[from] FormatError),
    /// It names something else.
    #[error("names {{{name}}}; possible are {}", FIELDS.join(", "))]
    Field {
        /// The name.
        name: String,
    },
}

/// How the lines of a log file look.
pub enum Form {
    /// By a format of Python's kind.
    Text(Vec<Piece>),
    /// As JSON objects.
    Json,
}

impl Form {
    /// Reads a format; without one, the usual.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read(format: Option<&str>) -> Result<Self, BadFormat> {
        let pieces = python_format::parse(format.unwrap_or(USUAL))?;
        let form = Self::Text(pieces);
        let entry = Entry {
            level: Level::Info,
            prefix: "",
            text: "",
            name: "",
            msgid: None,
        };
        // What one record cannot be written by, none can.
        form.line(&entry, SystemTime::UNIX_EPOCH)?;
        Ok(form)
    }

    /// Writes a record.
    fn line(&self, entry: &Entry<'_>, now: SystemTime) -> Result<Vec<u8>, BadFormat> {
        let Self::Text(pieces) = self else {
            return Ok(json(entry, now).to_string().into_bytes());
        };
        let mut line = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Literal(text) => line.extend_from_slice(text.as_bytes()),
                Piece::Field(field) => {
                    let format: Specifier = field.format.parse()?;
                    let as_text = field.as_text()?;
                    match value(&field.key, entry, now) {
                        Some(Field::Number(number)) if !as_text => {
                            format.write_int(&mut line, number)?;
                        }
                        Some(Field::Number(number)) => {
                            format.write_text(&mut line, number.to_string().as_bytes())?;
                        }
                        Some(Field::Text(text)) => format.write_text(&mut line, text.as_bytes())?,
                        None => {
                            return Err(BadFormat::Field {
                                name: field.key.clone(),
                            });
                        }
                    }
                }
            }
        }
        Ok(line)
    }
}

enum Field {
    Text(String),
    Number(i64),
}

fn value(key: &str, entry: &Entry<'_>, now: SystemTime) -> Option<Field> {
    let text = |text: &str| Some(Field::Text(text.to_owned()));
    let millis = since(now).subsec_millis();
    match key {
        "asctime" => {
            let local = Zoned::try_from(now).unwrap_or_default();
            Some(Field::Text(format!(
                "{},{millis:03}",
                local.strftime("%Y-%m-%d %H:%M:%S")
            )))
        }
        "created" => Some(Field::Text(since(now).as_secs_f64().to_string())),
        "levelname" => text(entry.level.name()),
        "levelno" => Some(Field::Number(entry.level.number())),
        "message" => text(entry.text),
        "msecs" => Some(Field::Number(millis.into())),
        "name" => text(entry.name),
        "prefix" => text(entry.prefix),
        "process" => Some(Field::Number(std::process::id().into())),
        _ => None,
    }
}

fn since(now: SystemTime) -> std::time::Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A record as a JSON object.
pub fn json(entry: &Entry<'_>, now: SystemTime) -> Value {
    let mut value = json!({
        "type": "log_message",
        "time": since(now).as_secs_f64(),
        "message": entry.text,
        "levelname": entry.level.name(),
        "name": entry.name,
    });
    if let (Some(msgid), Some(value)) = (entry.msgid, value.as_object_mut()) {
        value.insert("msgid".to_owned(), msgid.into());
    }
    value
}

/// A log file.
pub struct LogFile {
    path: PathBuf,
    form: Form,
    clock: Clock,
    /// The open file, with the device and inode by which it is known.
    open: Option<(File, [u64; 2])>,
}

impl LogFile {
    /// Opens a log file to add to it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, form: Form, clock: Clock) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            form,
            clock,
            open: Some(open(path)?),
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let there = std::fs::metadata(&self.path).map(|there| identity(&there));
        let same = |open: &&mut (File, [u64; 2])| there.is_ok_and(|there| there == open.1);
        if self.open.as_mut().filter(same).is_none() {
            self.open = Some(open(&self.path)?);
        }
        match &mut self.open {
            Some((file, _)) => file.write_all(line),
            None => Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<(File, [u64; 2])> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let identity = identity(&file.metadata()?);
    Ok((file, identity))
}

fn identity(metadata: &std::fs::Metadata) -> [u64; 2] {
    [metadata.dev(), metadata.ino()]
}

impl Sink for LogFile {
    fn take(&mut self, entry: &Entry<'_>) {
        if let Ok(mut line) = self.form.line(entry, (self.clock)()) {
            line.push(b'\n');
            // Nobody can be told of it from here, and the backup matters more.
            let _ = self.write(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::log::tests::log;

    fn clock() -> Clock {
        Arc::new(|| UNIX_EPOCH + std::time::Duration::from_millis(1_000_000_000_250))
    }

    fn written(format: Option<&str>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let form = Form::read(format).unwrap();
        let (log, _, _) = log(-2);
        let file = LogFile::open(&path, form, clock()).unwrap();
        let attachment = log.attach(1, Box::new(file));
        log.set_prefix("nas");
        log.record(Level::Info, "one");
        std::fs::rename(&path, directory.path().join("log.1")).unwrap();
        log.record(Level::Error, "two");
        log.record(Level::Debug, "three");
        drop(attachment);
        let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
        read("log.1") + &read("log")
    }

    #[test]
    fn lines_have_the_format_and_follow_a_rotation() {
        let line = "{levelname:<8}|{levelno:4d}|{prefix}{message!s:>5}|{{{name}}}|{msecs}";
        assert_eq!(
            written(Some(line)),
            "INFO    |  20|nas:   one|{borgmatic}|250\nERROR   |  40|nas:   two|{borgmatic}|250\n"
        );
        let usual = written(None);
        assert!(usual.contains(",250] INFO: nas: one\n["), "{usual}");
    }

    #[test]
    fn a_format_that_no_record_can_be_written_by_is_refused() {
        for (format, told) in [
            ("{message", "expected '}' before end of string"),
            (
                "{pathname}",
                "names {pathname}; possible are asctime, created, levelname, levelno, message, msecs, name, prefix, process",
            ),
            (
                "{message:d}",
                "Unknown format code 'd' for object of type 'str'",
            ),
        ] {
            let error = Form::read(Some(format)).err().unwrap();
            assert_eq!(error.to_string(), told);
        }
    }
}
