//! Official Borg without its start-up time.
//!
//! Most of a short run of Borg is Python loading modules. A zygote has them
//! loaded and forks a child per command; the code that runs is Borg's, unchanged.
//! Runs that are to be traced, killed or timed go the ordinary way.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::json;

use crate::Exit;

const SCRIPT: &str = include_str!("zygote.py");

/// A Python process with Borg's modules loaded.
struct Zygote {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _process: Child,
}

/// Idle zygotes by interpreter; a run takes one and gives it back.
static IDLE: Mutex<Option<HashMap<PathBuf, Vec<Zygote>>>> = Mutex::new(None);

/// What a command gave.
pub(crate) struct Answer {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs one command of the Borg that belongs to this interpreter. Returns `None` when an argument
/// or value is not UTF-8, which the orders cannot carry.
pub(crate) fn run(
    python: &Path,
    arguments: &[OsString],
    environment: &[(OsString, OsString)],
    directory: &Path,
    input: &[u8],
) -> Option<Answer> {
    let text = |value: &OsString| value.to_str().map(str::to_owned);
    let arguments: Vec<String> = arguments.iter().map(text).collect::<Option<_>>()?;
    let environment: HashMap<String, String> = environment
        .iter()
        .map(|(name, value)| Some((text(name)?, text(value)?)))
        .collect::<Option<_>>()?;
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let files = ["stdin", "stdout", "stderr"].map(|name| scratch.path().join(name));
    fs::write(&files[0], input).unwrap();
    fs::write(&files[1], b"").unwrap();
    fs::write(&files[2], b"").unwrap();
    let order = json!({
        "arguments": arguments, "environment": environment, "directory": directory.to_str()?,
        "stdin": files[0].to_str()?, "stdout": files[1].to_str()?, "stderr": files[2].to_str()?,
    });
    let mut zygote = take(python);
    writeln!(zygote.orders, "{order}").expect("the zygote lives");
    let mut line = String::new();
    zygote
        .answers
        .read_line(&mut line)
        .expect("the zygote answers");
    let code: i32 = line
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("no answer from the zygote: {line:?}"));
    give_back(python, zygote);
    Some(Answer {
        exit: if code < 0 {
            Exit::Signal(-code)
        } else {
            Exit::Code(code)
        },
        stdout: fs::read(&files[1]).unwrap(),
        stderr: fs::read(&files[2]).unwrap(),
    })
}

fn take(python: &Path) -> Zygote {
    let idle = IDLE
        .lock()
        .expect("no panic while holding it")
        .as_mut()
        .and_then(|all| all.get_mut(python)?.pop());
    idle.unwrap_or_else(|| start(python))
}

fn give_back(python: &Path, zygote: Zygote) {
    let mut idle = IDLE.lock().expect("no panic while holding it");
    idle.get_or_insert_default()
        .entry(python.to_owned())
        .or_default()
        .push(zygote);
}

/// Starts a zygote; it ends when this process ends and its standard input closes.
fn start(python: &Path) -> Zygote {
    let mut command = Command::new(python);
    command
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.env_clear().envs([
        ("PATH", "/usr/bin:/bin"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
    ]);
    let mut process = command.spawn().expect("Python starts");
    let orders = process.stdin.take().expect("stdin is piped");
    let answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
    Zygote {
        orders,
        answers,
        _process: process,
    }
}
