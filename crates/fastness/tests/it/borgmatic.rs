//! Runs of a configuration file, beside the real borgmatic.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fastness_testkit::{Outcome, Run, Sandbox, Tree, source_tree};
use serde_json::Value;

use crate::reference;

const CONFIGURATION: &str = "\
source_directories:
    - TOP/source
repositories:
    - path: TOP/repository
      label: local
      encryption: repokey-blake2
encryption_passphrase: words of the configuration
exclude_patterns:
    - '*/app.log'
    - sh:**/many/*3
compression: zstd,1
keep_daily: 7
";

/// A sandbox with a source tree and a configuration for it.
pub struct Place {
    pub sandbox: Sandbox,
}

impl Place {
    pub fn new() -> Place {
        let mut sandbox = Sandbox::new();
        source_tree::create(&sandbox.path("source"), 1);
        let top = sandbox.root().to_str().unwrap().to_owned();
        let text = CONFIGURATION.replace("TOP", &top);
        fs::write(sandbox.path("config.yaml"), text).unwrap();
        let runtime = sandbox.directory("run");
        sandbox.set_env("XDG_RUNTIME_DIR", runtime);
        Place { sandbox }
    }

    pub fn fastness(&self, arguments: &[&str]) -> Outcome {
        self.fastness_run(arguments).go()
    }

    /// The call, before it runs.
    pub fn fastness_run(&self, arguments: &[&str]) -> Run {
        let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
        let run = self.sandbox.run_of(program).arg("--config");
        run.arg(self.sandbox.path("config.yaml")).args(arguments)
    }

    /// Ours on a machine that has no configuration, but knows the passphrase.
    pub fn without_configuration(&self, arguments: &[&str]) -> Outcome {
        let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
        let run = self.sandbox.run_of(program);
        let run = run.env("BORG_PASSPHRASE", "words of the configuration");
        run.args(arguments).go()
    }

    /// The real borgmatic, with the real Borg.
    pub fn borgmatic(&self, arguments: &[&str]) -> Outcome {
        let borg = reference();
        // .../borg-1.4.5/bin/borg
        let peers = borg.path().ancestors().nth(3).unwrap();
        let program: PathBuf = peers.join("borgmatic-2.1.10/bin/borgmatic");
        assert!(
            program.exists(),
            "{} is missing: run scripts/setup",
            program.display()
        );
        let run = self.sandbox.run_of(&program).arg("--config");
        let run = run
            .arg(self.sandbox.path("config.yaml"))
            .arg("--local-path")
            .arg(borg.path());
        run.args(arguments).go()
    }

    /// The real Borg, with the passphrase of the configuration.
    pub fn borg(&self, arguments: &[&str]) -> Outcome {
        let run = self.sandbox.command(&reference());
        let run = run.env("BORG_PASSPHRASE", "words of the configuration");
        run.args(arguments).go().ok()
    }

    pub fn items(&self, archive: &str) -> Vec<String> {
        let format = "--format={type}{mode} {user} {group} {size} {mtime} {sha256} {path}{NL}";
        let archive = format!("repository::{archive}");
        let mut lines = self.borg(&["list", format, &archive]).lines();
        // The manifest was made at another time.
        for line in lines
            .iter_mut()
            .filter(|line| line.contains(" borgmatic/bootstrap"))
        {
            *line = line.rsplit(' ').next().unwrap().to_owned();
        }
        lines
    }

    fn manifest(&self, archive: &str) -> Value {
        let archive = format!("repository::{archive}");
        let path = "borgmatic/bootstrap/manifest.json";
        self.borg(&["extract", "--stdout", &archive, path]).json()
    }
}

#[test]
fn an_archive_holds_what_borgmatics_archive_holds() {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place
        .fastness(&["create", "--archive-name-format", "ours"])
        .ok();
    let _ = place
        .borgmatic(&["create", "--archive-name-format", "theirs"])
        .ok();
    let (ours, theirs) = (place.items("ours"), place.items("theirs"));
    assert!(ours.len() > 40, "{}", ours.len());
    assert_eq!(ours, theirs);
    assert_eq!(place.manifest("ours"), place.manifest("theirs"));
    let _ = place.borg(&["check", "--verify-data", "repository"]);
}

#[test]
fn files_come_back_as_they_were() {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place
        .fastness(&["create", "--archive-name-format", "one"])
        .ok();
    let target = place.sandbox.directory("target");
    let destination = target.to_str().unwrap();
    let source = place.sandbox.path("source");
    let stored = source.strip_prefix("/").unwrap().to_str().unwrap();
    let arguments = [
        "extract",
        "--archive",
        "one",
        "--destination",
        destination,
        "--path",
        stored,
    ];
    let _ = place
        .fastness(&[&arguments[..], &["--strip-components", "all"]].concat())
        .ok();
    let before = Tree::read(&source).as_archived();
    let excluded = |path: &[u8]| {
        path.ends_with(b"app.log") || (path.starts_with(b"many/") && path.ends_with(b"3"))
    };
    let before = before.without(|path, _| excluded(path));
    let after = Tree::read(&target.join("source")).as_archived();
    before.assert_same(&after, "extracted by the configuration");
}

#[test]
fn a_whole_run_creates_prunes_compacts_and_checks() {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    for _ in 0..3 {
        let run = place.fastness(&[]).ok();
        assert_eq!(run.out(), "");
    }
    // Three archives of one day: the rule keeps the latest, and the oldest of all.
    assert_eq!(
        place.borg(&["list", "--short", "repository"]).lines().len(),
        2
    );
    let _ = place.borg(&["check", "--verify-data", "repository"]);
}

#[test]
fn the_rhythm_of_checks_is_shared_with_borgmatic() {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place.fastness(&["create"]).ok();
    let _ = place.fastness(&["check"]).ok();
    let told = place.borgmatic(&["check", "--verbosity", "1"]).ok().out();
    for check in ["repository", "archives"] {
        let skipped = format!("Skipping {check} check due to configured frequency");
        assert!(told.contains(&skipped), "{told}");
    }
}

/// Everything but the engine is ours when the configuration names another Borg.
#[test]
fn another_borg_runs_when_the_configuration_names_one() {
    let place = Place::new();
    let program = place.sandbox.path("borg-by-name");
    let log = place.sandbox.path("calls");
    // It tells what it was called with, and where a secret could be seen.
    let script = format!(
        "#!/bin/sh\necho \"$1\" >> {log}\nenv | grep 'words of the conf' >> {log}\nexec {} \"$@\"\n",
        reference().path().display(),
        log = log.display(),
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut text = fs::read_to_string(place.sandbox.path("config.yaml")).unwrap();
    text += &format!("local_path: {}\n", program.display());
    fs::write(place.sandbox.path("config.yaml"), text).unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    let run = place.fastness(&["create", "prune", "--stats"]).ok();
    assert!(run.out().contains("Archive name: "), "{run}");
    let listed = place.fastness(&["repo-list", "--json"]).ok().json();
    assert_eq!(listed[0]["archives"].as_array().unwrap().len(), 1);
    let called = fs::read_to_string(&log).unwrap();
    let called: Vec<&str> = called.lines().collect();
    assert_eq!(called, ["info", "init", "create", "prune", "list"]);
    // By the name of the engine it is the engine.
    let _ = place.fastness(&["create", "--local-path", "borg"]).ok();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 5);
    let missing = place.fastness(&["create", "--local-path", "/no/such/borg"]);
    let missing = missing.exits(1).err();
    assert!(
        missing.contains("/no/such/borg (local_path) cannot be started"),
        "{missing}"
    );
}
