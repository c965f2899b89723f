//! Does what was answered: files, repositories, keys for paper, the first backup, the timer.
//!
//! As long as there is no repository, a failure takes back what was written. Later it says what is
//! there and what is not.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fastness_borgmatic::confirmations::{Confirmations, Event, Kind};
use fastness_borgmatic::directories::state_directory;
use fastness_borgmatic::run::direct::{Collected, Opened, Question, ask};
use fastness_borgmatic::run::{self, World};

use super::super::find;
use super::answers::{Answers, told, understood};
use super::person::Person;

/// Files that are gone when this is dropped, unless they are kept.
#[derive(Default)]
struct Written {
    new: Vec<PathBuf>,
    /// A file that was moved away, and where it was.
    moved: Option<(PathBuf, PathBuf)>,
}

impl Written {
    fn keep(mut self) {
        self.new.clear();
        self.moved = None;
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for path in &self.new {
            let _ = fs::remove_file(path);
        }
        if let Some((old, path)) = &self.moved {
            let _ = fs::rename(old, path);
        }
    }
}

/// Does everything.
///
/// # Errors
/// A text for people, with what is there.
pub fn carry_out(answers: &Answers, person: &Person) -> Result<(), String> {
    // What is written must be understood.
    understood(&answers.first)?;
    let written = write_files(answers)?;
    for (number, destination) in answers.first.destinations.iter().enumerate() {
        let words = ["repo-create", "--repository", &destination.path];
        if !quietly(answers, &words) {
            let name = &destination.path;
            if number == 0 {
                return Err(format!(
                    "{name}: no repository was made, and no file is left"
                ));
            }
            written.keep();
            let config = answers.config.display();
            return Err(format!(
                "{name}: no repository was made; the others are there, and {config}"
            ));
        }
    }
    written.keep();
    person.say(&format!("\nWritten: {}", answers.config.display()));
    for destination in &answers.first.destinations {
        let (path, mode) = (&destination.path, &answers.first.encryption);
        person.say(&format!("Repository: {path} ({mode})"));
    }
    let exported = answers.first.encryption == "none" || export_keys(answers, person);
    let mut failed = !exported;
    if answers.backup {
        person.say("\nThe first backup:");
        failed |= !fastness(answers, &["create"]);
    }
    failed |= !install_timer(answers, person);
    next_steps(answers, person);
    match failed {
        true => Err("not everything was done; see above".to_owned()),
        false => Ok(()),
    }
}

fn write_files(answers: &Answers) -> Result<Written, String> {
    let mut written = Written::default();
    let file = answers.first.passphrase_file.as_deref().map(Path::new);
    if let (Some(file), Some(passphrase)) = (file, &answers.new_passphrase) {
        write_private(file, &format!("{}\n", passphrase.reveal()))?;
        written.new.push(file.to_owned());
    }
    let config = &answers.config;
    if answers.overwrite && config.exists() {
        let old = free_name(config);
        fs::rename(config, &old).map_err(|error| told(config, &error))?;
        written.moved = Some((old, config.clone()));
    }
    write_private(config, &answers.first.text())?;
    written.new.push(config.clone());
    Ok(written)
}

/// A name for an old file, that nothing has.
fn free_name(path: &Path) -> PathBuf {
    let named = |end: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let numbered = (2_u32..).map(|number| named(format!(".old.{number}")));
    let mut names = std::iter::once(named(".old".to_owned())).chain(numbered);
    names.find(|name| !name.exists()).unwrap_or_default()
}

/// Writes a new file for its owner only, durably; its directory is made.
fn write_private(path: &Path, text: &str) -> Result<(), String> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let write = || -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)?;
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::File::open(parent)?.sync_all()
    };
    write().map_err(|error| format!("{}; nothing was written", told(path, &error)))
}

/// Runs an action that is heard only when it fails.
fn quietly(answers: &Answers, words: &[&str]) -> bool {
    let config = answers.config.display().to_string();
    let words: Vec<String> = ["--config", &config]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect();
    let said = Collected::new(None);
    let (stdout, stderr) = (Box::new(said.clone()), Box::new(said.clone()));
    let code = run::run("fastness", &words, &World::of_process(), stdout, stderr);
    if code != 0 {
        // Nobody is left to be told when stderr is gone.
        let _ = io::stderr().write_all(&said.take());
    }
    code == 0
}

