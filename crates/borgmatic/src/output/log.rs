//! Records: their level, whether they are shown, and the summary at the end.
//!
//! Warnings and errors go to stderr, everything else to stdout. At verbosity 0 a run that did its
//! work says nothing but the results that were asked for, so that cron sends no mail.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{log_file, progress};

/// How much a record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look for a mistake.
    Debug,
    /// A step of the work.
    Info,
    /// A result that was asked for.
    Answer,
    /// The work goes on, but something should be looked at.
    Warning,
    /// Something failed.
    Error,
    /// The run failed.
    Critical,
}

impl Level {
    /// The least verbosity at which the level is shown.
    pub fn verbosity(self) -> i64 {
        match self {
            Self::Debug => 2,
            Self::Info => 1,
            Self::Answer | Self::Warning => 0,
            Self::Error | Self::Critical => -1,
        }
    }

    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Answer => "ANSWER",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        }
    }

    /// Its number in Python's logs.
    pub fn number(self) -> i64 {
        match self {
            Self::Debug => 10,
            Self::Info => 20,
            Self::Answer => 25,
            Self::Warning => 30,
            Self::Error => 40,
            Self::Critical => 50,
        }
    }

    fn color(self) -> &'static str {
        match self {
            Self::Debug => "\x1b[36m",
            Self::Info => "\x1b[32m",
            Self::Answer => "\x1b[35m",
            Self::Warning => "\x1b[33m",
            Self::Error | Self::Critical => "\x1b[31m",
        }
    }
}

/// One line of the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub text: String,
}

impl Record {
    /// Makes a record.
    pub fn new(level: Level, text: impl Into<String>) -> Self {
        Self {
            level,
            text: text.into(),
        }
    }
}

/// A record on its way to what keeps records.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// How much it matters.
    pub level: Level,
    /// The repository or file it is about, with what separates it from the text; or nothing.
    pub prefix: &'a str,
    /// The text.
    pub text: &'a str,
    /// The part of the program that says it.
    pub name: &'a str,
    /// Borg's name of the message, if it has one.
    pub msgid: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn own(level: Level, prefix: &'a str, text: &'a str) -> Self {
        Self {
            level,
            prefix,
            text,
            name: "borgmatic",
            msgid: None,
        }
    }
}

/// Something beside the terminal that gets records: a file, a service.
pub trait Sink: Send {
    /// Takes a record. It is called while the log is held, and must neither wait nor log.
    fn take(&mut self, entry: &Entry<'_>);

    /// Takes what became of something, for those that keep fields. Lines tell it already.
    fn take_fact(&mut self, _fact: &Fact<'_>) {}
}

/// What became of something, in fields for programs.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// How much it matters.
    pub level: Level,
    /// It in words.
    pub text: &'a str,
    /// Names of fields, and their values.
    pub fields: &'a [(&'static str, String)],
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// From -2 to 2.
    pub verbosity: i64,
    /// Use colours on stdout, on stderr.
    pub color: [bool; 2],
    /// Write JSON objects instead of lines.
    pub json: bool,
    /// Width of the terminal on which a progress line may be drawn.
    pub progress_columns: Option<usize>,
}

/// Where all records go; clones write to the same place.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Inner>>);

struct Inner {
    settings: LogSettings,
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    prefix: String,
    progress: Option<String>,
    sinks: Vec<Attached>,
    attached: u64,
}

struct Attached {
    id: u64,
    verbosity: i64,
    sink: Box<dyn Sink>,
}

/// Gives records to a sink as long as it lives.
pub struct Attachment {
    log: Log,
    id: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut inner = self.log.inner();
        inner.sinks.retain(|attached| attached.id != self.id);
    }
}

