//! Items against the streams that real Borg wrote, against themselves, and against nonsense.

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/metadata")
}

/// The chunks of a recorded item stream.
fn chunks_of(path: &std::path::Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut chunks = Vec::new();
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let (chunk, tail) = tail.split_at(u32::from_le_bytes(*len) as usize);
        chunks.push(chunk.to_vec());
        rest = tail;
    }
    chunks
}

fn recorded_streams() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(testdata())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "items"))
        .collect();
    paths.sort();
    assert!(paths.len() > 8);
    paths
}

fn decode_all(chunks: &[Vec<u8>]) -> Vec<Item> {
    let mut decoder = ItemDecoder::new();
    let mut items = Vec::new();
    for chunk in chunks {
        decoder.feed(chunk);
        for item in decoder.by_ref() {
            items.push(item.unwrap());
        }
    }
    decoder.finish().unwrap();
    items
}

fn encode_all(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    items.iter().for_each(|item| item.encode(&mut out));
    out
}

#[test]
fn streams_of_real_borg_are_written_again_byte_for_byte() {
    for path in recorded_streams() {
        let chunks = chunks_of(&path);
        let items = decode_all(&chunks);
        assert!(!items.is_empty(), "{path:?}");
        assert_eq!(encode_all(&items), chunks.concat(), "{path:?}");
        assert!(items.iter().all(|item| item.unknown.is_empty()), "{path:?}");
    }
}

#[test]
fn fields_are_those_that_real_borg_shows() {
    let text = std::fs::read_to_string(testdata().join("v14-none.full.dump.json")).unwrap();
    let dump: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = dump["_items"].as_array().unwrap();
    let items = decode_all(&chunks_of(&testdata().join("v14-none.full.items")));
    assert_eq!(items.len(), expected.len());
    for (item, json) in items.iter().zip(expected) {
        let shown = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("\u{7f}{}", data_encoding::HEXLOWER.encode(bytes)),
        };
        assert_eq!(json["path"], shown(&item.path));
        assert_eq!(json["mode"], item.mode);
        assert_eq!(json["mtime"], item.mtime.unwrap());
        assert_eq!(json["uid"], item.uid.unwrap());
        assert_eq!(
            json["user"].as_str(),
            item.user.as_deref().map(shown).as_deref()
        );
        assert_eq!(json.get("size").and_then(|size| size.as_u64()), item.size);
        assert_eq!(json.get("rdev").and_then(|rdev| rdev.as_u64()), item.rdev);
        assert_eq!(
            json.get("hardlink_master")
                .and_then(|master| master.as_bool()),
            item.hardlink_master
        );
        let ids = json
            .get("chunks")
            .and_then(|chunks| chunks.as_array())
            .map(|chunks| {
                let id = |chunk: &serde_json::Value| chunk[0].as_str().unwrap()[1..].to_owned();
                chunks.iter().map(id).collect::<Vec<_>>()
            });
        let ours = item.chunks.as_ref().map(|chunks| {
            chunks
                .iter()
                .map(|chunk| chunk.id.to_string())
                .collect::<Vec<_>>()
        });
        assert_eq!(ids, ours);
    }
}

#[test]
fn repaired_items_keep_their_healthy_chunks() {
    let stream = testdata().join("v14-damage-missing-chunk.a1.items");
    let items = decode_all(&chunks_of(&stream));
    let item = items
        .iter()
        .find(|item| item.path == b"random.bin")
        .unwrap();
    let (now, healthy) = (
        item.chunks.as_ref().unwrap(),
        item.chunks_healthy.as_ref().unwrap(),
    );
    assert_eq!(now.len(), healthy.len());
    assert_ne!(now[0].id, healthy[0].id);
    assert_eq!(now[0].size, healthy[0].size);
}

