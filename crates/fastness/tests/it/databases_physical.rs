//! MariaDB saved as its data files beside the running server, and brought back.

use std::fs;
use std::process::Command;

use fastness_testkit::MariaDb;

use crate::databases::{Databases, assert_nothing_left, between};
use crate::databases_failures::{blows, kill_at_moments, moments};

const PHYSICAL: &str = "\
fastness:
    mariadb_physical:
        - label: main
          username: root
          password: ''
          socket_path: MARIADB
";

#[test]
fn data_files_saved_while_they_are_written_to_start_a_server_again() {
    let mut databases = Databases::new();
    databases
        .mariadb
        .query("create user backup identified by 'a \"b'; grant all on *.* to backup");
    let user = PHYSICAL.replace("root", "backup").replace("''", "'a \"b'");
    databases.configure(&user);
    let _ = databases.place.fastness(&["repo-create"]).ok();
    let before = databases.mariadb_state();
    let writer = databases.write();
    let _ = databases.place.fastness(&["create"]).ok();
    drop(writer);
    let after = databases.mariadb_state();
    assert_nothing_left(&databases.place);
    let target = databases.place.sandbox.path("restored");
    let target_text = target.to_str().unwrap().to_owned();
    let restore = ["restore", "--archive", "latest", "--to", &target_text];
    let said = databases.place.fastness(&restore).ok().out();
    assert!(said.contains("GTID 0-"), "{said}");
    assert!(said.contains("To start a server"), "{said}");
    let again = databases.place.fastness(&restore);
    assert_eq!(again.code(), 1, "a directory in use is left alone");
    assert!(again.err().contains("is not empty"), "{again}");
    let _ = databases
        .place
        .fastness(&[&restore[..], &["--overwrite"]].concat())
        .ok();
    databases.mariadb.destroy();
    databases.mariadb = MariaDb::on(&target);
    between(&[before], &[databases.mariadb_state()], &[after]);
}

/// A server that goes on when the program that started it ends; ended in any case.
struct Scratch(std::path::PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.0.join("pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
    }
}

#[test]
fn a_private_server_runs_on_the_data_files_of_an_archive() {
    let databases = Databases::new();
    databases.configure(&format!("{PHYSICAL}          proof: checksums\n"));
    let _ = databases.place.fastness(&["repo-create"]).ok();
    // A table whose file is elsewhere: that file is the other server's for good.
    let elsewhere = databases.place.sandbox.directory("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    databases.mariadb.query(&format!(
        "use shop; create table away (n int) data directory='{elsewhere}'; insert into away values (5)"
    ));
    let _ = databases.place.fastness(&["create"]).ok();
    databases.mariadb.query("update shop.away set n = 6");
    let scratch = Scratch(databases.place.sandbox.path("scratch"));
    let text = scratch.0.to_str().unwrap();
    // Its user is another than root.
    let mut open = Command::new("chmod");
    let open = open.arg("755").arg(databases.place.sandbox.root()).status();
    assert!(open.unwrap().success());
    let restore = ["restore", "--archive", "latest", "--to-scratch", text];
    let said = databases.place.fastness(&restore).ok().out();
    assert!(
        said.contains("mariadb-admin --no-defaults --socket="),
        "{said}"
    );
    assert!(said.contains("tables hold what was noted"), "{said}");
    let client = |program: &str, words: &[&str]| {
        let socket = format!("--socket={text}/socket");
        let mut command = Command::new(program);
        let output = command
            .args(["--no-defaults", &socket])
            .args(words)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let sum = client("mariadb", &["-N", "-e", "checksum table shop.still"]);
    assert!(sum.trim().ends_with(&databases.mariadb_state().1), "{sum}");
    let away = client("mariadb", &["-N", "-e", "select n from shop.away"]);
    assert_eq!(away.trim(), "5");
    assert_eq!(databases.mariadb.query("select n from shop.away"), "6");
    let again = [&restore[..], &["--overwrite"]].concat();
    let again = databases.place.fastness(&again);
    assert_eq!(again.code(), 1, "files in use are left alone: {again}");
    assert!(again.err().contains("stop it first"), "{again}");
    let _ = client("mariadb-admin", &["shutdown"]);
}

