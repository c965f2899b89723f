//! How often a client waits for its server: each time costs the way there and back.
//!
//! A relay keeps back what the server says until the client has nothing more to say, and counts. What
//! counts is what comes on top of a connection that carries nothing: ssh needs about seven ways
//! there and back before a program can say its first word. A wait more than there should be passes:
//! a busy machine may make a client pause in the middle of what it says.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fastness_testkit::source_tree::Bytes;
use fastness_testkit::{Borg, Fault, Relay, Sshd, Version};

use crate::ours;
use crate::remote::World;

/// Long enough for most clients on a busy machine to say all they want to say.
const PATIENCE: Duration = Duration::from_millis(150);

struct Counted {
    world: World,
    relay: Relay,
    /// Waits of ssh alone.
    base: u64,
}

impl Counted {
    fn new(server: &Borg) -> Self {
        let world = World::new(server);
        let fault = Fault {
            patience: Some(PATIENCE),
            ..Fault::default()
        };
        let relay = Relay::start(world.sshd.port(), fault);
        let rsh = world.sshd.rsh("client", None);
        let mut words = rsh.split_whitespace();
        let status = Command::new(words.next().unwrap())
            .args(words)
            .args(["-p", &relay.port().to_string(), "127.0.0.1", "true"])
            .stdin(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        let base = relay.waits();
        Self { world, relay, base }
    }

    /// Runs a command; returns how often it waited.
    fn waits(&self, arguments: &[&str]) -> u64 {
        let before = self.relay.waits();
        let address = Sshd::address_at(self.relay.port(), &self.world.repository);
        let _ = self.world.run_at(&address, arguments).ok();
        let waits = self.relay.waits() - before;
        println!("{arguments:?}: {waits}, {} of them for ssh", self.base);
        waits.saturating_sub(self.base)
    }
}

fn waits_are_few(server: &Borg, mode: &str, commands: &[Waits<'_>]) {
    let counted = Counted::new(server);
    let world = &counted.world;
    let source = world.sandbox.directory("source");
    let mut random = Bytes::new(9);
    for number in 0..300 {
        let size = 1 + random.number() as usize % 5_000;
        std::fs::write(source.join(number.to_string()), random.random(size)).unwrap();
    }
    let _ = world.run(&["init", "-e", mode, "R"]).exits(0);
    let _ = world.run(&["create", "R::earlier", "source/1"]).ok();
    for (command, most) in commands {
        let waits = counted.waits(command);
        assert!(waits <= most + 1, "{command:?}: {waits}");
    }
    world.is_sound();
}

/// A command and how often it has to wait.
type Waits<'a> = (&'a [&'a str], u64);

/// The opening, the reservation of counter values, all changes, the commit. ssh itself waits for
/// the end.
const CREATE: Waits<'_> = (&["create", "R::a", "source"], 4);
/// The opening, the archive, its items, the first contents, the others.
const EXTRACT: Waits<'_> = (&["extract", "--dry-run", "R::a"], 5);

#[test]
fn our_server_is_seldom_waited_for() {
    let commands: [Waits<'_>; 6] = [
        CREATE,
        (&["list", "R"], 1),
        EXTRACT,
        // The opening, the archive, its items, the reservation, all changes, the commit.
        (&["prune", "--keep-last", "1", "R"], 6),
        // The opening, the manifest, the commit.
        (&["compact", "R"], 3),
        (&["check", "R"], 8),
    ];
    waits_are_few(&ours(), "repokey-blake2", &commands);
}

#[test]
fn official_borg_is_seldom_waited_for() {
    let server = Borg::official(Version::V14);
    waits_are_few(&server, "keyfile", &[CREATE, EXTRACT]);
}

/// Runs all that is due by a configuration, twice; returns how many connections that took. After
/// each action `hook` runs.
fn connections_of_runs(world: &World, hook: &str) -> u64 {
    let source = world.sandbox.directory("source");
    std::fs::write(source.join("file"), "text").unwrap();
    let _ = world.run(&["init", "-e", "repokey-blake2", "R"]).exits(0);
    let relay = Relay::start(world.sshd.port(), Fault::default());
    let config = format!(
        "source_directories:\n    - {}\nrepositories:\n    - path: {}\nkeep_daily: 1\n\
         checks:\n    - name: repository\n    - name: archives\n\
         commands:\n    - after: action\n      run:\n          - {hook}\n",
        source.display(),
        Sshd::address_at(relay.port(), &world.repository),
    );
    let path = world.sandbox.path("config.yaml");
    std::fs::write(&path, config).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    for _ in 0..2 {
        let run = world.sandbox.run_of(program).arg("--config").arg(&path);
        let _ = run.go().ok();
    }
    assert_eq!(world.run(&["list", "--short", "R"]).ok().lines().len(), 1);
    world.is_sound();
    relay.connections()
}

/// A command by which somebody else takes the lock, and leaves a trace.
fn locking(world: &World) -> String {
    format!(
        "{} with-lock --lock-wait 0 {} touch {}",
        Borg::official(Version::V14).path().display(),
        world.repository.display(),
        world.sandbox.path("locked").display(),
    )
}

#[test]
fn a_run_takes_one_connection_to_our_server_and_no_lock_between_commands() {
    let world = World::new(&ours());
    assert_eq!(connections_of_runs(&world, &locking(&world)), 2);
    assert!(world.sandbox.path("locked").exists());
}

/// Its server has no way to close a repository but to end.
#[test]
fn a_run_takes_a_connection_for_each_command_to_official_borg() {
    let world = World::new(&Borg::official(Version::V14));
    assert!(connections_of_runs(&world, &locking(&world)) > 2);
    assert!(world.sandbox.path("locked").exists());
}

#[test]
fn a_connection_that_ends_between_two_commands_is_made_again() {
    let mut world = World::new(&ours());
    let (script, pid) = (world.sandbox.path("server"), world.sandbox.path("pid"));
    let text = format!(
        "echo $$ > {}\nexec {} \"$@\"\n",
        pid.display(),
        ours().path().display()
    );
    std::fs::write(&script, text).unwrap();
    world
        .sandbox
        .set_env("BORG_REMOTE_PATH", format!("sh {}", script.display()));
    // The server of a command that is over may have gone by itself.
    let kill = format!("kill -9 $(cat {}) || true", pid.display());
    assert!(connections_of_runs(&world, &kill) > 2);
}
