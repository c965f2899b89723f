//! A view of archives mounted through FUSE, from the moment it stands until it is gone.
//!
//! The kernel speaks to [`filesystem`], which asks the engine's view; [`options`] are those behind
//! `-o`. Who ends the process by a signal finds the mount point dead, not empty: a program that
//! copies from it must not take an empty directory for the truth. Only Ctrl-C on a mount in the
//! foreground takes it away.

pub mod filesystem;
pub mod options;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fastness_engine::error::EngineError;
use fastness_engine::vfs::Vfs;
use fastness_sys::process::Signal;

use crate::context::Context;
use crate::error::{CommandError, system_text};
use crate::signals;
use filesystem::ArchiveFs;
use fuser::BackgroundSession;
use options::MountOptions;

/// How often signals are looked for.
const PAUSE: Duration = Duration::from_millis(100);

/// Mounts a view and serves it until it is unmounted or a signal ends it.
///
/// # Errors
/// When it cannot be mounted.
pub fn serve(
    context: &mut Context<'_>,
    vfs: &Arc<Vfs>,
    mountpoint: &Path,
    options: &MountOptions,
) -> Result<(), CommandError> {
    if signals::end_wanted() {
        return Err(EngineError::Interrupted.into());
    }
    let mountpoint = std::path::absolute(mountpoint).unwrap_or_else(|_| mountpoint.to_owned());
    let threads = context.threads().clamp(2, 8);
    let files = ArchiveFs::new(Arc::clone(vfs), Arc::clone(&context.reporter));
    let session = fuser::Session::new(files, &mountpoint, &options.config(threads))
        .and_then(fuser::Session::spawn)
        .map_err(|error| {
            let text = system_text(&error);
            runtime_error(format!("FUSE mount failed: {}", text.trim_end()))
        })?;
    let in_background = context.starting.is_some();
    if let Some(starting) = context.starting.take() {
        starting.ready().map_err(|error| {
            let text = system_text(&error);
            runtime_error(format!("cannot go to the background: {text}"))
        })?;
    }
    match wait(context, vfs, &session) {
        End::Unmounted => drop(session.join()),
        End::Signal if Signal::Interrupt.count() > 0 && !in_background => {
            detach(&mountpoint)?;
            std::mem::forget(session);
        }
        End::Signal => {
            context.warning(format!(
                "Ended by a signal. What was mounted at {} is dead, but still there: unmount it.",
                mountpoint.display()
            ));
            // Dropping it would unmount.
            std::mem::forget(session);
        }
    }
    Ok(())
}

enum End {
    Unmounted,
    Signal,
}

fn wait(context: &Context<'_>, vfs: &Vfs, session: &BackgroundSession) -> End {
    let mut asked = signals::questions();
    loop {
        if session.guard.is_finished() {
            return End::Unmounted;
        }
        if signals::end_wanted() {
            return End::Signal;
        }
        if signals::questions() != asked {
            asked = signals::questions();
            tell_size(context, vfs);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Tells how large the view has become, to whoever looks for a mistake.
fn tell_size(context: &Context<'_>, vfs: &Vfs) {
    let size = vfs.size();
    let (chunks, bytes) = size.cached_chunks;
    let text = format!(
        "fuse: {} nodes, {} names, {} pending archives, data cache: {chunks} chunks, {bytes} bytes",
        size.nodes, size.names, size.pending_archives
    );
    context.log().debug("borg.fuse", text);
}

/// Takes a mount away, also while somebody uses it.
fn detach(mountpoint: &Path) -> Result<(), CommandError> {
    if fastness_sys::mount::detach(mountpoint).is_ok() {
        return Ok(());
    }
    // Only root may; a setuid program does it for others.
    match unmount(mountpoint, &["-u", "-q", "-z"])? {
        Some(0) => Ok(()),
        _ => {
            let place = mountpoint.display();
            Err(runtime_error(format!("{place} cannot be unmounted")))
        }
    }
}

/// Unmounts with FUSE's own program, or else the system's, which say themselves what is wrong.
/// Returns the exit code of the one that ran.
///
/// # Errors
/// When there is none of them.
pub fn unmount(mountpoint: &Path, options: &[&str]) -> Result<Option<i32>, CommandError> {
    let programs: [(&str, &[&str]); 3] = [
        ("fusermount3", options),
        ("fusermount", options),
        ("umount", &[]),
    ];
    for (program, options) in programs {
        let mut command = Command::new(program);
        command.args(options).arg("--").arg(mountpoint);
        match command.env_remove("BORG_PASSPHRASE").status() {
            Ok(status) => return Ok(status.code()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let text = system_text(&error);
                return Err(runtime_error(format!("cannot run {program}: {text}")));
            }
        }
    }
    let text = "there is neither fusermount3 nor fusermount nor umount";
    Err(runtime_error(text.to_owned()))
}

/// Makes an error of what failed outside.
pub fn runtime_error(text: String) -> CommandError {
    CommandError::new("RTError", format!("Runtime Error: {text}"))
}
