//! Tests of local repositories, and the places they happen in.

mod damage;
mod model;
mod transactions;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::monitor::{Event, Level};

/// Remembers what it was told.
#[derive(Default)]
struct Recorder(Mutex<Vec<(Level, String)>>);

impl Monitor for Recorder {
    fn event(&self, event: Event<'_>) {
        if let Event::Log { level, message } = event {
            self.0.lock().unwrap().push((level, message.to_owned()));
        }
    }
}

impl Recorder {
    fn take(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap();
        lines
            .drain(..)
            .filter(|(level, _)| *level > Level::Debug)
            .map(|(_, line)| line)
            .collect()
    }
}

fn options(monitor: &Arc<Recorder>) -> OpenOptions {
    OpenOptions {
        lock: Some(LockOptions {
            kind: LockKind::Exclusive,
            wait: lock::LockWait::UpTo(Duration::ZERO),
            identity: LockIdentity {
                host_id: "test@1".to_owned(),
                pid: std::process::id(),
                thread: 0,
            },
        }),
        append_only: false,
        storage_quota: None,
        monitor: Arc::clone(monitor) as Arc<dyn Monitor>,
        now: || SystemTime::UNIX_EPOCH,
    }
}

fn new_options() -> CreateOptions {
    CreateOptions {
        id: RepositoryId::new([9; 32]),
        append_only: false,
        storage_quota: None,
        make_parent_dirs: false,
    }
}

/// A repository with small segments in a directory of its own.
struct Place {
    dir: TempDir,
    monitor: Arc<Recorder>,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            monitor: Arc::default(),
        };
        let path = place.path();
        drop(LocalRepository::create(&path, &new_options(), options(&place.monitor)).unwrap());
        place.set("max_segment_size", "3000");
        place.set("segments_per_dir", "4");
        place
    }

    fn golden(archive: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
        let status = Command::new("tar")
            .args(["--strip-components=1", "-xzf"])
            .arg(data.join(archive).with_extension("tar.gz"))
            .current_dir(dir.path())
            .status();
        assert!(status.unwrap().success());
        Self {
            dir,
            monitor: Arc::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn set(&self, name: &str, value: &str) {
        config::update(&self.path(), &*self.monitor, |text| text.set(name, value)).unwrap();
    }

    fn open(&self) -> LocalRepository {
        LocalRepository::open(&self.path(), options(&self.monitor)).unwrap()
    }

    /// The directory as a process that is killed now would leave it.
    fn as_after_a_kill(&self) -> Self {
        let copy = Self {
            dir: tempfile::tempdir().unwrap(),
            monitor: Arc::default(),
        };
        let status = Command::new("cp")
            .arg("-a")
            .arg(self.path())
            .arg(copy.path())
            .status();
        assert!(status.unwrap().success());
        lock::break_lock(&copy.path()).unwrap();
        copy
    }

    fn check(&self) -> (bool, Vec<String>) {
        let mut repository = self.open();
        self.monitor.take();
        let sound = repository.check(&CheckOptions::default()).unwrap();
        (sound, self.monitor.take())
    }

    fn repair(&self) {
        let repair = CheckOptions {
            repair: true,
            max_duration: None,
        };
        assert!(self.open().check(&repair).unwrap());
    }
}

fn id(number: u8) -> ChunkId {
    ChunkId::new([number; 32])
}

fn value(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(seed)).collect()
}

fn compact_all() -> Option<CompactOptions> {
    Some(CompactOptions {
        threshold: 0.0,
        cleanup_commits: false,
    })
}

fn content(repository: &LocalRepository) -> HashMap<ChunkId, Vec<u8>> {
    let ids = repository.list(None, None).unwrap();
    let all: HashMap<_, _> = ids
        .iter()
        .map(|id| (*id, repository.get(id).unwrap()))
        .collect();
    assert_eq!(all.len(), repository.len().unwrap());
    let mut scanned = repository.scan(None, None).unwrap();
    scanned.sort();
    let mut listed = ids;
    listed.sort();
    assert_eq!(scanned, listed);
    all
}
