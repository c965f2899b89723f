//! The flags of the actions on configuration files.

use super::actions::Action;
use super::matches::Matches;

/// Flags of `config bootstrap`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bootstrap {
    /// The repository.
    pub repository: String,
    /// The archive.
    pub archive: String,
    /// Where to.
    pub destination: String,
    /// Leading directories to leave out.
    pub strip_components: Option<String>,
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

/// Reads the flags of one of these actions.
pub(super) fn read(name: &str, read: &Matches<'_>) -> Option<Action> {
    Some(match name {
        "config bootstrap" => Action::ConfigBootstrap(Bootstrap {
            repository: read.text("repository").unwrap_or_default(),
            archive: read.text("archive").unwrap_or_else(|| "latest".to_owned()),
            destination: read.text("destination").unwrap_or_else(|| "/".to_owned()),
            strip_components: read.text("strip-components"),
        }),
        "config validate" => Action::ConfigValidate {
            show: read.given("show"),
        },
        "config show" => Action::ConfigShow(ConfigShow {
            option: read.text("option"),
            json: read.given("json"),
        }),
        "config generate" => Action::ConfigGenerate(ConfigGenerate {
            source: read.text("source"),
            destination: read.text("destination"),
            overwrite: read.given("overwrite"),
            split: read.given("split"),
        }),
        "config schema" => Action::ConfigSchema,
        _ => return None,
    })
}
