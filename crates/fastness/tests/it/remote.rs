//! Repositories on another machine: through a real ssh server, served by each Borg.

use std::path::PathBuf;

use fastness_testkit::{Borg, Outcome, Sandbox, Sshd, Tree, Version, source_tree};

use crate::ours;

/// A sandbox with a source, an ssh server that lets it in, and the place of a repository there.
pub struct World {
    pub sandbox: Sandbox,
    pub sshd: Sshd,
    pub repository: PathBuf,
    pub address: String,
}

impl World {
    pub fn new(server: &Borg) -> World {
        let (mut sandbox, sshd) = (Sandbox::new(), Sshd::start());
        sandbox.set_env("BORG_RSH", sshd.rsh("client", None));
        sandbox.set_env("BORG_REMOTE_PATH", server.path());
        sandbox.set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        sandbox.set_env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        sandbox.set_env("BORG_EXIT_CODES", "modern");
        let repository = sandbox.path("repository");
        World {
            address: sshd.address(&repository),
            repository,
            sandbox,
            sshd,
        }
    }

    /// Runs ours; in the arguments `R` is the address of the repository.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_at(&self.address, arguments)
    }

    pub fn run_at(&self, address: &str, arguments: &[&str]) -> Outcome {
        let arguments = arguments.iter().map(|word| match word.strip_prefix("R") {
            Some("") => address.to_owned(),
            Some(rest) if rest.starts_with("::") => format!("{address}{rest}"),
            _ => (*word).to_owned(),
        });
        self.sandbox.command(&ours()).args(arguments).go()
    }

    /// Official Borg finds no fault in the repository, on the server's own disk, and the lock is
    /// free within ten seconds.
    pub fn is_sound(&self) {
        let official = Borg::official(Version::V14);
        let path = self.repository.to_str().unwrap();
        let check = ["check", "--lock-wait", "10", "--verify-data", path];
        let _ = self.sandbox.run(&official, &check).ok();
    }

    pub fn extracts(&self, archive: &str, expected: &Tree) {
        let target = self.sandbox.directory("target");
        let archive = format!("{}::{archive}", self.address);
        let run = self.sandbox.command(&ours()).args(["extract", &archive]);
        let _ = run.in_directory(&target).go().ok();
        let extracted = Tree::read(&target.join("source")).as_archived();
        expected.assert_same(&extracted, &archive);
        std::fs::remove_dir_all(&target).unwrap();
    }
}

/// Everything that is done with a repository, from its creation to its end.
fn whole_life(server: &Borg, mode: &str) {
    let world = World::new(server);
    source_tree::create(&world.sandbox.path("source"), 1);
    let first = Tree::read(&world.sandbox.path("source")).as_archived();
    let _ = world.run(&["init", "-e", mode, "R"]).exits(0);
    let _ = world.run(&["create", "R::first", "source"]).ok();
    source_tree::change(&world.sandbox.path("source"), 2);
    let second = Tree::read(&world.sandbox.path("source")).as_archived();
    for name in ["second", "third"] {
        let archive = format!("R::{name}");
        let _ = world.run(&["create", &archive, "source"]).ok();
    }
    world.extracts("first", &first);
    let listed = world.run(&["list", "--short", "R"]).ok().lines();
    assert_eq!(listed, ["first", "second", "third"]);
    let items = world.run(&["list", "--json-lines", "R::second"]).ok();
    let items = items.json_lines();
    assert_eq!(items.len(), second.len());
    let _ = world.run(&["diff", "R::first", "second"]).ok();
    let _ = world.run(&["rename", "R::third", "last"]).ok();
    let _ = world.run(&["check", "--verify-data", "R"]).ok();
    world.is_sound();
    let _ = world.run(&["key", "export", "R", "key"]).ok();
    let _ = world.run(&["key", "import", "R", "key"]).ok();
    let _ = world.run(&["with-lock", "R", "true"]).ok();
    let _ = world.run(&["break-lock", "R"]).ok();
    // What was there before is read with a new cache of chunks, too.
    std::fs::remove_dir_all(world.sandbox.home().join(".cache")).unwrap();
    let _ = world.run(&["delete", "R::first"]).ok();
    let _ = world.run(&["prune", "--keep-last", "1", "R"]).ok();
    let _ = world.run(&["compact", "--threshold", "0", "R"]).ok();
    world.is_sound();
    world.extracts("last", &second);
    let info = world.run(&["info", "--json", "R::last"]).ok().json();
    assert_eq!(info["repository"]["location"], world.address);
    world.sandbox_says_yes(&["delete", "R"]);
    assert!(!world.repository.exists());
}

