//! Repositories on another machine: through a real ssh server, served by each Borg, and over a
//! connection that breaks.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastness_testkit::source_tree::Bytes;
use fastness_testkit::{Borg, Fault, Outcome, Relay, Sandbox, Sshd, Tree, Version, source_tree};

use crate::ours;

/// A sandbox with a source, an ssh server that lets it in, and the place of a repository there.
struct World {
    sandbox: Sandbox,
    sshd: Sshd,
    repository: PathBuf,
    address: String,
}

impl World {
    fn new(server: &Borg) -> World {
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
    fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_at(&self.address, arguments)
    }

    fn run_at(&self, address: &str, arguments: &[&str]) -> Outcome {
        let arguments = arguments.iter().map(|word| match word.strip_prefix("R") {
            Some("") => address.to_owned(),
            Some(rest) if rest.starts_with("::") => format!("{address}{rest}"),
            _ => (*word).to_owned(),
        });
        self.sandbox.command(&ours()).args(arguments).go()
    }

    /// Official Borg finds no fault in the repository, on the server's own disk, and the lock is
    /// free within ten seconds.
    fn is_sound(&self) {
        let official = Borg::official(Version::V14);
        let path = self.repository.to_str().unwrap();
        let check = ["check", "--lock-wait", "10", "--verify-data", path];
        let _ = self.sandbox.run(&official, &check).ok();
    }

    fn extracts(&self, archive: &str, expected: &Tree) {
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

#[test]
fn a_repository_lives_on_a_server_with_borg_1_4_in_keyfile_mode() {
    whole_life(&Borg::official(Version::V14), "keyfile-blake2");
}

#[test]
fn a_repository_lives_on_a_server_with_borg_1_4_in_repokey_mode() {
    whole_life(&Borg::official(Version::V14), "repokey");
}

#[test]
fn a_repository_lives_on_a_server_with_borg_1_2_in_keyfile_mode() {
    whole_life(&Borg::official(Version::V12), "keyfile-blake2");
}

#[test]
fn a_repository_lives_on_a_server_with_borg_1_2_in_repokey_mode() {
    whole_life(&Borg::official(Version::V12), "repokey");
}

#[test]
fn a_repository_lives_on_a_server_of_ours_in_keyfile_mode() {
    whole_life(&ours(), "keyfile-blake2");
}

#[test]
fn a_repository_lives_on_a_server_of_ours_in_repokey_mode() {
    whole_life(&ours(), "repokey");
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

/// The server dies in the middle of a transaction: the client says so, nothing is lost.
#[test]
fn a_server_that_is_killed_is_noticed() {
    let world = World::new(&Borg::official(Version::V14));
    std::fs::create_dir(world.sandbox.path("source")).unwrap();
    let _ = world.run(&["init", "-e", "repokey-blake2", "R"]).exits(0);
    let script = world.sandbox.path("server");
    let text = format!(
        "#!/bin/sh\necho $$ > {}/pid\nexec {} \"$@\"\n",
        world.sandbox.root().display(),
        Borg::official(Version::V14).path().display()
    );
    std::fs::write(&script, text).unwrap();
    let archive = format!("{}::a", world.address);
    let program = format!("sh {}", script.display());
    let mut run = world
        .sandbox
        .command(&ours())
        .env("BORG_REMOTE_PATH", program)
        .args(["create", "--log-json", &archive, "-"])
        .spawn();
    let pid = world.sandbox.path("pid");
    wait_for("the server", || {
        pid.exists() && world.repository.join("lock.exclusive").exists()
    });
    let pid = std::fs::read_to_string(pid).unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-9", pid.trim()])
        .status();
    assert!(killed.unwrap().success());
    drop(run.stdin.take());
    let output = run.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(80), "{text}");
    assert!(text.contains("ConnectionClosed"), "{text}");
    world.is_sound();
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waiting for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Connections that end anywhere, in either direction: a clear error, a free lock, a sound
/// repository, and the next run succeeds.
#[test]
fn a_connection_may_be_cut_anywhere() {
    let world = World::new(&Borg::official(Version::V14));
    let source = world.sandbox.directory("source");
    let mut random = Bytes::new(4);
    for number in 0..40 {
        let size = 1 + random.number() as usize % 60_000;
        std::fs::write(source.join(number.to_string()), random.random(size)).unwrap();
    }
    let _ = world.run(&["init", "-e", "repokey-blake2", "R"]).exits(0);
    let whole = Relay::start(world.sshd.port(), Fault::default());
    let address = Sshd::address_at(whole.port(), &world.repository);
    let _ = world
        .run_at(&address, &["create", "R::whole", "source"])
        .ok();
    let create = whole.bytes();
    let _ = world
        .run_at(&address, &["extract", "--dry-run", "R::whole"])
        .ok();
    let extract = (whole.bytes().0 - create.0, whole.bytes().1 - create.1);
    let _ = world.run(&["delete", "R::whole"]).ok();
    let rounds = if fastness_testkit::long() { 200 } else { 4 };
    for round in 0..rounds {
        let (bytes, is_create) = match round % 4 {
            3 => (extract, false),
            _ => (create, true),
        };
        // Some of the offsets lie behind the end: then nothing happens.
        let fault = match random.number() % 2 {
            0 => Fault {
                cut_to_server: Some(1 + random.number() % bytes.0),
                ..Fault::default()
            },
            _ => Fault {
                cut_from_server: Some(1 + random.number() % bytes.1),
                ..Fault::default()
            },
        };
        let relay = Relay::start(world.sshd.port(), fault);
        let address = Sshd::address_at(relay.port(), &world.repository);
        // A new file makes each archive different from the last.
        std::fs::write(source.join("new"), random.random(200_000)).unwrap();
        let command: &[&str] = match is_create {
            true => &["create", "--log-json", "R::cut", "source"],
            false => &["extract", "--log-json", "--dry-run", "R::last"],
        };
        let outcome = world.run_at(&address, command).tidy();
        if outcome.code() != 0 {
            let msgid = outcome.message_ids().pop().unwrap();
            assert!(
                msgid.starts_with("ConnectionClosed"),
                "{fault:?}: {outcome}"
            );
        }
        world.is_sound();
        let _ = world
            .run(&["create", "--lock-wait", "10", "R::next", "source"])
            .ok();
        for archive in ["R::cut", "R::last"] {
            let _ = world.run(&["delete", archive]).tidy();
        }
        let _ = world.run(&["rename", "R::next", "last"]).ok();
    }
    let tree = Tree::read(&source).as_archived();
    let _ = world.run(&["create", "R::end", "source"]).ok();
    world.extracts("end", &tree);
}
