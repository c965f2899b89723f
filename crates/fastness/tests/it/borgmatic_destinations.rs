//! Several destinations of one server: what happens to one never costs another its archive.

use std::fs;
use std::path::{Path, PathBuf};

use fastness_testkit::{Outcome, RamDisk, Sandbox, source_tree};

use crate::reference;

/// What both destinations are told.
const COMMON: &str = "\
source_directories: [TOP/source]
encryption_passphrase: words of the configuration
store_config_files: false
archive_name_format: ARCHIVE
retries: 0
";

/// In turn, and side by side.
const BOTH_WAYS: [&str; 2] = ["", "fastness: {parallel_repositories: true}\n"];

/// A server with two destinations.
pub struct Server {
    pub sandbox: Sandbox,
    /// What the configuration says besides.
    pub more: String,
}

impl Server {
    pub fn new(more: &str) -> Server {
        let mut sandbox = Sandbox::new();
        source_tree::create(&sandbox.path("source"), 1);
        let runtime = sandbox.directory("run");
        sandbox.set_env("XDG_RUNTIME_DIR", runtime);
        Server {
            sandbox,
            more: more.to_owned(),
        }
    }

    /// Writes a configuration file with these destinations.
    pub fn configure(&self, name: &str, destinations: &[&str]) -> PathBuf {
        let mut text = COMMON.to_owned() + "repositories:\n";
        for destination in destinations {
            text += &format!("    - path: TOP/{destination}\n");
            text += &format!("      label: {}\n", destination.replace('/', "-"));
            text += "      encryption: repokey-blake2\n";
        }
        text += &self.more;
        let path = self.sandbox.path(name);
        let top = self.sandbox.root().to_str().unwrap();
        fs::write(&path, text.replace("TOP", top)).unwrap();
        path
    }

    pub fn fastness(&self, files: &[PathBuf], words: &[&str]) -> Outcome {
        let mut run = self
            .sandbox
            .run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
        for file in files {
            run = run.arg("--config").arg(file);
        }
        run.args(words).go()
    }

    pub fn create(&self, files: &[PathBuf], archive: &str) -> Outcome {
        self.fastness(files, &["create", "--archive-name-format", archive])
    }

    /// The real Borg, with the passphrase of the configuration.
    pub fn borg(&self, words: &[&str]) -> Vec<String> {
        let run = self.sandbox.command(&reference());
        let run = run.env("BORG_PASSPHRASE", "words of the configuration");
        run.args(words).go().ok().lines()
    }

    pub fn archives(&self, destination: &str) -> Vec<String> {
        self.borg(&["list", "--short", destination])
    }

    pub fn items(&self, archive: &str) -> Vec<String> {
        let format = "--format={type}{mode} {user} {group} {size} {mtime} {sha256} {path}{NL}";
        self.borg(&["list", format, archive])
    }
}

/// Makes sure that a run told which destination failed, and why.
pub fn told(outcome: Outcome, name: &str, reasons: &[&str]) {
    let outcome = outcome.exits(1);
    let said = format!("{}{}", outcome.out(), outcome.err());
    let failed = format!("{name}: Error running actions for repository");
    assert!(said.contains(&failed), "{said}");
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{said}");
}

#[test]
fn a_full_disk_costs_only_its_own_archive() {
    for way in BOTH_WAYS {
        let server = Server::new(way);
        let disk = RamDisk::mount(&server.sandbox.path("disk"), 4 << 20);
        let file = [server.configure("both.yaml", &["disk/full", "other"])];
        let _ = server.fastness(&file, &["repo-create"]).ok();
        let ballast = disk.fill();
        let failed = server.create(&file, "one");
        told(failed, "disk-full", &["space", "full"]);
        assert_eq!(server.archives("other"), ["one"]);
        fs::remove_file(ballast).unwrap();
        disk.resize(256 << 20);
        let _ = server.create(&file, "two").ok();
        assert_eq!(server.archives("disk/full"), ["two"]);
        assert_eq!(server.archives("other"), ["one", "two"]);
    }
}

#[test]
fn a_rotten_destination_costs_only_its_own_archive() {
    for way in BOTH_WAYS {
        let server = Server::new(way);
        let file = [server.configure("both.yaml", &["rotten", "other"])];
        let _ = server.fastness(&file, &["repo-create"]).ok();
        let _ = server.create(&file, "one").ok();
        for entry in fs::read_dir(server.sandbox.path("rotten/data/0")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            for byte in bytes.iter_mut().skip(40) {
                *byte ^= 0x55;
            }
            fs::write(&path, bytes).unwrap();
        }
        let failed = server.create(&file, "two");
        told(failed, "rotten", &["rotten"]);
        assert_eq!(server.archives("other"), ["one", "two"]);
        let _ = server.borg(&["check", "--verify-data", "other"]);
    }
}

#[test]
fn two_configurations_with_a_destination_each_are_like_one_with_two() {
    let server = Server::new("");
    let one = [server.configure("both.yaml", &["a", "b"])];
    let two = [
        server.configure("c.yaml", &["c"]),
        server.configure("d.yaml", &["d"]),
    ];
    for files in [&one[..], &two[..]] {
        let _ = server.fastness(files, &["repo-create"]).ok();
        for archive in ["first", "second"] {
            let _ = server.create(files, archive).ok();
        }
    }
    for archive in ["first", "second"] {
        let of = |destination: &str| server.items(&format!("{destination}::{archive}"));
        let expected = of("a");
        assert!(expected.len() > 40, "{}", expected.len());
        for destination in ["b", "c", "d"] {
            assert_eq!(of(destination), expected, "{archive} in {destination}");
        }
    }
}
