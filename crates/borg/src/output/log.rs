//! The logger: lines on stderr, as plain text or as JSON objects.
//!
//! Borg's loggers form a tree of names. Only the parts that can be seen from outside are kept:
//! the level of everything, the topics switched on one by one, and the five `borg.output.*`
//! loggers, each of which speaks only when its own option was given.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use fastness_engine::event::Level;

use super::json::{Json, object};

/// What the options say about logging.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The least level that is shown.
    pub level: Level,
    /// One JSON object per line in place of text.
    pub json: bool,
    /// Text lines are marked with their level and logger, for a client to read.
    pub marked: bool,
    /// Names of debug topics that are switched on.
    pub topics: Vec<String>,
    /// `--list`: the items handled.
    pub list: bool,
    /// `--stats`: tables at the end.
    pub stats: bool,
    /// `--progress`.
    pub progress: bool,
    /// Width of the terminal behind stderr, if there is one.
    pub columns: Option<usize>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: Level::Warning,
            json: false,
            marked: false,
            topics: Vec::new(),
            list: false,
            stats: false,
            progress: false,
            columns: None,
        }
    }
}

/// Writes log lines, listings and progress to stderr; shared by all threads of a run.
pub struct Log {
    settings: LogSettings,
    json: AtomicBool,
    stderr: Mutex<Box<dyn Write + Send>>,
    clock: fn() -> f64,
}

impl Log {
    /// Makes a logger that writes to `stderr`; `clock` tells the seconds since 1970.
    pub fn new(settings: LogSettings, stderr: Box<dyn Write + Send>, clock: fn() -> f64) -> Self {
        Self {
            json: AtomicBool::new(settings.json),
            settings,
            stderr: Mutex::new(stderr),
            clock,
        }
    }

    /// Returns what the options say about logging.
    pub fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// Tells whether lines are JSON objects.
    pub fn is_json(&self) -> bool {
        self.json.load(Ordering::Relaxed)
    }

    /// Writes JSON objects from now on: the reader has said that it understands them.
    pub fn speak_json(&self) {
        self.json.store(true, Ordering::Relaxed);
    }

    /// Returns the seconds since 1970.
    pub fn now(&self) -> f64 {
        (self.clock)()
    }

    /// Tells whether lines of this level and logger are shown.
    pub fn shows(&self, level: Level, name: &str) -> bool {
        let least = match name {
            "borg.output.list" => output_level(self.settings.list),
            "borg.output.stats" => output_level(self.settings.stats),
            "borg.output.progress" => output_level(self.settings.progress),
            // Only used when their option was given.
            "borg.output.show-version" | "borg.output.show-rc" => Level::Info,
            _ if self.topic_is_on(name) => Level::Debug,
            _ if name.starts_with("borg.debug.") => Level::Warning,
            _ => self.settings.level,
        };
        level >= least
    }

