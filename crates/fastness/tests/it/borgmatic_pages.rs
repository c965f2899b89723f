//! What borgmatic's how-to pages describe, end to end and in both programs, as far as no other file
//! here does it. `docs/borgmatic-pages.md` names the test for each page.

use std::fs;
use std::path::{Path, PathBuf};

use fastness_testkit::{Outcome, Sandbox};

use crate::reference;

struct Place {
    sandbox: Sandbox,
}

impl Place {
    fn new() -> Place {
        let mut sandbox = Sandbox::new();
        let source = sandbox.directory("source");
        fs::write(source.join("file"), "content\n").unwrap();
        let runtime = sandbox.directory("run");
        sandbox.set_env("XDG_RUNTIME_DIR", runtime);
        Place { sandbox }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.sandbox.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = text.replace("TOP", self.sandbox.root().to_str().unwrap());
        fs::write(path, text).unwrap();
    }

    fn run(&self, program: &Path, config: &str, words: &[&str]) -> Outcome {
        let run = self.sandbox.run_of(program).arg("--config");
        run.arg(self.sandbox.path(config)).args(words).go()
    }

    fn fastness(&self, config: &str, words: &[&str]) -> Outcome {
        self.run(Path::new(env!("CARGO_BIN_EXE_fastness")), config, words)
    }

    fn borgmatic(&self, config: &str, words: &[&str]) -> Outcome {
        let borg = reference();
        let peers = borg.path().ancestors().nth(3).unwrap();
        let program: PathBuf = peers.join("borgmatic-2.1.10/bin/borgmatic");
        let words = [&["--local-path", borg.path().to_str().unwrap()], words].concat();
        self.run(&program, config, &words)
    }

    fn init(&self, repository: &str) {
        let _ = self
            .sandbox
            .run(&reference(), &["init", "-e", "none", repository])
            .ok();
    }

    fn archives(&self, repository: &str) -> usize {
        let listed = self
            .sandbox
            .run(&reference(), &["list", "--short", repository]);
        listed.ok().lines().len()
    }

    /// What hooks have written, and forgets it.
    fn told(&self) -> Vec<String> {
        let path = self.sandbox.path("told");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }
}

const BASE: &str = "source_directories: [TOP/source]\n\
    unknown_unencrypted_repo_access_is_ok: true\n\
    archive_name_format: '{now:%Y-%m-%dT%H:%M:%S.%f}'\n";

#[test]
fn a_drive_that_is_not_there_is_skipped_without_an_error() {
    let place = Place::new();
    let hooks = "repositories: [{path: TOP/drive/repository}, {path: TOP/repository}]\n\
        commands:\n    - before: repository\n      run: ['test -d {repository} || exit 75']\n";
    place.write("config.yaml", &format!("{BASE}{hooks}"));
    place.init("repository");
    let _ = place.fastness("config.yaml", &["create"]).ok();
    let _ = place.borgmatic("config.yaml", &["create"]).ok();
    assert_eq!(place.archives("repository"), 2);
    let _ = place.sandbox.directory("drive");
    place.init("drive/repository");
    let _ = place.fastness("config.yaml", &["create"]).ok();
    let _ = place.borgmatic("config.yaml", &["create"]).ok();
    assert_eq!(place.archives("repository"), 4);
    assert_eq!(place.archives("drive/repository"), 2);
}

#[test]
fn commands_run_around_what_they_name_in_the_same_order_in_both() {
    let place = Place::new();
    let mut hooks = String::from("repositories: [{path: TOP/repository, label: one}]\ncommands:\n");
    for (side, point, more) in [
        ("before", "everything", ""),
        ("before", "configuration", ""),
        ("before", "repository", ""),
        ("before", "action", "      when: [create, prune]\n"),
        ("after", "action", "      when: [create]\n"),
        ("after", "repository", "      states: [finish]\n"),
        ("after", "configuration", ""),
        ("after", "everything", ""),
        ("after", "error", ""),
    ] {
        let told = format!("echo {side} {point} {{repository_label}} >> TOP/told");
        hooks += &format!("    - {side}: {point}\n{more}      run: ['{told}']\n");
    }
    place.write("config.yaml", &format!("{BASE}keep_daily: 1\n{hooks}"));
    place.init("repository");
    let words = ["create", "prune", "list"];
    let _ = place.fastness("config.yaml", &words).ok();
    let ours = place.told();
    let _ = place.borgmatic("config.yaml", &words).ok();
    assert_eq!(ours, place.told());
    assert_eq!(ours.len(), 9, "{ours:?}");
    // Something fails: cleaning up and telling of it happen in both, too.
    place.write(
        "config.yaml",
        &format!("{BASE}{hooks}    - before: action\n      when: [create]\n      run: ['false']\n"),
    );
    let _ = place.fastness("config.yaml", &words).exits(1);
    let ours = place.told();
    let _ = place.borgmatic("config.yaml", &words).exits(1);
    assert_eq!(ours, place.told());
    assert!(ours.contains(&"after error one".to_owned()), "{ours:?}");
}

