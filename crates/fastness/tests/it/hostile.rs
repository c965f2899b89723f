//! Extraction never leaves its target directory, whatever the archive says.
//!
//! Each archive is forged with right checksums and MACs. Around the target lie
//! files that the archive tries to read, replace, link or remove: afterwards they
//! and their whole directory must be as they were.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use fastness_testkit::forge::{self, directory, file, hardlink};
use fastness_testkit::{Exit, Outcome, Sandbox, Tree};
use serde_json::{Value, json};

use crate::{ours, reference};

/// The archives: a name that says what it tries, and its items. `OUT` is the directory outside.
fn archives(out: &str) -> Vec<(&'static str, Vec<Value>)> {
    let link = forge::symlink;
    vec![
        (
            "symlinked-parent",
            vec![link("way-out", out), file("way-out/secret", "overwritten")],
        ),
        (
            "symlinked-parent-relative",
            vec![
                link("way-out", "../outside"),
                file("way-out/secret", "overwritten"),
            ],
        ),
        (
            "symlinked-parent-new-file",
            vec![link("way-out", out), file("way-out/new", "dropped")],
        ),
        (
            "symlinked-parent-directory",
            vec![link("way-out", out), directory("way-out/new-directory")],
        ),
        (
            "symlinked-parent-chmod",
            vec![
                link("way-out", out),
                json!({"path": "way-out/directory", "mode": 0o040_700}),
            ],
        ),
        (
            "symlinked-parent-symlink",
            vec![link("way-out", out), link("way-out/secret", "elsewhere")],
        ),
        (
            "symlinked-parent-fifo",
            vec![
                link("way-out", out),
                json!({"path": "way-out/secret", "mode": forge::FIFO}),
            ],
        ),
        (
            "symlinked-parent-device",
            vec![
                link("way-out", out),
                json!({"path": "way-out/secret", "mode": forge::CHARACTER_DEVICE, "rdev": 259}),
            ],
        ),
        (
            "symlinked-grandparent",
            vec![
                directory("a"),
                link("a/b", out),
                file("a/b/directory/inner", "overwritten"),
            ],
        ),
        (
            "symlink-chain",
            vec![
                link("one", "two"),
                link("two", out),
                file("one/secret", "overwritten"),
            ],
        ),
        (
            "directory-then-symlink",
            vec![
                directory("d"),
                link("d", out),
                file("d/secret", "overwritten"),
            ],
        ),
        (
            "symlink-then-directory",
            vec![link("d", out), directory("d"), file("d/inside", "fine")],
        ),
        ("dot-dot", vec![file("../outside/secret", "overwritten")]),
        (
            "dot-dot-inside",
            vec![
                directory("a"),
                file("a/../../outside/secret", "overwritten"),
            ],
        ),
        (
            "dot-dot-last",
            vec![json!({"path": "a/..", "mode": 0o040_700})],
        ),
        (
            "dot-dot-alone",
            vec![json!({"path": "..", "mode": 0o040_700})],
        ),
        (
            "absolute",
            vec![file(&format!("{out}/secret"), "overwritten")],
        ),
        (
            "double-slash",
            vec![file(&format!("/{out}/secret"), "overwritten")],
        ),
        (
            "hardlink-to-outside",
            vec![hardlink("stolen", &format!("{out}/secret"))],
        ),
        (
            "hardlink-dot-dot",
            vec![hardlink("stolen", "../outside/secret")],
        ),
        (
            "hardlink-through-symlink",
            vec![link("way-out", out), hardlink("stolen", "way-out/secret")],
        ),
        (
            "hardlink-to-symlink-written",
            vec![
                link("lnk", &format!("{out}/secret")),
                hardlink("stolen", "lnk"),
                file("stolen", "overwritten"),
            ],
        ),
        (
            "write-through-symlink",
            vec![
                link("lnk", &format!("{out}/secret")),
                file("lnk", "overwritten"),
            ],
        ),
        (
            "attributes-through-symlink",
            vec![
                json!({"path": "lnk", "mode": forge::SYMLINK, "source": format!("{out}/secret"), "uid": 4711, "gid": 4711,
                        "mtime": 1, "xattrs": {"user.planted": "yes"}, "bsdflags": 0x40}),
            ],
        ),
        (
            "xattr-of-outside",
            vec![
                link("way-out", out),
                json!({"path": "way-out/secret", "mode": forge::FILE, "data": "", "xattrs": {"user.planted": "x"}}),
            ],
        ),
    ]
}

struct Scene {
    sandbox: Sandbox,
}

impl Scene {
    fn new() -> Scene {
        let sandbox = Sandbox::new();
        let outside = sandbox.directory("outside");
        fs::create_dir(outside.join("directory")).unwrap();
        fs::write(outside.join("secret"), "the secret").unwrap();
        fs::write(outside.join("directory/inner"), "inner").unwrap();
        let init = sandbox.run(
            &reference(),
            &["init", "--encryption", "repokey", "repository"],
        );
        let _ = init.ok();
        Scene { sandbox }
    }

