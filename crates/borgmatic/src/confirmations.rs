//! What is known of the copies of keys: when they were made, and when somebody proved that a
//! repository can be opened with one of them.
//!
//! A small JSON file for each repository, `STATE/fastness/keys/<repository id>.json`, beside what
//! borgmatic keeps in `STATE/borgmatic`. There are no secrets in it. Who has no confirmation has to
//! be reminded: a key that exists once is lost with the disk it is on.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longer files are none of ours.
const MAX_BYTES: u64 = 1 << 16;

/// What a copy of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines that were printed and typed in again.
    Paper,
    /// A file.
    File,
}

impl Kind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::File => "file",
        }
    }
}

/// Something that was done with a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When (in the file: RFC 3339, UTC).
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub at: Timestamp,
    /// With which kind of copy.
    pub kind: Kind,
}

fn write_time<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

fn read_time<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// What is known of the copies of a repository's key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyCopies {
    /// The repository as its configuration names it.
    #[serde(default)]
    pub location: String,
    /// When a copy was made last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Event>,
    /// When the repository was opened last with nothing but a copy and the passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Event>,
}

/// The files about keys of a state directory.
#[derive(Debug, Clone)]
pub struct Confirmations(PathBuf);

impl Confirmations {
    /// Those in a state directory, as [`crate::directories::state_directory`] returns it.
    pub fn new(state_directory: &Path) -> Self {
        Self(state_directory.with_file_name("fastness").join("keys"))
    }

    /// Reads what is known of a repository, by its id in hexadecimal digits. What cannot be read
    /// was not confirmed.
    pub fn of(&self, repository_id: &str) -> KeyCopies {
        self.path(repository_id)
            .and_then(|path| read(&path))
            .unwrap_or_default()
    }

    /// As [`Self::of`], for a repository whose id is not at hand: by what its configuration calls
    /// it.
    pub fn at(&self, location: &str) -> KeyCopies {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let all = entries.filter_map(|entry| read(&entry.path()));
        all.filter(|copies| copies.location == location)
            .max_by_key(|copies| copies.confirmed.as_ref().map(|event| event.at))
            .unwrap_or_default()
    }

    /// Remembers what is known of a repository, so that it survives a crash.
    ///
    /// # Errors
    /// When it cannot be written; what was known before is still there.
    pub fn remember(&self, repository_id: &str, copies: &KeyCopies) -> io::Result<()> {
        let path = self
            .path(repository_id)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        let mut text = serde_json::to_vec_pretty(copies)?;
        text.push(b'\n');
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(&self.0)?.sync_all()
    }

    /// The file of a repository; none for what is no id.
    fn path(&self, repository_id: &str) -> Option<PathBuf> {
        let is_id =
            repository_id.len() == 64 && repository_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| self.0.join(format!("{repository_id}.json")))
    }
}

fn read(path: &Path) -> Option<KeyCopies> {
    if fs::metadata(path).ok()?.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_found_by_id_and_by_location() {
        let state = tempfile::tempdir().unwrap();
        let confirmations = Confirmations::new(&state.path().join("borgmatic"));
        let id = "0".repeat(64);
        assert_eq!(confirmations.of(&id), KeyCopies::default());
        let copies = KeyCopies {
            location: "ssh://nas/./server".to_owned(),
            exported: None,
            confirmed: Some(Event {
                at: "2026-01-02T03:04:05Z".parse().unwrap(),
                kind: Kind::Paper,
            }),
        };
        confirmations.remember(&id, &copies).unwrap();
        assert_eq!(confirmations.of(&id), copies);
        assert_eq!(confirmations.at("ssh://nas/./server"), copies);
        assert_eq!(confirmations.at("elsewhere"), KeyCopies::default());
        let path = state.path().join(format!("fastness/keys/{id}.json"));
        fs::write(path, "no JSON").unwrap();
        assert_eq!(confirmations.of(&id), KeyCopies::default());
    }

    #[test]
    fn an_id_leads_nowhere_else() {
        let state = tempfile::tempdir().unwrap();
        let confirmations = Confirmations::new(&state.path().join("borgmatic"));
        let error = confirmations.remember("../../x", &KeyCopies::default());
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
