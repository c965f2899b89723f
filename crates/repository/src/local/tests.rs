//! Tests of local repositories: against a model, after crashes, with damage, and with what real
//! Borg wrote.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use fastness_format::segment::{COMMIT, MAGIC};
use proptest::prelude::*;
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

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, usize),
    Delete(u8),
    Commit,
    Compact(u8),
    Rollback,
    Reopen,
    Kill,
    Recheck,
    LoseIndex,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0u8..12, any::<u8>(), 0usize..900).prop_map(|(id, seed, len)| Step::Put(id, seed, len)),
        1 => (1u8..12, any::<u8>()).prop_map(|(id, seed)| Step::Put(id, seed, 300_000)),
        12 => (0u8..12).prop_map(Step::Delete),
        6 => Just(Step::Commit),
        4 => (0u8..60).prop_map(Step::Compact),
        2 => Just(Step::Rollback),
        2 => Just(Step::Reopen),
        2 => Just(Step::Kill),
        1 => Just(Step::Recheck),
        1 => Just(Step::LoseIndex),
    ]
}

/// The model: what is committed, and what the open transaction made of it.
#[derive(Default)]
struct Model {
    committed: HashMap<ChunkId, Vec<u8>>,
    now: HashMap<ChunkId, Vec<u8>>,
}

fn run(steps: Vec<Step>) {
    let mut place = Place::new();
    let mut repository = place.open();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Put(number, seed, len) => {
                let value = value(seed, len);
                repository.put(&id(number), &value).unwrap();
                model.now.insert(id(number), value);
            }
            Step::Delete(number) => {
                let deleted = repository.delete(&id(number)).is_ok();
                assert_eq!(deleted, model.now.remove(&id(number)).is_some());
            }
            Step::Commit => {
                repository.commit(None).unwrap();
                model.committed = model.now.clone();
            }
            Step::Compact(percent) => {
                let threshold = f64::from(percent) / 100.0;
                let options = CompactOptions {
                    threshold,
                    cleanup_commits: percent % 2 == 0,
                };
                repository.commit(Some(options)).unwrap();
                model.committed = model.now.clone();
            }
            Step::Rollback => {
                repository.rollback().unwrap();
                model.now = model.committed.clone();
            }
            Step::Reopen => {
                drop(repository);
                repository = place.open();
                model.now = model.committed.clone();
            }
            Step::Kill => {
                let after = place.as_after_a_kill();
                drop(repository);
                place = after;
                repository = place.open();
                model.now = model.committed.clone();
            }
            Step::Recheck => {
                model.now = model.committed.clone();
                assert!(
                    repository.check(&CheckOptions::default()).unwrap() || model.now.is_empty()
                );
            }
            Step::LoseIndex => {
                drop(repository);
                for name in storage::names(&place.path()).unwrap() {
                    if name.starts_with("index.") {
                        fs::remove_file(place.path().join(name)).unwrap();
                    }
                }
                repository = place.open();
                model.now = model.committed.clone();
            }
        }
        assert_eq!(repository.len().unwrap(), model.now.len());
    }
    assert_eq!(content(&repository), model.now);
    drop(repository);
    assert_eq!(content(&place.open()), model.committed);
    if !model.committed.is_empty() {
        assert_eq!(place.check().0, true, "{:?}", place.monitor.take());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_repository_does_what_a_map_does(steps in proptest::collection::vec(any_step(), 0..120)) {
        run(steps);
    }
}

#[test]
fn values_are_read_back_before_and_after_the_commit() {
    let place = Place::new();
    let mut repository = place.open();
    for (number, len) in [(1, 0), (2, 100), (3, 70_000), (4, 400_000)] {
        repository.put(&id(number), &value(number, len)).unwrap();
        assert_eq!(repository.get(&id(number)).unwrap(), value(number, len));
    }
    repository.commit(None).unwrap();
    drop(repository);
    let repository = place.open();
    let ids = [id(4), id(9), id(1)];
    let results = repository.get_many(&ids);
    assert_eq!(results[0].as_ref().unwrap(), &value(4, 400_000));
    assert_eq!(
        results[1].as_ref().unwrap_err().msgid(),
        "Repository.ObjectNotFound"
    );
    assert_eq!(results[2].as_ref().unwrap(), &Vec::<u8>::new());
}

