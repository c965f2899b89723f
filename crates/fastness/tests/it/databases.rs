//! Databases of real servers, saved while a writer goes on, and restored after their servers were
//! lost; also across the two programs, beside the real borgmatic and the real Borg.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use fastness_testkit::{MariaDb, PostgreSql, long};

use crate::borgmatic::Place;

/// Rows that do not change.
fn rows() -> u32 {
    if long() { 2_000_000 } else { 10_000 }
}

/// A place with servers and their databases, and entries for them in its configuration.
pub struct Databases {
    pub place: Place,
    pub postgresql: PostgreSql,
    pub mariadb: MariaDb,
    entries: RefCell<String>,
}

const TABLES: &str = "create table counted (n int primary key, digest varchar(32));
create table again (n int primary key, digest varchar(32));
create table still (n int primary key, digest varchar(32));";

impl Databases {
    pub fn new() -> Databases {
        let mut databases = Databases {
            place: Place::new(),
            postgresql: PostgreSql::new(),
            mariadb: MariaDb::new(),
            entries: RefCell::default(),
        };
        let count = rows();
        databases
            .postgresql
            .query("postgres", "create database shop");
        databases.postgresql.query("shop", TABLES);
        databases.postgresql.query(
            "shop",
            &format!("insert into still select n, md5(n::text) from generate_series(1, {count}) n"),
        );
        databases.mariadb.query("create database shop");
        databases.mariadb.query(&format!(
            "use shop; {TABLES} insert into still select seq, md5(seq) from seq_1_to_{count}"
        ));
        let sqlite = databases.sqlite();
        sql(
            &sqlite,
            &format!(
                "pragma journal_mode=wal; {TABLES} insert into still with recursive s(n) as
                 (select 1 union all select n + 1 from s where n < {count}) select n, 'x' || n from s;"
            ),
        );
        databases.reach();
        databases
    }

    pub fn sqlite(&self) -> PathBuf {
        self.place.sandbox.path("shop.db")
    }

    /// Tells the programs where the servers are.
    fn reach(&mut self) {
        let socket = self.postgresql.socket().to_owned();
        self.place.sandbox.set_env("PGHOST", socket);
    }

    pub fn configure(&self, entries: &str) {
        entries.clone_into(&mut self.entries.borrow_mut());
        let socket = self.mariadb.socket();
        let entries = entries.replace("MARIADB", socket.to_str().unwrap());
        configure(&self.place, &entries);
    }

    /// What is counted in a database of each server, which is the same in both tables.
    fn postgresql_state(&self) -> (u32, String) {
        let counted = "select count(*), coalesce(string_agg(digest, ',' order by n), '') from ";
        let one = self.postgresql.query("shop", &format!("{counted} counted"));
        let two = self.postgresql.query("shop", &format!("{counted} again"));
        assert_eq!(one, two, "the two tables are of different moments");
        let (count, digests) = one.split_once('|').unwrap();
        let still = "select md5(string_agg(digest, ',' order by n)) from still";
        let still = self.postgresql.query("shop", still);
        (count.parse().unwrap(), format!("{digests} {still}"))
    }

