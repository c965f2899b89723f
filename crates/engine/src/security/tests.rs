//! Repositories that moved, were swapped, replayed or are new.

use std::cell::RefCell;

use fastness_format::crypto::Crypto;
use fastness_format::crypto::KeyMaterial;
use fastness_format::crypto::tam::{Context, Requirement, authenticate};
use fastness_format::msgpack::Value;

use super::*;
use crate::event::Silent;

const ID: RepositoryId = RepositoryId::new([0x1d; 32]);
const OLD: &str = "2026-11-22T16:12:34.663407";
const NEW: &str = "2026-11-22T16:12:34.663408";

/// Answers all questions alike and remembers them.
struct Answers(bool, RefCell<Vec<Question>>);

impl Questions for Answers {
    fn ask(&self, question: &Question) -> bool {
        self.1.borrow_mut().push(question.clone());
        self.0
    }
}

fn answering(answer: bool) -> Answers {
    Answers(answer, RefCell::default())
}

struct Client {
    root: tempfile::TempDir,
}

impl Client {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn manager(&self, location: &'static str) -> SecurityManager<'static> {
        let directories = Directories {
            security: self.root.path().join("security"),
            ..Directories::default()
        };
        SecurityManager::new(&directories, ID, location.as_bytes(), &Silent)
    }

    fn file(&self, name: &str) -> String {
        let path = self.root.path().join("security").join(ID.to_string());
        fs::read_to_string(path.join(name)).unwrap()
    }
}

fn presented(key_type: KeyType, manifest_timestamp: &str) -> Presented<'_> {
    Presented {
        key_type,
        logically_encrypted: key_type.encrypts(),
        manifest_timestamp,
    }
}

fn access(
    manager: &SecurityManager<'_>,
    key_type: KeyType,
    timestamp: &str,
    questions: &Answers,
) -> Result<Outcome, SecurityError> {
    let presented = presented(key_type, timestamp);
    manager.assert_secure(&presented, None, Access::Existing, questions)
}

#[test]
fn an_encrypted_repository_is_remembered_without_a_question() {
    let client = Client::new();
    let (manager, questions) = (client.manager("/repo"), answering(false));
    assert!(!manager.known());
    access(&manager, KeyType::Repokey, OLD, &questions).unwrap();
    assert!(manager.known() && questions.1.borrow().is_empty());
    assert_eq!(client.file("location"), "/repo");
    assert_eq!(client.file("key-type"), "3");
    assert_eq!(client.file("manifest-timestamp"), OLD);
    // Reading does not move the timestamp; completing a transaction does.
    access(&manager, KeyType::Repokey, NEW, &questions).unwrap();
    assert_eq!(client.file("manifest-timestamp"), OLD);
    manager.save(KeyType::Repokey, NEW).unwrap();
    assert_eq!(client.file("manifest-timestamp"), NEW);
    manager.destroy().unwrap();
    assert!(!manager.known());
    manager.destroy().unwrap();
}

#[test]
fn an_unknown_repository_without_encryption_is_used_only_if_the_user_wants_it() {
    for key_type in [KeyType::Plaintext, KeyType::Authenticated] {
        let client = Client::new();
        let manager = client.manager("/repo");
        let no = answering(false);
        let error = access(&manager, key_type, OLD, &no).unwrap_err();
        assert_eq!(error.msgid(), "Cache.CacheInitAbortedError");
        assert!(!manager.known());
        let asked = no.1.borrow();
        assert_eq!(
            asked[0].variable,
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK"
        );
        assert_eq!(
            asked[0].message,
            "Warning: Attempting to access a previously unknown unencrypted repository!\n\
             Do you want to continue? [yN] "
        );
        let yes = answering(true);
        access(&manager, key_type, OLD, &yes).unwrap();
        access(&manager, key_type, OLD, &no).unwrap();
        assert_eq!(yes.1.borrow().len(), 1);
        assert_eq!(asked.len(), 1, "known now");
    }
    // Nothing is asked about a repository that is being made.
    let client = Client::new();
    let presented = presented(KeyType::Plaintext, OLD);
    let manager = client.manager("/repo");
    let result = manager.assert_secure(&presented, None, Access::New, &NobodyToAsk);
    assert!(result.is_ok() && manager.known());
}

#[test]
fn a_repository_that_moved_is_used_only_if_the_user_wants_it() {
    let client = Client::new();
    let (no, yes) = (answering(false), answering(true));
    access(&client.manager("/here"), KeyType::Repokey, OLD, &no).unwrap();
    let there = client.manager("/there");
    let error = access(&there, KeyType::Repokey, OLD, &no).unwrap_err();
    assert_eq!(error.msgid(), "Cache.RepositoryAccessAborted");
    assert_eq!(
        no.1.borrow()[0].message,
        "Warning: The repository at location /there was previously located at /here\n\
         Do you want to continue? [yN] "
    );
    assert_eq!(client.file("location"), "/here");
    let outcome = access(&there, KeyType::Repokey, OLD, &yes).unwrap();
    assert_eq!(outcome, Outcome::Relocated);
    assert_eq!(client.file("location"), "/there");
    let outcome = access(&there, KeyType::Repokey, OLD, &no).unwrap();
    assert_eq!(outcome, Outcome::Unchanged);
}

