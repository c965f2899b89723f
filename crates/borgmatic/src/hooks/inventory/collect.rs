//! Finds out what an inventory wants to know: copies files, and asks programs within a time.
//!
//! A program writes into a file in memory, which has a largest size like everything here; one that
//! takes too long is ended with all that it started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

use super::in_memory;
use super::parts::Want;
use crate::hooks::dump::program::Program;
use crate::output::log::Log;

/// The largest file, or output of a program.
const MOST_BYTES: u64 = 32 << 20;

/// How deep directories are copied, and how many files of one.
const MOST_DEPTH: usize = 4;
const MOST_FILES: usize = 2000;

/// What programs say that are there, but have nothing to work with.
const ABSENCES: [&str; 3] = [
    "No module named pip",
    "has not been booted with systemd",
    "is not installed",
];

/// Where programs of the system are beside those of `PATH`, which a timer or cron keeps short.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What became of one thing.
pub enum Found {
    /// Its content.
    Content(OwnedFd),
    /// There is no such thing on this machine.
    Missing(String),
    /// It cannot be found out.
    Failed(String),
}

/// The environment in which programs are asked: they speak English and ask nothing back.
pub fn environment(given: &BTreeMap<OsString, OsString>) -> BTreeMap<OsString, OsString> {
    let mut environment = given.clone();
    let path = match given.get(&OsString::from("PATH")) {
        Some(path) => format!("{}:{SYSTEM_PATH}", path.to_string_lossy()),
        None => SYSTEM_PATH.to_owned(),
    };
    for (name, value) in [
        ("PATH", path.as_str()),
        ("LC_ALL", "C.UTF-8"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_NO_INPUT", "1"),
        // Every volume of LVM would complain of files that this program has open.
        ("LVM_SUPPRESS_FD_WARNINGS", "1"),
    ] {
        environment.insert(name.into(), value.into());
    }
    environment
}

/// Finds things out.
pub struct Collector {
    /// Where records go.
    pub log: Log,
    /// The environment of programs.
    pub environment: Arc<BTreeMap<OsString, OsString>>,
    /// How long one program may take.
    pub timeout: Duration,
    /// Set when nobody wants to know any more.
    pub abandoned: Arc<AtomicBool>,
}

impl Collector {
    /// Finds what is wanted, each with its name below the inventory.
    pub fn find(&self, want: &Want) -> Vec<(String, Found)> {
        match want {
            Want::Copy(path) => {
                let mut files = Vec::new();
                gather(Path::new(path), 0, &mut files);
                if files.is_empty() && !Path::new(path).exists() {
                    let note = format!("there is no {path}");
                    return vec![(format!("files{path}"), Found::Missing(note))];
                }
                let named = |path: PathBuf| (format!("files{}", path.display()), copy(&path));
                files.into_iter().map(named).collect()
            }
            Want::Output { name, words } => vec![(name.clone(), self.ask(words))],
        }
    }

    fn is_there(&self, program: &str) -> bool {
        if program.contains('/') {
            return Path::new(program).is_file();
        }
        let path = self.environment.get(&OsString::from("PATH"));
        let mut directories = path.into_iter().flat_map(std::env::split_paths);
        directories.any(|directory| directory.join(program).is_file())
    }

    fn ask(&self, words: &[String]) -> Found {
        let name = words.first().map(String::as_str).unwrap_or_default();
        if !self.is_there(name) {
            return Found::Missing(format!("{name} is not installed"));
        }
        let failed = |reason: &dyn std::fmt::Display| {
            let reason = reason.to_string();
            match ABSENCES.iter().any(|text| reason.contains(text)) {
                true => Found::Missing(reason),
                false => Found::Failed(reason),
            }
        };
        match self.output(words) {
            Ok(content) => Found::Content(content),
            Err(reason) => failed(&reason),
        }
    }

    /// Runs a program and returns what it printed.
    fn output(&self, words: &[String]) -> Result<OwnedFd, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let output = memfd_create("fastness-inventory", MemfdFlags::CLOEXEC);
        let mut output = File::from(output.map_err(|error| text(&error))?);
        let stdout = output.try_clone().map_err(|error| text(&error))?;
        let what = "inventory of the system";
        let program = Program::new(what, "", &self.environment, PathBuf::new());
        let program = program.words(words).notes(|_| true);
        let mut running = program
            .start(&self.log, Stdio::null(), Stdio::from(stdout))
            .map_err(|error| text(&error))?;
        let begin = Instant::now();
        let size = || output.metadata().map_or(0, |metadata| metadata.len());
        let late = || begin.elapsed() > self.timeout;
        let ended = running
            .wait(&|| late() || size() > MOST_BYTES || self.abandoned.load(Ordering::Relaxed));
        match ended {
            Err(_) if late() => Err(format!(
                "{} took longer than {} seconds and was ended",
                program.name(),
                self.timeout.as_secs()
            )),
            _ if size() > MOST_BYTES => Err(format!(
                "{} printed more than {MOST_BYTES} bytes",
                program.name()
            )),
            Err(error) => Err(text(&error)),
            Ok(()) => {
                output.rewind().map_err(|error| text(&error))?;
                Ok(output.into())
            }
        }
    }
}

