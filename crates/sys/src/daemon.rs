//! Going to the background: the work begins in a child, while the parent waits for its first news.
//!
//! The child does everything from the start: it can still ask at the terminal, and locks carry the
//! number of the process that keeps them. When it stands on its own feet it leaves the terminal
//! and says so; the parent ends with that. A child that ends earlier has told why itself.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitOptions};

/// One of the two processes there are after [`fork`].
#[derive(Debug)]
pub enum Side {
    /// The one that was called.
    Parent(Waiting),
    /// The one that does the work.
    Child(Starting),
}

/// The parent.
#[derive(Debug)]
pub struct Waiting {
    child: Pid,
    news: std::fs::File,
}

/// The child, as long as it is not ready.
#[derive(Debug)]
pub struct Starting {
    news: std::fs::File,
}

/// Splits the process in two.
///
/// # Errors
/// When this process has several threads, of which the child would have but one, or when the
/// system refuses.
pub fn fork() -> io::Result<Side> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        let text = "a program of several threads cannot go to the background";
        return Err(io::Error::other(text));
    }
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: there is one thread, so that the child has all there is: no lock is held by a thread
    // that is missing, and anything may be called in it.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(reader);
            // Who gives up waiting wants no work in the background.
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            let news = std::fs::File::from(writer);
            Ok(Side::Child(Starting { news }))
        }
        child => {
            drop(writer);
            let news = std::fs::File::from(reader);
            let child = Pid::from_raw(child).ok_or_else(|| io::Error::other("no child"))?;
            Ok(Side::Parent(Waiting { child, news }))
        }
    }
}

impl Waiting {
    /// Waits until the child is ready: then there is no exit code. Otherwise returns the one it
    /// ended with, 128 and the number of the signal that ended it.
    ///
    /// # Errors
    /// When the system knows nothing of the child.
    pub fn wait(mut self) -> io::Result<Option<u8>> {
        let mut word = [0];
        match self.news.read(&mut word) {
            Ok(1) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let ended = rustix::process::waitpid(Some(self.child), WaitOptions::empty())?;
        let code = ended.and_then(|(_, status)| {
            let signal = status.terminating_signal().map(|number| number + 128);
            u8::try_from(status.exit_status().or(signal)?).ok()
        });
        Ok(Some(code.unwrap_or(2)))
    }
}

impl Starting {
    /// Leaves the terminal, the directory and the standard streams, and lets the parent end.
    ///
    /// # Errors
    /// When one of it is not possible.
    pub fn ready(mut self) -> io::Result<()> {
        rustix::process::setsid()?;
        rustix::process::chdir("/")?;
        let null: OwnedFd =
            rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::process::set_parent_process_death_signal(None)?;
        self.news.write_all(b"r")?;
        // Last, so that everything before could be told.
        Ok(rustix::stdio::dup2_stderr(&null)?)
    }
}
