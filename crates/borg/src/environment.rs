//! The environment, read once at the edge: `BORG_*`, directories, answers.
//!
//! Nothing else in the workspace asks for an environment variable. Everything here is a plain
//! value, so that a test (or another front-end) can make one by hand with
//! [`Environment::from_variables`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use fastness_engine::directories::Directories;
use zeroize::Zeroizing;

use crate::exit_code::Scheme;
use crate::output::json::Indent;

/// A text that is wiped from memory when it is dropped and never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// Where passphrases come from, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassphraseSources {
    /// `BORG_PASSPHRASE`.
    pub passphrase: Option<Secret>,
    /// `BORG_PASSCOMMAND`: a command that prints it.
    pub passcommand: Option<String>,
    /// `BORG_PASSPHRASE_FD`: an open file to read it from.
    pub passphrase_fd: Option<String>,
    /// `BORG_NEW_PASSPHRASE`: for a new key or a changed passphrase.
    pub new_passphrase: Option<Secret>,
    /// `BORG_DISPLAY_PASSPHRASE`: answers whether to show a new passphrase.
    pub display_passphrase: Option<String>,
}

impl PassphraseSources {
    /// Tells whether there is one for a key that exists.
    pub fn is_given(&self) -> bool {
        self.passphrase.is_some() || self.passcommand.is_some() || self.passphrase_fd.is_some()
    }
}

/// Deviations that `BORG_WORKAROUNDS` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workarounds {
    /// Sync files the plain way.
    pub basesyncfile: bool,
    /// Go on without a lock on a read-only file system.
    pub retry_erofs: bool,
    /// Read authenticated repositories without their key.
    pub authenticated_no_key: bool,
    /// Work with archives whose authentication is missing or wrong.
    pub ignore_invalid_archive_tam: bool,
}

/// The environment of a run.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    /// `BORG_REPO`: the repository where none is named.
    pub repository: Option<OsString>,
    /// Which exit codes are wanted.
    pub scheme: Scheme,
    /// Where passphrases come from.
    pub passphrases: PassphraseSources,
    /// The same for a second repository, from which archives are copied: `BORG_OTHER_PASSPHRASE`,
    /// `BORG_OTHER_PASSCOMMAND` and `BORG_OTHER_PASSPHRASE_FD`.
    pub other_passphrases: PassphraseSources,
    /// `BORG_HOSTNAME`, if not empty.
    pub hostname: Option<String>,
    /// `BORG_USERNAME`, if not empty.
    pub username: Option<String>,
    /// `BORG_HOST_ID`: names this host in locks.
    pub host_id: Option<String>,
    /// The home directory, or what stands in for it.
    pub base: PathBuf,
    /// Where Borg keeps its own files.
    pub directories: Directories,
    /// `BORG_KEY_FILE`: the key file to use, wherever it is.
    pub key_file: Option<PathBuf>,
    /// How JSON documents are laid out.
    pub json_indent: Indent,
    /// `BORG_FILES_CACHE_SUFFIX`: a files cache of its own for a kind of runs.
    pub files_cache_suffix: Option<String>,
    /// `BORG_LOGGING_CONF`: a logging configuration of Python, which only Borg can use.
    pub logging_conf: Option<PathBuf>,
    /// `BORG_FILES_CACHE_TTL`: runs after which an unseen file is forgotten.
    pub files_cache_ttl: Option<u32>,
    /// Deviations asked for.
    pub workarounds: Workarounds,
}

impl Environment {
    /// Reads the variables of this process.
    pub fn from_process() -> Self {
        let user = fastness_sys::users::current_user();
        let home = user.as_ref().map(|user| user.home.as_path());
        let uid = match fastness_sys::process::is_root() {
            true => 0,
            false => user.as_ref().map_or(u32::MAX, |user| user.uid),
        };
        let mut environment = Self::from_variables(std::env::vars_os(), home, uid);
        environment.key_file = environment
            .key_file
            .map(|path| std::path::absolute(&path).unwrap_or(path));
        environment
    }

