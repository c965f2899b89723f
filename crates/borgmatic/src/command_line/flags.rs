//! The tables of flags and actions.
//!
//! A flag is declared once and named by the actions that know it. One with an `option` sets that
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

static REPOSITORY: Flag = flag(
    "repository",
    Value("NAME"),
    "Only this repository: path or label, globs allowed",
);
static PROGRESS: Flag = Flag {
    option: Some(("progress", "true")),
    ..flag("progress", Nothing, "Show progress")
};
static STATS: Flag = Flag {
    option: Some(("statistics", "standard")),
    ..flag("stats", Nothing, "Show statistics")
};
static QUICK_STATS: Flag = Flag {
    option: Some(("statistics", "quick")),
    ..flag(
        "quick-stats",
        Nothing,
        "Show the statistics of the archive only",
    )
};
static LIST: Flag = Flag {
    aliases: &["files"],
    option: Some(("list_details", "true")),
    ..flag(
        "list",
        Nothing,
        "Show each file or archive as it is handled",
    )
};
static JSON: Flag = flag("json", Nothing, "Print results as JSON");
static COMMENT: Flag = flag("comment", Value("TEXT"), "A comment to keep in the archive");
static MATCH_ARCHIVES: Flag = Flag {
    short: Some('a'),
    aliases: &["glob-archives"],
    option: Some(("match_archives", "")),
    ..flag(
        "match-archives",
        Value("PATTERN"),
        "Only archives with such names",
    )
};
static THRESHOLD: Flag = Flag {
    option: Some(("compact_threshold", "")),
    ..flag(
        "threshold",
        Value("PERCENT"),
        "Compact segments with this much free space",
    )
};
static CLEANUP_COMMITS: Flag = flag(
    "cleanup-commits",
    Nothing,
    "Accepted for old scripts; compacting removes such segments anyway",
);
static REPAIR: Flag = flag("repair", Nothing, "Try to repair what is found");
static MAX_DURATION: Flag = flag(
    "max-duration",
    Value("SECONDS"),
    "Pause the repository check after this time",
);
static ONLY: Flag = flag(
    "only",
    Values("CHECK"),
    "This check instead of those configured; may repeat",
);
static FORCE: Flag = flag(
    "force",
    Nothing,
    "Check now, whatever the configured rhythm",
);
static ARCHIVE: Flag = flag(
    "archive",
    Value("ARCHIVE"),
    "An archive by its name, or \"latest\"",
);
static PATH: Flag = Flag {
    aliases: &["restore-path"],
    ..flag(
        "path",
        Values("PATH"),
        "Only this path of the archive; may repeat",
    )
};
static FIND: Flag = flag(
    "find",
    Values("PATH"),
    "Search archives for paths with this in them; may repeat",
);
static SHORT: Flag = flag("short", Nothing, "Names only");
static FORMAT: Flag = flag("format", Value("FORMAT"), "Format of a line");
static PREFIX: Flag = Flag {
    short: Some('P'),
    ..flag(
        "prefix",
        Value("PREFIX"),
        "Only archives whose names begin so (deprecated)",
    )
};
static SORT_BY: Flag = flag(
    "sort-by",
    Value("KEYS"),
    "Keys to sort by, separated by commas",
);
static FIRST: Flag = flag("first", Value("N"), "Only the first N archives");
static LAST: Flag = flag("last", Value("N"), "Only the last N archives");
static EXCLUDE: Flag = Flag {
    short: Some('e'),
    ..flag("exclude", Value("PATTERN"), "Leave out matching paths")
};
static EXCLUDE_FROM: Flag = flag(
    "exclude-from",
    Value("FILE"),
    "Leave out paths matching lines of a file",
);
static PATTERN: Flag = flag("pattern", Value("PATTERN"), "Take or leave matching paths");
static PATTERNS_FROM: Flag = flag(
    "patterns-from",
    Value("FILE"),
    "Take or leave paths matching lines of a file",
);
static DESTINATION: Flag = flag("destination", Value("DIRECTORY"), "Where to extract to");
static STRIP_COMPONENTS: Flag = flag(
    "strip-components",
    Value("NUMBER"),
    "Leading directories to leave out, or \"all\"",
);
static ENCRYPTION: Flag = Flag {
    short: Some('e'),
    ..flag("encryption", Value("MODE"), "Encryption mode")
};
static APPEND_ONLY: Flag = flag("append-only", Nothing, "Nothing can be deleted later");
static STORAGE_QUOTA: Flag = flag("storage-quota", Value("SIZE"), "Most space to take");
static MAKE_PARENT_DIRS: Flag = flag(
    "make-parent-dirs",
    Nothing,
    "Make missing parent directories",
);
static SHOW: Flag = Flag {
    short: Some('s'),
    ..flag(
        "show",
        Nothing,
        "Print the configuration as it is understood",
    )
};

