//! `fastness passphrase`: a passphrase of words that were drawn by chance.
//!
//! The strength lies in the drawing alone: whoever knows the list, the number of words and this
//! program still has to try every combination. The list and its licence are in the directory
//! beside this file.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use super::{ended, parsed};

/// The words, one on a line.
static WORDS: &str = include_str!("passphrase/words.txt");

/// Words of a passphrase that protects backups for as long as they are kept.
pub const USUAL: u8 = 7;

/// Make a passphrase of random words
///
/// The words are drawn from the EFF's long list of 7,776 words, each as likely as any other. Seven
/// of them, the usual number, are beyond the reach of guessing: 90 bits. Write them down on paper
/// and keep that apart from the machine.
#[derive(Debug, Parser)]
#[command(name = "fastness passphrase")]
struct Arguments {
    /// How many words
    #[arg(long, value_name = "N", default_value_t = USUAL, value_parser = clap::value_parser!(u8).range(1..=64))]
    words: u8,
    /// What stands between the words
    #[arg(long, value_name = "TEXT", default_value = " ")]
    separator: String,
}

/// Prints a passphrase; what is known about it goes to stderr.
pub fn run(words: &[OsString]) -> ExitCode {
    match parsed::<Arguments>(words) {
        Ok(arguments) => ended(print(&arguments)),
        Err(code) => code,
    }
}

fn print(arguments: &Arguments) -> Result<(), String> {
    let passphrase = make(arguments.words, &arguments.separator)?;
    writeln!(io::stdout(), "{passphrase}").map_err(|error| format!("stdout: {error}"))?;
    let strength = describe(arguments.words, &arguments.separator);
    // The passphrase is out; that nobody reads about it does not matter.
    let _ = writeln!(io::stderr(), "{strength}");
    if io::stdout().is_terminal() {
        let advice = "Write it down on paper and keep that somewhere else than this machine.";
        let _ = writeln!(io::stderr(), "{advice}");
    }
    Ok(())
}

/// Draws this many words.
///
/// # Errors
/// When the system gives no random bytes.
pub fn make(words: u8, separator: &str) -> Result<String, String> {
    let list: Vec<&str> = WORDS.lines().collect();
    let mut drawn = Vec::with_capacity(words.into());
    for _ in 0..words {
        let number = below(list.len(), &mut || {
            let mut bytes = [0; 2];
            getrandom::fill(&mut bytes).map_err(|error| format!("random bytes: {error}"))?;
            Ok(u16::from_le_bytes(bytes))
        })?;
        drawn.extend(list.get(number).copied());
    }
    Ok(drawn.join(separator))
}

/// Draws a number below `bound`, each as likely as any other: a remainder would prefer low ones,
/// and so what lies beyond the last whole multiple of `bound` is drawn again.
fn below(bound: usize, draw: &mut dyn FnMut() -> Result<u16, String>) -> Result<usize, String> {
    let all = usize::from(u16::MAX) + 1;
    let usable = all - all % bound;
    loop {
        let number = usize::from(draw()?);
        if number < usable {
            return Ok(number % bound);
        }
    }
}

/// Tells how strong a passphrase of so many words is.
pub fn describe(words: u8, separator: &str) -> String {
    let count = WORDS.lines().count();
    let bits = f64::from(words) * (count as f64).log2();
    let between = match separator {
        "" => ", but words that run together can be read in several ways: a little less",
        _ => "",
    };
    let plural = if words == 1 { "word" } else { "words" };
    format!("{words} {plural} drawn from {count}: {bits:.1} bits of entropy{between}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_7776_different_plain_words() {
        let mut words: Vec<&str> = WORDS.lines().collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 7776);
        let plain = |word: &&str| {
            (3..=9).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        assert!(words.iter().all(plain));
    }

    #[test]
    fn every_number_is_drawn_equally_often() {
        let mut next = 0..=u16::MAX;
        let mut counts = vec![0; 7776];
        while let Ok(number) = below(7776, &mut || next.next().ok_or_else(String::new)) {
            *counts.get_mut(number).unwrap() += 1;
        }
        assert_eq!(counts, vec![8; 7776]);
    }

    #[test]
    fn seven_words_have_ninety_bits() {
        assert_eq!(
            describe(7, " "),
            "7 words drawn from 7776: 90.5 bits of entropy"
        );
        let passphrase = make(7, "-").unwrap();
        assert!(passphrase.split('-').count() >= 7);
        assert_ne!(passphrase, make(7, "-").unwrap());
    }
}
