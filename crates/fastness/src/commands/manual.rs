//! Completions for shells and manual pages, made of the parsers of Borg's command line.
//!
//! They are made when asked for, by the program that they describe, and so are never older than
//! it. Packages call `fastness man` and `fastness completions` while they are built.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use fastness_borg::commands::{COMMANDS, tree};

/// How `completions` is called.
const COMPLETIONS: &str = "Usage: fastness completions bash|zsh|fish";

/// How `man` is called.
const MAN: &str = "Usage: fastness man DIRECTORY";

/// Prints the script that completes `borg` in a shell, which the one word names.
///
/// # Errors
/// A text for people.
pub fn completions(words: &[OsString]) -> Result<(), String> {
    let [shell] = words else {
        return Err(format!("one argument is needed\n{COMPLETIONS}"));
    };
    match shell.to_str() {
        Some("bash") => script(Shell::Bash),
        Some("zsh") => script(Shell::Zsh),
        Some("fish") => script(Shell::Fish),
        _ => {
            let shell = shell.to_string_lossy();
            Err(format!("no completions for {shell}\n{COMPLETIONS}"))
        }
    }
}

/// Writes manual pages to the directory that the one word names.
///
/// # Errors
/// A text for people.
pub fn pages(words: &[OsString]) -> Result<(), String> {
    let [directory] = words else {
        return Err(format!("one argument is needed\n{MAN}"));
    };
    let directory = Path::new(directory);
    write_pages(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

/// Prints the script that completes `borg` in a shell.
fn script(shell: Shell) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(), "borg", &mut script);
    let mut stdout = io::stdout();
    let written = stdout.write_all(&script).and_then(|()| stdout.flush());
    written.map_err(|error| format!("stdout: {error}"))
}

/// Writes a page for Borg's command line, one for each group of commands and one for each command.
fn write_pages(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let all = tree();
    for group in all.get_subcommands() {
        if group.has_subcommands() {
            page(directory, &["borg", group.get_name()], group.clone())?;
        }
    }
    page(directory, &["borg"], all.clone())?;
    for entry in COMMANDS {
        let command = entry.command();
        let explanation = command.get_about().cloned().unwrap_or_default();
        let command = command.about(entry.summary()).long_about(explanation);
        let words: Vec<&str> = ["borg"].iter().chain(entry.words).copied().collect();
        page(directory, &words, command)?;
    }
    Ok(())
}

fn page(directory: &Path, words: &[&str], command: Command) -> io::Result<()> {
    let name = words.join("-");
    let command = command.name(name.clone()).display_name(name.clone());
    let manual = Man::new(command.bin_name(words.join(" ")))
        .title(name.to_uppercase())
        .source(concat!("Fastness ", env!("CARGO_PKG_VERSION")))
        .manual("Backup");
    let mut text = Vec::new();
    manual.render(&mut text)?;
    fs::write(directory.join(format!("{name}.1")), text)
}
