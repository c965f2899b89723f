//! Our `serve` with real Borg as its client, through a real ssh server.
//!
//! Every session is a process of its own, as sshd starts it. What a client sees of it, good or bad, is
//! what it sees of official Borg.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use fastness_testkit::{Borg, Outcome, Run, Sandbox, Sshd, Tree, Version, source_tree};

use crate::{ours, reference};

/// A client's machine and a server's, with a source tree and the address of a repository.
struct Machines {
    sandbox: Sandbox,
    server: Sshd,
    client: Borg,
    address: String,
}

impl Machines {
    fn new(client: Version) -> Machines {
        let (mut sandbox, server) = (Sandbox::new(), Sshd::start());
        source_tree::create(&sandbox.path("source"), 7);
        sandbox.set_env("BORG_RSH", server.rsh("client", None));
        sandbox.set_env("BORG_REMOTE_PATH", ours().path());
        sandbox.set_env("BORG_DELETE_I_KNOW_WHAT_I_AM_DOING", "YES");
        let address = server.address(sandbox.path("repository"));
        Machines {
            sandbox,
            server,
            client: Borg::official(client),
            address,
        }
    }

    fn archive(&self, name: &str) -> String {
        format!("{}::{name}", self.address)
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.sandbox.run(&self.client, arguments).ok()
    }

    fn prepare(&self, arguments: &[&str]) -> Run {
        self.sandbox.command(&self.client).args(arguments)
    }

    fn archives(&self) -> Vec<String> {
        self.run(&["list", "--short", &self.address]).lines()
    }

    fn extracts_the_source(&self, archive: &str) {
        let target = self.sandbox.directory("target");
        let run = self.prepare(&["extract", &self.archive(archive)]);
        let _ = run.in_directory(&target).go().ok();
        let expected = Tree::read(&self.sandbox.path("source")).as_archived();
        let extracted = Tree::read(&target.join("source")).as_archived();
        expected.assert_same(&extracted, archive);
        fs::remove_dir_all(&target).unwrap();
    }
}

/// From the first command to the last one, each through a server of its own.
fn whole_life(client: Version, mode: &str) {
    let machines = Machines::new(client);
    let _ = machines.run(&["init", "--encryption", mode, &machines.address]);
    let repository = machines.sandbox.path("repository");
    let key_in_repository = fs::read_to_string(repository.join("config")).unwrap();
    assert_eq!(key_in_repository.contains("\nkey ="), mode == "repokey");
    for (round, archive) in ["one", "two", "three"].iter().enumerate() {
        source_tree::change(&machines.sandbox.path("source"), round as u64);
        let _ = machines.run(&["create", &machines.archive(archive), "source"]);
    }
    assert_eq!(machines.archives(), ["one", "two", "three"]);
    machines.extracts_the_source("three");
    let _ = machines.run(&["delete", &machines.archive("one")]);
    let _ = machines.run(&["prune", "--keep-last", "1", &machines.address]);
    assert_eq!(machines.archives(), ["three"]);
    if client != Version::V11 {
        let before = size(&repository);
        let _ = machines.run(&["compact", "--threshold", "0", &machines.address]);
        assert!(size(&repository) < before);
    }
    let check = machines.run(&["check", "--verify-data", "--verbose", &machines.address]);
    for line in [
        "Remote: Starting repository check",
        "Archive consistency check complete, no problems found.",
    ] {
        assert!(check.err().contains(line), "{check}");
    }
    machines.extracts_the_source("three");
    let info = machines.run(&["info", "--json", &machines.address]).json();
    assert_eq!(info["repository"]["location"], machines.address);
    let locks = ["lock.exclusive", "lock.roster"].map(|name| repository.join(name).exists());
    assert_eq!(locks, [false, false]);
    let _ = machines.run(&["delete", &machines.address]);
    assert!(!repository.exists());
}

fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => size(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    sizes.sum()
}

macro_rules! lives {
    ($($name:ident: $client:ident, $mode:literal;)*) => {$(
        #[test]
        fn $name() {
            whole_life(Version::$client, $mode);
        }
    )*};
}

