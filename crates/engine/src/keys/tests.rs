//! Keys in their places, passphrases from all sources, and counters that never repeat.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::sync::{Arc, Mutex};

use fastness_format::id::ChunkId;
use fastness_repository::{
    CheckOptions, CommitReport, CompactOptions, NonceStore, RepositoryError, Result as RepoResult,
};
use serde_json::Value as Json;

use super::*;
use crate::event::Silent;

const KNOWN: &str = include_str!("../../../../testdata/keys/known-answers.json");
const PASSPHRASE: &str = "golden passphrase ü";

fn known(name: &str) -> Json {
    let known: Vec<Json> = serde_json::from_str(KNOWN).unwrap();
    known.into_iter().find(|e| e["name"] == name).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

/// The user: what is given, what is typed, what was asked.
#[derive(Default)]
struct User {
    given: Option<Passphrase>,
    given_new: Option<Passphrase>,
    typed: RefCell<VecDeque<&'static str>>,
    asked: RefCell<Vec<String>>,
    told: RefCell<Vec<String>>,
    offers: Cell<u32>,
}

impl User {
    fn gives(passphrase: &str) -> Self {
        Self {
            given: Some(Passphrase::new(passphrase)),
            ..Self::default()
        }
    }

    fn types(passphrases: &[&'static str]) -> Self {
        Self {
            typed: RefCell::new(passphrases.iter().copied().collect()),
            ..Self::default()
        }
    }
}

impl PassphraseSource for User {
    fn given(&self) -> Result<Option<Passphrase>, KeyError> {
        Ok(self.given.clone())
    }

    fn given_new(&self) -> Option<Passphrase> {
        self.given_new.clone()
    }

    fn prompt(&self, text: &str) -> Result<Passphrase, KeyError> {
        self.asked.borrow_mut().push(text.to_owned());
        let typed = self.typed.borrow_mut().pop_front();
        typed
            .map(Passphrase::new)
            .ok_or_else(|| KeyError::NoPassphrase("Interactive password query failed.".into()))
    }

    fn tell(&self, text: &str) {
        self.told.borrow_mut().push(text.to_owned());
    }

    fn offer_display(&self, _passphrase: &Passphrase) {
        self.offers.set(self.offers.get() + 1);
    }
}

/// A repository that holds a key and nothing else.
struct KeyOnly {
    id: RepositoryId,
    key: Option<String>,
    nonces: Arc<Reservations>,
}

impl KeyOnly {
    fn new(id: RepositoryId, key: Option<&str>) -> Self {
        Self {
            id,
            key: key.map(str::to_owned),
            nonces: Arc::default(),
        }
    }

    fn nothing<T>(&self) -> RepoResult<T> {
        Err(RepositoryError::DoesNotExist("keys only".to_owned()))
    }
}

impl Repository for KeyOnly {
    fn id(&self) -> RepositoryId {
        self.id
    }
    fn location(&self) -> String {
        "/repo".to_owned()
    }
    fn get_with(
        &self,
        _id: &ChunkId,
        _room: &mut fastness_repository::Room<'_>,
    ) -> RepoResult<Vec<u8>> {
        self.nothing()
    }
    fn contains(&self, _id: &ChunkId) -> RepoResult<bool> {
        self.nothing()
    }
    fn len(&self) -> RepoResult<usize> {
        self.nothing()
    }
    fn list(&self, _limit: Option<usize>, _marker: Option<&ChunkId>) -> RepoResult<Vec<ChunkId>> {
        self.nothing()
    }
    fn scan(&self, _limit: Option<usize>, _marker: Option<&ChunkId>) -> RepoResult<Vec<ChunkId>> {
        self.nothing()
    }
    fn put(&mut self, _id: &ChunkId, _value: &[u8]) -> RepoResult<()> {
        self.nothing()
    }
    fn delete(&mut self, _id: &ChunkId) -> RepoResult<()> {
        self.nothing()
    }
    fn commit(&mut self, _compaction: Option<CompactOptions>) -> RepoResult<CommitReport> {
        self.nothing()
    }
    fn rollback(&mut self) -> RepoResult<()> {
        self.nothing()
    }
    fn check(&mut self, _options: &CheckOptions) -> RepoResult<bool> {
        self.nothing()
    }
    fn destroy(&mut self) -> RepoResult<()> {
        self.nothing()
    }
    fn load_key(&self) -> RepoResult<Option<String>> {
        Ok(self.key.clone())
    }
    fn save_key(&mut self, key: &str) -> RepoResult<()> {
        self.key = Some(key.to_owned());
        Ok(())
    }
    fn nonces(&self) -> Arc<dyn NonceStore> {
        self.nonces.clone()
    }
    fn break_lock(&mut self) -> RepoResult<()> {
        self.nothing()
    }
    fn close(&mut self) -> RepoResult<()> {
        Ok(())
    }
}

/// The repository's nonce file, in memory.
#[derive(Default)]
struct Reservations(Mutex<Option<u64>>);

impl NonceStore for Reservations {
    fn get_free_nonce(&self) -> RepoResult<Option<u64>> {
        Ok(*self.0.lock().unwrap())
    }

    fn commit_nonce_reservation(&self, next: u64, expected: Option<u64>) -> RepoResult<()> {
        let mut free = self.0.lock().unwrap();
        if *free != expected {
            return Err(RepositoryError::NonceMismatch);
        }
        *free = Some(next);
        Ok(())
    }
}

/// Counts up: different bytes each time.
#[derive(Default)]
struct Counting(Mutex<u8>);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        let mut count = self.0.lock().unwrap();
        for byte in bytes {
            *count = count.wrapping_mul(5).wrapping_add(17);
            *byte = *count;
        }
        Ok(())
    }
}

