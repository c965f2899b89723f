//! The files cache over several runs: modes, age, the newest files, damage.

use super::*;
use fastness_format::id::{ChunkId, RepositoryId};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const REPOSITORY: RepositoryId = RepositoryId::new([7; 32]);

struct Run {
    _dir: tempfile::TempDir,
    path: PathBuf,
    mode: FilesCacheMode,
    ttl: u32,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            path: dir.path().join("file-table"),
            _dir: dir,
            mode: FilesCacheMode::default(),
            ttl: DEFAULT_TTL,
        }
    }

    fn open(&self) -> FilesCache {
        FilesCache::open(&self.path, &REPOSITORY, self.mode)
    }

    fn writer(&self) -> FilesCacheWriter {
        FilesCacheWriter::create(&self.path, &REPOSITORY, Arc::new(self.open()), self.ttl).unwrap()
    }

    /// One run that sees these files with these times.
    fn see(&self, files: impl IntoIterator<Item = (u32, i64)>) {
        let mut writer = self.writer();
        for (file, time) in files {
            add(&mut writer, file, time);
        }
        writer.finish().unwrap();
    }

    fn knows(&self, file: u32, time: i64) -> bool {
        ids_of(&self.open(), file, time) == Some(ids(file))
    }
}

fn add(writer: &mut FilesCacheWriter, file: u32, time: i64) {
    let number = u64::from(file);
    writer
        .add(&key(file), number, number * 10, time, ids(file))
        .unwrap();
}

fn key(file: u32) -> FileKey {
    FileKey::new(format!("/home/{file}").as_bytes())
}

fn ids(file: u32) -> Vec<ChunkId> {
    (0..file % 4)
        .map(|part| ChunkId::new([(file + part) as u8; 32]))
        .collect()
}

fn ids_of(cache: &FilesCache, file: u32, time: i64) -> Option<Vec<ChunkId>> {
    let number = u64::from(file);
    match cache.look_up(&key(file), number, number * 10, time) {
        Known::Unchanged(ids, _) => Some(ids.collect()),
        Known::No | Known::Changed => None,
    }
}

fn entries(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    u64::from_le_bytes(bytes[56..64].try_into().unwrap()) as usize
}

