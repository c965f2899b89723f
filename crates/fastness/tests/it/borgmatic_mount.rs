//! Archives that a configuration knows, mounted and taken away, beside the real borgmatic.
//!
//! Needs `/dev/fuse` and root, as the tests of `borg mount`.

use std::fs;
use std::time::SystemTime;

use fastness_testkit::Outcome;

use crate::borgmatic::Place;
use crate::mount::{self, can_mount, is_mounted, look};

/// A place with two archives, and what `mount` is called with.
fn place() -> Place {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place
        .fastness(&["create", "--archive-name-format", "first"])
        .ok();
    fs::write(place.sandbox.path("source/added"), "new").unwrap();
    let _ = place
        .fastness(&["create", "--archive-name-format", "second"])
        .ok();
    place
}

#[test]
fn what_is_mounted_is_what_borgmatic_mounts() {
    if !can_mount() {
        return;
    }
    let place = place();
    let ours = mount::Place(place.sandbox.directory("ours"));
    let theirs = mount::Place(place.sandbox.directory("theirs"));
    let at = |place: &mount::Place| place.0.to_str().unwrap().to_owned();
    let (to_ours, to_theirs) = (at(&ours), at(&theirs));
    for choice in [
        &["--archive", "second"][..],
        &["--archive", "latest", "--archive-name-format", "{now}"],
        &["--archive", "first", "--path", "borgmatic"],
        &["--last", "1"],
        &[],
    ] {
        let begun = SystemTime::now();
        let words = |to| [&["mount", "--mount-point", to][..], choice].concat();
        let _ = place.fastness(&words(&to_ours)).ok();
        let _ = place.borgmatic(&words(&to_theirs)).ok();
        assert!(is_mounted(&ours.0) && is_mounted(&theirs.0), "{choice:?}");
        assert!(fs::read_dir(&ours.0).unwrap().count() > 0, "{choice:?}");
        let seen = look(&ours, begun);
        seen.assert_same(&look(&theirs, begun), &format!("{choice:?}"));
        // Each takes away what the other mounted.
        let _ = place
            .fastness(&["umount", "--mount-point", &to_theirs])
            .ok();
        let _ = place.borgmatic(&["umount", "--mount-point", &to_ours]).ok();
        assert!(!is_mounted(&ours.0) && !is_mounted(&theirs.0), "{choice:?}");
    }
}

#[test]
fn what_cannot_be_mounted_is_told() {
    let place = place();
    let refused = |words: &[&str]| -> Outcome { place.fastness(words).exits(1) };
    let none = refused(&["mount", "--archive", "first"]);
    assert!(none.err().contains("mount needs --mount-point"), "{none}");
    let missing = refused(&["mount", "--mount-point", "nosuch"]);
    assert!(
        missing.err().contains("nosuch: Mount point must be"),
        "{missing}"
    );
}

#[test]
fn the_process_behind_a_mount_has_the_passphrase_nowhere_to_be_seen() {
    if !can_mount() {
        return;
    }
    let place = place();
    let at = mount::Place(place.sandbox.directory("mountpoint"));
    let to = at.0.to_str().unwrap();
    let _ = place
        .fastness(&["mount", "--archive", "first", "--mount-point", to])
        .ok();
    let mut seen = 0;
    for process in fs::read_dir("/proc").unwrap() {
        let process = process.unwrap().path();
        let (Ok(words), Ok(variables)) = (
            fs::read(process.join("cmdline")),
            fs::read(process.join("environ")),
        ) else {
            continue;
        };
        let has = |bytes: &[u8], text: &str| {
            let mut windows = bytes.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        };
        if has(&words, to) {
            seen += 1;
            let secret = "words of the configuration";
            assert!(!has(&words, secret) && !has(&variables, secret));
        }
    }
    assert!(seen > 0, "nobody serves {to}");
    let _ = place.fastness(&["umount", "--mount-point", to]).ok();
    assert!(!is_mounted(&at.0));
}