static FORCE_COUNTED: Flag = flag(
    "force",
    Takes::Counted,
    "Also what is damaged, without a question; twice: without looking into it",
);
static CACHE_ONLY: Flag = flag("cache-only", Nothing, "Delete only the local cache");
static KEEP_SECURITY_INFO: Flag = flag(
    "keep-security-info",
    Nothing,
    "Keep what is known of the repository",
);
static SAVE_SPACE: Flag = flag(
    "save-space",
    Nothing,
    "Accepted for old scripts; does nothing, as in Borg",
);
static CHECKPOINT_INTERVAL: Flag = flag(
    "checkpoint-interval",
    Value("SECONDS"),
    "Commit after this time",
);
/// Deleting asks for its own choice: that of the configuration plays no part.
static DELETE_MATCH: Flag = Flag {
    short: Some('a'),
    aliases: &["glob-archives"],
    ..flag(
        "match-archives",
        Value("PATTERN"),
        "Only archives with such names",
    )
};
static TAR_DESTINATION: Flag = flag(
    "destination",
    Value("FILE"),
    "The tar file; \"-\" is stdout",
);
static TAR_FILTER: Flag = flag(
    "tar-filter",
    Value("COMMAND"),
    "A command that the tar file goes through",
);
static TARGET: Flag = flag("target", Value("ARCHIVE"), "Name of the new archive");
static TIMESTAMP: Flag = flag("timestamp", Value("TIME"), "Time that the new archive gets");
static SECOND_ARCHIVE: Flag = flag(
    "second-archive",
    Value("ARCHIVE"),
    "The archive to compare with",
);
static SAME_CHUNKER_PARAMS: Flag = flag(
    "same-chunker-params",
    Nothing,
    "Both were cut alike, whatever they say",
);
static SORT_KEYS: Flag = flag("sort-by", Values("KEY"), "Key to sort by; may repeat");
static CONTENT_ONLY: Flag = flag("content-only", Nothing, "Only what differs in content");
static ONLY_PATTERNS: Flag = flag(
    "only-patterns",
    Nothing,
    "Only what the configuration selects",
);
static PAPER: Flag = flag("paper", Nothing, "In a form for typing");
static QR_HTML: Flag = flag("qr-html", Nothing, "As a page with a QR code");
static KEY_EXPORT_PATH: Flag = flag("path", Value("FILE"), "The file; stdout without it");
static KEY_IMPORT_PATH: Flag = flag("path", Value("FILE"), "The file; stdin without it");
static BOOTSTRAP_REPOSITORY: Flag = flag(
    "repository",
    Value("PATH"),
    "The repository with the archive",
);
static BOOTSTRAP_DESTINATION: Flag =
    flag("destination", Value("DIRECTORY"), "Where to; / by default");
static BOOTSTRAP_ARCHIVE: Flag = flag(
    "archive",
    Value("ARCHIVE"),
    "The archive; the newest by default",
);

static SOURCE: Flag = Flag {
    short: Some('s'),
    ..flag(
        "source",
        Value("FILE"),
        "An older configuration to bring along",
    )
};
static GENERATE_DESTINATION: Flag = Flag {
    short: Some('d'),
    ..flag(
        "destination",
        Value("FILE"),
        "Where to write it; /etc/borgmatic/config.yaml by default",
    )
};
static OVERWRITE: Flag = flag("overwrite", Nothing, "Replace a file that is there");
static SPLIT: Flag = flag(
    "split",
    Nothing,
    "Write one file for each option into the destination",
);
static OPTION: Flag = flag("option", Value("NAME"), "Only this option");

