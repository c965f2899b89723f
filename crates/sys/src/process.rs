//! This process and others: signals, umask, terminal, who is alive.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Pid;

/// A signal that a run takes notice of instead of dying at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// The polite request to end.
    Terminate,
    /// The terminal is gone.
    Hangup,
    /// "How far are you?"
    User1,
    /// The second signal free to use; Borg takes it as "save a checkpoint" in new versions.
    User2,
}

static RECEIVED: [AtomicU32; 5] = [const { AtomicU32::new(0) }; 5];

impl Signal {
    const ALL: [Self; 5] = [
        Self::Interrupt,
        Self::Terminate,
        Self::Hangup,
        Self::User1,
        Self::User2,
    ];

    /// Returns the number of the signal, which an exit code 128 + n tells.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Hangup => libc::SIGHUP,
            Self::User1 => libc::SIGUSR1,
            Self::User2 => libc::SIGUSR2,
        }
    }

    fn counter(self) -> &'static AtomicU32 {
        let [interrupt, terminate, hangup, user1, user2] = &RECEIVED;
        match self {
            Self::Interrupt => interrupt,
            Self::Terminate => terminate,
            Self::Hangup => hangup,
            Self::User1 => user1,
            Self::User2 => user2,
        }
    }

    /// Returns how often the signal came since [`Signal::watch`].
    ///
    /// Costs one relaxed load: may be asked in inner loops.
    #[must_use]
    pub fn count(self) -> u32 {
        self.counter().load(Ordering::Relaxed)
    }

    /// Starts counting the signal instead of dying of it.
    ///
    /// Calls that wait go on after it. A signal ignored from outside (`nohup`) stays so.
    ///
    /// # Errors
    /// The error of `sigaction`.
    pub fn watch(self) -> io::Result<()> {
        if self.is_ignored()? {
            return Ok(());
        }
        let handler: extern "C" fn(libc::c_int) = count_signal;
        self.set_action(handler as libc::sighandler_t)
    }

    /// Goes back to dying of the signal.
    ///
    /// # Errors
    /// The error of `sigaction`.
    pub fn unwatch(self) -> io::Result<()> {
        self.set_action(libc::SIG_DFL)
    }

    fn is_ignored(self) -> io::Result<bool> {
        // SAFETY: all-zero bytes are a valid `sigaction`; a null new action only asks.
        let (code, old) = unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            (
                libc::sigaction(self.number(), std::ptr::null(), &raw mut old),
                old,
            )
        };
        if code != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(old.sa_sigaction == libc::SIG_IGN)
    }

    fn set_action(self, action: libc::sighandler_t) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid `sigaction`; the action is either the
        // default or `count_signal`, which does nothing but an atomic addition.
        let code = unsafe {
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = action;
            new.sa_flags = libc::SA_RESTART;
            libc::sigaction(self.number(), &raw const new, std::ptr::null_mut())
        };
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

extern "C" fn count_signal(number: libc::c_int) {
    for signal in Signal::ALL {
        if signal.number() == number {
            signal.counter().fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Lets a write to a closed pipe kill the process quietly, as usual for Unix tools.
///
/// Rust programs ignore `SIGPIPE` by default; a listing piped to `head` should end.
pub fn die_of_broken_pipes() {
    // SAFETY: installs the default action; no handler code runs.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Sets the file mode creation mask and returns the one before.
pub fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(Mode::from_raw_mode(mask & 0o777)).as_raw_mode()
}

/// Returns the file mode creation mask.
///
/// It can only be asked by changing it for a moment, so call this before threads start.
#[must_use]
pub fn umask() -> u32 {
    let mask = set_umask(0o077);
    set_umask(mask);
    mask
}

/// Lets a process that is going to be started ignore Ctrl-C, which a terminal sends to all at once:
/// whoever starts it ends it in good order.
pub fn shield_from_interrupts(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and calls nothing but `signal`, which is
    // safe to call there.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_IGN);
            Ok(())
        });
    }
}

/// Lets a process that is going to be started have `file` open under the number it has here, which
/// is returned; nothing else that is started gets it.
///
/// The command holds the file: this process has it open for as long as the command lives.
pub fn hand_down(command: &mut Command, file: OwnedFd) -> i32 {
    let number = file.as_raw_fd();
    // SAFETY: the closure runs between fork and exec and calls nothing but `fcntl`, which is safe
    // to call there; the descriptor is open, for the closure owns it.
    unsafe {
        command.pre_exec(move || {
            let flags = rustix::io::FdFlags::empty();
            rustix::io::fcntl_setfd(&file, flags).map_err(io::Error::from)
        });
    }
    number
}

/// Lets a pipe hold a mebibyte, so that its two sides wait for each other less often.
///
/// # Errors
/// When the system does not allow so much.
pub fn widen_pipe(pipe: impl AsFd) -> io::Result<()> {
    rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20)?;
    Ok(())
}

/// Says whether a process with this number lives on this machine.
///
/// A process of another user counts; numbers that are none do not.
#[must_use]
pub fn is_alive(pid: u64) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .and_then(Pid::from_raw);
    match pid.map(rustix::process::test_kill_process) {
        None | Some(Err(Errno::SRCH)) => false,
        // EPERM: it lives, but is not ours. Anything else is no proof of death.
        Some(_) => true,
    }
}

/// Returns the number of this process.
#[must_use]
pub fn own_pid() -> u32 {
    std::process::id()
}

/// Returns the user and the group that started this process.
#[must_use]
pub fn own_ids() -> (u32, u32) {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    (uid.as_raw(), gid.as_raw())
}

/// Says whether this process acts as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says whether `file` is a terminal.
pub fn is_terminal(file: impl AsFd) -> bool {
    rustix::termios::isatty(file)
}

/// Returns columns and rows of the terminal behind `file`, if it is one that knows.
pub fn terminal_size(file: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(file).ok()?;
    (size.ws_col > 0).then_some((size.ws_col, size.ws_row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_signal_is_counted_and_does_not_kill() {
        Signal::User2.watch().unwrap();
        let before = Signal::User2.count();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::USR2).unwrap();
        for _ in 0..1000 {
            if Signal::User2.count() > before {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(Signal::User2.count(), before + 1);
        assert_eq!(Signal::Interrupt.count(), 0);
        Signal::User2.unwatch().unwrap();
    }

    #[test]
    fn a_process_reads_what_was_handed_down_to_it() {
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"secret").unwrap();
        drop(writer);
        let mut command = Command::new("cat");
        let number = hand_down(&mut command, reader.into());
        let output = command.arg(format!("/dev/fd/{number}")).output().unwrap();
        assert_eq!(output.stdout, b"secret");
    }

    #[test]
    fn the_living_and_the_dead_are_told_apart() {
        assert!(is_alive(u64::from(own_pid())));
        assert!(is_alive(1));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = u64::from(child.id());
        child.wait().unwrap();
        assert!(!is_alive(pid));
        for pid in [0, u64::MAX, 1 << 31, 1 << 32 | 1] {
            assert!(!is_alive(pid), "{pid} is no process number");
        }
    }

    #[test]
    fn a_file_is_no_terminal_and_has_no_size() {
        let file = tempfile::tempfile().unwrap();
        assert!(!is_terminal(&file));
        assert_eq!(terminal_size(&file), None);
    }
}
