//! The repository that a machine is recovered from: Borg commands in this process, with the key and
//! the passphrase at hand. Nothing is left in the home directory: caches and what is known of the
//! repository go into a directory of the recovery.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fastness_borg::Lent;
use fastness_borg::console::{Output, Prompt, Streams};
use fastness_borg::environment::{Environment, Secret};
use fastness_borg::remote::KeptSessions;
use fastness_engine::extract::Existing;
use fastness_format::crypto::paper_key;
use serde_json::Value;

use super::arguments::{Access, absolute};
use super::error::RecoverError;

/// As much is kept of what a command says.
const SAID_BYTES: usize = 64 << 10;

/// A passphrase or key is not longer.
const SECRET_BYTES: u64 = 1 << 20;

/// As many of the newest archives are looked at for their machines.
const LOOKED_AT: &str = "50";

/// A repository and what is needed to read it.
pub struct Vault {
    /// Its address.
    pub repository: String,
    /// The environment of commands on it, without the passphrase.
    pub variables: BTreeMap<OsString, OsString>,
    /// Its passphrase.
    pub passphrase: Option<Secret>,
    kept: Arc<KeptSessions>,
}

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub time: String,
    /// The machine that it is of.
    pub host: String,
}

/// How one command is run.
#[derive(Default)]
pub struct How<'a> {
    /// Where; none for where this program is.
    pub directory: Option<&'a Path>,
    /// What an extraction does to what is there.
    pub existing: Existing,
    /// Shows progress to a person.
    pub progress: bool,
    /// Answers questions line by line.
    pub lines: Option<Vec<String>>,
}

/// What a command gave.
#[derive(Debug, Default)]
pub struct Given {
    /// Its data.
    pub data: Vec<u8>,
    /// Its warnings, line by line.
    pub warnings: Vec<String>,
}

impl Vault {
    /// Prepares the way to a repository. Files of its own go below `home`.
    ///
    /// # Errors
    /// When a key or passphrase cannot be read.
    pub fn new(access: &Access, home: &Path) -> Result<Self, RecoverError> {
        let repository = access.repository.clone().ok_or_else(|| {
            RecoverError::Usage("--repository is missing: the address of the repository".to_owned())
        })?;
        let repository = match repository.contains(':') {
            true => repository,
            false => absolute(Path::new(&repository))
                .to_string_lossy()
                .into_owned(),
        };
        let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        // The usual place of keys, whatever else is elsewhere.
        let keys = Environment::from_process().directories.keys;
        let mut set = |name: &str, value: OsString| variables.insert(name.into(), value);
        set("BORG_KEYS_DIR", keys.into());
        set("BORG_BASE_DIR", home.join("borg").into());
        set("BORG_EXIT_CODES", "modern".into());
        set("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes".into());
        set("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes".into());
        if let Some(command) = ssh(access, home)? {
            set("BORG_RSH", command.into());
        }
        if let Some(path) = &access.remote_path {
            set("BORG_REMOTE_PATH", path.into());
        }
        if let Some(path) = &access.key_file {
            let path = absolute(path);
            File::open(&path).map_err(RecoverError::system("reading the key file", &path))?;
            set("BORG_KEY_FILE", path.into());
        } else if access.paper.is_some() {
            set("BORG_KEY_FILE", home.join("key").into());
        }
        for name in ["BORG_CACHE_DIR", "BORG_CONFIG_DIR", "BORG_SECURITY_DIR"] {
            variables.remove(&OsString::from(name));
        }
        let vault = Self {
            repository,
            passphrase: passphrase(access, &variables)?,
            variables,
            kept: Arc::default(),
        };
        if let Some(path) = &access.paper {
            vault.import(path)?;
        }
        Ok(vault)
    }

    /// Takes the key from its copy on paper.
    fn import(&self, path: &Path) -> Result<(), RecoverError> {
        let text = read_secret(path, "reading the key on paper")?;
        let how = How {
            lines: Some(paper_lines(&text, path)?),
            ..How::default()
        };
        let words = ["key", "import", "--paper", &self.repository];
        self.run("importing the key on paper", &words, how)?;
        Ok(())
    }

