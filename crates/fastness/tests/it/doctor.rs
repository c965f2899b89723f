//! `fastness doctor`: every finding on a machine that has it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fastness_testkit::{Outcome, Sshd};
use serde_json::Value;

use crate::borgmatic::Place;

const PASSPHRASE: &str = "words of the configuration";

/// A place in order, with a configuration for its owner alone and an archive.
fn place() -> Place {
    let mut place = Place::new();
    let state = place.sandbox.directory("state");
    place.sandbox.set_env("XDG_STATE_HOME", state);
    protect(&place, 0o600);
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place.fastness(&["create"]).ok();
    place
}

fn protect(place: &Place, mode: u32) {
    let path = place.sandbox.path("config.yaml");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Changes the configuration.
fn edit(place: &Place, old: &str, new: &str) {
    let path = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(path, text.replace(old, new)).unwrap();
}

fn own(place: &Place, words: &[&str]) -> Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    let run = place.sandbox.run_of(program).without_env("BORG_PASSPHRASE");
    run.args(words).args(["-c", "config.yaml"]).go()
}

/// The verdict on a check, with what was said about it.
fn found(place: &Place, check: &str) -> (String, String) {
    let outcome = own(place, &["doctor", "--json"]);
    let document: Value = outcome.json();
    let findings = document["findings"].as_array().unwrap();
    let of_check = findings.iter().filter(|one| one["check"] == check);
    let worst = |one: &&Value| match one["verdict"].as_str().unwrap() {
        "ok" => 0,
        "warning" => 1,
        _ => 2,
    };
    let finding = of_check.max_by_key(worst);
    let finding = finding.unwrap_or_else(|| panic!("{check}: {document:#}"));
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    (
        text("verdict"),
        format!("{} {}", text("text"), text("cure")),
    )
}

#[test]
fn a_machine_in_order_is_told_so_once_its_key_is_confirmed() {
    let place = place();
    let outcome = own(&place, &["doctor"]).exits(1);
    assert!(
        outcome.out().contains("fastness key confirm"),
        "{}",
        outcome.out()
    );
    assert!(outcome.out().ends_with("1 warning\n"), "{}", outcome.out());
    fs::write(place.sandbox.path("passphrase"), PASSPHRASE).unwrap();
    let _ = own(&place, &["key", "export", "--paper", "--path", "paper"]).ok();
    let _ = own(
        &place,
        &["key", "confirm", "--passphrase-file=passphrase", "paper"],
    )
    .ok();
    let outcome = own(&place, &["doctor"]).ok();
    assert!(
        outcome.out().ends_with("All is well.\n"),
        "{}",
        outcome.out()
    );
    assert!(!outcome.out().contains(PASSPHRASE));
}

#[test]
fn what_is_wrong_with_files_is_found() {
    let place = place();
    protect(&place, 0o644);
    let (verdict, text) = found(&place, "permissions");
    assert!(verdict == "problem" && text.contains("chmod 600"), "{text}");
    protect(&place, 0o600);
    assert_eq!(found(&place, "permissions").0, "ok");
    edit(
        &place,
        "compression:",
        "mariadb_databases: [{name: all, mariadb_dump_command: x}]\npostgresql_databases: [{name: all}]\ncompression:",
    );
    edit(&place, "/source\n", "/source\n    - /does/not/exist\n");
    let (verdict, text) = found(&place, "sources");
    assert!(
        verdict == "problem" && text.contains("/does/not/exist does not exist"),
        "{text}"
    );
    let place = Place {
        sandbox: {
            let mut sandbox = place.sandbox;
            sandbox.set_env("PATH", "/nowhere");
            sandbox
        },
    };
    let (verdict, text) = found(&place, "databases");
    assert!(verdict == "problem" && text.contains("pg_dump"), "{text}");
}

#[test]
fn what_is_wrong_with_a_repository_is_found() {
    let place = place();
    let lock = place.sandbox.path("repository/lock.exclusive");
    fs::create_dir(&lock).unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    fs::write(lock.join(format!("{}@1.4194300-0", host.trim())), "").unwrap();
    let (verdict, text) = found(&place, "lock");
    assert!(
        verdict == "warning" && text.contains("which is gone"),
        "{text}"
    );
    let _ = fs::remove_dir_all(&lock);
    edit(&place, PASSPHRASE, "another one");
    let (verdict, text) = found(&place, "backup");
    assert!(verdict == "problem" && text.contains("incorrect"), "{text}");
    edit(
        &place,
        "encryption_passphrase: another one",
        "encryption_passcommand: /bin/false",
    );
    assert_eq!(found(&place, "passphrase").0, "problem");
    edit(&place, "/bin/false", "echo words of the configuration");
    fs::rename(place.sandbox.path("repository"), place.sandbox.path("gone")).unwrap();
    let (verdict, text) = found(&place, "reachable");
    assert!(
        verdict == "problem" && text.contains("is not there"),
        "{text}"
    );
    fs::write(place.sandbox.path("config.yaml"), "repositories: 3\n").unwrap();
    let outcome = own(&place, &["doctor"]).exits(2);
    assert!(outcome.out().contains("config.yaml"), "{}", outcome.out());
}

#[test]
fn the_way_to_a_server_is_examined() {
    let place = place();
    let sshd = Sshd::start();
    let there = place.sandbox.path("repository").display().to_string();
    edit(
        &place,
        &format!("path: {there}"),
        &format!("path: {}", sshd.address(&there)),
    );
    edit(
        &place,
        "compression:",
        "ssh_command: SSH\nremote_path: REMOTE\ncompression:",
    );
    let forced = format!("{} borg serve", env!("CARGO_BIN_EXE_fastness"));
    let rsh = sshd.rsh("client", Some(&forced));
    edit(&place, "SSH", &rsh);
    edit(&place, "REMOTE", "borg");
    assert_eq!(found(&place, "reachable").0, "ok");
    let (verdict, text) = found(&place, "version");
    assert!(verdict == "ok" && text.contains("Borg 1.4"), "{text}");
    // An empty list of hosts.
    fs::write(place.sandbox.path("empty"), "").unwrap();
    let doubter = sshd.client("client", &place.sandbox.path("empty"));
    edit(&place, &rsh, &doubter);
    let (verdict, text) = found(&place, "reachable");
    assert!(verdict == "problem" && text.contains("host key"), "{text}");
    edit(&place, &doubter, &sshd.stranger("stranger"));
    let (verdict, text) = found(&place, "reachable");
    assert!(
        verdict == "problem" && text.contains("does not let the ssh key in"),
        "{text}"
    );
    let port = sshd.port().to_string();
    edit(&place, &format!(":{port}"), ":1");
    let (verdict, text) = found(&place, "reachable");
    assert!(
        verdict == "problem" && text.contains("cannot be reached"),
        "{text}"
    );
}
