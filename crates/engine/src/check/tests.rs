//! Damage of every kind to a small repository: what is told, what is saved, and that a second
//! check finds nothing.

use super::*;
use crate::directories::Directories;
use crate::made::{Made, Nobody, Told, WORLD, content};

impl Made {
    fn check(&mut self, options: &CheckOptions) -> (Verdict, Vec<(Level, String)>) {
        let told = Told::default();
        let directories = Directories::default();
        let context = CheckContext {
            keys: KeyContext {
                directories: &directories,
                key_file: None,
                key_file_name: "r",
                repository: "r",
                passphrases: &Nobody,
                monitor: &told,
                without_key: false,
            },
            security_directory: &self.dir.path().join("security"),
            wrong_tag: WrongTag::Refuse,
            world: WORLD,
        };
        let verdict = check(&mut self.repository, options, &context).unwrap();
        (verdict, told.0.into_inner().unwrap())
    }

    /// The messages from warnings on.
    fn findings(&mut self, options: &CheckOptions) -> Vec<String> {
        let (_, told) = self.check(options);
        let grave = told
            .into_iter()
            .filter(|(level, _)| *level >= Level::Warning);
        grave.map(|(_, message)| message).collect()
    }

    fn is_sound(&mut self) -> bool {
        let (verdict, _) = self.check(&CheckOptions {
            verify_data: true,
            ..looking()
        });
        verdict == Verdict::Sound
    }
}

fn looking() -> CheckOptions {
    CheckOptions {
        threads: 2,
        sort_by: vec![SortKey::Timestamp],
        ..CheckOptions::default()
    }
}

fn repairing() -> CheckOptions {
    CheckOptions {
        repair: true,
        ..looking()
    }
}

#[test]
fn a_repair_of_what_is_sound_writes_nothing_but_the_manifest() {
    let mut made = Made::new();
    made.archive("a", 50, 3);
    made.archive("b", 60, 3);
    made.commit();
    assert!(made.is_sound());
    let before = made.repository.list(None, None).unwrap();
    let archives = made.manifest().archives;
    let (verdict, told) = made.check(&repairing());
    assert_eq!(verdict, Verdict::Sound, "{told:?}");
    assert_eq!(made.manifest().archives, archives);
    let mut after = made.repository.list(None, None).unwrap();
    after.sort_unstable();
    let mut before = before;
    before.sort_unstable();
    assert_eq!(after, before);
}

#[test]
fn a_file_keeps_its_length_without_its_chunk_and_heals_with_it() {
    let mut made = Made::new();
    made.archive("a", 10, 4);
    let lost = made.crypto.id(&content(4));
    made.commit();
    let intact = made.items("a");
    made.delete(&lost);
    let place = format!("(Byte 0-80, Chunk {lost})");
    let found = made.findings(&looking());
    let told = format!(
        "a: files/4: New missing file chunk detected {place}. Would replace it with all-zero chunk with --repair."
    );
    assert_eq!(found[0], told);
    made.check(&repairing());
    let repaired = made.items("a");
    let zeros = made.crypto.id(&[0; 80]);
    assert_eq!(repaired[4].chunks.as_ref().unwrap()[0].id, zeros);
    assert_eq!(repaired[4].chunks_healthy, intact[4].chunks);
    assert_eq!(repaired[5..], intact[5..]);
    assert!(made.is_sound());
    // A backup brings the chunk again.
    made.put(&content(4));
    made.repository.commit(None).unwrap();
    let (_, told) = made.check(&repairing());
    let healed = "a: files/4: Completely healed previously damaged file!".to_owned();
    assert!(told.contains(&(Level::Info, healed)), "{told:?}");
    assert_eq!(made.items("a"), intact);
    assert!(!made.repository.contains(&zeros).unwrap());
    assert!(made.is_sound());
}

#[test]
fn a_missing_item_chunk_takes_only_the_items_that_are_in_it() {
    for damage in 0..2 {
        let mut made = Made::new();
        let stream = made.archive("a", 40, 4);
        made.commit();
        let intact = made.items("a");
        if damage == 0 {
            made.repository.delete(&stream[3]).unwrap();
        } else {
            made.put_as(stream[3], b"something else");
        }
        made.repository.commit(None).unwrap();
        let found = made.findings(&looking());
        assert!(found[0].ends_with(&format!("[chunk: 000003_{}]", stream[3])));
        let (verdict, _) = made.check(&repairing());
        assert_eq!(verdict, Verdict::Problems);
        let mut expected = intact;
        expected.drain(12..16);
        assert_eq!(made.items("a"), expected);
        assert!(made.is_sound());
        let manifest = made.manifest().archives;
        made.check(&repairing());
        assert_eq!(
            made.manifest().archives,
            manifest,
            "a second repair changes nothing"
        );
    }
}

