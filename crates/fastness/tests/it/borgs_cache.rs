//! Borg's own cache on the client: after our commands it is as official Borg would have left it.
//!
//! Official Borg's library is the judge: it reads the cache, counts all references anew, and
//! compares. What it says on the way shows whether it had to read the archives.

use std::fs;
use std::path::PathBuf;

use fastness_testkit::kill::{self, Sweep};
use fastness_testkit::{BorgsCache, Outcome, Sandbox, long, source_tree};

use crate::{ours, reference};

/// What Borg says when it reads all archives to count their chunks.
const COUNTING: &str = "Synchronizing chunks cache";
const DISCARDING: &str = "Discarding incompatible or corrupted cache";

struct World {
    sandbox: Sandbox,
}

impl World {
    /// A repository made by ours, without archives.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        source_tree::create(&sandbox.path("source"), 5);
        let world = Self { sandbox };
        world.ours(&["init", "-e", "repokey-blake2", "repository"]);
        world
    }

    fn ours(&self, words: &[&str]) {
        let _ = self.sandbox.run(&ours(), words).ok();
    }

    /// Runs official Borg, which must not count chunks.
    #[track_caller]
    fn official_goes_on(&self, words: &[&str]) {
        let words = [&["--info"], words].concat();
        let run = self.sandbox.run(&reference(), &words).ok();
        let text = run.err();
        assert!(!text.contains(COUNTING), "{run}");
        assert!(!text.contains(DISCARDING), "{run}");
    }

    #[track_caller]
    fn is_right(&self, about: &str) {
        let cache = BorgsCache::read(&self.sandbox, &self.sandbox.path("repository"));
        cache.assert_right(about);
    }

    /// The directory of Borg's cache of the one repository.
    fn cache(&self) -> PathBuf {
        let caches = self.sandbox.home().join(".cache/borg");
        let mut found = fs::read_dir(caches)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_cache = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
        found.find(is_cache).expect("Borg's cache is there")
    }
}

#[test]
fn after_each_of_our_commands_borgs_cache_is_what_borg_would_count() {
    let world = World::new();
    world.is_right("init");
    let steps: &[&[&str]] = &[
        &["create", "repository::one", "source"],
        &[
            "create",
            "--files-cache=disabled",
            "repository::two",
            "source",
        ],
        &[
            "create",
            "--chunker-params=12,16,14,4095",
            "repository::three",
            "source",
        ],
        &["rename", "repository::two", "renamed"],
        &["recreate", "--exclude=source/many", "repository::one"],
        // All of them: archives that are left out go on telling the old lengths.
        &[
            "recreate",
            "--recompress=always",
            "-C",
            "zlib,1",
            "repository",
        ],
        &["export-tar", "repository::three", "export.tar"],
        &["import-tar", "repository::imported", "export.tar"],
        &["delete", "repository::renamed"],
        &["prune", "--keep-last=1", "repository"],
        &["compact", "--threshold=0", "repository"],
        &["create", "repository::last", "source"],
    ];
    for words in steps {
        world.ours(words);
        world.is_right(&words.join(" "));
    }
    world.official_goes_on(&["create", "repository::official", "source"]);
    // A transfer's destination is a repository of its own.
    world.ours(&["init", "-e", "none", "other"]);
    let mut sandbox = world.sandbox;
    sandbox.set_env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
    sandbox.set_env("BORG_OTHER_PASSPHRASE", fastness_testkit::PASSPHRASE);
    let words = ["transfer", "--other-repo", "repository", "other"];
    let _ = sandbox.run(&ours(), &words).ok();
    BorgsCache::read(&sandbox, &sandbox.path("other")).assert_right("transfer");
}

#[test]
fn official_borg_takes_turns_with_ours_without_reading_archives() {
    let world = World::new();
    for round in 0..4 {
        let archive = |by: &str| format!("repository::{by}-{round}");
        source_tree::change(&world.sandbox.path("source"), 10 + round);
        world.ours(&["create", &archive("ours"), "source"]);
        world.official_goes_on(&["info", "repository"]);
        world.official_goes_on(&["create", &archive("theirs"), "source"]);
        match round {
            1 => world.ours(&["delete", &archive("theirs")]),
            // Of one kind: of archives made in the same second `--keep-last` keeps one.
            2 => world.ours(&["prune", "--keep-last=1", "-a", "theirs-*", "repository"]),
            _ => {}
        }
        world.official_goes_on(&["delete", &archive("ours")]);
        world.is_right("a deletion by Borg");
    }
    let run = world
        .sandbox
        .run(&reference(), &["check", "--verify-data", "repository"]);
    let _ = run.ok();
}

#[test]
fn a_cache_that_was_deleted_is_made_again_by_whoever_needs_the_counts() {
    let world = World::new();
    world.ours(&["create", "repository::one", "source"]);
    for words in [
        &["info", "repository"][..],
        &["list", "--format", "{unique_chunks}{NL}", "repository::one"],
        &["create", "repository::two", "source"],
    ] {
        world.ours(&["delete", "--cache-only", "repository"]);
        world.ours(words);
        world.is_right(&words.join(" "));
    }
    // What needs no counts writes nothing.
    world.ours(&["delete", "--cache-only", "repository"]);
    world.ours(&["list", "repository::one"]);
    let caches = world.sandbox.home().join(".cache/borg");
    let written = fs::read_dir(caches).unwrap().count();
    assert_eq!(written, 2, "only the tag and the directory of ours");
}

