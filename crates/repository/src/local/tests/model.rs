//! Random steps, with kills among them, do to a repository what they do to a map.

use proptest::prelude::*;

use super::*;

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
    KeepOldIndex,
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
        2 => Just(Step::KeepOldIndex),
    ]
}

/// Index, hints and their checksums, as files.
type Tables = Vec<(PathBuf, Vec<u8>)>;

fn tables(place: &Place) -> Tables {
    let names = storage::names(&place.path()).unwrap();
    let kept = |name: &String| {
        ["index.", "hints.", "integrity."]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let paths = names
        .into_iter()
        .filter(kept)
        .map(|name| place.path().join(name));
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Makes the place what a kill between the end of a commit and the saving of its tables leaves.
fn bring_back(place: &Place, old: &Tables) {
    for (path, _) in tables(place) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in old {
        fs::write(place.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
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
    let mut old_tables = Tables::new();
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
                old_tables = tables(&place);
                repository.commit(None).unwrap();
                model.committed = model.now.clone();
            }
            Step::Compact(percent) => {
                old_tables = tables(&place);
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
            Step::KeepOldIndex => {
                drop(repository);
                bring_back(&place, &old_tables);
                repository = place.open();
                model.now = model.committed.clone();
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
        assert!(place.check().0, "{:?}", place.monitor.take());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_repository_does_what_a_map_does(steps in proptest::collection::vec(any_step(), 0..120)) {
        run(steps);
    }
}
