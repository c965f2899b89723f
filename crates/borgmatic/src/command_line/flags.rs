//! The table of flags.
//!
//! A flag is declared once and named by the actions that know it (see [`super::specs`]). One with an `option` sets that
//! option of the configuration; the others are read by [`super::actions`].

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// One value, called this in the help.
    Value(&'static str),
    /// One value each time; the flag may repeat.
    Values(&'static str),
    /// Nothing, and the flag may repeat.
    Counted,
}

impl Takes {
    /// Tells whether a value follows the flag.
    pub fn has_value(self) -> bool {
        matches!(self, Self::Value(_) | Self::Values(_))
    }
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// The long form, without dashes.
    pub long: &'static str,
    /// The short form.
    pub short: Option<char>,
    /// Other long forms.
    pub aliases: &'static [&'static str],
    /// What follows it.
    pub takes: Takes,
    /// The option it sets, and to what (empty: to the value given).
    pub option: Option<(&'static str, &'static str)>,
    /// What it does.
    pub about: &'static str,
}

const fn flag(long: &'static str, takes: Takes, about: &'static str) -> Flag {
    Flag {
        long,
        short: None,
        aliases: &[],
        takes,
        option: None,
        about,
    }
}

use Takes::{Nothing, Value, Values};

pub(super) static REPOSITORY: Flag = flag(
    "repository",
    Value("NAME"),
    "Only this repository: path or label, globs allowed",
);
pub(super) static PROGRESS: Flag = Flag {
    option: Some(("progress", "true")),
    ..flag("progress", Nothing, "Show progress")
};
pub(super) static STATS: Flag = Flag {
    option: Some(("statistics", "standard")),
    ..flag("stats", Nothing, "Show statistics")
};
pub(super) static QUICK_STATS: Flag = Flag {
    option: Some(("statistics", "quick")),
    ..flag(
        "quick-stats",
        Nothing,
        "Show the statistics of the archive only",
    )
};
pub(super) static LIST: Flag = Flag {
    aliases: &["files"],
    option: Some(("list_details", "true")),
    ..flag(
        "list",
        Nothing,
        "Show each file or archive as it is handled",
    )
};
pub(super) static JSON: Flag = flag("json", Nothing, "Print results as JSON");
pub(super) static ESTIMATE: Flag = flag(
    "estimate",
    Nothing,
    "With --dry-run: also tell what the real run would change, in bytes",
);
pub(super) static COMMENT: Flag =
    flag("comment", Value("TEXT"), "A comment to keep in the archive");
pub(super) static MATCH_ARCHIVES: Flag = Flag {
    short: Some('a'),
    aliases: &["glob-archives"],
    option: Some(("match_archives", "")),
    ..flag(
        "match-archives",
        Value("PATTERN"),
        "Only archives with such names",
    )
};
pub(super) static THRESHOLD: Flag = Flag {
    option: Some(("compact_threshold", "")),
    ..flag(
        "threshold",
        Value("PERCENT"),
        "Compact segments with this much free space",
    )
};
pub(super) static CLEANUP_COMMITS: Flag = flag(
    "cleanup-commits",
    Nothing,
    "Accepted for old scripts; compacting removes such segments anyway",
);
pub(super) static REPAIR: Flag = flag("repair", Nothing, "Try to repair what is found");
pub(super) static MAX_DURATION: Flag = flag(
    "max-duration",
    Value("SECONDS"),
    "Pause the repository check after this time",
);
pub(super) static ONLY: Flag = flag(
    "only",
    Values("CHECK"),
    "This check instead of those configured; may repeat",
);
pub(super) static FORCE: Flag = flag(
    "force",
    Nothing,
    "Check now, whatever the configured rhythm",
);
pub(super) static ARCHIVE: Flag = flag(
    "archive",
    Value("ARCHIVE"),
    "An archive by its name, or \"latest\"",
);
pub(super) static PATH: Flag = Flag {
    aliases: &["restore-path"],
    ..flag(
        "path",
        Values("PATH"),
        "Only this path of the archive; may repeat",
    )
};
pub(super) static FIND: Flag = flag(
    "find",
    Values("PATH"),
    "Search archives for paths with this in them; may repeat",
);
pub(super) static SHORT: Flag = flag("short", Nothing, "Names only");
pub(super) static FORMAT: Flag = flag("format", Value("FORMAT"), "Format of a line");
pub(super) static PREFIX: Flag = Flag {
    short: Some('P'),
    ..flag(
        "prefix",
        Value("PREFIX"),
        "Only archives whose names begin so (deprecated)",
    )
};
pub(super) static SORT_BY: Flag = flag(
    "sort-by",
    Value("KEYS"),
    "Keys to sort by, separated by commas",
);
pub(super) static FIRST: Flag = flag("first", Value("N"), "Only the first N archives");
pub(super) static LAST: Flag = flag("last", Value("N"), "Only the last N archives");
pub(super) static EXCLUDE: Flag = Flag {
    short: Some('e'),
    ..flag("exclude", Value("PATTERN"), "Leave out matching paths")
};
pub(super) static EXCLUDE_FROM: Flag = flag(
    "exclude-from",
    Value("FILE"),
    "Leave out paths matching lines of a file",
);
pub(super) static PATTERN: Flag = flag("pattern", Value("PATTERN"), "Take or leave matching paths");
pub(super) static PATTERNS_FROM: Flag = flag(
    "patterns-from",
    Value("FILE"),
    "Take or leave paths matching lines of a file",
);
pub(super) static DESTINATION: Flag = flag(
    "destination",
    Value("DIRECTORY"),
    "Where to extract to; made when missing",
);
pub(super) static STRIP_COMPONENTS: Flag = flag(
    "strip-components",
    Value("NUMBER"),
    "Leading directories to leave out, or \"all\"",
);
pub(super) static ENCRYPTION: Flag = Flag {
    short: Some('e'),
    ..flag("encryption", Value("MODE"), "Encryption mode")
};
pub(super) static APPEND_ONLY: Flag = flag("append-only", Nothing, "Nothing can be deleted later");
pub(super) static STORAGE_QUOTA: Flag = flag("storage-quota", Value("SIZE"), "Most space to take");
pub(super) static MAKE_PARENT_DIRS: Flag = flag(
    "make-parent-dirs",
    Nothing,
    "Make missing parent directories",
);
pub(super) static SHOW: Flag = Flag {
    short: Some('s'),
    ..flag(
        "show",
        Nothing,
        "Print the configuration as it is understood",
    )
};