    fn topic_is_on(&self, name: &str) -> bool {
        self.settings.topics.iter().any(|topic| {
            name.strip_prefix(topic.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Writes a log line, if its level and logger are shown.
    pub fn log(&self, level: Level, name: &str, message: &str, msgid: Option<&str>) {
        if !self.shows(level, name) {
            return;
        }
        if !self.is_json() {
            match self.settings.marked {
                true => {
                    let level = level_name(level);
                    self.write(&format!("$LOG {level} {name} Remote: {message}"), "\n");
                }
                false => self.write(message, "\n"),
            }
            return;
        }
        let mut members = vec![
            ("type".to_owned(), Json::from("log_message")),
            ("time".to_owned(), Json::Float(self.now())),
            ("message".to_owned(), Json::from(message)),
            ("levelname".to_owned(), Json::from(level_name(level))),
            ("name".to_owned(), Json::from(name)),
        ];
        if let Some(msgid) = msgid {
            members.push(("msgid".to_owned(), Json::from(msgid)));
        }
        self.write(&Json::Map(members).to_line(), "\n");
    }

    /// Logs what is being done.
    pub fn info(&self, name: &str, message: impl AsRef<str>) {
        self.log(Level::Info, name, message.as_ref(), None);
    }

    /// Logs a detail.
    pub fn debug(&self, name: &str, message: impl AsRef<str>) {
        self.log(Level::Debug, name, message.as_ref(), None);
    }

    /// Writes a line of a listing that `--list` asks for.
    pub fn list(&self, line: impl AsRef<str>) {
        self.log(Level::Info, "borg.output.list", line.as_ref(), None);
    }

    /// Writes a table that `--stats` asks for, line by line.
    pub fn stats(&self, table: &str) {
        for line in table.lines() {
            self.log(Level::Info, "borg.output.stats", line, None);
        }
    }

    /// Writes the status letter of an item, with `--list` only.
    pub fn file_status(&self, status: char, path: &[u8]) {
        if !self.settings.list {
            return;
        }
        let path = super::text::replace_foreign(path);
        if self.is_json() {
            self.object(&object([
                ("type", "file_status".into()),
                ("status", status.to_string().into()),
                ("path", path.as_ref().into()),
            ]));
        } else {
            self.list(format!("{status} {path}"));
        }
    }

    /// Writes a JSON object on a line of its own.
    pub fn object(&self, object: &Json) {
        self.write(&object.to_line(), "\n");
    }

    /// Writes text and what ends it in one go, whatever the level.
    pub fn write(&self, text: &str, end: &str) {
        let mut line = String::with_capacity(text.len() + end.len());
        line.push_str(text);
        line.push_str(end);
        let mut stderr = self.lock();
        // Nobody is left to be told when stderr is gone; the work goes on.
        let _ = stderr
            .write_all(line.as_bytes())
            .and_then(|()| stderr.flush());
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn output_level(asked_for: bool) -> Level {
    if asked_for {
        Level::Info
    } else {
        Level::Warning
    }
}

/// Returns Borg's name of a level.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
        Level::Critical => "CRITICAL",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;

    /// A writer whose text can be read afterwards.
    #[derive(Clone, Default)]
    pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn log(settings: LogSettings) -> (Log, Buffer) {
        let buffer = Buffer::default();
        (Log::new(settings, Box::new(buffer.clone()), || 1.5), buffer)
    }

    #[test]
    fn output_loggers_speak_only_when_asked_whatever_the_level() {
        let (log, buffer) = log(LogSettings {
            level: Level::Debug,
            ..LogSettings::default()
        });
        log.list("unasked");
        log.file_status('A', b"unasked");
        log.debug("borg.cache", "detail");
        assert_eq!(buffer.text(), "detail\n");
        let (log, buffer) = self::log(LogSettings {
            list: true,
            ..LogSettings::default()
        });
        log.file_status('A', b"caf\xff");
        log.info("borg.archiver", "hidden");
        assert_eq!(buffer.text(), "A caf?\n");
    }

    #[test]
    fn json_lines_have_borgs_keys() {
        let (log, buffer) = log(LogSettings {
            json: true,
            list: true,
            ..LogSettings::default()
        });
        log.log(
            Level::Error,
            "borg.archiver",
            "gone",
            Some("Repository.DoesNotExist"),
        );
        log.file_status('M', b"etc/hosts");
        insta::assert_snapshot!(buffer.text(), @r#"
        {"type": "log_message", "time": 1.5, "message": "gone", "levelname": "ERROR", "name": "borg.archiver", "msgid": "Repository.DoesNotExist"}
        {"type": "file_status", "status": "M", "path": "etc/hosts"}
        "#);
    }

    #[test]
    fn a_server_marks_its_lines_until_the_client_reads_json() {
        let (log, buffer) = log(LogSettings {
            marked: true,
            ..LogSettings::default()
        });
        log.log(Level::Error, "borg.repository", "damaged", None);
        log.speak_json();
        log.log(Level::Error, "borg.repository", "damaged", None);
        insta::assert_snapshot!(buffer.text(), @r#"
        $LOG ERROR borg.repository Remote: damaged
        {"type": "log_message", "time": 1.5, "message": "damaged", "levelname": "ERROR", "name": "borg.repository"}
        "#);
    }

    #[test]
    fn topics_are_switched_on_one_by_one() {
        let (log, buffer) = log(LogSettings {
            level: Level::Debug,
            topics: vec!["borg.debug.files_cache".into()],
            ..LogSettings::default()
        });
        log.debug("borg.debug.files_cache", "seen");
        log.debug("borg.debug.other", "unseen");
        assert_eq!(buffer.text(), "seen\n");
    }
}
