//! The `fastness` binary: picks the persona by the name it is called under.
//!
//! Called as `borg` (or with `borg` as first argument) it is Borg; called as `fastness` it has
//! commands of its own. One file, several links.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use fastness_borg::BORG_VERSION;
use fastness_borg::console::Streams;
use fastness_borg::environment::Environment;

const USAGE: &str = "\
Usage: fastness borg <COMMAND> ...    BorgBackup's command line
       fastness --version

Called under the name borg, it is BorgBackup's command line.
";

fn main() -> ExitCode {
    let command_line: Vec<OsString> = std::env::args_os().collect();
    let program = command_line
        .first()
        .map(Path::new)
        .and_then(Path::file_name);
    match program.and_then(|name| name.to_str()) {
        Some("borg") => borg(&command_line),
        Some("borgfs") => refuse("borgfs: mounting archives is not offered yet"),
        Some("borgmatic") => refuse("borgmatic: not offered yet under this name"),
        _ => fastness(&command_line),
    }
}

/// Runs Borg's command line.
fn borg(command_line: &[OsString]) -> ExitCode {
    let environment = Environment::from_process();
    let code = fastness_borg::run(command_line, Streams::of_process(), &environment);
    ExitCode::from(code.code())
}

/// Runs a command of its own.
fn fastness(command_line: &[OsString]) -> ExitCode {
    let arguments = command_line.get(1..).unwrap_or_default();
    match arguments.first().and_then(|argument| argument.to_str()) {
        Some("borg") => borg(arguments),
        Some("-V" | "--version") => print(&format!(
            "fastness {} (borg {BORG_VERSION})\n",
            env!("CARGO_PKG_VERSION")
        )),
        None | Some("-h" | "--help" | "help") => print(USAGE),
        Some(other) => {
            let _ = std::io::stderr().write_all(USAGE.as_bytes());
            refuse(&format!("fastness: unknown command: {other}"))
        }
    }
}

fn print(text: &str) -> ExitCode {
    // A reader that left wants no more of it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn refuse(reason: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{reason}");
    ExitCode::from(2)
}