struct Place {
    _root: tempfile::TempDir,
    directories: Directories,
}

fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let directories = Directories {
        config: at("config"),
        keys: at("config/keys"),
        security: at("config/security"),
        cache: at("cache"),
    };
    Place {
        _root: root,
        directories,
    }
}

impl Place {
    fn context<'a>(&'a self, user: &'a User) -> KeyContext<'a> {
        KeyContext {
            directories: &self.directories,
            key_file: None,
            key_file_name: "repo",
            repository: "/repo",
            passphrases: user,
            monitor: &Silent,
            without_key: false,
        }
    }
}

fn golden(entry: &Json) -> (KeyOnly, Vec<u8>, &str) {
    let id = RepositoryId::from_hex(entry["repository_id"].as_str().unwrap()).unwrap();
    let text = entry["key_text"].as_str().unwrap();
    let manifest = unhex(entry["manifest"].as_str().unwrap());
    (KeyOnly::new(id, Some(text)), manifest, text)
}

#[test]
fn keys_in_real_repositories_open_and_read_the_manifest() {
    for name in [
        "v14-repokey",
        "v14-repokey-blake2",
        "v14-authenticated",
        "v14-authenticated-blake2",
        "v11-repokey",
    ] {
        let entry = known(name);
        let (repository, manifest, _) = golden(&entry);
        let (place, user) = (place(), User::gives(PASSPHRASE));
        let key = open(&place.context(&user), &repository, &manifest).unwrap();
        assert_eq!(key.target, KeyTarget::Repository);
        assert_eq!(key.logically_encrypted, !name.contains("auth"), "{name}");
        let payload = key.crypto.open(&manifest).unwrap().into_owned();
        assert_eq!(
            payload,
            unhex(entry["manifest_payload"].as_str().unwrap()),
            "{name}"
        );
        assert!(user.asked.borrow().is_empty());
    }
}

#[test]
fn a_key_file_is_found_by_its_content_among_other_files() {
    for name in ["v14-keyfile", "v14-keyfile-blake2", "v12-keyfile-blake2"] {
        let entry = known(name);
        let (repository, manifest, text) = golden(&entry);
        let (place, user) = (place(), User::gives(PASSPHRASE));
        let context = place.context(&user);
        let error = open(&context, &repository, &manifest).unwrap_err();
        assert_eq!(error.msgid(), "KeyfileNotFoundError");
        let keys = &place.directories.keys;
        fs::create_dir_all(keys.join("directory")).unwrap();
        fs::write(keys.join("a-note"), [0xff, 0xfe]).unwrap();
        let mut foreign = text.to_owned();
        foreign.replace_range(9..11, "00");
        fs::write(keys.join("b-foreign"), foreign).unwrap();
        fs::write(keys.join("zz any name"), text).unwrap();
        let key = open(&context, &repository, &manifest).unwrap();
        assert_eq!(key.target, KeyTarget::File(keys.join("zz any name")));
        assert!(key.logically_encrypted);
        assert!(key.crypto.open(&manifest).is_ok());
    }
}

