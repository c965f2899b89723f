//! The real borgmatic, with our program as its `local_path` and then with real Borg: the results
//! of every action are the same.

use std::fs;
use std::path::PathBuf;

use fastness_testkit::{Borg, Outcome, Sandbox, Tree, source_tree};
use serde_json::Value;

use crate::{ours, reference};

const CONFIGURATION: &str = "\
source_directories:
    - TOP/source
repositories:
    - path: TOP/NAME
      label: local
local_path: BORG
encryption_passphrase: words of the configuration
exclude_patterns:
    - '*/app.log'
compression: zstd,1
keep_secondly: 5
checks:
    - name: repository
    - name: archives
bootstrap:
    store_config_files: false
";

/// A repository and the configuration for it.
struct Driven<'s> {
    sandbox: &'s Sandbox,
    program: PathBuf,
    name: &'static str,
}

impl<'s> Driven<'s> {
    fn new(sandbox: &'s Sandbox, borg: &Borg, name: &'static str) -> Self {
        let text = CONFIGURATION
            .replace("TOP", sandbox.root().to_str().unwrap())
            .replace("BORG", borg.path().to_str().unwrap())
            .replace("NAME", name);
        fs::write(sandbox.path(format!("{name}.yaml")), text).unwrap();
        let peers = reference().path().ancestors().nth(3).unwrap().to_owned();
        let program = peers.join("borgmatic-2.1.10/bin/borgmatic");
        assert!(program.exists(), "{}: run scripts/setup", program.display());
        Driven {
            sandbox,
            program,
            name,
        }
    }

    /// What a run of borgmatic says on stdout, but for what is this repository's own.
    fn run(&self, words: &[&str]) -> String {
        self.outcome(words)
            .ok()
            .out()
            .replace(self.name, "repository")
    }

    fn outcome(&self, words: &[&str]) -> Outcome {
        let run = self.sandbox.run_of(&self.program).arg("--config");
        let run = run.arg(self.sandbox.path(format!("{}.yaml", self.name)));
        // Two runs at a time must not meet in their runtime directories.
        let runtime = self.sandbox.directory(&format!("run-{}", self.name));
        run.env("XDG_RUNTIME_DIR", runtime).args(words).go()
    }

    fn place(&self, what: &str) -> (PathBuf, String) {
        let path = self.sandbox.path(format!("{what}-{}", self.name));
        let text = path.to_str().unwrap().to_owned();
        (path, text)
    }

    fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.run(words)).unwrap()
    }

    /// Runs every action and returns what each gave.
    fn all(&self) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        let mut tell = |action, text: String| told.push((action, text));
        tell(
            "repo-create",
            self.run(&["repo-create", "--encryption", "repokey-blake2"]),
        );
        let name = |name| ["create", "--archive-name-format", name];
        let created = self.json(&[&name("first")[..], &["--json"]].concat());
        tell("create", shape(&created));
        tell(
            "nfiles",
            created[0]["archive"]["stats"]["nfiles"].to_string(),
        );
        tell(
            "size",
            created[0]["archive"]["stats"]["original_size"].to_string(),
        );
        tell(
            "create",
            self.run(&[&name("other")[..], &["--files-cache", "ctime,size"]].concat()),
        );
        tell(
            "prune",
            names(&self.run(&["prune", "--list", "--match-archives", "sh:first"])),
        );
        tell("compact", self.run(&["compact"]));
        tell("check", self.run(&["check", "--force"]));
        tell("repo-list", shape(&self.json(&["repo-list", "--json"])));
        tell("list", self.run(&["list", "--archive", "first"]));
        tell(
            "info",
            shape(&self.json(&["info", "--archive", "first", "--json"])),
        );
        tell("repo-info", shape(&self.json(&["repo-info", "--json"])));
        tell(
            "diff",
            self.run(&[
                "diff",
                "--archive",
                "first",
                "--second-archive",
                "other",
                "--content-only",
            ]),
        );
        let (_, tar) = self.place("tar");
        tell(
            "export-tar",
            self.run(&["export-tar", "--archive", "first", "--destination", &tar]),
        );
        let (_, restored) = self.place("restored");
        fs::create_dir(&restored).unwrap();
        tell(
            "extract",
            self.run(&["extract", "--archive", "first", "--destination", &restored]),
        );
        let excludes = ["--exclude-patterns", "[sh:**/many]"];
        tell(
            "recreate",
            self.run(&[&["recreate", "--archive", "other"][..], &excludes].concat()),
        );
        tell("list", self.run(&["list", "--archive", "other"]));
        tell("delete", self.run(&["delete", "--archive", "other"]));
        let key = self.run(&["key", "export"]);
        tell(
            "key export",
            key.lines()
                .next()
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .to_owned(),
        );
        tell("repo-list", names(&self.run(&["repo-list"])));
        told
    }
}

