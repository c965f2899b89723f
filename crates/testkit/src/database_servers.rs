//! Database servers of a test's own: in a temporary directory, on a unix socket, gone at the end.
//!
//! They listen on no network. PostgreSQL does not run as root: then it runs as the user `postgres`,
//! whom its package makes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::is_root;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of PostgreSQL.
#[derive(Debug)]
pub struct PostgreSql {
    directory: TempDir,
    server: Server,
}

/// A server of MariaDB.
#[derive(Debug)]
pub struct MariaDb {
    directory: TempDir,
    server: Server,
}

/// Its process; killed when it is dropped.
#[derive(Debug)]
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that a server's user can reach.
fn directory() -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("fastness-server-")
        .tempdir()
        .expect("a scratch directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn must(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/setup"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

impl Server {
    /// Starts a server and waits until `ready` says that it answers.
    fn start(command: &mut Command, ready: impl Fn() -> bool) -> Server {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/setup"));
        let mut server = Server(child);
        let begin = Instant::now();
        while !ready() {
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            assert!(begin.elapsed() < PATIENCE, "{command:?} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

/// The directory with the programs of PostgreSQL's newest version.
fn postgresql_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(|entries| {
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
        paths.filter(|path| path.join("initdb").exists()).max()
    });
    let newest = versions.ok().flatten();
    newest.expect("PostgreSQL is missing: run scripts/setup")
}

/// Makes a command run as the user of PostgreSQL, if this is root.
fn as_postgres(command: &mut Command) -> &mut Command {
    if is_root() {
        let (user, group) = postgres_ids();
        command.uid(user).gid(group);
    }
    command
}

fn postgres_ids() -> (u32, u32) {
    let id = |flag: &str| {
        let output = must(Command::new("id").args([flag, "postgres"]));
        text(&output).parse().unwrap()
    };
    (id("-u"), id("-g"))
}

impl PostgreSql {
    /// Makes an empty server and starts it. Its only user is `postgres`, without a password.
    #[expect(clippy::new_without_default, reason = "it starts a server")]
    pub fn new() -> PostgreSql {
        let directory = directory();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        if is_root() {
            let (user, group) = postgres_ids();
            chown(&data, Some(user), Some(group)).unwrap();
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        let mut initdb = Command::new(postgresql_programs().join("initdb"));
        initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]);
        let initdb = initdb.arg(&data).current_dir(directory.path());
        must(as_postgres(initdb.env("LC_ALL", "C.UTF-8")));
        let server = Self::start(directory.path());
        PostgreSql { directory, server }
    }

    fn start(directory: &Path) -> Server {
        let mut command = Command::new(postgresql_programs().join("postgres"));
        command.arg("-D").arg(directory.join("data"));
        command.arg("-k").arg(directory).current_dir(directory);
        command.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        // In its directory rather than in /dev/shm, where what a killed server had would stay.
        command.args(["-c", "dynamic_shared_memory_type=mmap"]);
        let ready = || {
            let mut psql = Command::new("psql");
            psql.args(["-h", directory.to_str().unwrap(), "-U", "postgres"]);
            let psql = psql.args(["-c", "select 1"]).output();
            psql.is_ok_and(|output| output.status.success())
        };
        Server::start(as_postgres(&mut command), ready)
    }

    /// The directory with its socket, which clients take for the name of a host.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    fn pid(&self) -> u32 {
        self.server.0.id()
    }

    /// Runs statements and returns the rows, columns with `|` between them.
    pub fn query(&self, database: &str, statements: &str) -> String {
        let mut psql = Command::new("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        psql.args(["--set=ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        psql.arg("-h")
            .arg(self.socket())
            .args(["--command", statements]);
        text(&must(&mut psql))
    }

    /// Ends it at once, as a power cut does, and starts it again.
    pub fn restart(&mut self) {
        // Killed otherwise, its parts would be in the way of the next one for a while.
        let pid = self.pid().to_string();
        must(Command::new("kill").args(["-QUIT", &pid]));
        let _ = self.server.0.wait();
        self.server = Self::start(self.directory.path());
    }

    /// Kills it; what it had is gone, and an empty server is in its place.
    pub fn destroy(&mut self) {
        *self = PostgreSql::new();
    }
}

impl MariaDb {
    /// Makes an empty server and starts it. Its user `root` has no password.
    #[expect(clippy::new_without_default, reason = "it starts a server")]
    pub fn new() -> MariaDb {
        let directory = directory();
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
        install.args(["--skip-test-db", "--skip-name-resolve"]);
        install.args(as_root());
        // Servers that start remove temporary tables of others from a place that they share.
        install.arg(option("--tmpdir", directory.path()));
        must(install.arg(option("--datadir", &directory.path().join("data"))));
        let server = Self::start(directory.path());
        MariaDb { directory, server }
    }

    /// Moves data that is there, such as that of a restore, to a server and starts it.
    pub fn on(data: &Path) -> MariaDb {
        let directory = directory();
        fs::rename(data, directory.path().join("data")).unwrap();
        let server = Self::start(directory.path());
        MariaDb { directory, server }
    }

    fn start(directory: &Path) -> Server {
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--skip-networking"]);
        command.args(as_root());
        command.args(["--innodb-flush-log-at-trx-commit=2", "--log-bin=binlog"]);
        command.arg(option("--datadir", &directory.join("data")));
        command.arg(option("--tmpdir", directory));
        let socket = directory.join("socket");
        command.arg(option("--socket", &socket));
        command.arg(option("--log-error", &directory.join("log")));
        let ready = || {
            let mut client = Command::new("mariadb");
            client.args(["--no-defaults", "--user=root", "--execute=select 1"]);
            let output = client.arg(option("--socket", &socket)).output();
            output.is_ok_and(|output| output.status.success())
        };
        Server::start(&mut command, ready)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Runs statements and returns the rows, columns with tabs between them.
    pub fn query(&self, statements: &str) -> String {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--batch"]);
        client.arg("--skip-column-names");
        client.arg(option("--socket", &self.socket()));
        text(&must(client.arg("--execute").arg(statements)))
    }

    /// Kills it and starts it again.
    pub fn restart(&mut self) {
        let _ = self.server.0.kill();
        let _ = self.server.0.wait();
        self.server = Self::start(self.directory.path());
    }

    /// Kills it; what it had is gone, and an empty server is in its place.
    pub fn destroy(&mut self) {
        *self = MariaDb::new();
    }
}

/// What the server must be told to run as root.
fn as_root() -> &'static [&'static str] {
    match is_root() {
        true => &["--user=root"],
        false => &[],
    }
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut word = std::ffi::OsString::from(format!("{name}="));
    word.push(AsRef::<OsStr>::as_ref(path));
    word
}
