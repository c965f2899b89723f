//! `fastness timer`: systemd units that run configurations by themselves.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use fastness_borgmatic::config::found::Found;
use fastness_borgmatic::timers::install::{self, Installation, InstalledTimer, Options};
use fastness_borgmatic::timers::next_of;

/// Let systemd run configurations by themselves
///
/// The times come from "fastness: schedule:" in the configuration; without it archives are made
/// four times a day at a random moment within half an hour, prune and compact follow each, and
/// checks are looked at daily (each has its own frequency). A run whose time passed while the
/// machine was off is caught up.
#[derive(Debug, Parser)]
#[command(name = "fastness timer")]
struct Timer {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write services and timers for configurations
    ///
    /// They are examined by systemd before they are put into place, and how exposed each service
    /// is, is told. Nothing is enabled without --enable.
    Install {
        #[command(flatten)]
        place: Place,
        /// Start the timers, now and with the machine
        #[arg(long)]
        enable: bool,
    },
    /// Show the timers that are installed and when they elapse
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Stop and remove the units that "timer install" made
    Remove {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Configuration files or directories of them, instead of those in the usual places
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    config: Vec<PathBuf>,
    /// Units of the user's own systemd, not of the machine's
    #[arg(long)]
    user: bool,
    /// Keep the units here; systemd is not told of them
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl Place {
    fn options(&self, enable: bool) -> Options {
        Options {
            user: self.user,
            enable,
            directory: self.directory.clone(),
        }
    }
}

/// Does it; the words are those behind `timer`.
pub fn run(words: &[OsString]) -> ExitCode {
    let program = OsString::from("fastness timer");
    let timer = match Timer::try_parse_from(std::iter::once(&program).chain(words)) {
        Ok(timer) => timer,
        Err(error) => {
            // A reader that left wants no more of it.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(2),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let done = match &timer.what {
        What::Install { place, enable } => install_all(place, *enable),
        What::List { place } => list(place),
        What::Remove { place } => remove(place),
    };
    let text = match done {
        Ok(text) => text,
        Err(error) => return super::ended(Err(error)),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn install_all(place: &Place, enable: bool) -> Result<String, String> {
    let found = Found::of_process(&place.config);
    let complaints = found.complaints();
    if !complaints.is_empty() {
        return Err(complaints.join("\n"));
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let options = place.options(enable);
    let mut text = String::new();
    for configuration in &found.configurations {
        let installed = install::install(configuration, &program, &options, &variable);
        tell(&mut text, &installed.map_err(|error| error.to_string())?);
    }
    Ok(text)
}

/// A string takes everything.
fn tell(text: &mut String, installation: &Installation) {
    for file in &installation.files {
        let _ = writeln!(text, "{}", file.display());
    }
    for file in &installation.removed {
        let _ = writeln!(text, "removed {}", file.display());
    }
    for (name, level) in &installation.exposure {
        let _ = writeln!(text, "{name}: systemd's exposure level {level}");
    }
    if installation.enabled {
        let _ = writeln!(text, "the timers are at work");
    }
    for note in &installation.notes {
        let _ = writeln!(text, "{note}");
    }
}

fn list(place: &Place) -> Result<String, String> {
    let timers = install::list(&place.options(false), &variable);
    let mut timers = timers.map_err(|error| error.to_string())?;
    let wanted = |timer: &InstalledTimer| {
        let mut paths = place.config.iter();
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        place.config.is_empty() || paths.any(|path| absolute(path) == timer.configuration)
    };
    timers.retain(wanted);
    if timers.is_empty() {
        return Ok("no timers are installed\n".to_owned());
    }
    let rows: Vec<[String; 5]> = timers.iter().map(row).collect();
    let headings = ["TIMER", "WHEN", "NEXT", "ENABLED", "CONFIGURATION"].map(str::to_owned);
    let mut text = String::new();
    let all = || std::iter::once(&headings).chain(&rows);
    let mut widths = [0; 5];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in all() {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:<width$}  "))
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    Ok(text)
}

fn row(timer: &InstalledTimer) -> [String; 5] {
    let name = timer.file.file_name().unwrap_or_default();
    let calendar = timer.calendar.as_ref();
    [
        name.to_string_lossy().into_owned(),
        calendar.map_or_else(|| "?".to_owned(), ToString::to_string),
        calendar.and_then(next_of).unwrap_or_else(|| "-".to_owned()),
        if timer.enabled { "yes" } else { "no" }.to_owned(),
        timer.configuration.display().to_string(),
    ]
}

fn remove(place: &Place) -> Result<String, String> {
    let removed = install::remove(&place.config, &place.options(false), &variable);
    let removed = removed.map_err(|error| error.to_string())?;
    if removed.is_empty() {
        return Ok("no units of this program are installed\n".to_owned());
    }
    let lines = removed.iter();
    Ok(lines
        .map(|path| format!("removed {}\n", path.display()))
        .collect())
}