    /// Takes the variables given; `home` stands in where `HOME` is missing.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        home: Option<&Path>,
        effective_uid: u32,
    ) -> Self {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let mut environment = Self {
            variables,
            ..Self::default()
        };
        environment.repository = environment.get("BORG_REPO").map(OsStr::to_owned);
        environment.scheme = match environment.text("BORG_EXIT_CODES").as_deref() {
            Some("modern") => Scheme::Modern,
            _ => Scheme::Legacy,
        };
        environment.passphrases = PassphraseSources {
            passphrase: environment.text("BORG_PASSPHRASE").map(Secret::new),
            passcommand: environment.text("BORG_PASSCOMMAND"),
            passphrase_fd: environment.text("BORG_PASSPHRASE_FD"),
            new_passphrase: environment.text("BORG_NEW_PASSPHRASE").map(Secret::new),
            display_passphrase: environment.text("BORG_DISPLAY_PASSPHRASE"),
        };
        environment.other_passphrases = PassphraseSources {
            passphrase: environment.text("BORG_OTHER_PASSPHRASE").map(Secret::new),
            passcommand: environment.text("BORG_OTHER_PASSCOMMAND"),
            passphrase_fd: environment.text("BORG_OTHER_PASSPHRASE_FD"),
            ..PassphraseSources::default()
        };
        environment.hostname = environment.non_empty("BORG_HOSTNAME");
        environment.username = environment.non_empty("BORG_USERNAME");
        environment.host_id = environment.non_empty("BORG_HOST_ID");
        environment.key_file = environment.non_empty("BORG_KEY_FILE").map(PathBuf::from);
        environment.json_indent = match environment.text("BORG_JSON_INDENT") {
            Some(value) => Indent::from_variable(&value),
            None => Indent::default(),
        };
        environment.files_cache_suffix = environment.non_empty("BORG_FILES_CACHE_SUFFIX");
        environment.logging_conf = environment
            .non_empty("BORG_LOGGING_CONF")
            .map(PathBuf::from);
        environment.files_cache_ttl = environment
            .text("BORG_FILES_CACHE_TTL")
            .and_then(|text| text.trim().parse().ok());
        environment.workarounds = environment.read_workarounds();
        environment.base = environment.read_base(home, effective_uid);
        environment.directories = environment.read_directories();
        environment
    }

    /// Returns all variables.
    pub fn variables(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let variables = self.variables.iter();
        variables.map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Returns a variable's value as it is.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
    }

    /// Returns a variable's value as text; bytes that are no text are replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .map(|value| value.to_string_lossy().into_owned())
    }

    fn non_empty(&self, name: &str) -> Option<String> {
        self.text(name).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    fn read_workarounds(&self) -> Workarounds {
        let text = self.text("BORG_WORKAROUNDS").unwrap_or_default();
        let has = |name: &str| text.split(',').any(|word| word == name);
        Workarounds {
            basesyncfile: has("basesyncfile"),
            retry_erofs: has("retry_erofs"),
            authenticated_no_key: has("authenticated_no_key"),
            ignore_invalid_archive_tam: has("ignore_invalid_archive_tam"),
        }
    }

    /// `BORG_BASE_DIR` wins over the home directory.
    fn read_base(&self, home: Option<&Path>, effective_uid: u32) -> PathBuf {
        let own_home = self
            .directory("HOME")
            // A mount helper may leave root's home to an ordinary user.
            .filter(|path| effective_uid == 0 || path != Path::new("/root"));
        self.directory("BORG_BASE_DIR")
            .or(own_home)
            .or_else(|| home.map(Path::to_owned))
            .unwrap_or_else(|| PathBuf::from("."))
    }

    /// `BORG_BASE_DIR` switches the XDG variables off; the more specific variables win over both.
    fn read_directories(&self) -> Directories {
        let xdg = |name: &str| match self.directory("BORG_BASE_DIR") {
            None => self.path(name),
            Some(_) => None,
        };
        let cache_home = xdg("XDG_CACHE_HOME").unwrap_or_else(|| self.base.join(".cache"));
        let config_home = xdg("XDG_CONFIG_HOME").unwrap_or_else(|| self.base.join(".config"));
        let config = self
            .path("BORG_CONFIG_DIR")
            .unwrap_or_else(|| config_home.join("borg"));
        Directories {
            cache: self
                .path("BORG_CACHE_DIR")
                .unwrap_or_else(|| cache_home.join("borg")),
            security: self
                .path("BORG_SECURITY_DIR")
                .unwrap_or_else(|| config.join("security")),
            keys: self
                .path("BORG_KEYS_DIR")
                .unwrap_or_else(|| config.join("keys")),
            config,
        }
    }

    fn directory(&self, name: &str) -> Option<PathBuf> {
        self.path(name).filter(|path| !path.as_os_str().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        Environment::from_variables(pairs, Some(Path::new("/home/ann")), 1000)
    }

    #[test]
    fn directories_follow_home_then_xdg_then_the_variable_for_each() {
        let plain = environment(&[("HOME", "/home/bob")]).directories;
        assert_eq!(plain.cache, Path::new("/home/bob/.cache/borg"));
        assert_eq!(plain.keys, Path::new("/home/bob/.config/borg/keys"));
        let xdg = environment(&[("XDG_CONFIG_HOME", "/etc/x"), ("BORG_CACHE_DIR", "/c")]);
        assert_eq!(xdg.directories.security, Path::new("/etc/x/borg/security"));
        assert_eq!(xdg.directories.cache, Path::new("/c"));
        assert_eq!(xdg.base, Path::new("/home/ann"));
    }

    #[test]
    fn base_directory_switches_xdg_off() {
        let base = environment(&[("BORG_BASE_DIR", "/b"), ("XDG_CACHE_HOME", "/x")]).directories;
        assert_eq!(base.cache, Path::new("/b/.cache/borg"));
        assert_eq!(base.config, Path::new("/b/.config/borg"));
    }

    #[test]
    fn roots_home_is_not_taken_by_others() {
        assert_eq!(
            environment(&[("HOME", "/root")]).base,
            Path::new("/home/ann")
        );
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let text = format!(
            "{:?}",
            environment(&[("BORG_PASSPHRASE", "hunter2")]).passphrases
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}