/// Finds the files at or below a path, in the order of their names.
fn gather(path: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(metadata) = path.metadata() else {
        return;
    };
    if metadata.is_file() && files.len() < MOST_FILES {
        files.push(path.to_owned());
    }
    if metadata.is_dir() && depth < MOST_DEPTH {
        let listed = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            gather(&path, depth + 1, files);
        }
    }
}

fn copy(path: &Path) -> Found {
    let read = || {
        let mut content = Vec::new();
        // Files of /proc do not tell how long they are.
        File::open(path)?
            .take(MOST_BYTES + 1)
            .read_to_end(&mut content)?;
        Ok(content)
    };
    let read: std::io::Result<Vec<u8>> = read();
    match read {
        Ok(content) if content.len() as u64 > MOST_BYTES => {
            Found::Failed(format!("it is larger than {MOST_BYTES} bytes"))
        }
        Ok(content) => match in_memory(&content) {
            Ok(content) => Found::Content(content),
            Err(error) => Found::Failed(error.to_string()),
        },
        Err(error) => Found::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::log::tests::log;

    fn collector(timeout: u64) -> Collector {
        Collector {
            log: log(0).0,
            environment: Arc::new(environment(&BTreeMap::new())),
            timeout: Duration::from_millis(timeout),
            abandoned: Arc::default(),
        }
    }

    fn asked(collector: &Collector, words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match collector.ask(&words) {
            Found::Content(content) => {
                let mut text = String::new();
                File::from(content).read_to_string(&mut text).unwrap();
                Ok(text)
            }
            Found::Missing(note) => Err(format!("missing: {note}")),
            Found::Failed(note) => Err(format!("failed: {note}")),
        }
    }

    #[test]
    fn programs_are_asked_and_their_failures_told_apart() {
        let all = collector(60_000);
        assert_eq!(asked(&all, &["echo", "a b"]), Ok("a b\n".to_owned()));
        let missing = asked(&all, &["no-such-program"]).unwrap_err();
        assert_eq!(missing, "missing: no-such-program is not installed");
        let without = ["sh", "-c", "echo No module named pip >&2; exit 1"];
        assert!(asked(&all, &without).unwrap_err().starts_with("missing: "));
        let failed = asked(&all, &["sh", "-c", "echo broken >&2; exit 3"]).unwrap_err();
        assert!(failed.starts_with("failed: "), "{failed}");
        assert!(failed.ends_with("ended with code 3: broken"), "{failed}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let begin = Instant::now();
        let late = asked(&collector(100), &["sh", "-c", "sleep 60; echo late"]);
        assert_eq!(
            late.unwrap_err(),
            "failed: sh took longer than 0 seconds and was ended"
        );
        assert!(begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_never_stops_talking_is_ended() {
        let endless = asked(&collector(60_000), &["yes"]);
        assert!(endless.unwrap_err().contains("more than 33554432 bytes"));
    }

    #[test]
    fn directories_are_copied_file_by_file() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("b")).unwrap();
        for name in ["c", "a", "b/d"] {
            std::fs::write(top.path().join(name), name).unwrap();
        }
        let path = top.path().to_str().unwrap();
        let found = collector(1000).find(&Want::Copy(path.to_owned()));
        let names: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
        let expected = ["a", "b/d", "c"].map(|name| format!("files{path}/{name}"));
        assert_eq!(names, expected);
    }
}
