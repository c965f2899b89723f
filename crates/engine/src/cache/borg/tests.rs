//! What is left of Borg's cache when something comes between, and what is kept of it.

use fastness_format::hash_index::Loading;
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::item::ChunkRef;

use super::*;

const MANIFEST: ChunkId = ChunkId::new([7; 32]);

fn table(chunks: u32) -> ChunkTable {
    let table = ChunkTable::new();
    for number in 0..chunks {
        let mut id = [0; 32];
        let hash = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        id[..8].copy_from_slice(&hash.to_be_bytes());
        let chunk = ChunkRef {
            id: ChunkId::new(id),
            size: number + 10,
            csize: number + 5,
        };
        table.add(&chunk, number % 3 + 1);
    }
    table
}

fn identity() -> LockIdentity {
    LockIdentity {
        host_id: "here@1".to_owned(),
        pid: std::process::id(),
        thread: 0,
    }
}

struct Here {
    directory: tempfile::TempDir,
    repository: RepositoryId,
}

impl Here {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            repository: RepositoryId::from_hex(&"ab".repeat(32)).unwrap(),
        }
    }

    fn cache(&self) -> BorgCache {
        BorgCache::new(self.directory.path().join("abab"), None)
    }

    fn save(&self, table: &ChunkTable) -> io::Result<Saved> {
        let state = CacheState {
            repository: self.repository,
            manifest: &MANIFEST,
            timestamp: "2026-01-01T00:00:00.000000",
            key_type: 5,
            location: "/r",
        };
        self.cache().save(table, &state, identity())
    }

    fn belongs(&self) -> bool {
        let config = self.cache().config();
        config.is_some_and(|config| config.is_of(&self.repository, &MANIFEST))
    }

    /// Reads the chunks as Borg does: the digests of the config have to fit.
    fn assert_holds(&self, table: &ChunkTable) {
        let bytes = fs::read(self.cache().path().join(CHUNKS)).unwrap();
        let (header, rest) = bytes.split_first_chunk().unwrap();
        let mut digest = FileDigest::new(CHUNKS);
        digest.update(header);
        digest.part(PART_HEADER);
        digest.update(rest);
        let config = self.cache().config().unwrap();
        let said = Digests::from_json(config.chunks().unwrap()).unwrap();
        assert!(said.agree_with(&digest.finish()));
        let mut loading = Loading::<ChunkUse, 44>::begin(header, bytes.len() as u64).unwrap();
        loading.bucket_bytes_mut().copy_from_slice(rest);
        let index = loading.finish().unwrap();
        assert_eq!(index.len(), table.len());
        table.for_each(|id, entry| {
            let value = index.get(id).unwrap();
            let numbers = (value.refcount, value.size, value.csize);
            assert_eq!(numbers, (entry.references, entry.size, entry.csize));
        });
    }
}

#[test]
fn a_new_cache_and_one_that_is_there_hold_the_table() {
    let here = Here::new();
    for chunks in [0, 3000, 10] {
        let table = table(chunks);
        if chunks == 10 {
            // A process was killed here.
            fs::write(here.cache().path().join("chunks.77.tmp"), "half").unwrap();
        }
        assert_eq!(here.save(&table).unwrap(), Saved::Done);
        here.assert_holds(&table);
        assert!(here.belongs());
    }
    let mut names: Vec<_> = fs::read_dir(here.cache().path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [
        "README",
        "chunks",
        "chunks.archive.d",
        "config",
        "files",
        "pre12-meta",
    ];
    assert_eq!(names, expected);
    assert_eq!(fs::read_dir(here.directory.path()).unwrap().count(), 1);
}

#[test]
fn a_cache_in_use_is_left_alone() {
    let here = Here::new();
    here.save(&table(5)).unwrap();
    let before = fs::read(here.cache().path().join(CONFIG)).unwrap();
    let other = LockIdentity {
        host_id: "elsewhere@2".to_owned(),
        pid: 1,
        thread: 0,
    };
    let wait = LockWait::default();
    let lock = Lock::acquire(here.cache().path(), LockKind::Exclusive, wait, other).unwrap();
    assert_eq!(here.save(&table(9)).unwrap(), Saved::LeftAlone);
    lock.release().unwrap();
    assert_eq!(fs::read(here.cache().path().join(CONFIG)).unwrap(), before);
    here.assert_holds(&table(5));
}

#[test]
fn a_config_of_another_version_is_left_alone() {
    let here = Here::new();
    here.save(&table(5)).unwrap();
    let path = here.cache().path().join(CONFIG);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("version = 1", "version = 2")).unwrap();
    assert_eq!(here.save(&table(9)).unwrap(), Saved::LeftAlone);
    assert!(fs::read_to_string(&path).unwrap().contains("version = 2"));
}

