//! `fastness key confirm`: a recovery, rehearsed, and remembered when it worked.
//!
//! What is used is what would be left if this machine burned: a copy of the key, and the passphrase
//! that a person knows or keeps elsewhere. The key and the passphrase of the configuration are left
//! alone, for that they work is seen every night.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use fastness_borg::environment::Secret;
use fastness_borgmatic::config::found::Found;
use fastness_borgmatic::config::{Configuration, Repository};
use fastness_borgmatic::confirmations::{Confirmations, Event, Kind};
use fastness_borgmatic::directories::state_directory;
use fastness_borgmatic::run::World;
use fastness_borgmatic::run::direct::{Opened, Question, ask};

use super::{ended, parsed};

/// Prove that a copy of the key and the passphrase are enough to recover
///
/// Opens the repository of your configuration with nothing but the copy and the passphrase, reads
/// its list of archives and the newest archive, and remembers that it worked. Until then
/// "fastness doctor" reminds you. Do it once for each repository, and again after the passphrase
/// was changed.
///
/// Without FILE you are asked for the lines of the key on paper, as "fastness key export --paper"
/// prints them. You are asked for the passphrase, too: type it from where you would find it after
/// a disaster.
#[derive(Debug, Parser)]
#[command(name = "fastness key confirm")]
struct Arguments {
    /// The copy: an exported key file, or a text or page for paper
    #[arg(value_name = "FILE")]
    copy: Option<PathBuf>,
    /// The repository, by its label or path, where the configuration has several
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// A file with the passphrase, instead of being asked (or BORG_PASSPHRASE)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Vec<PathBuf>,
}

/// Rehearses.
pub fn run(words: &[OsString]) -> ExitCode {
    match parsed::<Arguments>(words) {
        Ok(arguments) => ended(confirm(&arguments)),
        Err(code) => code,
    }
}

fn confirm(arguments: &Arguments) -> Result<(), String> {
    let world = World::of_process();
    let found = Found::of_process(&arguments.config);
    let complaints = found.complaints();
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    let (configuration, repository) = chosen(arguments, &found.configurations)?;
    let question = Question {
        repository,
        words: words(arguments, repository),
        opened: opened(arguments.passphrase_file.as_deref())?,
        by_engine: true,
        shown: true,
        directory: None,
        at_most: None,
    };
    if arguments.copy.is_none() && io::stdin().is_terminal() {
        let name = repository.name();
        let text = format!(
            "Type the lines of the key of {name} from your paper: first the one that begins with\n\
             \"id:\", without these letters, then the numbered ones. Blanks do not matter.\n"
        );
        say(&text)?;
    }
    let answer = ask(&question, &world)?;
    if answer.code != 0 {
        let name = repository.name();
        return Err(format!("{name}: not confirmed; nothing was changed"));
    }
    remember(configuration, repository, &answer.data, &world)
}

/// Finds the repository that is meant.
fn chosen<'a>(
    arguments: &Arguments,
    configurations: &'a [Configuration],
) -> Result<(&'a Configuration, &'a Repository), String> {
    let wanted = arguments.repository.as_deref();
    let all = configurations.iter().flat_map(|configuration| {
        let repositories = configuration.repositories.iter();
        repositories.map(move |repository| (configuration, repository))
    });
    let mut fitting = all.filter(|(_, one)| wanted.is_none_or(|wanted| one.is_called(wanted)));
    let Some(first) = fitting.next() else {
        let wanted = wanted.unwrap_or_default();
        return Err(format!(
            "no repository of the configuration is called {wanted:?}"
        ));
    };
    let others: Vec<&str> = fitting.map(|(_, repository)| repository.name()).collect();
    match others.as_slice() {
        [] => Ok(first),
        _ => Err(format!(
            "there are several repositories; choose one with --repository: {}, {}",
            first.1.name(),
            others.join(", ")
        )),
    }
}

fn words(arguments: &Arguments, repository: &Repository) -> Vec<String> {
    let mut words = vec!["key".to_owned(), "verify".to_owned(), "--json".to_owned()];
    let access = &repository.options.access;
    if let Some(seconds) = access.lock_wait {
        words.extend(["--lock-wait".to_owned(), seconds.to_string()]);
    }
    match &arguments.copy {
        None => words.extend(["--paper".to_owned(), repository.path.clone()]),
        Some(copy) => {
            // The command runs in the working directory of the configuration.
            let copy = match copy.as_os_str() == "-" {
                true => copy.clone(),
                false => std::path::absolute(copy).unwrap_or_else(|_| copy.clone()),
            };
            words.push(repository.path.clone());
            words.push(copy.to_string_lossy().into_owned());
        }
    }
    words
}

/// The passphrase that a file holds, or that a person will type.
fn opened(file: Option<&Path>) -> Result<Opened, String> {
    let Some(path) = file else {
        return Ok(Opened::ByPerson);
    };
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = text.lines().next().unwrap_or_default();
    match line.is_empty() {
        true => Err(format!("{}: there is no passphrase in it", path.display())),
        false => Ok(Opened::By(Secret::new(line.to_owned()))),
    }
}

fn remember(
    configuration: &Configuration,
    repository: &Repository,
    answer: &[u8],
    world: &World,
) -> Result<(), String> {
    let answer: serde_json::Value =
        serde_json::from_slice(answer).map_err(|error| format!("what was proved: {error}"))?;
    let text = |key: &str| {
        answer
            .get(key)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    };
    let kind = match text("kind") {
        "paper" => Kind::Paper,
        _ => Kind::File,
    };
    let state = state_directory(&configuration.options.access, &|name| world.variable(name));
    let confirmations = Confirmations::new(&state);
    let id = text("repository_id");
    let mut copies = confirmations.of(id);
    copies.location = repository.path.clone();
    copies.confirmed = Some(Event {
        at: jiff::Timestamp::now(),
        kind,
    });
    confirmations
        .remember(id, &copies)
        .map_err(|error| format!("it works, but that cannot be remembered: {error}"))?;
    let archives = answer
        .get("archives")
        .and_then(|value| value.as_u64())
        .unwrap_or(0);
    let plural = if archives == 1 { "archive" } else { "archives" };
    say(&format!(
        "{}: the copy ({}) and the passphrase open it and its newest archive ({archives} {plural}).\n\
         Confirmed; nobody will remind you any more.\n",
        repository.name(),
        kind.name()
    ))
}

fn say(text: &str) -> Result<(), String> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| format!("stdout: {error}"))
}
