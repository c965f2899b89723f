//! Files that hold tar streams, with the programs that compress them.
//!
//! Compression is left to a program that runs beside this one: it can be any, and has a core of its
//! own. Which one is told by the name of the file, unless an option names another.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::console::Output;
use crate::context::Context;
use crate::error::{CommandError, errno_text, system_text};
use crate::output::log::Level;

/// Bytes gathered before they are written.
const BUFFER: usize = 128 << 10;

/// Endings of file names, and the program for each.
const PROGRAMS: [(&[&str], &str); 5] = [
    (&[".tar.gz", ".tgz"], "gzip"),
    (&[".tar.bz2", ".tbz"], "bzip2"),
    (&[".tar.xz", ".txz"], "xz"),
    (&[".tar.lz4"], "lz4"),
    (&[".tar.zstd", ".tar.zst"], "zstd"),
];

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the file.
    Compress,
    /// Out of the file.
    Decompress,
}

/// Returns the command that the stream goes through, if there is any. `option` is what was asked
/// for: a command, or `auto`.
pub fn filter(option: &str, file: &OsStr, direction: Direction) -> Option<String> {
    if option != "auto" {
        return Some(option.to_owned()).filter(|command| !command.is_empty());
    }
    let name = file.as_bytes();
    let ends = |ending: &&str| name.ends_with(ending.as_bytes());
    let (_, program) = (PROGRAMS.iter()).find(|(endings, _)| endings.iter().any(ends))?;
    Some(match direction {
        Direction::Compress => (*program).to_owned(),
        Direction::Decompress => format!("{program} -d"),
    })
}

/// Opens a file to be written or read.
fn open(file: &OsStr, open: impl FnOnce(&Path) -> io::Result<File>) -> Result<File, CommandError> {
    let path = Path::new(file);
    open(path).map_err(|error| CommandError::general(errno_text(&error, Some(path))))
}

/// A program that the stream goes through.
struct Filter {
    command: String,
    child: Child,
}

