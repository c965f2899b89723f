//! What `create` reads beside trees: standard input, the output of a command, lists of paths.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

use fastness_engine::create::{Root, Stream, StreamSource};
use fastness_sys::users::{self, Accounts};

use super::Create;
use crate::error::{CommandError, errno_text, system_text};

/// A command whose output is stored, or names what is stored.
pub struct RunningCommand {
    child: Child,
    name: OsString,
}

impl RunningCommand {
    /// Starts the command that stands in place of paths; returns it with its output.
    fn start(words: &[OsString]) -> Result<(Self, OwnedFd), CommandError> {
        let failed = |error: &io::Error, name: &OsString| {
            let text = errno_text(error, Some(name.as_ref()));
            CommandError::command(format!("Failed to execute command: {text}"))
        };
        let (name, arguments) = words
            .split_first()
            .ok_or_else(|| CommandError::usage("No command given."))?;
        let mut child = Command::new(name)
            .args(arguments)
            .env_remove("BORG_PASSPHRASE")
            .stdout(Stdio::piped())
            // Ctrl-C is for this program, which lets the command end by itself.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&error, name))?;
        let output = child.stdout.take().map(OwnedFd::from);
        let output = output.ok_or_else(|| failed(&io::ErrorKind::BrokenPipe.into(), name))?;
        Ok((
            Self {
                child,
                name: name.clone(),
            },
            output,
        ))
    }

    /// Waits for the end of the command.
    ///
    /// # Errors
    /// When it failed.
    pub fn finish(&mut self) -> Result<(), CommandError> {
        let name = self.name.to_string_lossy();
        let status = self.child.wait().map_err(|error| {
            CommandError::command(format!("Command '{name}': {}", system_text(&error)))
        })?;
        if status.success() {
            return Ok(());
        }
        let code = status
            .code()
            .unwrap_or_else(|| -status.signal().unwrap_or(0));
        Err(CommandError::command(format!(
            "Command '{name}' exited with status {code}"
        )))
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // Without a reader it would wait for ever; one that has ended is not affected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is stored, and the command that must end well for it to count.
#[derive(Default)]
pub struct Input {
    /// Where the walk begins, or what is stored without one.
    pub roots: Vec<Root>,
    /// Data that does not come from the file system.
    pub streams: Vec<Stream>,
    /// The command behind it.
    pub command: Option<RunningCommand>,
}

impl Create {
    /// Finds out what is to be stored; `roots` are those that patterns named.
    pub(super) fn input(&self, roots: Vec<Vec<u8>>) -> Result<Input, CommandError> {
        if self.content_from_command {
            return self.command_output();
        }
        if self.paths_from_stdin || self.paths_from_command {
            let roots = self
                .listed_paths()?
                .iter()
                .map(|path| Root::new(path))
                .collect();
            return Ok(Input {
                roots,
                ..Input::default()
            });
        }
        let mut input = Input::default();
        let given = self.paths.iter().map(|path| path.as_bytes().to_vec());
        for path in roots.into_iter().chain(given) {
            if path == b"-" {
                // Who names it twice finds that it ended the first time.
                let stdin = match input.streams.is_empty() {
                    true => io::stdin().as_fd().try_clone_to_owned(),
                    false => nothing(),
                };
                let stdin = stdin.map_err(|error| {
                    CommandError::general(format!("stdin: {}", system_text(&error)))
                })?;
                input.streams.push(self.stream(stdin, input.roots.len())?);
            } else {
                input.roots.push(Root::new(&path));
            }
        }
        if input.roots.is_empty() && input.streams.is_empty() {
            return Err(CommandError::usage("Need at least one PATH argument."));
        }
        Ok(input)
    }

    fn command_output(&self) -> Result<Input, CommandError> {
        if self.dry_run {
            // The command may do anything; a dry run does nothing.
            let nothing = nothing().map_err(|error| CommandError::general(system_text(&error)))?;
            return Ok(Input {
                streams: vec![self.stream(nothing, 0)?],
                ..Input::default()
            });
        }
        let (command, output) = RunningCommand::start(&self.paths)?;
        Ok(Input {
            roots: Vec::new(),
            streams: vec![self.stream(output, 0)?],
            command: Some(command),
        })
    }

    fn stream(&self, fd: OwnedFd, place: usize) -> Result<Stream, CommandError> {
        let (user, group) = (self.stdin_user.as_bytes(), self.stdin_group.as_bytes());
        let unknown =
            |what: &str, name: &str| CommandError::general(format!("no such {what}: {name}"));
        let uid = users::user_by_name(user)
            .ok_or_else(|| unknown("user", &self.stdin_user))?
            .uid;
        let gid = Accounts::new().group_id(group);
        let gid = gid.ok_or_else(|| unknown("group", &self.stdin_group))?;
        Ok(Stream {
            place,
            source: StreamSource::Open(fd),
            path: self.stdin_name.as_bytes().to_vec(),
            mode: self.stdin_mode,
            user: (user.to_vec(), uid),
            group: (group.to_vec(), gid),
            time: crate::world::real().clock.now().0,
            chunker: None,
        })
    }

    /// Reads the list of paths to its end.
    fn listed_paths(&self) -> Result<Vec<Vec<u8>>, CommandError> {
        let mut list = Vec::new();
        if self.paths_from_command {
            let (mut command, output) = RunningCommand::start(&self.paths)?;
            let read = std::fs::File::from(output).read_to_end(&mut list);
            read.map_err(|error| CommandError::general(system_text(&error)))?;
            command.finish()?;
        } else {
            let read = io::stdin().lock().read_to_end(&mut list);
            read.map_err(|error| CommandError::general(format!("stdin: {}", system_text(&error))))?;
        }
        let delimiter = match &self.paths_delimiter {
            Some(text) => unescaped(text),
            None => b"\n".to_vec(),
        };
        Ok(split(&list, &delimiter))
    }
}

/// A file without content.
fn nothing() -> io::Result<OwnedFd> {
    std::fs::File::open("/dev/null").map(OwnedFd::from)
}

/// Cuts at every delimiter; nothing between two of them is no path.
fn split(list: &[u8], delimiter: &[u8]) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let at = match delimiter {
            [] => None,
            _ => rest
                .windows(delimiter.len())
                .position(|window| window == delimiter),
        };
        let (path, behind) = rest
            .split_at_checked(at.unwrap_or(rest.len()))
            .unwrap_or((rest, &[]));
        if !path.is_empty() {
            paths.push(path.to_vec());
        }
        rest = behind.get(delimiter.len()..).unwrap_or_default();
    }
    paths
}

/// Replaces `\0`, `\n` and the like by what they stand for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match rest.next() {
            Some('0') => bytes.push(0),
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            Some(other) => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            None => bytes.push(b'\\'),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_paths_are_cut_at_the_delimiter() {
        assert_eq!(split(b"a\nb c\n\nd", b"\n"), [&b"a"[..], b"b c", b"d"]);
        assert_eq!(split(b"a\0b", &unescaped("\\0")), [&b"a"[..], b"b"]);
        assert_eq!(split(b"a--b--", b"--"), [&b"a"[..], b"b"]);
        assert_eq!(unescaped("\\x41\\t\\\\z"), b"A\t\\z");
    }
}
