//! The steps of a recovery, one after another: packages, files, databases.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fastness_engine::extract::Existing;

use super::arguments::{Overwrite, Packages, Part, Recover};
use super::contents::Contents;
use super::databases::Databases;
use super::error::RecoverError;
use super::person::{Answer, ask, say, span, warn};
use super::script;
use super::state::{DIRECTORY, Place, State};
use super::vault::{How, Vault};

/// What apt and dpkg know of a machine whose programs are not in the archive: the packages that were
/// just installed know better.
const KNOWN_TO_APT: [&str; 3] = ["pp:var/lib/dpkg", "pp:var/lib/apt", "pp:var/cache/apt"];

/// As many warnings are shown.
const MOST_WARNINGS: usize = 20;

/// What says that there is no room.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// All that the steps need.
pub struct Steps<'a> {
    /// What was asked for.
    pub recover: &'a Recover,
    /// The repository.
    pub vault: &'a Vault,
    /// What the archive holds.
    pub contents: &'a Contents,
    /// The root of the restored machine.
    pub destination: &'a Path,
    /// Where data files of MariaDB go.
    pub datadir: PathBuf,
    /// What is done about packages.
    pub packages: Packages,
}

impl Steps<'_> {
    /// Shows what is going to happen.
    pub fn show(&self, state: &State) {
        let archive = &state.archive;
        say(&format!(
            "Archive {} of {}, made {}, in {}",
            archive.name, archive.host, archive.time, state.repository
        ));
        let steps = state.parts.iter().zip(1..);
        for (part, number) in steps {
            let done = if state.done.contains(part) {
                " (done)"
            } else {
                ""
            };
            say(&format!(
                "  {number}. {}: {}{done}",
                part.name(),
                self.about(*part, state)
            ));
        }
    }

    /// Says in a line what a step does.
    fn about(&self, part: Part, state: &State) -> String {
        let destination = self.destination.display();
        match part {
            Part::Packages => match (&self.contents.software, self.packages) {
                (None, _) => "the archive lists none".to_owned(),
                (Some(software), how) => {
                    let how = match how {
                        Packages::Install => "installed",
                        Packages::Simulate => "only shown by apt",
                        Packages::Skip => {
                            "left out; \"fastness recover plan\" prints how they are installed"
                        }
                    };
                    format!("{} of {}, {how}", software.packages.len(), software.origin)
                }
            },
            Part::Files => {
                let existing = match state.overwrite {
                    None => "",
                    Some(Overwrite::Never) => "; what is there stays",
                    Some(Overwrite::Changed) => "; what is there is replaced where it differs",
                    Some(Overwrite::Always) => "; what is there is replaced",
                };
                format!("all of the archive to {destination}{existing}")
            }
            Part::Databases => match self.contents.has_databases() {
                true => self.contents.databases(),
                false => "the archive has none".to_owned(),
            },
        }
    }

    /// Runs the steps that are not done yet.
    ///
    /// # Errors
    /// When one fails, or the person wants to end.
    pub fn run(&self, mut state: State, place: &mut Place) -> Result<(), RecoverError> {
        for part in state.parts.clone() {
            if state.done.contains(&part) {
                continue;
            }
            let answer = match self.recover.yes {
                true => Answer::Yes,
                false => ask(&format!("Restore {} now?", part.name())),
            };
            match answer {
                Answer::Quit => return Err(RecoverError::Ended),
                Answer::Skip => say(&format!("{}: left out", part.name())),
                Answer::Yes => self.timed(part, &mut state, place)?,
            }
            state.done.push(part);
            state.begun = None;
            state.save(place)?;
        }
        let all = span(Duration::from_millis(state.milliseconds));
        say(&format!("{} is recovered in {all}", state.archive.host));
        Ok(())
    }

    /// Runs a step; its time counts whatever becomes of it.
    fn timed(&self, part: Part, state: &mut State, place: &mut Place) -> Result<(), RecoverError> {
        let is_resumed = state.begun == Some(part);
        state.begun = Some(part);
        state.save(place)?;
        let begin = Instant::now();
        let result = match part {
            Part::Packages => self.packages(state, place),
            Part::Files => self.files(state),
            Part::Databases => self.databases(state, place, is_resumed),
        };
        let time = begin.elapsed();
        state.milliseconds += u64::try_from(time.as_millis()).unwrap_or_default();
        result?;
        say(&format!("{}: done in {}", part.name(), span(time)));
        Ok(())
    }

    fn packages(&self, state: &State, place: &Place) -> Result<(), RecoverError> {
        let Some(software) = &self.contents.software else {
            return Ok(());
        };
        if self.packages == Packages::Skip {
            return Ok(());
        }
        let path = place.path.join("reinstall.sh");
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o700);
        let text = script::write(software, &state.archive);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(RecoverError::system("writing", &path))?;
        let mut command = Command::new("sh");
        command.arg(&path).stdin(Stdio::null());
        if self.packages == Packages::Simulate {
            command.arg("--simulate");
        }
        let status = command.status();
        let status = status.map_err(RecoverError::system("running", &path))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(script::PROBLEMS) => {
                warn("not everything could be reinstalled, see above");
                Ok(())
            }
            _ => Err(RecoverError::Step {
                what: format!("reinstalling packages with {}", path.display()),
                text: format!(
                    "{status}, see above; leave packages out with \"skip\" or --only files,databases"
                ),
            }),
        }
    }

    fn files(&self, state: &State) -> Result<(), RecoverError> {
        let what = format!("restoring files to {}", self.destination.display());
        let address = self.vault.address(&state.archive);
        let own = format!("pp:{DIRECTORY}");
        let mut excludes: Vec<&str> = vec!["pp:borgmatic", &own];
        let knows = self.destination == Path::new("/")
            && state.parts.contains(&Part::Packages)
            && self.packages == Packages::Install
            && self.contents.software.is_some()
            && !self.contents.has_programs;
        if knows {
            say(
                "The archive has no /usr: /var/lib/dpkg and what else apt knows stay as they are now",
            );
            excludes.extend(KNOWN_TO_APT);
        }
        excludes.extend(state.exclude.iter().map(String::as_str));
        // Parents that the archive does not have, such as /usr of /usr/local, are for all.
        let mut words = vec!["extract", "--numeric-ids", "--umask", "0022"];
        words.extend(excludes.iter().flat_map(|pattern| ["--exclude", pattern]));
        words.push(&address);
        // Before the first attempt nothing is as young as this.
        let since = Some(state.since);
        let how = How {
            directory: Some(self.destination),
            existing: match state.overwrite {
                Some(Overwrite::Never) => Existing::Keep { since },
                Some(Overwrite::Changed) => Existing::Compare,
                Some(Overwrite::Always) | None => Existing::Replace { since },
            },
            progress: true,
            ..How::default()
        };
        let given = self.vault.run(&what, &words, how);
        let full = |text: &str| FULL.iter().any(|words| text.contains(words));
        let given = given.map_err(|error| match full(&error.to_string()) {
            true => RecoverError::Full(self.destination.to_owned()),
            false => error,
        })?;
        if given.warnings.iter().any(|line| full(line)) {
            return Err(RecoverError::Full(self.destination.to_owned()));
        }
        for line in given.warnings.iter().take(MOST_WARNINGS) {
            warn(line);
        }
        if given.warnings.len() > MOST_WARNINGS {
            let more = given.warnings.len() - MOST_WARNINGS;
            warn(&format!("and {more} more"));
        }
        Ok(())
    }

    fn databases(
        &self,
        state: &State,
        place: &Place,
        is_resumed: bool,
    ) -> Result<(), RecoverError> {
        let overwrites = matches!(
            state.overwrite,
            Some(Overwrite::Changed | Overwrite::Always)
        );
        let databases = Databases {
            vault: self.vault,
            archive: &state.archive,
            contents: self.contents,
            place,
            destination: self.destination,
            datadir: &self.datadir,
            may_replace: overwrites || is_resumed,
        };
        databases.restore()
    }
}
