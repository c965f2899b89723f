//! Connections to servers that are cut, slow or limited, and servers that die or are shared.

use std::path::Path;
use std::time::{Duration, Instant};

use fastness_testkit::source_tree::Bytes;
use fastness_testkit::{Borg, Fault, NonceLedger, Outcome, Relay, Run, Sshd, Tree, Version};

use crate::ours;
use crate::remote::World;

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

/// A program that runs a server and leaves its number, so that its end can be seen.
fn watched(world: &mut World, server: &Borg) {
    let script = world.sandbox.path("server");
    let text = format!(
        "echo $$ > {}/pid\nexec {} \"$@\"\n",
        world.sandbox.root().display(),
        server.path().display()
    );
    std::fs::write(&script, text).unwrap();
    let program = format!("sh {}", script.display());
    world.sandbox.set_env("BORG_REMOTE_PATH", program);
}

impl World {
    /// Ten seconds after a session no server runs, and no lock is held.
    fn is_left(&self) {
        let pid = std::fs::read_to_string(self.sandbox.path("pid")).unwrap_or_default();
        let process = Path::new("/proc").join(pid.trim());
        let start = Instant::now();
        let locks = ["lock.exclusive", "lock.roster"].map(|name| self.repository.join(name));
        while (!pid.is_empty() && process.exists()) || locks.iter().any(|lock| lock.exists()) {
            assert!(start.elapsed() < Duration::from_secs(10), "{locks:?} {pid}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_file(self.sandbox.path("pid"));
    }
}

/// Connections that end anywhere, in either direction: a clear error, no server and no lock ten
/// seconds later, a sound repository, and the next run succeeds.
fn cut_anywhere(server: &Borg, seed: u64) {
    let mut world = World::new(server);
    watched(&mut world, server);
    let source = world.sandbox.directory("source");
    let mut random = Bytes::new(seed);
    for number in 0..40 {
        let size = 1 + random.number() as usize % 60_000;
        std::fs::write(source.join(number.to_string()), random.random(size)).unwrap();
    }
    let _ = world.run(&["init", "-e", "repokey-blake2", "R"]).exits(0);
    let whole = Relay::start(world.sshd.port(), Fault::default());
    let address = Sshd::address_at(whole.port(), &world.repository);
    let measured = |command: &[&str]| {
        let before = whole.bytes();
        let _ = world.run_at(&address, command).ok();
        let after = whole.bytes();
        (after.0 - before.0, after.1 - before.1)
    };
    let _ = measured(&["create", "R::first", "source"]);
    std::fs::write(source.join("new"), random.random(200_000)).unwrap();
    let create = measured(&["create", "R::last", "source"]);
    let extract = measured(&["extract", "--dry-run", "R::last"]);
    let rounds = if fastness_testkit::long() { 100 } else { 4 };
    let mut cuts = 0;
    for round in 0..rounds {
        let (bytes, is_create) = match round % 4 {
            3 => (extract, false),
            _ => (create, true),
        };
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
        // A new file makes each archive different from the last.
        std::fs::write(source.join("new"), random.random(200_000)).unwrap();
        cuts += usize::from(cut(&world, fault, is_create));
    }
    // Those who cut behind the last byte that matters cut nothing.
    assert!(cuts * 2 > rounds, "{cuts} of {rounds}");
    let tree = Tree::read(&source).as_archived();
    let _ = world.run(&["create", "R::end", "source"]).ok();
    world.extracts("end", &tree);
}

/// Returns whether the connection ended before the command did.
fn cut(world: &World, fault: Fault, is_create: bool) -> bool {
    let relay = Relay::start(world.sshd.port(), fault);
    let address = Sshd::address_at(relay.port(), &world.repository);
    let command: &[&str] = match is_create {
        true => &["create", "--log-json", "R::cut", "source"],
        false => &["extract", "--log-json", "--dry-run", "R::last"],
    };
    let outcome = world.run_at(&address, command).tidy();
    let is_cut = outcome.code() != 0;
    if is_cut {
        let msgid = outcome.message_ids().pop().unwrap();
        assert!(
            msgid.starts_with("ConnectionClosed"),
            "{fault:?}: {outcome}"
        );
    }
    world.is_left();
    world.is_sound();
    let _ = world.run(&["create", "R::next", "source"]).ok();
    for archive in ["R::cut", "R::last"] {
        let _ = world.run(&["delete", archive]).tidy();
    }
    let _ = world.run(&["rename", "R::next", "last"]).ok();
    is_cut
}

#[test]
fn a_connection_to_official_borg_may_be_cut_anywhere() {
    cut_anywhere(&Borg::official(Version::V14), 4);
}

#[test]
fn a_connection_to_our_server_may_be_cut_anywhere() {
    cut_anywhere(&ours(), 5);
}

/// No more goes through a connection than its limit allows for the time it took.
#[test]
fn limits_hold_for_whole_sessions_in_both_directions() {
    let world = World::new(&ours());
    let source = world.sandbox.directory("source");
    let size = 3_000_000;
    std::fs::write(source.join("file"), Bytes::new(6).random(size)).unwrap();
    let _ = world.run(&["init", "-e", "none", "R"]).exits(0);
    let relay = Relay::start(world.sshd.port(), Fault::default());
    let address = Sshd::address_at(relay.port(), &world.repository);
    let limited = |command: &[&str]| {
        let (before, start) = (relay.bytes(), Instant::now());
        let _ = world.run_at(&address, command).ok();
        let after = relay.bytes();
        let allowed = 1_500.0 * 1024.0 * start.elapsed().as_secs_f64();
        // Of the first period, of the one before it, and what ssh itself says.
        let slack = 2.0 * 150.0 * 1024.0 + 50_000.0;
        (after.0 - before.0, after.1 - before.1, allowed + slack)
    };
    let create = ["create", "--upload-ratelimit", "1500", "R::a", "source"];
    let (sent, _, allowed) = limited(&create);
    assert!(
        sent as f64 > size as f64 && (sent as f64) < allowed,
        "{sent} of {allowed}"
    );
    let extract = [
        "extract",
        "--dry-run",
        "--download-ratelimit",
        "1500",
        "R::a",
    ];
    let (_, received, allowed) = limited(&extract);
    assert!(
        received as f64 > size as f64 && (received as f64) < allowed,
        "{received} of {allowed}"
    );
}

/// A second machine with a user of its own, who knows the passphrase.
fn elsewhere(world: &World, program: &Borg, arguments: &[&str]) -> Run {
    let home = world.sandbox.directory("elsewhere");
    let arguments = arguments
        .iter()
        .map(|word| word.replace("R::", &format!("{}::", world.address)));
    let run = world.sandbox.command(program).args(arguments);
    run.env("HOME", &home).env("BORG_BASE_DIR", &home)
}

fn archives(world: &World) -> Vec<String> {
    world.run(&["list", "--short", "R"]).ok().lines()
}

#[test]
fn two_clients_take_turns_at_one_server() {
    for (server, second) in [
        (ours(), Borg::official(Version::V14)),
        (Borg::official(Version::V14), ours()),
        (ours(), ours()),
    ] {
        let (world, mut ledger) = (World::new(&server), NonceLedger::new());
        let source = world.sandbox.directory("source");
        let _ = world.run(&["init", "-e", "repokey-blake2", "R"]).exits(0);
        let mut random = Bytes::new(7);
        for name in ["a", "b", "c", "d"] {
            std::fs::write(source.join(name), random.random(50_000)).unwrap();
            let archive = format!("R::{name}");
            let create = ["create", &archive, "source"];
            match name {
                "a" | "c" => drop(world.run(&create).ok()),
                _ => drop(elsewhere(&world, &second, &create).go().ok()),
            }
            ledger.observe(&world.repository);
        }
        // What one deletes the other does not count on.
        let _ = world.run(&["delete", "R::a"]).ok();
        let _ = elsewhere(&world, &second, &["delete", "R::b"]).go().ok();
        let _ = world.run(&["compact", "--threshold", "0", "R"]).ok();
        let again = elsewhere(&world, &second, &["create", "R::e", "source"]);
        let _ = again.go().ok();
        ledger.observe(&world.repository);
        assert_eq!(archives(&world), ["c", "d", "e"]);
        world.is_sound();
        let tree = Tree::read(&source).as_archived();
        world.extracts("e", &tree);
    }
}

#[test]
fn of_two_clients_at_once_one_waits_or_is_told() {
    for server in [ours(), Borg::official(Version::V14)] {
        let world = World::new(&server);
        let source = world.sandbox.directory("source");
        std::fs::write(source.join("file"), "content").unwrap();
        let _ = world.run(&["init", "-e", "repokey-blake2", "R"]).exits(0);
        let first = format!("{}::first", world.address);
        let run = world.sandbox.command(&ours()).args(["create", &first, "-"]);
        let mut busy = run.spawn();
        wait_for("the first client", || {
            world.repository.join("lock.exclusive").exists()
        });
        let told: Outcome = elsewhere(
            &world,
            &ours(),
            &[
                "create",
                "--log-json",
                "--lock-wait",
                "0",
                "R::told",
                "source",
            ],
        )
        .go()
        .exits(73);
        assert_eq!(told.message_ids().last().unwrap(), "LockTimeout", "{told}");
        let patient = ["create", "--lock-wait", "60", "R::second", "source"];
        let mut patient = elsewhere(&world, &ours(), &patient).spawn();
        std::thread::sleep(Duration::from_millis(300));
        assert!(patient.try_wait().unwrap().is_none());
        drop(busy.stdin.take());
        assert!(busy.wait().unwrap().success());
        assert!(patient.wait().unwrap().success());
        assert_eq!(archives(&world), ["first", "second"]);
        world.is_sound();
    }
}