static DATA_SOURCE: Flag = Flag {
    aliases: &["database"],
    ..flag(
        "data-source",
        Values("NAME"),
        "Only this database, globs allowed; may repeat",
    )
};
static SCHEMA: Flag = flag(
    "schema",
    Values("NAME"),
    "Only this schema of PostgreSQL, or namespace of MongoDB; may repeat",
);
static HOSTNAME: Flag = flag("hostname", Value("HOST"), "The server to restore to");
static PORT: Flag = flag("port", Value("PORT"), "Its port");
static CONTAINER: Flag = flag(
    "container",
    Value("NAME"),
    "The container of the server to restore to",
);
static USERNAME: Flag = flag("username", Value("NAME"), "The user to restore as");
static PASSWORD: Flag = flag(
    "password",
    Value("PASSWORD"),
    "The user's password (others can see it here; restore_password is safer)",
);
static RESTORE_PATH: Flag = flag(
    "restore-path",
    Value("FILE"),
    "The file to restore an SQLite database to",
);
static ORIGINAL_LABEL: Flag = flag(
    "original-label",
    Value("LABEL"),
    "Only dumps with this label",
);
static ORIGINAL_HOSTNAME: Flag = flag(
    "original-hostname",
    Value("HOST"),
    "Only dumps of this server",
);
static ORIGINAL_CONTAINER: Flag = flag(
    "original-container",
    Value("NAME"),
    "Only dumps of the server in this container",
);
static ORIGINAL_PORT: Flag = flag("original-port", Value("PORT"), "Only dumps of this port");
static HOOK: Flag = flag(
    "hook",
    Value("KIND"),
    "Only this kind of database: postgresql, mariadb, mysql, ...",
);

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

/// One action.
#[derive(Debug)]
pub struct ActionSpec {
    /// Its name; two words for a sub-action.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// What it does.
    pub about: &'static str,
    /// The flags it knows.
    pub flags: &'static [&'static Flag],
}

