//! The options with their types and meaning, read from a validated tree.
//!
//! [`Options`] holds what one repository is handled with: the options of the top level, with those
//! that stand in the entry of the repository put over them.

use std::collections::BTreeMap;

use fastness_borg::environment::Secret;

use super::tree::Node;
use crate::hooks::command::CommandHook;
use crate::hooks::credential::CredentialSettings;
use crate::hooks::dump::source::Source;
use crate::hooks::dump::{DATABASES, physical};
use crate::hooks::inventory;
use crate::hooks::snapshot::{FILE_SYSTEMS, Settings};

/// Everything that decides how one repository is handled. A missing option is `None` (or empty):
/// nothing is sent to Borg for it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is saved, and what not.
    pub sources: Sources,
    /// Directories, keys and permissions.
    pub access: Access,
    /// How archives are made.
    pub making: Making,
    /// `--keep-…` options, sorted by name.
    pub keep: Vec<(&'static str, String)>,
    /// `compact_threshold`, in percent.
    pub compact_threshold: Option<i64>,
    /// Checks in the order of the file; `None` when the option is not there.
    pub checks: Option<Vec<CheckOptions>>,
    /// Number of archives to check.
    pub check_last: Option<i64>,
    /// Repositories that are checked, by path or label; `None` for all.
    pub check_repositories: Option<Vec<String>>,
    /// Words for Borg commands, by the name of the command.
    pub extra: BTreeMap<String, String>,
    /// What is shown.
    pub output: OutputOptions,
    /// When and whether anything runs.
    pub control: Control,
    /// Commands that run before and after what is done, in the order of the file.
    pub commands: Vec<CommandHook>,
    /// Databases, in the order of [`DATABASES`].
    pub databases: Vec<Source>,
    /// Servers of MariaDB that are saved as their data files.
    pub physical: Vec<Source>,
    /// What is told of the machine, if anything.
    pub inventory: Option<inventory::Settings>,
    /// File systems whose snapshots are saved, in the order of [`FILE_SYSTEMS`].
    pub snapshots: Vec<Settings>,
}

/// What is saved, and what not.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Roots; globs and `~` not yet expanded.
    pub directories: Vec<String>,
    /// Whether a missing root is an error.
    pub must_exist: bool,
    /// Where relative paths start.
    pub working_directory: Option<String>,
    /// Borg pattern lines.
    pub patterns: Vec<String>,
    /// Files with such lines.
    pub patterns_from: Vec<String>,
    /// Exclude patterns.
    pub exclude_patterns: Vec<String>,
    /// Files with such patterns.
    pub exclude_from: Vec<String>,
    /// Leave out directories with a CACHEDIR.TAG.
    pub exclude_caches: bool,
    /// Leave out directories that hold one of these.
    pub exclude_if_present: Vec<String>,
    /// Keep the files that made their directory be left out.
    pub keep_exclude_tags: bool,
    /// Leave out what has the nodump flag.
    pub exclude_nodump: bool,
    /// Whether archives hold the configuration files (`bootstrap: store_config_files`).
    pub store_config_files: bool,
}

/// Directories, keys and permissions.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The passphrase.
    pub passphrase: Option<Secret>,
    /// A command that prints it.
    pub passcommand: Option<String>,
    /// Where credentials are kept that stand for secrets.
    pub credentials: CredentialSettings,
    /// Environment variables of Borg that are set by options.
    pub variables: Vec<(&'static str, String)>,
    /// Answers (`YES`, `NO`) that apply where the environment does not give one.
    pub answers: Vec<(&'static str, &'static str)>,
    /// The Borg program that is used, as configured.
    pub local_path: Option<String>,
    /// Directory for files of this run.
    pub user_runtime_directory: Option<String>,
    /// Directory for what is remembered.
    pub user_state_directory: Option<String>,
    /// Where old archives have what borgmatic itself put into them.
    pub source_directory: Option<String>,
    /// The digits of the umask, as configured.
    pub umask: Option<i64>,
    /// Seconds to wait for a lock.
    pub lock_wait: Option<i64>,
}

impl Access {
    /// The place in archives of what old versions put into them, if it is configured: a shell
    /// pattern.
    pub fn old_place(&self) -> Option<String> {
        let directory = self.source_directory.as_deref()?.trim_end_matches('/');
        Some(match directory.strip_prefix("~/") {
            Some(rest) => format!("**/{rest}"),
            None => directory.trim_start_matches('/').to_owned(),
        })
    }
}