    /// Runs a command.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, what: &str, words: &[&str], how: How<'_>) -> Result<Given, RecoverError> {
        let mut environment = Environment::from_variables(
            self.variables.clone(),
            std::env::home_dir().as_deref(),
            u32::from(!fastness_sys::process::is_root()),
        );
        if let Some(passphrase) = &self.passphrase {
            environment.passphrases.passphrase = Some(passphrase.clone());
        }
        let (data, said) = (Shared::default(), Shared::default());
        let shows = how.progress && io::stderr().is_terminal();
        let process = Streams::of_process();
        let streams = Streams {
            stdout: Output::new(Box::new(data.clone())),
            stderr: match shows {
                true => Box::new(Tee(said.clone(), process.stderr)),
                false => Box::new(said.clone()),
            },
            stderr_columns: process.stderr_columns.filter(|_| shows),
            prompt: match how.lines {
                Some(lines) => Box::new(Lines(lines.into_iter())),
                None => process.prompt,
            },
        };
        let mut command_line = vec![OsString::from("borg")];
        command_line.extend(words.iter().map(OsString::from));
        if shows {
            command_line.insert(2.min(command_line.len()), "--progress".into());
        }
        let lent = Lent {
            existing: how.existing,
            kept: Some(Arc::clone(&self.kept)),
            ..Lent::default()
        };
        let entered = how.directory.map(Entered::enter).transpose()?;
        let code = fastness_borg::run_with(&command_line, streams, &environment, lent).code();
        drop(entered);
        let text = said.lines();
        match code {
            0 => Ok(Given {
                data: data.take(),
                warnings: Vec::new(),
            }),
            1 | 100..=127 => Ok(Given {
                data: data.take(),
                warnings: text,
            }),
            code => Err(RecoverError::Borg {
                what: what.to_owned(),
                code,
                text: match text.is_empty() {
                    true => format!("ended with code {code}"),
                    false => text.join("\n"),
                },
            }),
        }
    }

    /// Finds an archive by its name, or the newest one.
    ///
    /// # Errors
    /// When there is none, or the newest ones are of several machines.
    pub fn archive(&self, name: &str) -> Result<Archive, RecoverError> {
        let mut words = vec!["list", "--json", "--format", "{hostname}{id}"];
        match name {
            "latest" => words.extend(["--last", LOOKED_AT]),
            name => words.extend(["--glob-archives", name]),
        }
        words.push(&self.repository);
        let what = format!("looking into {}", self.repository);
        let given = self.run(&what, &words, How::default())?;
        let value: Value = serde_json::from_slice(&given.data).unwrap_or_default();
        let archives = value.get("archives").and_then(Value::as_array);
        let archives: Vec<Archive> = archives.into_iter().flatten().filter_map(archive).collect();
        newest(archives, &self.repository)
    }

    /// The words that name an archive.
    pub fn address(&self, archive: &Archive) -> String {
        format!("{}::{}", self.repository, archive.name)
    }
}

/// The newest of some archives, oldest first, unless they are of several machines.
fn newest(archives: Vec<Archive>, repository: &str) -> Result<Archive, RecoverError> {
    let mut machines: BTreeMap<&str, &str> = BTreeMap::new();
    for archive in &archives {
        machines.insert(&archive.host, &archive.name);
    }
    if machines.len() > 1 {
        let named = machines
            .iter()
            .map(|(host, name)| format!("{host} ({name})"));
        return Err(RecoverError::SeveralMachines {
            repository: repository.to_owned(),
            machines: named.collect::<Vec<_>>().join(", "),
        });
    }
    let last = archives.into_iter().next_back();
    last.ok_or_else(|| RecoverError::NoArchive(repository.to_owned()))
}

fn archive(value: &Value) -> Option<Archive> {
    let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
    Some(Archive {
        name: text("name")?,
        id: text("id")?,
        time: whole_seconds(&text("start").or_else(|| text("time"))?),
        host: text("hostname")?,
    })
}

/// A time without what is below a second.
pub fn whole_seconds(time: &str) -> String {
    time.split('.').next().unwrap_or(time).to_owned()
}

/// The command that reaches the other machine, if one is asked for.
///
/// A bare machine knows no other one, and without a terminal ssh cannot ask about it. What comes from
/// there proves itself by the repository's key, so the first answer is taken and remembered for
/// `--continue`.
fn ssh(access: &Access, home: &Path) -> Result<Option<String>, RecoverError> {
    if let Some(command) = &access.ssh_command {
        return Ok(Some(command.clone()));
    }
    let Some(key) = &access.ssh_key else {
        return Ok(None);
    };
    let key = absolute(key);
    File::open(&key).map_err(RecoverError::system("reading the key for ssh", &key))?;
    let mut words = vec!["ssh".to_owned(), "-i".to_owned()];
    words.push(key.to_string_lossy().into_owned());
    words.extend(["-o".to_owned(), "IdentitiesOnly=yes".to_owned()]);
    if !io::stdin().is_terminal() {
        let known = home.join("known_hosts");
        for option in [
            "BatchMode=yes".to_owned(),
            "StrictHostKeyChecking=accept-new".to_owned(),
            format!(
                "UserKnownHostsFile=\"{}\" ~/.ssh/known_hosts",
                known.display()
            ),
        ] {
            words.extend(["-o".to_owned(), option]);
        }
    }
    let words = words.iter().map(String::as_str);
    let command = shlex::try_join(words);
    let command = command.map_err(|error| RecoverError::Usage(format!("--ssh-key: {error}")))?;
    Ok(Some(command))
}