    pub fn mariadb_state(&self) -> (u32, String) {
        let state = "use shop; select count(*) from counted; select count(*) from again;
            checksum table counted, again, still";
        let text = self.mariadb.query(state);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0], lines[1],
            "the two tables are of different moments"
        );
        let sums: Vec<&str> = lines[2..]
            .iter()
            .map(|line| line.split('\t').nth(1).unwrap())
            .collect();
        assert_eq!(sums[0], sums[1]);
        (lines[0].parse().unwrap(), sums[2].to_owned())
    }

    fn sqlite_state(&self) -> (u32, String) {
        let text = sql(
            &self.sqlite(),
            "select count(*) from counted; select count(*) from again;
             select count(*), sum(n), min(digest), max(digest) from still;",
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0], lines[1],
            "the two tables are of different moments"
        );
        (lines[0].parse().unwrap(), lines[2].to_owned())
    }

    pub fn states(&self) -> [(u32, String); 3] {
        [
            self.postgresql_state(),
            self.mariadb_state(),
            self.sqlite_state(),
        ]
    }

    /// Writes to all three, each time the same into two tables, until it is dropped.
    pub fn write(&self) -> Writer {
        let over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&over);
        let (mut psql, mut mariadb) = (Command::new("psql"), Command::new("mariadb"));
        psql.args(["-q", "-U", "postgres", "-d", "shop", "-h"]);
        psql.arg(self.postgresql.socket());
        mariadb.args(["--no-defaults", "-uroot", "shop", "--socket"]);
        mariadb.arg(self.mariadb.socket());
        let mut sqlite = Command::new("sqlite3");
        sqlite.args(["-cmd", ".timeout 60000"]).arg(self.sqlite());
        let writer = std::thread::spawn(move || {
            use std::io::Write;
            use std::process::Stdio;
            let mut children = [psql, mariadb, sqlite].map(|mut command| {
                let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
                command.spawn().unwrap()
            });
            for n in 1u32.. {
                if watched.load(Ordering::Relaxed) {
                    break;
                }
                for child in &mut children {
                    let mut text = String::from("begin; ");
                    for table in ["counted", "again"] {
                        write!(text, "insert into {table} values ({n}, 'digest {n}'); ").unwrap();
                    }
                    writeln!(text, "commit;").unwrap();
                    let stdin = child.stdin.as_mut().unwrap();
                    stdin.write_all(text.as_bytes()).unwrap();
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            for mut child in children {
                drop(child.stdin.take());
                assert!(child.wait().unwrap().success());
            }
        });
        Writer {
            over,
            thread: Some(writer),
        }
    }

    /// Loses the servers and the file; empty ones are in their place.
    fn lose(&mut self) {
        self.postgresql.destroy();
        self.mariadb.destroy();
        fs::remove_file(self.sqlite()).unwrap();
        self.postgresql.query("postgres", "create database shop");
        self.reach();
        let entries = self.entries.borrow().clone();
        self.configure(&entries);
    }
}

/// Puts entries for databases into the configuration.
pub fn configure(place: &Place, entries: &str) {
    let path = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.split("# databases").next().unwrap();
    let entries = entries.replace("TOP", place.sandbox.root().to_str().unwrap());
    fs::write(path, format!("{text}# databases\n{entries}")).unwrap();
}