/// How archives are made, named and chosen.
#[derive(Debug, Clone, Default)]
pub struct Making {
    /// Stay in the file systems of the roots.
    pub one_file_system: bool,
    /// Owners by number only.
    pub numeric_ids: bool,
    /// Save access times.
    pub atime: bool,
    /// Save inode change times.
    pub ctime: bool,
    /// Save birth times.
    pub birthtime: bool,
    /// Read devices and pipes like files.
    pub read_special: bool,
    /// Save inode flags.
    pub flags: bool,
    /// How a change while reading is noticed.
    pub files_changed: Option<String>,
    /// What tells that a file is unchanged.
    pub files_cache: Option<String>,
    /// Seconds between checkpoints.
    pub checkpoint_interval: Option<i64>,
    /// How files are cut.
    pub chunker_params: Option<String>,
    /// How chunks are compressed.
    pub compression: Option<String>,
    /// Most KiB per second that go to another machine.
    pub upload_rate_limit: Option<i64>,
    /// MiB that wait for a slow connection.
    pub upload_buffer_size: Option<i64>,
    /// Which chunks `recreate` compresses anew.
    pub recompress: Option<String>,
    /// Beginning of the names that `prune` and `check` work on (deprecated).
    pub prefix: Option<String>,
    /// Names of new archives.
    pub archive_name_format: Option<String>,
    /// Archives that actions work on.
    pub match_archives: Option<String>,
    /// Format of a listing of files.
    pub file_list_format: Option<String>,
    /// Format of a listing of archives.
    pub archive_list_format: Option<String>,
}

/// One of `checks`.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOptions {
    /// `repository`, `archives`, …
    pub name: String,
    /// Least time between two of them, as configured.
    pub frequency: Option<String>,
    /// Names of days; empty for any day.
    pub only_run_on: Vec<String>,
    /// Seconds after which a repository check pauses.
    pub max_duration: Option<i64>,
    /// What a spot check may find.
    pub spot: Option<SpotLimits>,
}

/// What an exit code counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreatAs {
    /// The work was not done.
    Error,
    /// The work was done.
    Warning,
}

/// What a spot check may find.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpotLimits {
    /// Allowed difference of counts, in percent.
    pub count: f64,
    /// Share of files compared, in percent.
    pub sample: f64,
    /// Allowed share of mismatches, in percent.
    pub data: f64,
}

/// Which statistics are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Statistics {
    /// None.
    #[default]
    None,
    /// Those of the archive and of the repository.
    Standard,
    /// Those of the archive.
    Quick,
}

/// What is shown.
#[derive(Debug, Clone, Default)]
pub struct OutputOptions {
    /// Colours on a terminal; on unless switched off.
    pub color: Option<bool>,
    /// From -2 to 2.
    pub verbosity: Option<i64>,
    /// From -2 to 2, for the system's log.
    pub syslog_verbosity: Option<i64>,
    /// From -2 to 2, for the log file.
    pub log_file_verbosity: Option<i64>,
    /// From -2 to 2, for logs that services get.
    pub monitoring_verbosity: Option<i64>,
    /// The log file.
    pub log_file: Option<String>,
    /// How its lines look.
    pub log_file_format: Option<String>,
    /// Write records as JSON.
    pub log_json: Option<bool>,
    /// Show progress.
    pub progress: bool,
    /// Show statistics.
    pub statistics: Statistics,
    /// List files or archives.
    pub list_details: bool,
}

/// When and whether anything runs.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Act when no action is named; yes unless switched off.
    pub default_actions: Option<bool>,
    /// Actions that never run.
    pub skip_actions: Vec<String>,
    /// Exit codes of Borg that mean something else here.
    pub exit_codes: Vec<(i64, TreatAs)>,
    /// How often a repository is tried again.
    pub retries: u32,
    /// Seconds before the first of these; before the second twice as long, and so on.
    pub retry_wait: u64,
    /// Whether archives are made in all repositories side by side.
    pub side_by_side: bool,
}

const VARIABLES: [(&str, &str); 12] = [
    ("archive_hostname", "BORG_HOSTNAME"),
    ("archive_username", "BORG_USERNAME"),
    ("borg_base_directory", "BORG_BASE_DIR"),
    ("borg_config_directory", "BORG_CONFIG_DIR"),
    ("borg_cache_directory", "BORG_CACHE_DIR"),
    ("borg_files_cache_ttl", "BORG_FILES_CACHE_TTL"),
    ("borg_security_directory", "BORG_SECURITY_DIR"),
    ("borg_keys_directory", "BORG_KEYS_DIR"),
    ("borg_key_file", "BORG_KEY_FILE"),
    ("remote_path", "BORG_REMOTE_PATH"),
    ("ssh_command", "BORG_RSH"),
    ("temporary_directory", "TMPDIR"),
];

const ANSWERS: [(&str, &str); 3] = [
    ("display_passphrase", "BORG_DISPLAY_PASSPHRASE"),
    (
        "relocated_repo_access_is_ok",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK",
    ),
    (
        "unknown_unencrypted_repo_access_is_ok",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK",
    ),
];

