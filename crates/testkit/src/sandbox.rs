//! A test's own world: home, temporary directory, environment, locale.
//!
//! The variables of the person who runs the tests do not reach the programs;
//! official Borg and ours share the home of one sandbox, and thereby Borg's
//! security directory, key files and caches, as they would on a real machine.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Borg, Outcome, Run};

/// The passphrase of every repository that tests make, with a letter beyond ASCII.
pub const PASSPHRASE: &str = "correct horse b\u{e4}ttery staple";

/// A scratch directory with a clean environment for programs; removed at the end.
#[derive(Debug)]
pub struct Sandbox {
    root: TempDir,
    environment: Vec<(OsString, OsString)>,
}

impl Sandbox {
    /// Makes an empty sandbox.
    #[expect(
        clippy::new_without_default,
        reason = "it touches the disk; `new` says so better"
    )]
    pub fn new() -> Sandbox {
        let root = tempfile::Builder::new()
            .prefix("fastness-")
            .tempdir()
            .expect("a scratch directory");
        let home = root.path().join("home");
        let tmp = root.path().join("tmp");
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(&tmp).unwrap();
        let pairs: [(&str, &OsStr); 10] = [
            (
                "PATH",
                OsStr::new("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
            ),
            ("HOME", home.as_os_str()),
            ("BORG_BASE_DIR", home.as_os_str()),
            ("TMPDIR", tmp.as_os_str()),
            ("LANG", OsStr::new("C.UTF-8")),
            ("LC_ALL", OsStr::new("C.UTF-8")),
            ("TZ", OsStr::new("UTC")),
            ("BORG_PASSPHRASE", OsStr::new(PASSPHRASE)),
            // Official Borg tests its own parts at each start otherwise.
            ("BORG_SELFTEST", OsStr::new("disabled")),
            ("RUST_BACKTRACE", OsStr::new("1")),
        ];
        let environment = pairs
            .map(|(name, value)| (OsString::from(name), value.to_owned()))
            .to_vec();
        Sandbox { root, environment }
    }

    /// Returns the sandbox's directory.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Returns a path inside the sandbox.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    /// Returns the home directory of the sandboxed programs.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Makes a directory inside the sandbox and returns its path.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Sets an environment variable for every later run.
    pub fn set_env(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment
            .push((OsString::from(name), value.as_ref().to_owned()));
    }

    /// Prepares a run of `borg` in the sandbox's directory.
    pub fn command(&self, borg: &Borg) -> Run {
        let python = borg.is_official().then(|| borg.python());
        self.run_of(borg.path()).by_zygote(python)
    }

    /// Prepares a run of any program in the sandbox's directory.
    pub fn run_of(&self, program: &Path) -> Run {
        Run::new(program, self.root.path(), self.environment.clone())
    }

    /// Runs `borg` with these arguments in the sandbox's directory.
    pub fn run<S: AsRef<OsStr>>(&self, borg: &Borg, arguments: &[S]) -> Outcome {
        self.command(borg).args(arguments).go()
    }

    /// Copies a directory with everything in it, as `cp -a` does.
    pub fn copy(&self, from: &Path, to: &Path) {
        let status = std::process::Command::new("cp")
            .arg("-aT")
            .arg(from)
            .arg(to)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot copy {}",
            from.display()
        );
    }

    /// Keeps the directory after the test, to look at it; returns where it is.
    pub fn keep(self) -> PathBuf {
        self.root.keep()
    }
}
