//! Signals: what Ctrl-C, a polite kill and "how far are you?" do to a run.
//!
//! A run dies of a signal as any program does, until an operation begins that can end well: while
//! a [`Watch`] lives, the first signal asks it to end (the reporter tells it), a second one kills,
//! whether the operation took notice of the first or not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastness_sys::process::Signal;

use crate::error::CommandError;
use crate::exit_code::ExitCode;

const ENDING: [Signal; 3] = [Signal::Interrupt, Signal::Terminate, Signal::Hangup];

/// How many watches there are: commands may run side by side.
static WATCHES: Mutex<usize> = Mutex::new(0);

/// Counts the signals that end a run instead of dying of them, as long as it lives.
#[must_use]
pub struct Watch {
    over: Arc<AtomicBool>,
}

/// How soon after the first signal a second one kills.
const NOTICE: Duration = Duration::from_millis(50);

impl Watch {
    /// Begins to count.
    pub fn begin() -> Self {
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        *watches += 1;
        for signal in ENDING {
            // What cannot be watched kills, as before.
            let _ = signal.watch();
        }
        let over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&over);
        std::thread::spawn(move || {
            while !watched.load(Ordering::Relaxed) && !end_wanted() {
                std::thread::sleep(NOTICE);
            }
        });
        Self { over }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        *watches -= 1;
        if *watches > 0 {
            return;
        }
        for signal in ENDING {
            let _ = signal.unwatch();
        }
    }
}

/// Takes the signals that only ask for news, so that they kill nothing.
pub fn listen_to_questions() {
    let _ = Signal::User1.watch();
    let _ = Signal::User2.watch();
}

/// Returns how often somebody asked for news.
pub fn questions() -> u32 {
    Signal::User1.count()
}

/// Tells whether a signal asked the run to end. From then on a second one kills it.
pub fn end_wanted() -> bool {
    let wanted = ENDING.iter().any(|signal| signal.count() > 0);
    if wanted {
        for signal in ENDING {
            let _ = signal.unwatch();
        }
    }
    wanted
}

/// Returns the exit code of a process that the signal ended which asked this one to end.
pub fn code_of_end() -> Option<u8> {
    let signal = ENDING.iter().find(|signal| signal.count() > 0)?;
    u8::try_from(signal.number()).ok()?.checked_add(128)
}

/// Returns the error of a run that a signal other than Ctrl-C ended.
pub fn cause_of_end() -> Option<CommandError> {
    let (signal, name, text) = if Signal::Terminate.count() > 0 {
        (Signal::Terminate, "Signal.SIGTERM", "Received SIGTERM")
    } else if Signal::Hangup.count() > 0 {
        (Signal::Hangup, "Signal.SIGHUP", "Received SIGHUP.")
    } else {
        return None;
    };
    let mut error = CommandError::new(name, text);
    error.exit = u8::try_from(signal.number()).ok().map(ExitCode::signal);
    Some(error)
}
