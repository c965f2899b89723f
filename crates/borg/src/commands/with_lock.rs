//! `with-lock`: runs another program while nobody else can change the repository.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use fastness_format::id::ChunkId;
use fastness_repository::local::lock::LockKind;

use crate::BORG_VERSION;
use crate::commands::Action;
use crate::context::{Context, Wanted};
use crate::error::{CommandError, errno_text};
use crate::exit_code::ExitCode;
use crate::options::CommonOptions;
use crate::signals::Watch;

/// Run a command while the repository is locked
///
/// The repository is locked exclusively, the command runs, and its exit code is the one of this
/// program. Useful for copying a repository: what the command sees does not change. No other Borg
/// command works on the repository meanwhile, so the command must not be one.
#[derive(Clone, Debug, clap::Parser)]
pub struct WithLock {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// The command, and its arguments as they are
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for WithLock {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let location = context.location("REPOSITORY", Some(&self.location), Wanted::Repository)?;
        let place = context.place(location);
        let mut repository = context.open_repository(&place, Some(LockKind::Exclusive))?;
        // The manifest is written again as it is. It gives this run a segment of its own, which
        // the command sees whole, and a transaction whose number no later one has: a copy that
        // skips files it has already would miss the change otherwise.
        let manifest = repository.get(&ChunkId::MANIFEST)?;
        repository.put(&ChunkId::MANIFEST, &manifest)?;
        repository.complete_segments()?;
        let ended = {
            // Who ends this ends the command; the repository is tidied up afterwards.
            let _watch = Watch::begin();
            run(&self.command)
        };
        repository.commit(None)?;
        repository.close()?;
        context.reporter.raise(exit_code(ended?));
        Ok(())
    }
}

fn run(words: &[OsString]) -> Result<ExitStatus, CommandError> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| CommandError::usage("the following arguments are required: COMMAND"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("BORG_PASSPHRASE")
        .env("BORG_VERSION", BORG_VERSION);
    command.status().map_err(|error| {
        let name = program.to_string_lossy();
        let reason = errno_text(&error, Some(OsStr::new(program).as_ref()));
        CommandError::command(format!("Error while trying to run '{name}': {reason}"))
    })
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from_raw(code as u8),
        (None, Some(signal)) => ExitCode::signal(signal as u8),
        (None, None) => ExitCode::ERROR,
    }
}
