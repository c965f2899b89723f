//! The two streams of a Borg command, on their way to the log.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::output::lines::{Line, understand};
use crate::output::log::{Entry, Level, Log};
use crate::output::progress::{self, Progress};
use crate::plan::call::Show;

use super::estimate::Total;

/// Lines that are kept for the summary.
const KEPT_LINES: usize = 25;

/// What a command left behind.
#[derive(Debug, Default)]
pub struct Collected {
    /// Its data, when it is wanted.
    pub data: Vec<u8>,
    /// The last lines it said.
    pub last_lines: VecDeque<String>,
    /// The furthest progress.
    pub progress: Progress,
    /// Archives that `prune --list` kept.
    pub kept: u64,
    /// Archives that it removed.
    pub removed: u64,
}

/// Shared by the two streams and the runner.
#[derive(Clone)]
pub struct Collector {
    log: Log,
    show: Show,
    /// A message that must not worry anybody.
    hidden: Option<&'static str>,
    /// Whether nobody is told of warnings.
    quiet: bool,
    /// What stands before each line, or nothing.
    about: String,
    label: String,
    total: Option<Total>,
    begin: Instant,
    collected: Arc<Mutex<Collected>>,
}

impl Collector {
    /// Makes one for a command. `total` is the amount that its progress may be expected to reach.
    pub fn new(log: &Log, show: Show, label: &str, total: Option<Total>) -> Self {
        Self {
            log: log.clone(),
            show,
            hidden: None,
            quiet: false,
            about: String::new(),
            label: label.to_owned(),
            total,
            begin: Instant::now(),
            collected: Arc::default(),
        }
    }

    /// Hides the message with this id.
    #[must_use]
    pub fn hiding(mut self, msgid: Option<&'static str>) -> Self {
        self.hidden = msgid;
        self
    }

    /// Keeps warnings from the log.
    #[must_use]
    pub fn quiet(mut self, quiet: bool) -> Self {
        self.quiet = quiet;
        self
    }

    /// Puts a name before each line.
    #[must_use]
    pub fn about(mut self, name: Option<&str>) -> Self {
        self.about = name.map_or_else(String::new, |name| format!("{name}: "));
        self
    }

    /// Returns what was collected.
    pub fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The command's stdout.
    pub fn stdout(&self) -> Box<dyn Write + Send> {
        Box::new(Data {
            collector: self.clone(),
            partial: Vec::new(),
        })
    }

    /// The command's stderr.
    pub fn stderr(&self) -> Box<dyn Write + Send> {
        Box::new(Lines {
            collector: self.clone(),
            partial: Vec::new(),
        })
    }

    /// The level at which results of the command are shown.
    fn level(&self) -> Level {
        match self.show {
            Show::Answer | Show::Through => Level::Answer,
            Show::Info | Show::Json | Show::Query | Show::Listing => Level::Info,
        }
    }

    fn line(&self, line: &str) {
        match understand(line) {
            Line::Record { msgid, .. } if msgid.is_some() && msgid.as_deref() == self.hidden => {}
            Line::Record {
                level,
                text,
                msgid,
                name,
            } => {
                let asked = level == Level::Info && self.level() == Level::Answer;
                let level = if asked { Level::Answer } else { level };
                self.say(level, &text, &name, msgid.as_deref());
            }
            Line::Status(text) if self.show == Show::Listing => {
                let data = &mut self.collected().data;
                data.extend_from_slice(text.as_bytes());
                // Names may have several lines.
                data.push(0);
            }
            Line::Status(text) => self.say(self.level(), &text, "borg.file_status", None),
            Line::Progress(progress) => self.progress(progress),
            Line::Text(text) => {
                let level = match text.to_lowercase().starts_with("warning:") {
                    true => Level::Warning,
                    false => Level::Error,
                };
                self.say(level, &text, "borgmatic", None);
            }
        }
    }

    fn say(&self, level: Level, text: &str, name: &str, msgid: Option<&str>) {
        let mut collected = self.collected();
        collected.kept += u64::from(text.starts_with("Keeping archive"));
        // "Would prune" in a dry run.
        let removed = text.starts_with("Pruning archive") || text.starts_with("Would prune");
        collected.removed += u64::from(removed);
        if collected.last_lines.len() == KEPT_LINES {
            collected.last_lines.pop_front();
        }
        collected.last_lines.push_back(text.to_owned());
        drop(collected);
        if self.quiet && level == Level::Warning {
            return;
        }
        let prefix = self.about.as_str();
        self.log.entry(&Entry {
            level,
            prefix,
            text,
            name,
            msgid,
        });
    }

    fn progress(&self, progress: Option<Progress>) {
        let Some(mut progress) = progress else {
            self.log.progress(None);
            return;
        };
        progress.label.clone_from(&self.label);
        if progress.bytes {
            progress.total = self.total.as_ref().and_then(Total::get);
        }
        progress.elapsed = self.begin.elapsed();
        if let Some(columns) = self.log.settings().progress_columns {
            self.log.progress(Some(&progress::line(&progress, columns)));
        }
        if progress.bytes {
            self.collected().progress = progress;
        }
    }
}

/// stdout: collected, or passed on if results of this kind are shown.
struct Data {
    collector: Collector,
    /// The beginning of a line, for what keeps records.
    partial: Vec<u8>,
}

impl Data {
    fn show(&mut self, bytes: &[u8]) {
        let (log, level) = (&self.collector.log, self.collector.level());
        let about = self.collector.about.as_str();
        // Whole lines, where others are said beside them.
        let json = log.settings().json || !about.is_empty();
        if !json && log.settings().verbosity >= level.verbosity() {
            log.data(bytes);
        }
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = self.partial.split_off(end + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        for line in String::from_utf8_lossy(&lines).lines() {
            match json {
                true => log.about(level, about, line),
                false => log.output_aside(level, line),
            }
        }
    }
}

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let collector = &self.collector;
        match collector.show {
            Show::Json | Show::Query => collector.collected().data.extend_from_slice(bytes),
            Show::Through => collector.log.data(bytes),
            Show::Answer | Show::Info => self.show(bytes),
            Show::Listing => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            let line = String::from_utf8_lossy(&self.partial);
            let level = self.collector.level();
            self.collector.log.output_aside(level, &line);
        }
    }
}

/// stderr, line by line.
struct Lines {
    collector: Collector,
    partial: Vec<u8>,
}

impl Lines {
    fn complete_lines(&mut self) {
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            let line = std::mem::replace(&mut self.partial, rest);
            let line = String::from_utf8_lossy(&line);
            self.collector.line(line.trim_end_matches(['\n', '\r']));
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let through = self.collector.show == Show::Through && self.partial.is_empty();
        if through && !bytes.starts_with(b"{") {
            // Questions and progress in place have no end of line to wait for.
            self.collector.log.error_data(bytes);
            return Ok(bytes.len());
        }
        self.partial.extend_from_slice(bytes);
        self.complete_lines();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            self.partial.push(b'\n');
            self.complete_lines();
        }
    }
}
