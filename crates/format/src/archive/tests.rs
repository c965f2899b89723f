//! Archive metadata against what real Borg wrote, and against nonsense.

use super::*;
use proptest::prelude::*;

fn recorded() -> Vec<(String, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/metadata");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "archive") {
            files.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
    assert!(files.len() > 8);
    files
}

fn without_tam(bytes: &[u8]) -> Vec<u8> {
    let Value::Map(mut pairs) = Value::decode(bytes).unwrap() else {
        panic!("a map")
    };
    pairs.retain(|(key, _)| key.as_raw() != Some(b"tam"));
    let mut out = Vec::new();
    Value::Map(pairs).write(&mut out);
    out
}

#[test]
fn archives_of_real_borg_are_written_again_byte_for_byte() {
    for (name, bytes) in recorded() {
        let archive = ArchiveMetadata::decode(&bytes).unwrap();
        assert_eq!(archive.encode(), without_tam(&bytes), "{name}");
        assert!(archive.chunker_params.is_some(), "{name}");
        assert!(ArchiveMetadata::is_likely(&bytes), "{name}");
        let file = std::path::Path::new(&name)
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap();
        assert!(
            file.ends_with(std::str::from_utf8(&archive.name).unwrap()),
            "{name}"
        );
        assert!(crate::timestamp::parse(&archive.time).is_some());
    }
}

#[test]
fn other_objects_are_not_taken_for_archives() {
    for data in [&b""[..], b"\x81", b"\xde", b"text", b"\x81\xa7version\x01"] {
        assert!(!ArchiveMetadata::is_likely(data));
        assert!(ArchiveMetadata::decode(data).is_err());
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    assert_eq!(
        ArchiveMetadata::decode(b"\x80"),
        Err(ArchiveError::Missing("version"))
    );
    assert_eq!(
        ArchiveMetadata::decode(b"\x81\xa7version\x02"),
        Err(ArchiveError::Version(2))
    );
    assert_eq!(
        ArchiveMetadata::decode(b"\x81\xa7version\x01"),
        Err(ArchiveError::Missing("name"))
    );
    let wrong = ArchiveMetadata::decode(b"\x81\xa5items\x91\xa1x");
    assert!(matches!(wrong, Err(ArchiveError::Field { key, .. }) if key == "items"));
}

proptest! {
    #[test]
    fn damaged_archives_never_panic(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let files = recorded();
        let (_, mut bytes) = files[file.index(files.len())].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(archive) = ArchiveMetadata::decode(&bytes) {
            prop_assert!(ArchiveMetadata::decode(&archive.encode()).is_ok());
        }
        let cut = cut.index(bytes.len());
        prop_assert!(ArchiveMetadata::decode(&bytes[..cut]).is_err());
    }
}