#[test]
fn files_are_found_in_any_order() {
    let run = Run::new();
    run.see((0..2000).map(|file| (file, 1)).chain([(9999, 2)]));
    let cache = run.open();
    for file in (0..2000).chain((0..2000).rev()).chain((0..2000).step_by(7)) {
        assert_eq!(ids_of(&cache, file, 1), Some(ids(file)), "{file}");
    }
    assert!(matches!(cache.look_up(&key(5000), 1, 1, 1), Known::No));
    let threads: Vec<_> = (0..4)
        .map(|part| {
            let cache = run.open();
            std::thread::spawn(move || {
                (0..2000)
                    .filter(|file| file % 4 == part)
                    .all(|file| ids_of(&cache, file, 1).is_some())
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
}

#[test]
fn what_counts_as_changed_depends_on_the_mode() {
    for (mode, inode, size, time) in [
        ("ctime,size,inode", true, true, true),
        ("inode,mtime,size", true, true, true),
        ("size,ctime", false, true, true),
        ("mtime,size", false, true, true),
        ("size", false, true, false),
    ] {
        let mut run = Run::new();
        run.mode = mode.parse().unwrap();
        run.see([(1, 100), (2, 200)]);
        let cache = run.open();
        let changed =
            |inode, size, time| matches!(cache.look_up(&key(1), inode, size, time), Known::Changed);
        assert!(!changed(1, 10, 100), "{mode}");
        assert_eq!(changed(2, 10, 100), inode, "{mode}");
        assert_eq!(changed(1, 11, 100), size, "{mode}");
        assert_eq!(changed(1, 10, 101), time, "{mode}");
    }
    let mode: FilesCacheMode = "mtime,size".parse().unwrap();
    assert_eq!(mode.changed(1, 2), 2);
    assert_eq!(FilesCacheMode::default().changed(1, 2), 1);
}

#[test]
fn a_record_is_taken_over_only_when_it_says_the_same() {
    let mut run = Run::new();
    run.mode = "ctime,size".parse().unwrap();
    run.see([(1, 100), (2, 100), (3, 100), (9, 200)]);
    let cache = run.open();
    let kept = |file: u32, inode| match cache.look_up(&key(file), inode, u64::from(file) * 10, 100)
    {
        Known::Unchanged(_, kept) => kept,
        Known::No | Known::Changed => panic!("file {file} is not known"),
    };
    assert_eq!(kept(2, 77), None, "the inode is another");
    let mut writer = run.writer();
    for file in [3, 1] {
        let kept = kept(file, u64::from(file)).unwrap();
        writer.keep(&key(file), kept).unwrap();
    }
    writer.finish().unwrap();
    assert!((1..4).all(|file| run.knows(file, 100)));
    let Known::Unchanged(_, aged) = run.open().look_up(&key(2), 2, 20, 100) else {
        panic!("file 2 is not known");
    };
    assert_eq!(aged, None, "it was not seen in the run before");
    assert_eq!(entries(&run.path), 3);
}

#[test]
fn rechunking_remembers_but_does_not_look() {
    let mut run = Run::new();
    run.mode = "rechunk,ctime".parse().unwrap();
    run.see([(1, 100), (2, 200)]);
    assert!(matches!(run.open().look_up(&key(1), 1, 10, 100), Known::No));
    run.mode = FilesCacheMode::default();
    assert!(run.knows(1, 100));
    run.mode = "disabled".parse().unwrap();
    assert!(!run.mode.is_enabled());
    assert!(!run.knows(1, 100));
}

#[test]
fn only_modes_that_borg_knows_are_accepted() {
    for text in [
        "",
        "ctime",
        "inode,size",
        "ctime,mtime,size",
        "rechunk",
        "disabled,size",
        "x",
    ] {
        assert!(text.parse::<FilesCacheMode>().is_err(), "{text}");
    }
    assert_eq!("inode,size,ctime".parse(), Ok(FilesCacheMode::default()));
}

#[test]
fn files_as_new_as_the_newest_read_are_not_trusted() {
    let run = Run::new();
    run.see([(1, 100), (2, 200), (3, 200)]);
    assert!(run.knows(1, 100));
    assert!(!run.knows(2, 200));
    assert!(!run.knows(3, 200));
    // Nothing is read in the next run: all are old enough.
    run.see([(1, 100)]);
    assert!(run.knows(1, 100));
    run.see([(1, 100), (2, 200), (4, 300)]);
    assert!(run.knows(2, 200));
    assert!(!run.knows(4, 300));
}

#[test]
fn files_not_seen_are_kept_for_some_runs() {
    let mut run = Run::new();
    run.ttl = 3;
    run.see([(1, 100), (2, 100), (99, 200)]);
    for _ in 0..2 {
        run.see([(2, 100)]);
        assert!(run.knows(1, 100));
    }
    run.see([(2, 100)]);
    assert!(!run.knows(1, 100));
    assert!(run.knows(2, 100));
    assert_eq!(entries(&run.path), 1);
}

#[test]
fn a_file_seen_again_is_young_again() {
    let mut run = Run::new();
    run.ttl = 2;
    run.see([(1, 100), (99, 200)]);
    for _ in 0..6 {
        run.see([]);
        run.see([(1, 100)]);
    }
    assert!(run.knows(1, 100));
}

#[test]
fn a_changed_file_replaces_its_entry() {
    let run = Run::new();
    run.see([(1, 100), (99, 200)]);
    run.see([(1, 150), (99, 250)]);
    assert!(run.knows(1, 150));
    assert!(!run.knows(1, 100));
    // Both again: the entry of 99 is dead, but takes its place.
    assert_eq!(entries(&run.path), 2);
}

#[test]
fn a_new_inode_number_is_learned_when_it_does_not_count() {
    let mut run = Run::new();
    run.mode = "ctime,size".parse().unwrap();
    run.see([(1, 100), (99, 200)]);
    let mut writer = run.writer();
    writer.add(&key(1), 777, 10, 100, ids(1)).unwrap();
    writer.finish().unwrap();
    run.mode = FilesCacheMode::default();
    assert!(matches!(
        run.open().look_up(&key(1), 777, 10, 100),
        Known::Unchanged(..)
    ));
}

#[test]
fn a_checkpoint_is_usable_and_the_run_goes_on() {
    let run = Run::new();
    run.see([(1, 100), (2, 100), (99, 200)]);
    let mut writer = run.writer();
    add(&mut writer, 2, 100);
    add(&mut writer, 3, 300);
    add(&mut writer, 4, 400);
    writer.checkpoint().unwrap();
    for (file, time) in [(1, 100), (2, 100), (3, 300)] {
        assert!(run.knows(file, time), "{file}");
    }
    add(&mut writer, 5, 500);
    writer.finish().unwrap();
    for (file, time) in [(1, 100), (2, 100), (3, 300), (4, 400)] {
        assert!(run.knows(file, time), "{file}");
    }
    assert!(!run.knows(5, 500));
    let names = std::fs::read_dir(run.path.parent().unwrap()).unwrap();
    assert_eq!(names.count(), 1, "no temporary file is left");
}

#[test]
fn a_run_that_fails_leaves_the_old_generation() {
    let run = Run::new();
    run.see([(1, 100), (99, 200)]);
    let mut writer = run.writer();
    add(&mut writer, 2, 100);
    drop(writer);
    assert!(run.knows(1, 100));
    assert_eq!(
        std::fs::read_dir(run.path.parent().unwrap())
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn foreign_and_absent_files_are_empty() {
    let run = Run::new();
    assert!(!run.knows(1, 100));
    run.see([(1, 100), (99, 200)]);
    let other = FilesCache::open(&run.path, &RepositoryId::new([8; 32]), run.mode);
    assert!(ids_of(&other, 1, 100).is_none());
    std::fs::write(
        &run.path,
        b"something else entirely, and long enough to have a header......................",
    )
    .unwrap();
    assert!(!run.knows(1, 100));
    run.see([(1, 100), (99, 200)]);
    assert!(run.knows(1, 100));
}

#[test]
fn a_file_of_many_chunks_is_remembered() {
    let run = Run::new();
    let many: Vec<ChunkId> = (0..70_000u32)
        .map(|number| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_le_bytes());
            ChunkId::new(id)
        })
        .collect();
    let mut writer = run.writer();
    writer
        .add(&key(1), 1, 10, 100, many.iter().copied())
        .unwrap();
    add(&mut writer, 2, 200);
    writer.finish().unwrap();
    assert_eq!(ids_of(&run.open(), 1, 100), Some(many));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damage_never_makes_up_chunks(
        at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>(),
    ) {
        let run = Run::new();
        run.see((0..60).map(|file| (file, 1)).chain([(99, 2)]));
        let mut bytes = std::fs::read(&run.path).unwrap();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        std::fs::write(&run.path, &bytes).unwrap();
        let cache = run.open();
        for file in 0..60 {
            let known = ids_of(&cache, file, 1);
            prop_assert!(known.is_none() || known == Some(ids(file)));
        }
        drop(cache);
        // And the next run gets over it.
        run.see((0..60).map(|file| (file, 1)).chain([(99, 2)]));
        run.see([(1, 1)]);
        prop_assert!(run.knows(1, 1));
    }
}
