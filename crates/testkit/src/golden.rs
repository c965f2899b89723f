//! Unpacks the golden repositories below `testdata/`.
//!
//! The archives hold what real Borg made and said; `testdata/README.md` tells how.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{Run, Sandbox};

/// The passphrase of the keyed golden repositories.
pub const PASSPHRASE: &str = "golden passphrase \u{fc}";

/// One golden repository, unpacked into a sandbox.
#[derive(Debug)]
pub struct Golden {
    name: String,
    path: PathBuf,
}

impl Golden {
    /// Unpacks `testdata/<set>/<name>.tar.gz` into the sandbox.
    pub fn unpack(sandbox: &Sandbox, set: &str, name: &str) -> Golden {
        let archive = testdata().join(set).join(format!("{name}.tar.gz"));
        let path = sandbox.path(name);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        let status = Command::new("tar")
            .arg("-xzf")
            .arg(&archive)
            .arg("-C")
            .arg(sandbox.root())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot unpack {}",
            archive.display()
        );
        Golden {
            name: name.to_owned(),
            path,
        }
    }

    /// Returns the repository's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the repository's directory.
    pub fn repository(&self) -> PathBuf {
        self.path.join("repo")
    }

    /// Makes the client a stranger to this repository, as if it had never seen it.
    pub fn forget(&self) {
        let _ = fs::remove_dir_all(self.path.join("security"));
    }

    /// Returns the recorded text of this name, when there is one.
    pub fn expected(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.path.join("expected").join(name)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the recorded JSON document of this name; panics when there is none.
    pub fn expected_json(&self, name: &str) -> Value {
        let text = self
            .expected(name)
            .unwrap_or_else(|| panic!("{}: no {name}", self.name));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {name}: {error}", self.name))
    }

    /// Returns the names of the recorded archive listings.
    pub fn listed_archives(&self) -> Vec<String> {
        let archive = |name: &str| {
            Some(
                name.strip_prefix("list.")?
                    .strip_suffix(".jsonl")?
                    .to_owned(),
            )
        };
        let mut names: Vec<String> = names(&self.path.join("expected"))
            .iter()
            .filter_map(|name| archive(name))
            .collect();
        names.sort();
        names
    }

    /// Gives a run the passphrase, key files and security directory of this repository,
    /// and the answers to the questions that a moved repository raises.
    pub fn prepare(&self, run: Run) -> Run {
        let passphrase = if self.name.ends_with("emptypass") {
            ""
        } else {
            PASSPHRASE
        };
        run.env("BORG_PASSPHRASE", passphrase)
            .env("BORG_KEYS_DIR", self.path.join("keys"))
            .env("BORG_SECURITY_DIR", self.path.join("security"))
            .env("BORG_CACHE_DIR", self.path.join("own-cache"))
            .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES")
    }
}

/// Returns the names of the golden repositories of a set (`repositories` or `damaged`), sorted.
pub fn all(set: &str) -> Vec<String> {
    let mut names: Vec<String> = names(&testdata().join(set))
        .iter()
        .filter_map(|name| name.strip_suffix(".tar.gz").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Returns the directory of the golden data.
pub fn testdata() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("crates/testkit has a parent");
    crates
        .parent()
        .expect("crates has a parent")
        .join("testdata")
}

fn names(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}