lives! {
    borg_1_4_with_repokey: V14, "repokey";
    borg_1_4_with_keyfile_blake2: V14, "keyfile-blake2";
    borg_1_2_with_repokey: V12, "repokey";
    borg_1_2_with_keyfile_blake2: V12, "keyfile-blake2";
    borg_1_1_with_keyfile_blake2: V11, "keyfile-blake2";
}

/// A client in the midst of an archive, with the lock of the repository.
struct Busy {
    machines: Machines,
    client: Child,
}

impl Busy {
    fn new() -> Busy {
        let machines = Machines::new(Version::V14);
        let _ = machines.run(&["init", "--encryption", "repokey", &machines.address]);
        let _ = machines.run(&["create", &machines.archive("one"), "source"]);
        let archive = machines.archive("two");
        let begun = machines.sandbox.path("begun");
        let content = "head -c 9000000 /dev/urandom; touch begun; sleep 60";
        let create = ["create", "--content-from-command", &archive, "--"];
        let run = machines.prepare(&create).args(["sh", "-c", content]);
        let client = run.spawn();
        wait_for(&begun, true);
        wait_for(&machines.lock(), true);
        Busy { machines, client }
    }

    /// The server has gone, and what the client had not committed is gone, too.
    fn leaves_a_clean_repository(mut self) {
        let begun = Instant::now();
        wait_for(&self.machines.lock(), false);
        assert!(begun.elapsed() < Duration::from_secs(10));
        let _ = self.client.kill();
        let _ = self.client.wait();
        assert_eq!(self.machines.archives(), ["one"]);
        let check = ["check", "--verify-data", &self.machines.address];
        let _ = self.machines.run(&check);
        self.machines.extracts_the_source("one");
    }
}

impl Machines {
    fn lock(&self) -> std::path::PathBuf {
        self.sandbox.path("repository/lock.exclusive")
    }
}

fn wait_for(path: &Path, there: bool) {
    let begun = Instant::now();
    while path.exists() != there {
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(30), "{}", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(signal: &str, pid: &str) {
    let killed = Command::new("kill").args([signal, pid]).status();
    assert!(
        killed.is_ok_and(|status| status.success()),
        "{signal} {pid}"
    );
}

/// The children of a process that run the program named.
fn children(pid: u32, program: &str) -> Vec<String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap();
    let runs = |pid: &str| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim_end() == program)
    };
    let children = children.split_whitespace().filter(|pid| runs(pid));
    children.map(str::to_owned).collect()
}

#[test]
fn a_killed_client_leaves_no_server_and_no_lock() {
    let mut busy = Busy::new();
    busy.client.kill().unwrap();
    busy.leaves_a_clean_repository();
}

#[test]
fn a_cut_connection_leaves_no_server_and_no_lock() {
    let busy = Busy::new();
    let ssh = children(busy.client.id(), "ssh");
    assert_eq!(ssh.len(), 1);
    kill("-KILL", &ssh[0]);
    busy.leaves_a_clean_repository();
}

#[test]
fn a_signal_ends_a_server_that_waits_and_frees_the_lock() {
    for (signal, code) in [("-TERM", 143), ("-HUP", 129), ("-INT", 130)] {
        let sandbox = Sandbox::new();
        let init = ["init", "--encryption", "none", "repository"];
        let _ = sandbox.run(&ours(), &init).ok();
        let mut server = sandbox.command(&ours()).arg("serve").spawn();
        let mut open = b"\x83\xa1i\x01\xa1m\xa4open\xa1a\x82\xa9exclusive\xc3\xa4path".to_vec();
        open.extend(b"\xaarepository");
        let mut stdin = server.stdin.take().unwrap();
        stdin.write_all(&open).unwrap();
        let lock = sandbox.path("repository/lock.exclusive");
        wait_for(&lock, true);
        kill(signal, &server.id().to_string());
        let status = server.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{signal}");
        assert!(!lock.exists(), "{signal}");
    }
}

