//! Snapshots of file systems: what is saved stands still while the archive is made.
//!
//! Each kind of file system is a [`FileSystem`] in a file of its own, and a line in
//! [`FILE_SYSTEMS`]. It says which volumes there are and which commands take and remove a snapshot
//! of one. Here it is found out which of them hold what is to be saved, and the patterns are
//! rewritten so that paths in the archive are those of the live files.
//!
//! A snapshot is removed when its [`Held`] goes; what a killed run left, by the next one. Names and
//! places are borgmatic's.

mod btrfs;
mod lvm;
mod mounted;
mod zfs;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness_engine::create::Alias;

use crate::config::tree::Node;
use crate::hooks::dump::DumpError;
use crate::hooks::dump::program::Program;
use crate::output::log::{Level, Log};
use crate::patterns::{Kind, Pattern};

/// All kinds, in the order in which snapshots are taken.
pub static FILE_SYSTEMS: [&dyn FileSystem; 3] = [&btrfs::Btrfs, &lvm::Lvm, &zfs::Zfs];

/// A kind of file system that has snapshots.
pub trait FileSystem: fmt::Debug + Sync {
    /// The option that asks for its snapshots.
    fn key(&self) -> &'static str;

    /// What snapshots are taken of: `ZFS datasets`.
    fn title(&self) -> &'static str;

    /// Finds the volumes that may hold `roots`.
    ///
    /// # Errors
    /// When its programs fail or say something that is not understood.
    fn volumes(&self, shop: &Shop, roots: &[PathBuf]) -> Result<Vec<Volume>, SnapshotError>;

    /// Takes a snapshot.
    ///
    /// # Errors
    /// When it cannot be taken. What was begun is undone then.
    fn take(&self, shop: &Shop, volume: &Volume) -> Result<Taken, SnapshotError>;

    /// Removes a snapshot that was taken.
    ///
    /// # Errors
    /// When it stays.
    fn remove(&self, shop: &Shop, volume: &Volume) -> Result<(), SnapshotError>;

    /// Removes what killed runs left.
    ///
    /// # Errors
    /// When its programs fail.
    fn remove_leftovers(&self, shop: &Shop) -> Result<(), SnapshotError>;
}

/// What a snapshot can be taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// What its commands call it.
    pub name: String,
    /// The device, where there is one.
    pub device: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// Whether it is saved although nothing asks for it.
    pub always: bool,
}

impl Volume {
    /// Its snapshot, for messages.
    fn what(&self) -> String {
        format!("snapshot of {}", self.mount_point)
    }
}

/// A snapshot.
#[derive(Debug)]
pub struct Taken {
    /// The directory below which live paths lead into it.
    below: PathBuf,
    /// What of it must not be saved.
    excluded: Option<Pattern>,
    /// Tells other runs that it is in use.
    _lock: Option<OwnedFd>,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A program failed.
    #[error(transparent)]
    Program(#[from] DumpError),
    /// A program said something else than expected.
    #[error("{program} printed something that is not understood: {reason}")]
    Output {
        /// Its command.
        program: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another run has a snapshot in the same place.
    #[error("{0} is being saved from a snapshot by another run")]
    InUse(String),
    /// A directory cannot be made or opened.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// What a configuration says about one kind.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The kind.
    pub file_system: &'static dyn FileSystem,
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Reads an option that was validated; it may be empty.
    pub fn read(file_system: &'static dyn FileSystem, node: &Node) -> Self {
        let entries = node.entries().iter();
        let values = entries
            .filter_map(|entry| Some((entry.key.clone(), entry.value.as_text()?.to_owned())))
            .collect();
        Self {
            file_system,
            values,
        }
    }

    /// The value of an option, or what it is by default.
    fn get<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.values.get(key).map_or(default, String::as_str)
    }
}

/// What snapshots of one kind are taken with.
#[derive(Clone)]
pub struct Shop {
    /// What the configuration says.
    pub settings: Settings,
    /// Where records go.
    pub log: Log,
    /// The environment of programs.
    pub environment: Arc<BTreeMap<OsString, OsString>>,
    /// Where relative paths start; empty for where the run is.
    pub working_directory: PathBuf,
    /// A private directory of this run.
    pub runtime: PathBuf,
    /// Only tell what would be done.
    pub dry_run: bool,
}

impl Shop {
    /// Begins the program that an option names, or the one of that name.
    fn program(&self, what: &str, key: &str, default: &str) -> Program {
        let command = self.settings.get(key, default);
        Program::new(what, command, &self.environment, PathBuf::new())
    }

