//! Commands that a configuration runs before and after what is done (`commands:`).
//!
//! [`CommandHook`] is one entry; [`Shell`] runs the commands of those that a point of the run
//! calls for. Their output goes to the log line by line, as it comes and in bounded pieces;
//! values put into a command are always quoted. When which point is reached is the run's matter.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use fastness_borg::signals::{self, Watch};
use regex::{Captures, Regex};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::config::tree::Node;
use crate::output::log::{Level, Log};
use crate::plan::call::quoted;

/// The exit code of a command that says "not now": what follows is left out, and nothing failed.
const SOFT_FAILURE: i32 = 75;

/// As many lines of output are kept for the summary.
const LAST_LINES: usize = 25;

/// The longest line; a longer one is cut into pieces.
const LINE_BYTES: usize = 64 * 1024;

/// How often a command is looked at that says nothing.
const TICK: Duration = Duration::from_millis(20);

/// How long the output of a command may be silent after its end, held open by something that it
/// left running.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Names that Borg replaces: not ours, and no mistake.
const BORG_PLACEHOLDERS: [&str; 12] = [
    "hostname",
    "fqdn",
    "reverse-fqdn",
    "now",
    "utcnow",
    "unixtime",
    "user",
    "pid",
    "borgversion",
    "borgmajor",
    "borgminor",
    "borgpatch",
];

static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\\)?\{(\w+)(\\)?\}").expect("the pattern is a constant"));

/// What a hook stands around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One action on one repository.
    Action,
    /// All actions on one repository.
    Repository,
    /// All that one file asks for.
    Configuration,
    /// The whole run.
    Everything,
    /// A file in which something failed.
    Error,
}

/// On which side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before it.
    Before,
    /// After it.
    After,
}

/// How what stands before an `after` hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Well.
    Finish,
    /// With an error.
    Fail,
}

/// One entry of `commands`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandHook {
    side: Side,
    scope: Scope,
    when: Option<Vec<String>>,
    states: Option<Vec<String>>,
    run: Vec<String>,
}

impl CommandHook {
    /// Reads an entry that was validated.
    pub fn read(node: &Node) -> Option<Self> {
        let text = |key| node.get(key).and_then(Node::as_text);
        let texts = |key| node.get(key).map(texts);
        let (side, scope) = match (text("before"), text("after")) {
            (Some(scope), _) => (Side::Before, scope),
            (None, scope) => (Side::After, scope?),
        };
        Some(Self {
            side,
            scope: match scope {
                "action" => Scope::Action,
                "repository" => Scope::Repository,
                "configuration" => Scope::Configuration,
                "everything" => Scope::Everything,
                "error" => Scope::Error,
                _ => return None,
            },
            when: texts("when"),
            states: texts("states"),
            run: texts("run").unwrap_or_default(),
        })
    }

    /// Tells whether the hook runs at a point of the run; `actions` are those it is about.
    pub fn applies(&self, side: Side, scope: Scope, actions: &[&str], state: State) -> bool {
        let named = |action: &String| actions.contains(&action.as_str());
        let wanted = self.when.as_ref();
        let states = self.states.as_ref().filter(|_| side == Side::After);
        self.side == side
            && self.scope == scope
            && wanted.is_none_or(|when| when.iter().any(named))
            && states.is_none_or(|states| states.iter().any(|name| name == &state.to_string()))
    }

    /// Tells whether a command of it is about one repository.
    pub fn names_repository(&self) -> bool {
        let names = |command: &String| {
            ["{repository}", "{repository_label}"]
                .iter()
                .any(|name| command.contains(name))
        };
        self.run.iter().any(names)
    }

    fn description(&self) -> String {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        match self.when.as_deref() {
            None | Some([]) => format!("{side} {}", self.scope),
            Some(when) => format!("{side} {} {}", when.join("/"), self.scope),
        }
    }
}

