//! The chunk table against a `HashMap`, its file against damage and strangers.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn id(number: u64) -> ChunkId {
    // Spread like a hash, but with few first bytes, so that places collide.
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[0] &= 0x07;
    bytes[31] = number as u8;
    ChunkId::new(bytes)
}

fn chunk(number: u64) -> ChunkRef {
    ChunkRef {
        id: id(number),
        size: number as u32 + 1,
        csize: number as u32 + 2,
    }
}

fn table(chunks: u64) -> ChunkTable {
    let table = ChunkTable::new();
    table.add_many((0..chunks).map(chunk));
    table
}

const REPOSITORY: RepositoryId = RepositoryId::new([7; 32]);
const MANIFEST: ChunkId = ChunkId::new([9; 32]);

fn contents(table: &ChunkTable) -> HashMap<ChunkId, ChunkEntry> {
    let mut map = HashMap::new();
    table.for_each(|id, entry| {
        assert!(map.insert(*id, entry).is_none());
    });
    map
}

#[derive(Debug, Clone)]
enum Step {
    Add(u64, u32),
    Reference(u64),
    Release(u64, u32),
    Claim(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let number = 0u64..300;
    prop_oneof![
        (number.clone(), 1u32..4).prop_map(|(number, count)| Step::Add(number, count)),
        number.clone().prop_map(Step::Reference),
        (number.clone(), 1u32..4).prop_map(|(number, count)| Step::Release(number, count)),
        number.prop_map(Step::Claim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_table_counts_like_a_map(steps in proptest::collection::vec(any_step(), 0..1500)) {
        let table = ChunkTable::new();
        let mut model: HashMap<u64, u32> = HashMap::new();
        for step in steps {
            match step {
                Step::Add(number, count) => {
                    table.add(&chunk(number), count);
                    *model.entry(number).or_default() += count;
                }
                Step::Reference(number) => {
                    let known = model.get_mut(&number).map(|count| { *count += 1; *count });
                    prop_assert_eq!(table.reference(&id(number)).map(|entry| entry.references), known);
                }
                Step::Claim(number) => {
                    let (entry, new) = table.claim(&id(number), number as u32 + 1);
                    prop_assert_eq!(new, !model.contains_key(&number));
                    let count = model.entry(number).or_default();
                    *count += 1;
                    prop_assert_eq!(entry.references, *count);
                    table.set_csize(&id(number), number as u32 + 2);
                }
                Step::Release(number, count) => {
                    let released = table.release(&id(number), count);
                    match model.get_mut(&number) {
                        None => prop_assert_eq!(released, Released::Missing),
                        Some(left) if *left <= count => {
                            prop_assert!(matches!(released, Released::Last(_)));
                            model.remove(&number);
                        }
                        Some(left) => {
                            *left -= count;
                            prop_assert!(matches!(released, Released::Kept(entry) if entry.references == *left));
                        }
                    }
                }
            }
        }
        prop_assert_eq!(table.len(), model.len());
        for (number, count) in &model {
            let entry = table.get(&id(*number)).unwrap();
            prop_assert_eq!((entry.references, entry.size, entry.csize),
                (*count, *number as u32 + 1, *number as u32 + 2));
        }
        prop_assert_eq!(contents(&table).len(), model.len());
    }
}

#[test]
fn a_saved_table_loads_again_for_the_same_manifest_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chunk-table");
    for chunks in [0, 1, 5000, 20_000] {
        let table = table(chunks);
        table.save(&path, &REPOSITORY, &MANIFEST).unwrap();
        let loaded = ChunkTable::load(&path, &REPOSITORY, &MANIFEST).unwrap();
        assert_eq!(contents(&loaded), contents(&table));
        assert_eq!(loaded.totals(), table.totals());
        let other_repository = RepositoryId::new([8; 32]);
        assert!(ChunkTable::load(&path, &other_repository, &MANIFEST).is_none());
        let other_manifest = ChunkId::new([8; 32]);
        assert!(ChunkTable::load(&path, &REPOSITORY, &other_manifest).is_none());
    }
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "no temporary file is left");
}

#[test]
fn a_damaged_table_is_as_good_as_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chunk-table");
    assert!(ChunkTable::load(&path, &REPOSITORY, &MANIFEST).is_none());
    table(40).save(&path, &REPOSITORY, &MANIFEST).unwrap();
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        assert!(
            ChunkTable::load(&path, &REPOSITORY, &MANIFEST).is_none(),
            "byte {at}"
        );
    }
    for len in (0..good.len()).step_by(11) {
        std::fs::write(&path, &good[..len]).unwrap();
        assert!(
            ChunkTable::load(&path, &REPOSITORY, &MANIFEST).is_none(),
            "length {len}"
        );
    }
    std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(ChunkTable::load(&path, &REPOSITORY, &MANIFEST).is_none());
}

#[test]
fn references_beyond_the_limit_stay_for_ever() {
    let table = ChunkTable::new();
    table.add(&chunk(1), u32::MAX);
    assert_eq!(table.reference(&id(1)).unwrap().references, MAX_REFERENCES);
    assert!(matches!(table.release(&id(1), u32::MAX), Released::Kept(_)));
    assert!(table.contains(&id(1)));
}

#[test]
fn lengths_that_were_unknown_are_learned() {
    let table = ChunkTable::new();
    table.add(
        &ChunkRef {
            csize: 0,
            ..chunk(1)
        },
        1,
    );
    table.add(&chunk(1), 1);
    let entry = table.get(&id(1)).unwrap();
    assert_eq!((entry.references, entry.csize), (2, 3));
}

#[test]
fn chunks_of_an_unchanged_file_are_all_referenced_or_none() {
    let table = table(10);
    let mut out = vec![chunk(99)];
    assert!(table.reference_all([1, 2, 1].map(id).into_iter(), &mut out));
    assert_eq!(out, [99, 1, 2, 1].map(chunk));
    assert!(!table.reference_all([1, 2, 77].map(id).into_iter(), &mut out));
    assert_eq!(out.len(), 4);
    assert_eq!(table.get(&id(1)).unwrap().references, 3);
    assert_eq!(table.get(&id(2)).unwrap().references, 2);
}

#[test]
fn only_one_of_many_threads_claims_a_chunk() {
    let table = ChunkTable::new();
    let new = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..2000 {
                    if table.claim(&id(number), 1).1 {
                        new.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(new.into_inner(), 2000);
    assert_eq!(table.totals().chunks, 8000);
}

#[test]
fn totals_count_unique_and_all() {
    let table = ChunkTable::new();
    table.add(&chunk(1), 3);
    table.add(&chunk(4), 1);
    let expected = ChunkTotals {
        unique_chunks: 2,
        unique_bytes: 7,
        unique_stored_bytes: 9,
        chunks: 4,
        bytes: 11,
        stored_bytes: 15,
    };
    assert_eq!(table.totals(), expected);
}