impl Log {
    /// Makes a log.
    pub fn new(
        settings: LogSettings,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            settings,
            stdout,
            stderr,
            prefix: String::new(),
            progress: None,
            sinks: Vec::new(),
            attached: 0,
        })))
    }

    /// Gives the records of a verbosity to `sink` too, until the attachment is dropped.
    #[must_use]
    pub fn attach(&self, verbosity: i64, sink: Box<dyn Sink>) -> Attachment {
        let mut inner = self.inner();
        inner.attached += 1;
        let id = inner.attached;
        inner.sinks.push(Attached {
            id,
            verbosity,
            sink,
        });
        Attachment {
            log: self.clone(),
            id,
        }
    }

    /// Returns the highest verbosity at which anything takes records.
    pub fn verbosity(&self) -> i64 {
        let inner = self.inner();
        let sinks = inner.sinks.iter().map(|attached| attached.verbosity);
        sinks.fold(inner.settings.verbosity, i64::max)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how the log looks.
    pub fn set(&self, settings: LogSettings) {
        self.inner().settings = settings;
    }

    /// Returns how the log looks.
    pub fn settings(&self) -> LogSettings {
        self.inner().settings
    }

    /// Sets what stands before each record: the repository or file it is about.
    pub fn set_prefix(&self, prefix: &str) {
        self.inner().prefix = prefix.to_owned();
    }

    /// Writes a record, with the prefix.
    pub fn record(&self, level: Level, text: &str) {
        let mut inner = self.inner();
        let prefix = inner.prefix();
        inner.write(&Entry::own(level, &prefix, text));
    }

    /// Writes a record that people have seen or will see elsewhere: to all sinks, not here.
    pub fn aside(&self, level: Level, text: &str) {
        let mut inner = self.inner();
        let prefix = inner.prefix();
        inner.pass_on(&Entry::own(level, &prefix, text));
    }

    /// Gives a fact to what keeps fields.
    pub fn fact(&self, fact: &Fact<'_>) {
        for attached in &mut self.inner().sinks {
            if attached.verbosity >= fact.level.verbosity() {
                attached.sink.take_fact(fact);
            }
        }
    }

    /// Writes a line of a command's output, without the prefix.
    pub fn output(&self, level: Level, text: &str) {
        self.inner().write(&Entry::own(level, "", text));
    }

    /// Writes a line of a command's output after what it is about: a name and what separates it.
    pub fn about(&self, level: Level, prefix: &str, text: &str) {
        self.inner().write(&Entry::own(level, prefix, text));
    }

    /// Writes a record that somebody else made, under its own name.
    pub fn entry(&self, entry: &Entry<'_>) {
        self.inner().write(entry);
    }

    /// Writes a line of a command's output to all sinks, not here.
    pub fn output_aside(&self, level: Level, text: &str) {
        self.inner().pass_on(&Entry::own(level, "", text));
    }

    /// Writes data as it is.
    pub fn data(&self, bytes: &[u8]) {
        let mut inner = self.inner();
        inner.clear_progress();
        // Nobody is left to be told when stdout is gone; the work goes on.
        let _ = inner.stdout.write_all(bytes);
        let _ = inner.stdout.flush();
    }

    /// Writes what a command says to its terminal as it is.
    pub fn error_data(&self, bytes: &[u8]) {
        let mut inner = self.inner();
        inner.clear_progress();
        let _ = inner.stderr.write_all(bytes);
        let _ = inner.stderr.flush();
    }

    /// Draws or redraws the progress line; `None` takes it away.
    pub fn progress(&self, line: Option<&str>) {
        let mut inner = self.inner();
        let Some(columns) = inner.settings.progress_columns else {
            return;
        };
        match line {
            None => inner.clear_progress(),
            Some(line) => {
                let line = progress::fit(line, columns.saturating_sub(1));
                let text = format!("\r\x1b[K{line}");
                let _ = inner.stderr.write_all(text.as_bytes());
                let _ = inner.stderr.flush();
                inner.progress = Some(line);
            }
        }
    }

    /// Writes the summary of a run.
    pub fn summary(&self, records: &[Record]) {
        let Some(highest) = records.iter().map(|record| record.level).max() else {
            return;
        };
        let mut inner = self.inner();
        if !inner.settings.json {
            inner.write(&Entry::own(highest, "", ""));
        }
        inner.write(&Entry::own(highest, "", "summary:"));
        for record in records {
            inner.write(&Entry::own(record.level, "", &record.text));
        }
    }
}

