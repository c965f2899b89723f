//! What is told and left behind by archives in several repositories at once. That they are made at
//! once, and how one of them fails, is in `parallel_repositories` and `borgmatic_destinations`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fastness_testkit::{Outcome, Sandbox};
use serde_json::Value;

use crate::borgmatic_destinations::Server;

/// A dump that counts how often it is made, and the commands around it.
const MORE: &str = "\
fastness: {parallel_repositories: true}
sqlite_databases:
    - {name: shop, path: TOP/shop.db, sqlite_command: TOP/dump}
commands:
    - {before: action, when: [create], run: ['echo before >> TOP/hooks']}
    - {before: action, when: [create], run: ['echo before {repository_label} >> TOP/hooks']}
    - {after: action, when: [create], states: [finish], run: ['echo well >> TOP/hooks']}
    - {after: action, when: [create], states: [fail], run: ['echo ill >> TOP/hooks']}
    - {after: action, when: [create], states: [fail], run: ['echo ill {repository_label} >> TOP/hooks']}
    - {after: repository, run: ['echo after {repository_label} >> TOP/hooks']}
";

/// The dump: more than pipes hold, and as a dump of SQLite ends.
const DUMP: &str = "#!/bin/sh
echo dump >> TOP/dumps
echo 'BEGIN TRANSACTION;'
seq 600000
echo 'COMMIT;'
";

fn script(sandbox: &Sandbox, name: &str, text: &str) {
    let path = sandbox.path(name);
    fs::write(&path, text.replace("TOP", sandbox.root().to_str().unwrap())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A server with two empty repositories and a dump that waits for both.
fn server(more: &str) -> (Server, [PathBuf; 1]) {
    let server = Server::new(&[MORE, more].concat());
    fs::write(server.sandbox.path("shop.db"), "").unwrap();
    script(&server.sandbox, "dump", DUMP);
    let file = [server.configure("both.yaml", &["a", "b"])];
    let _ = server.fastness(&file, &["repo-create"]).ok();
    assert_eq!(hooks(&server), ["after a", "after b"]);
    (server, file)
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn hooks(server: &Server) -> Vec<String> {
    let hooks = server.sandbox.path("hooks");
    let found = lines(&hooks);
    let _ = fs::remove_file(hooks);
    found
}

fn dumps(server: &Server) -> usize {
    lines(&server.sandbox.path("dumps")).len()
}

#[test]
fn results_and_records_are_those_of_each_repository() {
    let (server, file) = server("");
    let run = server.fastness(&file, &["create", "--json"]).ok();
    let told: Vec<Value> = serde_json::from_str(&run.out()).unwrap();
    let labels: Vec<&str> = told
        .iter()
        .map(|one| one["repository"]["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["a", "b"]);
    assert!(told[0]["archive"]["stats"]["nfiles"].as_u64().unwrap() > 20);
    assert_eq!(
        told[0]["archive"]["stats"]["nfiles"],
        told[1]["archive"]["stats"]["nfiles"]
    );
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    let status = server.sandbox.run_of(program);
    let status = status
        .args(["status", "--json", "--config"])
        .arg(&file[0])
        .go();
    let status: Value = serde_json::from_str(&status.out()).unwrap();
    for repository in status["repositories"].as_array().unwrap() {
        let text = repository.to_string();
        assert!(text.contains("sqlite_databases/localhost/shop"), "{text}");
    }
    // A whole run does the rest for one after another.
    let whole = ["--archive-name-format", "two", "--keep-daily", "3"];
    let words = [&whole[..], &["--verbosity", "1"]].concat();
    let run = server.fastness(&file, &words).ok();
    let said = run.out();
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text}: {said}"));
    assert!(at("b: Creating archive at") < at("a: Pruning archives"));
    assert!(
        at("a: Compacting segments") < at("b: Pruning archives"),
        "{said}"
    );
    assert!(
        at("a: Creating archive at") < at("a: Pruning archives"),
        "{said}"
    );
}

#[test]
fn a_dump_that_fails_leaves_no_archive_for_good() {
    let (server, file) = server("");
    script(&server.sandbox, "dump", "#!/bin/sh\nseq 600000; exit 3\n");
    let failed = server.create(&file, "one").exits(1);
    assert!(failed.err().contains("ended with code 3"), "{failed}");
    for destination in ["a", "b"] {
        assert_eq!(server.archives(destination), [""; 0]);
        let label = format!("{destination}: Error running actions for repository");
        assert!(failed.err().contains(&label), "{failed}");
    }
    let expected = [
        "before", "before a", "before b", "ill a", "ill b", "ill", "after a", "after b",
    ];
    assert_eq!(hooks(&server), expected);
}

#[test]
fn a_command_before_that_says_not_now_leaves_all_out() {
    let more = "    - {before: action, when: [create], run: [exit 75]}\n";
    let (server, file) = server(more);
    let run: Outcome = server.create(&file, "one").ok();
    assert!(!run.err().contains("rror"), "{run}");
    assert_eq!(dumps(&server), 0);
    assert_eq!(server.archives("a"), [""; 0]);
    assert_eq!(server.archives("b"), [""; 0]);
}

#[test]
fn a_signal_ends_all_of_them() {
    let (server, file) = server("");
    script(
        &server.sandbox,
        "dump",
        "#!/bin/sh\nkill -TERM $PPID\nexec sleep 60\n",
    );
    let run = server.create(&file, "one");
    assert_eq!(run.code(), 143, "{run}");
    for destination in ["a", "b"] {
        assert_eq!(server.archives(destination), [""; 0]);
        let _ = server.borg(&["check", destination]);
    }
}
