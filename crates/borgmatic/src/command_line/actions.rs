//! The actions of a call, with the flags that are no options of the configuration.

use clap::ArgMatches;

/// One action of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make repositories.
    RepoCreate(RepoCreate),
    /// Make an archive.
    Create(Create),
    /// Remove archives.
    Prune,
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
    /// List archives.
    RepoList(RepoList),
    /// Tell about repositories.
    RepoInfo {
        /// As JSON.
        json: bool,
    },
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

/// Flags of `config show`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigShow {
    /// Only this option.
    pub option: Option<String>,
    /// As JSON.
    pub json: bool,
}

/// Flags of `config generate`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigGenerate {
    /// An older configuration.
    pub source: Option<String>,
    /// Where to.
    pub destination: Option<String>,
    /// Replace a file that is there.
    pub overwrite: bool,
    /// One file for each option.
    pub split: bool,
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

impl Action {
    /// Its name, as `skip_actions` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RepoCreate(_) => "repo-create",
            Self::Create(_) => "create",
            Self::Prune => "prune",
            Self::Compact => "compact",
            Self::Check(_) => "check",
            Self::List(_) => "list",
            Self::Info(_) => "info",
            Self::Extract(_) => "extract",
            Self::RepoList(_) => "repo-list",
            Self::RepoInfo { .. } => "repo-info",
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
        let read = Matches(matches);
        Some(match name {
            "repo-create" => Self::RepoCreate(RepoCreate {
                encryption: read.text("encryption"),
                append_only: read.given("append-only"),
                storage_quota: read.text("storage-quota"),
                make_parent_directories: read.given("make-parent-dirs"),
            }),
            "create" => Self::Create(Create {
                json: read.given("json"),
                comment: read.text("comment"),
            }),
            "prune" => Self::Prune,
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
                choice: read.choice(),
                exclude: read.text("exclude"),
                exclude_from: read.text("exclude-from"),
                pattern: read.text("pattern"),
                patterns_from: read.text("patterns-from"),
            }),
            "info" => Self::Info(Info {
                archive: read.text("archive"),
                json: read.given("json"),
                choice: read.choice(),
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
                choice: read.choice(),
            }),
            "repo-info" => Self::RepoInfo {
                json: read.given("json"),
            },
            "config validate" => Self::ConfigValidate {
                show: read.given("show"),
            },
            "config show" => Self::ConfigShow(ConfigShow {
                option: read.text("option"),
                json: read.given("json"),
            }),
            "config generate" => Self::ConfigGenerate(ConfigGenerate {
                source: read.text("source"),
                destination: read.text("destination"),
                overwrite: read.given("overwrite"),
                split: read.given("split"),
            }),
            "config schema" => Self::ConfigSchema,
            _ => return None,
        })
    }
}

/// The parsed flags, asked by name.
pub(super) struct Matches<'a>(pub &'a ArgMatches);

impl Matches<'_> {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.try_get_one::<String>(name).ok()?.cloned()
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.0.try_get_many::<String>(name) {
            Ok(Some(values)) => values.cloned().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn given(&self, name: &str) -> bool {
        matches!(self.0.try_get_one::<bool>(name), Ok(Some(true)))
    }

    fn choice(&self) -> ArchiveChoice {
        ArchiveChoice {
            prefix: self.text("prefix"),
            sort_by: self.text("sort-by"),
            first: self.text("first"),
            last: self.text("last"),
        }
    }
}