#[test]
fn the_manifest_begins_a_segment_and_a_commit_is_alone_in_one() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"data").unwrap();
    repository.put(&ChunkId::MANIFEST, b"one").unwrap();
    repository.put(&ChunkId::MANIFEST, b"two").unwrap();
    repository.commit(None).unwrap();
    let lens: Vec<_> = (0..5)
        .map(|segment| repository.segments.len(segment).unwrap().unwrap())
        .collect();
    assert_eq!(lens, [8 + 45, 8 + 44, 8 + 41, 8 + 44, 17]);
    assert_eq!(repository.transaction().unwrap(), Some(4));
    let mut last = MAGIC.to_vec();
    last.extend(COMMIT);
    assert_eq!(fs::read(repository.segments.path(4)).unwrap(), last);
}

#[test]
fn values_beyond_the_limit_are_refused_and_harm_nothing() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"old").unwrap();
    let long = vec![0; crate::MAX_VALUE_BYTES + 1];
    assert!(repository.put(&id(1), &long).is_err());
    repository.put(&id(2), &long[1..]).unwrap();
    repository.commit(None).unwrap();
    assert_eq!(repository.get(&id(1)).unwrap(), b"old");
    assert_eq!(
        repository.get(&id(2)).unwrap().len(),
        crate::MAX_VALUE_BYTES
    );
}

#[test]
fn uncommitted_segments_are_ignored_by_readers_and_removed_by_the_next_writer() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"kept").unwrap();
    repository.commit(None).unwrap();
    repository.put(&id(1), &value(3, 5000)).unwrap();
    repository.put(&id(2), b"lost").unwrap();
    let killed = place.as_after_a_kill();
    fs::write(killed.path().join("index.77.tmp"), "half").unwrap();
    fs::write(killed.path().join("nonce-1.tmp"), "half").unwrap();
    let mut after = killed.open();
    assert_eq!(after.get(&id(1)).unwrap(), b"kept");
    assert!(!after.contains(&id(2)).unwrap());
    assert!(after.segments.latest().unwrap() > Some(1));
    after.put(&id(3), b"new").unwrap();
    after.commit(None).unwrap();
    assert_eq!(after.segments.list().unwrap(), [0, 1, 2, 3]);
    let names = storage::names(&killed.path()).unwrap();
    assert!(
        names.iter().all(|name| !name.ends_with(".tmp")),
        "{names:?}"
    );
}

#[test]
fn a_rolled_back_transaction_gives_its_space_back() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"kept").unwrap();
    repository.commit(None).unwrap();
    repository.put(&id(2), &value(3, 5000)).unwrap();
    repository.rollback().unwrap();
    assert_eq!(repository.segments.list().unwrap(), [0, 1]);
    assert!(!repository.contains(&id(2)).unwrap());
    repository.put(&id(4), b"next").unwrap();
    repository.commit(None).unwrap();
    assert_eq!(repository.segments.list().unwrap(), [0, 1, 2, 3]);
}

#[test]
fn a_commit_whose_index_was_not_saved_is_replayed() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"one").unwrap();
    repository.put(&id(2), b"two").unwrap();
    repository.commit(None).unwrap();
    let names = storage::names(&place.path()).unwrap();
    let before: Vec<(String, Vec<u8>)> = names
        .into_iter()
        .filter(|name| name.ends_with(".1"))
        .map(|name| (name.clone(), fs::read(place.path().join(name)).unwrap()))
        .collect();
    assert_eq!(before.len(), 3);
    repository.put(&id(1), b"uno").unwrap();
    repository.delete(&id(2)).unwrap();
    repository.commit(None).unwrap();
    drop(repository);
    for name in ["index.3", "hints.3", "integrity.3"] {
        fs::remove_file(place.path().join(name)).unwrap();
    }
    for (name, bytes) in before {
        fs::write(place.path().join(name), bytes).unwrap();
    }
    place.monitor.take();
    let mut repository = place.open();
    assert_eq!(repository.get(&id(1)).unwrap(), b"uno");
    assert!(!repository.contains(&id(2)).unwrap());
    assert_eq!(
        place.monitor.take(),
        ["Replaying segments. Please wait, this can take a while..."]
    );
    repository.commit(compact_all()).unwrap();
    drop(repository);
    assert_eq!(place.check().0, true);
}