#[test]
fn a_named_key_file_is_the_only_one_that_counts() {
    let entry = known("v14-keyfile");
    let (repository, manifest, text) = golden(&entry);
    let (place, user) = (place(), User::gives(PASSPHRASE));
    fs::create_dir_all(&place.directories.keys).unwrap();
    fs::write(place.directories.keys.join("good"), text).unwrap();
    let named = place.directories.config.join("named");
    let context = KeyContext {
        key_file: Some(&named),
        ..place.context(&user)
    };
    let msgid = || {
        let error = open(&context, &repository, &manifest).unwrap_err();
        error.msgid().to_owned()
    };
    assert_eq!(msgid(), "KeyfileNotFoundError");
    fs::write(&named, "something else").unwrap();
    assert_eq!(msgid(), "KeyfileInvalidError");
    fs::write(&named, format!("BORG_KEY {}\nAAAA\n", "0".repeat(64))).unwrap();
    assert_eq!(msgid(), "KeyfileMismatchError");
    fs::write(&named, text).unwrap();
    let key = open(&context, &repository, &manifest).unwrap();
    assert_eq!(key.target, KeyTarget::File(named));
}

#[test]
fn a_given_passphrase_that_is_wrong_is_never_asked_for_again() {
    let entry = known("v14-repokey");
    let (repository, manifest, _) = golden(&entry);
    let (place, user) = (place(), User::gives("wrong"));
    let error = open(&place.context(&user), &repository, &manifest).unwrap_err();
    assert_eq!(error.msgid(), "PassphraseWrong");
    assert!(user.asked.borrow().is_empty());
}

#[test]
fn three_passphrases_may_be_typed() {
    let entry = known("v14-repokey");
    let (repository, manifest, _) = golden(&entry);
    let place = place();
    let user = User::types(&["no", "nein", PASSPHRASE]);
    assert!(open(&place.context(&user), &repository, &manifest).is_ok());
    assert_eq!(user.asked.borrow()[0], "Enter passphrase for key /repo: ");
    let user = User::types(&["no", "nein", "non", PASSPHRASE]);
    let error = open(&place.context(&user), &repository, &manifest).unwrap_err();
    assert_eq!(error.msgid(), "PasswordRetriesExceeded");
    let error = open(&place.context(&User::default()), &repository, &manifest).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cannot acquire a passphrase: Interactive password query failed."
    );
}

#[test]
fn a_damaged_or_missing_key_is_named_as_such() {
    let entry = known("v14-repokey");
    let (mut repository, manifest, _) = golden(&entry);
    let (place, user) = (place(), User::gives(PASSPHRASE));
    let context = place.context(&user);
    for (key, msgid) in [
        (None, "RepoKeyNotFoundError"),
        (Some(""), "RepoKeyNotFoundError"),
        (Some("AAAA"), "KeyfileInvalidError"),
        (Some("not base64!"), "KeyfileInvalidError"),
    ] {
        repository.key = key.map(str::to_owned);
        let error = open(&context, &repository, &manifest).unwrap_err();
        assert_eq!(error.msgid(), msgid, "{key:?}");
    }
    let error = open(&context, &repository, &[9, 0]).unwrap_err();
    assert_eq!(error.msgid(), "UnsupportedPayloadError");
    let error = open(&context, &repository, &[]).unwrap_err();
    assert_eq!(error.msgid(), "IntegrityError");
}

#[test]
fn every_mode_is_created_opened_and_given_a_new_passphrase() {
    for (number, key_type) in KeyType::CREATABLE.into_iter().enumerate() {
        let (place, random) = (place(), Counting::default());
        let id = RepositoryId::new([number as u8; 32]);
        let mut repository = KeyOnly::new(id, None);
        let user = User::types(&["one", "other", "secret", "secret"]);
        let context = place.context(&user);
        let mut key = create(&context, &mut repository, key_type, None, &random).unwrap();
        assert_eq!(key.crypto.key_type(), key_type);
        if key_type == KeyType::Plaintext {
            assert!(user.asked.borrow().is_empty());
            let error = change_passphrase(&context, &mut repository, &mut key, &random);
            assert!(matches!(error, Err(KeyError::Unencrypted)));
            continue;
        }
        assert_eq!(user.told.borrow()[0], "Passphrases do not match");
        assert_eq!(user.offers.get(), 1);
        assert_eq!(key.logically_encrypted, key_type.encrypts());
        let manifest = [key_type.byte()];
        let reopened = |passphrase| {
            let user = User::gives(passphrase);
            open(&place.context(&user), &repository, &manifest)
        };
        let again = reopened("secret").unwrap();
        assert!(again.crypto.material() == key.crypto.material());
        assert!(key.crypto.tam_required());
        assert!(reopened("other").is_err());

        // Both are given: the old one by BORG_PASSPHRASE, the new one by BORG_NEW_PASSPHRASE.
        let user = User {
            given_new: Some(Passphrase::new("")),
            ..User::gives("secret")
        };
        let context = place.context(&user);
        change_passphrase(&context, &mut repository, &mut key, &random).unwrap();
        let keyfile = key_type.storage() == KeyStorage::Keyfile;
        assert_eq!(key.logically_encrypted, keyfile);
        // The empty passphrase is tried before anybody is asked.
        let nobody = User::default();
        let again = open(&place.context(&nobody), &repository, &manifest).unwrap();
        assert!(again.crypto.material() == key.crypto.material());
        assert_eq!(again.logically_encrypted, keyfile);
    }
}

