use super::*;
use proptest::prelude::*;

fn id(byte: u8) -> ChunkId {
    ChunkId::new([byte; 32])
}

fn segment_of(values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (number, value) in values.iter().enumerate() {
        bytes.extend(put_header(&id(number as u8), value).unwrap());
        bytes.extend(value);
        bytes.extend(delete_entry(&id(number as u8)));
    }
    bytes.extend(COMMIT);
    bytes
}

fn scan(bytes: &[u8], piece_len: usize) -> Result<Vec<Entry>, SegmentDamage> {
    let mut entries = Vec::new();
    let mut scanner = Scanner::new(SegmentNumber(3));
    for piece in bytes.chunks(piece_len) {
        scanner.feed(piece, |entry| entries.push(entry))?;
    }
    scanner.finish()?;
    Ok(entries)
}

#[test]
fn a_commit_is_always_the_same_nine_bytes() {
    let header = EntryHeader::parse(&COMMIT);
    assert_eq!(header.crc, crc32fast::hash(&COMMIT[4..]));
    assert_eq!((header.size, header.tag), (9, TAG_COMMIT));
}

#[test]
fn values_beyond_the_limit_have_no_entry() {
    assert!(put_header(&id(1), &vec![0; MAX_VALUE_LEN]).is_some());
    assert!(put_header(&id(1), &vec![0; MAX_VALUE_LEN + 1]).is_none());
}

proptest! {
    #[test]
    fn entries_are_found_however_the_bytes_are_cut(
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..6),
        piece_len in 1usize..300,
    ) {
        let bytes = segment_of(&values);
        let entries = scan(&bytes, piece_len).unwrap();
        prop_assert_eq!(entries.len(), 2 * values.len() + 1);
        prop_assert_eq!(entries.last().unwrap().tag, Tag::Commit);
        let mut offset = MAGIC_LEN as u32;
        for entry in &entries {
            prop_assert_eq!(entry.offset.0, offset);
            offset += entry.size;
        }
        prop_assert_eq!(offset as usize, bytes.len());
        for (entry, value) in entries.iter().step_by(2).zip(&values) {
            let start = &bytes[entry.offset.0 as usize..];
            let header = PutHeader::parse(start.first_chunk().unwrap(), &entry.id).unwrap();
            prop_assert_eq!(header.verify(value), Ok(()));
            prop_assert_eq!(header.entry_len(), entry.size as usize);
        }
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(position in 0usize..200, flip in 1u8..=255) {
        let mut bytes = segment_of(&[vec![7; 60], vec![8; 20]]);
        let position = position % bytes.len();
        bytes[position] ^= flip;
        prop_assert!(scan(&bytes, 50).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut segment = MAGIC.to_vec();
        segment.extend(&bytes);
        prop_assert_eq!(scan(&segment, 7).is_ok(), scan(&segment, 300).is_ok());
        find_entry(&bytes, bytes.len() as u64);
    }
}

#[test]
fn a_segment_cut_short_names_the_entry_that_is_missing_bytes() {
    let bytes = segment_of(&[vec![1; 10]]);
    let damage = scan(&bytes[..bytes.len() - 12], 64).unwrap_err();
    assert_eq!(
        damage.to_string(),
        "Segment entry data short read [segment 3, offset 59]: expected 32, got 29 bytes"
    );
    assert_eq!(scan(&bytes[..4], 64).unwrap_err().kind, DamageKind::Magic);
    assert_eq!(scan(&[], 64).unwrap_err().kind, DamageKind::Magic);
    assert_eq!(scan(&MAGIC, 64), Ok(Vec::new()));
}

#[test]
fn whole_entries_are_found_between_garbage() {
    let mut bytes = b"garbage".to_vec();
    bytes.extend(delete_entry(&id(4)));
    bytes.extend([0xff; 30]);
    bytes.extend(COMMIT);
    let found = find_entry(&bytes, bytes.len() as u64);
    assert_eq!(found, Search::Found { start: 7, len: 41 });
    let rest = &bytes[48..];
    let found = find_entry(rest, rest.len() as u64);
    assert_eq!(found, Search::Found { start: 30, len: 9 });
    let rest = &rest[39..];
    assert_eq!(find_entry(rest, 0), Search::MoreNeeded { from: 0 });
}

#[test]
fn the_search_asks_for_more_when_an_entry_may_go_on() {
    let entry = delete_entry(&id(4));
    let found = find_entry(&entry[..20], 41);
    assert_eq!(found, Search::MoreNeeded { from: 0 });
    let found = find_entry(&entry[..20], 20);
    assert_eq!(found, Search::MoreNeeded { from: 12 });
}
