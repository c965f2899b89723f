//! The person in front of a recovery: is told what happens, and asked before each step.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Tells whether somebody can be asked.
pub fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// Tells something.
pub fn say(text: &str) {
    // The work goes on, whoever listens.
    let _ = writeln!(io::stdout(), "{text}");
}

/// Warns of something.
pub fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "fastness: warning: {text}");
}

/// What a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Do it.
    Yes,
    /// Leave it out.
    Skip,
    /// End here.
    Quit,
}

/// Asks before a step.
pub fn ask(question: &str) -> Answer {
    loop {
        let _ = write!(io::stdout(), "{question} [yes/skip/quit] ");
        let _ = io::stdout().flush();
        let mut line = String::new();
        if !matches!(io::stdin().read_line(&mut line), Ok(count) if count > 0) {
            return Answer::Quit;
        }
        match line.trim().to_lowercase().as_str() {
            "" | "y" | "yes" => return Answer::Yes,
            "s" | "skip" | "n" | "no" => return Answer::Skip,
            "q" | "quit" => return Answer::Quit,
            _ => {}
        }
    }
}

/// A time as people say it.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..=9 => format!("{:.1} s", time.as_secs_f64()),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_do() {
        let said = [1.23, 75.0, 600.5, 7300.0].map(|s| span(Duration::from_secs_f64(s)));
        assert_eq!(said, ["1.2 s", "75 s", "10 min 0 s", "2 h 1 min"]);
    }
}