impl World {
    fn sandbox_says_yes(&self, arguments: &[&str]) {
        let arguments = arguments.iter().map(|word| match *word {
            "R" => self.address.as_str(),
            word => word,
        });
        let run = self.sandbox.command(&ours()).args(arguments);
        let _ = run
            .env("BORG_DELETE_I_KNOW_WHAT_I_AM_DOING", "YES")
            .go()
            .ok();
    }
}

macro_rules! lives {
    ($($name:ident: $server:expr, $mode:literal;)*) => {$(
        #[test]
        fn $name() {
            whole_life(&$server, $mode);
        }
    )*};
}

lives! {
    a_repository_lives_on_a_server_with_borg_1_4_in_keyfile_mode: Borg::official(Version::V14), "keyfile-blake2";
    a_repository_lives_on_a_server_with_borg_1_4_in_repokey_mode: Borg::official(Version::V14), "repokey";
    a_repository_lives_on_a_server_with_borg_1_2_in_keyfile_mode: Borg::official(Version::V12), "keyfile-blake2";
    a_repository_lives_on_a_server_with_borg_1_2_in_repokey_mode: Borg::official(Version::V12), "repokey";
    a_repository_lives_on_a_server_with_borg_1_1_in_keyfile_mode: Borg::official(Version::V11), "keyfile-blake2";
    a_repository_lives_on_a_server_with_borg_1_1_in_repokey_mode: Borg::official(Version::V11), "repokey";
    a_repository_lives_on_a_server_of_ours_in_keyfile_mode: ours(), "keyfile-blake2";
    a_repository_lives_on_a_server_of_ours_in_repokey_mode: ours(), "repokey";
}

/// Both programs find in the same place what they know of a repository.
#[test]
fn official_borg_and_ours_share_what_they_know_of_a_server() {
    let official = Borg::official(Version::V14);
    let mut world = World::new(&official);
    std::fs::create_dir(world.sandbox.path("source")).unwrap();
    std::fs::write(world.sandbox.path("source/file"), "one").unwrap();
    let _ = world.run(&["init", "-e", "repokey-blake2", "R"]).exits(0);
    let _ = world.run(&["create", "R::ours", "source"]).ok();
    world
        .sandbox
        .set_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "no");
    let theirs = format!("{}::theirs", world.address);
    let _ = world
        .sandbox
        .run(&official, &["create", &theirs, "source"])
        .ok();
    let listed = world.run(&["list", "--short", "R"]).ok().lines();
    assert_eq!(listed, ["ours", "theirs"]);
    let moved = world.sandbox.path("moved");
    std::fs::rename(&world.repository, &moved).unwrap();
    let moved = world.sshd.address(&moved);
    let refused = world.run_at(&moved, &["list", "--log-json", "R"]).exits(62);
    assert_eq!(refused.message_ids(), ["Cache.RepositoryAccessAborted"]);
    assert!(refused.err().contains(&world.address), "{refused}");
}

/// Runs a `list` that fails, and checks how: exit code, message id, and words in what it says.
fn fails(world: &World, code: i32, msgid: &str, words: &[&str]) {
    let outcome = world.run(&["list", "--log-json", "R"]).exits(code);
    assert_eq!(outcome.message_ids().last().unwrap(), msgid, "{outcome}");
    for word in words {
        assert!(
            outcome.err().contains(word),
            "{word:?} is missing: {outcome}"
        );
    }
}

#[test]
fn failures_of_the_way_are_explained() {
    let official = Borg::official(Version::V14);
    let mut world = World::new(&official);
    let closed = "ConnectionClosedWithHint";
    let hello = "Connection closed by remote host. Is borg working on the server?";
    fails(
        &world,
        13,
        "Repository.DoesNotExist",
        &["Repository ssh://127.0.0.1:", "does not exist."],
    );
    // What was asked for ahead is no trouble of its own.
    let debug = world.run(&["list", "--debug", "R"]).exits(13);
    assert!(!debug.err().contains("Traceback"), "{debug}");
    world.sandbox.set_env("BORG_REMOTE_PATH", "/no/such/borg");
    fails(&world, 81, closed, &[hello, "exit status 127"]);
    world.sandbox.set_env("BORG_REMOTE_PATH", official.path());
    world
        .sandbox
        .set_env("BORG_RSH", world.sshd.stranger("stranger"));
    fails(&world, 81, closed, &[hello, "Permission denied", "255"]);
    let nobody = world.sandbox.path("nobody");
    std::fs::write(&nobody, "").unwrap();
    let unknown = world.sshd.client("client", &nobody);
    world.sandbox.set_env("BORG_RSH", unknown);
    fails(&world, 81, closed, &[hello, "Host key verification failed"]);
    world.sandbox.set_env("BORG_RSH", "/no/such/ssh");
    fails(&world, 2, "Error", &["/no/such/ssh: cannot be started"]);
    for (script, code, msgid, words) in [
        ("exit 0", 81, closed, hello),
        ("kill -9 $$", 81, closed, "was killed by signal 9"),
        (
            "echo Welcome to the server; sleep 1",
            86,
            "UnexpectedRPCDataFormatFromServer",
            "Welcome to the server",
        ),
    ] {
        let path = world.sandbox.path("shell");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        let shell = format!("sh {}", path.display());
        world.sandbox.set_env("BORG_RSH", shell);
        fails(&world, code, msgid, &[words]);
    }
    let address = "ssh://no-such-host.invalid/repository".to_owned();
    world
        .sandbox
        .set_env("BORG_RSH", "ssh -F none -o BatchMode=yes");
    world.address = address;
    fails(&world, 81, closed, &[hello, "Could not resolve hostname"]);
    world.address = "ssh://-oProxyCommand=true/./repository".to_owned();
    let refused = world.run(&["list", "R"]).exits(2);
    assert!(refused.err().contains("must not begin with"), "{refused}");
}

