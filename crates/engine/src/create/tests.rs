//! Whole archives made of a tree with everything that goes another way through the threads: many
//! and few directories, short, long and very long chunks, the same content in several places.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::*;
use crate::cache::{ChunkTable, FilesCache, FilesCacheMode};
use crate::made::{Made, Told, WORLD};
use fastness_format::id::ChunkId;

/// Bytes that do not repeat, the same for the same number.
fn noise(number: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(number) << 1 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn make_tree(root: &Path) {
    for outer in 0..12u32 {
        for inner in 0..7 {
            let directory = root.join(format!("{outer}/{inner}/deep/deeper"));
            fs::create_dir_all(&directory).unwrap();
            for (depth, directory) in directory.ancestors().take(3).enumerate() {
                let number = outer * 100 + inner * 10 + depth as u32;
                fs::write(directory.join("short"), noise(number, 900)).unwrap();
                fs::write(directory.join("again"), noise(number % 5, 90_000)).unwrap();
            }
        }
    }
    // More names than one task looks at.
    for name in 0..700 {
        fs::write(root.join(format!("{name}.txt")), noise(name % 50, 50)).unwrap();
    }
    let image = [
        vec![0; 9 << 20],
        noise(1, 3 << 20),
        vec![0; 20 << 20],
        vec![7; 9 << 20],
        noise(1, 3 << 20),
        vec![0; 8 << 20],
    ];
    for name in ["image", "its copy", "a third"] {
        fs::write(root.join(name), image.concat()).unwrap();
    }
}

fn options(root: &Path, threads: usize) -> CreateOptions {
    CreateOptions {
        name: b"a".to_vec(),
        comment: Vec::new(),
        timestamp: None,
        roots: vec![Root::new(root.as_os_str().as_bytes())],
        descend: true,
        aliases: Vec::new(),
        streams: Vec::new(),
        read_special: false,
        patterns: PatternMatcher::for_create(&[]).unwrap(),
        tags: TagRules::default(),
        exclude_nodump: false,
        one_file_system: false,
        skipped: SkippedInodes::default(),
        attributes: AttributeOptions::default(),
        chunker: ChunkerParams::FILES,
        sparse: false,
        compression: CompressionSpec::default(),
        files_changed: FilesChanged::Ctime,
        checkpoint_interval: None,
        dry_run: false,
        list: false,
        threads,
        command_line: Vec::new(),
        cwd: b"/".to_vec(),
        hostname: Vec::new(),
        username: Vec::new(),
    }
}

/// Makes an archive in a new repository; returns the ids of its item stream and all objects.
fn archived(root: &Path, threads: usize) -> (Vec<ChunkId>, Vec<ChunkId>) {
    let mut opened = Made::new().open();
    let mut chunks = ChunkTable::new();
    let state = ClientState {
        chunks: &mut chunks,
        files: &FilesCache::empty(FilesCacheMode::default()),
        remember: None,
        confirm: &mut || Ok(()),
        meanwhile: &|_, _| (),
    };
    let options = options(root, threads);
    let made = create(
        &mut opened.session,
        state,
        &options,
        WORLD,
        &Told::default(),
    );
    let (report, _) = made.unwrap();
    assert_eq!(opened.referred(), opened.objects(), "{threads} threads");
    assert_eq!(chunks.len(), opened.objects().len(), "{threads} threads");
    (report.metadata.items, opened.objects())
}

#[test]
fn the_archive_is_the_same_however_many_threads_make_it() {
    let tree = tempfile::tempdir().unwrap();
    make_tree(tree.path());
    let alone = archived(tree.path(), 1);
    for threads in [2, 3, 8] {
        assert!(archived(tree.path(), threads) == alone, "{threads} threads");
    }
}
