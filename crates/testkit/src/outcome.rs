//! What a run of a program gave: exit, output, and ways to assert them.

use std::fmt;

use serde_json::Value;

/// How a program ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It ended by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It ran longer than its limit and was killed.
    TimedOut,
}

/// The result of a finished run. Assert it: with [`Outcome::ok`], [`Outcome::exits`] or by hand.
#[must_use]
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command as run, for messages.
    pub command: String,
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// Asserts that the run succeeded without warnings.
    #[track_caller]
    pub fn ok(self) -> Outcome {
        self.exits(0)
    }

    /// Asserts the exit code, and that the program did not panic.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.exit, Exit::Code(code), "unexpected end of {self}");
        self.tidy()
    }

    /// Asserts that the program neither panicked nor hung.
    #[track_caller]
    pub fn tidy(self) -> Outcome {
        let text = self.err();
        assert_ne!(self.exit, Exit::TimedOut, "{self}");
        assert!(!text.contains("panicked at"), "{self}");
        self
    }

    /// Returns the exit code; panics when the program did not end by itself.
    #[track_caller]
    pub fn code(&self) -> i32 {
        match self.exit {
            Exit::Code(code) => code,
            _ => panic!("no exit code: {self}"),
        }
    }

    /// Returns whether a SIGKILL ended the run.
    pub fn was_killed(&self) -> bool {
        matches!(self.exit, Exit::Signal(9) | Exit::Code(137))
    }

    /// Returns standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Returns the lines of standard output.
    pub fn lines(&self) -> Vec<String> {
        self.out().lines().map(str::to_owned).collect()
    }

    /// Parses standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// Parses standard output as one JSON document per line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("no JSON ({error}): {line:?} in {self}"))
        };
        self.out().lines().map(parse).collect()
    }

    /// Returns the records that `--log-json` wrote to standard error.
    pub fn log_records(&self) -> Vec<Value> {
        self.err()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Returns the message ids of the logged errors and warnings, in order.
    pub fn message_ids(&self) -> Vec<String> {
        let severe = |record: &Value| {
            matches!(
                record["levelname"].as_str(),
                Some("ERROR" | "CRITICAL" | "WARNING")
            )
        };
        let id = |record: &Value| record["msgid"].as_str().map(str::to_owned);
        self.log_records()
            .iter()
            .filter(|record| severe(record))
            .filter_map(id)
            .collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "`{}`: {:?}", self.command, self.exit)?;
        writeln!(f, "--- stdout\n{}", shortened(&self.out()))?;
        write!(f, "--- stderr\n{}", shortened(&self.err()))
    }
}

/// Cuts very long output in the middle, to keep failure messages readable.
fn shortened(text: &str) -> String {
    const KEPT: usize = 6000;
    let count = text.chars().count();
    if count <= 2 * KEPT {
        return text.to_owned();
    }
    let head: String = text.chars().take(KEPT).collect();
    let tail: String = text.chars().skip(count - KEPT).collect();
    format!("{head}\n[… {} characters …]\n{tail}", count - 2 * KEPT)
}