pub(super) static FORCE_COUNTED: Flag = flag(
    "force",
    Takes::Counted,
    "Also what is damaged, without a question; twice: without looking into it",
);
pub(super) static CACHE_ONLY: Flag = flag("cache-only", Nothing, "Delete only the local cache");
pub(super) static KEEP_SECURITY_INFO: Flag = flag(
    "keep-security-info",
    Nothing,
    "Keep what is known of the repository",
);
pub(super) static SAVE_SPACE: Flag = flag(
    "save-space",
    Nothing,
    "Accepted for old scripts; does nothing, as in Borg",
);
pub(super) static CHECKPOINT_INTERVAL: Flag = flag(
    "checkpoint-interval",
    Value("SECONDS"),
    "Commit after this time",
);
/// Deleting asks for its own choice: that of the configuration plays no part.
pub(super) static DELETE_MATCH: Flag = Flag {
    short: Some('a'),
    aliases: &["glob-archives"],
    ..flag(
        "match-archives",
        Value("PATTERN"),
        "Only archives with such names",
    )
};
pub(super) static TAR_DESTINATION: Flag = flag(
    "destination",
    Value("FILE"),
    "The tar file; \"-\" is stdout",
);
pub(super) static TAR_FILTER: Flag = flag(
    "tar-filter",
    Value("COMMAND"),
    "A command that the tar file goes through",
);
pub(super) static TARGET: Flag = flag("target", Value("ARCHIVE"), "Name of the new archive");
pub(super) static TIMESTAMP: Flag =
    flag("timestamp", Value("TIME"), "Time that the new archive gets");
pub(super) static SECOND_ARCHIVE: Flag = flag(
    "second-archive",
    Value("ARCHIVE"),
    "The archive to compare with",
);
pub(super) static SAME_CHUNKER_PARAMS: Flag = flag(
    "same-chunker-params",
    Nothing,
    "Both were cut alike, whatever they say",
);
pub(super) static SORT_KEYS: Flag = flag("sort-by", Values("KEY"), "Key to sort by; may repeat");
pub(super) static CONTENT_ONLY: Flag =
    flag("content-only", Nothing, "Only what differs in content");
pub(super) static ONLY_PATTERNS: Flag = flag(
    "only-patterns",
    Nothing,
    "Only what the configuration selects",
);
pub(super) static SOURCE_REPOSITORY: Flag = flag(
    "source-repository",
    Value("NAME"),
    "The repository to copy archives from: a path, or the label of a configured one",
);
pub(super) static FROM_BORG1: Flag = flag(
    "from-borg1",
    Nothing,
    "For repositories of Borg 2 only, and refused here",
);
pub(super) static UPGRADER: Flag = flag(
    "upgrader",
    Value("NAME"),
    "For repositories of Borg 2 only, and refused here",
);
pub(super) static MOUNT_POINT: Flag = flag(
    "mount-point",
    Value("DIRECTORY"),
    "Where the file system is to be seen",
);
pub(super) static FOREGROUND: Flag = flag(
    "foreground",
    Nothing,
    "Stay in the foreground until Ctrl-C is pressed",
);
pub(super) static MOUNT_OPTIONS: Flag = flag(
    "options",
    Value("OPTIONS"),
    "Options of Borg's mount, with commas between them",
);
pub(super) static PAPER: Flag = flag("paper", Nothing, "In a form for typing");
pub(super) static QR_HTML: Flag = flag("qr-html", Nothing, "As a page with a QR code");
pub(super) static KEY_EXPORT_PATH: Flag =
    flag("path", Value("FILE"), "The file; stdout without it");
