//! The table of all options: name, type, what it does, an example, and whether it works yet.
//!
//! It is the one place where an option is declared. Validation, the command line flags and the
//! reference are made of it; [`super::typed`] gives the working ones their meaning. The names are
//! those of borgmatic 2.1; one that Fastness does not do yet stays in the table as
//! [`Support::NotYet`], so that it is refused with its own message and never ignored.

use super::schema::Kind::{
    self, Boolean, Choice, Fields, Integer, List, Map, Number, Repositories,
};
use super::schema::Kind::{Text, TextList};
use super::schema::{OptionSpec, Support};

const fn option(
    name: &'static str,
    kind: Kind,
    about: &'static str,
    example: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        about,
        example,
        support: Support::Works,
        required: false,
    }
}

const fn not_yet(name: &'static str) -> OptionSpec {
    OptionSpec {
        name,
        kind: Kind::Any,
        about: "",
        example: "",
        support: Support::NotYet,
        required: false,
    }
}

const VERBOSITIES: &str = "-2 nothing, -1 errors, 0 warnings and results, 1 steps, 2 everything";

/// The action names that `skip_actions` and `when` accept.
#[rustfmt::skip]
pub const ACTIONS: &[&str] = &[
    "repo-create", "transfer", "prune", "compact", "create", "recreate", "check", "delete",
    "extract", "config", "export-tar", "mount", "umount", "repo-delete", "restore", "repo-list",
    "list", "repo-info", "info", "break-lock", "key", "borg", "diff", "bootstrap", "browse",
];

/// The fields of an entry of `repositories`; any top-level option may stand there too.
pub static REPOSITORY: &[OptionSpec] = &[
    OptionSpec {
        required: true,
        ..option(
            "path",
            Text,
            "Where the repository is",
            "/var/backups/server.borg",
        )
    },
    option(
        "label",
        Text,
        "A short name for it in output and for --repository",
        "nas",
    ),
    option(
        "encryption",
        Text,
        "Mode that repo-create uses",
        "repokey-blake2",
    ),
    not_yet("id_hash"),
    not_yet("key_location"),
    option(
        "append_only",
        Boolean,
        "Whether repo-create makes it append-only",
        "false",
    ),
    option(
        "storage_quota",
        Text,
        "Most space that repo-create allows it to take",
        "500G",
    ),
    option(
        "make_parent_directories",
        Boolean,
        "Whether repo-create makes its parents",
        "true",
    ),
];

/// The fields of an entry of `checks`.
static CHECK: &[OptionSpec] = &[
    OptionSpec {
        required: true,
        ..option(
            "name",
            Choice(&[
                "repository",
                "archives",
                "data",
                "extract",
                "spot",
                "disabled",
            ]),
            "What is checked",
            "repository",
        )
    },
    option(
        "frequency",
        Text,
        "How much time passes at least between two of them",
        "2 weeks",
    ),
    option(
        "only_run_on",
        TextList,
        "Days on which it may run",
        "[Saturday, Sunday]",
    ),
    option(
        "max_duration",
        Integer,
        "Seconds after which a repository check pauses",
        "3600",
    ),
    option(
        "count_tolerance_percentage",
        Number,
        "Spot check: allowed difference of counts",
        "10",
    ),
    option(
        "data_sample_percentage",
        Number,
        "Spot check: share of files compared",
        "1",
    ),
    option(
        "data_tolerance_percentage",
        Number,
        "Spot check: allowed share of mismatches",
        "0.5",
    ),
    not_yet("xxh64sum_command"),
];

/// Old section names; their options are options of the top level.
pub const SECTIONS: [&str; 6] = [
    "location",
    "storage",
    "retention",
    "consistency",
    "output",
    "hooks",
];

