//! `serve`: answers a client on another machine, over stdin and stdout.
//!
//! The protocol is [`fastness_repository::remote::server`]'s; here are the options, and the words
//! that go to stderr. Of the command that the client asked sshd for, only what
//! [`CommonOptions::follow`] takes is heeded.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fastness_engine::event::Monitor;
use fastness_format::id::RepositoryId;
use fastness_format::rpc::Version;
use fastness_repository::remote::restrict::{Places, Restrictions};
use fastness_repository::remote::server::{Host, ServeError, ServeOptions, serve};
use fastness_sys::process::Signal;
use fastness_sys::{host, users};

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::options::CommonOptions;
use crate::options::values::storage_quota;
use crate::output::json::object;
use crate::reporter::Reporter;
use crate::{BORG_VERSION, signals};

/// How long the server says nothing while no request comes.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Answer a client on another machine
///
/// Clients start this over ssh; it is not started by hand. It speaks with the client over stdin
/// and stdout, and ends when the client is gone. It needs no key and never sees what is in a
/// repository.
///
/// To say what a client may do, give its ssh key a fixed command in ~/.ssh/authorized_keys:
///
///   command="borg serve --restrict-to-repository /backup/web",restrict ssh-ed25519 AAAA...
///
/// Of what the client asks for then, only the log level, --debug-topic and --lock-wait count.
#[derive(Clone, Debug, clap::Parser)]
pub struct Serve {
    /// Allow only repositories in PATH or anywhere below; repeatable
    #[arg(long = "restrict-to-path", value_name = "PATH")]
    restrict_to_paths: Vec<PathBuf>,
    /// Allow only the repository at PATH, which need not exist yet; repeatable
    #[arg(long = "restrict-to-repository", value_name = "PATH")]
    restrict_to_repositories: Vec<PathBuf>,
    /// Free nothing of what was ever written, whatever the client deletes
    #[arg(long)]
    append_only: bool,
    /// Let repositories grow to QUOTA (5G, 1.5T), whatever their own quota; 0 is no limit
    #[arg(long, value_name = "QUOTA", value_parser = storage_quota)]
    storage_quota: Option<u64>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Serve {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn is_server(&self) -> bool {
        true
    }

    fn follow(&mut self, client: &CommonOptions) {
        self.common.follow(client);
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let watch = signals::Watch::begin();
        let options = self.options(context);
        let reporter: Arc<dyn Host> = Arc::<Reporter>::clone(&context.reporter);
        let input = own(std::io::stdin().as_fd())?;
        let output = own(std::io::stdout().as_fd())?;
        let result = serve(&options, &reporter, input, output);
        drop(watch);
        if Signal::Interrupt.count() > 0 {
            let mut error = CommandError::new("KeyboardInterrupt", "Keyboard interrupt");
            error.exit = Some(ExitCode::signal(2));
            return Err(error);
        }
        match signals::cause_of_end() {
            Some(error) => Err(error),
            None => Ok(result?),
        }
    }
}

impl Serve {
    fn options(self, context: &Context<'_>) -> ServeOptions {
        let user = users::current_user();
        let home = context.environment.get("HOME").map(PathBuf::from);
        let base = context.environment.base.clone();
        ServeOptions {
            restrictions: Restrictions {
                paths: self.restrict_to_paths,
                repositories: self.restrict_to_repositories,
            },
            places: Places {
                home: home
                    .or(user.map(|user| user.home))
                    .unwrap_or_else(|| base.clone()),
                base,
                directory: context.directory.clone(),
                home_of: |name| users::user_by_name(name).map(|user| user.home),
            },
            append_only: self.append_only,
            storage_quota: self.storage_quota,
            version: version(),
            identity: context.lock_identity(),
            sysinfo: format!(
                "Platform: {}\nBorg: {BORG_VERSION}  Fastness: {}\n",
                host::platform(),
                env!("CARGO_PKG_VERSION")
            ),
            now: SystemTime::now,
            keep_alive: KEEP_ALIVE,
            new_id,
        }
    }
}

/// The version of Borg that this program speaks like, as a message has it.
fn version() -> Version {
    let numbers = BORG_VERSION.split('.').map_while(|part| part.parse().ok());
    Version::new(numbers.chain([-1]).collect::<Vec<i64>>())
}

fn new_id() -> std::io::Result<RepositoryId> {
    let mut id = [0; RepositoryId::LEN];
    crate::world::real().random.fill(&mut id)?;
    Ok(RepositoryId::new(id))
}

/// Makes a file of a standard stream, without the buffer that the language puts before it.
fn own(stream: BorrowedFd<'_>) -> Result<File, CommandError> {
    let stream = stream.try_clone_to_owned();
    let stream =
        stream.map_err(|error| CommandError::general(crate::error::system_text(&error)))?;
    Ok(File::from(stream))
}

impl Host for Reporter {
    fn client_is(&self, _version: &Version) {
        self.log().speak_json();
    }

    fn still_here(&self) {
        // Clients show it with --debug alone. Those that read no JSON would show it always.
        if self.log().is_json() {
            self.log().object(&object([
                ("type", "log_message".into()),
                ("time", self.log().now().into()),
                ("message", "waiting for requests".into()),
                ("levelname", "DEBUG".into()),
                ("name", "borg.remote".into()),
            ]));
        }
    }

    fn end_wanted(&self) -> bool {
        self.interrupted()
    }
}

impl From<ServeError> for CommandError {
    fn from(error: ServeError) -> Self {
        Self::told(error.msgid(), &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_version_that_is_spoken() {
        assert_eq!(version(), Version::release(1, 4, 5));
    }
}
