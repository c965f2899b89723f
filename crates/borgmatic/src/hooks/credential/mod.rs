//! Secrets that a configuration only names: `{credential file /etc/borg/passphrase}`.
//!
//! Each place where secrets are kept is a `Provider` in a file of its own. What was loaded is
//! kept for the rest of the run, for loading may ask somebody. A secret appears in no message,
//! and a command that gives one finds only its name in its arguments.

mod container;
mod file;
mod keepassxc;
mod onepassword;
mod systemd;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastness_borg::environment::Secret;

use crate::config::paths::expand_home;

/// All places where secrets can be kept.
static PROVIDERS: [&dyn Provider; 5] = [
    &container::Container,
    &file::File,
    &keepassxc::KeePassXc,
    &onepassword::OnePassword,
    &systemd::Systemd,
];

/// The longest secret that is read.
const MOST_BYTES: usize = 1 << 20;

/// A place where secrets are kept.
trait Provider: Sync {
    /// Its name after `credential`.
    fn name(&self) -> &'static str;

    /// Loads a secret; line ends after it are removed by the caller.
    fn load(&self, words: &[String], context: &Context<'_>) -> Result<String, CredentialError>;
}

/// The options about where secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CredentialSettings {
    /// Where relative paths start.
    pub working_directory: Option<String>,
    /// Instead of `systemd-creds`.
    pub systemd_creds_command: Option<String>,
    /// Instead of `/etc/credstore.encrypted`.
    pub encrypted_credentials_directory: Option<String>,
    /// Instead of `/run/secrets`.
    pub secrets_directory: Option<String>,
    /// Instead of `keepassxc-cli`.
    pub keepassxc_cli_command: Option<String>,
    /// Instead of `secret-tool`.
    pub secret_tool_command: Option<String>,
    /// Whether KeePassXC asks for the password of the database.
    pub ask_for_password: bool,
    /// A key file for the database.
    pub key_file: Option<String>,
    /// A YubiKey slot for the database.
    pub yubikey: Option<String>,
    /// Instead of `op`.
    pub op_command: Option<String>,
}

/// Why a credential cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It is not written as it must be.
    #[error("Cannot load credential with invalid syntax \"{text}\"")]
    Syntax {
        /// What stands in the configuration.
        text: String,
    },
    /// Nothing of that name keeps secrets.
    #[error("Cannot load credential \"{text}\": {name:?} is none of {}", known().join(", "))]
    Provider {
        /// What stands in the configuration.
        text: String,
        /// The name in it.
        name: String,
    },
    /// The name of the secret cannot be one.
    #[error("Cannot load invalid credential name: \"{name}\"")]
    Name {
        /// The name.
        name: String,
    },
    /// The file with the secret cannot be read.
    #[error("Cannot load credential file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The command that gives the secret failed.
    #[error("Cannot load credential: Command '{command}' {reason}")]
    Command {
        /// The command.
        command: String,
        /// What became of it.
        reason: String,
    },
}

fn known() -> Vec<&'static str> {
    PROVIDERS.iter().map(|provider| provider.name()).collect()
}

/// What a provider works with.
struct Context<'a> {
    settings: &'a CredentialSettings,
    variables: &'a BTreeMap<OsString, OsString>,
}

impl Context<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let value = self.variables.get(&OsString::from(name))?;
        value.to_str().map(str::to_owned)
    }

    /// A path with `~` replaced.
    fn expanded(&self, path: &str) -> PathBuf {
        expand_home(path, &|name| self.variable(name)).into()
    }

    /// A path seen from the working directory.
    fn placed(&self, path: &Path) -> PathBuf {
        let directory = self.settings.working_directory.as_deref();
        self.expanded(directory.unwrap_or_default()).join(path)
    }

    /// Reads a file.
    fn read(&self, path: &Path) -> Result<String, CredentialError> {
        use std::io::Read;
        let failed = |source| CredentialError::File {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
        file.take(limit).read_to_string(&mut text).map_err(failed)?;
        Ok(text)
    }

    /// Runs a command that prints a secret; its own words may ask and complain at the terminal.
    fn run(&self, program: &str, words: &[&str]) -> Result<String, CredentialError> {
        let mut all = shlex::split(program).unwrap_or_default();
        all.extend(words.iter().map(|word| (*word).to_owned()));
        let shown = all.join(" ");
        let failed = |reason: String| CredentialError::Command {
            command: shown.clone(),
            reason,
        };
        let (program, arguments) = all
            .split_first()
            .ok_or_else(|| failed("is empty".to_owned()))?;
        let output = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.variables)
            .stdin(Stdio::inherit())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(format!("cannot be run: {error}")))?;
        match output.status.code() {
            Some(0) => String::from_utf8(output.stdout)
                .map_err(|_| failed("gave something that is no text".to_owned())),
            Some(code) => Err(failed(format!("returned non-zero exit status {code}."))),
            None => Err(failed(format!("was ended by {}.", output.status))),
        }
    }
}

/// The one word that a provider wants.
fn only(words: &[String]) -> Result<&str, CredentialError> {
    match words {
        [word] => Ok(word),
        _ => Err(CredentialError::Name {
            name: words.join(" "),
        }),
    }
}

/// Tells whether a value names a credential instead of being one.
pub fn is_named(value: &str) -> bool {
    parse(value).is_some()
}

/// What stands behind `{credential`, if that is what a value begins with.
fn parse(value: &str) -> Option<&str> {
    let inner = value.strip_prefix("{credential")?;
    let (inner, _) = inner.rsplit_once('}')?;
    (inner.is_empty() || inner.starts_with(' ')).then_some(inner.trim())
}

/// Credentials that were loaded in this run.
#[derive(Debug, Default)]
pub struct Credentials {
    loaded: RefCell<BTreeMap<String, Secret>>,
}

impl Credentials {
    /// Returns the secret that a value names, or the value itself.
    ///
    /// # Errors
    /// When the credential cannot be loaded.
    pub fn resolve(
        &self,
        value: &str,
        settings: &CredentialSettings,
        variables: &BTreeMap<OsString, OsString>,
    ) -> Result<Secret, CredentialError> {
        let Some(inner) = parse(value) else {
            return Ok(Secret::new(value.to_owned()));
        };
        if let Some(secret) = self.loaded.borrow().get(value) {
            return Ok(secret.clone());
        }
        let text = value.to_owned();
        let words = shlex::split(inner).unwrap_or_default();
        let Some((name, words)) = words.split_first().filter(|(_, words)| !words.is_empty()) else {
            return Err(CredentialError::Syntax { text });
        };
        let provider = PROVIDERS.iter().find(|provider| provider.name() == name);
        let name = name.clone();
        let provider = provider.ok_or(CredentialError::Provider { text, name })?;
        let context = Context {
            settings,
            variables,
        };
        let loaded = Secret::new(provider.load(words, &context)?);
        let secret = Secret::new(loaded.reveal().trim_end_matches('\n').to_owned());
        self.loaded
            .borrow_mut()
            .insert(value.to_owned(), secret.clone());
        Ok(secret)
    }
}

#[cfg(test)]
mod tests;
