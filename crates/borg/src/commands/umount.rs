//! `umount`: ends a mount.

use std::ffi::OsString;
use std::path::Path;

use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code::ExitCode;
use crate::mount::unmount;
use crate::options::CommonOptions;

/// Unmount what "borg mount" has mounted
///
/// The same as "fusermount3 -u MOUNTPOINT", or "umount MOUNTPOINT" where there is no fusermount3.
/// Its exit code is the exit code.
#[derive(Clone, Debug, clap::Parser)]
pub struct Umount {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: OsString,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

impl Action for Umount {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let code = unmount(Path::new(&self.mountpoint), &["-u"])?;
        let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(2);
        context.reporter.raise(ExitCode::from_raw(code));
        Ok(())
    }
}