/// Runs an action with the new configuration, and tells whether it succeeded.
fn fastness(answers: &Answers, words: &[&str]) -> bool {
    let config = [OsString::from("--config"), answers.config.clone().into()];
    let words: Vec<OsString> = config
        .into_iter()
        .chain(words.iter().map(OsString::from))
        .collect();
    fastness_borgmatic::main("fastness", &words) == 0
}

/// Writes each key twice: as lines for typing, and as a page with a code for cameras.
fn export_keys(answers: &Answers, person: &Person) -> bool {
    let directory = &answers.key_directory;
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    if let Err(error) = made {
        person.say(&format!("{}: no key was exported", told(directory, &error)));
        return false;
    }
    let mut good = true;
    for destination in &answers.first.destinations {
        for (form, extension) in [("--paper", "txt"), ("--qr-html", "html")] {
            let file = directory.join(format!("{}.{extension}", destination.label));
            let file = file.to_string_lossy();
            let words = [
                "key",
                "export",
                "--repository",
                &destination.path,
                form,
                "--path",
                &file,
            ];
            good &= quietly(answers, &words);
        }
    }
    if good {
        remember(answers);
        person.say(&format!("Keys for paper: {}/", directory.display()));
    }
    good
}

/// Remembers that there are copies of the keys. They are there, whether that can be written or not.
fn remember(answers: &Answers) {
    let Ok(configuration) = understood(&answers.first) else {
        return;
    };
    let world = World::of_process();
    let access = &configuration.options.access;
    let state = state_directory(access, &|name| world.variable(name));
    let confirmations = Confirmations::new(&state);
    for repository in &configuration.repositories {
        let question = Question {
            repository,
            words: ["list", "--json", &repository.path]
                .map(str::to_owned)
                .to_vec(),
            opened: Opened::Configured,
            by_engine: true,
            shown: false,
            directory: None,
            at_most: None,
        };
        let answer = ask(&question, &world).unwrap_or_default();
        let listed: serde_json::Value = serde_json::from_slice(&answer.data).unwrap_or_default();
        let id = listed
            .get("repository")
            .and_then(|it| it.get("id")?.as_str());
        let Some(id) = id else {
            continue;
        };
        let mut copies = confirmations.of(id);
        copies.location = repository.path.clone();
        copies.exported = Some(Event {
            at: jiff::Timestamp::now(),
            kind: Kind::Paper,
        });
        let _ = confirmations.remember(id, &copies);
    }
}

/// Installs timers, where somebody wants them.
fn install_timer(answers: &Answers, person: &Person) -> bool {
    let has_systemd =
        Path::new("/run/systemd/system").is_dir() && find(&["timer".into()]).is_some();
    let question = "\nShall systemd make backups by itself from now on, four times a day?";
    let wanted = match answers.timer {
        Some(wanted) => wanted,
        // Who does not answer any more has the backup.
        None => person.is_there() && has_systemd && person.agrees(question, true).unwrap_or(false),
    };
    if !wanted {
        return true;
    }
    let mut words: Vec<OsString> = ["timer", "install", "--enable"]
        .map(OsString::from)
        .to_vec();
    if !fastness_sys::process::is_root() {
        words.push("--user".into());
    }
    words.extend(["--config".into(), answers.config.clone().into()]);
    find(&words).is_some_and(|(command, rest)| (command.run)(rest) == ExitCode::SUCCESS)
}

fn next_steps(answers: &Answers, person: &Person) {
    let usual = fastness_borgmatic::config::paths::default_paths(&|name| std::env::var(name).ok());
    let config = match usual.contains(&answers.config) {
        true => String::new(),
        false => format!(" -c {}", answers.config.display()),
    };
    let mut lines = vec!["\nWhat is left for you:".to_owned()];
    if answers.first.encryption != "none" {
        lines.extend([
            format!(
                "- Print what is in {}, and keep it",
                answers.key_directory.display()
            ),
            "  and the passphrase on paper, away from this machine. Then delete the files."
                .to_owned(),
            "- Prove that they are enough to recover:".to_owned(),
            format!("      fastness key confirm{config}"),
        ]);
    }
    lines.extend([
        "- See whether all is well, now and whenever you like:".to_owned(),
        format!("      fastness doctor{config}"),
        "- See what was saved, and get a file back:".to_owned(),
        format!("      fastness list{config} --archive latest"),
        format!(
            "      fastness extract{config} --archive latest --path etc/fstab --destination /tmp"
        ),
    ]);
    if config.is_empty() {
        lines.push("- Make a backup by hand:\n      fastness".to_owned());
    }
    person.say(&lines.join("\n"));
}
