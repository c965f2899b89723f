//! Known answers from repositories of real Borg 1.1, 1.2 and 1.4 in every mode, and what an
//! attacker may try.

use std::collections::HashSet;

use data_encoding::HEXLOWER;
use serde_json::Value as Json;

use super::key_blob::{self, KeyBlobError, KeyFileError};
use super::tam::{self, Context, Requirement, TamError, Verdict};
use super::*;
use crate::msgpack::Value;

const KNOWN: &str = include_str!("../../../../testdata/keys/known-answers.json");

type Pairs = Vec<(Value, Value)>;

fn known() -> Vec<Json> {
    serde_json::from_str(KNOWN).unwrap()
}

fn hex(entry: &Json, name: &str) -> Vec<u8> {
    let text = entry[name].as_str().unwrap();
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn key_type(entry: &Json) -> KeyType {
    KeyType::from_byte(entry["key_type"].as_u64().unwrap() as u8).unwrap()
}

fn material(entry: &Json) -> KeyMaterial {
    let repository_id = RepositoryId::from_slice(&hex(entry, "repository_id")).unwrap();
    if entry.get("enc_key").is_none() {
        return KeyMaterial::none(repository_id);
    }
    KeyMaterial {
        repository_id,
        enc_key: hex(entry, "enc_key"),
        enc_hmac_key: hex(entry, "enc_hmac_key"),
        id_key: hex(entry, "id_key"),
        chunk_seed: entry["chunk_seed"].as_i64().unwrap() as i32,
        tam_required: entry["tam_required"].as_bool().unwrap(),
    }
}

fn crypto(entry: &Json) -> Crypto {
    Crypto::new(key_type(entry), material(entry))
}

fn each(mut check: impl FnMut(&Json, &Crypto)) {
    let known = known();
    assert_eq!(known.len(), 11);
    for entry in &known {
        println!("{}", entry["name"]);
        check(entry, &crypto(entry));
    }
}

fn decompressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::compress::decompress(payload, 1 << 20, &mut out).unwrap();
    out
}

#[test]
fn objects_of_real_repositories_open_and_their_ids_agree() {
    each(|entry, crypto| {
        let stored = hex(entry, "manifest");
        let payload = crypto.open(&stored).unwrap();
        assert_eq!(payload, hex(entry, "manifest_payload"));
        assert_eq!(decompressed(&payload), hex(entry, "manifest_plain"));

        let plain = hex(entry, "archive_plain");
        let payload = crypto.open(&hex(entry, "archive")).unwrap().into_owned();
        assert_eq!(decompressed(&payload), plain);
        let id = ChunkId::from_slice(&hex(entry, "archive_id")).unwrap();
        assert_eq!(crypto.id(&plain), id);
        assert!(crypto.verify_id(&id, &plain));
        assert!(!crypto.verify_id(&id, b"other"));
        let mut ids = Vec::new();
        crypto.ids(&[&plain, &plain, b"x", &plain, &plain], &mut ids);
        assert_eq!(ids[4], id);
        assert_ne!(ids[2], id);
    });
}

#[test]
fn sealing_with_the_same_counter_gives_what_borg_stored() {
    each(|entry, crypto| {
        let stored = hex(entry, "manifest");
        let counter = crypto.counter_of(&stored);
        assert_eq!(counter.is_some(), crypto.key_type().encrypts());
        let mut object = crypto.begin();
        object.extend_from_slice(&hex(entry, "manifest_payload"));
        let sealed = crypto.seal(object, counter.unwrap_or(0));
        assert_eq!(sealed.as_bytes(), stored);
    });
}

#[test]
fn keys_of_real_repositories_decrypt_with_their_passphrase_only() {
    each(|entry, _| {
        let Some(text) = entry.get("key_text").and_then(Json::as_str) else {
            return;
        };
        let passphrase = entry["passphrase"].as_str().unwrap().as_bytes();
        let expected = material(entry);
        let text = match key_type(entry).storage() {
            KeyStorage::Keyfile => {
                let id = &expected.repository_id;
                let blob_text = key_blob::from_key_file(text.as_bytes(), id).unwrap();
                assert_eq!(key_blob::to_key_file(id, blob_text), text);
                blob_text
            }
            _ => text,
        };
        let blob = key_blob::from_text(text).unwrap();
        assert_eq!(key_blob::to_text(&blob), text.trim_end());
        assert!(key_blob::decrypt(&blob, passphrase, false).unwrap() == expected);
        assert_eq!(
            key_blob::decrypt(&blob, b"wrong", false).err(),
            Some(KeyBlobError::WrongPassphrase)
        );
    });
}

