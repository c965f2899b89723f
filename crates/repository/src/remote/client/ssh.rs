//! The program that carries the messages: ssh, or what stands in for it.
//!
//! It is a child process whose stdin and stdout are the two directions; on its stderr the server
//! logs, and ssh itself complains. Ctrl-C does not reach it: the client wants to end the session
//! well. When it ends by itself, its exit status and its last words are the reason that can be told.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastness_format::location::Host;
use fastness_format::rpc::LogLine;

use crate::monitor::{Event, Monitor};

/// How a server is started.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// The program that reaches the other machine, with its options.
    pub shell: Vec<OsString>,
    /// The server on the other machine.
    pub program: OsString,
    /// Options of its `serve`.
    pub options: Vec<OsString>,
    /// All the environment that the shell gets.
    pub environment: Vec<(OsString, OsString)>,
}

impl ServerCommand {
    /// Returns the words of the command for this machine; none if it is this one.
    pub fn words(&self, host: &Host) -> Option<Vec<OsString>> {
        let Host::Ssh { user, host, port } = host else {
            return None;
        };
        let mut words = self.shell.clone();
        if let Some(port) = port {
            words.extend([OsString::from("-p"), port.to_string().into()]);
        }
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        words.push(match user {
            Some(user) => format!("{user}@{bare}").into(),
            None => bare.into(),
        });
        words.extend([self.program.clone(), "serve".into()]);
        words.extend(self.options.iter().cloned());
        Some(words)
    }
}

/// Last lines that are remembered, and how much of each.
const LAST_WORDS: usize = 4;
const WORDS_BYTES: usize = 300;
/// A line of stderr that is longer is cut.
const LINE_BYTES: usize = 1 << 20;
/// How long stderr is still read when the process has ended. A connection that ssh shares between
/// sessions may hold it open.
const REST_OF_STDERR: Duration = Duration::from_secs(2);
/// How often it is asked whether the process has ended.
const PAUSE: Duration = Duration::from_millis(5);

type LastWords = Arc<Mutex<VecDeque<String>>>;
/// Whoever is told what is said on stderr.
type Listener = Arc<Mutex<Arc<dyn Monitor>>>;

/// The running process.
pub struct Process {
    child: Child,
    name: String,
    last_words: LastWords,
    listener: Listener,
    /// Ends when stderr does.
    stderr: Receiver<()>,
}

/// Both directions.
#[derive(Debug)]
pub struct Pipes {
    /// To the server.
    pub stdin: ChildStdin,
    /// From it.
    pub stdout: ChildStdout,
}

impl Process {
    /// Starts the process. What it says on stderr is told to the monitor.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start(
        words: &[OsString],
        environment: &[(OsString, OsString)],
        monitor: &Arc<dyn Monitor>,
    ) -> io::Result<(Self, Pipes)> {
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        fastness_sys::process::shield_from_interrupts(&mut command);
        let mut child = command.spawn()?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        // Narrow ones do as well.
        let _ = fastness_sys::process::widen_pipe(&stdin);
        let _ = fastness_sys::process::widen_pipe(&stdout);
        let last_words = LastWords::default();
        let (ended, is_ended) = sync_channel(1);
        let listener: Listener = Arc::new(Mutex::new(Arc::clone(monitor)));
        let (words, told) = (Arc::clone(&last_words), Arc::clone(&listener));
        thread::spawn(move || {
            listen(stderr, &words, &told);
            let _ = ended.send(());
        });
        let name = program.to_string_lossy();
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        let process = Self {
            child,
            name,
            last_words,
            listener,
            stderr: is_ended,
        };
        Ok((process, Pipes { stdin, stdout }))
    }

    /// From now on somebody else is told what the process says on stderr.
    pub fn report_to(&self, monitor: &Arc<dyn Monitor>) {
        *lock(&self.listener) = Arc::clone(monitor);
    }

    /// Waits for the end of the process, and kills it after `limit`. Returns what can be told of
    /// its end.
    pub fn end(&mut self, limit: Duration) -> Ending {
        let status = self.wait(limit);
        // All that was said belongs before the error.
        let rest = match status {
            Some(_) => REST_OF_STDERR,
            None => Duration::ZERO,
        };
        match self.stderr.recv_timeout(rest) {
            Ok(()) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
        }
        let last_words = lock(&self.last_words);
        Ending {
            program: self.name.clone(),
            status,
            last_words: last_words.iter().cloned().collect(),
        }
    }

    /// None if it had to be killed.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(PAUSE),
                Ok(Some(status)) => return Some(status),
                Err(_) => return None,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

/// How a session ended that should have gone on.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// The name of the program that carried it.
    pub program: String,
    /// How that ended; none if it did not and was killed.
    pub status: Option<ExitStatus>,
    /// The last lines on stderr that are no log of a server.
    pub last_words: Vec<String>,
}

/// Reads stderr to its end, line by line. A carriage return ends a line, too: progress uses it.
fn listen(mut stderr: ChildStderr, last_words: &LastWords, listener: &Listener) {
    let mut buffer = vec![0; 32 << 10];
    let mut line = Vec::new();
    loop {
        let count = match stderr.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in buffer.get(..count).unwrap_or_default() {
            match byte {
                b'\n' | b'\r' => take_line(&mut line, last_words, listener),
                byte if line.len() < LINE_BYTES => line.push(byte),
                _ => {}
            }
        }
    }
    take_line(&mut line, last_words, listener);
}

fn take_line(line: &mut Vec<u8>, last_words: &LastWords, listener: &Listener) {
    let text = String::from_utf8_lossy(line).into_owned();
    line.clear();
    if text.is_empty() {
        return;
    }
    let told = LogLine::parse(&text);
    if let LogLine::Foreign(text) = &told {
        let mut words = lock(last_words);
        if words.len() == LAST_WORDS {
            words.pop_front();
        }
        words.push_back(text.trim().chars().take(WORDS_BYTES).collect());
    }
    let monitor = Arc::clone(&lock(listener));
    monitor.event(Event::Remote {
        line: &told,
        text: &text,
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastness_format::location::Location;

    fn words(address: &str) -> Vec<String> {
        let command = ServerCommand {
            shell: vec!["ssh".into(), "-x".into()],
            program: "borg".into(),
            options: vec!["--info".into()],
            environment: Vec::new(),
        };
        let location = Location::parse(address.as_bytes(), None).unwrap();
        let words = command.words(&location.host).unwrap_or_default();
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        words.iter().map(text).collect()
    }

    #[test]
    fn commands_are_those_of_borg() {
        assert_eq!(
            words("ssh://backup@nas:2222/./repo"),
            [
                "ssh",
                "-x",
                "-p",
                "2222",
                "backup@nas",
                "borg",
                "serve",
                "--info"
            ]
        );
        assert_eq!(
            words("nas:repo"),
            ["ssh", "-x", "nas", "borg", "serve", "--info"]
        );
        assert_eq!(
            words("ssh://[::1]/repo"),
            ["ssh", "-x", "::1", "borg", "serve", "--info"]
        );
        assert!(words("/repo").is_empty());
    }
}
