//! What an operation tells while it runs.
//!
//! The engine prints nothing. It hands [`Event`]s to the [`Monitor`] of its caller, which makes
//! text, JSON or a progress bar of them, decides what is shown, and counts warnings for the exit
//! code. Events that belong to one archive arrive in the order of its items, whatever the number
//! of threads.

/// How much a log line matters; the names are those of Borg's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For those who look for a mistake.
    Debug,
    /// What is being done.
    Info,
    /// Something is not as it should be; the operation goes on.
    Warning,
    /// Something failed.
    Error,
    /// Nothing works.
    Critical,
}

/// Sums over the content of an archive, as far as it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArchiveStats {
    /// Bytes of all files.
    pub original_bytes: u64,
    /// Bytes the chunks of all files take in a repository, counted each time they occur.
    pub compressed_bytes: u64,
    /// Bytes of the chunks that no other archive and no earlier file had.
    pub deduplicated_bytes: u64,
    /// Regular files; further names of a hardlinked file do not count.
    pub files: u64,
    /// As `original_bytes`, for part files.
    pub original_bytes_parts: u64,
    /// As `compressed_bytes`, for part files.
    pub compressed_bytes_parts: u64,
    /// As `deduplicated_bytes`, for part files.
    pub deduplicated_bytes_parts: u64,
    /// Part files.
    pub files_parts: u64,
}

/// A warning: the operation went on, and its exit code tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Borg's name for it, such as `FileChangedWarning`; the exit code follows from it.
    pub msgid: &'static str,
    /// The whole text, with the path it is about.
    pub text: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// A file system object was handled; `status` is Borg's letter for how.
    FileStatus {
        /// `A` added, `M` modified, `U` unchanged, `C` changed while read, `E` error, `d`
        /// directory, `s` symlink, `h` hardlink, `x` excluded, `-` dry run, ...
        status: char,
        /// The path as the user gave or would see it.
        path: &'a [u8],
    },
    /// Something went wrong that does not end the operation.
    Warning(Warning),
    /// A line for the log.
    Log {
        /// How much it matters.
        level: Level,
        /// Borg's logger name, such as `borg.archive`.
        logger: &'static str,
        /// The text.
        message: String,
        /// Borg's message id, where the text has one.
        msgid: Option<&'static str>,
    },
    /// An archive is being made; comes often, the monitor picks what it shows.
    ArchiveProgress {
        /// Sums so far.
        stats: ArchiveStats,
        /// The path being handled.
        path: &'a [u8],
    },
    /// The archive is complete.
    ArchiveFinished {
        /// Final sums.
        stats: ArchiveStats,
    },
    /// A share of a known amount is done.
    Percent {
        /// Borg's id of the kind of progress, such as `check.verify_data`.
        msgid: &'static str,
        /// What is being done, without the number.
        label: &'a str,
        /// Amount done.
        current: u64,
        /// Amount in all.
        total: u64,
        /// The path or archive being handled, if there is one.
        path: Option<&'a [u8]>,
    },
    /// An amount is still to be found out.
    PercentBegins {
        /// Borg's id of the kind of progress.
        msgid: &'static str,
        /// The whole text.
        message: &'a str,
    },
    /// The progress last told under this id is over.
    PercentFinished {
        /// Borg's id of the kind of progress.
        msgid: &'static str,
    },
    /// A step without a measure began.
    Step {
        /// Borg's id of the kind of progress, such as `cache.commit`.
        msgid: &'static str,
        /// What is being done; empty when the step is over.
        message: &'a str,
    },
}

/// Receives events.
pub trait Monitor: Sync {
    /// Takes one event. Called from the thread that runs the operation.
    fn event(&self, event: Event<'_>);

    /// Tells whether the user wants the operation to end: what is done so far is kept by a
    /// checkpoint where there are such, and the operation ends with an error.
    fn interrupted(&self) -> bool {
        false
    }
}

/// A monitor that wants to know nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn event(&self, _event: Event<'_>) {}
}

impl dyn Monitor + '_ {
    /// Logs a line without a message id.
    pub fn log(&self, level: Level, logger: &'static str, message: impl Into<String>) {
        self.event(Event::Log {
            level,
            logger,
            message: message.into(),
            msgid: None,
        });
    }
}
