//! The programs under test and those they are compared with.
//!
//! Official Borgs are installed by `scripts/setup` below the user's cache
//! directory; the candidate is our binary called `borg`, or whatever
//! `FASTNESS_CANDIDATE` names (real Borg there proves the tests themselves).

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A release of BorgBackup that the tests run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// BorgBackup 1.4.5, the reference.
    V14,
    /// BorgBackup 1.2.9, the older format writer.
    V12,
    /// BorgBackup 1.1.18, which is still met as client or server of remote repositories.
    V11,
}

impl Version {
    /// The versions that share local repositories with ours, newest first.
    pub const ALL: [Version; 2] = [Version::V14, Version::V12];

    /// Returns the version's number as released.
    pub fn number(self) -> &'static str {
        match self {
            Version::V14 => "1.4.5",
            Version::V12 => "1.2.9",
            Version::V11 => "1.1.18",
        }
    }
}

/// An executable that answers to Borg's command line.
#[derive(Clone, Debug)]
pub struct Borg {
    path: PathBuf,
    label: String,
    is_official: bool,
}

impl Borg {
    /// Returns an official BorgBackup; panics with advice when it is not installed.
    pub fn official(version: Version) -> Borg {
        let number = version.number();
        let path = peers_directory().join(format!("borg-{number}/bin/borg"));
        assert!(
            path.exists(),
            "{} is missing: run scripts/setup",
            path.display()
        );
        Borg {
            path,
            label: format!("borg {number}"),
            is_official: true,
        }
    }

    /// Returns the program under test: `binary` behind a link called `borg`.
    pub fn candidate(binary: &Path) -> Borg {
        if let Some(path) = env::var_os("FASTNESS_CANDIDATE") {
            return Borg {
                path: PathBuf::from(path),
                label: "the chosen candidate".to_owned(),
                is_official: false,
            };
        }
        static LINK: OnceLock<PathBuf> = OnceLock::new();
        let path = LINK.get_or_init(|| persona(binary, "borg")).clone();
        Borg {
            path,
            label: "ours".to_owned(),
            is_official: false,
        }
    }

    /// Returns the executable's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a short name for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns whether it is a released BorgBackup that serves as judge, not the candidate.
    pub fn is_official(&self) -> bool {
        self.is_official
    }

    /// Returns the Python interpreter of an official Borg, to use its library.
    pub fn python(&self) -> PathBuf {
        self.path.with_file_name("python")
    }
}

/// Makes a link called `name` to `binary` beside it, where it stays for later runs.
fn persona(binary: &Path, name: &str) -> PathBuf {
    let directory = binary
        .parent()
        .expect("a binary has a directory")
        .join("personas");
    fs::create_dir_all(&directory).unwrap();
    let link = directory.join(name);
    if fs::read_link(&link).is_ok_and(|target| target == binary) {
        return link;
    }
    // Two test processes may come here at once: the rename makes either's link whole.
    let fresh = directory.join(format!("{name}.{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    symlink(binary, &fresh).unwrap();
    fs::rename(&fresh, &link).unwrap();
    link
}

/// Returns where `scripts/setup` puts the programs we compare with.
fn peers_directory() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map_or_else(
            || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache"),
            PathBuf::from,
        );
    cache.join("fastness-peers")
}
