//! A private server of MariaDB on restored data files: on a unix socket in their directory, for this
//! machine's root and the owner of the files only. It goes on when this program ends.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fastness_borg::signals::{self, Watch};

use crate::output::log::Level;

use super::outcome::RunError;
use super::restore::ended_by_signal;
use super::restore_files::{failed, system};
use super::runner::Runner;

/// How often, and at which distance, a new server is asked whether it is there.
const ASKED: (u32, Duration) = (3000, Duration::from_millis(100));

/// Where the server may be when it is not on the path, as with users that are not root.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"];

/// The longest path of a socket that the system takes.
const SOCKET_BYTES: usize = 107;

/// Makes sure that a server can be started in a directory, and returns its program.
///
/// # Errors
/// When there is none, or the path of its socket would be too long.
pub fn find(target: &Path) -> Result<PathBuf, RunError> {
    if target.join("socket").as_os_str().as_bytes().len() > SOCKET_BYTES {
        return Err(failed(format!(
            "{} is too long a path for a socket; name a shorter one",
            target.display()
        )));
    }
    let runs = |program: &Path| {
        let mut command = Command::new(program);
        let command = command.args(["--no-defaults", "--version"]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).status().is_ok()
    };
    let further = PLACES.map(|place| Path::new(place).join("mariadbd"));
    let mut programs = [PathBuf::from("mariadbd")].into_iter().chain(further);
    programs
        .find(|program| runs(program))
        .ok_or_else(|| failed("mariadbd is not installed; --to restores without starting a server"))
}

/// Starts a server; it reads the options that the backup noted, as the size of pages.
///
/// # Errors
/// When it does not start, or the run is to end before it does.
pub fn start(
    runner: &Runner<'_>,
    program: &Path,
    target: &Path,
    given: bool,
) -> Result<(), RunError> {
    let socket = target.join("socket");
    let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
    let noted = target.join("backup-my.cnf");
    let mut command = Command::new(program);
    command
        .arg(match noted.exists() {
            true => option("defaults-file", &noted),
            false => "--no-defaults".to_owned(),
        })
        .args(["--skip-networking", "--skip-grant-tables"])
        .args(["--skip-slave-start", "--event-scheduler=off"])
        .arg(option("datadir", target))
        // Another place may be closed to the server's user.
        .arg(option("tmpdir", target))
        .arg(option("socket", &socket))
        .arg(option("pid-file", &target.join("pid")))
        .arg(option("log-error", &target.join("log.err")))
        .args(given.then_some("--user=mysql"))
        .args((!given && fastness_sys::process::is_root()).then_some("--user=root"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let watch = Watch::begin();
    let mut server = command
        .spawn()
        .map_err(system("starting mariadbd on", target))?;
    let up = wait_for(&mut server, &socket, target);
    if up.is_err() || signals::end_wanted() {
        let _ = server.kill();
        let _ = server.wait();
    }
    ended_by_signal(watch)?;
    up?;
    let socket = socket.display();
    for line in [
        format!("A private server runs on them: mariadb --no-defaults --socket={socket}"),
        format!("To stop it: mariadb-admin --no-defaults --socket={socket} shutdown"),
    ] {
        runner.log.record(Level::Answer, &line);
    }
    Ok(())
}

fn wait_for(server: &mut Child, socket: &Path, target: &Path) -> Result<(), RunError> {
    let (times, distance) = ASKED;
    for _ in 0..times {
        if signals::end_wanted() || UnixStream::connect(socket).is_ok() {
            return Ok(());
        }
        let ended = server.try_wait();
        if let Some(status) = ended.map_err(system("waiting for mariadbd on", target))? {
            return Err(failed(format!(
                "mariadbd ended with {status}{}",
                last_words(target)
            )));
        }
        std::thread::sleep(distance);
    }
    Err(failed(format!(
        "mariadbd does not answer{}",
        last_words(target)
    )))
}

/// What the server says is wrong, and where more of it is.
fn last_words(target: &Path) -> String {
    let path = target.join("log.err");
    let log = std::fs::read(&path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("[ERROR]"))
        .collect();
    match errors.first() {
        Some(first) => format!(": {first}; more is in {}", path.display()),
        None => format!("; {} may say why", path.display()),
    }
}
