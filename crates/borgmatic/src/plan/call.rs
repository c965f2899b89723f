//! One Borg command: its words, where it runs, and what becomes of its output.

use std::fmt;
use std::path::PathBuf;

use fastness_borg::environment::Secret;

use crate::config::typed::{Options, TreatAs};
use crate::hooks::credential::{self, CredentialSettings};

/// A word of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// A word that is known.
    Text(String),
    /// The path of the file with the patterns, which the run writes.
    PatternsFile,
    /// The name of an archive that the run finds out, after this text (`REPOSITORY::`).
    Archive(String),
}

/// What becomes of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// It is the result and shown by default.
    Answer,
    /// It belongs to the account of the work, shown when that is asked for.
    Info,
    /// It is a JSON document that goes to the results of the whole run.
    Json,
    /// It goes through as it is: progress, questions, listings as JSON lines.
    Through,
    /// The run reads it.
    Query,
    /// The run reads which files are listed.
    Listing,
}

/// One Borg command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The words after `borg`.
    pub words: Vec<Word>,
    /// What becomes of its output.
    pub show: Show,
    /// Where it runs; none for the place where the run is.
    pub directory: Option<PathBuf>,
    /// Whether that directory is made when it is not there.
    pub makes_directory: bool,
    /// Whether the general warning, code 1, counts as an error (as for `check`).
    pub warning_is_error: bool,
}

impl Call {
    /// Begins a command that runs in the working directory of the configuration.
    pub fn new(command: &str, options: &Options) -> Self {
        Self {
            words: vec![Word::Text(command.to_owned())],
            show: Show::Info,
            directory: options
                .sources
                .working_directory
                .as_ref()
                .map(PathBuf::from),
            makes_directory: false,
            warning_is_error: false,
        }
    }

    /// Says what becomes of its output.
    #[must_use]
    pub fn shown(mut self, show: Show) -> Self {
        self.show = show;
        self
    }

    /// Adds a word.
    #[must_use]
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(Word::Text(word.into()));
        self
    }

    /// Adds words.
    #[must_use]
    pub fn words<T: AsRef<str>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        let words = words.into_iter();
        self.words
            .extend(words.map(|word| Word::Text(word.as_ref().to_owned())));
        self
    }

    /// Adds a flag if `given`.
    #[must_use]
    pub fn flag(self, flag: &str, given: bool) -> Self {
        if given { self.word(flag) } else { self }
    }

    /// Adds a flag with its value, if there is one.
    #[must_use]
    pub fn value(self, flag: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.word(flag).word(value.to_string()),
            None => self,
        }
    }

    /// Adds a flag with its number, if there is one and it is not 0.
    #[must_use]
    pub fn number(self, flag: &str, number: Option<i64>) -> Self {
        self.value(flag, number.filter(|number| *number != 0))
    }

    /// Adds the archive of a repository, by name or to be found out.
    #[must_use]
    pub fn archive(mut self, repository: &str, archive: &ArchiveName) -> Self {
        let before = format!("{repository}::");
        self.words.push(match archive {
            ArchiveName::Known(name) => Word::Text(before + name),
            ArchiveName::FoundByRun => Word::Archive(before),
        });
        self
    }

    /// Adds the name of the archive that the run finds out.
    #[must_use]
    pub fn found_archive(mut self) -> Self {
        self.words.push(Word::Archive(String::new()));
        self
    }

    /// Replaces `$NAME` and `${NAME}` in the words.
    #[must_use]
    pub fn with_variables(&self, variables: &[(&'static str, String)]) -> Self {
        let replaced = |text: &String| {
            variables.iter().fold(text.clone(), |text, (name, value)| {
                text.replace(&format!("${{{name}}}"), value)
                    .replace(&format!("${name}"), value)
            })
        };
        let words = self.words.iter().map(|word| match word {
            Word::Text(text) => Word::Text(replaced(text)),
            other => other.clone(),
        });
        Self {
            words: words.collect(),
            ..self.clone()
        }
    }

    /// Returns the words with what the run found out.
    pub fn resolved(&self, patterns: Option<&str>, archive: Option<&str>) -> Vec<String> {
        self.words
            .iter()
            .map(|word| match word {
                Word::Text(text) => text.clone(),
                Word::PatternsFile => patterns.unwrap_or_default().to_owned(),
                Word::Archive(before) => format!("{before}{}", archive.unwrap_or_default()),
            })
            .collect()
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("borg")?;
        for word in self.resolved(Some("PATTERNS"), Some("host-newest")) {
            write!(f, " {}", quoted(&word))?;
        }
        Ok(())
    }
}

/// Quotes a word for a shell, if it needs that.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\"'\"'")),
    }
}

/// An archive as an action names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveName {
    /// By its name.
    Known(String),
    /// `latest`, or one of those that a search goes through.
    FoundByRun,
}

impl ArchiveName {
    /// Understands the value of `--archive`.
    pub fn new(name: &str) -> Self {
        match name {
            "latest" => Self::FoundByRun,
            name => Self::Known(name.to_owned()),
        }
    }
}

/// Where the passphrase comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passphrase {
    /// From the environment of the run, or Borg asks for it.
    Inherited,
    /// From the configuration.
    Text(Secret),
    /// From a command, which runs once.
    Command {
        /// Its words.
        words: Vec<String>,
        /// The directory that it runs in: the one of the configuration, wherever Borg's command runs.
        directory: Option<String>,
    },
    /// From where the configuration keeps its credentials.
    Credential {
        /// How it is written in the configuration.
        text: String,
        /// Where they are kept.
        settings: Box<CredentialSettings>,
    },
}

/// What a configuration adds to the environment of its Borg commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Variables that are set.
    pub variables: Vec<(&'static str, String)>,
    /// Variables that are set unless the run has them in its own environment.
    pub defaults: Vec<(&'static str, &'static str)>,
    /// The passphrase.
    pub passphrase: Passphrase,
    /// The Borg program, if the configuration names one.
    pub program: Option<String>,
    /// Exit codes that mean something else here.
    pub exit_codes: Vec<(i64, TreatAs)>,
}

impl Environment {
    /// Makes the environment of some options.
    pub fn of(options: &Options) -> Self {
        let access = &options.access;
        let passcommand = access.passcommand.as_deref().and_then(shlex::split);
        Self {
            variables: access.variables.clone(),
            defaults: access.answers.clone(),
            program: access.local_path.clone(),
            exit_codes: options.control.exit_codes.clone(),
            passphrase: match (&access.passphrase, passcommand) {
                (Some(secret), _) if credential::is_named(secret.reveal()) => {
                    Passphrase::Credential {
                        text: secret.reveal().to_owned(),
                        settings: Box::new(access.credentials.clone()),
                    }
                }
                (Some(secret), _) => Passphrase::Text(secret.clone()),
                (None, Some(words)) => Passphrase::Command {
                    words,
                    directory: options.sources.working_directory.clone(),
                },
                (None, None) => Passphrase::Inherited,
            },
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<(&str, &str)> = self.defaults.clone();
        all.extend(
            self.variables
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        all.sort_unstable();
        all.iter()
            .try_for_each(|(name, value)| write!(f, "{name}={} ", quoted(value)))
    }
}
