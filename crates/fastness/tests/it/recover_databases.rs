//! Databases of a machine that is recovered: dumps, data files saved natively, and data files that
//! hooks of the configuration put among the files.

use std::fs;
use std::path::Path;

use fastness_testkit::MariaDb;

use crate::recover::Machine;

const TABLE: &str =
    "create database shop; use shop; create table still (n int primary key, digest varchar(32));
    insert into still select seq, md5(seq) from seq_1_to_2000";

fn checksum(server: &MariaDb) -> String {
    server.query("checksum table shop.still")
}

fn server() -> MariaDb {
    let server = MariaDb::new();
    server.query(TABLE);
    server
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn data_files_and_dumps_come_back_with_the_machine() {
    let mariadb = server();
    let entries = "\
sqlite_databases:
    - name: notes
      path: ${TOP}/notes.db
fastness:
    mariadb_physical:
        - label: main
          username: root
          password: ''
          socket_path: SOCKET
";
    let entries = entries.replace("SOCKET", text(&mariadb.socket()));
    let machine = Machine::new(&entries);
    let notes = machine.sandbox.path("notes.db");
    let sqlite = |statement: &str| {
        let mut command = std::process::Command::new("sqlite3");
        let output = command.arg(&notes).arg(statement).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    sqlite("create table notes (text); insert into notes values ('kept')");
    let machine = machine.saved();
    let before = checksum(&mariadb);
    sqlite("delete from notes");
    let destination = machine.sandbox.path("new");
    let words = ["--destination", text(&destination), "--yes"];
    let said = machine.recovery(&words).go().ok().out();
    assert!(said.contains("data files of MariaDB main"), "{said}");
    assert_eq!(sqlite("select text from notes"), "kept\n");
    let restored = MariaDb::on(&destination.join("var/lib/mysql"));
    assert_eq!(checksum(&restored), before);
}

#[test]
fn data_files_that_hooks_saved_come_back_as_a_server() {
    let mariadb = server();
    let entries = "\
commands:
    - before: action
      when: [create]
      run:
          - mkdir -p TOP/machine/var/backups/mariadb
          - mariadb-backup --no-defaults --user=root --socket=SOCKET --backup --target-dir=TOP/machine/var/backups/mariadb/full
          - mariadb-backup --no-defaults --prepare --target-dir=TOP/machine/var/backups/mariadb/full
    - after: action
      when: [create]
      run:
          - rm -r TOP/machine/var/backups/mariadb/full
";
    let entries = entries
        .replace("SOCKET", text(&mariadb.socket()))
        .replace("TOP", "${TOP}");
    let machine = Machine::new(&entries).saved();
    let before = checksum(&mariadb);
    assert!(
        !machine
            .sandbox
            .path("machine/var/backups/mariadb/full")
            .exists()
    );
    let destination = machine.sandbox.path("new");
    let words = [
        "--destination",
        text(&destination),
        "--yes",
        "--datadir",
        "/srv/mysql",
    ];
    let _ = machine.recovery(&words).go().ok();
    let restored = MariaDb::on(&destination.join("srv/mysql"));
    assert_eq!(checksum(&restored), before);
    // In another directory that is in use nothing is touched.
    let used = machine.sandbox.directory("used/srv/mysql");
    fs::write(used.join("mine"), "mine").unwrap();
    let used = machine.sandbox.path("used");
    let only = [
        "--destination",
        text(&used),
        "--yes",
        "--datadir",
        "/srv/mysql",
        "--only",
        "databases",
    ];
    let refused = machine.recovery(&only).go();
    assert_eq!(refused.code(), 2);
    assert!(
        refused.err().contains("is not empty: move it away"),
        "{refused}"
    );
    assert_eq!(
        fs::read_to_string(used.join("srv/mysql/mine")).unwrap(),
        "mine"
    );
}
