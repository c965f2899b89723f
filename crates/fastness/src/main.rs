//! The `fastness` binary: picks the persona by the name it is called under.
//!
//! Called as `borg` (or with `borg` as first argument) it is Borg; called as `borgfs` it mounts
//! archives; called as `fastness` or `borgmatic` it does what configuration files say. One file,
//! several links.

mod commands;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use fastness_borg::BORG_VERSION;
use fastness_borg::console::Streams;
use fastness_borg::environment::Environment;

fn main() -> ExitCode {
    fastness_sys::memory::return_large_blocks();
    // A core dump would hold keys.
    fastness_sys::memory::forbid_core_dumps();
    let command_line: Vec<OsString> = std::env::args_os().collect();
    let program = command_line
        .first()
        .map(Path::new)
        .and_then(Path::file_stem);
    match program.and_then(|name| name.to_str()) {
        Some("borg") => borg(&command_line),
        Some("borgfs") => borgfs(&command_line),
        Some("borgmatic") => configured("borgmatic", &command_line),
        _ => fastness(&command_line),
    }
}

/// Runs Borg's command line.
fn borg(command_line: &[OsString]) -> ExitCode {
    let environment = Environment::from_process();
    let code = fastness_borg::run(command_line, Streams::of_process(), &environment);
    ExitCode::from(code.code())
}

/// Mounts archives.
fn borgfs(command_line: &[OsString]) -> ExitCode {
    let environment = Environment::from_process();
    let code = fastness_borg::run_borgfs(command_line, Streams::of_process(), &environment);
    ExitCode::from(code.code())
}

/// Runs Borg's command line behind the word `borg`, or what else the first word says: by itself it
/// does what configuration files say.
fn fastness(command_line: &[OsString]) -> ExitCode {
    let arguments = command_line.get(1..).unwrap_or_default();
    if let Some((command, rest)) = commands::find(arguments) {
        return (command.run)(rest);
    }
    match arguments.first().and_then(|argument| argument.to_str()) {
        Some("borg") => borg(arguments),
        Some("-V" | "--version") => print(&format!(
            "fastness {} (borg {BORG_VERSION})\n",
            env!("CARGO_PKG_VERSION")
        )),
        Some("-h" | "--help") => {
            let code = configured("fastness", command_line);
            print(&commands::overview());
            code
        }
        _ => configured("fastness", command_line),
    }
}

/// Runs actions on the repositories of configuration files.
fn configured(program: &str, command_line: &[OsString]) -> ExitCode {
    let words = command_line.get(1..).unwrap_or_default();
    ExitCode::from(fastness_borgmatic::main(program, words))
}

fn print(text: &str) -> ExitCode {
    // A reader that left wants no more of it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
