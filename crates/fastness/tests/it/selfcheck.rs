//! The check that users run on their machines, with real Borg, and with one that is broken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fastness_testkit::{Outcome, Sandbox};

use crate::reference;

fn selfcheck(sandbox: &Sandbox, official: &Path) -> Outcome {
    let run = sandbox.run_of(Path::new(env!("CARGO_BIN_EXE_fastness")));
    let run = run.env("TMPDIR", sandbox.directory("scratch"));
    run.args(["selfcheck", "--with-official"])
        .arg(official)
        .go()
}

fn nothing_is_left(sandbox: &Sandbox) -> bool {
    let mut left = fs::read_dir(sandbox.path("scratch")).unwrap();
    left.next().is_none()
}

#[test]
fn official_borg_and_ours_read_each_other() {
    let sandbox = Sandbox::new();
    let text = selfcheck(&sandbox, reference().path()).ok().out();
    assert!(text.starts_with("official program: borg 1.4.5\n"), "{text}");
    for mode in ["none", "repokey", "keyfile-blake2"] {
        let lines = text
            .lines()
            .filter(|line| line.starts_with(&format!("{mode}: ")))
            .count();
        assert_eq!(lines, 3, "{text}");
    }
    assert!(text.ends_with("no difference.\n"), "{text}");
    assert!(nothing_is_left(&sandbox));
}

#[test]
fn a_program_that_restores_something_else_is_found_out() {
    let sandbox = Sandbox::new();
    let official = reference();
    let script = format!(
        "#!/bin/sh\n'{0}' \"$@\" || exit\nif [ \"$1\" = extract ]; then echo more >> source/folder/large; fi\n",
        official.path().display()
    );
    let broken = sandbox.path("broken");
    fs::write(&broken, script).unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = selfcheck(&sandbox, &broken).exits(2);
    assert!(
        outcome.err().contains("folder/large has another content"),
        "{}",
        outcome.err()
    );
    let outcome = selfcheck(&sandbox, Path::new("/bin/true")).exits(2);
    assert!(
        outcome.err().contains("BorgBackup 1.x"),
        "{}",
        outcome.err()
    );
    assert!(nothing_is_left(&sandbox));
}
