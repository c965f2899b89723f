//! Another Borg than ours (`local_path`): a process that is given the same words.
//!
//! The passphrase reaches it through a pipe whose number is in `BORG_PASSPHRASE_FD`; it stands in
//! no argument and in no environment. A signal that ends this program ends the other one first.

use std::ffi::OsStr;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use fastness_borg::environment::Secret;
use fastness_borg::signals::{self, Watch};

use crate::hooks::command::{has_own_group, terminate};

use super::borg::Invocation;

/// What a pipe takes in any case before somebody reads it.
const PIPE_BYTES: usize = 4096;

/// How often a process is asked whether it has ended.
const TICK: Duration = Duration::from_millis(20);

/// Tells whether a `local_path` means this program: its Borg by the plain name, or its own file.
pub fn is_ours(program: &str, path: Option<&OsStr>) -> bool {
    if program == "borg" {
        return true;
    }
    let Ok(own) = std::env::current_exe().and_then(std::fs::canonicalize) else {
        return false;
    };
    found(program, path).is_some_and(|file| file == own)
}

/// The file that a program is started from.
fn found(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.contains('/') {
        return std::fs::canonicalize(program).ok();
    }
    std::env::split_paths(path?)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .and_then(|file| std::fs::canonicalize(file).ok())
}

/// Runs a program and returns its exit code; that of a process which a signal ended is 128 and
/// the number of the signal.
///
/// # Errors
/// When it cannot be started or given its passphrase.
pub fn run(program: &str, invocation: Invocation) -> io::Result<u8> {
    if !invocation.additions.streams.is_empty() {
        let text = format!(
            "{program} (local_path) makes the archive, but dumps of databases and inventories only get into archives \
             that this program makes: remove local_path, or save them with a configuration of their own"
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    if invocation.foresight.is_some() {
        let text = format!(
            "{program} (local_path) cannot look ahead: call without --estimate, or remove local_path"
        );
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    let mut command = Command::new(program);
    command
        .args(&invocation.arguments)
        .env_clear()
        .envs(&invocation.variables)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = &invocation.directory {
        command.current_dir(directory);
    }
    if has_own_group() {
        command.process_group(0);
    }
    let passphrase = invocation.passphrase.as_ref().map(pipe).transpose()?;
    if let Some(pipe) = &passphrase {
        command.env("BORG_PASSPHRASE_FD", pipe.as_raw_fd().to_string());
    }
    let mut child = command.spawn().map_err(|error| {
        let text = format!("the program {program} (local_path) cannot be started: {error}");
        io::Error::new(error.kind(), text)
    })?;
    drop(passphrase);
    let watch = (!signals::end_wanted()).then(Watch::begin);
    let outputs = (child.stdout.take(), child.stderr.take());
    let status = std::thread::scope(|scope| {
        scope.spawn(move || pass_on(outputs.0, invocation.stdout));
        scope.spawn(move || pass_on(outputs.1, invocation.stderr));
        wait(&mut child, watch.is_some())
    })?;
    let ended = watch.is_some().then(signals::code_of_end).flatten();
    Ok(ended.unwrap_or_else(|| code(status)))
}

/// A pipe with the passphrase in it, which the next process inherits.
fn pipe(secret: &Secret) -> io::Result<PipeReader> {
    let text = secret.reveal().as_bytes();
    if text.len() > PIPE_BYTES {
        let message = format!("the passphrase is longer than {PIPE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(text)?;
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty())?;
    Ok(reader)
}

/// Passes on what a process writes until it has closed its side.
fn pass_on(source: Option<impl Read>, mut sink: Box<dyn Write + Send>) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            // A reader that left must not keep the process from its end.
            Ok(count) => drop(sink.write_all(buffer.get(..count).unwrap_or_default())),
        }
    }
}

fn wait(child: &mut Child, watching: bool) -> io::Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if watching && !told && signals::end_wanted() {
            told = true;
            terminate(child);
        }
        std::thread::sleep(TICK);
    }
}

fn code(status: ExitStatus) -> u8 {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    number
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_name_and_our_own_file_are_ours() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("borg-of-ours");
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &link).unwrap();
        let path = Some(directory.path().as_os_str());
        assert!(is_ours("borg", None));
        assert!(is_ours("borg-of-ours", path));
        assert!(is_ours(link.to_str().unwrap(), None));
        assert!(!is_ours("borg-of-ours", None));
        assert!(!is_ours("/bin/sh", path));
        assert!(!is_ours("borg1", path));
    }
}