/// All actions.
pub static ACTIONS: &[ActionSpec] = &[
    ActionSpec {
        name: "repo-create",
        aliases: &["rcreate", "init", "-I"],
        about: "Make repositories",
        flags: &[
            &REPOSITORY,
            &ENCRYPTION,
            &APPEND_ONLY,
            &STORAGE_QUOTA,
            &MAKE_PARENT_DIRS,
        ],
    },
    ActionSpec {
        name: "create",
        aliases: &["-C"],
        about: "Make an archive of the configured sources",
        flags: &[
            &REPOSITORY,
            &PROGRESS,
            &STATS,
            &QUICK_STATS,
            &LIST,
            &JSON,
            &COMMENT,
        ],
    },
    ActionSpec {
        name: "prune",
        aliases: &["-p"],
        about: "Remove archives that the retention rules do not keep",
        flags: &[&REPOSITORY, &MATCH_ARCHIVES, &STATS, &QUICK_STATS, &LIST],
    },
    ActionSpec {
        name: "compact",
        aliases: &[],
        about: "Give back the space of what was removed",
        flags: &[&REPOSITORY, &PROGRESS, &CLEANUP_COMMITS, &THRESHOLD],
    },
    ActionSpec {
        name: "check",
        aliases: &["-k"],
        about: "Run the checks that are due",
        flags: &[
            &REPOSITORY,
            &PROGRESS,
            &REPAIR,
            &MAX_DURATION,
            &MATCH_ARCHIVES,
            &ONLY,
            &FORCE,
        ],
    },
    ActionSpec {
        name: "list",
        aliases: &["-l"],
        about: "List archives, or the files of one",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &PATH,
            &FIND,
            &SHORT,
            &FORMAT,
            &JSON,
            &PREFIX,
            &MATCH_ARCHIVES,
            &SORT_BY,
            &FIRST,
            &LAST,
            &EXCLUDE,
            &EXCLUDE_FROM,
            &PATTERN,
            &PATTERNS_FROM,
        ],
    },
    ActionSpec {
        name: "info",
        aliases: &["-i"],
        about: "Tell about archives",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &JSON,
            &PREFIX,
            &MATCH_ARCHIVES,
            &SORT_BY,
            &FIRST,
            &LAST,
        ],
    },
    ActionSpec {
        name: "extract",
        aliases: &["-x"],
        about: "Restore files of an archive",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &PATH,
            &DESTINATION,
            &STRIP_COMPONENTS,
            &PROGRESS,
        ],
    },
    ActionSpec {
        name: "restore",
        aliases: &["-r"],
        about: "Restore databases from an archive",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &DATA_SOURCE,
            &SCHEMA,
            &HOSTNAME,
            &PORT,
            &CONTAINER,
            &USERNAME,
            &PASSWORD,
            &RESTORE_PATH,
            &ORIGINAL_LABEL,
            &ORIGINAL_HOSTNAME,
            &ORIGINAL_CONTAINER,
            &ORIGINAL_PORT,
            &HOOK,
        ],
    },
    ActionSpec {
        name: "repo-list",
        aliases: &["rlist"],
        about: "List the archives of repositories",
        flags: &[
            &REPOSITORY,
            &SHORT,
            &FORMAT,
            &JSON,
            &PREFIX,
            &MATCH_ARCHIVES,
            &SORT_BY,
            &FIRST,
            &LAST,
        ],
    },
    ActionSpec {
        name: "repo-info",
        aliases: &["rinfo"],
        about: "Tell about repositories",
        flags: &[&REPOSITORY, &JSON],
    },
    ActionSpec {
        name: "delete",
        aliases: &[],
        about: "Delete archives",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &LIST,
            &STATS,
            &CACHE_ONLY,
            &FORCE_COUNTED,
            &KEEP_SECURITY_INFO,
            &SAVE_SPACE,
            &CHECKPOINT_INTERVAL,
            &DELETE_MATCH,
            &SORT_BY,
            &FIRST,
            &LAST,
        ],
    },
    ActionSpec {
        name: "repo-delete",
        aliases: &["rdelete"],
        about: "Delete repositories",
        flags: &[
            &REPOSITORY,
            &LIST,
            &FORCE_COUNTED,
            &CACHE_ONLY,
            &KEEP_SECURITY_INFO,
        ],
    },
    ActionSpec {
        name: "export-tar",
        aliases: &[],
        about: "Write an archive as a tar file",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &PATH,
            &TAR_DESTINATION,
            &TAR_FILTER,
            &LIST,
            &STRIP_COMPONENTS,
        ],
    },
    ActionSpec {
        name: "diff",
        aliases: &[],
        about: "Tell what differs between two archives",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &SECOND_ARCHIVE,
            &SAME_CHUNKER_PARAMS,
            &SORT_KEYS,
            &CONTENT_ONLY,
            &ONLY_PATTERNS,
        ],
    },
    ActionSpec {
        name: "recreate",
        aliases: &[],
        about: "Write archives anew by today's rules of selection",
        flags: &[&REPOSITORY, &ARCHIVE, &LIST, &TARGET, &COMMENT, &TIMESTAMP],
    },
    ActionSpec {
        name: "break-lock",
        aliases: &[],
        about: "Remove locks that a program left behind",
        flags: &[&REPOSITORY],
    },
    ActionSpec {
        name: "key export",
        aliases: &[],
        about: "Write the key of a repository to a safe place",
        flags: &[&REPOSITORY, &PAPER, &QR_HTML, &KEY_EXPORT_PATH],
    },
    ActionSpec {
        name: "key import",
        aliases: &[],
        about: "Bring back an exported key",
        flags: &[&REPOSITORY, &PAPER, &KEY_IMPORT_PATH],
    },
    ActionSpec {
        name: "key change-passphrase",
        aliases: &[],
        about: "Change the passphrase of a repository",
        flags: &[&REPOSITORY],
    },
    ActionSpec {
        name: "borg",
        aliases: &[],
        about: "Run any command of Borg; all words after it are Borg's",
        flags: &[&REPOSITORY, &ARCHIVE],
    },
    ActionSpec {
        name: "config bootstrap",
        aliases: &[],
        about: "Bring back configuration files from an archive",
        flags: &[
            &BOOTSTRAP_REPOSITORY,
            &BOOTSTRAP_ARCHIVE,
            &BOOTSTRAP_DESTINATION,
            &STRIP_COMPONENTS,
            &PROGRESS,
        ],
    },
    ActionSpec {
        name: "config validate",
        aliases: &[],
        about: "Check configuration files",
        flags: &[&SHOW],
    },
    ActionSpec {
        name: "config show",
        aliases: &[],
        about: "Print configurations as they are understood",
        flags: &[&OPTION, &JSON],
    },
    ActionSpec {
        name: "config generate",
        aliases: &[],
        about: "Write a sample configuration",
        flags: &[&SOURCE, &GENERATE_DESTINATION, &OVERWRITE, &SPLIT],
    },
    ActionSpec {
        name: "config schema",
        aliases: &[],
        about: "Print the JSON Schema of configurations, for editors",
        flags: &[],
    },
];

/// Actions of borgmatic that come with later work.
pub const ACTIONS_NOT_YET: &[&str] = &["transfer", "mount", "umount", "browse"];

/// The actions of a call that names none.
pub const DEFAULT_ACTIONS: [&str; 4] = ["create", "prune", "compact", "check"];

/// Returns the declaration of an action by its name or another name.
pub fn action(name: &str) -> Option<&'static ActionSpec> {
    ACTIONS
        .iter()
        .find(|spec| spec.name == name || spec.aliases.contains(&name))
}
