//! Deleting, renaming and summing up archives of small repositories.

use fastness_format::id::ChunkId;

use super::delete::{self, DeleteOptions, Deleted, delete_archives};
use super::info::archive_stats;
use super::references::{Damage, PartFiles};
use super::rename::rename;
use crate::error::EngineError;
use crate::event::{Level, Silent};
use crate::made::{Made, Opened, Told, WORLD, content};

/// Three archives that share files: ten, fifteen, and fifteen with another stream.
fn three() -> Opened {
    let mut made = Made::new();
    made.archive("a", 10, 3);
    made.archive("b", 15, 3);
    made.archive("c", 15, 4);
    made.open()
}

fn names(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn delete(opened: &mut Opened, doomed: &[&str]) -> Result<Deleted, EngineError> {
    let chunks = opened.counted();
    let doomed = names(doomed);
    let options = DeleteOptions::default();
    let session = &mut opened.session;
    let deleted = delete_archives(session, &chunks, &doomed, options, &mut |_| {}, &Silent)?;
    delete::commit(session, WORLD)?;
    // The table that was kept up is the one that a new count gives.
    assert_eq!(chunks.totals(), opened.counted().totals());
    Ok(deleted)
}

fn archives(opened: &Opened) -> Vec<Vec<u8>> {
    let archives = &opened.session.catalogue.manifest.archives;
    archives.keys().cloned().collect()
}

#[test]
fn what_only_a_deleted_archive_used_goes_with_it() {
    let mut opened = three();
    let deleted = delete(&mut opened, &["b"]).unwrap();
    assert_eq!(archives(&opened), names(&["a", "c"]));
    assert_eq!(opened.objects(), opened.referred());
    assert!(!deleted.damaged);
    // Its fifteen files are all in c, so what became free is its metadata and its item stream.
    assert!(deleted.stats.original_bytes > 15 * 80);
    assert!(deleted.stats.deduplicated_bytes < deleted.stats.compressed_bytes);
}

#[test]
fn archives_deleted_together_leave_what_one_after_the_other_does() {
    let (mut together, mut single) = (three(), three());
    let at_once = delete(&mut together, &["c", "a"]).unwrap();
    let first = delete(&mut single, &["c"]).unwrap();
    let second = delete(&mut single, &["a"]).unwrap();
    assert_eq!(together.objects(), single.objects());
    assert_eq!(together.objects(), together.referred());
    assert_eq!(archives(&together), names(&["b"]));
    let sum = first.stats.deduplicated_bytes + second.stats.deduplicated_bytes;
    assert_eq!(at_once.stats.deduplicated_bytes, sum);
}

#[test]
fn the_last_archive_leaves_nothing_but_the_manifest() {
    let mut opened = three();
    delete(&mut opened, &["a", "b", "c"]).unwrap();
    assert!(opened.objects().is_empty());
}

#[test]
fn an_archive_that_does_not_exist_is_an_error_and_costs_nothing() {
    let mut opened = three();
    let before = opened.objects();
    let error = delete(&mut opened, &["nothing"]).unwrap_err();
    assert!(matches!(error, EngineError::ArchiveDoesNotExist(name) if name == "nothing"));
    opened.session.repository.rollback().unwrap();
    assert_eq!(opened.objects(), before);
}

#[test]
fn each_archive_is_announced_before_it_is_worked_on() {
    let mut opened = three();
    let chunks = opened.counted();
    let mut begun = Vec::new();
    delete_archives(
        &mut opened.session,
        &chunks,
        &names(&["a", "b", "c"]),
        DeleteOptions::default(),
        &mut |index| begun.push(index),
        &Silent,
    )
    .unwrap();
    assert_eq!(begun, [0, 1, 2]);
}

/// A repository whose archive `b` has lost a piece of its item stream.
fn hurt() -> Opened {
    let mut made = Made::new();
    made.archive("a", 10, 3);
    let stream = made.archive("b", 15, 4);
    made.commit();
    made.delete(&stream[1]);
    made.open()
}

#[test]
fn a_damaged_archive_goes_only_by_force_and_what_is_lost_is_told() {
    let mut opened = hurt();
    let doomed = names(&["b"]);
    let chunks = delete::count_around_damage(&opened.session, &doomed, 1, &Silent).unwrap();
    let mut go = |damage, told: &Told| {
        let options = DeleteOptions {
            damage,
            ..DeleteOptions::default()
        };
        let session = &mut opened.session;
        delete_archives(session, &chunks, &doomed, options, &mut |_| {}, told)
    };
    assert!(go(Damage::Refuse, &Told::default()).is_err());
    let told = Told::default();
    assert!(go(Damage::PassOver, &told).unwrap().damaged);
    let told = told.0.into_inner().unwrap();
    let text = "borg check --repair is required to free all space.".to_owned();
    assert!(told.contains(&(Level::Warning, text)), "{told:?}");
    delete::commit(&mut opened.session, WORLD).unwrap();
    assert_eq!(archives(&opened), names(&["a"]));
    let referred = opened.referred();
    let objects = opened.objects();
    assert!(referred.iter().all(|id| objects.contains(id)));
}

#[test]
fn a_renamed_archive_has_new_metadata_and_the_same_content() {
    let mut opened = three();
    let chunks = opened.counted();
    let before = opened.session.catalogue.manifest.archives.clone();
    let old = before[b"b".as_slice()].clone();
    let session = &mut opened.session;
    let id = rename(session, &chunks, b"b", b"new", WORLD, &Silent).unwrap();
    assert_eq!(archives(&opened), names(&["a", "c", "new"]));
    let new = &opened.session.catalogue.manifest.archives[b"new".as_slice()];
    assert_eq!((new.id, &new.time), (id, &old.time));
    assert_eq!(opened.objects(), opened.referred());
    assert!(!opened.objects().contains(&old.id));
    assert_eq!(chunks.totals(), opened.counted().totals());
}

#[test]
fn a_name_that_is_taken_or_missing_is_no_rename() {
    let mut opened = three();
    let chunks = opened.counted();
    let before = opened.objects();
    let session = &mut opened.session;
    let taken = rename(session, &chunks, b"a", b"b", WORLD, &Silent).unwrap_err();
    assert!(matches!(taken, EngineError::ArchiveExists(name) if name == "b"));
    let missing = rename(session, &chunks, b"x", b"y", WORLD, &Silent).unwrap_err();
    assert!(matches!(missing, EngineError::ArchiveDoesNotExist(name) if name == "x"));
    assert_eq!(opened.objects(), before);
}

#[test]
fn sums_tell_all_of_an_archive_and_what_it_alone_uses() {
    let mut made = Made::new();
    made.archive("small", 10, 3);
    made.archive("big", 16, 3);
    let opened = made.open();
    let chunks = opened.counted();
    let sum = |name: &[u8]| {
        let session = &opened.session;
        let repository = session.repository.as_ref();
        let archive = session
            .catalogue
            .archive(repository, name, &Silent)
            .unwrap();
        archive_stats(
            session,
            &archive,
            name,
            &chunks,
            PartFiles::Apart,
            1,
            &Silent,
        )
        .unwrap()
    };
    let csize = |number| {
        let id: ChunkId = opened.session.crypto.id(&content(number));
        u64::from(chunks.get(&id).unwrap().csize)
    };
    let (small, big) = (sum(b"small"), sum(b"big"));
    assert_eq!((small.files, big.files), (10, 16));
    assert_eq!(small.original_bytes, 10 * 80);
    assert_eq!(small.deduplicated_bytes, 0);
    assert_eq!(big.deduplicated_bytes, (10..16).map(csize).sum::<u64>());
}
