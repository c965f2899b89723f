//! The person in front of `fastness setup`, or nobody.

use std::io::{self, BufRead, IsTerminal, Write};

use fastness_borg::console::Streams;

/// Asks, where there is somebody.
pub struct Person {
    there: bool,
}

impl Person {
    /// The one at this terminal; nobody when stdin or stdout is something else, or nobody wants
    /// to be `asked`.
    pub fn new(asked: bool) -> Self {
        Self {
            there: asked && io::stdin().is_terminal() && io::stdout().is_terminal(),
        }
    }

    /// Tells whether there is somebody to ask.
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// Says something.
    pub fn say(&self, text: &str) {
        let mut out = io::stdout();
        // A reader that left wants no more of it.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Says what only somebody who is asked needs to know.
    pub fn explain(&self, text: &str) {
        if self.there {
            self.say(text);
        }
    }

    /// Asks for a line; an empty one means the proposal.
    ///
    /// # Errors
    /// When the input ends.
    pub fn line(&self, question: &str, proposal: &str) -> Result<String, String> {
        let mut out = io::stdout();
        let bracket = match proposal {
            "" => String::new(),
            proposal => format!(" [{proposal}]"),
        };
        let _ = write!(out, "{question}{bracket}: ").and_then(|()| out.flush());
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line) {
            Ok(1..) => {}
            Ok(0) => return Err("\nthe input ended; nothing was written".to_owned()),
            Err(error) => return Err(format!("stdin: {error}; nothing was written")),
        }
        Ok(match line.trim() {
            "" => proposal.to_owned(),
            line => line.to_owned(),
        })
    }

    /// Asks a question that is answered with yes or no.
    ///
    /// # Errors
    /// When the input ends.
    pub fn agrees(&self, question: &str, usually: bool) -> Result<bool, String> {
        let proposal = if usually { "Y/n" } else { "y/N" };
        loop {
            match self.line(question, proposal)?.to_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                answer if answer == proposal.to_lowercase() => return Ok(usually),
                _ => self.say("Please answer y or n."),
            }
        }
    }

    /// Asks for something that is not shown.
    ///
    /// # Errors
    /// When the input ends.
    pub fn secret(&self, question: &str) -> Result<String, String> {
        let answer = Streams::of_process().prompt.secret(question);
        let answer = answer.ok_or_else(|| "\nthe input ended; nothing was written".to_owned())?;
        Ok(answer.reveal().to_owned())
    }
}