#[test]
fn compaction_frees_what_is_dead_and_keeps_what_is_not() {
    let place = Place::new();
    let mut repository = place.open();
    for number in 1..40 {
        repository.put(&id(number), &value(number, 700)).unwrap();
    }
    repository.commit(None).unwrap();
    for number in (1..40).step_by(2) {
        repository.delete(&id(number)).unwrap();
    }
    let report = repository.commit(compact_all()).unwrap();
    assert_eq!(report.freed_bytes, Some(20 * 741));
    let report = repository.commit(compact_all()).unwrap();
    assert_eq!(report.freed_bytes, Some(0));
    let bytes: u64 = repository
        .segments
        .list()
        .unwrap()
        .into_iter()
        .map(|segment| repository.segments.len(segment).unwrap().unwrap())
        .sum();
    assert!(bytes < 19 * 741 + 1000, "{bytes}");
    assert_eq!(repository.len().unwrap(), 19);
    drop(repository);
    assert_eq!(place.check().0, true);
}

#[test]
fn compaction_keeps_a_segment_when_the_index_has_objects_that_it_cannot_find() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), &value(1, 100)).unwrap();
    repository.put(&id(2), &value(2, 100)).unwrap();
    repository.delete(&id(2)).unwrap();
    repository.commit(None).unwrap();
    drop(repository);
    let path = place.path().join("data/0/0");
    let mut bytes = fs::read(&path).unwrap();
    // The id of the live object.
    bytes[8 + 9] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut repository = place.open();
    repository.commit(compact_all()).unwrap();
    assert!(path.exists());
    assert!(
        place
            .monitor
            .take()
            .iter()
            .any(|line| line.contains("segment 0 is kept"))
    );
}

#[test]
fn an_append_only_repository_never_frees_and_logs_its_transactions() {
    let place = Place::new();
    place.set("append_only", "1");
    let mut repository = place.open();
    repository.put(&id(1), &value(1, 100)).unwrap();
    repository.commit(None).unwrap();
    repository.delete(&id(1)).unwrap();
    assert_eq!(repository.commit(compact_all()).unwrap().freed_bytes, None);
    assert_eq!(repository.segments.list().unwrap(), [0, 1, 2, 3]);
    let repair = CheckOptions {
        repair: true,
        max_duration: None,
    };
    assert!(matches!(
        repository.check(&repair),
        Err(RepositoryError::AppendOnly(_))
    ));
    assert!(matches!(
        repository.destroy(),
        Err(RepositoryError::AppendOnly(_))
    ));
    assert_eq!(
        fs::read_to_string(place.path().join("transactions")).unwrap(),
        "transaction 1, UTC time 1970-01-01T00:00:00.000000\n\
         transaction 3, UTC time 1970-01-01T00:00:00.000000\n"
    );
}

#[test]
fn a_transaction_beyond_the_quota_is_doomed() {
    let place = Place::new();
    place.set("storage_quota", "1000");
    let mut repository = place.open();
    repository.put(&id(1), &value(1, 800)).unwrap();
    repository.commit(None).unwrap();
    let error = repository.put(&id(2), &value(1, 800)).unwrap_err();
    assert_eq!(error.msgid(), "Repository.StorageQuotaExceeded");
    assert_eq!(
        error.to_string(),
        "The storage quota (1.00 kB) has been exceeded (1.68 kB). Try deleting some archives."
    );
    assert!(repository.put(&id(3), b"").is_err());
    let error = repository.commit(None).unwrap_err();
    assert_eq!(error.msgid(), "Repository.StorageQuotaExceeded");
    assert_eq!(repository.len().unwrap(), 1);
    repository.put(&id(3), &value(1, 50)).unwrap();
    repository.commit(None).unwrap();
}

#[test]
fn too_little_free_space_rolls_back() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"kept").unwrap();
    repository.commit(None).unwrap();
    drop(repository);
    place.set("additional_free_space", "9000000T");
    let mut repository = place.open();
    repository.put(&id(2), b"lost").unwrap();
    let error = repository.commit(None).unwrap_err();
    assert_eq!(error.msgid(), "Repository.InsufficientFreeSpaceError");
    assert_eq!(content(&repository).len(), 1);
    assert_eq!(repository.segments.list().unwrap(), [0, 1]);
}