// Sorted, as borgmatic sends them.
const KEEP: [&str; 10] = [
    "keep_13weekly",
    "keep_3monthly",
    "keep_daily",
    "keep_hourly",
    "keep_minutely",
    "keep_monthly",
    "keep_secondly",
    "keep_weekly",
    "keep_within",
    "keep_yearly",
];

impl Options {
    /// Reads the options of a tree that was validated; `over` is put over `top`.
    pub fn read(top: &Node, over: Option<&Node>) -> Self {
        let read = Reader { top, over };
        Self {
            sources: read.sources(),
            access: read.access(),
            making: read.making(),
            keep: KEEP
                .iter()
                .filter_map(|name| read.scalar(name).map(|value| (*name, value)))
                .collect(),
            compact_threshold: read.integer("compact_threshold"),
            checks: read
                .get("checks")
                .map(|node| node.elements().iter().map(CheckOptions::read).collect()),
            check_last: read.integer("check_last"),
            check_repositories: read
                .get("check_repositories")
                .map(|_| read.texts("check_repositories")),
            extra: read.extra(),
            output: read.output(),
            control: read.control(),
            commands: read
                .get("commands")
                .map(|node| {
                    node.elements()
                        .iter()
                        .filter_map(CommandHook::read)
                        .collect()
                })
                .unwrap_or_default(),
            databases: DATABASES
                .iter()
                .flat_map(|database| {
                    let entries = read.get(database.key()).map(Node::elements);
                    let entries = entries.unwrap_or_default().iter();
                    entries.map(|entry| Source::read(*database, entry))
                })
                .collect(),
            physical: physical::sources(read.get("fastness")),
            inventory: inventory::Settings::read(read.get("fastness")),
            snapshots: FILE_SYSTEMS
                .iter()
                .filter_map(|kind| Some(Settings::read(*kind, read.get(kind.key())?)))
                .collect(),
        }
    }
}

impl CheckOptions {
    fn read(node: &Node) -> Self {
        let read = Reader {
            top: node,
            over: None,
        };
        Self {
            name: read.text("name").unwrap_or_default(),
            frequency: read.text("frequency"),
            only_run_on: read.texts("only_run_on"),
            max_duration: read.integer("max_duration"),
            spot: SpotLimits::read(node),
        }
    }
}

impl SpotLimits {
    fn read(node: &Node) -> Option<Self> {
        let number = |key| node.get(key)?.as_number();
        Some(Self {
            count: number("count_tolerance_percentage")?,
            sample: number("data_sample_percentage")?,
            data: number("data_tolerance_percentage")?,
        })
    }
}