#[test]
fn each_application_has_a_file_that_shares_what_all_have_in_common() {
    let place = Place::new();
    place.write(
        "common.yaml",
        &format!("{BASE}constants: {{place: TOP}}\nkeep_daily: 7\nexclude_patterns: ['*.tmp']\n"),
    );
    for name in ["shop", "wiki"] {
        let text = format!(
            "<<: !include ../common.yaml\nrepositories: [{{path: '{{place}}/{name}'}}]\nexclude_patterns: ['*/{name}-cache']\n"
        );
        place.write(&format!("config.d/{name}.yaml"), &text);
        place.init(name);
    }
    place.write("config.d/notes.txt", "no configuration\n");
    for file in ["scratch.tmp", "wiki-cache", "shop-cache"] {
        place.write(&format!("source/{file}"), "left out of one or both\n");
    }
    let _ = place.fastness("config.d", &["create", "prune"]).ok();
    let _ = place.borgmatic("config.d", &["create"]).ok();
    let words = ["list", "--archive", "latest", "--format", "{path}{NL}"];
    let shop = place.fastness("config.d/shop.yaml", &words).ok().out();
    assert!(
        shop.contains("/wiki-cache") && !shop.contains("/shop-cache"),
        "{shop}"
    );
    assert!(!shop.contains("scratch.tmp"), "{shop}");
    let all = place.fastness("config.d", &words).ok().out();
    assert_eq!(all, place.borgmatic("config.d", &words).ok().out());
    assert_eq!((place.archives("shop"), place.archives("wiki")), (2, 2));
}

#[test]
fn an_old_configuration_is_brought_along() {
    let place = Place::new();
    let old = "location:\n    source_directories: [TOP/source]\n    repositories: [TOP/repository]\n\
        storage:\n    unknown_unencrypted_repo_access_is_ok: true\n\
        retention:\n    keep_daily: 3\nhooks:\n    before_backup: ['echo backup >> TOP/told']\n";
    place.write("old.yaml", old);
    let [old, new] = ["old.yaml", "new.yaml"].map(|name| place.sandbox.path(name));
    let words = [
        "config",
        "generate",
        "--source",
        old.to_str().unwrap(),
        "--destination",
    ];
    let generated = place
        .sandbox
        .run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
    let _ = generated.args(words).arg(&new).go().ok();
    let text = fs::read_to_string(&new).unwrap();
    assert!(
        !text.contains("location:") && text.contains("\nkeep_daily: 3"),
        "{text}"
    );
    place.init("repository");
    // Both read it, without a word about old spellings.
    for run in [
        place.fastness("new.yaml", &["create"]),
        place.borgmatic("new.yaml", &["create"]),
    ] {
        let run = run.ok();
        assert!(!run.err().contains("deprecated"), "{run}");
    }
    assert_eq!(place.archives("repository"), 2);
    assert_eq!(place.told(), ["backup", "backup"]);
}

/// The tests that the page names are there.
#[test]
fn every_page_has_its_test() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_to_string(here.join("../../docs/borgmatic-pages.md")).unwrap();
    let mut count = 0;
    for row in pages.lines().filter(|line| line.starts_with("| [")) {
        for test in row
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| word.contains("::"))
        {
            let (module, name) = test.split_once("::").unwrap();
            let path = here.join(format!("tests/it/{module}.rs"));
            let text = fs::read_to_string(path).unwrap_or_default();
            assert!(
                text.contains(&format!("\nfn {name}()")),
                "{test} is not there"
            );
            count += 1;
        }
    }
    assert!(count >= 16, "{count}");
}
