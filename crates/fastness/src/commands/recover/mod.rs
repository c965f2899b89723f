//! `fastness recover`: a whole machine from a repository, and `fastness recover plan`: the script that
//! reinstalls its packages.
//!
//! The archive is looked into once ([`contents`]), then the steps follow one another: packages
//! ([`script`]), files (an extraction of the engine), databases ([`databases`]). What is done is
//! remembered durably ([`state`]), so that `--continue` goes on wherever it ended.

mod arguments;
mod contents;
mod databases;
mod error;
mod person;
mod plan;
mod script;
mod software;
mod state;
mod steps;
mod vault;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use arguments::{Packages, Part, Plan, Recover, absolute};
use contents::Contents;
use error::RecoverError;
use state::{DIRECTORY, Place, State};
use steps::Steps;
use vault::Vault;

/// Runs the command with the words behind `recover`.
pub fn run(words: &[OsString]) -> ExitCode {
    let result = match words.split_first() {
        Some((first, rest)) if first == "plan" => match Plan::try_parse_from(rest) {
            Ok(plan) => plan::run(&plan),
            Err(error) => return told(&error),
        },
        _ => match Recover::try_parse_from(words) {
            Ok(recover) => whole(&recover),
            Err(error) => return told(&error),
        },
    };
    super::ended(result.map_err(|error| error.to_string()))
}

/// Tells what is wrong with a command line, or the help.
fn told(error: &clap::Error) -> ExitCode {
    // A reader that left wants no more of it.
    let _ = error.print();
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

/// Recovers a machine.
fn whole(recover: &Recover) -> Result<(), RecoverError> {
    let destination = absolute(&recover.destination);
    let directory = destination.join(DIRECTORY);
    let before = State::load(&directory)?;
    match (&before, recover.resume) {
        (Some(_), false) => {
            return Err(RecoverError::Unfinished(directory.display().to_string()));
        }
        (None, true) => return Err(RecoverError::NothingToContinue(destination)),
        (None, false) => refuse_content(recover, &destination)?,
        (Some(_), true) => {}
    }
    if !recover.yes && !recover.dry_run && !person::is_there() {
        return Err(RecoverError::Nobody);
    }
    fs::create_dir_all(&destination).map_err(RecoverError::system("making", &destination))?;
    let mut access = recover.access.clone();
    if let Some(before) = &before {
        access
            .repository
            .get_or_insert_with(|| before.repository.clone());
        access.archive.clone_from(&before.archive.name);
    }
    let mut place = Place::new(directory)?;
    let vault = Vault::new(&access, &place.path)?;
    let archive = vault.archive(&access.archive)?;
    let contents = Contents::look(&vault, &archive, &place)?;
    let state = match before {
        Some(before) => same(before, &archive, &place)?,
        None => State::new(recover, &vault.repository, archive, &place)?,
    };
    examine(&state, &contents)?;
    let packages = recover
        .packages
        .unwrap_or(match destination == Path::new("/") {
            true => Packages::Install,
            false => Packages::Skip,
        });
    let steps = Steps {
        recover,
        vault: &vault,
        contents: &contents,
        destination: &destination,
        datadir: below(&destination, &recover.datadir),
        packages,
    };
    steps.show(&state);
    if recover.dry_run {
        return Ok(());
    }
    state.save(&mut place)?;
    steps.run(state, &mut place)?;
    place.finish();
    Ok(())
}

/// Goes on with a recovery of the very same archive only.
fn same(before: State, archive: &vault::Archive, place: &Place) -> Result<State, RecoverError> {
    if before.archive.id == archive.id {
        return Ok(before);
    }
    let named = |archive: &vault::Archive| format!("archive {} ({})", archive.name, archive.id);
    Err(RecoverError::Another {
        there: named(&before.archive),
        asked: named(archive),
        directory: place.path.display().to_string(),
    })
}

/// What is wanted must be there.
fn examine(state: &State, contents: &Contents) -> Result<(), RecoverError> {
    let wanted = |part: Part| state.parts.contains(&part) && !state.done.contains(&part);
    if wanted(Part::Databases) && contents.configuration.is_empty() {
        return Err(RecoverError::NoConfiguration(state.archive.name.clone()));
    }
    if state.parts == [Part::Packages] && contents.software.is_none() {
        let text = format!(
            "archive {} has no inventory of the system (\"fastness: system_inventory: true\" makes one) and no lists in /var/backups/packages",
            state.archive.name
        );
        return Err(RecoverError::Usage(text));
    }
    Ok(())
}

/// A destination in use must be meant.
fn refuse_content(recover: &Recover, destination: &Path) -> Result<(), RecoverError> {
    if recover.overwrite.is_some() || recover.dry_run || !recover.parts().contains(&Part::Files) {
        return Ok(());
    }
    let Ok(entries) = fs::read_dir(destination) else {
        return Ok(());
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    match names.any(|name| name != "lost+found" && name != DIRECTORY) {
        true => Err(RecoverError::NotEmpty(destination.to_owned())),
        false => Ok(()),
    }
}

/// A path of the machine, below the destination.
fn below(destination: &Path, path: &Path) -> PathBuf {
    destination.join(path.strip_prefix("/").unwrap_or(path))
}
