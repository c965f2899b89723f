//! The actions of a call, with the flags that are no options of the configuration.

use clap::ArgMatches;
use fastness_borg::environment::Secret;

pub use super::configs::{Bootstrap, ConfigGenerate, ConfigShow};
use super::matches::Matches;
pub use super::mount::Mount;
pub use super::prune::Prune;
pub use super::transfer::Transfer;
use crate::hooks::dump::source::Overrides;

/// One action of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make repositories.
    RepoCreate(RepoCreate),
    /// Make an archive.
    Create(Create),
    /// Remove archives.
    Prune(Prune),
    /// Give back space.
    Compact,
    /// Check.
    Check(Check),
    /// List archives or files.
    List(List),
    /// Tell about archives.
    Info(Info),
    /// Restore files.
    Extract(Extract),
    /// Restore databases.
    Restore(Restore),
    /// List archives.
    RepoList(RepoList),
    /// Tell about repositories.
    RepoInfo {
        /// As JSON.
        json: bool,
    },
    /// Delete archives.
    Delete(Delete),
    /// Delete repositories.
    RepoDelete(RepoDelete),
    /// Write an archive as a tar file.
    ExportTar(ExportTar),
    /// Compare two archives.
    Diff(Diff),
    /// Write archives anew.
    Recreate(Recreate),
    /// Copy archives from another repository.
    Transfer(Transfer),
    /// Show archives as a file system.
    Mount(Mount),
    /// Take such a file system away.
    Umount {
        /// Where it is.
        mount_point: String,
    },
    /// Remove locks.
    BreakLock,
    /// Look around on a terminal.
    Browse,
    /// Write the key to a safe place.
    KeyExport(KeyExport),
    /// Bring back a key.
    KeyImport(KeyImport),
    /// Change the passphrase.
    KeyChangePassphrase,
    /// Any command of Borg.
    Borg(AnyBorg),
    /// Bring back configuration files.
    ConfigBootstrap(Bootstrap),
    /// Check configuration files.
    ConfigValidate {
        /// Print them as they are understood.
        show: bool,
    },
    /// Print configurations as they are understood.
    ConfigShow(ConfigShow),
    /// Write a sample configuration.
    ConfigGenerate(ConfigGenerate),
    /// Print the JSON Schema.
    ConfigSchema,
}

/// Flags of `delete`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delete {
    /// The archive.
    pub archive: Option<String>,
    /// Archives with such names.
    pub match_archives: Option<String>,
    /// Which of them.
    pub choice: ArchiveChoice,
    /// How often `--force` was given.
    pub force: u8,
    /// Only the local cache.
    pub cache_only: bool,
    /// Keep what is known of the repository.
    pub keep_security_info: bool,
    /// Does nothing, as in Borg.
    pub save_space: bool,
    /// Seconds after which to commit.
    pub checkpoint_interval: Option<String>,
}

impl Delete {
    /// Tells whether archives are meant, and not the whole repository.
    pub fn chooses_archives(&self) -> bool {
        let choices = [
            &self.archive,
            &self.match_archives,
            &self.choice.first,
            &self.choice.last,
        ];
        choices.iter().any(|choice| choice.is_some())
    }
}

/// Flags of `repo-delete`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoDelete {
    /// How often `--force` was given.
    pub force: u8,
    /// Only the local cache.
    pub cache_only: bool,
    /// Keep what is known of the repository.
    pub keep_security_info: bool,
}

/// Flags of `export-tar`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportTar {
    /// The archive.
    pub archive: String,
    /// Paths of it.
    pub paths: Vec<String>,
    /// The tar file, or `-`.
    pub destination: String,
    /// A command that it goes through.
    pub tar_filter: Option<String>,
    /// Leading directories to leave out.
    pub strip_components: Option<String>,
}

/// Flags of `diff`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// The archive.
    pub archive: String,
    /// The archive to compare with.
    pub second_archive: String,
    /// Both were cut alike.
    pub same_chunker_params: bool,
    /// Keys.
    pub sort_by: Vec<String>,
    /// Only what differs in content.
    pub content_only: bool,
    /// Only what the configuration selects.
    pub only_patterns: bool,
}

/// Flags of `recreate`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recreate {
    /// The archive; all without one.
    pub archive: Option<String>,
    /// Name of the new archive.
    pub target: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its time.
    pub timestamp: Option<String>,
}

/// Flags of `key export`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyExport {
    /// For typing.
    pub paper: bool,
    /// As a page with a QR code.
    pub qr_html: bool,
    /// The file; stdout without one.
    pub path: Option<String>,
}

/// Flags of `key import`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyImport {
    /// Typed from paper.
    pub paper: bool,
    /// The file; stdin without one.
    pub path: Option<String>,
}

/// The words of `borg`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnyBorg {
    /// The archive for `$ARCHIVE`.
    pub archive: Option<String>,
    /// What Borg gets.
    pub words: Vec<String>,
}

/// Flags of `repo-create`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoCreate {
    /// Encryption mode.
    pub encryption: Option<String>,
    /// Append-only.
    pub append_only: bool,
    /// Most space to take.
    pub storage_quota: Option<String>,
    /// Make missing parents.
    pub make_parent_directories: bool,
}

