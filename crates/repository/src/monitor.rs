//! What a repository tells while it works: log lines and progress.
//!
//! Libraries print nothing. Whoever opens a repository hands it a [`Monitor`]; the engine adapts
//! its own to it, a server sends the events to its client.

use fastness_format::rpc::LogLine;

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For those who look for a mistake.
    Debug,
    /// What is being done.
    Info,
    /// Something is not as it should be; the operation goes on.
    Warning,
    /// Something is wrong with the repository.
    Error,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// A line for the log (Borg's logger for all of them is `borg.repository`).
    Log {
        /// How much it matters.
        level: Level,
        /// The text.
        message: &'a str,
    },
    /// A share of a known amount is done.
    Percent {
        /// Borg's id of the kind of progress, such as `repository.check`.
        msgid: &'static str,
        /// What is being done, without the number, such as `Checking segments`.
        label: &'static str,
        /// Amount done.
        current: u64,
        /// Amount in all.
        total: u64,
    },
    /// The progress last told under this id is over.
    PercentFinished {
        /// Borg's id of the kind of progress.
        msgid: &'static str,
    },
    /// A server on another machine, or what carries the messages to it, said something.
    Remote {
        /// What it means.
        line: &'a LogLine<'a>,
        /// The line as it came.
        text: &'a str,
    },
}

/// Receives events, possibly from several threads.
pub trait Monitor: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);
}

/// A monitor that wants to know nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _event: Event<'_>) {}
}

impl dyn Monitor + '_ {
    /// Logs what is being done.
    pub fn info(&self, message: impl AsRef<str>) {
        self.log(Level::Info, message.as_ref());
    }

    /// Logs a detail.
    pub fn debug(&self, message: impl AsRef<str>) {
        self.log(Level::Debug, message.as_ref());
    }

    /// Logs that something is not as it should be.
    pub fn warning(&self, message: impl AsRef<str>) {
        self.log(Level::Warning, message.as_ref());
    }

    /// Logs damage.
    pub fn error(&self, message: impl AsRef<str>) {
        self.log(Level::Error, message.as_ref());
    }

    fn log(&self, level: Level, message: &str) {
        self.event(Event::Log { level, message });
    }
}
