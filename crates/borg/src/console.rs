//! The three streams of a run and the person in front of them.
//!
//! stdout carries data and nothing else. When its reader goes away (`borg list | head`) the rest
//! of the data is dropped in silence, as Borg does it. Nothing here waits for ever: a question
//! that nobody can answer is answered with nothing.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::mpsc;
use std::time::Duration;

use crate::environment::Secret;

/// How long an answer may take that does not come from a terminal.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a person.
pub trait Prompt: Send {
    /// Returns one line without its end; nothing when nobody answers.
    fn line(&mut self) -> Option<String>;

    /// Shows the prompt and returns a line that was typed without being shown; nothing when
    /// nobody can be asked.
    fn secret(&mut self, prompt: &str) -> Option<Secret>;
}

/// What a run writes to and reads from.
pub struct Streams {
    /// Data.
    pub stdout: Output,
    /// Everything said about the work.
    pub stderr: Box<dyn Write + Send>,
    /// Width of the terminal behind stderr, if there is one.
    pub stderr_columns: Option<usize>,
    /// Answers questions.
    pub prompt: Box<dyn Prompt>,
}

impl Streams {
    /// Returns the streams of this process.
    pub fn of_process() -> Self {
        let stderr_columns = match io::stderr().is_terminal() {
            true => Some(columns()),
            false => None,
        };
        Self {
            stdout: Output::new(Box::new(io::BufWriter::with_capacity(
                1 << 16,
                io::stdout(),
            ))),
            stderr: Box::new(io::stderr()),
            stderr_columns,
            prompt: Box::new(Terminal),
        }
    }
}

/// The width of the terminal: what `COLUMNS` says, else what the terminal says, else 80.
fn columns() -> usize {
    let said = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    said.filter(|columns| *columns > 0)
        .or_else(|| {
            fastness_sys::process::terminal_size(io::stderr()).map(|(columns, _)| columns.into())
        })
        .filter(|columns| *columns > 0)
        .unwrap_or(80)
}

/// Where data goes; silent once its reader is gone.
pub struct Output {
    inner: Box<dyn Write + Send>,
    gone: bool,
}

impl Output {
    /// Wraps a stream.
    pub fn new(inner: Box<dyn Write + Send>) -> Self {
        Self { inner, gone: false }
    }

    /// Tells whether nobody reads any more.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    fn forgive<T>(&mut self, result: io::Result<T>, instead: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(instead)
            }
            result => result,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gone {
            return Ok(bytes.len());
        }
        let result = self.inner.write(bytes);
        self.forgive(result, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gone {
            return Ok(());
        }
        let result = self.inner.flush();
        self.forgive(result, ())
    }
}

/// The person at the terminal of this process, or whatever feeds its stdin.
struct Terminal;

impl Prompt for Terminal {
    fn line(&mut self) -> Option<String> {
        if io::stdin().is_terminal() {
            return read_line();
        }
        // A pipe may stay open and silent for ever.
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(read_line()));
        receiver.recv_timeout(PATIENCE).ok().flatten()
    }

    fn secret(&mut self, prompt: &str) -> Option<Secret> {
        match rpassword::prompt_password(prompt) {
            Ok(text) => Some(Secret::new(text)),
            Err(_) => {
                let mut stderr = io::stderr();
                let _ = stderr
                    .write_all(prompt.as_bytes())
                    .and_then(|()| stderr.flush());
                let answer = self.line().map(Secret::new);
                let _ = stderr.write_all(b"\n");
                answer
            }
        }
    }
}

fn read_line() -> Option<String> {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => {
            let text = line.strip_suffix('\n').unwrap_or(&line);
            Some(text.strip_suffix('\r').unwrap_or(text).to_owned())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A person whose answers are known beforehand.
    pub(crate) struct Script(VecDeque<String>);

    impl Script {
        pub(crate) fn new(answers: &[&str]) -> Self {
            Self(answers.iter().map(|answer| (*answer).to_owned()).collect())
        }
    }

    impl Prompt for Script {
        fn line(&mut self) -> Option<String> {
            self.0.pop_front()
        }

        fn secret(&mut self, _prompt: &str) -> Option<Secret> {
            self.0.pop_front().map(Secret::new)
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn data_for_a_reader_that_left_is_dropped() {
        let mut output = Output::new(Box::new(Closed));
        assert!(!output.is_gone());
        output.write_all(b"a list").unwrap();
        output.flush().unwrap();
        assert!(output.is_gone());
    }
}