#[test]
fn a_forced_command_of_sshd_holds_for_a_real_client() {
    let machines = Machines::new(Version::V14);
    let (sandbox, server) = (&machines.sandbox, &machines.server);
    let allowed = sandbox.path("my repository");
    let forced = format!(
        "{} serve --append-only --restrict-to-repository '{}'",
        ours().path().display(),
        allowed.display()
    );
    let rsh = server.rsh("restricted", Some(&forced));
    let run = |arguments: &[&str]| machines.prepare(arguments).env("BORG_RSH", &rsh).go();
    let address = server.address(&allowed);
    let _ = run(&["init", "--encryption", "repokey", &address]).ok();
    let other = run(&["init", "--encryption", "repokey", &machines.address]).exits(2);
    let path = sandbox.path("repository").display().to_string();
    let refused = format!("Repository path not allowed: {path}\n");
    assert!(other.err().ends_with(&refused), "{other}");
    let _ = run(&["create", &format!("{address}::one"), "source"]).ok();
    let size_before = size(&allowed.join("data"));
    let _ = run(&["delete", &format!("{address}::one")]).ok();
    let _ = run(&["compact", "--threshold", "0", &address]).ok();
    assert!(size(&allowed.join("data")) > size_before);
    let _ = run(&["delete", &address]).exits(2);
    assert!(allowed.join("config").exists());
}

/// Commands that fail at the server. `@` is the directory of the repositories there.
const FAILURES: [&[&str]; 10] = [
    &["list", "@/missing"],
    &["init", "-e", "none", "@/repository"],
    &["init", "-e", "none", "@/repository/data/below"],
    &["init", "-e", "none", "@/missing/parent"],
    &["init", "-e", "none", "@/file"],
    &["list", "@/file"],
    &["list", "@/directory"],
    &["list", "@/strange"],
    &["list", "--lock-wait", "0", "@/locked"],
    &["create", "@/repository::large", "large"],
];

/// What a real client says of failures at a server, without the name of its directory.
fn failures(server: &Borg) -> Vec<(i32, String)> {
    let mut sandbox = Sandbox::new();
    let here = sandbox.root().display().to_string();
    for name in ["repository", "strange", "locked"] {
        let init = ["init", "--encryption", "none", name];
        let _ = sandbox.run(&ours(), &init).ok();
    }
    fs::write(
        sandbox.path("strange/config"),
        "[repository]\nversion = 9\n",
    )
    .unwrap();
    fs::write(sandbox.path("file"), "x").unwrap();
    fs::create_dir(sandbox.path("directory")).unwrap();
    fs::create_dir(sandbox.path("locked/lock.exclusive")).unwrap();
    fs::write(sandbox.path("locked/lock.exclusive/elsewhere@1.7-0"), "").unwrap();
    let large = source_tree::Bytes::new(5).random(12_000_000);
    fs::write(sandbox.path("large"), large).unwrap();
    // In place of ssh: what it would run at the other end, whatever the host.
    let rsh = sandbox.path("rsh");
    let serve = format!("exec {} serve --storage-quota 10M", server.path().display());
    fs::write(&rsh, serve).unwrap();
    sandbox.set_env("BORG_RSH", format!("sh {}", rsh.display()));
    sandbox.set_env("BORG_EXIT_CODES", "modern");
    sandbox.set_env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
    let client = Borg::official(Version::V14);
    let address = format!("ssh://server{here}");
    let fail = |words: &[&str]| {
        let words: Vec<String> = words
            .iter()
            .map(|word| word.replace('@', &address))
            .collect();
        let outcome = sandbox.run(&client, &words);
        (outcome.code(), outcome.err().replace(&here, "@"))
    };
    FAILURES.map(fail).into()
}

#[test]
fn failures_reach_a_real_client_as_those_of_borgs_server() {
    let (theirs, own) = (failures(&reference()), failures(&ours()));
    for ((theirs, own), command) in theirs.iter().zip(&own).zip(FAILURES) {
        assert_eq!(own, theirs, "{command:?}");
        assert!(theirs.0 > 1, "{command:?}: {theirs:?}");
    }
}
