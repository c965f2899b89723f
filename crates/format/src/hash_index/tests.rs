//! The table against a map, its sizes, and files that contradict themselves.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

fn id(number: u32) -> ChunkId {
    let mut bytes = [0; 32];
    // Few different beginnings, so that searches collide.
    bytes[..4].copy_from_slice(&(number % 611).to_le_bytes());
    bytes[28..].copy_from_slice(&number.to_le_bytes());
    ChunkId::new(bytes)
}

fn spread_id(number: u32) -> ChunkId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_le_bytes());
    bytes[28..].copy_from_slice(&number.to_le_bytes());
    ChunkId::new(bytes)
}

fn location(number: u32) -> Location {
    Location {
        segment: SegmentNumber(number),
        offset: EntryOffset(number ^ 0xffff),
    }
}

fn reload(index: &RepositoryIndex) -> Result<RepositoryIndex, HashIndexError> {
    let mut loading = Loading::begin(&index.header(), index.file_len())?;
    loading
        .bucket_bytes_mut()
        .copy_from_slice(index.bucket_bytes());
    loading.finish()
}

fn assert_equals(index: &RepositoryIndex, model: &HashMap<ChunkId, Location>) {
    assert_eq!(index.len(), model.len());
    for (id, value) in model {
        assert_eq!(index.get(id), Some(*value));
    }
    assert_eq!(index.iter().collect::<HashMap<_, _>>(), *model);
    let counted = index.iter().count();
    let empty = index
        .buckets
        .iter()
        .filter(|bucket| number_at(bucket, 32) == EMPTY)
        .count();
    assert_eq!((counted, empty), (index.entries, index.empty));
    assert!(empty > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn the_table_does_what_a_map_does(
        steps in proptest::collection::vec((0u8..10, 0u32..3000), 0..6000),
    ) {
        let mut index = RepositoryIndex::default();
        let mut model = HashMap::new();
        for (kind, number) in steps {
            let id = id(number);
            match kind {
                0..=5 => prop_assert_eq!(index.insert(&id, location(number)), model.insert(id, location(number))),
                6..=8 => prop_assert_eq!(index.remove(&id), model.remove(&id)),
                _ => prop_assert_eq!(index.get(&id), model.get(&id).copied()),
            }
        }
        assert_equals(&index, &model);
        assert_equals(&reload(&index).unwrap(), &model);
    }

    #[test]
    fn damaged_headers_never_panic(header in any::<[u8; 18]>(), len in any::<u64>()) {
        prop_assert!(Loading::<Location, 40>::begin(&header, len).is_err());
    }
}

#[test]
fn growing_and_shrinking_lose_nothing() {
    let mut index = RepositoryIndex::default();
    let mut model = HashMap::new();
    for number in 0..200_000 {
        index.insert(&spread_id(number), location(number));
        model.insert(spread_id(number), location(number));
    }
    assert_equals(&index, &model);
    assert_eq!(index.buckets.len(), 445_649);
    for number in 0..199_900 {
        assert_eq!(
            index.remove(&spread_id(number)),
            model.remove(&spread_id(number))
        );
    }
    assert_equals(&index, &model);
    assert_eq!(index.buckets.len(), 1031);
}

#[test]
fn endless_change_of_few_entries_never_fills_the_table_with_tombstones() {
    let mut index = RepositoryIndex::default();
    for number in 0..100_000 {
        index.insert(&spread_id(number), location(number));
        if number >= 300 {
            assert!(index.remove(&spread_id(number - 300)).is_some());
        }
        assert!(index.empty > threshold(1031, 7));
    }
    assert_eq!((index.len(), index.buckets.len()), (300, 1031));
}

#[test]
fn the_remainder_is_that_of_the_division() {
    for size in [1usize, 2, 1031, 445_649, 2_062_383_853] {
        let reciprocal = (u64::MAX / size as u64).wrapping_add(1);
        for number in [0u32, 1, 1030, 1031, 445_648, 0x7fff_ffff, u32::MAX] {
            let low = reciprocal.wrapping_mul(number.into());
            let start = ((u128::from(low) * size as u128) >> 64) as usize;
            assert_eq!(start, number as usize % size);
        }
    }
}

#[test]
fn listing_goes_on_after_a_marker() {
    let mut index = RepositoryIndex::default();
    for number in 0..100 {
        index.insert(&spread_id(number), location(number));
    }
    let all: Vec<_> = index.iter().collect();
    let rest: Vec<_> = index.iter_after(&all[41].0).unwrap().collect();
    assert_eq!(rest, all[42..]);
    assert!(index.iter_after(&spread_id(1000)).is_none());
}

#[test]
fn reference_counts_saturate_below_the_markers() {
    let mut index = ChunkIndex::default();
    let value = ChunkUse {
        refcount: u32::MAX,
        size: 3,
        csize: 2,
    };
    index.insert(&id(1), value);
    assert_eq!(index.get(&id(1)).unwrap().refcount, MAX_FIRST);
}

#[test]
fn tables_that_contradict_their_header_are_refused() {
    let mut index = RepositoryIndex::default();
    index.insert(&id(1), location(1));
    let header = index.header();
    assert!(Loading::<Location, 40>::begin(&header, index.file_len() - 1).is_err());
    assert_eq!(
        Loading::<ChunkUse, 44>::begin(&header, index.file_len()).err(),
        Some(HashIndexError::Sizes { key: 32, value: 8 })
    );
    let mut loading = Loading::<Location, 40>::begin(&header, index.file_len()).unwrap();
    loading.bucket_bytes_mut().fill(0xff);
    assert_eq!(
        loading.finish().err(),
        Some(HashIndexError::Count {
            expected: 1,
            found: 0
        })
    );
}

#[test]
fn a_full_table_is_given_room_when_it_is_loaded() {
    let mut full = Loading::<Location, 40>::begin(
        &RepositoryIndex::with_buckets(vec![[0; 40]; 1], 1, 0).header(),
        58,
    )
    .unwrap();
    full.bucket_bytes_mut().fill(7);
    let index = full.finish().unwrap();
    assert_eq!(index.len(), 1);
    assert!(index.contains(&ChunkId::new([7; 32])));
    assert!(!index.contains(&id(1)));
}
