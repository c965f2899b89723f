//! A real OpenSSH server on a loopback port, with keys and configuration of its own.
//!
//! It logs in the user who runs the tests and nobody else. Its sessions have a home directory of
//! their own beside the sandbox's, as a backup server has; nothing of the person's `~/.ssh` is read.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const SERVER: &str = "/usr/sbin/sshd";
/// The name under which clients know the server, by whatever port they reach it.
const ALIAS: &str = "fastness-test";

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Sshd {
    /// Starts a server on a free port, for which no key is known yet.
    pub fn start() -> Sshd {
        assert!(
            Path::new(SERVER).exists(),
            "{SERVER} is missing: run scripts/setup"
        );
        let directory = tempfile::Builder::new()
            .prefix("fastness-sshd-")
            .tempdir()
            .expect("a scratch directory");
        fs::create_dir(directory.path().join("home")).unwrap();
        make_key(&directory.path().join("host-key"));
        File::create(directory.path().join("authorized_keys")).unwrap();
        if crate::is_root() {
            // Where the server locks itself up before anybody has logged in.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_port();
        let mut server = Sshd {
            child: spawn(directory.path(), port),
            port,
            directory,
        };
        // Somebody else may take the port between our finding it free and the server's start.
        for _ in 0..5 {
            if server.answers() {
                return server;
            }
            server.stop();
            server.port = free_port();
            server.child = spawn(server.directory.path(), server.port);
        }
        let log = fs::read_to_string(server.path("sshd.log")).unwrap_or_default();
        panic!("no server of ours answers on any port: {log}")
    }

    /// Makes a key that may log in, and returns the words of `BORG_RSH` for it. With a forced
    /// command, that is what runs whatever the client asks for.
    pub fn rsh(&self, name: &str, forced: Option<&str>) -> String {
        let key = self.stranger(name);
        let public = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        let line = match forced {
            None => public,
            Some(command) => {
                format!(
                    "command=\"{}\",restrict {public}",
                    command.replace('"', "\\\"")
                )
            }
        };
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.path("authorized_keys"))
            .unwrap();
        file.write_all(line.as_bytes()).unwrap();
        key
    }

    /// Makes a key that may not log in, and returns the words of `BORG_RSH` for it.
    pub fn stranger(&self, name: &str) -> String {
        make_key(&self.path(name));
        let host_key = fs::read_to_string(self.path("host-key.pub")).unwrap();
        let known = format!("{ALIAS} {host_key}");
        fs::write(self.path("known_hosts"), known).unwrap();
        self.client(name, &self.path("known_hosts"))
    }

    /// The words of `BORG_RSH` for a key that was made before, with another list of known hosts.
    pub fn client(&self, name: &str, known_hosts: &Path) -> String {
        format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
             -o HostKeyAlias={ALIAS} -o UserKnownHostsFile={} -i {}",
            known_hosts.display(),
            self.path(name).display()
        )
    }

    /// Returns the address of a repository on the server, by its absolute path there or one that
    /// begins with `/./` or `/~/`.
    pub fn address(&self, path: impl AsRef<Path>) -> String {
        Self::address_at(self.port, path)
    }

    /// As [`Self::address`], by another port: that of a relay to the server.
    pub fn address_at(port: u16, path: impl AsRef<Path>) -> String {
        format!("ssh://127.0.0.1:{port}{}", path.as_ref().display())
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the home directory of Borg on the server.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn answers(&mut self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && self.child.try_wait().unwrap().is_none() {
            if let Ok(mut stream) = TcpStream::connect(address) {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut greeting = [0; 4];
                return stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-";
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(directory: &Path, port: u16) -> Child {
    let at = |name: &str| directory.join(name).display().to_string();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nMaxStartups 500\nMaxSessions 500\nLogLevel INFO\n\
         SetEnv BORG_BASE_DIR=\"{}\" BORG_SELFTEST=disabled LC_ALL=C.UTF-8 RUST_BACKTRACE=1\n",
        at("host-key"),
        at("authorized_keys"),
        at("home"),
    );
    fs::write(directory.join("sshd_config"), config).unwrap();
    let log = File::create(directory.join("sshd.log")).unwrap();
    Command::new(SERVER)
        .args(["-D", "-e", "-f"])
        .arg(directory.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the server starts")
}

fn make_key(path: &Path) {
    if path.exists() {
        return;
    }
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "fastness-test", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "ssh-keygen fails or is missing: run scripts/setup"
    );
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_log_in_strangers_do_not_and_forced_commands_win() {
        let server = Sshd::start();
        let run = |rsh: &str| {
            let mut words = rsh.split(' ');
            let output = Command::new(words.next().unwrap())
                .args(words)
                .args(["-p", &server.port().to_string(), "127.0.0.1"])
                .arg("echo $BORG_BASE_DIR")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            (
                String::from_utf8(output.stdout).unwrap(),
                output.status.code(),
            )
        };
        let home = format!("{}\n", server.home().display());
        assert_eq!(run(&server.rsh("known", None)), (home, Some(0)));
        let forced = server.rsh("forced", Some("echo \"forced: $SSH_ORIGINAL_COMMAND\""));
        assert_eq!(
            run(&forced),
            ("forced: echo $BORG_BASE_DIR\n".to_owned(), Some(0))
        );
        assert_eq!(
            run(&server.stranger("stranger")),
            (String::new(), Some(255))
        );
    }
}