#[test]
fn new_key_files_get_free_names_and_never_replace_a_named_one() {
    let (place, user, random) = (place(), User::gives("p"), Counting::default());
    let context = place.context(&user);
    let mut files = Vec::new();
    for number in 0..3 {
        let mut repository = KeyOnly::new(RepositoryId::new([number; 32]), None);
        let key = create(&context, &mut repository, KeyType::Keyfile, None, &random).unwrap();
        let KeyTarget::File(path) = key.target else {
            panic!("a key file");
        };
        files.push(path.file_name().unwrap().to_owned());
    }
    assert_eq!(files, ["repo", "repo.2", "repo.3"]);

    let named = place.directories.keys.join("repo.2");
    let before = fs::read(&named).unwrap();
    let context = KeyContext {
        key_file: Some(&named),
        ..context
    };
    let mut repository = KeyOnly::new(RepositoryId::new([9; 32]), None);
    let error = create(&context, &mut repository, KeyType::Keyfile, None, &random).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Aborting because key in \"{}\" already exists.",
            named.display()
        )
    );
    assert_eq!(fs::read(&named).unwrap(), before);
    assert_eq!(fs::read_dir(&place.directories.keys).unwrap().count(), 3);
}

#[test]
fn related_repositories_share_ids_and_cuts_but_no_cipher_key() {
    let (place, user, random) = (place(), User::gives("p"), Counting::default());
    let context = place.context(&user);
    let make = |number, key_type, related: Option<&Related<'_>>| {
        let mut repository = KeyOnly::new(RepositoryId::new([number; 32]), None);
        create(&context, &mut repository, key_type, related, &random)
    };
    let first = make(1, KeyType::RepokeyBlake2, None).unwrap();
    let secrets = first.crypto.material().related_secrets();
    let related = Related {
        key_type: KeyType::RepokeyBlake2,
        secrets: &secrets,
    };
    let second = make(2, KeyType::AuthenticatedBlake2, Some(&related)).unwrap();
    assert_eq!(first.crypto.id(b"data"), second.crypto.id(b"data"));
    assert_eq!(first.crypto.chunk_seed(), second.crypto.chunk_seed());
    assert!(first.crypto.material().enc_key != second.crypto.material().enc_key);
    for key_type in [KeyType::Repokey, KeyType::Plaintext] {
        let error = make(3, key_type, Some(&related)).unwrap_err();
        assert!(error.to_string().contains("deduplication will break"));
    }
}

#[test]
fn an_authenticated_repository_opens_without_its_key_when_that_is_asked_for() {
    let entry = known("v14-authenticated");
    let (repository, manifest, _) = golden(&entry);
    let (place, user) = (place(), User::default());
    let context = KeyContext {
        without_key: true,
        ..place.context(&user)
    };
    let key = open(&context, &repository, &manifest).unwrap();
    assert!(key.without_key && key.crypto.open(&manifest).is_ok());
    let entry = known("v14-repokey");
    let (repository, manifest, _) = golden(&entry);
    assert!(open(&context, &repository, &manifest).is_err());
}

fn local_nonce(place: &Place) -> PathBuf {
    place.directories.config.join("nonce")
}

fn allocator(place: &Place, store: &Arc<Reservations>, from_manifest: u64) -> NonceAllocator {
    NonceAllocator::new(store.clone(), &place.directories.config, from_manifest)
}

