//! Builds and runs one command: arguments, environment, faults, time limit.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Exit, Outcome, zygote};

/// A command being prepared; [`Run::go`] runs it.
#[derive(Clone, Debug)]
#[must_use = "a run does nothing until `go` is called"]
pub struct Run {
    wrapper: Vec<OsString>,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: PathBuf,
    input: Vec<u8>,
    limit: Duration,
    kill_after: Option<Duration>,
    /// The interpreter of an official Borg, which can run without its start-up time.
    python: Option<PathBuf>,
}

impl Run {
    /// Prepares `program` in `directory` with exactly this environment.
    pub fn new(program: &Path, directory: &Path, environment: Vec<(OsString, OsString)>) -> Run {
        Run {
            wrapper: Vec::new(),
            program: program.to_owned(),
            arguments: Vec::new(),
            environment,
            directory: directory.to_owned(),
            input: Vec::new(),
            limit: Duration::from_secs(180),
            kill_after: None,
            python: None,
        }
    }

    /// Lets an official Borg, which has this interpreter, run in a process that waits for it.
    pub(crate) fn by_zygote(mut self, python: Option<PathBuf>) -> Run {
        self.python = python;
        self
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Run {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Run {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self = self.without_env(name);
        self.environment
            .push((OsString::from(name), value.as_ref().to_owned()));
        self
    }

    /// Removes an environment variable.
    pub fn without_env(mut self, name: &str) -> Run {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// Runs in another directory.
    pub fn in_directory(mut self, directory: &Path) -> Run {
        self.directory = directory.to_owned();
        self
    }

    /// Gives the program this standard input; otherwise it is empty.
    pub fn stdin(mut self, input: &[u8]) -> Run {
        self.input = input.to_vec();
        self
    }

    /// Kills the program with SIGKILL when it still runs after this time.
    pub fn killed_after(mut self, delay: Duration) -> Run {
        self.kill_after = Some(delay);
        self
    }

    /// Runs the program under another one, for example strace with its options.
    pub fn under<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, wrapper: I) -> Run {
        self.wrapper = wrapper
            .into_iter()
            .map(|word| word.as_ref().to_owned())
            .collect();
        self
    }

    /// Makes every `nth` call of the given system calls fail with `error` (a name such as
    /// `EIO`). With a path, only calls on that path count. Needs strace.
    pub fn failing(self, syscalls: &str, error: &str, nth: &str, path: Option<&Path>) -> Run {
        let mut wrapper: Vec<OsString> = ["strace", "-f", "-qq", "-o", "/dev/null"]
            .map(OsString::from)
            .to_vec();
        wrapper.push(format!("-etrace={syscalls}").into());
        wrapper.push(format!("-einject={syscalls}:error={error}:when={nth}").into());
        if let Some(path) = path {
            wrapper.push("-P".into());
            wrapper.push(path.into());
        }
        self.under(wrapper)
    }

    /// Runs the command and waits for its end.
    pub fn go(self) -> Outcome {
        self.by_a_waiting_process()
            .unwrap_or_else(|| self.by_a_new_process())
    }

    /// Runs official Borg by a zygote, unless the run is wrapped or to be killed.
    fn by_a_waiting_process(&self) -> Option<Outcome> {
        let python = self.python.as_ref()?;
        if !self.wrapper.is_empty() || self.kill_after.is_some() {
            return None;
        }
        let answer = zygote::run(
            python,
            &self.arguments,
            &self.environment,
            &self.directory,
            &self.input,
        )?;
        let (exit, stdout, stderr) = (answer.exit, answer.stdout, answer.stderr);
        Some(Outcome {
            command: self.to_string(),
            exit,
            stdout,
            stderr,
        })
    }

    fn by_a_new_process(self) -> Outcome {
        let mut child = self.spawn();
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = self.input.clone();
        let feeder = thread::spawn(move || {
            // The program may end without reading everything: that is its choice.
            let _ = stdin.write_all(&input);
        });
        let exit = self.wait(&mut child);
        let _ = feeder.join();
        Outcome {
            command: self.to_string(),
            exit,
            stdout: stdout.join().expect("reading output does not panic"),
            stderr: stderr.join().expect("reading output does not panic"),
        }
    }

    /// Starts the command with all its streams piped and hands it over, running.
    pub fn spawn(&self) -> Child {
        let mut words = self
            .wrapper
            .iter()
            .map(OsString::as_os_str)
            .chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().expect("there is a program"));
        command.args(words).args(&self.arguments);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.directory);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {self}: {error}"))
    }

    fn wait(&self, child: &mut Child) -> Exit {
        let start = Instant::now();
        let end = self.kill_after.unwrap_or(self.limit);
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = child.try_wait().expect("waiting for our child works") {
                return exit(status);
            }
            let elapsed = start.elapsed();
            if elapsed >= end {
                let _ = child.kill();
                let status = child.wait().expect("waiting for our child works");
                return if self.kill_after.is_some() {
                    exit(status)
                } else {
                    Exit::TimedOut
                };
            }
            thread::sleep(pause.min(end.saturating_sub(elapsed)));
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A wrapper may be a whole script: its name says enough.
        let words = self.wrapper.iter().map(|word| word.display().to_string());
        for word in words.filter(|word| !word.contains('\n')) {
            write!(f, "{word} ")?;
        }
        write!(f, "{}", self.program.display())?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {}", argument.display()))
    }
}

fn exit(status: ExitStatus) -> Exit {
    match status.code() {
        Some(code) => Exit::Code(code),
        None => Exit::Signal(status.signal().unwrap_or(0)),
    }
}

fn drain(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A killed program's pipe may break: what came so far is the output.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}