/// Something that writes; ends in good order.
pub struct Writer {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

fn sql(file: &std::path::Path, statements: &str) -> String {
    let mut command = Command::new("sqlite3");
    let output = command.args(["-bail", "-cmd", ".timeout 60000"]).arg(file);
    let output = output.arg(statements).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

const ONE_OF_EACH: &str = "\
postgresql_databases:
    - name: shop
      username: postgres
mariadb_databases:
    - name: shop
      username: root
      socket_path: MARIADB
sqlite_databases:
    - name: shop
      path: TOP/shop.db
";

/// Checks states of a moment between two others.
pub fn between(before: &[(u32, String)], now: &[(u32, String)], after: &[(u32, String)]) {
    for ((before, now), after) in before.iter().zip(now).zip(after) {
        assert!(
            before.0 <= now.0 && now.0 <= after.0,
            "{} rows, then {}, then {}",
            before.0,
            now.0,
            after.0
        );
        let still = |state: &str| state.rsplit(' ').next().unwrap().to_owned();
        assert_eq!(still(&before.1), still(&now.1), "what was not written to");
    }
}

#[test]
fn databases_saved_while_they_are_written_to_come_back_as_of_one_moment() {
    let mut databases = Databases::new();
    databases.configure(ONE_OF_EACH);
    let _ = databases.place.fastness(&["repo-create"]).ok();
    let before = databases.states();
    let writer = databases.write();
    let _ = databases.place.fastness(&["create"]).ok();
    drop(writer);
    let after = databases.states();
    databases.lose();
    let _ = databases
        .place
        .fastness(&["restore", "--archive", "latest"])
        .ok();
    between(&before, &databases.states(), &after);
    // A second time, over what is there now.
    let _ = databases
        .place
        .fastness(&["restore", "--archive", "latest"])
        .ok();
    between(&before, &databases.states(), &after);
    assert_nothing_left(&databases.place);
}

#[test]
fn each_program_restores_what_the_other_saved() {
    let mut databases = Databases::new();
    databases.configure(ONE_OF_EACH);
    let _ = databases.place.fastness(&["repo-create"]).ok();
    let state = databases.states();
    // borgmatic finds what it made only under a name of the configured format.
    let _ = databases.place.fastness(&["create"]).ok();
    let _ = databases.place.borgmatic(&["create"]).ok();
    let names = databases.place.borg(&["list", "--short", "repository"]);
    let names = names.lines();
    let [ours, theirs] = &names[..] else {
        panic!("{names:?}");
    };
    let paths = |archive: &str| {
        let lines = databases.place.items(archive).into_iter();
        let lines = lines.filter(|line| line.contains("_databases"));
        let fields = |line: String| {
            let fields: Vec<&str> = line.split(' ').collect();
            // Kind, owner, group and path.
            [fields[0], fields[1], fields[2], fields.last().unwrap()].join(" ")
        };
        let mut lines: Vec<String> = lines.map(fields).collect();
        lines.sort();
        lines
    };
    assert_eq!(paths(ours), paths(theirs));
    databases.lose();
    let _ = databases
        .place
        .fastness(&["restore", "--archive", theirs])
        .ok();
    assert_eq!(databases.states(), state);
    databases.lose();
    let _ = databases
        .place
        .borgmatic(&["restore", "--archive", ours])
        .ok();
    assert_eq!(databases.states(), state);
}

/// No private file, no process and no lock of a run stayed behind.
pub fn assert_nothing_left(place: &Place) {
    let run = fs::read_dir(place.sandbox.path("run")).unwrap();
    let left: Vec<_> = run.map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let _ = place.borg(&["check", "repository"]);
}

#[test]
fn every_format_of_postgresql_comes_back_by_itself() {
    let mut databases = Databases::new();
    let formats = ["plain", "custom", "directory", "tar"];
    let mut entries = String::from("postgresql_databases:\n");
    for format in formats {
        writeln!(
            entries,
            "    - {{name: shop, label: {format}, format: {format}, username: postgres, no_owner: true}}"
        )
        .unwrap();
    }
    databases.configure(&entries);
    let _ = databases.place.fastness(&["repo-create"]).ok();
    let _ = databases.place.fastness(&["create"]).ok();
    let state = databases.postgresql_state();
    databases.postgresql.destroy();
    databases.reach();
    for format in formats {
        databases
            .postgresql
            .query("postgres", "drop database if exists shop");
        databases
            .postgresql
            .query("postgres", "create database shop");
        let label = ["--original-label", format];
        let restore = [
            &["restore", "--archive", "latest", "--data-source", "shop"][..],
            &label,
        ];
        let _ = databases.place.fastness(&restore.concat()).ok();
        assert_eq!(databases.postgresql_state(), state, "{format}");
    }
    assert_nothing_left(&databases.place);
}

#[test]
fn all_databases_of_a_server_come_back_together_or_one_by_one() {
    let mut databases = Databases::new();
    databases
        .postgresql
        .query("postgres", "create database \"a 'b' \"\"c\"\"\"");
    databases
        .mariadb
        .query("create database `a 'b' \"c\"`; create table `a 'b' \"c\"`.x (y int)");
    databases.configure(
        "\
postgresql_databases:
    - {name: all, label: together, username: postgres}
    - {name: all, label: each, format: custom, username: postgres}
mariadb_databases:
    - {name: all, label: together, username: root, socket_path: MARIADB}
    - {name: all, label: each, format: sql, skip_names: [mysql], username: root, socket_path: MARIADB}
",
    );
    let _ = databases.place.fastness(&["repo-create"]).ok();
    let _ = databases.place.fastness(&["create"]).ok();
    let (postgresql, mariadb) = (databases.postgresql_state(), databases.mariadb_state());
    databases.lose();
    let together = [
        "restore",
        "--archive",
        "latest",
        "--original-label",
        "together",
    ];
    let _ = databases.place.fastness(&together).ok();
    assert_eq!(databases.postgresql_state(), postgresql);
    assert_eq!(databases.mariadb_state(), mariadb);
    databases.postgresql.query("postgres", "drop database shop");
    databases
        .postgresql
        .query("postgres", "create database shop");
    databases.mariadb.query("drop database shop");
    let one = ["restore", "--archive", "latest", "--original-label", "each"];
    let named = [&one[..], &["--database", "sh*", "--hook", "postgresql"]].concat();
    let _ = databases.place.fastness(&named).ok();
    assert_eq!(databases.postgresql_state(), postgresql);
    assert!(!databases.mariadb.query("show schemas").contains("shop"));
    let _ = databases.place.fastness(&one).ok();
    assert_eq!(databases.mariadb_state(), mariadb);
    assert_eq!(
        databases
            .mariadb
            .query("select count(*) from `a 'b' \"c\"`.x"),
        "0"
    );
}

#[test]
fn mongodb_with_scripted_tools_gets_its_password_by_a_pipe_and_comes_back() {
    let place = Place::new();
    let script = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = place.sandbox.path(name);
        let top = place.sandbox.root().to_str().unwrap();
        let text = format!("#!/bin/sh\n{}\n", text.replace("TOP", top));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let config = "while [ \"$1\" != --config ]; do shift; done; cat \"$2\"";
    script(
        "mongodump",
        &format!("echo \"$@\" > TOP/dumped; {config}; echo the data"),
    );
    script(
        "mongorestore",
        &format!("echo \"$@\" > TOP/called; cat > TOP/restored; {config} > TOP/secret"),
    );
    let entries = "\
mongodb_databases:
    - {name: shop, hostname: db, port: 27018, username: me, password: 'a \"b\"', authentication_database: admin,
       restore_hostname: other, mongodump_command: TOP/mongodump, mongorestore_command: TOP/mongorestore}
";
    configure(&place, entries);
    let read = |name: &str| fs::read_to_string(place.sandbox.path(name)).unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place.fastness(&["create"]).ok();
    let dumped = read("dumped");
    assert!(
        dumped.starts_with("--host db --port 27018 --username me --config /dev/fd/"),
        "{dumped}"
    );
    assert!(dumped.ends_with("--authenticationDatabase admin --db shop --archive\n"));
    assert!(!dumped.contains("a \""));
    let restore = [
        "restore",
        "--archive",
        "latest",
        "--port",
        "1",
        "--schema",
        "shop.x",
    ];
    let _ = place.fastness(&restore).ok();
    assert_eq!(read("secret"), "password: \"a \\\"b\\\"\"");
    assert_eq!(read("restored"), format!("{}the data\n", read("secret")));
    let called = read("called");
    assert!(
        called
            .starts_with("--archive --drop --host other --port 1 --username me --config /dev/fd/"),
        "{called}"
    );
    assert!(called.ends_with("--authenticationDatabase admin --nsInclude shop.x\n"));
}

#[test]
fn hooks_may_fill_a_directory_with_a_physical_copy_and_empty_it_again() {
    let mut databases = Databases::new();
    let hooks = "\
commands:
    - before: action
      when: [create]
      run:
          - install -d -m 0700 TOP/source/mariadb
          - find TOP/source/mariadb -mindepth 1 -delete
          - mariabackup --no-defaults --backup --user=root --socket=MARIADB --target-dir=TOP/source/mariadb/full
          - mariabackup --no-defaults --prepare --target-dir=TOP/source/mariadb/full
    - after: action
      when: [create]
      states: [finish, fail]
      run:
          - find TOP/source/mariadb -mindepth 1 -delete
";
    databases.configure(hooks);
    let place = &databases.place;
    let copy = place.sandbox.path("source/mariadb");
    let is_empty = || fs::read_dir(&copy).unwrap().count() == 0;
    let _ = place.fastness(&["repo-create"]).ok();
    let before = databases.mariadb_state();
    let writer = databases.write();
    let _ = place.fastness(&["create"]).ok();
    drop(writer);
    let after = databases.mariadb_state();
    assert!(is_empty());
    let gone = "sqlite_databases:\n    - {name: gone, path: TOP/gone.db}\n";
    databases.configure(&format!("{hooks}{gone}"));
    assert_eq!(place.fastness(&["create"]).code(), 1);
    assert!(is_empty(), "also after a failure");
    let restored = place.sandbox.directory("restored");
    let to = ["--destination", restored.to_str().unwrap()];
    let extract = [
        "extract",
        "--archive",
        "latest",
        "--strip-components",
        "all",
    ];
    let path = copy.join("full");
    let path = ["--path", path.to_str().unwrap().trim_start_matches('/')];
    let _ = place.fastness(&[&extract[..], &to, &path].concat()).ok();
    databases.mariadb = MariaDb::on(&restored.join("full"));
    between(&[before], &[databases.mariadb_state()], &[after]);
}