#[test]
fn the_order_of_keys_does_not_matter_and_unknown_ones_are_kept() {
    let mut bytes = Vec::new();
    msgpack::write_map_len(&mut bytes, 5);
    for (key, value) in [
        (
            &b"zebra"[..],
            Value::Array(vec![Value::Nil, Value::Int(-5)]),
        ),
        (b"path", Value::text("a")),
        (b"acl", Value::text("of Attic")),
        (b"mtime", Value::Int(7)),
        (b"blue", Value::Bool(true)),
    ] {
        msgpack::write_raw(&mut bytes, key);
        value.write(&mut bytes);
    }
    let item = Item::decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!((item.path.as_slice(), item.mtime), (&b"a"[..], Some(7)));
    let names: Vec<&[u8]> = item
        .unknown
        .iter()
        .map(|(name, _)| name.as_slice())
        .collect();
    assert_eq!(names, [&b"blue"[..], b"zebra"]);
    let again = encode_all(std::slice::from_ref(&item));
    let value = Value::decode(&again).unwrap();
    let Value::Map(pairs) = &value else {
        panic!("a map")
    };
    let keys: Vec<&[u8]> = pairs.iter().filter_map(|(key, _)| key.as_raw()).collect();
    assert_eq!(keys, [&b"blue"[..], b"mode", b"mtime", b"path", b"zebra"]);
    assert_eq!(value.get(b"zebra").unwrap().as_array().unwrap().len(), 2);
}