/// All options of the top level.
pub static OPTIONS: &[OptionSpec] = &[
    // What is saved.
    option(
        "constants",
        Map,
        "Values that {name} stands for in other options",
        "{user: foo}",
    ),
    option(
        "source_directories",
        TextList,
        "What is saved; globs and ~ are expanded",
        "[/home]",
    ),
    option(
        "source_directories_must_exist",
        Boolean,
        "Whether a missing one is an error",
        "true",
    ),
    OptionSpec {
        required: true,
        ..option(
            "repositories",
            Repositories,
            "Where it is saved",
            "[{path: /mnt/backup}]",
        )
    },
    option(
        "working_directory",
        Text,
        "Directory that relative paths start from",
        "/srv",
    ),
    option(
        "one_file_system",
        Boolean,
        "Whether to stay in the file systems of the roots",
        "true",
    ),
    option(
        "numeric_ids",
        Boolean,
        "Whether owners are kept by number only",
        "true",
    ),
    option("atime", Boolean, "Whether access times are saved", "false"),
    option(
        "ctime",
        Boolean,
        "Whether inode change times are saved",
        "true",
    ),
    option(
        "birthtime",
        Boolean,
        "Whether birth times are saved",
        "true",
    ),
    not_yet("read_special"),
    option(
        "unsafe_skip_path_validation_before_create",
        Boolean,
        "Accepted; no dry run is needed here",
        "true",
    ),
    option("flags", Boolean, "Whether inode flags are saved", "true"),
    option(
        "files_changed",
        Choice(&["ctime", "mtime", "disabled"]),
        "How a change while reading is noticed",
        "ctime",
    ),
    option(
        "files_cache",
        Text,
        "What tells that a file is unchanged",
        "ctime,size,inode",
    ),
    not_yet("local_path"),
    not_yet("remote_path"),
    option(
        "patterns",
        TextList,
        "Borg pattern lines",
        "['R /', '- /proc']",
    ),
    option(
        "patterns_from",
        TextList,
        "Files with Borg pattern lines",
        "[/etc/borg/patterns]",
    ),
    option(
        "exclude_patterns",
        TextList,
        "What is not saved",
        "['*.pyc', '/home/*/.cache']",
    ),
    option(
        "exclude_from",
        TextList,
        "Files with exclude patterns",
        "[/etc/borg/excludes]",
    ),
    option(
        "exclude_caches",
        Boolean,
        "Whether directories with a CACHEDIR.TAG are left out",
        "true",
    ),
    option(
        "exclude_if_present",
        TextList,
        "Names of files that leave their directory out",
        "[.nobackup]",
    ),
    option(
        "keep_exclude_tags",
        Boolean,
        "Whether those files themselves are saved",
        "true",
    ),
    option(
        "exclude_nodump",
        Boolean,
        "Whether files with the nodump flag are left out",
        "true",
    ),
    // Directories and state.
    not_yet("borgmatic_source_directory"),
    option(
        "user_runtime_directory",
        Text,
        "Directory for files that last as long as a run",
        "/run/user/1001",
    ),
    option(
        "user_state_directory",
        Text,
        "Directory for what is remembered between runs",
        "/var/lib",
    ),
    option(
        "temporary_directory",
        Text,
        "Directory for temporary files",
        "/var/tmp",
    ),
    option(
        "borg_base_directory",
        Text,
        "BORG_BASE_DIR",
        "/var/lib/borg",
    ),
    option(
        "borg_config_directory",
        Text,
        "BORG_CONFIG_DIR",
        "/etc/borg",
    ),
    option(
        "borg_cache_directory",
        Text,
        "BORG_CACHE_DIR",
        "/var/cache/borg",
    ),
    not_yet("use_chunks_archive"),
    option(
        "borg_files_cache_ttl",
        Integer,
        "BORG_FILES_CACHE_TTL",
        "20",
    ),
    option(
        "borg_security_directory",
        Text,
        "BORG_SECURITY_DIR",
        "/etc/borg/security",
    ),
    option(
        "borg_keys_directory",
        Text,
        "BORG_KEYS_DIR",
        "/etc/borg/keys",
    ),
    option(
        "borg_key_file",
        Text,
        "BORG_KEY_FILE",
        "/etc/borg/keys/server",
    ),
    not_yet("borg_exit_codes"),
    // Access.
    option(
        "encryption_passcommand",
        Text,
        "A command that prints the passphrase",
        "cat /etc/borg/passphrase",
    ),
    option(
        "encryption_passphrase",
        Text,
        "The passphrase",
        "correct horse battery staple",
    ),
    not_yet("ssh_command"),
    option(
        "relocated_repo_access_is_ok",
        Boolean,
        "Whether a moved repository may be used",
        "true",
    ),
    option(
        "unknown_unencrypted_repo_access_is_ok",
        Boolean,
        "Whether a new unencrypted repository may be used",
        "true",
    ),
    not_yet("debug_passphrase"),
    not_yet("display_passphrase"),
    not_yet("check_i_know_what_i_am_doing"),
    not_yet("msgpack_version_check"),
    // How archives are made.
    option(
        "checkpoint_interval",
        Integer,
        "Seconds between checkpoints",
        "1800",
    ),
    not_yet("checkpoint_volume"),
    option(
        "chunker_params",
        Text,
        "How files are cut",
        "buzhash,19,23,21,4095",
    ),
    option("compression", Text, "How chunks are compressed", "zstd,3"),
    not_yet("recompress"),
    not_yet("upload_rate_limit"),
    not_yet("upload_buffer_size"),
    option(
        "umask",
        Integer,
        "Umask for files of the repository, in octal digits",
        "0077",
    ),
    option("lock_wait", Integer, "Seconds to wait for a lock", "600"),
    option(
        "archive_name_format",
        Text,
        "Names of new archives",
        "'{hostname}-{now}'",
    ),
    option(
        "match_archives",
        Text,
        "Archives that actions work on",
        "'sh:{hostname}-*'",
    ),
    not_yet("archive_hostname"),
    not_yet("archive_username"),
    option(
        "file_list_format",
        Text,
        "Format of list --archive",
        "'{path}{NL}'",
    ),
    option(
        "archive_list_format",
        Text,
        "Format of repo-list",
        "'{archive}{NL}'",
    ),
    not_yet("extra_borg_options"),
    option(
        "retries",
        Integer,
        "How often a repository is tried again",
        "3",
    ),
    option(
        "retry_wait",
        Integer,
        "Seconds before the first of these, growing",
        "10",
    ),
    // What is kept.
    option("keep_within", Text, "Keep all archives of this time", "24H"),
    option(
        "keep_secondly",
        Integer,
        "Number of secondly archives to keep",
        "60",
    ),
    option(
        "keep_minutely",
        Integer,
        "Number of minutely archives to keep",
        "60",
    ),
    option(
        "keep_hourly",
        Integer,
        "Number of hourly archives to keep",
        "24",
    ),
    option(
        "keep_daily",
        Integer,
        "Number of daily archives to keep",
        "7",
    ),
    option(
        "keep_weekly",
        Integer,
        "Number of weekly archives to keep",
        "4",
    ),
    option(
        "keep_monthly",
        Integer,
        "Number of monthly archives to keep",
        "6",
    ),
    option(
        "keep_yearly",
        Integer,
        "Number of yearly archives to keep",
        "1",
    ),
    option(
        "keep_13weekly",
        Integer,
        "Number of quarterly archives (13 weeks) to keep",
        "13",
    ),
    option(
        "keep_3monthly",
        Integer,
        "Number of quarterly archives (3 months) to keep",
        "3",
    ),
    not_yet("prefix"),
    option(
        "compact_threshold",
        Integer,
        "Share of a segment, in percent, that must be free to compact it",
        "10",
    ),
    // Checks.
    option(
        "checks",
        List(CHECK),
        "What is checked, and how often",
        "[{name: repository, frequency: 2 weeks}]",
    ),
    not_yet("check_repositories"),
    option(
        "check_last",
        Integer,
        "Number of archives to check, newest first",
        "3",
    ),
    // Output.
    option(
        "color",
        Boolean,
        "Whether output is coloured on a terminal",
        "false",
    ),
    option("verbosity", Kind::Level, VERBOSITIES, "1"),
    not_yet("syslog_verbosity"),
    not_yet("log_file_verbosity"),
    not_yet("log_file"),
    not_yet("log_file_format"),
    not_yet("monitoring_verbosity"),
    not_yet("log_json"),
    option("progress", Boolean, "Whether progress is shown", "true"),
    option(
        "statistics",
        Kind::Statistics,
        "Which statistics are shown after create and prune",
        "standard",
    ),
    option(
        "quick_statistics",
        Boolean,
        "Old form of statistics: quick",
        "true",
    ),
    option(
        "list_details",
        Boolean,
        "Whether files or archives are listed as they are handled",
        "true",
    ),
    // Control.
    option(
        "default_actions",
        Boolean,
        "Whether to act when no action is named",
        "true",
    ),
    option(
        "skip_actions",
        Kind::ChoiceList(ACTIONS),
        "Actions that never run",
        "[compact]",
    ),
    // Everything below comes with later work.
    not_yet("before_actions"),
    not_yet("before_backup"),
    not_yet("before_prune"),
    not_yet("before_compact"),
    not_yet("before_check"),
    not_yet("before_extract"),
    not_yet("after_backup"),
    not_yet("after_compact"),
    not_yet("after_prune"),
    not_yet("after_check"),
    not_yet("after_extract"),
    not_yet("after_actions"),
    not_yet("on_error"),
    not_yet("before_everything"),
    not_yet("after_everything"),
    not_yet("commands"),
    option(
        "bootstrap",
        Fields(BOOTSTRAP),
        "What an archive holds for a new start from it",
        "{store_config_files: true}",
    ),
    not_yet("influxdb_databases"),
    not_yet("postgresql_databases"),
    not_yet("mariadb_databases"),
    not_yet("mysql_databases"),
    not_yet("sqlite_databases"),
    not_yet("mongodb_databases"),
    not_yet("openldap_databases"),
    not_yet("ntfy"),
    not_yet("pushover"),
    not_yet("zabbix"),
    not_yet("apprise"),
    not_yet("healthchecks"),
    not_yet("uptime_kuma"),
    not_yet("cronitor"),
    not_yet("pagerduty"),
    not_yet("loki"),
    not_yet("sentry"),
    not_yet("watchgoose"),
    not_yet("zfs"),
    not_yet("btrfs"),
    not_yet("lvm"),
    not_yet("systemd"),
    not_yet("container"),
    not_yet("keepassxc"),
    not_yet("onepassword"),
];

/// The fields of `bootstrap`.
static BOOTSTRAP: &[OptionSpec] = &[option(
    "store_config_files",
    Boolean,
    "Whether archives hold the configuration they were made with",
    "true",
)];
