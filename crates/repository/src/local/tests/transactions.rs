//! What transactions promise, one by one.

use fastness_format::segment::{COMMIT, MAGIC};

use super::*;

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
    assert!(place.check().0);
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
    assert!(place.check().0);
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