#[test]
fn the_key_of_the_old_passphrase_mode_is_derived() {
    let known = known();
    let entry = known.iter().find(|entry| entry["key_type"] == 1).unwrap();
    let expected = material(entry);
    let passphrase = entry["passphrase"].as_str().unwrap().as_bytes();
    assert!(KeyMaterial::from_passphrase(expected.repository_id, passphrase) == expected);
    // After the migration the same secrets are a repokey, and old objects stay readable.
    let migrated = Crypto::new(KeyType::Repokey, expected.clone());
    assert!(migrated.open(&hex(entry, "archive")).is_ok());
    let keyfile = Crypto::new(KeyType::Keyfile, expected);
    assert_eq!(
        keyfile.open(&hex(entry, "archive")),
        Err(OpenError::WrongType(1))
    );
}

#[test]
fn tags_of_real_manifests_and_archives_verify() {
    each(|entry, crypto| {
        if crypto.key_type() == KeyType::Passphrase {
            return; // that object is no archive
        }
        for (name, context, other) in [
            ("manifest_plain", Context::Manifest, Context::Archive),
            ("archive_plain", Context::Archive, Context::Manifest),
        ] {
            let packed = hex(entry, name);
            let verdict = tam::verify(crypto, &packed, context, Requirement::Required);
            let Ok(Verdict::Verified(salt)) = verdict else {
                panic!("{name}: {verdict:?}");
            };
            assert_eq!(
                tam::verify(crypto, &packed, other, Requirement::Optional),
                Err(TamError::Invalid)
            );
            assert_eq!(
                tam::authenticate(crypto, &packed, context, &salt).unwrap(),
                packed,
                "authenticated again with the same salt"
            );
            for at in 0..packed.len() {
                let mut changed = packed.clone();
                changed[at] ^= 1;
                let verdict = tam::verify(crypto, &changed, context, Requirement::Required);
                assert!(verdict.is_err(), "{name}, byte {at}");
            }
        }
    });
}

#[test]
fn a_missing_tag_passes_only_where_none_is_required() {
    let crypto = crypto(&known()[3]);
    let mut packed = Vec::new();
    Value::Map(vec![(Value::text("version"), Value::Int(1))]).write(&mut packed);
    let verify =
        |packed: &[u8], requirement| tam::verify(&crypto, packed, Context::Manifest, requirement);
    assert_eq!(
        verify(&packed, Requirement::Required),
        Err(TamError::Missing)
    );
    assert_eq!(verify(&packed, Requirement::Optional), Ok(Verdict::Absent));

    let tagged = |tam: Value| {
        let mut packed = Vec::new();
        Value::Map(vec![(Value::text("tam"), tam)]).write(&mut packed);
        packed
    };
    let unknown = tagged(Value::Map(vec![(Value::text("type"), Value::text("NEW"))]));
    assert_eq!(
        verify(&unknown, Requirement::Required),
        Err(TamError::UnsupportedSuite("NEW".to_owned()))
    );
    assert_eq!(
        verify(&unknown, Requirement::Optional),
        Ok(Verdict::UnknownSuite("NEW".to_owned()))
    );
    for malformed in [
        Value::Nil,
        Value::Int(1),
        Value::Map(vec![(Value::text("type"), Value::text("HKDF_HMAC_SHA512"))]),
    ] {
        for requirement in [Requirement::Required, Requirement::Optional] {
            assert_eq!(
                verify(&tagged(malformed.clone()), requirement),
                Err(TamError::Invalid)
            );
        }
    }
    assert_eq!(
        verify(&[0xc1; 5], Requirement::Required),
        Err(TamError::FutureManifest)
    );
}

#[test]
fn a_change_of_any_byte_of_an_object_is_detected() {
    each(|entry, crypto| {
        let stored = hex(entry, "archive");
        let id = ChunkId::from_slice(&hex(entry, "archive_id")).unwrap();
        for at in 0..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 0x10;
            let opened = crypto.open_in_place(&mut changed);
            if crypto.key_type().encrypts() || at == 0 {
                assert!(opened.is_err(), "byte {at}");
            } else {
                // Without a MAC it is the id that tells.
                let mut plain = Vec::new();
                let same = crate::compress::decompress(opened.unwrap(), 1 << 20, &mut plain)
                    .is_ok_and(|()| crypto.verify_id(&id, &plain));
                assert!(!same, "byte {at}");
            }
        }
        for len in 0..stored.len() {
            let opened = crypto.open(&stored[..len]);
            assert!(opened.is_err() || !crypto.key_type().encrypts());
        }
        assert_eq!(crypto.open(&[]), Err(OpenError::TooShort));
    });
}

