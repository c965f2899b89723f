//! Fetches what the screen wants: one Borg command for each wish, on a thread beside the screen.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use fastness_borg::environment::Secret;
use serde_json::Value;

use super::model::{News, Wish};
use super::tree::{FORMAT, Tree};
use crate::config::Repository;
use crate::run::World;
use crate::run::direct::{Answer, Opened, Question, ask, passphrase};
use crate::run::runner::parse_json;

/// As much of a file is shown.
const CONTENT_BYTES: usize = 256 << 10;

/// Starts the thread; it ends when the sender of wishes is dropped.
pub fn start(repositories: Vec<Repository>) -> (Sender<Wish>, Receiver<News>) {
    let (wishes, taken) = channel();
    let (given, news) = channel();
    std::thread::spawn(move || {
        let world = World::of_process();
        for wish in taken {
            let answer = fulfil(&wish, &repositories, &world);
            if given.send(answer.unwrap_or_else(News::Failed)).is_err() {
                return;
            }
        }
    });
    (wishes, news)
}

fn fulfil(wish: &Wish, repositories: &[Repository], world: &World) -> Result<News, String> {
    let repository = |index: &usize| {
        let found = repositories.get(*index);
        found.ok_or_else(|| "there is no such repository".to_owned())
    };
    match wish {
        Wish::Archives(index) => archives(repository(index)?, world),
        Wish::Files(index, archive) => {
            let repository = repository(index)?;
            let words = ["list", "--format", FORMAT].map(str::to_owned);
            let words = words.into_iter().chain([address(repository, archive)]);
            let answer = run(repository, words.collect(), world, None, None)?;
            Ok(News::Files(Tree::read(&answer.data)))
        }
        Wish::Content(index, archive, path) => {
            let repository = repository(index)?;
            let address = address(repository, archive);
            let words = ["extract", "--stdout"].map(str::to_owned).into_iter();
            let words = words.chain([address, format!("pf:{}", text(path)?)]);
            let answer = run(
                repository,
                words.collect(),
                world,
                None,
                Some(CONTENT_BYTES),
            )?;
            Ok(News::Content(answer.data))
        }
        Wish::Extract(index, archive, paths, directory) => {
            extract(repository(index)?, archive, paths, directory, world)
        }
    }
}

fn archives(repository: &Repository, world: &World) -> Result<News, String> {
    let words = ["list", "--json", &repository.path].map(str::to_owned);
    let answer = run(repository, words.to_vec(), world, None, None)?;
    let listed = parse_json(&answer.data).map_err(|error| error.to_string())?;
    let archives = listed.get("archives").and_then(Value::as_array);
    let shown = |archive: &Value| {
        let text = |key: &str| archive.get(key).and_then(Value::as_str).unwrap_or_default();
        let time: String = text("start").chars().take(19).collect();
        [text("name").to_owned(), time.replace('T', " ")]
    };
    let archives = archives.map(|archives| archives.iter().map(shown).collect());
    Ok(News::Archives(archives.unwrap_or_default()))
}

fn extract(
    repository: &Repository,
    archive: &str,
    paths: &[Vec<u8>],
    directory: &str,
    world: &World,
) -> Result<News, String> {
    let home = world.variable("HOME").unwrap_or_default();
    let directory = match directory.strip_prefix("~/") {
        Some(rest) => PathBuf::from(home).join(rest),
        None => PathBuf::from(directory),
    };
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let mut words = vec!["extract".to_owned(), address(repository, archive)];
    for path in paths {
        words.push(format!("pp:{}", text(path)?));
    }
    let shown = directory.display().to_string();
    run(repository, words, world, Some(directory), None)?;
    let count = paths.len();
    let entries = if count == 1 { "entry" } else { "entries" };
    Ok(News::Done(format!(
        "{count} {entries} extracted to {shown}"
    )))
}

fn address(repository: &Repository, archive: &str) -> String {
    format!("{}::{archive}", repository.path)
}

/// A path as a word of a command.
fn text(path: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(path)
        .map_err(|_| "its name is no text in UTF-8; extract the directory that it is in".to_owned())
}

fn run(
    repository: &Repository,
    words: Vec<String>,
    world: &World,
    directory: Option<PathBuf>,
    at_most: Option<usize>,
) -> Result<Answer, String> {
    // Nobody can be asked while the screen is drawn.
    let sources = ["BORG_PASSPHRASE", "BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD"];
    let given = sources.iter().any(|name| world.variable(name).is_some());
    let opened = match passphrase(repository, world)? {
        None if !given => Opened::By(Secret::new(String::new())),
        _ => Opened::Configured,
    };
    let answer = ask(
        &Question {
            repository,
            words,
            opened,
            by_engine: false,
            shown: false,
            directory,
            at_most,
        },
        world,
    )?;
    // Warnings are no failure, nor is a command that was cut short because enough was read.
    let well = matches!(answer.code, 0 | 1 | 100..=127)
        || at_most.is_some_and(|most| answer.data.len() >= most);
    match well {
        true => Ok(answer),
        false => Err(answer.last_line()),
    }
}