fn texts(node: &Node) -> Vec<String> {
    let elements = node.elements().iter();
    elements
        .filter_map(Node::as_text)
        .map(str::to_owned)
        .collect()
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "action",
            Self::Repository => "repository",
            Self::Configuration => "configuration",
            Self::Everything => "everything",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finish => "finish",
            Self::Fail => "fail",
        })
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It ended with an error.
    #[error("Command '{command}' returned non-zero exit status {code}.")]
    Failed {
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
        /// The last lines it wrote.
        output: Vec<String>,
    },
    /// A signal ended it.
    #[error("Command '{command}' was ended by {status}.")]
    Killed {
        /// The command.
        command: String,
        /// Which one.
        status: ExitStatus,
        /// The last lines it wrote.
        output: Vec<String>,
    },
    /// It asks to leave out what follows.
    #[error("Command '{command}' returned exit status 75, a soft failure.")]
    Soft {
        /// The command.
        command: String,
    },
    /// A signal asked this program to end meanwhile.
    #[error("ended by a signal")]
    Interrupted,
    /// There is no shell, or no such working directory.
    #[error("Command '{command}' cannot be run in {}: {source}", directory.display())]
    Start {
        /// The command.
        command: String,
        /// Where it should run.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl CommandError {
    /// Returns the last lines that the command wrote.
    pub fn output(&self) -> &[String] {
        match self {
            Self::Failed { output, .. } | Self::Killed { output, .. } => output,
            Self::Soft { .. } | Self::Interrupted | Self::Start { .. } => &[],
        }
    }
}

/// Runs the commands of hooks.
pub struct Shell<'a> {
    /// Where they run; empty for the current directory.
    pub directory: PathBuf,
    /// The digits of their umask, as configured.
    pub umask: Option<i64>,
    /// Only tell about them.
    pub dry_run: bool,
    /// Their environment.
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// What `{name}` in a command stands for.
    pub variables: Vec<(&'static str, String)>,
    /// Where their output goes.
    pub log: Log,
}