#[test]
fn keys_of_later_programs_are_told_of_and_kept() {
    let mut made = Made::new();
    let mut stream = Vec::new();
    let mut strange = made.file(1);
    strange.unknown = vec![(b"flavour".to_vec(), fastness_format::msgpack::Value::Int(7))];
    made.file(0).encode(&mut stream);
    strange.encode(&mut stream);
    made.archive_of("a", &[&stream]);
    made.commit();
    let found = made.findings(&looking());
    assert!(
        found[0].contains("(invalid keys: flavour) [chunk: 000000_"),
        "{found:?}"
    );
    made.check(&repairing());
    assert_eq!(made.items("a")[1], strange);
    assert!(made.manifest().item_keys.contains(&b"flavour"[..]));
    assert!(made.is_sound());
}

#[test]
fn a_lost_manifest_is_made_anew_and_no_archive_replaces_another() {
    let mut made = Made::new();
    made.archive("a", 5, 4);
    let first = made.manifest.archives[&b"a"[..]].id;
    made.archive("a", 9, 4);
    made.archive("b", 9, 4);
    made.commit();
    made.delete(&ChunkId::MANIFEST);
    let found = made.findings(&repairing());
    assert_eq!(found[0], "Repository manifest not found!");
    let archives = made.manifest().archives;
    let names: Vec<_> = archives.keys().map(|name| lossy(name)).collect();
    assert_eq!(names, ["a", "a.1", "b"]);
    assert!(archives.values().any(|entry| entry.id == first));
    assert!(made.is_sound());
}

#[test]
fn orphans_are_deleted_only_when_all_archives_were_checked() {
    let mut made = Made::new();
    made.archive("a", 5, 4);
    made.archive("b", 5, 4);
    let orphan = made.put(b"nobody needs this");
    made.commit();
    assert_eq!(made.findings(&looking())[0], "1 orphaned objects found!");
    made.check(&CheckOptions {
        archive: Some(b"a".to_vec()),
        ..repairing()
    });
    assert!(made.repository.contains(&orphan).unwrap());
    made.check(&repairing());
    assert!(!made.repository.contains(&orphan).unwrap());
    assert!(made.is_sound());
}

#[test]
fn damaged_objects_are_deleted_by_a_repair_that_verifies_data() {
    let mut made = Made::new();
    made.archive("a", 5, 4);
    made.commit();
    let harmed = made.crypto.id(&content(2));
    made.put_as(harmed, b"other data");
    made.repository.commit(None).unwrap();
    let verifying = CheckOptions {
        verify_data: true,
        ..repairing()
    };
    let found = made.findings(&verifying);
    let told = format!(
        "chunk {harmed}, integrity error: Data integrity error: Chunk {harmed}: id verification failed"
    );
    assert_eq!(found[0], told);
    assert!(!made.repository.contains(&harmed).unwrap());
    assert!(made.is_sound());
}

#[test]
fn any_object_missing_or_foreign_leaves_a_repository_that_can_be_repaired() {
    let mut whole = Made::new();
    whole.archive("a", 6, 2);
    whole.archive("b", 8, 3);
    whole.commit();
    let all = whole.repository.list(None, None).unwrap();
    for (at, action) in (0..all.len()).flat_map(|at| [(at, 0), (at, 1), (at, 2)]) {
        let mut made = Made::new();
        made.archive("a", 6, 2);
        made.archive("b", 8, 3);
        made.commit();
        let id = all[at];
        match action {
            0 => made.repository.delete(&id).unwrap(),
            1 => made.repository.put(&id, b"\x02\x00\x00foreign").unwrap(),
            _ => made.repository.put(&id, b"").unwrap(),
        }
        made.repository.commit(None).unwrap();
        let (verdict, _) = made.check(&CheckOptions {
            verify_data: true,
            ..repairing()
        });
        assert_eq!(verdict, Verdict::Problems, "{id} {action}");
        assert!(made.is_sound(), "{id} {action}");
    }
}