/// The passphrase: from its file, from the environment as Borg has it, or from the person.
fn passphrase(
    access: &Access,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<Option<Secret>, RecoverError> {
    if let Some(path) = &access.passphrase_file {
        let text = read_secret(path, "reading the passphrase")?;
        let line = text.lines().next().unwrap_or_default();
        return Ok(Some(Secret::new(line.to_owned())));
    }
    let given = ["BORG_PASSPHRASE", "BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD"];
    let given = given
        .iter()
        .any(|name| variables.contains_key(&OsString::from(name)));
    if given || !io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut prompt = Streams::of_process().prompt;
    Ok(prompt.secret("Passphrase of the repository: "))
}

fn read_secret(path: &Path, what: &str) -> Result<String, RecoverError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(SECRET_BYTES).read_to_string(&mut text))
        .map_err(RecoverError::system(what, path))?;
    Ok(text)
}

/// Takes the lines of a key on paper, without what stands before them, and checks each.
fn paper_lines(text: &str, path: &Path) -> Result<Vec<String>, RecoverError> {
    let wrong = |line: usize, reason: String| RecoverError::Paper {
        path: path.to_owned(),
        line,
        reason,
    };
    let lines = BufReader::new(text.as_bytes())
        .lines()
        .map_while(Result::ok);
    let mut lines = lines.enumerate().filter_map(|(number, line)| {
        let (head, rest) = line.split_once(':')?;
        Some((number + 1, head.trim().to_owned(), rest.trim().to_owned()))
    });
    let id = lines.find(|(_, head, _)| head == "id");
    let (number, _, id) = id.ok_or_else(|| wrong(1, "there is no line \"id: …\"".to_owned()))?;
    let about = paper_key::read_id_line(&id).map_err(|error| wrong(number, error.to_string()))?;
    let mut taken = vec![id];
    for wanted in 1..=about.lines {
        let (number, head, line) = lines.next().ok_or_else(|| {
            wrong(
                number + wanted,
                format!("the line {wanted}: of the key is missing"),
            )
        })?;
        if head != wanted.to_string() {
            return Err(wrong(
                number,
                format!("the line {wanted}: of the key should stand here"),
            ));
        }
        paper_key::read_line(wanted, &line).map_err(|error| wrong(number, error.to_string()))?;
        taken.push(line);
    }
    Ok(taken)
}

/// Bytes that a command writes while others may look.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last lines, without those that were drawn over.
    fn lines(&self) -> Vec<String> {
        let bytes = self.take();
        let from = bytes.len().saturating_sub(SAID_BYTES);
        let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned();
        let shown = text.lines().filter_map(|line| line.rsplit('\r').next());
        shown
            .map(|line| line.trim_end().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is shown.
struct Tee(Shared, Box<dyn Write + Send>);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What counts is kept, whoever looks.
        let _ = self.1.write_all(bytes);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.1.flush();
        Ok(())
    }
}

/// Answers with lines that are known beforehand.
struct Lines(std::vec::IntoIter<String>);

impl Prompt for Lines {
    fn line(&mut self) -> Option<String> {
        self.0.next()
    }

    fn secret(&mut self, _prompt: &str) -> Option<Secret> {
        None
    }
}

/// Another current directory, until this is dropped.
struct Entered(PathBuf);

impl Entered {
    fn enter(directory: &Path) -> Result<Self, RecoverError> {
        let before = std::env::current_dir().unwrap_or_else(|_| "/".into());
        std::env::set_current_dir(directory)
            .map_err(RecoverError::system("entering", directory))?;
        Ok(Self(before))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // It was there before; nothing here depends on it.
        let _ = std::env::set_current_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, host: &str) -> Archive {
        Archive {
            name: name.to_owned(),
            id: String::new(),
            time: String::new(),
            host: host.to_owned(),
        }
    }

    #[test]
    fn the_newest_archive_is_that_of_the_only_machine() {
        let archives = vec![made("1", "a"), made("2", "a")];
        assert_eq!(newest(archives, "r").unwrap().name, "2");
        let several = newest(vec![made("1", "a"), made("2", "b")], "r").unwrap_err();
        assert_eq!(
            several.to_string(),
            "r has archives of several machines: a (1), b (2); choose with --archive"
        );
        assert!(matches!(
            newest(Vec::new(), "r"),
            Err(RecoverError::NoArchive(_))
        ));
    }

    #[test]
    fn a_line_of_the_paper_that_was_mistyped_is_named() {
        let text = "BORG PAPER KEY v1\nid: 1 / 11 / 22 - 00\n";
        let error = paper_lines(text, Path::new("paper")).unwrap_err();
        assert!(error.to_string().starts_with("paper, line 2: "), "{error}");
        let error = paper_lines("", Path::new("paper")).unwrap_err();
        assert!(error.to_string().contains("no line \"id"), "{error}");
    }
}
