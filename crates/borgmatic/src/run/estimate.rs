//! How much there is to save, for the percent and the time left of a progress line.
//!
//! The size of the last run is remembered. Where there is none, the files are counted beside the
//! first run. Either way it is an estimate and decides nothing.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use fastness_engine::select::pattern_file::Selection;
use fastness_engine::select::patterns::PatternMatcher;
use sha2::{Digest, Sha256};

/// An amount that may become known while a command runs.
#[derive(Debug, Clone, Default)]
pub struct Total(Arc<AtomicU64>);

impl Total {
    /// An amount that is known.
    pub fn of(amount: u64) -> Self {
        Self(Arc::new(AtomicU64::new(amount)))
    }

    /// Returns it, if it is known by now.
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|amount| *amount > 0)
    }
}

/// Counts files in a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Count {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Count {
    /// Begins to count what the pattern lines take; `total` knows it when all is counted.
    pub fn begin(lines: &[String], directory: &Path, one_file_system: bool, total: &Total) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut selection = Selection::default();
        let text = lines.join("\n");
        let rules = selection.add_pattern_file(text.as_bytes()).is_ok();
        let patterns = PatternMatcher::for_create(&selection.rules)
            .ok()
            .filter(|_| rules);
        let thread = patterns.and_then(|patterns| {
            let roots = selection.roots.iter().map(|root| bytes_path(root));
            let walk = Walk {
                roots: roots.map(|root| directory.join(root)).collect(),
                patterns,
                one_file_system,
                stop: Arc::clone(&stop),
            };
            let total = total.clone();
            let name = std::thread::Builder::new().name("estimate".to_owned());
            // Without a thread there is no estimate, and nothing else is missed.
            name.spawn(move || total.0.store(walk.count(), Ordering::Relaxed))
                .ok()
        });
        Self { stop, thread }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bytes_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

struct Walk {
    roots: Vec<PathBuf>,
    patterns: PatternMatcher,
    one_file_system: bool,
    stop: Arc<AtomicBool>,
}

impl Walk {
    /// The bytes of all regular files; nothing when it was stopped.
    fn count(&self) -> u64 {
        let mut bytes = 0;
        for root in &self.roots {
            let Ok(metadata) = std::fs::symlink_metadata(root) else {
                continue;
            };
            let device = metadata.dev();
            let mut pending = Vec::new();
            bytes += self.visit(root.clone(), &metadata, device, &mut pending);
            while let Some(directory) = pending.pop() {
                if self.stop.load(Ordering::Relaxed) {
                    return 0;
                }
                let entries = std::fs::read_dir(&directory)
                    .into_iter()
                    .flatten()
                    .flatten();
                for entry in entries {
                    if let Ok(metadata) = entry.metadata() {
                        bytes += self.visit(entry.path(), &metadata, device, &mut pending);
                    }
                }
            }
        }
        bytes
    }

    fn visit(
        &self,
        path: PathBuf,
        metadata: &Metadata,
        device: u64,
        pending: &mut Vec<PathBuf>,
    ) -> u64 {
        let verdict = self.patterns.check(path.as_os_str().as_bytes());
        let elsewhere = self.one_file_system && metadata.dev() != device;
        if metadata.is_dir() && verdict.recurse && !elsewhere {
            pending.push(path);
            return 0;
        }
        match verdict.included && metadata.is_file() {
            true => metadata.len(),
            false => 0,
        }
    }
}

/// How large the sources of a repository were the last time.
#[derive(Debug)]
pub struct Sizes {
    file: PathBuf,
}

impl Sizes {
    /// Names the file for a repository, beside the state that is shared with borgmatic.
    pub fn new(state_directory: &Path, repository: &str) -> Self {
        let name = HEXLOWER.encode(&Sha256::digest(repository.as_bytes()));
        let directory = state_directory.with_file_name("fastness").join("sizes");
        Self {
            file: directory.join(name.get(..16).unwrap_or(&name)),
        }
    }

    /// Returns the size, if it is known.
    pub fn last(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.trim().parse().ok()
    }

    /// Keeps a size. It is only an aid: what cannot be kept is not.
    pub fn remember(&self, size: u64) {
        if size == 0 {
            return;
        }
        if let Some(directory) = self.file.parent() {
            let _ = std::fs::create_dir_all(directory);
        }
        let _ = std::fs::write(&self.file, format!("{size}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_remembered_for_its_repository() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join("borgmatic");
        let sizes = Sizes::new(&directory, "/a");
        assert_eq!(sizes.last(), None);
        sizes.remember(5);
        assert_eq!(sizes.last(), Some(5));
        assert_eq!(Sizes::new(&directory, "/b").last(), None);
    }

    #[test]
    fn what_is_left_out_is_not_counted() {
        let top = tempfile::tempdir().unwrap();
        for (name, size) in [
            ("a/one", 100),
            ("a/cache/two", 1000),
            ("b.bak", 10_000),
            ("c", 1),
        ] {
            let path = top.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![b'x'; size]).unwrap();
        }
        let lines = ["R .", "! fm:*/cache", "- fm:*.bak"].map(str::to_owned);
        let total = Total::default();
        let mut count = Count::begin(&lines, top.path(), true, &total);
        count.thread.take().unwrap().join().unwrap();
        assert_eq!(total.get(), Some(101));
    }
}