impl Inner {
    fn prefix(&self) -> String {
        match self.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}: "),
        }
    }

    fn write(&mut self, entry: &Entry<'_>) {
        match self.settings.json {
            true => {
                let line = log_file::json(entry, SystemTime::now()).to_string();
                self.show(entry.level, &line);
            }
            false => self.show(entry.level, &format!("{}{}", entry.prefix, entry.text)),
        }
        self.pass_on(entry);
    }

    fn pass_on(&mut self, entry: &Entry<'_>) {
        for attached in &mut self.sinks {
            if attached.verbosity >= entry.level.verbosity() {
                attached.sink.take(entry);
            }
        }
    }

    fn show(&mut self, level: Level, text: &str) {
        if self.settings.verbosity < level.verbosity() {
            return;
        }
        self.clear_progress();
        let [color_stdout, color_stderr] = self.settings.color;
        let (stream, color) = match level >= Level::Warning {
            true => (&mut self.stderr, color_stderr),
            false => (&mut self.stdout, color_stdout),
        };
        let line = match color && !text.is_empty() {
            true => format!("{}{text}\x1b[0m\n", level.color()),
            false => format!("{text}\n"),
        };
        let _ = stream.write_all(line.as_bytes());
        let _ = stream.flush();
    }

    fn clear_progress(&mut self) {
        if self.progress.take().is_some() {
            let _ = self.stderr.write_all(b"\r\x1b[K");
            let _ = self.stderr.flush();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
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

    /// A log with what it wrote to stdout and stderr.
    pub(crate) fn log(verbosity: i64) -> (Log, Buffer, Buffer) {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let settings = LogSettings {
            verbosity,
            color: [false; 2],
            json: false,
            progress_columns: None,
        };
        let log = Log::new(settings, Box::new(stdout.clone()), Box::new(stderr.clone()));
        (log, stdout, stderr)
    }

    #[test]
    fn verbosity_decides_what_is_shown() {
        let all = [
            Level::Debug,
            Level::Info,
            Level::Answer,
            Level::Warning,
            Level::Error,
        ];
        for (verbosity, expected) in [
            (-2, ""),
            (-1, ""),
            (0, "Answer"),
            (1, "Info Answer"),
            (2, "Debug Info Answer"),
        ] {
            let (log, stdout, stderr) = log(verbosity);
            for level in all {
                log.record(level, &format!("{level:?}"));
            }
            assert_eq!(
                stdout.text().trim().replace('\n', " "),
                expected,
                "{verbosity}"
            );
            let errors = match verbosity {
                -2 => "",
                -1 => "Error\n",
                _ => "Warning\nError\n",
            };
            assert_eq!(stderr.text(), errors, "{verbosity}");
        }
    }

    #[test]
    fn the_summary_is_silent_when_all_went_well_and_nobody_asked() {
        let (log, stdout, stderr) = log(0);
        log.summary(&[Record::new(Level::Info, "fine")]);
        assert_eq!(stdout.text() + &stderr.text(), "");
        log.summary(&[
            Record::new(Level::Info, "fine"),
            Record::new(Level::Critical, "broken"),
        ]);
        assert_eq!(stderr.text(), "\nsummary:\nbroken\n");
    }

    #[test]
    fn records_have_a_prefix_and_output_has_none() {
        let (log, stdout, _) = log(1);
        log.set_prefix("nas");
        log.record(Level::Info, "Pruning archives");
        log.output(Level::Info, "Keeping archive: x");
        assert_eq!(stdout.text(), "nas: Pruning archives\nKeeping archive: x\n");
    }

    #[test]
    fn a_record_takes_the_progress_line_away_first() {
        let (log, _, stderr) = log(0);
        log.set(LogSettings {
            progress_columns: Some(20),
            ..log.settings()
        });
        log.progress(Some("42 %"));
        log.record(Level::Warning, "slow");
        assert_eq!(stderr.text(), "\r\x1b[K42 %\r\x1b[Kslow\n");
    }
}
