//! Counting references: against the index of real Borg, against plain counting, with damage.

use super::*;
use crate::cache::ChunkEntry;
use fastness_format::compress::{CompressionSpec, Compressor};
use fastness_format::crypto::{KeyMaterial, KeyType};
use fastness_format::hash_index::{ChunkUse, Loading};
use fastness_format::id::RepositoryId;
use fastness_format::item::Item;
use fastness_format::manifest::Manifest;
use fastness_repository::Silent;
use fastness_repository::local::{CreateOptions, LocalRepository, OpenOptions};
use fastness_testkit::{Sandbox, golden::Golden};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

fn options() -> OpenOptions {
    OpenOptions {
        lock: None,
        append_only: false,
        storage_quota: None,
        monitor: Arc::new(Silent),
        now: std::time::SystemTime::now,
    }
}

/// The key of a golden repository, from its recorded secrets; those without have no key.
fn golden_key(golden: &Golden, repository: &LocalRepository) -> Crypto {
    if golden.expected("secrets.json").is_none() {
        return Crypto::plaintext(repository.id());
    }
    let secrets = golden.expected_json("secrets.json");
    let hex = |name: &str| {
        let text = secrets[name].as_str().unwrap_or_default();
        let digits = text.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect::<Vec<u8>>()
    };
    let mut material = KeyMaterial::none(RepositoryId::from_slice(&hex("repo_id")).unwrap());
    material.enc_key = hex("enc_key");
    material.enc_hmac_key = hex("enc_hmac_key");
    material.id_key = hex("id_key");
    let kind = secrets["type_byte"].as_u64().unwrap() as u8;
    Crypto::new(KeyType::from_byte(kind).unwrap(), material)
}

fn all_archives(repository: &dyn Repository, crypto: &Crypto) -> Vec<ChunkId> {
    let stored = repository.get(&ChunkId::MANIFEST).unwrap();
    let mut data = Vec::new();
    let payload = crypto.open(&stored).unwrap();
    fastness_format::compress::decompress(&payload, 1 << 20, &mut data).unwrap();
    let manifest = Manifest::decode(&data).unwrap();
    manifest.archives.values().map(|entry| entry.id).collect()
}

fn contents(table: &ChunkTable) -> HashMap<ChunkId, ChunkEntry> {
    let mut map = HashMap::new();
    table.for_each(|id, entry| {
        map.insert(*id, entry);
    });
    map
}

/// The `chunks` file in Borg's own cache.
fn index_of_borg(path: &Path) -> HashMap<ChunkId, ChunkEntry> {
    let bytes = std::fs::read(path).unwrap();
    let (header, buckets) = bytes.split_first_chunk().unwrap();
    let mut loading = Loading::<ChunkUse, 44>::begin(header, bytes.len() as u64).unwrap();
    loading.bucket_bytes_mut().copy_from_slice(buckets);
    let index = loading.finish().unwrap();
    let entries = index.iter().map(|(id, chunk)| {
        let entry = ChunkEntry {
            references: chunk.refcount,
            size: chunk.size,
            csize: chunk.csize,
        };
        (id, entry)
    });
    entries.collect()
}

#[test]
fn counts_are_those_of_real_borg() {
    let sandbox = Sandbox::new();
    let golden = Golden::unpack(&sandbox, "repositories", "v14-repokey");
    let repository = LocalRepository::open(&golden.repository(), options()).unwrap();
    let crypto = golden_key(&golden, &repository);
    let archives = all_archives(&repository, &crypto);
    assert_eq!(archives.len(), 2);
    let cache = sandbox.path("v14-repokey").join("cache");
    let expected = index_of_borg(&cache.join(repository.id().to_string()).join("chunks"));
    for threads in [1, 3] {
        let mut told = Vec::new();
        let mut progress = |done| told.push(done);
        let table = rebuild(&repository, &crypto, &archives, threads, &mut progress).unwrap();
        assert_eq!(contents(&table), expected);
        assert_eq!(told, [1, 2]);
    }
}

#[test]
fn archives_of_all_versions_of_borg_can_be_counted() {
    let sandbox = Sandbox::new();
    for name in [
        "v11-keyfile-blake2",
        "v12-none",
        "v14-partfiles",
        "v14-fixed",
        "v14-compression",
    ] {
        let golden = Golden::unpack(&sandbox, "repositories", name);
        let repository = LocalRepository::open(&golden.repository(), options()).unwrap();
        let crypto = golden_key(&golden, &repository);
        let archives = all_archives(&repository, &crypto);
        let table = rebuild(&repository, &crypto, &archives, 2, &mut |_| {}).unwrap();
        // Every object but the manifest is referenced, and the lengths are those stored.
        assert_eq!(table.len() + 1, repository.len().unwrap(), "{name}");
        table.for_each(|id, entry| {
            let stored = repository.get(id).unwrap();
            assert_eq!(stored.len(), entry.csize as usize, "{name} {id}");
        });
    }
}

/// A repository whose archives are made by hand.
struct Made {
    _dir: tempfile::TempDir,
    repository: LocalRepository,
    crypto: Crypto,
    archives: Vec<ChunkId>,
    /// References counted while they were made.
    expected: HashMap<ChunkId, u32>,
}