#[test]
fn an_object_of_another_mode_is_refused_whatever_its_type_byte_says() {
    let known = known();
    for entry in &known {
        for other in &known {
            if entry["key_type"] == other["key_type"] || other["key_type"] == 2 {
                continue;
            }
            let crypto = crypto(entry);
            let mut object = hex(other, "archive");
            if crypto.key_type().encrypts() {
                assert!(crypto.open(&object).is_err());
                object[0] = crypto.key_type().byte();
                assert_eq!(crypto.open(&object), Err(OpenError::MacMismatch));
            }
        }
    }
}

/// A belt seals objects as they were sealed before, and opens them, and names the payloads.
fn check_belt(
    crypto: &Crypto,
    unsealed: Vec<(Vec<u8>, u64)>,
    sealed: &[Sealed],
    payloads: &[Vec<u8>],
) {
    let mut belt = Belt::new(crypto);
    let mut waiting = unsealed.into_iter().enumerate();
    let mut done = [0; 3];
    loop {
        while belt.has_room()
            && let Some((at, (object, counter))) = waiting.next()
        {
            belt.seal(at, object, counter);
        }
        match belt.finish_one() {
            None => break,
            Some(Done::Sealed { tag, object }) => {
                assert_eq!(object, sealed[tag]);
                done[0] += 1;
                let mut object = object.into_vec();
                if tag == 3 && crypto.key_type().encrypts() {
                    object[40] ^= 1;
                }
                belt.open(tag, object);
            }
            Some(Done::Opened {
                tag,
                object,
                result,
            }) => {
                let damaged = tag == 3 && crypto.key_type().encrypts();
                assert_eq!(result.is_err(), damaged);
                done[1] += 1;
                if !damaged {
                    belt.hash(tag, object[crypto.overhead()..].to_vec());
                }
            }
            Some(Done::Hashed { tag, data, id }) => {
                assert_eq!(data, payloads[tag]);
                assert_eq!(id, crypto.id(&payloads[tag]));
                done[2] += 1;
            }
        }
    }
    assert!(belt.is_empty());
    let damaged = usize::from(crypto.key_type().encrypts());
    assert_eq!(
        done,
        [payloads.len(), payloads.len(), payloads.len() - damaged]
    );
}

#[test]
fn every_mode_seals_and_opens_one_or_many() {
    let random: [u8; KeyMaterial::RANDOM_BYTES] = std::array::from_fn(|n| (n * 7 + 3) as u8);
    for key_type in KeyType::CREATABLE {
        let material = KeyMaterial::generate(key_type, RepositoryId::new([5; 32]), &random);
        assert_eq!(material.tam_required, key_type != KeyType::Plaintext);
        let crypto = Crypto::new(key_type, material);
        // Around the lengths at which objects are handled in another way, and more than fit at once.
        let mut lengths = vec![0, 1, 15, 16, 17, 5000, 8183, 8184, 8185];
        lengths.extend([
            16_383, 16_384, 16_385, 32_768, 9000, 9000, 9000, 100_000, 40_000, 9001,
        ]);
        let payloads: Vec<Vec<u8>> = lengths
            .into_iter()
            .map(|len| (0..len).map(|n: usize| (n * 13) as u8).collect())
            .collect();
        let mut counter = u64::MAX - 20_000;
        let mut objects = Vec::new();
        for payload in &payloads {
            let mut object = vec![1, 2, 3];
            crypto.begin_into(&mut object);
            object.extend_from_slice(payload);
            let blocks = crypto.blocks(object.len());
            objects.push((object, counter));
            counter += blocks;
        }
        let single: Vec<_> = objects
            .iter()
            .map(|(object, counter)| crypto.seal(object.clone(), *counter))
            .collect();
        check_belt(&crypto, objects.clone(), &single, &payloads);
        let many = crypto.seal_many(objects);
        assert_eq!(single, many);

        let mut stored: Vec<Vec<u8>> = many.into_iter().map(Sealed::into_vec).collect();
        assert!(stored.iter().all(|object| object[0] == key_type.byte()));
        let mut payload = Vec::new();
        for (object, expected) in stored.iter().zip(&payloads) {
            assert_eq!(crypto.open(object).unwrap(), *expected);
            crypto.open_into(object, &mut payload).unwrap();
            assert_eq!(payload, *expected);
        }
        stored[2][0] ^= 0x40;
        stored[4].truncate(0);
        if key_type.encrypts() {
            stored[3][40] ^= 1;
        }
        let results = crypto.open_many(&mut stored);
        for (at, result) in results.iter().enumerate() {
            let good = !(at == 2 || at == 4 || (at == 3 && key_type.encrypts()));
            assert_eq!(result.is_ok(), good, "{at}");
            if good {
                assert_eq!(stored[at][crypto.overhead()..], payloads[at]);
            }
        }
    }
}