impl Shell<'_> {
    /// Runs all commands of a hook; the first that fails ends it.
    ///
    /// # Errors
    /// When a command fails or cannot be started.
    pub fn run(&self, hook: &CommandHook) -> Result<(), CommandError> {
        let description = hook.description();
        let dry_run = match self.dry_run {
            true => " (dry run; not actually running hooks)",
            false => "",
        };
        let text = match hook.run.len() {
            0 => return Ok(()),
            1 => format!("Running {description} command hook{dry_run}"),
            count => format!("Running {count} commands for {description} hook{dry_run}"),
        };
        let commands: Vec<String> = hook
            .run
            .iter()
            .map(|command| self.with_variables(command, &description))
            .collect();
        self.log.record(Level::Info, &text);
        if self.dry_run {
            return Ok(());
        }
        let level = match hook.scope {
            Scope::Error => Level::Error,
            _ => Level::Answer,
        };
        commands
            .iter()
            .try_for_each(|command| self.execute(command, level))
    }

    /// Puts values into a command, each quoted for the shell.
    fn with_variables(&self, command: &str, description: &str) -> String {
        let value = |found: &Captures<'_>| {
            let whole = found.get(0).map_or("", |all| all.as_str()).to_owned();
            let name = found.get(2).map_or("", |name| name.as_str());
            if found.get(1).is_some() && found.get(3).is_some() {
                return format!("{{{name}}}");
            }
            let known = self.variables.iter().find(|(known, _)| *known == name);
            if let Some((_, value)) = known {
                return quoted(value);
            }
            if !BORG_PLACEHOLDERS.contains(&name) {
                let text =
                    format!("Variable \"{name}\" is not supported in the {description} hook");
                self.log.record(Level::Warning, &text);
            }
            whole
        };
        VARIABLE.replace_all(command, value).into_owned()
    }

    fn execute(&self, command: &str, level: Level) -> Result<(), CommandError> {
        let mut child = self.start(command).map_err(|source| CommandError::Start {
            command: command.to_owned(),
            directory: match self.directory.as_os_str().is_empty() {
                true => Path::new(".").to_owned(),
                false => self.directory.clone(),
            },
            source,
        })?;
        // A signal that comes now ends the command; hooks that clean up still run.
        let watch = (!signals::end_wanted()).then(Watch::begin);
        let lines = read_output(&mut child, level);
        let mut output = VecDeque::new();
        let ended = self.follow(&mut child, &lines, watch.is_some(), &mut output);
        let output: Vec<String> = output.into();
        let command = command.to_owned();
        if watch.is_some() && signals::end_wanted() {
            return Err(CommandError::Interrupted);
        }
        match ended.code() {
            Some(0) => Ok(()),
            Some(SOFT_FAILURE) => Err(CommandError::Soft { command }),
            Some(code) => Err(CommandError::Failed {
                command,
                code,
                output,
            }),
            None => Err(CommandError::Killed {
                command,
                status: ended,
                output,
            }),
        }
    }

    fn start(&self, command: &str) -> io::Result<Child> {
        // The umask is set by the shell: that of this process holds for all its threads.
        let umask = self.umask.filter(|digits| *digits != 0);
        let script = match umask {
            Some(digits) => format!("umask {digits:04}\n{command}"),
            None => command.to_owned(),
        };
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &script]).env_clear();
        shell.envs(self.environment);
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        if !self.directory.as_os_str().is_empty() {
            shell.current_dir(&self.directory);
        }
        if has_own_group() {
            shell.process_group(0);
        }
        shell.spawn()
    }

    /// Logs what a command writes until it has ended.
    fn follow(
        &self,
        child: &mut Child,
        lines: &Receiver<(Level, String)>,
        watching: bool,
        last: &mut VecDeque<String>,
    ) -> ExitStatus {
        let mut ended = None;
        let mut heard = Instant::now();
        let mut told = false;
        loop {
            let disconnected = match lines.recv_timeout(TICK) {
                Ok((level, line)) => {
                    heard = Instant::now();
                    self.log.output(level, &line);
                    last.push_back(line);
                    if last.len() > LAST_LINES {
                        last.pop_front();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if disconnected && ended.is_none() {
                std::thread::sleep(TICK / 10);
            }
            if ended.is_none() {
                // A child that cannot be asked is gone.
                ended = child.try_wait().unwrap_or_default();
                heard = Instant::now();
            }
            if let Some(status) = ended
                && (disconnected || heard.elapsed() > AFTERMATH)
            {
                return status;
            }
            if watching && !told && signals::end_wanted() {
                told = true;
                terminate(child);
            }
        }
    }
}

/// Tells whether a command and all it starts get a process group, to be ended together. At a
/// terminal they share ours: they may ask somebody, and Ctrl-C reaches them anyway.
pub(crate) fn has_own_group() -> bool {
    !io::stdin().is_terminal()
}

/// Asks a command to end, with all that it started: nothing may go on while others clean up.
pub(crate) fn terminate(child: &Child) {
    let shell = Pid::from_child(child);
    // One that is gone already has ended.
    let _ = match has_own_group() {
        true => kill_process_group(shell, Signal::TERM),
        false => kill_process(shell, Signal::TERM),
    };
}

/// Reads both outputs of a command, line by line, each in a thread of its own.
fn read_output(child: &mut Child, level: Level) -> Receiver<(Level, String)> {
    let (sender, receiver) = sync_channel(256);
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || read_lines(stdout, &sender, |_| level));
    }
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || read_lines(stderr, &sender, error_level));
    }
    receiver
}

fn error_level(line: &str) -> Level {
    let start = line.get(..8).unwrap_or_default();
    match start.eq_ignore_ascii_case("warning:") {
        true => Level::Warning,
        false => Level::Error,
    }
}

fn read_lines(
    mut source: impl Read,
    sender: &SyncSender<(Level, String)>,
    level: impl Fn(&str) -> Level,
) {
    let mut rest = Vec::new();
    let mut buffer = [0; 4096];
    let send = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\r');
        line.is_empty() || sender.send((level(line), line.to_owned())).is_ok()
    };
    loop {
        let count = match source.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        for byte in buffer.iter().take(count) {
            if *byte != b'\n' {
                rest.push(*byte);
            }
            if (*byte == b'\n' || rest.len() >= LINE_BYTES) && !send(&std::mem::take(&mut rest)) {
                return;
            }
        }
    }
    send(&rest);
}

#[cfg(test)]
mod tests;
