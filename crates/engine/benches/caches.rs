//! Look-ups in the caches: what every unchanged file costs.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastness_engine::cache::{
    CacheDirectory, ChunkTable, FileKey, FilesCache, FilesCacheMode, FilesCacheWriter, Known,
};
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::item::ChunkRef;
use std::hint::black_box;
use std::sync::Arc;

const FILES: u64 = 200_000;
const REPOSITORY: RepositoryId = RepositoryId::new([1; 32]);

fn id(number: u64) -> ChunkId {
    let mut id = [0x5a; 32];
    let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    id.iter_mut()
        .zip(spread.to_be_bytes())
        .for_each(|(to, from)| *to = from);
    ChunkId::new(id)
}

fn key(number: u64) -> FileKey {
    FileKey::new(
        format!(
            "/home/user/projects/directory-{}/file-{number}.txt",
            number / 50
        )
        .as_bytes(),
    )
}

fn write(directory: &CacheDirectory, old: &Arc<FilesCache>, keys: &[FileKey]) {
    let path = directory.files_cache(None);
    let writer = FilesCacheWriter::create(&path, &REPOSITORY, Arc::clone(old), 20);
    let Ok(mut writer) = writer else { return };
    for (number, key) in (0..).zip(keys) {
        let _ = writer.add(key, number, 4000, 1, [id(number)]);
    }
    let _ = writer.finish();
}

fn caches(criterion: &mut Criterion) {
    let directory = CacheDirectory::new(std::env::temp_dir().join("fastness-bench-caches"));
    let created = directory.create();
    assert!(created.is_ok(), "{created:?}");
    let mode = FilesCacheMode::default();
    let keys: Vec<FileKey> = (0..FILES).map(key).collect();
    // Twice: the entries of a first run are as new as the newest file, and so not kept.
    let empty = Arc::new(FilesCache::empty(mode));
    let path = directory.files_cache(None);
    if let Ok(mut writer) = FilesCacheWriter::create(&path, &REPOSITORY, Arc::clone(&empty), 20) {
        for (number, key) in (0..).zip(&keys) {
            let _ = writer.add(key, number, 4000, 1, [id(number)]);
        }
        let _ = writer.add(&key(FILES), FILES, 1, 2, []);
        let _ = writer.finish();
    }
    let files = Arc::new(FilesCache::open(&path, &REPOSITORY, mode));
    let table = ChunkTable::new();
    table.add_many((0..FILES).map(|number| ChunkRef {
        id: id(number),
        size: 4000,
        csize: 3000,
    }));

    let mut group = criterion.benchmark_group("caches");
    group.sample_size(10);
    group.throughput(Throughput::Elements(FILES));
    group.bench_function("keys of paths", |bench| {
        bench.iter(|| {
            (0..FILES)
                .map(key)
                .filter(|key| keys.first() == Some(black_box(key)))
                .count()
        });
    });
    group.bench_function("files in order", |bench| {
        bench.iter(|| look_up(&files, (0..).zip(&keys)));
    });
    group.bench_function("files backwards", |bench| {
        bench.iter(|| {
            look_up(
                &files,
                (0..).zip(&keys).collect::<Vec<_>>().into_iter().rev(),
            )
        });
    });
    group.bench_function("files in order with their chunks", |bench| {
        let mut chunks = Vec::new();
        bench.iter(|| {
            for (number, key) in (0..).zip(&keys) {
                if let Known::Unchanged(ids, _) = files.look_up(key, number, 4000, 1) {
                    chunks.clear();
                    black_box(table.reference_all(ids, &mut chunks));
                }
            }
        });
    });
    group.bench_function("write a generation of files", |bench| {
        let other = CacheDirectory::new(directory.path().join("other"));
        let _ = other.create();
        bench.iter(|| write(&other, &files, &keys));
    });
    group.bench_function("save chunks", |bench| {
        bench.iter(|| {
            table
                .save(&directory.chunk_table(), &REPOSITORY, &id(0))
                .is_ok()
        });
    });
    group.bench_function("load chunks", |bench| {
        bench.iter(|| ChunkTable::load(&directory.chunk_table(), &REPOSITORY, &id(0)).is_some());
    });
    group.finish();
    let _ = directory.remove();
}

fn look_up<'k>(files: &FilesCache, keys: impl Iterator<Item = (u64, &'k FileKey)>) -> usize {
    keys.filter(|(number, key)| {
        matches!(files.look_up(key, *number, 4000, 1), Known::Unchanged(..))
    })
    .count()
}

criterion_group!(benches, caches);
criterion_main!(benches);
