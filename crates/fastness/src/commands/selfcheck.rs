//! `fastness selfcheck`: proves on this machine that official Borg and this program read each
//! other.
//!
//! Everything happens in a scratch directory that is removed at the end: files of several kinds, a
//! repository for each way to encrypt, archives written by either program and read by the other.
//! No setting, key or cache of the user is looked at. Both programs run as they would from a
//! shell, so what is proved is what will be used.

mod programs;
mod tree;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use programs::Program;
use tree::Tree;

/// The ways to encrypt that are tried.
const MODES: [&str; 3] = ["none", "repokey", "keyfile-blake2"];

/// How it is called.
const USAGE: &str = "Usage: fastness selfcheck --with-official /path/to/borg";

/// A directory that is gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let name = format!("fastness-selfcheck-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the check; the words are those behind `selfcheck`.
///
/// # Errors
/// A text for people: what differs, or what could not be done.
pub fn run(words: &[OsString]) -> Result<(), String> {
    let official = match words {
        [option, path] if option == "--with-official" => path.clone(),
        [word] => match word
            .to_str()
            .and_then(|word| word.strip_prefix("--with-official="))
        {
            Some(path) => path.into(),
            None => return Err(USAGE.to_owned()),
        },
        _ => return Err(USAGE.to_owned()),
    };
    let own = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let scratch = Scratch::new().map_err(|error| format!("a scratch directory: {error}"))?;
    let place = scratch.0.as_path();
    let ours = Program::new("fastness", own, &["borg"], place);
    let official = Program::new("official borg", official.into(), &[], place);
    let version = official.run(place, &["--version"])?;
    let version = version.trim();
    if !version.starts_with("borg 1.") {
        return Err(format!(
            "this is {version:?}, but repositories of BorgBackup 1.x are compared"
        ));
    }
    say(&format!("official program: {version}"))?;
    let source = Tree::make(place).map_err(|error| format!("the files to archive: {error}"))?;
    say(&format!("files to archive: {}", source.summary()))?;
    for mode in MODES {
        compare(mode, &ours, &official, &source, place)?;
    }
    say("Both programs read what the other one wrote: no difference.")
}

/// Lets both programs write into one repository, and each read what the other wrote.
fn compare(
    mode: &str,
    ours: &Program,
    official: &Program,
    source: &Tree,
    place: &Path,
) -> Result<(), String> {
    let repository = format!("repository-{mode}");
    let archive = |name: &str| format!("{repository}::{name}");
    // Each program makes the repository for the other in turn.
    let (first, second) = match mode {
        "repokey" => (ours, official),
        _ => (official, ours),
    };
    first.run(place, &["init", "--encryption", mode, &repository])?;
    for (writer, reader) in [(first, second), (second, first)] {
        let name = archive(writer.short());
        writer.run(place, &["create", "--compression", "zstd", &name, "source"])?;
        reader.run(place, &["check", "--verify-data", &repository])?;
        let target = place.join(format!("{mode}-by-{}", writer.short()));
        fs::create_dir(&target).map_err(|error| format!("{}: {error}", target.display()))?;
        let there = archive_from(&target, &name);
        reader.run(&target, &["extract", &there])?;
        let restored = Tree::read(&target.join("source"))
            .map_err(|error| format!("{}: {error}", target.display()))?;
        if let Some(difference) = source.difference(&restored) {
            return Err(format!(
                "{mode}: written by {writer}, extracted by {reader}: {difference}"
            ));
        }
        same_listing(mode, ours, official, place, &name)?;
        say(&format!(
            "{mode}: written by {writer}, checked and extracted by {reader}: {} the same",
            restored.summary()
        ))?;
    }
    shrink(ours, official, place, &repository)?;
    say(&format!(
        "{mode}: archives deleted and space freed by each, checked by the other"
    ))
}

/// The archive as seen from a directory one level deeper.
fn archive_from(directory: &Path, archive: &str) -> String {
    let parent = directory.parent().unwrap_or(directory);
    parent.join(archive).to_string_lossy().into_owned()
}

/// Compares what both programs say about every item.
fn same_listing(
    mode: &str,
    ours: &Program,
    official: &Program,
    place: &Path,
    archive: &str,
) -> Result<(), String> {
    let format = "{type}{mode} {user} {group} {size} {num_chunks} {sha256} {mtime} {ctime} \
                  {flags} {path} {linktarget}{NL}";
    let words = ["list", "--format", format, archive];
    let (mine, theirs) = (ours.run(place, &words)?, official.run(place, &words)?);
    match mine.lines().zip(theirs.lines()).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("{mode}: listed as\n{a}\nand by Borg as\n{b}")),
        None if mine.lines().count() != theirs.lines().count() => {
            Err(format!("{mode}: {archive} has another number of items"))
        }
        None => Ok(()),
    }
}

/// Lets each program delete what the other wrote and free its space, and the other one check.
fn shrink(
    ours: &Program,
    official: &Program,
    place: &Path,
    repository: &str,
) -> Result<(), String> {
    for (deleter, checker) in [(ours, official), (official, ours)] {
        let archive = format!("{repository}::{}", checker.short());
        deleter.run(place, &["delete", &archive])?;
        deleter.run(place, &["compact", "--threshold", "0", repository])?;
        checker.run(place, &["check", "--verify-data", repository])?;
    }
    Ok(())
}

fn say(line: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{line}").map_err(|error| format!("stdout: {error}"))
}