#[test]
fn timestamps_may_be_raw_little_endian_numbers_of_any_length() {
    for (raw, expected) in [
        (&b""[..], 0),
        (&b"\x01"[..], 1),
        (b"\xff", -1),
        (b"\x00\x01", 256),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f\x00", i64::MAX),
        (b"\x00\x00\x00\x00\x00\x00\x00\x80\x00", i64::MAX),
        (b"\x00\x00\x00\x00\x00\x00\x00\x80\xff", i64::MIN),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f\xff", i64::MIN),
        (b"\x00\x00\x00\x00\x00\x00\x00\x80", i64::MIN),
    ] {
        let mut bytes = b"\x82\xa4path\xa1a\xa5mtime".to_vec();
        msgpack::write_raw(&mut bytes, raw);
        let item = Item::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(item.mtime, Some(expected), "{raw:?}");
    }
    let item = Item::decode(&mut Reader::new(
        b"\x82\xa4path\xa1a\xa5mtime\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    ));
    assert_eq!(item.unwrap().mtime, Some(i64::MAX));
}

#[test]
fn names_without_text_are_written_as_nil_where_there_is_a_number() {
    let item = Item {
        path: b"x".to_vec(),
        uid: Some(4711),
        ..Item::default()
    };
    let value = Value::decode(&encode_all(std::slice::from_ref(&item))).unwrap();
    assert_eq!(value.get(b"user"), Some(&Value::Nil));
    assert_eq!(value.get(b"group"), None);
}

#[test]
fn xattrs_are_written_sorted_and_empty_values_as_nil() {
    let item = Item {
        path: b"x".to_vec(),
        xattrs: Some(vec![
            (b"user.b".to_vec(), None),
            (b"user.a".to_vec(), Some(b"1".to_vec())),
        ]),
        ..Item::default()
    };
    let out = encode_all(std::slice::from_ref(&item));
    assert!(out.ends_with(b"\xa6xattrs\x82\xa6user.a\xa11\xa6user.b\xc0"));
}

#[test]
fn items_of_more_than_15_keys_have_a_wide_map_header() {
    let item = Item {
        path: b"x".to_vec(),
        unknown: (0..20)
            .map(|number| (vec![b'z', number], Value::Nil))
            .collect(),
        ..Item::default()
    };
    let out = encode_all(std::slice::from_ref(&item));
    assert_eq!(out[..3], [0xde, 0, 22]);
    assert_eq!(Item::decode(&mut Reader::new(&out)).unwrap(), item);
}

#[test]
fn a_bad_item_is_reported_and_the_next_one_read() {
    let mut decoder = ItemDecoder::new();
    decoder.feed(b"\x07\x81\xa5mtime\x07\x82\xa4path\xa1a\xa4mode\xa1x\x81\xa4path\xa1b");
    assert_eq!(decoder.next(), Some(Err(ItemError::NotAMap)));
    assert_eq!(decoder.next(), Some(Err(ItemError::Missing("path"))));
    assert!(matches!(decoder.next(), Some(Err(ItemError::Field { key, .. })) if key == "mode"));
    assert_eq!(decoder.next().unwrap().unwrap().path, b"b");
    assert_eq!(decoder.next(), None);
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn a_damaged_stream_is_an_error_until_resynced() {
    let mut decoder = ItemDecoder::new();
    decoder.feed(b"\x81\xa4path\xa1a\xc1\x81\xa4path\xa1b");
    assert_eq!(decoder.next().unwrap().unwrap().path, b"a");
    for _ in 0..2 {
        let error = decoder.next().unwrap().unwrap_err();
        assert!(matches!(error, ItemError::Stream { offset: 8, .. }));
        assert!(!error.is_recoverable());
    }
    decoder.resync([]);
    decoder.feed(b"rest of b\x81\xa4path\xa1c");
    assert_eq!(decoder.next().unwrap().unwrap().path, b"c");
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn an_item_cut_off_by_the_end_of_the_stream_is_an_error() {
    let mut decoder = ItemDecoder::new();
    decoder.feed(b"\x81\xa4path\xa1a\x82\xa4path\xa1b");
    assert!(decoder.next().unwrap().is_ok());
    assert_eq!(decoder.next(), None);
    assert_eq!(decoder.finish(), Err(ItemError::Truncated { offset: 8 }));
}

#[test]
fn an_item_longer_than_the_limit_is_an_error() {
    let item = Item {
        path: vec![b'x'; 300],
        ..Item::default()
    };
    let bytes = encode_all(&[item]);
    let mut whole = ItemDecoder::with_limit(100);
    whole.feed(&bytes);
    assert!(matches!(
        whole.next(),
        Some(Err(ItemError::TooLong { limit: 100, .. }))
    ));
    let mut cut = ItemDecoder::with_limit(100);
    cut.feed(&bytes[..50]);
    assert_eq!(cut.next(), None);
    cut.feed(&bytes[50..150]);
    assert!(matches!(
        cut.next(),
        Some(Err(ItemError::TooLong { limit: 100, .. }))
    ));
}

#[test]
fn resync_finds_the_next_item_even_across_chunks() {
    for path in recorded_streams() {
        let stream = chunks_of(&path).concat();
        let items = decode_all(std::slice::from_ref(&stream));
        let ends: Vec<usize> = (1..=items.len())
            .map(|n| encode_all(&items[..n]).len())
            .collect();
        // The chunk before `lost` is missing; what is left comes in two pieces.
        for lost in (1..stream.len()).step_by(97) {
            let next = ends.iter().filter(|end| **end < lost).count();
            let (first, second) = stream[lost..].split_at((stream.len() - lost) / 3);
            let mut decoder = ItemDecoder::new();
            decoder.resync([&b"user"[..]]);
            let mut found = Vec::new();
            for piece in [first, second] {
                decoder.feed(piece);
                for item in decoder.by_ref() {
                    found.push(item.unwrap());
                }
            }
            let wanted = items.get(next + 1..).unwrap_or_default();
            assert!(
                found.ends_with(wanted),
                "{path:?} {lost}: {} of {}",
                found.len(),
                wanted.len()
            );
            assert!(found.len() <= wanted.len() + 1);
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    let mut bytes = b"\x82\xa4path\xa1a\xa1z".to_vec();
    bytes.extend([0x91; 5000]);
    bytes.push(0xc0);
    let mut decoder = ItemDecoder::new();
    decoder.feed(&bytes[..3000]);
    let error = decoder.next().unwrap().unwrap_err();
    assert!(matches!(
        error,
        ItemError::Stream {
            source: DecodeError::TooDeep,
            ..
        }
    ));
}

fn any_chunks() -> impl Strategy<Value = Vec<ChunkRef>> {
    let chunk =
        (any::<[u8; 32]>(), any::<u32>(), any::<u32>()).prop_map(|(id, size, csize)| ChunkRef {
            id: ChunkId::new(id),
            size,
            csize,
        });
    proptest::collection::vec(chunk, 0..40)
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

prop_compose! {
    fn any_item()(
        path in bytes(300), mode in any::<u32>(), uid in any::<Option<u32>>(),
        user in proptest::option::of(bytes(40)), mtime in any::<Option<i64>>(),
        size in any::<Option<u64>>(), chunks in proptest::option::of(any_chunks()),
        source in proptest::option::of(bytes(40)), master in any::<Option<bool>>(),
        xattrs in proptest::option::of(proptest::collection::btree_map(
            bytes(20), proptest::option::of(bytes(20)), 0..5)),
        acl in proptest::option::of(bytes(90)), rdev in any::<Option<u64>>(),
    ) -> Item {
        Item {
            path, mode, uid, user, mtime, ctime: mtime, size, chunks, source, rdev,
            hardlink_master: master, xattrs: xattrs.map(|map| map.into_iter().collect()),
            acl_access: acl, ..Item::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn items_read_back_however_the_stream_is_cut(
        items in proptest::collection::vec(any_item(), 1..6), cut in 1usize..400,
    ) {
        let stream = encode_all(&items);
        let pieces: Vec<Vec<u8>> = stream.chunks(cut).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(&decode_all(&pieces), &items);
        prop_assert_eq!(&decode_all(&[stream]), &items);
    }

    #[test]
    fn views_say_the_same_as_items(item in any_item()) {
        let bytes = encode_all(std::slice::from_ref(&item));
        let view = ItemRef::decode(&mut Reader::new(&bytes)).unwrap();
        prop_assert_eq!(view.as_bytes(), &bytes[..]);
        prop_assert_eq!(view.path, &item.path[..]);
        let chunks = view.chunks.map(|chunks| chunks.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(&chunks, &item.chunks);
        prop_assert_eq!(view.chunks.map(|chunks| chunks.len()), item.chunks.as_ref().map(Vec::len));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_always_end(
        data in bytes(400), cut in 1usize..100, resync in any::<bool>(),
    ) {
        let mut decoder = ItemDecoder::with_limit(200);
        if resync {
            decoder.resync([]);
        }
        let mut given = 0;
        for piece in data.chunks(cut) {
            decoder.feed(piece);
            while let Some(item) = decoder.next() {
                given += 1;
                if item.is_err_and(|error| !error.is_recoverable()) {
                    decoder.resync([]);
                }
            }
        }
        prop_assert!(given <= data.len() + data.len() / cut + 1);
    }

    #[test]
    fn flipped_bits_never_panic(item in any_item(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = encode_all(&[item.clone(), item]);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let mut decoder = ItemDecoder::new();
        decoder.feed(&bytes);
        let read = decoder.by_ref().take(2000).take_while(|item| match item {
            Ok(_) => true,
            Err(error) => error.is_recoverable(),
        });
        prop_assert!(read.count() <= bytes.len());
    }
}

#[test]
fn owners_that_no_system_has_are_nobody() {
    for number in [&[0xcf, 0, 0, 1, 0, 0, 0, 0, 0][..], &[0xff]] {
        let mut encoded = b"\x83\xa4path\xa1x\xa3uid".to_vec();
        encoded.extend_from_slice(number);
        encoded.extend_from_slice(b"\xa3gid\x07");
        let item = ItemRef::decode(&mut Reader::new(&encoded)).unwrap();
        assert_eq!((item.uid, item.gid), (None, Some(7)));
    }
}