struct Reader<'a> {
    top: &'a Node,
    over: Option<&'a Node>,
}

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        self.over
            .and_then(|over| over.get(key))
            .or_else(|| self.top.get(key))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.as_text().map(str::to_owned)
    }

    fn integer(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_integer()
    }

    fn boolean(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_boolean()
    }

    fn scalar(&self, key: &str) -> Option<String> {
        self.text(key)
            .or_else(|| self.integer(key).map(|number| number.to_string()))
    }

    fn texts(&self, key: &str) -> Vec<String> {
        self.get(key)
            .map(Node::elements)
            .unwrap_or_default()
            .iter()
            .filter_map(|element| element.as_text().map(str::to_owned))
            .collect()
    }

    fn sources(&self) -> Sources {
        Sources {
            directories: self.texts("source_directories"),
            must_exist: self
                .boolean("source_directories_must_exist")
                .unwrap_or(true),
            working_directory: self.text("working_directory"),
            patterns: self.texts("patterns"),
            patterns_from: self.texts("patterns_from"),
            exclude_patterns: self.texts("exclude_patterns"),
            exclude_from: self.texts("exclude_from"),
            exclude_caches: self.boolean("exclude_caches").unwrap_or(false),
            exclude_if_present: self.texts("exclude_if_present"),
            keep_exclude_tags: self.boolean("keep_exclude_tags").unwrap_or(false),
            exclude_nodump: self.boolean("exclude_nodump").unwrap_or(false),
            store_config_files: self
                .get("bootstrap")
                .and_then(|node| node.get("store_config_files"))
                .and_then(Node::as_boolean)
                .unwrap_or(true),
        }
    }

    fn access(&self) -> Access {
        Access {
            passphrase: self.text("encryption_passphrase").map(Secret::new),
            passcommand: self.text("encryption_passcommand"),
            credentials: self.credentials(),
            variables: VARIABLES
                .iter()
                .filter_map(|(option, name)| self.scalar(option).map(|value| (*name, value)))
                .chain(self.boolean("check_i_know_what_i_am_doing").map(|yes| {
                    let answer = if yes { "YES" } else { "NO" };
                    ("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", answer.to_owned())
                }))
                .collect(),
            answers: ANSWERS
                .iter()
                .filter_map(|(option, name)| {
                    self.boolean(option)
                        .map(|yes| (*name, if yes { "YES" } else { "NO" }))
                })
                .collect(),
            local_path: self.text("local_path"),
            user_runtime_directory: self.text("user_runtime_directory"),
            user_state_directory: self.text("user_state_directory"),
            source_directory: self.text("borgmatic_source_directory"),
            umask: self.integer("umask"),
            lock_wait: self.integer("lock_wait"),
        }
    }

    fn credentials(&self) -> CredentialSettings {
        let text = |section, key| Some(self.get(section)?.get(key)?.as_text()?.to_owned());
        CredentialSettings {
            working_directory: self.text("working_directory"),
            systemd_creds_command: text("systemd", "systemd_creds_command"),
            encrypted_credentials_directory: text("systemd", "encrypted_credentials_directory"),
            secrets_directory: text("container", "secrets_directory"),
            keepassxc_cli_command: text("keepassxc", "keepassxc_cli_command"),
            secret_tool_command: text("keepassxc", "secret_tool_command"),
            ask_for_password: self
                .get("keepassxc")
                .and_then(|node| node.get("ask_for_password"))
                .and_then(Node::as_boolean)
                .unwrap_or(true),
            key_file: text("keepassxc", "key_file"),
            yubikey: text("keepassxc", "yubikey"),
            op_command: text("onepassword", "op_command"),
        }
    }

    fn making(&self) -> Making {
        Making {
            one_file_system: self.boolean("one_file_system").unwrap_or(false),
            numeric_ids: self.boolean("numeric_ids").unwrap_or(false),
            atime: self.boolean("atime").unwrap_or(false),
            ctime: self.boolean("ctime").unwrap_or(true),
            birthtime: self.boolean("birthtime").unwrap_or(true),
            read_special: self.boolean("read_special").unwrap_or(false),
            flags: self.boolean("flags").unwrap_or(true),
            files_changed: self.text("files_changed"),
            files_cache: self.text("files_cache"),
            checkpoint_interval: self.integer("checkpoint_interval"),
            chunker_params: self.text("chunker_params"),
            compression: self.text("compression"),
            upload_rate_limit: self.integer("upload_rate_limit"),
            upload_buffer_size: self.integer("upload_buffer_size"),
            recompress: self.text("recompress"),
            prefix: self.text("prefix").filter(|prefix| !prefix.is_empty()),
            archive_name_format: self.text("archive_name_format"),
            match_archives: self.text("match_archives"),
            file_list_format: self.text("file_list_format"),
            archive_list_format: self.text("archive_list_format"),
        }
    }

    fn extra(&self) -> BTreeMap<String, String> {
        let entries = self.get("extra_borg_options").map(Node::entries);
        entries
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| Some((entry.key.clone(), entry.value.as_text()?.to_owned())))
            .collect()
    }

    fn exit_codes(&self) -> Vec<(i64, TreatAs)> {
        let entries = self.get("borg_exit_codes").map(Node::elements);
        let code = |node: &Node| {
            let treat_as = match node.get("treat_as")?.as_text()? {
                "warning" => TreatAs::Warning,
                _ => TreatAs::Error,
            };
            Some((node.get("code")?.as_integer()?, treat_as))
        };
        entries
            .unwrap_or_default()
            .iter()
            .filter_map(code)
            .collect()
    }

    fn output(&self) -> OutputOptions {
        OutputOptions {
            color: self.boolean("color"),
            verbosity: self.integer("verbosity"),
            syslog_verbosity: self.integer("syslog_verbosity"),
            log_file_verbosity: self.integer("log_file_verbosity"),
            log_file: self.text("log_file"),
            log_file_format: self.text("log_file_format"),
            log_json: self.boolean("log_json"),
            monitoring_verbosity: self.integer("monitoring_verbosity"),
            progress: self.boolean("progress").unwrap_or(false),
            statistics: match self.text("statistics").as_deref() {
                Some("standard") => Statistics::Standard,
                Some("quick") => Statistics::Quick,
                _ => Statistics::None,
            },
            list_details: self.boolean("list_details").unwrap_or(false),
        }
    }

    fn control(&self) -> Control {
        let count = |key| {
            self.integer(key)
                .and_then(|number| u32::try_from(number).ok())
        };
        Control {
            default_actions: self.boolean("default_actions"),
            skip_actions: self.texts("skip_actions"),
            exit_codes: self.exit_codes(),
            retries: count("retries").unwrap_or(0),
            retry_wait: count("retry_wait").map_or(0, u64::from),
            side_by_side: (self.get("fastness"))
                .and_then(|own| own.get("parallel_repositories")?.as_boolean())
                .unwrap_or(false),
        }
    }
}