impl Made {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let id = RepositoryId::new([3; 32]);
        let new = CreateOptions {
            id,
            append_only: false,
            storage_quota: None,
            make_parent_dirs: false,
        };
        Self {
            repository: LocalRepository::create(&dir.path().join("r"), &new, options()).unwrap(),
            _dir: dir,
            crypto: Crypto::plaintext(id),
            archives: Vec::new(),
            expected: HashMap::new(),
        }
    }

    fn put(&mut self, data: &[u8]) -> ChunkId {
        let mut object = self.crypto.begin();
        Compressor::new(&CompressionSpec::default()).compress(data, &mut object, 0.0);
        let id = self.crypto.id(data);
        let sealed = self.crypto.seal(object, 0);
        self.repository.put(&id, sealed.as_bytes()).unwrap();
        *self.expected.entry(id).or_default() += 1;
        id
    }

    /// Adds an archive of these items, its stream cut into pieces of this length.
    fn archive(&mut self, items: &[Item], piece: usize) {
        let mut stream = Vec::new();
        for item in items {
            item.encode(&mut stream);
            for chunk in item.chunks.iter().flatten() {
                *self.expected.entry(chunk.id).or_default() += 1;
            }
        }
        let metadata = ArchiveMetadata {
            name: self.archives.len().to_string().into_bytes(),
            items: stream.chunks(piece).map(|piece| self.put(piece)).collect(),
            ..ArchiveMetadata::default()
        };
        let id = self.put(&metadata.encode());
        self.archives.push(id);
    }

    fn count(&self, threads: usize) -> Result<ChunkTable, SyncError> {
        rebuild(
            &self.repository,
            &self.crypto,
            &self.archives,
            threads,
            &mut |_| {},
        )
    }

    fn check(&self) {
        for threads in [1, 2, 4] {
            let table = self.count(threads).unwrap();
            let counted: HashMap<ChunkId, u32> = contents(&table)
                .into_iter()
                .map(|(id, entry)| (id, entry.references))
                .collect();
            assert_eq!(counted, self.expected, "{threads} threads");
        }
    }
}

fn item(number: u32, chunks: u32) -> Item {
    let chunk = |part: u32| ChunkRef {
        id: ChunkId::new([(number.wrapping_mul(31) + part % 50) as u8; 32]),
        size: 5,
        csize: 7,
    };
    Item {
        path: format!("path/{number}").into_bytes(),
        chunks: Some((0..chunks).map(chunk).collect()),
        ..Item::default()
    }
}

#[test]
fn items_longer_than_any_carry_are_counted_in_every_archive() {
    let mut made = Made::new();
    let items = [
        item(1, 1),
        item(2, 2000),
        item(3, 1),
        item(2, 2000),
        item(4, 0),
    ];
    for piece in [5000, 5000, 30_000, 1_000_000] {
        made.archive(&items, piece);
        made.archive(&items[1..], piece);
    }
    made.check();
}

#[test]
fn archives_that_share_their_chunks_are_counted_each() {
    let mut made = Made::new();
    let items: Vec<Item> = (0..300).map(|number| item(number, number % 4)).collect();
    for archive in 0..12 {
        made.archive(&items[..300 - archive], 700);
    }
    made.archive(&[], 700);
    made.check();
}

#[test]
fn missing_and_damaged_metadata_is_an_error() {
    let mut made = Made::new();
    let items: Vec<Item> = (0..300).map(|number| item(number, 1)).collect();
    made.archive(&items, 700);
    made.repository.commit(None).unwrap();
    let stream = made.repository.list(None, None).unwrap();
    for id in stream {
        let stored = made.repository.get(&id).unwrap();
        made.repository.delete(&id).unwrap();
        assert!(made.count(2).is_err(), "missing {id}");
        made.repository
            .put(&id, &[&stored[..3], &b"?"[..]].concat())
            .unwrap();
        assert!(made.count(2).is_err(), "other {id}");
        made.repository.put(&id, &stored).unwrap();
    }
    made.check();
}

#[test]
fn a_stream_that_ends_inside_an_item_is_an_error() {
    let mut made = Made::new();
    let mut stream = Vec::new();
    item(1, 1).encode(&mut stream);
    let pieces = [made.put(&stream), made.put(&stream[..20])];
    let metadata = ArchiveMetadata {
        items: pieces.to_vec(),
        ..ArchiveMetadata::default()
    };
    let id = made.put(&metadata.encode());
    made.archives.push(id);
    let error = made.count(2).unwrap_err();
    assert!(matches!(error, SyncError::Items { archive, .. } if archive == id));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn counting_shared_streams_equals_plain_counting(
        archives in proptest::collection::vec(
            (0usize..30, 0usize..30, prop_oneof![Just(64usize), Just(700), Just(1 << 16)]), 1..8),
    ) {
        let mut made = Made::new();
        let items: Vec<Item> = (0..30)
            .map(|number| item(number, if number % 11 == 0 { 600 } else { number % 3 }))
            .collect();
        for (a, b, piece) in archives {
            made.archive(&items[a.min(b)..a.max(b)], piece);
        }
        made.check();
    }
}