#[test]
fn a_damaged_config_is_replaced() {
    let here = Here::new();
    here.save(&table(5)).unwrap();
    for damage in ["", "[cache", "[other]\n"] {
        fs::write(here.cache().path().join(CONFIG), damage).unwrap();
        here.save(&table(9)).unwrap();
        here.assert_holds(&table(9));
        assert!(here.belongs());
    }
}

#[test]
fn what_borg_left_of_a_transaction_is_rolled_back_first() {
    let here = Here::new();
    here.save(&table(5)).unwrap();
    let cache = here.cache();
    let active = cache.path().join(ACTIVE);
    fs::create_dir(&active).unwrap();
    fs::create_dir(cache.path().join(BEGUN)).unwrap();
    for name in [CHUNKS, CONFIG] {
        fs::copy(cache.path().join(name), active.join(name)).unwrap();
    }
    fs::write(active.join("files"), "as it was").unwrap();
    fs::write(cache.path().join("files"), "torn").unwrap();
    fs::write(cache.path().join(CHUNKS), "torn").unwrap();
    here.save(&table(9)).unwrap();
    here.assert_holds(&table(9));
    let files = fs::read_to_string(cache.path().join("files")).unwrap();
    assert_eq!(files, "as it was");
    assert!(!active.exists() && !cache.path().join(BEGUN).exists());
}

#[test]
fn a_directory_without_config_becomes_a_cache() {
    let here = Here::new();
    fs::create_dir(here.cache().path()).unwrap();
    fs::write(here.cache().path().join(ARCHIVES), "none are wanted").unwrap();
    here.save(&table(7)).unwrap();
    here.assert_holds(&table(7));
    assert!(here.cache().path().join(ARCHIVES).is_file());
}

#[test]
fn what_cannot_be_written_leaves_a_cache_of_no_or_the_old_manifest() {
    let here = Here::new();
    here.save(&table(5)).unwrap();
    let chunks = here.cache().path().join(CHUNKS);
    fs::remove_file(&chunks).unwrap();
    // A directory cannot be replaced by a file.
    fs::create_dir_all(chunks.join("x")).unwrap();
    assert!(here.save(&table(9)).is_err());
    assert!(!here.belongs());
    assert!(!here.cache().path().join("lock.exclusive").exists());
}

#[test]
fn the_location_is_changed_and_nothing_else() {
    let here = Here::new();
    here.save(&table(5)).unwrap();
    here.cache()
        .set_location(Some("/elsewhere"), identity())
        .unwrap();
    assert!(here.belongs());
    here.assert_holds(&table(5));
    assert_eq!(
        here.cache().config().unwrap().location(),
        Some("/elsewhere")
    );
}

#[test]
fn chunks_of_unknown_length_are_left_to_borg() {
    let here = Here::new();
    let unknown = table(3);
    let chunk = ChunkRef {
        id: ChunkId::new([9; 32]),
        size: 5,
        csize: 0,
    };
    unknown.add(&chunk, 1);
    assert_eq!(here.save(&unknown).unwrap(), Saved::LeftAlone);
    assert!(!here.cache().path().exists());
    here.save(&table(5)).unwrap();
    assert_eq!(here.save(&unknown).unwrap(), Saved::LeftAlone);
    here.assert_holds(&table(5));
}
