//! Our `serve` with real Borg as its client, through a real ssh server.
//!
//! Every session is a process of its own, as sshd starts it.

use std::path::Path;

use fastness_testkit::{Borg, Outcome, Run, Sandbox, Sshd, Tree, Version, source_tree};

use crate::ours;

/// A client's machine and a server's, with a source tree and the address of a repository.
struct Machines {
    sandbox: Sandbox,
    /// Ends when this is dropped.
    _server: Sshd,
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
            _server: server,
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
        std::fs::remove_dir_all(&target).unwrap();
    }
}

/// From the first command to the last one, each through a server of its own.
fn whole_life(client: Version, mode: &str) {
    let machines = Machines::new(client);
    let _ = machines.run(&["init", "--encryption", mode, &machines.address]);
    let repository = machines.sandbox.path("repository");
    let key_in_repository = std::fs::read_to_string(repository.join("config")).unwrap();
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
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
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