#[test]
fn threads_and_later_runs_never_get_the_same_counter() {
    let place = place();
    let store = Arc::new(Reservations::default());
    let taken = Mutex::new(BTreeSet::new());
    for _run in 0..3 {
        // Each run starts from what the one before left, as after a crash: nothing is given back.
        let allocator = allocator(&place, &store, 1000);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (allocator, taken) = (&allocator, &taken);
                scope.spawn(move || {
                    for n in 0..200 {
                        let blocks = 1 + (n * 7 + thread) % 5 * (nonce::RESERVATION / 40);
                        let first = allocator.reserve(blocks).unwrap();
                        taken.lock().unwrap().insert((first, first + blocks));
                    }
                });
            }
        });
    }
    let taken = taken.into_inner().unwrap();
    assert_eq!(taken.len(), 3 * 4 * 200);
    let mut end = 1000;
    for (first, after) in taken {
        assert!(first >= end, "{first} was handed out before");
        end = after;
    }
    assert!(store.get_free_nonce().unwrap().unwrap() >= end);
}

#[test]
fn the_first_counter_of_a_repository_is_zero_after_both_files_say_so() {
    let place = place();
    let store = Arc::new(Reservations::default());
    let allocator = allocator(&place, &store, 0);
    assert_eq!(allocator.reserve(0).unwrap(), 0);
    assert_eq!(store.get_free_nonce().unwrap(), None);
    assert_eq!(allocator.reserve(5).unwrap(), 0);
    assert_eq!(store.get_free_nonce().unwrap(), Some(0x1000_0005));
    let text = fs::read_to_string(local_nonce(&place)).unwrap();
    assert_eq!(text, "0000000010000005");
    assert_eq!(allocator.reserve(7).unwrap(), 5);
    assert_eq!(allocator.reserve(nonce::RESERVATION).unwrap(), 0x1000_0005);
}

#[test]
fn the_highest_of_all_records_counts() {
    for (repository, local, manifest, first) in [
        (Some(10), Some(20), 30, 30),
        (Some(10), Some(40), 30, 40),
        (Some(50), Some(40), 30, 50),
        (None, Some(40), 30, 40),
        (Some(50), None, 30, 50),
        (None, None, 30, 30),
    ] {
        let place = place();
        fs::create_dir_all(&place.directories.config).unwrap();
        if let Some(local) = local {
            fs::write(local_nonce(&place), format!(" {local:016X}\n")).unwrap();
        }
        let store = Arc::new(Reservations(Mutex::new(repository)));
        assert_eq!(
            allocator(&place, &store, manifest).reserve(1).unwrap(),
            first
        );
    }
}

#[test]
fn no_counter_is_handed_out_unless_both_places_are_reserved() {
    let store = Arc::new(Reservations::default());
    for damage in ["", "xyz", "00", "00000000100000055"] {
        let place = place();
        fs::create_dir_all(&place.directories.config).unwrap();
        fs::write(local_nonce(&place), damage).unwrap();
        let error = allocator(&place, &store, 0).reserve(1).unwrap_err();
        assert!(matches!(error, NonceError::InvalidLocal(_)), "{damage}");
        assert_eq!(store.get_free_nonce().unwrap(), None);
    }
    let place = place();
    fs::create_dir_all(local_nonce(&place)).unwrap();
    let unreadable = allocator(&place, &store, 0);
    assert!(matches!(
        unreadable.reserve(1),
        Err(NonceError::Local { .. })
    ));
    let exhausted = allocator(&self::place(), &store, u64::MAX - nonce::RESERVATION);
    assert!(matches!(exhausted.reserve(1), Err(NonceError::Exhausted)));
    assert!(matches!(
        exhausted.reserve(u64::MAX),
        Err(NonceError::Exhausted)
    ));
    assert_eq!(store.get_free_nonce().unwrap(), None);
}

#[test]
fn counters_begin_above_those_of_the_manifest() {
    let entry = known("v14-repokey");
    let (repository, manifest, _) = golden(&entry);
    let (place, user) = (place(), User::gives(PASSPHRASE));
    let key = open(&place.context(&user), &repository, &manifest).unwrap();
    let counter = key.crypto.counter_of(&manifest).unwrap();
    let after = nonce::after_manifest(&key.crypto, &manifest);
    assert_eq!(after, counter + (manifest.len() as u64).div_ceil(16));
    assert_eq!(
        nonce::after_manifest(&Crypto::plaintext(repository.id), &manifest),
        0
    );
}
