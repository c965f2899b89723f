//! Dumps that fail, servers and programs that are killed: no archive that passes for good, and
//! nothing left behind.

use std::fs;
use std::process::Command;
use std::time::Instant;

use fastness_testkit::long;

use crate::borgmatic::Place;
use crate::databases::{Databases, assert_nothing_left, configure};

#[test]
fn a_database_that_cannot_be_saved_leaves_the_others_in_an_unfinished_archive() {
    let databases = Databases::new();
    databases.configure(
        "\
postgresql_databases:
    - {name: missing, username: postgres}
    - {name: shop, username: postgres}
mariadb_databases:
    - {name: shop, username: root, socket_path: TOP/no/socket}
    - {name: all, label: other, username: root, socket_path: TOP/no/socket}
sqlite_databases:
    - {name: gone, path: TOP/gone.db}
    - {name: 'a/b', path: TOP/shop.db}
",
    );
    let place = &databases.place;
    let _ = place.fastness(&["repo-create"]).ok();
    let outcome = place.fastness(&["create", "--archive-name-format", "night"]);
    assert_eq!(outcome.code(), 1, "{outcome}");
    let said = outcome.err();
    for reason in [
        "PostgreSQL database \"missing\" on localhost: pg_dump ended with code 1",
        "database \"missing\" does not exist",
        "MariaDB database \"shop\"",
        "no/socket",
        "SQLite database \"gone\"",
        "there is no file",
        "neither the name of a database",
        "the archive is not complete",
    ] {
        assert!(said.contains(reason), "{reason}: {said}");
    }
    let list = place.borg(&["list", "--short", "repository"]).lines();
    assert_eq!(list, [""; 0]);
    let all = ["list", "--short", "--consider-checkpoints", "repository"];
    assert_eq!(place.borg(&all).lines(), ["night.checkpoint"]);
    let items = place.items("night.checkpoint").join("\n");
    assert!(items.contains("borgmatic/postgresql_databases/localhost/shop"));
    assert!(!items.contains("borgmatic/postgresql_databases/localhost/missing"));
    assert!(items.contains("/source/"), "the files are saved");
    assert_nothing_left(&databases.place);
    let missing = [
        "restore",
        "--archive",
        "night.checkpoint",
        "--database",
        "missing",
    ];
    let outcome = place.fastness(&missing);
    assert_eq!(outcome.code(), 1);
    assert!(outcome.err().contains("its dump is missing"), "{outcome}");
    let unknown = [
        "restore",
        "--archive",
        "night.checkpoint",
        "--database",
        "nobody",
    ];
    let said = place.fastness(&unknown).err();
    assert!(
        said.contains("nobody missing from archive, which has:"),
        "{said}"
    );
}

#[test]
fn a_program_that_lies_about_a_dump_is_found_out() {
    let place = Place::new();
    fs::write(place.sandbox.path("shop.db"), "").unwrap();
    let script = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = place.sandbox.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("nothing", "exit 0");
    script("killed", "echo begin; kill -9 $$");
    script("late", "head -c 5000000 /dev/zero; exit 3");
    script(
        "damaged",
        "echo 'BEGIN;'; echo 'ROLLBACK; -- due to errors'",
    );
    let _ = place.fastness(&["repo-create"]).ok();
    for (name, reason) in [
        ("nothing", "gave no complete dump"),
        ("killed", "was killed by signal 9"),
        ("late", "ended with code 3"),
        ("damaged", "gave no complete dump"),
        ("not-there", "is not installed"),
    ] {
        let entry =
            format!("    - {{name: shop, path: TOP/shop.db, sqlite_command: TOP/{name}}}\n");
        configure(&place, &format!("sqlite_databases:\n{entry}"));
        let outcome = place.fastness(&["create"]);
        assert_eq!(outcome.code(), 1, "{name}");
        assert!(outcome.err().contains(reason), "{}", outcome.err());
        let list = place.borg(&["list", "--short", "repository"]).lines();
        assert_eq!(list, [""; 0], "{name}");
    }
    assert_nothing_left(&place);
}

/// The processes that a process started, and those that these started.
fn descendants(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .map(|pid| pid.parse::<u32>().unwrap()),
            );
        }
    }
    all.split_off(1)
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([name, &pid.to_string()]).output();
}