/// Flags of `create`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Create {
    /// Tell what would be added.
    pub estimate: bool,
    /// As JSON.
    pub json: bool,
    /// A comment for the archive.
    pub comment: Option<String>,
}

/// Flags of `check`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// Repair.
    pub repair: bool,
    /// Seconds for a repository check.
    pub max_duration: Option<String>,
    /// Checks instead of those configured.
    pub only: Vec<String>,
    /// Check whatever the rhythm.
    pub force: bool,
}

/// Which archives a listing shows, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ArchiveChoice {
    /// Names that begin so.
    pub prefix: Option<String>,
    /// Keys.
    pub sort_by: Option<String>,
    /// The first N.
    pub first: Option<String>,
    /// The last N.
    pub last: Option<String>,
}

impl ArchiveChoice {
    pub(super) fn read(read: &Matches<'_>) -> Self {
        Self {
            prefix: read.text("prefix"),
            sort_by: read.text("sort-by"),
            first: read.text("first"),
            last: read.text("last"),
        }
    }
}

/// Flags of `list`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// The archive.
    pub archive: Option<String>,
    /// Paths of it.
    pub paths: Vec<String>,
    /// What to search all archives for.
    pub find: Vec<String>,
    /// Names only.
    pub short: bool,
    /// Format of a line.
    pub format: Option<String>,
    /// As JSON.
    pub json: bool,
    /// Which archives.
    pub choice: ArchiveChoice,
    /// Paths to leave out.
    pub exclude: Option<String>,
    /// File with such.
    pub exclude_from: Option<String>,
    /// A pattern.
    pub pattern: Option<String>,
    /// File with such.
    pub patterns_from: Option<String>,
}

/// Flags of `repo-list`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoList {
    /// Names only.
    pub short: bool,
    /// Format of a line.
    pub format: Option<String>,
    /// As JSON.
    pub json: bool,
    /// Which archives.
    pub choice: ArchiveChoice,
}

/// Flags of `info`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// The archive.
    pub archive: Option<String>,
    /// As JSON.
    pub json: bool,
    /// Which archives.
    pub choice: ArchiveChoice,
}

/// Flags of `extract`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extract {
    /// The archive.
    pub archive: String,
    /// Paths of it.
    pub paths: Vec<String>,
    /// Where to.
    pub destination: Option<String>,
    /// Leading directories to leave out.
    pub strip_components: Option<String>,
}

/// Flags of `restore`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restore {
    /// The archive.
    pub archive: String,
    /// Names of databases; none for all.
    pub data_sources: Vec<String>,
    /// Only of this kind.
    pub hook: Option<String>,
    /// Only dumps with this label.
    pub original_label: Option<String>,
    /// Only dumps of this server.
    pub original_hostname: Option<String>,
    /// Only dumps of this container.
    pub original_container: Option<String>,
    /// Only dumps of this port.
    pub original_port: Option<String>,
    /// What goes over the configuration.
    pub overrides: Overrides,
    /// The directory that data files are restored to.
    pub to: Option<String>,
    /// The same, for a private server.
    pub to_scratch: Option<String>,
    /// Empty that directory first.
    pub overwrite: bool,
}