    /// Runs a program to its end, whatever signals come: half a snapshot helps nobody.
    fn run(&self, program: &Program) -> Result<String, SnapshotError> {
        Ok(program.output(&self.log)?)
    }

    /// A directory that a program needs, private.
    fn make_directory(&self, path: &Path) -> Result<(), SnapshotError> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.mode(0o700).recursive(true).create(path);
        made.map_err(|source| SnapshotError::Directory {
            path: path.to_owned(),
            source,
        })
    }

    /// The path of a pattern as one from the root on.
    fn absolute(&self, pattern: &Pattern) -> PathBuf {
        self.working_directory
            .join(pattern.path.trim_start_matches('^'))
    }
}

/// Snapshots of one kind, which are removed when this goes.
pub struct Held {
    shop: Shop,
    taken: Vec<(Volume, Taken)>,
}

impl Held {
    /// Where the files of the snapshots are, and where they are otherwise.
    pub fn aliases(&self) -> impl Iterator<Item = Alias> {
        self.taken.iter().map(|(_, taken)| Alias {
            here: format!("{}/", taken.below.display()).into_bytes(),
            otherwise: b"/".to_vec(),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Those further down go first.
        while let Some((volume, taken)) = self.taken.pop() {
            let removed = self.shop.settings.file_system.remove(&self.shop, &volume);
            if let Err(error) = removed {
                let text = format!("The snapshot of {} stays: {error}", volume.mount_point);
                self.shop.log.record(Level::Warning, &text);
            }
            drop(taken);
        }
    }
}

/// Takes snapshots of the volumes that hold what `patterns` select, and rewrites these.
///
/// # Errors
/// When one cannot be taken; those taken before are removed.
pub fn take(shop: Shop, patterns: &mut Vec<Pattern>) -> Result<Held, SnapshotError> {
    let file_system = shop.settings.file_system;
    let (title, note) = match shop.dry_run {
        true => (
            file_system.title(),
            " (dry run; not actually snapshotting anything)",
        ),
        false => (file_system.title(), ""),
    };
    let log = shop.log.clone();
    log.record(Level::Info, &format!("Snapshotting {title}{note}"));
    if !shop.dry_run {
        file_system.remove_leftovers(&shop)?;
    }
    let chosen = choose(&shop, patterns)?;
    if chosen.is_empty() {
        log.record(
            Level::Warning,
            &format!("No {title} found to snapshot{note}"),
        );
    }
    let mut held = Held {
        shop,
        taken: Vec::new(),
    };
    let mut first = Vec::new();
    for (volume, contained) in chosen {
        let text = format!(
            "Taking a snapshot of {} at {}{note}",
            volume.name, volume.mount_point
        );
        log.record(Level::Debug, &text);
        if held.shop.dry_run {
            continue;
        }
        let taken = file_system.take(&held.shop, &volume)?;
        let rewrite =
            |pattern: &Pattern| rewrite(&held.shop.working_directory, &taken.below, pattern);
        for index in contained {
            if let Some(pattern) = patterns.get_mut(index) {
                *pattern = rewrite(pattern);
            }
        }
        if volume.always {
            first.push(rewrite(&crate::patterns::root(&volume.mount_point)));
        }
        first.extend(taken.excluded.clone());
        held.taken.push((volume, taken));
    }
    patterns.splice(0..0, first.into_iter().rev());
    Ok(held)
}

/// The volumes to be saved, by mount point, each with the patterns that lie on it.
fn choose(shop: &Shop, patterns: &[Pattern]) -> Result<Vec<(Volume, Vec<usize>)>, SnapshotError> {
    let roots = patterns.iter().filter(|pattern| pattern.kind == Kind::Root);
    let roots: Vec<PathBuf> = roots.map(|pattern| shop.absolute(pattern)).collect();
    let mut volumes = shop.settings.file_system.volumes(shop, &roots)?;
    volumes.sort_by(|one, other| one.mount_point.cmp(&other.mount_point));
    let mut left: BTreeSet<usize> = (0..patterns.len()).collect();
    let mut chosen = Vec::new();
    // A pattern belongs to the longest mount point that it lies below.
    for volume in volumes.into_iter().rev() {
        let mount_point = Path::new(&volume.mount_point);
        let device = device(mount_point);
        let contained: Vec<usize> = left
            .iter()
            .copied()
            .filter(|index| {
                patterns.get(*index).is_some_and(|pattern| {
                    let path = shop.absolute(pattern);
                    path.starts_with(mount_point) && existing_device(&path) == device
                })
            })
            .collect();
        left.retain(|index| !contained.contains(index));
        let is_root = |index: &usize| patterns.get(*index).is_some_and(|p| p.kind == Kind::Root);
        if volume.always || contained.iter().any(is_root) {
            chosen.push((volume, contained));
        }
    }
    chosen.reverse();
    Ok(chosen)
}

fn device(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|found| found.dev())
}

/// The device of a path, or of the part of it that is there: behind that come wildcards.
fn existing_device(path: &Path) -> Option<u64> {
    path.ancestors().find_map(device)
}

/// Leads a pattern into a snapshot. Borg leaves what stands before `/./` out of the archive.
fn rewrite(working_directory: &Path, below: &Path, pattern: &Pattern) -> Pattern {
    let caret = match pattern.style.as_deref() == Some("re") && pattern.path.starts_with('^') {
        true => "^",
        false => "",
    };
    let path = pattern.path.trim_start_matches('^');
    let mut to = below.to_owned();
    if !path.starts_with('/') {
        to.push(
            working_directory
                .strip_prefix("/")
                .unwrap_or(working_directory),
        );
    }
    let dot = match path.contains("/./") || path.starts_with("./") {
        true => "",
        false => "./",
    };
    let path = path.trim_start_matches('/');
    Pattern {
        path: format!("{caret}{}/{dot}{path}", to.display()),
        ..pattern.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(style: Option<&str>, path: &str) -> String {
        let pattern = Pattern {
            kind: Kind::Root,
            style: style.map(str::to_owned),
            path: path.to_owned(),
        };
        rewrite(Path::new("/home/user"), Path::new("/snap"), &pattern).path
    }

    #[test]
    fn paths_lead_into_the_snapshot_and_are_archived_as_they_are() {
        assert_eq!(rewritten(None, "/var/log"), "/snap/./var/log");
        assert_eq!(rewritten(None, "data"), "/snap/home/user/./data");
        assert_eq!(rewritten(None, "/srv/./data"), "/snap/srv/./data");
        assert_eq!(rewritten(None, "./data"), "/snap/home/user/./data");
        assert_eq!(rewritten(Some("fm"), "/var/*.log"), "/snap/./var/*.log");
        assert_eq!(rewritten(Some("re"), "^/var/.*"), "^/snap/./var/.*");
    }

    #[test]
    fn names_of_snapshots_tell_whether_their_run_is_over() {
        let own = mounted::name();
        // Older than this run, which has the same number.
        assert!(mounted::is_left(&own));
        assert!(mounted::is_left("borgmatic-4194305"));
        assert!(
            !mounted::is_left("borgmatic-1"),
            "the first process never ends"
        );
        assert!(!mounted::is_left("borgmatic-daily") && !mounted::is_left("daily"));
    }
}