#[test]
fn creation_respects_what_is_there() {
    let place = Place::new();
    let monitor = Arc::new(Recorder::default());
    let create = |path: &Path| {
        let result = LocalRepository::create(path, &new_options(), options(&monitor));
        result.map(drop).map_err(|error| error.msgid().to_owned())
    };
    let repo = place.path();
    let dir = place.dir.path();
    assert_eq!(create(&repo).unwrap_err(), "Repository.AlreadyExists");
    assert_eq!(
        create(&repo.join("data/x")).unwrap_err(),
        "Repository.AlreadyExists"
    );
    assert_eq!(create(dir).unwrap_err(), "Repository.PathAlreadyExists");
    assert_eq!(
        create(&dir.join("no/repo")).unwrap_err(),
        "Repository.ParentPathDoesNotExist"
    );
    fs::create_dir(dir.join("empty")).unwrap();
    assert_eq!(create(&dir.join("empty")), Ok(()));
    // Killed before the config was written.
    fs::remove_file(dir.join("empty/config")).unwrap();
    fs::write(dir.join("empty/config-1.tmp"), "[repos").unwrap();
    assert_eq!(create(&dir.join("x/../empty")), Ok(()));
    let mut made = new_options();
    made.make_parent_dirs = true;
    let deep = dir.join("a/b/repo");
    drop(LocalRepository::create(&deep, &made, options(&monitor)).unwrap());
    assert_eq!(create(&deep).unwrap_err(), "Repository.AlreadyExists");
}

#[test]
fn opening_tells_why_it_fails() {
    let place = Place::new();
    let open = |path: &Path| {
        let result = LocalRepository::open(path, options(&place.monitor));
        result.map(drop).map_err(|error| error.msgid().to_owned())
    };
    let repo = place.path();
    assert_eq!(
        open(&repo.join("nothing")).unwrap_err(),
        "Repository.DoesNotExist"
    );
    assert_eq!(
        open(&repo.join("README")).unwrap_err(),
        "Repository.InvalidRepository"
    );
    assert_eq!(
        open(place.dir.path()).unwrap_err(),
        "Repository.InvalidRepository"
    );
    place.set("version", "2");
    assert_eq!(
        open(&repo).unwrap_err(),
        "Repository.InvalidRepositoryConfig"
    );
    place.set("version", "1");
    fs::create_dir(repo.join("data/0")).unwrap();
    fs::write(repo.join("data/0/0"), "ATTICSEG").unwrap();
    assert_eq!(open(&repo).unwrap_err(), "Repository.AtticRepository");
    fs::remove_file(repo.join("data/0/0")).unwrap();
    let held = place.open();
    assert_eq!(open(&repo).unwrap_err(), "LockTimeout");
    drop(held);
    assert_eq!(open(&repo), Ok(()));
}

#[test]
fn destroying_removes_everything() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"x").unwrap();
    repository.destroy().unwrap();
    assert!(!place.path().exists());
}

#[test]
fn the_key_is_kept_in_the_config() {
    let place = Place::new();
    let mut repository = place.open();
    assert_eq!(repository.load_key().unwrap(), None);
    repository.save_key("first\nsecond\n").unwrap();
    assert_eq!(
        repository.load_key().unwrap().as_deref(),
        Some("first\nsecond")
    );
    let text = fs::read_to_string(place.path().join("config")).unwrap();
    assert!(text.contains("max_segment_size = 3000\n"));
    assert!(text.ends_with("key = first\n\tsecond\n\n"));
}

