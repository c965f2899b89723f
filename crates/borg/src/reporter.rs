//! Makes text, JSON and exit codes of what the layers below tell.
//!
//! One reporter per run, shared by all threads: it owns the logger, shows progress, and gathers
//! the warnings from which the exit code follows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastness_engine::event::{Event, Level, Monitor, Warning};

use crate::exit_code::{ExitCode, Outcome, Scheme};
use crate::output::log::Log;
use crate::output::progress::{Progress, Share};
use crate::output::text::{Units, replace_foreign};
use crate::signals;

/// Shows what happens and remembers what went wrong.
pub struct Reporter {
    log: Log,
    scheme: Scheme,
    units: Units,
    status_filter: Mutex<Option<String>>,
    progress: Mutex<Progress>,
    outcome: Mutex<Outcome>,
    warnings: Mutex<BTreeMap<String, u64>>,
    interrupted: AtomicBool,
    questions_answered: AtomicU32,
}

impl Reporter {
    /// Makes a reporter that writes through `log`.
    pub fn new(log: Log, scheme: Scheme, units: Units) -> Self {
        Self {
            log,
            scheme,
            units,
            status_filter: Mutex::new(None),
            progress: Mutex::new(Progress::default()),
            outcome: Mutex::new(Outcome::default()),
            warnings: Mutex::default(),
            interrupted: AtomicBool::new(false),
            questions_answered: AtomicU32::new(signals::questions()),
        }
    }

    /// Returns the logger.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Shows only items with these status letters from now on (`--filter`).
    pub fn show_only(&self, letters: Option<String>) {
        *lock(&self.status_filter) = letters;
    }

    /// Logs a warning and lets the exit code tell of it.
    pub fn warn(&self, msgid: Option<&str>, text: &str) {
        let code = match msgid {
            Some(msgid) => ExitCode::of_warning(msgid, self.scheme),
            None => ExitCode::WARNING,
        };
        lock(&self.outcome).warn(code);
        let kind = msgid.unwrap_or("Warning");
        let mut warnings = lock(&self.warnings);
        match warnings.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(warnings.insert(kind.to_owned(), 1)),
        }
        drop(warnings);
        self.log.log(Level::Warning, "borg.archiver", text, msgid);
    }

    /// Returns how often there was a warning of each kind.
    pub fn warnings(&self) -> BTreeMap<String, u64> {
        lock(&self.warnings).clone()
    }

    /// Sets the exit code, if it is worse than what was set before.
    pub fn raise(&self, code: ExitCode) {
        lock(&self.outcome).raise(code);
    }

    /// Returns the exit code as it stands.
    pub fn exit_code(&self) -> ExitCode {
        lock(&self.outcome).exit_code()
    }

    /// Shows how much of a known amount is done, with `--progress` only.
    pub fn share(&self, share: Share<'_>) {
        self.progress(|progress, log| progress.percent(log, share));
    }

    /// Shows that a kind of progress is over.
    pub fn share_finished(&self, msgid: &'static str) {
        self.progress(|progress, log| progress.percent_finished(log, msgid));
    }

    /// Shows a step without a measure, with `--progress` only; an empty message ends it.
    pub fn step(&self, msgid: &'static str, message: &str) {
        self.progress(|progress, log| progress.step(log, msgid, message));
    }

    /// Asks the running operation to end as soon as it can.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    fn file_status(&self, status: char, path: &[u8]) {
        let shown = match lock(&self.status_filter).as_deref() {
            None => true,
            Some(letters) => letters.contains(status),
        };
        if shown {
            self.log.file_status(status, path);
        }
    }

    /// Tells where the work is, if somebody asked since the last time (SIGUSR1).
    fn answer_question(&self, path: &[u8]) {
        let asked = signals::questions();
        if self.questions_answered.swap(asked, Ordering::Relaxed) != asked {
            self.log.info("borg.archiver", replace_foreign(path));
        }
    }

    fn progress(&self, show: impl FnOnce(&mut Progress, &Log)) {
        if self.log.settings().progress {
            show(&mut lock(&self.progress), &self.log);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Monitor for Reporter {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::FileStatus { status, path } => self.file_status(status, path),
            Event::Warning(Warning { msgid, text }) => self.warn(Some(msgid), &text),
            Event::Log {
                level,
                logger,
                message,
                msgid,
            } => {
                self.log.log(level, logger, &message, msgid);
            }
            Event::ArchiveProgress { stats, path } => {
                self.answer_question(path);
                self.progress(|progress, log| progress.archive(log, self.units, &stats, path));
            }
            Event::ArchiveFinished { .. } => {
                self.progress(|progress, log| progress.archive_finished(log));
            }
            Event::Percent {
                msgid,
                label,
                current,
                total,
                path,
            } => {
                let share = Share {
                    msgid,
                    label,
                    current,
                    total,
                    path,
                };
                self.progress(|progress, log| progress.percent(log, share));
            }
            Event::PercentBegins { msgid, message } => {
                self.progress(|progress, log| progress.percent_begins(log, msgid, message));
            }
            Event::PercentFinished { msgid } => {
                self.progress(|progress, log| progress.percent_finished(log, msgid));
            }
            Event::Step { msgid, message } => {
                self.progress(|progress, log| progress.step(log, msgid, message));
            }
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || signals::end_wanted()
    }
}

impl fastness_repository::Monitor for Reporter {
    fn event(&self, event: fastness_repository::Event<'_>) {
        use fastness_repository::Event as Told;
        match event {
            Told::Log { level, message } => {
                self.log
                    .log(engine_level(level), "borg.repository", message, None);
            }
            Told::Percent {
                msgid,
                label,
                current,
                total,
            } => {
                let share = Share {
                    msgid,
                    label,
                    current,
                    total,
                    path: None,
                };
                self.progress(|progress, log| progress.percent(log, share));
            }
            Told::PercentFinished { msgid } => {
                self.progress(|progress, log| progress.percent_finished(log, msgid));
            }
            Told::Remote { line, text } => crate::output::remote::show(&self.log, line, text),
        }
    }
}

fn engine_level(level: fastness_repository::Level) -> Level {
    match level {
        fastness_repository::Level::Debug => Level::Debug,
        fastness_repository::Level::Info => Level::Info,
        fastness_repository::Level::Warning => Level::Warning,
        fastness_repository::Level::Error => Level::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::log::LogSettings;
    use crate::output::log::tests::log;

    #[test]
    fn warnings_are_logged_and_decide_the_exit_code() {
        let (log, buffer) = log(LogSettings::default());
        let reporter = Reporter::new(log, Scheme::Modern, Units::Decimal);
        reporter.event(Event::Warning(Warning {
            msgid: "BackupFileNotFoundError",
            text: "x: stat: [Errno 2] No such file or directory: 'x'".into(),
        }));
        assert_eq!(
            buffer.text(),
            "x: stat: [Errno 2] No such file or directory: 'x'\n"
        );
        assert_eq!(reporter.exit_code().code(), 107);
    }

    #[test]
    fn status_letters_are_filtered_and_progress_is_silent_unless_asked_for() {
        let (log, buffer) = log(LogSettings {
            list: true,
            ..LogSettings::default()
        });
        let reporter = Reporter::new(log, Scheme::Legacy, Units::Decimal);
        reporter.show_only(Some("AM".into()));
        for status in ['A', 'U', 'M'] {
            reporter.event(Event::FileStatus { status, path: b"f" });
        }
        reporter.event(Event::Step {
            msgid: "cache.commit",
            message: "Saving",
        });
        assert_eq!(buffer.text(), "A f\nM f\n");
    }
}