#[test]
fn a_cache_that_borg_uses_is_left_alone() {
    let world = World::new();
    world.ours(&["create", "repository::one", "source"]);
    let cache = world.cache();
    let before = fs::read(cache.join("config")).unwrap();
    // A process of another machine, of which nobody here knows whether it lives.
    let lock = cache.join("lock.exclusive");
    fs::create_dir(&lock).unwrap();
    fs::write(lock.join("elsewhere@123.77-0"), "").unwrap();
    let run = world
        .sandbox
        .run(&ours(), &["create", "--info", "repository::two", "source"])
        .ok();
    assert!(run.err().contains("left alone"), "{run}");
    assert_eq!(fs::read(cache.join("config")).unwrap(), before);
    fs::remove_dir_all(&lock).unwrap();
    let run = world
        .sandbox
        .run(&reference(), &["--info", "info", "repository"]);
    assert!(run.ok().err().contains(COUNTING));
    world.is_right("Borg's own count");
}

#[test]
fn a_damaged_cache_or_one_that_cannot_be_written_does_no_harm() {
    let world = World::new();
    world.ours(&["create", "repository::one", "source"]);
    let cache = world.cache();
    type Damage = fn(&PathBuf);
    let damage: [(&str, Damage); 4] = [
        ("chunks", |path| fs::write(path, "BORG_IDX").unwrap()),
        ("chunks", |path| fs::remove_file(path).unwrap()),
        ("config", |path| fs::write(path, "").unwrap()),
        ("config", |path| fs::remove_file(path).unwrap()),
    ];
    for (number, (name, damage)) in damage.into_iter().enumerate() {
        damage(&cache.join(name));
        let archive = format!("repository::damage-{number}");
        world.ours(&["create", &archive, "source"]);
        world.is_right(&format!("damage {number}"));
    }
    // A file where the directory should be.
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "").unwrap();
    let words = ["create", "repository::refused", "source"];
    let run = world.sandbox.run(&ours(), &words).ok();
    assert!(run.err().contains("cannot be saved"), "{run}");
    fs::remove_file(&cache).unwrap();
    world.ours(&["info", "repository"]);
    world.is_right("the way being free again");
}

#[test]
fn a_repository_that_moved_is_asked_about_once() {
    let mut world = World::new();
    world.ours(&["create", "repository::one", "source"]);
    let moved = world.sandbox.path("moved");
    fs::rename(world.sandbox.path("repository"), &moved).unwrap();
    world
        .sandbox
        .set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    let _ = world.sandbox.run(&ours(), &["list", "moved"]).ok();
    world
        .sandbox
        .set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "no");
    let _ = world.sandbox.run(&reference(), &["list", "moved"]).ok();
    let _ = world.sandbox.run(&ours(), &["list", "moved"]).ok();
}

#[test]
fn an_old_borg_that_interfered_is_told_and_its_counts_are_not_used() {
    let world = World::new();
    world.ours(&["create", "repository::one", "source"]);
    let path = world.cache().join("config");
    let text = fs::read_to_string(&path).unwrap();
    let manifest = text
        .lines()
        .find(|line| line.starts_with("manifest = "))
        .unwrap();
    let other = format!("manifest = {}", "0".repeat(64));
    fs::write(&path, text.replacen(manifest, &other, 1)).unwrap();
    let warning = "Cache integrity data not available: old Borg version modified the cache.";
    let run = world.sandbox.run(&ours(), &["info", "repository"]).ok();
    assert!(run.err().contains(warning), "{run}");
    let run = world.sandbox.run(&ours(), &["info", "repository"]).ok();
    assert!(!run.err().contains(warning), "{run}");
    world.is_right("info");
}

/// Killed at any durable call, a command leaves a cache that Borg uses rightly or not at all.
#[test]
fn a_command_that_dies_leaves_no_counts_that_borg_would_trust_wrongly() {
    let world = World::new();
    world.ours(&["create", "repository::one", "source"]);
    let sandbox = &world.sandbox;
    let places = ["repository", "home"];
    for place in places {
        sandbox.copy(&sandbox.path(place), &sandbox.path(format!("{place}.kept")));
    }
    source_tree::change(&sandbox.path("source"), 6);
    let sweep = match long() {
        true => Sweep::FULL,
        false => Sweep { step: 5, first: 3 },
    };
    let mut current = 0;
    let kills = sweep.over(|nth| -> Outcome {
        for place in places {
            fs::remove_dir_all(sandbox.path(place)).unwrap();
            sandbox.copy(&sandbox.path(format!("{place}.kept")), &sandbox.path(place));
        }
        let words = ["create", "repository::two", "source"];
        let outcome = kill::at(sandbox.command(&ours()).args(words), nth);
        let run = sandbox
            .run(&reference(), &["--info", "info", "repository"])
            .ok();
        assert!(!run.err().contains(DISCARDING), "killed at {nth}: {run}");
        current += u32::from(!run.err().contains(COUNTING));
        world.is_right(&format!("a kill at {nth}, and Borg"));
        outcome
    });
    assert!(
        !kills.is_empty() && current > 0,
        "{kills:?}, {current} current"
    );
}