#[test]
fn what_tables_hold_is_noted_and_compared_when_they_come_back() {
    let databases = Databases::new();
    databases.configure(&format!("{PHYSICAL}          proof: checksums\n"));
    let _ = databases.place.fastness(&["repo-create"]).ok();
    databases.mariadb.query(
        "use shop; create table `odd ``name` (n int); insert into `odd ``name` values (1), (2)",
    );
    // The server tells when it changed a table by the second.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let writer = databases.write();
    let _ = databases.place.fastness(&["create"]).ok();
    drop(writer);
    let destination = databases.place.sandbox.directory("noted");
    let path = "borgmatic/mariadb_physical/main/fastness-backup.json";
    let _ = databases
        .place
        .fastness(&[
            "extract",
            "--archive",
            "latest",
            "--path",
            path,
            "--destination",
            destination.to_str().unwrap(),
        ])
        .ok();
    let noted = fs::read(destination.join(path)).unwrap();
    let noted: serde_json::Value = serde_json::from_slice(&noted).unwrap();
    let tables = noted["tables"].as_array().unwrap();
    let odd = tables
        .iter()
        .find(|table| table["name"] == "`shop`.`odd ``name`")
        .unwrap();
    assert_eq!((&odd["rows"], &odd["still"]), (&2.into(), &true.into()));
    let moved = tables.iter().filter(|table| table["still"] == false);
    assert!(moved.count() > 0, "{noted}");
    let scratch = Scratch(databases.place.sandbox.path("scratch"));
    let mut open = Command::new("chmod");
    let open = open.arg("755").arg(databases.place.sandbox.root()).status();
    assert!(open.unwrap().success());
    let text = scratch.0.to_str().unwrap();
    let restore = ["restore", "--archive", "latest", "--to-scratch", text];
    let said = databases.place.fastness(&restore).ok().out();
    assert!(said.contains("were written to meanwhile"), "{said}");
}

#[test]
fn a_physical_backup_that_is_killed_leaves_no_archive_and_no_program() {
    let kinds = [blows::programs, blows::run, blows::question, blows::servers];
    let next = std::cell::Cell::new(0);
    let count = moments() * kinds.len() as u64;
    let complete = ("/main/fastness-backup.json", 1);
    kill_at_moments(count, PHYSICAL, complete, |pid, databases| {
        kinds[next.replace(next.get() + 1) % kinds.len()](pid, databases);
    });
}

#[test]
fn unchanged_pages_are_not_stored_again() {
    let databases = Databases::new();
    databases.configure(PHYSICAL);
    let place = &databases.place;
    let _ = place.fastness(&["repo-create"]).ok();
    // What is not in its file yet is in the redo log alone.
    let flush = "flush tables still for export; unlock tables";
    databases.mariadb.query(&format!("use shop; {flush}"));
    let _ = place.fastness(&["create"]).ok();
    // A table that was made since the server's last checkpoint is not called .ibd.
    let table = r"re:/shop/still\.(ibd|new)$";
    databases.mariadb.query(&format!(
        "use shop; update still set digest = 'x' where n between 1000 and 1100; {flush}"
    ));
    let _ = place.fastness(&["create"]).ok();
    let names = place.borg(&["list", "--short", "repository"]).lines();
    let chunks = |name: &str| {
        let format = "--format={size} {num_chunks} {unique_chunks} {path}{NL}";
        let archive = format!("repository::{name}");
        let pattern = format!("--pattern=+{table}");
        let lines = place.borg(&["list", format, &pattern, "--pattern=-fm:*", &archive]);
        let lines = lines.lines();
        let numbers: Vec<u64> = lines[0]
            .split(' ')
            .take(3)
            .map(|number| number.parse().unwrap())
            .collect();
        numbers
    };
    let last = chunks(&names[1]);
    assert!(last[1] >= 10, "whole pages: {last:?}");
    assert!(last[2] <= 4, "most of them are those of before: {last:?}");
}

#[test]
fn a_physical_backup_that_fails_is_no_archive_for_good() {
    let databases = Databases::new();
    let place = &databases.place;
    let script = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = place.sandbox.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("cut", "mariadb-backup \"$@\" | head -c 3000000");
    script("other", "echo something else");
    script("nothing", "exit 0");
    let _ = place.fastness(&["repo-create"]).ok();
    let with = |name: &str| format!("{PHYSICAL}          mariadb_backup_command: TOP/{name}\n");
    let twice = PHYSICAL.split_once("    mariadb_physical:\n").unwrap().1;
    for (name, entries, reason) in [
        ("cut", with("cut"), "the backup"),
        ("other", with("other"), "the backup"),
        ("nothing", with("nothing"), "no backup"),
        ("not-there", with("not-there"), "is not installed"),
        ("down", PHYSICAL.replace("MARIADB", "TOP/no"), "MariaDB on "),
        ("user", PHYSICAL.replace("''", "wrong"), "Access denied"),
        ("twice", format!("{PHYSICAL}{twice}"), "\"label\""),
        ("path", PHYSICAL.replace("main", "a/b"), "label"),
    ] {
        databases.configure(&entries);
        let outcome = place.fastness(&["create"]);
        assert_eq!(outcome.code(), 1, "{name}: {outcome}");
        assert!(outcome.err().contains(reason), "{name}: {outcome}");
        let list = place.borg(&["list", "--short", "repository"]).lines();
        assert_eq!(list, [""; 0], "{name}");
    }
    assert_nothing_left(place);
    let target = place.sandbox.path("restored");
    let to = ["--to", target.to_str().unwrap()];
    let latest = ["list", "--short", "--consider-checkpoints", "repository"];
    let archive = &place.borg(&latest).lines()[0];
    let outcome = place.fastness(&[&["restore", "--archive", archive][..], &to].concat());
    assert_eq!(outcome.code(), 1);
    assert!(
        outcome.err().contains("no complete data files"),
        "{outcome}"
    );
    assert!(!target.exists());
}
