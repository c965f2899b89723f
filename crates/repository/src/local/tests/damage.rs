//! Repositories that real Borg wrote, sound and damaged, and damage of all kinds.

use proptest::prelude::*;

use super::*;

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
        assert!(place.check().0, "{name}");
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
        assert!(place.check().0, "{name}");
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

/// Every file of a repository with its content, but for the locks.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(u8),
    Cut,
    Zero,
    Remove,
    Double,
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => (0u8..8).prop_map(|bit| Damage::Flip(1 << bit)),
        1 => Just(Damage::Cut),
        1 => Just(Damage::Zero),
        1 => Just(Damage::Remove),
        1 => Just(Damage::Double),
    ]
}

fn inflict(path: &Path, at: usize, damage: &Damage) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len().max(1);
    match damage {
        Damage::Flip(bits) => bytes
            .iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte ^= bits),
        Damage::Cut => bytes.truncate(at),
        Damage::Zero => bytes
            .iter_mut()
            .skip(at)
            .take(600)
            .for_each(|byte| *byte = 0),
        Damage::Double => bytes.extend_from_within(at..),
        Damage::Remove => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn damage_anywhere_gives_no_wrong_value_and_can_be_repaired(
        file in any::<prop::sample::Index>(),
        at in any::<usize>(),
        damage in any_damage(),
    ) {
        let place = Place::golden("repositories/v14-uncompacted");
        let before = content(&place.open());
        let all = files(&place.path());
        let path = file.get(&all);
        inflict(path, at, &damage);
        let Ok(repository) = LocalRepository::open(&place.path(), options(&place.monitor)) else {
            prop_assert!(path.ends_with("config"));
            return Ok(());
        };
        for (id, value) in &before {
            if let Ok(read) = repository.get(id) {
                // A lost commit undoes a transaction: then an object may have its older value.
                let undone = path.starts_with(place.path().join("data"));
                prop_assert!(read == *value || undone, "{} {id}", path.display());
            }
        }
        drop(repository);
        let segment_dirs_right = fs::read_to_string(place.path().join("config"))
            .is_ok_and(|text| text.contains("segments_per_dir = 1000\n"));
        if segment_dirs_right {
            place.repair();
            let (sound, lines) = place.check();
            prop_assert!(sound, "{lines:#?}");
            content(&place.open());
        }
    }
}
