//! `fastness status`: how each repository stands, for people, programs and monitoring.
//!
//! It reads what runs remember on this machine and never opens a repository.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fastness_borgmatic::config::found::Found;
use fastness_borgmatic::report::files::Document;
use fastness_borgmatic::report::present::Present;
use fastness_borgmatic::report::standing::Health;
use fastness_borgmatic::report::table::table;

/// The exit code when the state cannot be found out.
const UNKNOWN: u8 = 3;

/// Show how each repository stands
///
/// Tells when an archive was last made, how much the repository stores and what the newest archive
/// added, when the next run is due, when each check last ran, and what somebody should look at. It
/// reads what runs have remembered on this machine, so it answers at once, whether or not the
/// repository can be reached.
///
/// The exit code is for monitoring: 0 when all is well, 1 when somebody should look (a scheduled
/// run did not happen, the newest archive is old, a check is overdue), 2 when the last run failed
/// or there is no archive, 3 when that cannot be found out (a configuration is not valid).
#[derive(Debug, Parser)]
#[command(name = "fastness status")]
struct Status {
    /// Configuration files or directories of them, instead of those in the usual places
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    config: Vec<PathBuf>,
    /// Only repositories with this label or path
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How old the newest archive may be where no schedule is configured, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 48)]
    max_age: u64,
}

/// Shows it; the words are those behind `status`.
pub fn run(words: &[OsString]) -> ExitCode {
    let program = OsString::from("fastness status");
    let status = match Status::try_parse_from(std::iter::once(&program).chain(words)) {
        Ok(status) => status,
        Err(error) => {
            // A reader that left wants no more of it.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(UNKNOWN),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let found = Found::of_process(&status.config);
    let complaints = found.complaints();
    let mut stderr = std::io::stderr();
    for line in &complaints {
        let _ = writeln!(stderr, "{line}");
    }
    let max_age = Duration::from_secs(status.max_age.saturating_mul(3600));
    let name = status.repository.as_deref();
    let present = Present::of_process(&found.configurations, name, max_age);
    if let (Some(name), [], []) = (name, present.standings.as_slice(), complaints.as_slice()) {
        let _ = writeln!(
            stderr,
            "Repository {name:?} not found in configuration files"
        );
        return ExitCode::from(UNKNOWN);
    }
    let text = match status.json {
        true => {
            let document = Document::new(&present.standings, present.now);
            document.to_json() + "\n"
        }
        false if present.standings.is_empty() => String::new(),
        false => table(&present.standings, present.now),
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    let health = present.standings.iter().map(|standing| standing.health);
    match (complaints.is_empty(), health.max()) {
        (false, _) => ExitCode::from(UNKNOWN),
        (true, health) => ExitCode::from(health.unwrap_or(Health::Ok) as u8),
    }
}