#[test]
fn a_path_that_is_not_allowed_is_refused_by_the_server() {
    let official = Borg::official(Version::V14);
    let mut world = World::new(&official);
    let allowed = world.sandbox.directory("allowed");
    let forced = format!(
        "{} serve --restrict-to-path {}",
        official.path().display(),
        allowed.display()
    );
    world
        .sandbox
        .set_env("BORG_RSH", world.sshd.rsh("forced", Some(&forced)));
    fails(
        &world,
        83,
        "PathNotAllowed",
        &["Repository path not allowed: "],
    );
    world.address = world.sshd.address(allowed.join("repository"));
    let _ = world.run(&["init", "-e", "none", "R"]).exits(0);
}

/// The first chunk of a file of an archive.
fn first_chunk(world: &World, archive: &str, path: &str) -> String {
    let _ = world.run(&["debug", "dump-archive", archive, "dump"]).ok();
    let dump = std::fs::read(world.sandbox.path("dump")).unwrap();
    let dump: serde_json::Value = serde_json::from_slice(&dump).unwrap();
    let items = dump["_items"].as_array().unwrap();
    let item = items.iter().find(|item| item["path"] == path).unwrap();
    let id = item["chunks"][0][0].as_str().unwrap();
    id.trim_start_matches('\u{7f}').to_owned()
}

/// Deletions are not waited for, so that a server tells late what was not there.
#[test]
fn a_damaged_archive_on_a_server_is_deleted_by_force() {
    for server in [Borg::official(Version::V14), ours()] {
        let world = World::new(&server);
        let source = world.sandbox.directory("source");
        for name in ["one", "two", "three"] {
            std::fs::write(source.join(name), name).unwrap();
        }
        let _ = world.run(&["init", "-e", "repokey", "R"]).exits(0);
        let _ = world.run(&["create", "R::damaged", "source"]).ok();
        std::fs::write(source.join("four"), "four").unwrap();
        let _ = world.run(&["create", "R::sound", "source/four"]).ok();
        let lost = first_chunk(&world, "R::damaged", "source/two");
        let _ = world.run(&["debug", "delete-obj", "R", &lost]).ok();
        let refused = world.run(&["delete", "R::damaged"]).exits(17);
        assert!(refused.err().contains(&lost), "{refused}");
        let deleted = world.run(&["delete", "--force", "R::damaged"]).exits(0);
        let told = "the deleted archive was corrupted.";
        assert!(deleted.err().contains(told), "{deleted}");
        let listed = world.run(&["list", "--short", "R"]).ok().lines();
        assert_eq!(listed, ["sound"]);
        world.is_sound();
    }
}

/// Borg ends with exit code 2 here, too.
#[test]
fn what_needs_the_files_of_a_repository_is_refused_from_afar() {
    let world = World::new(&ours());
    let _ = world.run(&["init", "-e", "none", "R"]).exits(0);
    for (command, words) in [
        (&["config", "R", "id"][..], "Repository must be local"),
        (
            &["config", "--cache", "R", "--list"],
            "Repository must be local",
        ),
        (
            &["debug", "dump-hints", "R", "-"],
            "repository on this machine",
        ),
        (
            &["debug", "dump-repo-objs", "--ghost", "R"],
            "repository on this machine",
        ),
    ] {
        let refused = world.run(command).exits(2);
        assert!(refused.err().contains(words), "{refused}");
        assert!(refused.err().contains(&world.address), "{refused}");
    }
    world.is_sound();
}