pub(super) static KEY_IMPORT_PATH: Flag = flag("path", Value("FILE"), "The file; stdin without it");
pub(super) static BOOTSTRAP_REPOSITORY: Flag = flag(
    "repository",
    Value("PATH"),
    "The repository with the archive",
);
pub(super) static BOOTSTRAP_DESTINATION: Flag =
    flag("destination", Value("DIRECTORY"), "Where to; / by default");
pub(super) static BOOTSTRAP_ARCHIVE: Flag = flag(
    "archive",
    Value("ARCHIVE"),
    "The archive; the newest by default",
);

pub(super) static SOURCE: Flag = Flag {
    short: Some('s'),
    ..flag(
        "source",
        Value("FILE"),
        "An older configuration to bring along",
    )
};
pub(super) static GENERATE_DESTINATION: Flag = Flag {
    short: Some('d'),
    ..flag(
        "destination",
        Value("FILE"),
        "Where to write it; /etc/borgmatic/config.yaml by default",
    )
};
pub(super) static OVERWRITE: Flag = flag("overwrite", Nothing, "Replace a file that is there");
pub(super) static SPLIT: Flag = flag(
    "split",
    Nothing,
    "Write one file for each option into the destination",
);
pub(super) static OPTION: Flag = flag("option", Value("NAME"), "Only this option");

pub(super) static DATA_SOURCE: Flag = Flag {
    aliases: &["database"],
    ..flag(
        "data-source",
        Values("NAME"),
        "Only this database, globs allowed; may repeat",
    )
};
pub(super) static SCHEMA: Flag = flag(
    "schema",
    Values("NAME"),
    "Only this schema of PostgreSQL, or namespace of MongoDB; may repeat",
);
pub(super) static HOSTNAME: Flag = flag("hostname", Value("HOST"), "The server to restore to");
pub(super) static PORT: Flag = flag("port", Value("PORT"), "Its port");
pub(super) static CONTAINER: Flag = flag(
    "container",
    Value("NAME"),
    "The container of the server to restore to",
);
pub(super) static USERNAME: Flag = flag("username", Value("NAME"), "The user to restore as");
pub(super) static PASSWORD: Flag = flag(
    "password",
    Value("PASSWORD"),
    "The user's password (others can see it here; restore_password is safer)",
);
pub(super) static RESTORE_PATH: Flag = flag(
    "restore-path",
    Value("FILE"),
    "The file to restore an SQLite database to",
);
pub(super) static ORIGINAL_LABEL: Flag = flag(
    "original-label",
    Value("LABEL"),
    "Only dumps with this label",
);
pub(super) static ORIGINAL_HOSTNAME: Flag = flag(
    "original-hostname",
    Value("HOST"),
    "Only dumps of this server",
);
pub(super) static ORIGINAL_CONTAINER: Flag = flag(
    "original-container",
    Value("NAME"),
    "Only dumps of the server in this container",
);
pub(super) static ORIGINAL_PORT: Flag =
    flag("original-port", Value("PORT"), "Only dumps of this port");
pub(super) static HOOK: Flag = flag(
    "hook",
    Value("KIND"),
    "Only this kind of database: postgresql, mariadb, mysql, ...",
);
pub(super) static TO: Flag = flag(
    "to",
    Value("DIRECTORY"),
    "Restore the data files of a MariaDB server (mariadb_physical) to this empty directory",
);
pub(super) static TO_SCRATCH: Flag = flag(
    "to-scratch",
    Value("DIRECTORY"),
    "The same, and start a private server there, to look at it or take tables out",
);
pub(super) static OVERWRITE_DIRECTORY: Flag =
    flag("overwrite", Nothing, "Empty that directory first");

/// Flags that go with every action.
pub static GLOBAL: &[Flag] = &[
    Flag {
        short: Some('c'),
        ..flag(
            "config",
            Values("PATH"),
            "A configuration file or directory; may repeat",
        )
    },
    Flag {
        short: Some('n'),
        ..flag("dry-run", Nothing, "Change nothing")
    },
    Flag {
        short: Some('v'),
        option: Some(("verbosity", "")),
        ..flag(
            "verbosity",
            Value("LEVEL"),
            "-2 nothing, -1 errors, 0 results, 1 steps, 2 all",
        )
    },
    flag(
        "override",
        Values("OPTION=VALUE"),
        "Old form of flags that set options (deprecated)",
    ),
    flag(
        "no-environment-interpolation",
        Nothing,
        "Leave ${VARIABLES} in configuration files alone",
    ),
    flag("version", Nothing, "Print the version"),
    Flag {
        short: Some('h'),
        ..flag("help", Nothing, "Print help")
    },
];