#[test]
fn a_swapped_repository_is_refused() {
    let client = Client::new();
    let (manager, yes) = (client.manager("/repo"), answering(true));
    access(&manager, KeyType::Repokey, OLD, &yes).unwrap();
    for key_type in [KeyType::Plaintext, KeyType::RepokeyBlake2] {
        let error = access(&manager, key_type, NEW, &yes).unwrap_err();
        assert_eq!(error.msgid(), "Cache.EncryptionMethodMismatch");
    }
    assert!(yes.1.borrow().is_empty(), "and nobody can allow it");
}

#[test]
fn an_older_manifest_than_the_last_one_seen_is_refused() {
    for (key_type, msgid) in [
        (KeyType::Repokey, "Cache.RepositoryReplay"),
        (KeyType::Authenticated, "Cache.RepositoryReplay"),
        (KeyType::Plaintext, "Cache.RepositoryIDNotUnique"),
    ] {
        let client = Client::new();
        let (manager, yes) = (client.manager("/repo"), answering(true));
        access(&manager, key_type, NEW, &yes).unwrap();
        let error = access(&manager, key_type, OLD, &yes).unwrap_err();
        assert_eq!(error.msgid(), msgid);
    }
}

#[test]
fn what_the_cache_knows_counts_as_well() {
    let client = Client::new();
    let (manager, no) = (client.manager("/repo"), answering(false));
    access(&manager, KeyType::Repokey, OLD, &no).unwrap();
    let check = |facts: CachedFacts| {
        let presented = presented(KeyType::Repokey, OLD);
        let result = manager.assert_secure(&presented, Some(&facts), Access::Existing, &no);
        result.map_err(|error| error.msgid())
    };
    assert_eq!(check(CachedFacts::default()), Ok(Outcome::Unchanged));
    let mut facts = CachedFacts {
        previous_location: Some(b"/repo".to_vec()),
        key_type: Some("3".to_owned()),
        timestamp: Some(OLD.to_owned()),
    };
    assert_eq!(check(facts.clone()), Ok(Outcome::Unchanged));
    facts.timestamp = Some(NEW.to_owned());
    assert_eq!(check(facts.clone()), Err("Cache.RepositoryReplay"));
    facts.key_type = Some("2".to_owned());
    assert_eq!(check(facts.clone()), Err("Cache.EncryptionMethodMismatch"));
    facts.previous_location = Some(b"/elsewhere".to_vec());
    assert_eq!(check(facts), Err("Cache.RepositoryAccessAborted"));
}

#[test]
fn a_verified_manifest_decides_whether_authentication_is_required() {
    let client = Client::new();
    let manager = client.manager("/repo");
    assert!(!manager.tam_required());
    for required in [false, true, true, false, false] {
        manager.follow_manifest(required).unwrap();
        assert_eq!(manager.tam_required(), required);
    }
}

#[test]
fn manifests_and_archives_fail_under_borgs_names() {
    let random = [7; KeyMaterial::RANDOM_BYTES];
    let material = KeyMaterial::generate(KeyType::Repokey, ID, &random);
    let crypto = Crypto::new(KeyType::Repokey, material);
    assert_eq!(requirement(&crypto), Requirement::Required);
    let mut packed = Vec::new();
    Value::Map(vec![(Value::text("version"), Value::Int(1))]).write(&mut packed);
    let manifest = |packed: &[u8], requirement| {
        verify_manifest(&crypto, packed, requirement, &Silent).map_err(|error| error.msgid())
    };
    let archive = |packed: &[u8], requirement, wrong_tag| {
        verify_archive(&crypto, packed, b"name", requirement, wrong_tag, &Silent)
            .map_err(|error| error.msgid())
    };
    let (required, optional) = (Requirement::Required, Requirement::Optional);
    assert_eq!(manifest(&packed, required), Err("TAMRequiredError"));
    assert_eq!(manifest(&packed, optional), Ok(Authenticity::Unverified));
    assert_eq!(
        manifest(&[0xc1; 8], optional),
        Err("UnsupportedManifestError")
    );
    assert_eq!(
        archive(&packed, required, WrongTag::Refuse),
        Err("ArchiveTAMRequiredError")
    );

    let salt = [1; 64];
    let signed = authenticate(&crypto, &packed, Context::Manifest, &salt).unwrap();
    assert_eq!(
        manifest(&signed, required),
        Ok(Authenticity::Verified(salt))
    );
    // A manifest is no archive: its tag does not pass there.
    assert_eq!(
        archive(&signed, optional, WrongTag::Refuse),
        Err("ArchiveTAMInvalid")
    );
    assert_eq!(
        archive(&signed, optional, WrongTag::Ignore),
        Ok(Authenticity::Unverified)
    );
    let signed = authenticate(&crypto, &packed, Context::Archive, &salt).unwrap();
    assert_eq!(manifest(&signed, optional), Err("TAMInvalid"));
    assert_eq!(
        archive(&signed, required, WrongTag::Refuse),
        Ok(Authenticity::Verified(salt))
    );
}
