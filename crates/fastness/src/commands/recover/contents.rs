//! What an archive holds that a recovery is interested in: its configuration, lists of software,
//! databases. It is looked at once, before anything is restored.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::RecoverError;
use super::software::{self, Software};
use super::state::Place;
use super::vault::{Archive, How, Vault};

/// Where archives have the list of their configuration files: of today, and of old versions.
const MANIFESTS: [&str; 3] = [
    "pf:borgmatic/bootstrap/manifest.json",
    "sh:**/borgmatic-*/./borgmatic/bootstrap/manifest.json",
    "sh:**/.borgmatic/bootstrap/manifest.json",
];

/// Where configuration files usually are: they come with the first look.
const CONFIGURATIONS: [&str; 3] = ["pp:etc/borgmatic", "pp:etc/borgmatic.d", "pp:etc/fastness"];

/// Files that tell what a copy of MariaDB's data files is.
const CHECKPOINTS: [&str; 2] = ["xtrabackup_checkpoints", "mariadb_backup_checkpoints"];

/// Data files of MariaDB that a program outside put among the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedServer {
    /// Their directory in the archive.
    pub path: String,
    /// Whether they are consistent already.
    pub is_prepared: bool,
}

/// What an archive holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// Installed software.
    pub software: Option<Software>,
    /// Configuration files, as they are called in the archive.
    pub configuration: Vec<String>,
    /// Where they were extracted.
    pub top: PathBuf,
    /// The kinds of dumps of databases.
    pub dumps: BTreeSet<String>,
    /// Names of servers whose data files were saved.
    pub servers: BTreeSet<String>,
    /// Data files that hooks saved.
    pub copies: Vec<CopiedServer>,
    /// Whether it has the programs of the distribution.
    pub has_programs: bool,
}

impl Contents {
    /// Looks into an archive.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(vault: &Vault, archive: &Archive, place: &Place) -> Result<Self, RecoverError> {
        let address = vault.address(archive);
        let what = format!("looking into archive {}", archive.name);
        let mut contents = Self {
            top: place.empty("contents")?,
            ..Self::default()
        };
        let checkpoints = CHECKPOINTS.map(|name| format!("sh:**/{name}"));
        let mut words = vec![
            "list",
            "--format",
            "{path}{NUL}",
            &address,
            "pp:borgmatic",
            "pf:usr/bin",
        ];
        words.extend(checkpoints.iter().map(String::as_str));
        let listing = vault.run(&what, &words, How::default())?.data;
        let listing = String::from_utf8_lossy(&listing).into_owned();
        contents.read_listing(&listing);
        let mut words = vec![
            "extract",
            "--numeric-ids",
            "--noacls",
            "--noxattrs",
            "--noflags",
            &address,
        ];
        words.extend(MANIFESTS);
        words.extend(software::PATTERNS);
        words.extend(CONFIGURATIONS);
        contents.extract(vault, &what, &words)?;
        contents.software = Software::read(&contents.top);
        for copy in &mut contents.copies {
            let about = CHECKPOINTS
                .iter()
                .find_map(|name| fs::read_to_string(contents.top.join(&copy.path).join(name)).ok());
            copy.is_prepared = about.is_some_and(|text| text.contains("full-prepared"));
        }
        contents.configuration = contents.manifest();
        let relative = |path: &String| path.trim_start_matches('/').to_owned();
        let missing = contents.configuration.iter().map(relative);
        let missing = missing.filter(|path| !contents.top.join(path).exists());
        let patterns: Vec<String> = missing.map(|path| format!("pf:{path}")).collect();
        if !patterns.is_empty() {
            let mut words = vec!["extract", "--numeric-ids", &address];
            words.extend(patterns.iter().map(String::as_str));
            contents.extract(vault, &what, &words)?;
        }
        Ok(contents)
    }

    fn extract(&self, vault: &Vault, what: &str, words: &[&str]) -> Result<(), RecoverError> {
        let how = How {
            directory: Some(&self.top),
            ..How::default()
        };
        // Most patterns match nothing, which is a warning.
        vault.run(what, words, how).map(drop)
    }

    fn read_listing(&mut self, listing: &str) {
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            let mut words = path.split('/');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("usr"), Some("bin"), None, None) => self.has_programs = true,
                (
                    Some("borgmatic"),
                    Some("mariadb_physical"),
                    Some(label),
                    Some("fastness-backup.json"),
                ) => {
                    self.servers.insert(label.to_owned());
                }
                (Some("borgmatic"), Some(hook), Some(_), Some(_))
                    if hook.ends_with("_databases") =>
                {
                    self.dumps.insert(hook.to_owned());
                }
                (Some("borgmatic"), ..) => {}
                _ => self.add_copy(path),
            }
        }
    }

    fn add_copy(&mut self, path: &str) {
        let Some((directory, name)) = path.rsplit_once('/') else {
            return;
        };
        if CHECKPOINTS.contains(&name) && !self.copies.iter().any(|copy| copy.path == directory) {
            self.copies.push(CopiedServer {
                path: directory.to_owned(),
                is_prepared: false,
            });
        }
    }

    /// The configuration files that the archive names; none without a list of them.
    fn manifest(&self) -> Vec<String> {
        let found = find(&self.top, 0);
        let text = found
            .and_then(|path| fs::read(path).ok())
            .unwrap_or_default();
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        let paths = value.get("config_paths").and_then(Value::as_array);
        let paths = paths.into_iter().flatten().filter_map(Value::as_str);
        paths.map(str::to_owned).collect()
    }

    /// Tells whether there are any databases.
    pub fn has_databases(&self) -> bool {
        !(self.dumps.is_empty() && self.servers.is_empty() && self.copies.is_empty())
    }

    /// The databases, for people.
    pub fn databases(&self) -> String {
        let dumps = self.dumps.iter().map(|hook| format!("dumps of {hook}"));
        let servers = self
            .servers
            .iter()
            .map(|name| format!("data files of MariaDB {name}"));
        let copies = self
            .copies
            .iter()
            .map(|copy| format!("data files of MariaDB in /{}", copy.path));
        dumps
            .chain(servers)
            .chain(copies)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Finds a list of configuration files.
fn find(directory: &Path, depth: usize) -> Option<PathBuf> {
    let path = directory.join("bootstrap/manifest.json");
    if path.is_file() {
        return Some(path);
    }
    let entries = fs::read_dir(directory).ok().filter(|_| depth < 32)?;
    let mut below = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.find_map(|entry| find(&entry.path(), depth + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_all_kinds_are_seen_in_a_listing() {
        let mut contents = Contents::default();
        contents.read_listing(
            "borgmatic/mariadb_physical/main/fastness-backup.json\0borgmatic/mariadb_physical/main/ibdata1\0\
             borgmatic/postgresql_databases/localhost/shop\0borgmatic/postgresql_databases/dumps.json\0\
             var/backups/mariadb/full/xtrabackup_checkpoints\0var/log/x\0",
        );
        assert_eq!(
            contents.databases(),
            "dumps of postgresql_databases, data files of MariaDB main, data files of MariaDB in /var/backups/mariadb/full"
        );
        assert!(!contents.has_programs);
        contents.read_listing("usr/bin\0");
        assert!(contents.has_programs);
    }
}
