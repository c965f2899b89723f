//! `fastness digest`: a summary of some days by mail.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fastness_borgmatic::config::found::Found;
use fastness_borgmatic::report::digest::Period;
use fastness_borgmatic::run::World;
use fastness_borgmatic::run::digest::{compose, send};

/// Mail a summary of the last day or week
///
/// Tells for each repository what was saved, what changed, what failed and what somebody should
/// do, to those whom "fastness: mail:" names. With "digest: daily" or "digest: weekly" in it,
/// "fastness timer install" makes a timer for this.
#[derive(Debug, Parser)]
#[command(name = "fastness digest")]
struct Digest {
    /// Configuration files or directories of them, instead of those in the usual places
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    config: Vec<PathBuf>,
    /// Print it, and send nothing
    #[arg(long)]
    print: bool,
}

/// Sends it; the words are those behind `digest`.
pub fn run(words: &[OsString]) -> ExitCode {
    let program = OsString::from("fastness digest");
    let digest = match Digest::try_parse_from(std::iter::once(&program).chain(words)) {
        Ok(digest) => digest,
        Err(error) => {
            // A reader that left wants no more of it.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(2),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let found = Found::of_process(&digest.config);
    let mut complaints = found.complaints();
    let world = World::of_process();
    let mut asked = false;
    for configuration in &found.configurations {
        if digest.print {
            let [subject, body] = compose(configuration, &world);
            let _ = write!(std::io::stdout(), "{subject}\n\n{body}");
        } else if Period::of(configuration).is_some() {
            asked = true;
            let message = compose(configuration, &world);
            if let Err(error) = send(configuration, &world, message) {
                let path = configuration.path.display();
                complaints.push(format!("{path}: the summary was not sent: {error}"));
            }
        }
    }
    if !digest.print && !asked && complaints.is_empty() {
        let text = "no configuration has \"digest: daily\" or \"digest: weekly\" under \"fastness: mail:\"";
        complaints.push(text.to_owned());
    }
    match complaints.is_empty() {
        true => ExitCode::SUCCESS,
        false => super::ended(Err(complaints.join("\n"))),
    }
}