    fn outside(&self) -> Tree {
        Tree::read(&self.sandbox.path("outside"))
    }

    fn links_to_secret(&self) -> u64 {
        std::os::unix::fs::MetadataExt::nlink(
            &fs::metadata(self.sandbox.path("outside/secret")).unwrap(),
        )
    }

    fn extract(&self, archive: &str, target: &Path, arguments: &[&str]) -> Outcome {
        let archive = format!("{}::{archive}", self.sandbox.path("repository").display());
        self.sandbox
            .command(&ours())
            .arg("extract")
            .arg(archive)
            .args(arguments)
            .in_directory(target)
            .go()
            .tidy()
    }
}

#[test]
fn nothing_outside_the_target_changes() {
    let scene = Scene::new();
    let archives = archives(scene.sandbox.path("outside").to_str().unwrap());
    forge::archives(&scene.sandbox, &scene.sandbox.path("repository"), &archives);
    let before = scene.outside();
    let parent_mode = mode(scene.sandbox.root());
    for (name, _) in &archives {
        // Borg 1.4.5 gives the attributes of an item called `..` to the target's parent.
        if *name == "dot-dot-alone" && ours().label() != "ours" {
            continue;
        }
        let target = scene.sandbox.directory("target");
        let outcome = scene.extract(name, &target, &[]);
        before.assert_same(&scene.outside(), name);
        assert_eq!(
            scene.links_to_secret(),
            1,
            "{name}: a second name for the secret"
        );
        assert_eq!(
            mode(scene.sandbox.root()),
            parent_mode,
            "{name}: the parent's mode changed"
        );
        let escaped = fs::read_dir(scene.sandbox.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let expected = ["home", "outside", "repository", "target", "tmp"];
        let strangers: Vec<_> = escaped
            .filter(|name| !expected.iter().any(|known| name == known))
            .collect();
        assert!(strangers.is_empty(), "{name}: {strangers:?} appeared");
        // Refusing is a warning or an error, never silence; a few of the archives are merely odd.
        let harmless = [
            "symlink-then-directory",
            "write-through-symlink",
            "attributes-through-symlink",
            "hardlink-to-symlink-written",
            "directory-then-symlink",
            "dot-dot-last",
        ];
        if !harmless.contains(name) {
            assert_ne!(outcome.exit, Exit::Code(0), "{name}: {outcome}");
        }
        fs::remove_dir_all(&target).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap())
}

#[test]
fn a_symlink_that_was_in_the_target_before_is_not_followed() {
    let scene = Scene::new();
    let items = vec![
        directory("data"),
        file("data/secret", "overwritten"),
        file("data/new", "dropped"),
    ];
    forge::archives(
        &scene.sandbox,
        &scene.sandbox.path("repository"),
        &[("plain", items)],
    );
    let before = scene.outside();
    let target = scene.sandbox.directory("target");
    symlink(scene.sandbox.path("outside"), target.join("data")).unwrap();
    let _ = scene.extract("plain", &target, &[]);
    before.assert_same(&scene.outside(), "a symlink prepared by somebody else");
}

#[test]
fn stripping_components_does_not_open_a_way_out() {
    let scene = Scene::new();
    let out = scene.sandbox.path("outside");
    let items = vec![
        file("x/../outside/secret", "overwritten"),
        file("x/y/../../../outside/secret", "overwritten"),
        file(&format!("x/{}/secret", out.display()), "overwritten"),
    ];
    forge::archives(
        &scene.sandbox,
        &scene.sandbox.path("repository"),
        &[("stripped", items)],
    );
    let before = scene.outside();
    for components in ["1", "2", "3"] {
        let target = scene.sandbox.directory("target");
        let _ = scene.extract("stripped", &target, &["--strip-components", components]);
        before.assert_same(&scene.outside(), components);
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn lying_sizes_and_odd_names_end_in_a_warning_or_a_file() {
    let scene = Scene::new();
    let items = vec![
        json!({"path": "wrong-size", "mode": forge::FILE, "data": "four", "size": 5_000_000_000_u64}),
        file("new\nline", "fine"),
        file("\u{1b}[31mred", "fine"),
        file("percent %s %n {0}", "fine"),
        file("a", "first"),
        file("a", "second"),
        json!({"path": "unknown", "mode": forge::FILE, "data": "x", "tomorrow": 5}),
    ];
    forge::archives(
        &scene.sandbox,
        &scene.sandbox.path("repository"),
        &[("odd", items)],
    );
    let target = scene.sandbox.directory("target");
    let outcome = scene.extract("odd", &target, &[]);
    assert_eq!(
        outcome.exit,
        Exit::Code(1),
        "a wrong size is a warning: {outcome}"
    );
    assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "second");
    assert_eq!(
        fs::read_to_string(target.join("new\nline")).unwrap(),
        "fine"
    );
    assert_eq!(
        fs::read_to_string(target.join("percent %s %n {0}")).unwrap(),
        "fine"
    );
}
