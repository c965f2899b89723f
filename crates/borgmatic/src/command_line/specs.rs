//! The table of actions: their names and the flags they know.

use super::flags::{
    APPEND_ONLY, ARCHIVE, BOOTSTRAP_ARCHIVE, BOOTSTRAP_DESTINATION, BOOTSTRAP_REPOSITORY,
    CACHE_ONLY, CHECKPOINT_INTERVAL, CLEANUP_COMMITS, COMMENT, CONTAINER, CONTENT_ONLY,
    DATA_SOURCE, DELETE_MATCH, DESTINATION, ENCRYPTION, EXCLUDE, EXCLUDE_FROM, FIND, FIRST, FORCE,
    FORCE_COUNTED, FOREGROUND, FORMAT, FROM_BORG1, Flag, GENERATE_DESTINATION, HOOK, HOSTNAME,
    JSON, KEEP_SECURITY_INFO, KEY_EXPORT_PATH, KEY_IMPORT_PATH, LAST, LIST, MAKE_PARENT_DIRS,
    MATCH_ARCHIVES, MAX_DURATION, MOUNT_OPTIONS, MOUNT_POINT, ONLY, ONLY_PATTERNS, OPTION,
    ORIGINAL_CONTAINER, ORIGINAL_HOSTNAME, ORIGINAL_LABEL, ORIGINAL_PORT, OVERWRITE,
    OVERWRITE_DIRECTORY, PAPER, PASSWORD, PATH, PATTERN, PATTERNS_FROM, PORT, PREFIX, PROGRESS,
    QR_HTML, QUICK_STATS, REPAIR, REPOSITORY, RESTORE_PATH, SAME_CHUNKER_PARAMS, SAVE_SPACE,
    SCHEMA, SECOND_ARCHIVE, SHORT, SHOW, SORT_BY, SORT_KEYS, SOURCE, SOURCE_REPOSITORY, SPLIT,
    STATS, STORAGE_QUOTA, STRIP_COMPONENTS, TAR_DESTINATION, TAR_FILTER, TARGET, THRESHOLD,
    TIMESTAMP, TO, TO_SCRATCH, UPGRADER, USERNAME,
};

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
            &TO,
            &TO_SCRATCH,
            &OVERWRITE_DIRECTORY,
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
        name: "transfer",
        aliases: &[],
        about: "Copy archives from another repository",
        flags: &[
            &REPOSITORY,
            &SOURCE_REPOSITORY,
            &ARCHIVE,
            &FROM_BORG1,
            &UPGRADER,
            &PROGRESS,
            &MATCH_ARCHIVES,
            &SORT_BY,
            &FIRST,
            &LAST,
        ],
    },
    ActionSpec {
        name: "mount",
        aliases: &["-m"],
        about: "Show archives as a file system",
        flags: &[
            &REPOSITORY,
            &ARCHIVE,
            &MOUNT_POINT,
            &PATH,
            &FOREGROUND,
            &FIRST,
            &LAST,
            &MOUNT_OPTIONS,
        ],
    },
    ActionSpec {
        name: "umount",
        aliases: &["-u"],
        about: "Take such a file system away",
        flags: &[&MOUNT_POINT],
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
pub const ACTIONS_NOT_YET: &[&str] = &["browse"];

/// The actions of a call that names none.
pub const DEFAULT_ACTIONS: [&str; 4] = ["create", "prune", "compact", "check"];

/// Returns the declaration of an action by its name or another name.
pub fn action(name: &str) -> Option<&'static ActionSpec> {
    ACTIONS
        .iter()
        .find(|spec| spec.name == name || spec.aliases.contains(&name))
}