impl Filter {
    fn start(
        context: &Context<'_>,
        command: &str,
        stdin: Stdio,
        stdout: Stdio,
    ) -> Result<Self, CommandError> {
        let failed = |reason: String| {
            let text = format!("filter-process: {reason}");
            let log = context.log();
            log.log(Level::Error, "borg.helpers.process", &text, None);
            CommandError::general(format!("filter {command}: process creation failed"))
        };
        let words = shlex::split(command);
        let words = words.ok_or_else(|| failed("No closing quotation".to_owned()))?;
        let Some((name, arguments)) = words.split_first() else {
            let reason = "an empty command line is not permitted";
            return Err(failed(reason.to_owned()));
        };
        let child = Command::new(name)
            .args(arguments)
            .env_remove("BORG_PASSPHRASE")
            .stdin(stdin)
            .stdout(stdout)
            // Ctrl-C is for this program, which lets the filter end by itself.
            .process_group(0)
            .spawn();
        let child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => failed(format!("executable not found: {name}")),
            io::ErrorKind::PermissionDenied => failed(format!("permission denied: {name}")),
            _ => failed(format!("{name}: {}", system_text(&error))),
        })?;
        Ok(Self {
            command: command.to_owned(),
            child,
        })
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// When it failed.
    fn finish(&mut self) -> Result<(), CommandError> {
        let status = self.child.wait().map_err(|error| {
            CommandError::general(format!("filter {}: {}", self.command, system_text(&error)))
        })?;
        if status.success() {
            return Ok(());
        }
        let code = status
            .code()
            .unwrap_or_else(|| -status.signal().unwrap_or(0));
        let command = &self.command;
        Err(CommandError::general(format!(
            "filter {command} failed, rc={code}"
        )))
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // Nobody waits for the rest of the stream; one that has ended is not affected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A tar stream that is being written.
pub struct TarOutput {
    file: Option<BufWriter<File>>,
    filter: Option<(Filter, Option<BufWriter<ChildStdin>>)>,
}

impl TarOutput {
    /// Makes the file, or uses standard output for `-`, and starts the filter.
    ///
    /// # Errors
    /// When the file cannot be made or the filter cannot be started.
    pub fn create(
        context: &mut Context<'_>,
        file: &OsStr,
        filter: Option<&str>,
    ) -> Result<Self, CommandError> {
        let target = match file.as_bytes() {
            b"-" => None,
            _ => Some(open(file, |path| File::create(path))?),
        };
        let Some(command) = filter else {
            return Ok(Self {
                file: target.map(|file| BufWriter::with_capacity(BUFFER, file)),
                filter: None,
            });
        };
        let _ = context.stdout.flush();
        let stdout = target.map_or_else(Stdio::inherit, Stdio::from);
        let mut filter = Filter::start(context, command, Stdio::piped(), stdout)?;
        let stdin = filter.child.stdin.take();
        let stdin = stdin.map(|stdin| BufWriter::with_capacity(BUFFER, stdin));
        Ok(Self {
            file: None,
            filter: Some((filter, stdin)),
        })
    }

    /// Returns where the stream is to be written.
    pub fn writer<'a>(&'a mut self, stdout: &'a mut Output) -> &'a mut dyn Write {
        match (&mut self.filter, &mut self.file) {
            (Some((_, Some(stdin))), _) => stdin,
            (_, Some(file)) => file,
            _ => stdout,
        }
    }

    /// Ends the stream after it was written, or after that failed.
    ///
    /// # Errors
    /// What went wrong with the filter, which is why writing failed if it did; else `result`.
    pub fn finish(self, result: Result<(), CommandError>) -> Result<(), CommandError> {
        let Some((mut filter, stdin)) = self.filter else {
            return result;
        };
        // Without its standard input the filter comes to its end.
        let written = stdin.map(BufWriter::into_parts);
        drop(written);
        match result {
            Ok(()) => filter.finish(),
            Err(error) => match filter.child.try_wait() {
                // It ended before us: that is the cause and not the consequence.
                Ok(Some(status)) if !status.success() => filter.finish(),
                _ => Err(error),
            },
        }
    }
}

/// A tar stream that is being read.
pub struct TarInput {
    source: Source,
    filter: Option<Filter>,
}

enum Source {
    File(File),
    Stdin(io::Stdin),
    Filter(ChildStdout),
}

impl TarInput {
    /// Opens the file, or takes standard input for `-`, and starts the filter.
    ///
    /// # Errors
    /// When the file cannot be opened or the filter cannot be started.
    pub fn open(
        context: &Context<'_>,
        file: &OsStr,
        filter: Option<&str>,
    ) -> Result<Self, CommandError> {
        let source = match file.as_bytes() {
            b"-" => None,
            _ => Some(open(file, |path| File::open(path))?),
        };
        let Some(command) = filter else {
            return Ok(Self {
                source: source.map_or_else(|| Source::Stdin(io::stdin()), Source::File),
                filter: None,
            });
        };
        let stdin = source.map_or_else(Stdio::inherit, Stdio::from);
        let mut filter = Filter::start(context, command, stdin, Stdio::piped())?;
        let output = filter.child.stdout.take();
        let output = output.ok_or_else(|| CommandError::general("filter without an output"))?;
        Ok(Self {
            source: Source::Filter(output),
            filter: Some(filter),
        })
    }

    /// Splits what is read from what is to be done when all is read.
    pub fn split(self) -> (impl Read, TarInputEnd) {
        (self.source, TarInputEnd(self.filter))
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Stdin(stdin) => stdin.read(buffer),
            Self::Filter(output) => output.read(buffer),
        }
    }
}

/// Waits for the end of the filter behind a stream.
pub struct TarInputEnd(Option<Filter>);

impl TarInputEnd {
    /// Reads what is left of the stream, so that the filter can end, and waits for that.
    ///
    /// # Errors
    /// When the filter failed.
    pub fn finish(&mut self, rest: &mut dyn Read) -> Result<(), CommandError> {
        let Some(filter) = &mut self.0 else {
            return Ok(());
        };
        io::copy(rest, &mut io::sink())
            .map_err(|error| CommandError::general(system_text(&error)))?;
        filter.finish()
    }

    /// Tells what went wrong with the filter if that may be why reading failed.
    pub fn explain(&mut self, error: CommandError) -> CommandError {
        let ended = self.0.as_mut().and_then(|filter| {
            let status = filter.child.try_wait().ok().flatten()?;
            (!status.success()).then(|| filter.finish().err()).flatten()
        });
        ended.unwrap_or(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str, direction: Direction) -> Option<String> {
        filter("auto", OsStr::new(file), direction)
    }

    #[test]
    fn the_name_of_the_file_tells_the_program() {
        assert_eq!(
            of("a.tar.zst", Direction::Compress).as_deref(),
            Some("zstd")
        );
        assert_eq!(
            of("a.tgz", Direction::Decompress).as_deref(),
            Some("gzip -d")
        );
        assert_eq!(of("a.tar", Direction::Compress), None);
        assert_eq!(of("-", Direction::Compress), None);
    }

    #[test]
    fn a_command_given_counts_and_an_empty_one_is_none() {
        let file = OsStr::new("a.tar.gz");
        let given = filter("pigz -9", file, Direction::Compress);
        assert_eq!(given.as_deref(), Some("pigz -9"));
        assert_eq!(filter("", file, Direction::Compress), None);
    }
}
