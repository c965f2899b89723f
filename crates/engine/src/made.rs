//! Small repositories made by hand, for the tests of what is done with archives.
//!
//! They have no key, so every object is what its bytes say; archives have an item stream cut where
//! the test wants it, and files of one chunk each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::compress::{CompressionSpec, Compressor};
use fastness_format::crypto::{Crypto, tam};
use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::item::{ChunkRef, Item, ItemDecoder};
use fastness_format::manifest::{ArchiveEntry, Manifest};
use fastness_repository::local::{CreateOptions, LocalRepository, OpenOptions};
use fastness_repository::{Repository, Silent as SilentRepository};

use crate::cache::ChunkTable;
use crate::cache::sync;
use crate::catalogue::Catalogue;
use crate::event::{Event, Level, Monitor};
use crate::keys::{KeyError, NonceAllocator, Passphrase, PassphraseSource};
use crate::objects::read_object;
use crate::security::{Authenticity, WrongTag};
use crate::session::Session;
use crate::world::{Clock, Random, UnixNanos, World};

/// Remembers what is told, from warnings on or all of it.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<(Level, String)>>);

impl Monitor for Told {
    fn event(&self, event: Event<'_>) {
        if let Event::Log { level, message, .. } = event {
            self.0.lock().unwrap().push((level, message));
        }
    }
}

pub(crate) struct Nobody;

impl PassphraseSource for Nobody {
    fn given(&self) -> Result<Option<Passphrase>, KeyError> {
        Ok(None)
    }
    fn given_new(&self) -> Option<Passphrase> {
        None
    }
    fn prompt(&self, _text: &str) -> Result<Passphrase, KeyError> {
        Err(KeyError::NoPassphrase("nobody is here".into()))
    }
    fn tell(&self, _text: &str) {}
    fn offer_display(&self, _passphrase: &Passphrase) {}
}

pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> UnixNanos {
        UnixNanos(1_700_000_000_000_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

impl Random for Still {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        bytes.fill(7);
        Ok(())
    }
}

/// A repository without a key, made by hand.
pub(crate) struct Made {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repository: LocalRepository,
    pub(crate) crypto: Crypto,
    pub(crate) manifest: Manifest,
}

impl Made {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let id = RepositoryId::new([3; 32]);
        let new = CreateOptions {
            id,
            append_only: false,
            storage_quota: None,
            make_parent_dirs: false,
        };
        let options = OpenOptions {
            lock: None,
            append_only: false,
            storage_quota: None,
            monitor: Arc::new(SilentRepository),
            now: std::time::SystemTime::now,
        };
        Self {
            repository: LocalRepository::create(&dir.path().join("r"), &new, options).unwrap(),
            dir,
            crypto: Crypto::plaintext(id),
            manifest: Manifest::new(),
        }
    }

    pub(crate) fn put_as(&mut self, id: ChunkId, data: &[u8]) {
        let mut object = self.crypto.begin();
        Compressor::new(&CompressionSpec::default()).compress(data, &mut object, 0.0);
        let sealed = self.crypto.seal(object, 0);
        self.repository.put(&id, sealed.as_bytes()).unwrap();
    }

    pub(crate) fn put(&mut self, data: &[u8]) -> ChunkId {
        let id = self.crypto.id(data);
        self.put_as(id, data);
        id
    }

    /// Adds an archive with an item stream of these bytes, cut where it is told.
    pub(crate) fn archive_of(&mut self, name: &str, pieces: &[&[u8]]) -> Vec<ChunkId> {
        let metadata = ArchiveMetadata {
            name: name.as_bytes().to_vec(),
            items: pieces.iter().map(|piece| self.put(piece)).collect(),
            time: format!(
                "2026-11-22T10:00:{:02}.000000",
                self.manifest.archives.len()
            ),
            ..ArchiveMetadata::default()
        };
        let encoded = metadata.encode();
        let salt = [1; tam::SALT_LEN];
        let data = tam::authenticate(&self.crypto, &encoded, tam::Context::Archive, &salt).unwrap();
        let entry = ArchiveEntry {
            id: self.put(&data),
            time: metadata.time,
        };
        self.manifest.archives.insert(metadata.name, entry);
        metadata.items
    }

    /// Adds an archive of files with a chunk each, `per_chunk` items in a chunk of the stream.
    pub(crate) fn archive(&mut self, name: &str, files: u32, per_chunk: usize) -> Vec<ChunkId> {
        let items: Vec<Item> = (0..files).map(|number| self.file(number)).collect();
        let pieces: Vec<Vec<u8>> = items
            .chunks(per_chunk)
            .map(|items| {
                let mut piece = Vec::new();
                items.iter().for_each(|item| item.encode(&mut piece));
                piece
            })
            .collect();
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        self.archive_of(name, &pieces)
    }

    pub(crate) fn file(&mut self, number: u32) -> Item {
        let data = content(number);
        Item {
            path: format!("files/{number}").into_bytes(),
            mode: 0o100_644,
            mtime: Some(1),
            size: Some(data.len() as u64),
            chunks: Some(vec![ChunkRef {
                id: self.put(&data),
                size: data.len() as u32,
                csize: 9,
            }]),
            ..Item::default()
        }
    }

    pub(crate) fn commit(&mut self) {
        let salt = [2; tam::SALT_LEN];
        let encoded = self.manifest.encode();
        let data = tam::authenticate(&self.crypto, &encoded, tam::Context::Manifest, &salt);
        self.put_as(ChunkId::MANIFEST, &data.unwrap());
        self.repository.commit(None).unwrap();
    }

    pub(crate) fn delete(&mut self, id: &ChunkId) {
        self.repository.delete(id).unwrap();
        self.repository.commit(None).unwrap();
    }

    pub(crate) fn manifest(&self) -> Manifest {
        let data = read_object(&self.repository, &self.crypto, &ChunkId::MANIFEST).unwrap();
        Manifest::decode(&data).unwrap()
    }

    pub(crate) fn items(&self, name: &str) -> Vec<Item> {
        let entry = &self.manifest().archives[name.as_bytes()];
        let data = read_object(&self.repository, &self.crypto, &entry.id).unwrap();
        let mut decoder = ItemDecoder::new();
        for id in ArchiveMetadata::decode(&data).unwrap().items {
            decoder.feed(&read_object(&self.repository, &self.crypto, &id).unwrap());
        }
        decoder.map(Result::unwrap).collect()
    }
}