#[test]
fn counters_cover_every_block_of_an_object() {
    let crypto = crypto(&known()[3]);
    let overhead = crypto.overhead();
    for (payload, blocks) in [(0, 0), (1, 1), (16, 1), (17, 2), (1 << 20, 1 << 16)] {
        assert_eq!(crypto.blocks(overhead + payload), blocks);
    }
    // Objects sealed with adjoining counters share no key stream.
    let mut seen = HashSet::new();
    let mut counter = 77;
    for _ in 0..10 {
        let mut object = crypto.begin();
        object.extend_from_slice(&[0; 40]);
        let blocks = crypto.blocks(object.len());
        let sealed = crypto.seal(object, counter);
        for block in sealed.as_bytes()[overhead..].chunks_exact(16) {
            assert!(seen.insert(block.to_vec()));
        }
        counter += blocks;
    }
    assert_eq!(
        Crypto::plaintext(RepositoryId::new([0; 32])).blocks(1000),
        0
    );
}

#[test]
fn a_generated_key_survives_its_blob_and_its_file() {
    let random: [u8; KeyMaterial::RANDOM_BYTES] = std::array::from_fn(|n| (n * 11) as u8);
    let id = RepositoryId::new([0xab; 32]);
    let material = KeyMaterial::generate(KeyType::RepokeyBlake2, id, &random);
    assert_eq!(material.id_key.len(), 128);
    assert_eq!(material.id_key[64..], [0; 64]);
    let blob = key_blob::encrypt(&material, b"", &[9; 32], 10);
    assert!(key_blob::decrypt(&blob, b"", false).unwrap() == material);
    let file = key_blob::to_key_file(&id, &key_blob::to_text(&blob));
    let text = key_blob::from_key_file(file.as_bytes(), &id).unwrap();
    assert_eq!(key_blob::from_text(text).unwrap(), blob);
    assert!(file.lines().skip(1).all(|line| line.len() <= 70));

    let other = RepositoryId::new([1; 32]);
    assert_eq!(
        key_blob::from_key_file(file.as_bytes(), &other),
        Err(KeyFileError::OtherRepository)
    );
    for damaged in [
        "",
        "BORG_KEYS",
        &file.replacen(' ', "  ", 1),
        &file.replacen('\n', "x\n", 1),
        file.lines().next().unwrap(),
        &file.replace('=', "?"),
        &format!("{}\nAAAA\n", file.lines().next().unwrap()),
    ] {
        assert!(
            key_blob::from_key_file(damaged.as_bytes(), &id).is_err(),
            "{damaged:?}"
        );
    }
}

#[test]
fn blobs_that_ask_for_absurd_work_or_unknown_ways_are_refused_at_once() {
    let id = RepositoryId::new([0; 32]);
    let blob = |change: &dyn Fn(&mut Pairs)| {
        let blob = key_blob::encrypt(&KeyMaterial::none(id), b"p", &[0; 32], 1);
        let Ok(Value::Map(mut pairs)) = Value::decode(&blob) else {
            panic!("a blob is a map");
        };
        change(&mut pairs);
        let mut out = Vec::new();
        Value::Map(pairs).write(&mut out);
        key_blob::decrypt(&out, b"p", false).err()
    };
    // In order: algorithm, data, hash, iterations, salt, version.
    for iterations in [0, 100_000_001, 1 << 33] {
        assert_eq!(
            blob(&|pairs| pairs[3].1 = Value::Int(iterations)),
            Some(KeyBlobError::TooManyIterations(iterations as u64))
        );
    }
    assert_eq!(
        blob(&|pairs| pairs[5].1 = Value::Int(2)),
        Some(KeyBlobError::UnsupportedVersion(2))
    );
    assert_eq!(
        blob(&|pairs| pairs[0].1 = Value::text("argon2")),
        Some(KeyBlobError::UnsupportedAlgorithm("argon2".to_owned()))
    );
    assert_eq!(
        blob(&|pairs| drop(pairs.remove(4))),
        Some(KeyBlobError::Incomplete)
    );
    // A key without a cipher key decrypts, and is still no key.
    assert_eq!(
        blob(&|_| {}),
        Some(KeyBlobError::Key(KeyDecodeError::Incomplete))
    );
}

#[test]
fn secrets_are_not_shown() {
    let entry = &known()[3];
    let shown = format!("{:?} {:?}", material(entry), crypto(entry));
    for secret in ["enc_key", "id_key"] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!shown.contains(&format!("{:?}", hex(entry, secret))));
    }
}