/// The keys of a document and the kinds of its values, without the values.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(pairs) => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| format!("{key}: {}", shape(value)))
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Array(values) => {
            let shapes: Vec<String> = values.iter().map(shape).collect();
            format!("[{}]", shapes.join(", "))
        }
        Value::String(_) => "text".to_owned(),
        Value::Number(number) => if number.is_f64() { "float" } else { "integer" }.to_owned(),
        other => other.to_string(),
    }
}

/// The first word of each line: times and ids differ.
fn names(text: &str) -> String {
    let words = text
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default());
    words.collect::<Vec<_>>().join("\n")
}

#[test]
fn borgmatic_gets_the_same_from_ours_as_from_real_borg() {
    let sandbox = Sandbox::new();
    source_tree::create(&sandbox.path("source"), 1);
    let ours = Driven::new(&sandbox, &ours(), "repo-a");
    let theirs = Driven::new(&sandbox, &reference(), "repo-b");
    let (told, expected) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| ours.all());
        let theirs = scope.spawn(|| theirs.all());
        (ours.join().unwrap(), theirs.join().unwrap())
    });
    for (ours, theirs) in told.iter().zip(&expected) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(told.len(), expected.len());
    assert!(fs::read(ours.place("tar").0).unwrap() == fs::read(theirs.place("tar").0).unwrap());
    let source = sandbox.path("source");
    let source = source.strip_prefix("/").unwrap();
    let restored = |driven: &Driven<'_>| Tree::read(&driven.place("restored").0.join(source));
    restored(&ours).assert_same(&restored(&theirs), "extracted by borgmatic");
    let _ = sandbox
        .command(&reference())
        .env("BORG_PASSPHRASE", "words of the configuration")
        .args(["check", "--verify-data", "repo-a"])
        .go()
        .ok();
}

#[test]
fn borgmatic_mounts_with_ours_as_with_real_borg() {
    let sandbox = Sandbox::new();
    source_tree::create(&sandbox.path("source"), 1);
    let trees = [(ours(), "repo-a"), (reference(), "repo-b")].map(|(borg, name)| {
        let driven = Driven::new(&sandbox, &borg, name);
        let _ = driven.run(&["repo-create", "--encryption", "authenticated"]);
        let _ = driven.run(&["create", "--archive-name-format", "first"]);
        let (path, mountpoint) = driven.place("mount");
        fs::create_dir(&path).unwrap();
        let _ = driven.run(&["mount", "--archive", "first", "--mount-point", &mountpoint]);
        let source = sandbox.path("source");
        let tree = Tree::read(&path.join(source.strip_prefix("/").unwrap()));
        let _ = driven.run(&["umount", "--mount-point", &mountpoint]);
        assert_eq!(
            fs::read_dir(&path).unwrap().count(),
            0,
            "{name} is still mounted"
        );
        tree
    });
    let [ours, theirs] = trees;
    ours.assert_same(&theirs, "mounted by borgmatic");
}