/// Waits for the end of a program that nobody reads from any more.
fn gone(pid: u32) {
    let words = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    for _ in 0..1000 {
        if words().is_empty() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{} still runs", String::from_utf8_lossy(&words()));
}

/// Kills something in the midst of a create of these entries, at many moments. An archive for good
/// must have all of its dumps, which are counted by how their paths end.
pub fn kill_at_moments(
    count: u64,
    entries: &str,
    (ending, dumps): (&str, usize),
    kill: impl Fn(u32, &mut Databases),
) {
    let mut databases = Databases::new();
    // Long enough to be killed in: each dump comes slowly.
    let script = databases.place.sandbox.path("slow");
    let text = "#!/bin/sh\nfor n in 1 2 3 4 5 6; do head -c 300000 /dev/urandom; sleep 0.03; done\n\"$@\"\n";
    fs::write(&script, text).unwrap();
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    }
    databases.configure(entries);
    let _ = databases.place.fastness(&["repo-create"]).ok();
    let begin = Instant::now();
    let whole = ["create", "--archive-name-format", "whole"];
    let _ = databases.place.fastness(&whole).ok();
    let duration = begin.elapsed();
    let mut failed = 0;
    // On a busy machine all of them may miss what they are aimed at; then a few more are tried.
    for moment in 0..count + 20 {
        if moment >= count && failed > 0 {
            break;
        }
        let name = format!("run-{moment}");
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_fastness"));
        let run = databases.place.sandbox.run_of(program).arg("--config");
        let run = run.arg(databases.place.sandbox.path("config.yaml"));
        let mut child = run.args(["create", "--archive-name-format", &name]).spawn();
        // From the first dump on.
        while descendants(child.id()).is_empty() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let round = (moment / count) as f64;
        let delay = duration.mul_f64(((moment as f64 + 0.37 * round) / count as f64).fract());
        std::thread::sleep(delay);
        let started = descendants(child.id());
        kill(child.id(), &mut databases);
        let status = child.wait().unwrap();
        let list = databases.place.borg(&["list", "--short", "repository"]);
        if list.lines().contains(&name) {
            // It was killed when the archive was made.
            let items = databases.place.items(&name);
            let found = items.iter().filter(|item| item.ends_with(ending));
            assert_eq!(found.count(), dumps, "after {delay:?}: {status}");
        } else {
            assert!(!status.success(), "after {delay:?}: {status}");
        }
        failed += u32::from(!status.success());
        for pid in started {
            gone(pid);
        }
    }
    assert!(failed > 0, "nothing was killed in time");
    let _ = databases
        .place
        .fastness(&["create", "--archive-name-format", "last"])
        .ok();
    assert_nothing_left(&databases.place);
}

const SLOW: &str = "\
postgresql_databases:
    - {name: shop, username: postgres, pg_dump_command: TOP/slow pg_dump}
mariadb_databases:
    - {name: shop, username: root, socket_path: MARIADB}
sqlite_databases:
    - {name: shop, path: TOP/shop.db, sqlite_command: TOP/slow sqlite3}
";

const DUMPS: (&str, usize) = ("/localhost/shop", 3);

/// What is done to a run in the midst of it.
pub mod blows {
    use super::{Databases, descendants, signal};

    pub fn programs(pid: u32, _: &mut Databases) {
        for pid in descendants(pid) {
            signal(pid, "-KILL");
        }
    }

    pub fn run(pid: u32, _: &mut Databases) {
        signal(pid, "-KILL");
    }

    pub fn question(pid: u32, _: &mut Databases) {
        signal(pid, "-TERM");
    }

    pub fn servers(_: u32, databases: &mut Databases) {
        databases.postgresql.restart();
        databases.mariadb.restart();
    }
}

pub fn moments() -> u64 {
    if long() { 50 } else { 3 }
}

#[test]
fn killed_dump_programs_leave_no_archive_for_good() {
    kill_at_moments(moments(), SLOW, DUMPS, blows::programs);
}

#[test]
fn a_killed_run_leaves_no_archive_and_no_program() {
    kill_at_moments(moments(), SLOW, DUMPS, blows::run);
}

#[test]
fn a_run_asked_to_end_leaves_no_archive_and_no_program() {
    kill_at_moments(moments(), SLOW, DUMPS, blows::question);
}

#[test]
fn killed_servers_leave_no_archive_for_good() {
    kill_at_moments(moments(), SLOW, DUMPS, blows::servers);
}