impl Action {
    /// Its name, as `skip_actions` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RepoCreate(_) => "repo-create",
            Self::Create(_) => "create",
            Self::Prune(_) => "prune",
            Self::Compact => "compact",
            Self::Check(_) => "check",
            Self::List(_) => "list",
            Self::Info(_) => "info",
            Self::Extract(_) => "extract",
            Self::Restore(_) => "restore",
            Self::RepoList(_) => "repo-list",
            Self::RepoInfo { .. } => "repo-info",
            Self::Delete(_) => "delete",
            Self::RepoDelete(_) => "repo-delete",
            Self::ExportTar(_) => "export-tar",
            Self::Diff(_) => "diff",
            Self::Recreate(_) => "recreate",
            Self::Transfer(_) => "transfer",
            Self::Mount(_) => "mount",
            Self::Umount { .. } => "umount",
            Self::BreakLock => "break-lock",
            Self::Browse => "browse",
            Self::KeyExport(_) => "export",
            Self::KeyImport(_) => "import",
            Self::KeyChangePassphrase => "change-passphrase",
            Self::Borg(_) => "borg",
            Self::ConfigBootstrap(_) => "bootstrap",
            Self::ConfigValidate { .. } => "validate",
            Self::ConfigShow(_) => "show",
            Self::ConfigGenerate(_) => "generate",
            Self::ConfigSchema => "schema",
        }
    }

    /// Tells whether its results are JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::Create(create) => create.json,
            Self::Prune(prune) => prune.json,
            Self::List(list) => list.json,
            Self::Info(info) => info.json,
            Self::RepoList(list) => list.json,
            Self::RepoInfo { json } => *json,
            Self::ConfigShow(show) => show.json,
            _ => false,
        }
    }

    /// Reads an action's flags.
    pub(super) fn read(name: &str, matches: &ArgMatches) -> Option<Self> {
        let read = &Matches(matches);
        Some(match name {
            "repo-create" => Self::RepoCreate(RepoCreate {
                encryption: read.text("encryption"),
                append_only: read.given("append-only"),
                storage_quota: read.text("storage-quota"),
                make_parent_directories: read.given("make-parent-dirs"),
            }),
            "create" => Self::Create(Create {
                estimate: read.given("estimate"),
                json: read.given("json"),
                comment: read.text("comment"),
            }),
            "prune" => Self::Prune(Prune::read(read)),
            "compact" => Self::Compact,
            "check" => Self::Check(Check {
                repair: read.given("repair"),
                max_duration: read.text("max-duration"),
                only: read.texts("only"),
                force: read.given("force"),
            }),
            "list" => Self::List(List {
                archive: read.text("archive"),
                paths: read.texts("path"),
                find: read.texts("find"),
                short: read.given("short"),
                format: read.text("format"),
                json: read.given("json"),
                choice: ArchiveChoice::read(read),
                exclude: read.text("exclude"),
                exclude_from: read.text("exclude-from"),
                pattern: read.text("pattern"),
                patterns_from: read.text("patterns-from"),
            }),
            "info" => Self::Info(Info {
                archive: read.text("archive"),
                json: read.given("json"),
                choice: ArchiveChoice::read(read),
            }),
            "extract" => Self::Extract(Extract {
                archive: read.text("archive").unwrap_or_default(),
                paths: read.texts("path"),
                destination: read.text("destination"),
                strip_components: read.text("strip-components"),
            }),
            "repo-list" => Self::RepoList(RepoList {
                short: read.given("short"),
                format: read.text("format"),
                json: read.given("json"),
                choice: ArchiveChoice::read(read),
            }),
            "repo-info" => Self::RepoInfo {
                json: read.given("json"),
            },
            name if name.starts_with("config ") => super::configs::read(name, read)?,
            name => Self::read_rare(name, read)?,
        })
    }

    /// Reads the flags of actions that change or show single things.
    fn read_rare(name: &str, read: &Matches<'_>) -> Option<Self> {
        Some(match name {
            "delete" => Self::Delete(Delete {
                archive: read.text("archive"),
                match_archives: read.text("match-archives"),
                choice: ArchiveChoice::read(read),
                force: read.count("force"),
                cache_only: read.given("cache-only"),
                keep_security_info: read.given("keep-security-info"),
                save_space: read.given("save-space"),
                checkpoint_interval: read.text("checkpoint-interval"),
            }),
            "repo-delete" => Self::RepoDelete(RepoDelete {
                force: read.count("force"),
                cache_only: read.given("cache-only"),
                keep_security_info: read.given("keep-security-info"),
            }),
            "export-tar" => Self::ExportTar(ExportTar {
                archive: read.text("archive").unwrap_or_default(),
                paths: read.texts("path"),
                destination: read.text("destination").unwrap_or_default(),
                tar_filter: read.text("tar-filter"),
                strip_components: read.text("strip-components"),
            }),
            "diff" => Self::Diff(Diff {
                archive: read.text("archive").unwrap_or_default(),
                second_archive: read.text("second-archive").unwrap_or_default(),
                same_chunker_params: read.given("same-chunker-params"),
                sort_by: read.texts("sort-by"),
                content_only: read.given("content-only"),
                only_patterns: read.given("only-patterns"),
            }),
            "recreate" => Self::Recreate(Recreate {
                archive: read.text("archive"),
                target: read.text("target"),
                comment: read.text("comment"),
                timestamp: read.text("timestamp"),
            }),
            "restore" => Self::Restore(Restore {
                archive: read.text("archive").unwrap_or_default(),
                data_sources: read.texts("data-source"),
                hook: read.text("hook"),
                original_label: read.text("original-label"),
                original_hostname: read.text("original-hostname"),
                original_container: read.text("original-container"),
                original_port: read.text("original-port"),
                overrides: Overrides {
                    container: read.text("container"),
                    hostname: read.text("hostname"),
                    port: read.text("port"),
                    username: read.text("username"),
                    password: read.text("password").map(Secret::new),
                    restore_path: read.text("restore-path"),
                    schemas: read.texts("schema"),
                },
                to: read.text("to"),
                to_scratch: read.text("to-scratch"),
                overwrite: read.given("overwrite"),
            }),
            "transfer" => Self::Transfer(Transfer::read(read)),
            "mount" => Self::Mount(Mount::read(read)),
            "umount" => Self::Umount {
                mount_point: read.text("mount-point").unwrap_or_default(),
            },
            "break-lock" => Self::BreakLock,
            "browse" => Self::Browse,
            "key export" => Self::KeyExport(KeyExport {
                paper: read.given("paper"),
                qr_html: read.given("qr-html"),
                path: read.text("path"),
            }),
            "key import" => Self::KeyImport(KeyImport {
                paper: read.given("paper"),
                path: read.text("path"),
            }),
            "key change-passphrase" => Self::KeyChangePassphrase,
            "borg" => Self::Borg(AnyBorg {
                archive: read.text("archive"),
                words: Vec::new(),
            }),
            _ => return None,
        })
    }
}