pub(crate) fn content(number: u32) -> Vec<u8> {
    (number + 1).to_le_bytes().repeat(20)
}

/// The world of these tests.
pub(crate) const WORLD: World<'_> = World {
    clock: &Still,
    random: &Still,
};

impl Made {
    /// Commits and opens what was made.
    pub(crate) fn open(mut self) -> Opened {
        self.commit();
        let manifest = self.manifest();
        let crypto = Arc::new(self.crypto);
        let security = self.dir.path().join("security");
        let nonces = NonceAllocator::new(self.repository.nonces(), &security, 0);
        let nonces = Arc::new(nonces);
        let session = Session {
            catalogue: Catalogue {
                crypto: Arc::clone(&crypto),
                nonces: Arc::clone(&nonces),
                manifest,
                manifest_id: ChunkId::MANIFEST,
                authenticity: Authenticity::Unverified,
                wrong_tag: WrongTag::Refuse,
            },
            repository: Box::new(self.repository),
            crypto,
            nonces,
            logically_encrypted: false,
        };
        Opened {
            _dir: self.dir,
            session,
        }
    }
}

/// A made repository that is open.
pub(crate) struct Opened {
    _dir: tempfile::TempDir,
    pub(crate) session: Session,
}

impl Opened {
    /// Gives the session away, and the directory that must outlive it.
    pub(crate) fn into_parts(self) -> (Session, tempfile::TempDir) {
        (self.session, self._dir)
    }

    /// Counts what the archives of the manifest refer to.
    pub(crate) fn counted(&self) -> ChunkTable {
        let archives = self.session.catalogue.manifest.archives.values();
        let ids: Vec<ChunkId> = archives.map(|entry| entry.id).collect();
        let repository = self.session.repository.as_ref();
        sync::rebuild(repository, &self.session.crypto, &ids, 1, &mut |_| {}).unwrap()
    }

    /// All objects but the manifest, in order.
    pub(crate) fn objects(&self) -> Vec<ChunkId> {
        let mut ids = self.session.repository.list(None, None).unwrap();
        ids.retain(|id| *id != ChunkId::MANIFEST);
        ids.sort_unstable();
        ids
    }

    /// The objects that archives refer to, in order.
    pub(crate) fn referred(&self) -> Vec<ChunkId> {
        let mut ids = Vec::new();
        self.counted().for_each(|id, _| ids.push(*id));
        ids.sort_unstable();
        ids
    }
}