#[test]
fn lists_and_scans_go_on_after_a_marker() {
    let place = Place::new();
    let mut repository = place.open();
    for number in 1..20 {
        repository.put(&id(number), &value(number, 400)).unwrap();
    }
    repository.put(&id(3), b"moved to the end").unwrap();
    repository.commit(None).unwrap();
    let scanned = repository.scan(None, None).unwrap();
    assert_eq!(scanned.last(), Some(&id(3)));
    let listed = repository.list(None, None).unwrap();
    for (all, part) in [
        (
            &listed,
            LocalRepository::list as fn(&_, Option<usize>, Option<&ChunkId>) -> _,
        ),
        (&scanned, LocalRepository::scan),
    ] {
        let mut pages = part(&repository, Some(7), None).unwrap();
        loop {
            let page = part(&repository, Some(7), pages.last()).unwrap();
            if page.is_empty() {
                break;
            }
            pages.extend(page);
        }
        assert_eq!(&pages, all);
        assert!(part(&repository, None, Some(&id(99))).is_err());
    }
}

#[test]
fn a_broken_lock_prevents_the_commit() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), b"x").unwrap();
    lock::break_lock(&place.path()).unwrap();
    assert_eq!(repository.commit(None).unwrap_err().msgid(), "NotLocked");
    repository.rollback().unwrap();
    assert_eq!(repository.segments.list().unwrap(), [0]);
}

#[test]
fn partial_checks_go_on_where_the_last_one_ended() {
    let place = Place::golden("repositories/v14-none");
    let step = CheckOptions {
        repair: false,
        max_duration: Some(Duration::ZERO),
    };
    let mut repository = place.open();
    assert!(repository.check(&step).unwrap());
    assert!(repository.check(&step).unwrap());
    let lines = place.monitor.take();
    assert_eq!(lines[1], "skipping to segments >= 0");
    assert_eq!(
        lines[2],
        "finished partial segment check, last segment checked is 0"
    );
    assert_eq!(
        lines[3],
        "Finished partial repository check, no problems found."
    );
    assert_eq!(lines[5], "skipping to segments >= 1");
    assert!(repository.check(&CheckOptions::default()).unwrap());
    let config = config::read(&place.path()).unwrap();
    assert_eq!(config.get("last_segment_checked"), None);
}

#[test]
fn repositories_of_real_borg_are_sound_and_stay_so_when_compacted() {
    let names =
        storage::names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/repositories"))
            .unwrap();
    assert!(names.len() >= 20);
    for name in names {
        let name = name.trim_end_matches(".tar.gz");
        let place = Place::golden(&format!("repositories/{name}"));
        let mut repository = place.open();
        let before = content(&repository);
        assert!(
            !before.is_empty() || name.contains("premigration"),
            "{name}"
        );
        place.monitor.take();
        assert!(
            repository.check(&CheckOptions::default()).unwrap(),
            "{name}"
        );
        let last = place.monitor.take().pop().unwrap();
        assert_eq!(last, "Finished full repository check, no problems found.");
        if repository.is_append_only() {
            continue;
        }
        let used = |repository: &LocalRepository| {
            let state = repository.state().unwrap();
            state.hints.as_ref().unwrap().storage_quota_use
        };
        repository.commit(compact_all()).unwrap();
        assert_eq!(content(&repository), before, "{name}");
        let live: usize = before.values().map(|value| value.len() + 41).sum();
        assert_eq!(used(&repository), live as i64, "{name}");
        drop(repository);
        assert_eq!(place.check().0, true, "{name}");
        assert_eq!(content(&place.open()), before, "{name}");
    }
}

#[test]
fn replay_of_what_real_borg_wrote_gives_its_index_and_its_hints() {
    for name in ["v14-uncompacted", "v14-compacted", "v14-none", "v11-none"] {
        let place = Place::golden(&format!("repositories/{name}"));
        let mut repository = place.open();
        let transaction = repository.transaction().unwrap().unwrap();
        repository.begin().unwrap();
        let state = repository.state.take().unwrap();
        let replayed = replay::replay(
            &place.path(),
            &repository.segments,
            None,
            transaction,
            &*place.monitor,
        )
        .unwrap();
        let (theirs, ours) = (state.hints.unwrap(), replayed.hints);
        let entries = |index: &RepositoryIndex| index.iter().collect::<HashMap<_, _>>();
        assert_eq!(entries(&state.index), entries(&replayed.index), "{name}");
        // Borg 1.1 did not list segments without objects.
        let counts = |hints: &Hints| {
            let mut counts = hints.segments.clone();
            counts.retain(|_, count| *count != 0);
            counts
        };
        assert_eq!(counts(&theirs), counts(&ours), "{name}");
        assert_eq!(theirs.storage_quota_use, ours.storage_quota_use, "{name}");
    }
}

