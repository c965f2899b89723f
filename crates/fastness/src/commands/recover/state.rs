//! What a recovery remembers, so that it can go on after it was interrupted: a small file in a
//! directory of its own at the top of the destination, which goes when all is done.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arguments::{Overwrite, Part, Recover};
use super::error::RecoverError;
use super::vault::Archive;

/// The directory at the top of the destination.
pub const DIRECTORY: &str = ".fastness-recover";

const FILE: &str = "state.json";

/// The directory of a recovery. It goes when this is dropped, unless it is to be kept.
pub struct Place {
    /// Its path.
    pub path: PathBuf,
    keep: bool,
}

impl Place {
    /// Makes it, or takes the one that is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(path: PathBuf) -> Result<Self, RecoverError> {
        let keep = path.join(FILE).exists();
        let mut builder = fs::DirBuilder::new();
        match builder.mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(RecoverError::system("making", &path)(error))
            }
            _ => Ok(Self { path, keep }),
        }
    }

    /// Lets it stay for `--continue`.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Removes it: all is done.
    pub fn finish(mut self) {
        self.keep = false;
    }

    /// Returns an empty directory in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn empty(&self, name: &str) -> Result<PathBuf, RecoverError> {
        let path = self.path.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RecoverError::system("emptying", &path)(error));
            }
            _ => {}
        }
        fs::create_dir(&path).map_err(RecoverError::system("making", &path))?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing in it is of use; what is left of it is in nobody's way.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What is being recovered, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// The repository.
    pub repository: String,
    /// The archive.
    pub archive: Archive,
    /// The parts that are wanted.
    pub parts: Vec<Part>,
    /// Those that are done.
    pub done: Vec<Part>,
    /// The one that was begun last.
    pub begun: Option<Part>,
    /// What happens to files that are there.
    pub overwrite: Option<Overwrite>,
    /// What is left out.
    pub exclude: Vec<String>,
    /// When it began, in nanoseconds since 1970, by the clock that files get their times from.
    pub since: i64,
    /// How long was worked at it, in milliseconds.
    pub milliseconds: u64,
}

impl State {
    /// Begins a recovery in a directory of its own.
    ///
    /// # Errors
    /// When that cannot be looked at.
    pub fn new(
        recover: &Recover,
        repository: &str,
        archive: Archive,
        place: &Place,
    ) -> Result<Self, RecoverError> {
        let made = fs::metadata(&place.path);
        let made = made.map_err(RecoverError::system("looking at", &place.path))?;
        Ok(Self {
            repository: repository.to_owned(),
            archive,
            parts: recover.parts(),
            done: Vec::new(),
            begun: None,
            overwrite: recover.overwrite,
            exclude: recover.exclude.clone(),
            since: made.ctime() * 1_000_000_000 + made.ctime_nsec(),
            milliseconds: 0,
        })
    }

    /// Reads the state of a recovery that was interrupted; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(directory: &Path) -> Result<Option<Self>, RecoverError> {
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(RecoverError::system("reading", &path))?,
        };
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        match read(&value) {
            Some(state) => Ok(Some(state)),
            None => Err(RecoverError::Usage(format!(
                "{} is damaged: remove {} to begin anew with --overwrite changed",
                path.display(),
                directory.display()
            ))),
        }
    }

    /// Writes it so that it survives whatever comes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, place: &mut Place) -> Result<(), RecoverError> {
        let path = place.path.join(FILE);
        let new = place.path.join("state.new");
        let text = self.json().to_string();
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&place.path)?.sync_all()
        };
        write().map_err(RecoverError::system("writing", &path))?;
        place.keep();
        Ok(())
    }

    fn json(&self) -> Value {
        let names =
            |parts: &[Part]| -> Vec<&str> { parts.iter().map(|part| part.name()).collect() };
        json!({
            "version": 1,
            "repository": self.repository,
            "archive": self.archive.name,
            "archive_id": self.archive.id,
            "archive_time": self.archive.time,
            "archive_host": self.archive.host,
            "parts": names(&self.parts),
            "done": names(&self.done),
            "begun": self.begun.map(Part::name),
            "overwrite": self.overwrite.map(Overwrite::name),
            "exclude": self.exclude,
            "since": self.since,
            "milliseconds": self.milliseconds,
        })
    }
}

fn read(value: &Value) -> Option<State> {
    let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let part = |name: &str| Part::ALL.into_iter().find(|part| part.name() == name);
    let parts = |key: &str| -> Option<Vec<Part>> {
        let names = value.get(key)?.as_array()?.iter();
        names.map(|name| part(name.as_str()?)).collect()
    };
    let exclude = value.get("exclude")?.as_array()?.iter();
    Some(State {
        repository: text("repository")?,
        archive: Archive {
            name: text("archive")?,
            id: text("archive_id")?,
            time: text("archive_time")?,
            host: text("archive_host")?,
        },
        parts: parts("parts")?,
        done: parts("done")?,
        begun: text("begun").as_deref().and_then(part),
        overwrite: text("overwrite").as_deref().and_then(Overwrite::named),
        exclude: exclude
            .map(|pattern| pattern.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        since: value.get("since")?.as_i64()?,
        milliseconds: value.get("milliseconds")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_as_it_was() {
        let top = tempfile::tempdir().unwrap();
        let mut place = Place::new(top.path().join(DIRECTORY)).unwrap();
        let state = State {
            repository: "ssh://a/b".to_owned(),
            archive: Archive {
                name: "n".to_owned(),
                id: "i".to_owned(),
                time: "t".to_owned(),
                host: "h".to_owned(),
            },
            parts: vec![Part::Files, Part::Databases],
            done: vec![Part::Files],
            begun: Some(Part::Databases),
            overwrite: Some(Overwrite::Never),
            exclude: vec!["sh:**/x".to_owned()],
            since: 5,
            milliseconds: 7,
        };
        state.save(&mut place).unwrap();
        assert_eq!(State::load(&place.path).unwrap(), Some(state));
        let path = place.path.clone();
        drop(place);
        assert!(path.exists(), "it stays until all is done");
        fs::write(path.join(FILE), "{").unwrap();
        assert!(
            State::load(&path)
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        Place::new(path.clone()).unwrap().finish();
        assert!(!path.exists());
    }
}
