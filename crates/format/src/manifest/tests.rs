//! Manifests against what real Borg wrote, the timestamp rule, limits, features and nonsense.

use super::*;
use proptest::prelude::*;

fn recorded() -> Vec<(String, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/metadata");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "manifest") {
            files.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
    assert!(files.len() > 6);
    files
}

fn with_config(key: &str, value: Value) -> Manifest {
    let mut manifest = Manifest::new();
    manifest.config.insert(key.as_bytes().to_vec(), value);
    manifest
}

fn map(key: &str, value: Value) -> Value {
    Value::Map(vec![(Value::text(key), value)])
}

#[test]
fn manifests_of_real_borg_are_written_again_byte_for_byte() {
    for (name, bytes) in recorded() {
        let manifest = Manifest::decode(&bytes).unwrap();
        let Value::Map(mut pairs) = Value::decode(&bytes).unwrap() else {
            panic!("a map")
        };
        pairs.retain(|(key, _)| key.as_raw() != Some(b"tam"));
        let mut expected = Vec::new();
        Value::Map(pairs).write(&mut expected);
        assert_eq!(manifest.encode(), expected, "{name}");
        assert!(!manifest.archives.is_empty(), "{name}");
        assert_eq!(manifest.check_limits(), Ok(()));
        assert_eq!(
            manifest.check_features(&[Operation::Check, Operation::Delete]),
            Ok(())
        );
        let says_so = bytes
            .windows(14)
            .any(|window| window == b"\xactam_required\xc3");
        assert_eq!(manifest.tam_required(), says_so, "{name}");
    }
}

#[test]
fn timestamps_grow_whatever_the_clock_says() {
    let earlier = timestamp::parse("2020-01-01T00:00:00").unwrap();
    assert_eq!(next_timestamp("", earlier), "2020-01-01T00:00:00.000000");
    let last = "2026-12-31T23:59:59.999999";
    assert_eq!(next_timestamp(last, earlier), "2027-01-01T00:00:00.000000");
    let later = timestamp::parse("2030-01-01T00:00:00").unwrap();
    assert_eq!(next_timestamp(last, later), "2030-01-01T00:00:00.000000");
    assert_eq!(
        next_timestamp("2026-01-01T00:00:00", earlier),
        "2026-01-01T00:00:00.000001"
    );
    let mut manifest = Manifest::new();
    manifest.advance_timestamp(earlier);
    manifest.advance_timestamp(earlier);
    assert_eq!(manifest.timestamp, "2020-01-01T00:00:00.000001");
}

#[test]
fn mandatory_features_stop_the_operations_they_name() {
    let required = map("mandatory", Value::Array(vec![Value::text("warp")]));
    let manifest = with_config("feature_flags", map("write", required));
    assert_eq!(
        manifest.check_features(&[Operation::Read, Operation::Delete]),
        Ok(())
    );
    let error = manifest
        .check_features(&[Operation::Read, Operation::Write])
        .unwrap_err();
    assert_eq!(error, UnsupportedFeatures(vec!["warp".to_owned()]));
    let odd = with_config(
        "feature_flags",
        map("read", map("mandatory", Value::Int(1))),
    );
    assert!(odd.check_features(&[Operation::Read]).is_err());
    let none = with_config("feature_flags", Value::Nil);
    assert_eq!(none.check_features(&[Operation::Read]), Ok(()));
}

#[test]
fn unknown_config_and_item_keys_survive() {
    let mut manifest = with_config("colour", Value::text("blue"));
    manifest.item_keys.insert(b"smell".to_vec());
    let again = Manifest::decode(&manifest.encode()).unwrap();
    assert_eq!(again, manifest);
    assert_eq!(again.item_keys.len(), ITEM_KEYS.len() + 1);
}

#[test]
fn manifests_of_the_future_are_recognised() {
    assert_eq!(
        Manifest::decode(b"\xc1\xc1\xc1\xc1\x05more"),
        Err(ManifestError::Future)
    );
    assert_eq!(
        Manifest::decode(b"\x81\xa7version\x03"),
        Err(ManifestError::Version(3))
    );
    assert_eq!(
        Manifest::decode(b"\x80"),
        Err(ManifestError::Missing("version"))
    );
    assert_eq!(
        Manifest::decode(b"\x81\xa7version\x01"),
        Err(ManifestError::Missing("archives"))
    );
}

#[test]
fn manifests_beyond_the_limits_are_not_written() {
    let entry = ArchiveEntry {
        id: ChunkId::MANIFEST,
        time: String::new(),
    };
    let mut manifest = Manifest::new();
    // 255 characters, but 510 bytes; bytes that are no UTF-8 count one each.
    manifest
        .archives
        .insert("ü".repeat(255).into_bytes(), entry.clone());
    manifest.archives.insert(vec![0xff; 255], entry.clone());
    assert_eq!(manifest.check_limits(), Ok(()));
    manifest.archives.insert(vec![b'x'; 256], entry);
    assert!(matches!(
        manifest.check_limits(),
        Err(ManifestLimit::Name(_))
    ));
    let mut manifest = Manifest::new();
    manifest.item_keys.extend((0..100u8).map(|byte| vec![byte]));
    assert!(matches!(
        manifest.check_limits(),
        Err(ManifestLimit::ItemKeys(_))
    ));
}

proptest! {
    #[test]
    fn damaged_manifests_never_panic(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let files = recorded();
        let (_, mut bytes) = files[file.index(files.len())].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert!(Manifest::decode(&manifest.encode()).is_ok());
        }
        let cut = cut.index(bytes.len());
        prop_assert!(Manifest::decode(&bytes[..cut]).is_err());
    }
}