#[test]
fn missing_index_and_hints_are_rebuilt() {
    for name in [
        "v14-damage-missing-index",
        "v14-damage-bad-index",
        "v14-damage-missing-hints",
    ] {
        let place = Place::golden(&format!("damaged/{name}"));
        let mut repository = place.open();
        let before = content(&repository);
        repository.put(&id(7), b"more").unwrap();
        repository.commit(compact_all()).unwrap();
        drop(repository);
        let lines = place.monitor.take();
        assert!(
            lines.iter().any(|line| line.starts_with("Replaying")),
            "{name}: {lines:?}"
        );
        assert_eq!(place.check().0, true, "{name}");
        assert_eq!(content(&place.open()).len(), before.len() + 1, "{name}");
    }
}

#[test]
fn damaged_segments_are_found_and_what_is_whole_in_them_is_saved() {
    for (name, finding, saved) in [
        (
            "flip-data",
            "Data integrity error: Segment entry checksum mismatch [segment 2, offset 315]",
            11,
        ),
        (
            "flip-size",
            "Data integrity error: Segment entry data short read [segment 2, offset 227]: \
             expected 16463, got 13450 bytes",
            11,
        ),
        ("missing-segment", "Index object count mismatch.", 5),
    ] {
        let place = Place::golden(&format!("damaged/v14-damage-{name}"));
        let (sound, lines) = place.check();
        assert!(!sound, "{name}");
        assert!(
            lines.iter().any(|line| line == finding),
            "{name}: {lines:#?}"
        );
        assert_eq!(
            lines.last().unwrap(),
            "Finished full repository check, errors found."
        );
        place.repair();
        let (sound, lines) = place.check();
        assert!(sound, "{name}: {lines:#?}");
        assert_eq!(content(&place.open()).len(), saved, "{name}");
    }
}

#[test]
fn a_repository_without_any_commit_is_repaired_with_one() {
    let place = Place::new();
    let mut repository = place.open();
    repository.put(&id(1), &value(1, 200)).unwrap();
    repository.put(&ChunkId::MANIFEST, b"manifest").unwrap();
    repository.commit(None).unwrap();
    drop(repository);
    fs::write(place.path().join("data/0/2"), "torn").unwrap();
    let repository = place.open();
    assert_eq!(
        repository.get(&id(1)).unwrap_err().msgid(),
        "Repository.CheckNeeded"
    );
    drop(repository);
    assert!(!place.check().0);
    place.repair();
    assert!(place.check().0);
    assert_eq!(content(&place.open()).len(), 2);
}

#[test]
fn garbage_between_entries_is_left_out_by_repair() {
    let place = Place::new();
    place.set("max_segment_size", "500M");
    let mut repository = place.open();
    let lens = [10usize, 3_000_000, 50, 7_000_000, 0];
    for (number, len) in (1..).zip(lens) {
        repository.put(&id(number), &value(number, len)).unwrap();
    }
    repository.commit(None).unwrap();
    drop(repository);
    let path = place.path().join("data/0/0");
    let mut bytes = fs::read(&path).unwrap();
    let third = 8 + 41 * 2 + lens[0] + lens[1];
    bytes[third + 45] ^= 1;
    bytes.splice(8..8, [0x55; 777]);
    bytes.truncate(bytes.len() - 1);
    fs::write(&path, bytes).unwrap();
    place.repair();
    let repository = place.open();
    let mut left: Vec<_> = content(&repository).into_keys().collect();
    left.sort();
    assert_eq!(left, [id(1), id(2), id(4)]);
    assert!(fs::read_dir(path.parent().unwrap()).unwrap().count() == 2);
}

#[test]
fn an_unlocked_reader_changes_nothing() {
    let place = Place::golden("damaged/v14-damage-missing-index");
    let mut unlocked = options(&place.monitor);
    unlocked.lock = None;
    let before = storage::names(&place.path()).unwrap();
    let repository = LocalRepository::open(&place.path(), unlocked).unwrap();
    assert_eq!(content(&repository).len(), 12);
    drop(repository);
    assert_eq!(storage::names(&place.path()).unwrap(), before);
}
