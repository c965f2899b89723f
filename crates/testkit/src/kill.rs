//! Ends programs with SIGKILL at chosen system calls.
//!
//! The calls are those that change durable state: syncs, renames, unlinks, mkdirs, changes of a
//! file's length. They are counted over all threads of the program, so a sweep over the count
//! reaches every one of them, in whichever thread. The program dies on entry of the call, which
//! does not happen any more.

use std::collections::BTreeMap;

use crate::{Borg, Outcome, Run, Version};

const SCRIPT: &str = include_str!("kill.py");

/// How many points in a row must not be reached before a full sweep ends: threads make their number vary.
const MISSES: u32 = 3;

/// Runs the command and kills it at its `nth` durable system call, counted from 1; an outcome
/// with an exit code means that the program ended before it came there.
pub fn at(run: Run, nth: u32) -> Outcome {
    let python = Borg::official(Version::V14).python();
    let nth = nth.to_string();
    run.under([
        python.as_os_str(),
        "-c".as_ref(),
        SCRIPT.as_ref(),
        nth.as_ref(),
    ])
    .go()
}

/// Returns the system call at which [`at`] killed the program, when it did.
pub fn reached(outcome: &Outcome) -> Option<String> {
    let text = outcome.err();
    let (_, call) = text
        .trim_end()
        .rsplit_once("killed at ")
        .filter(|_| outcome.was_killed())?;
    Some(call.to_owned())
}

/// Which points of a sweep to take.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Take every `step`-th call.
    pub step: u32,
    /// Begin with this call.
    pub first: u32,
}

impl Sweep {
    /// Every single call.
    pub const FULL: Sweep = Sweep { step: 1, first: 1 };

    /// Kills `attempt`'s run at one point after the other, until the program ends before the point
    /// is reached. `attempt` prepares a fresh state, calls [`at`] with the number and judges the
    /// result; it returns the outcome. Returns how often the program was killed at which call.
    pub fn over(self, mut attempt: impl FnMut(u32) -> Outcome) -> BTreeMap<String, u32> {
        let mut kills = BTreeMap::new();
        let (mut nth, mut misses) = (self.first, 0);
        while misses < if self.step == 1 { MISSES } else { 1 } {
            if let Some(call) = reached(&attempt(nth)) {
                *kills.entry(call).or_insert(0) += 1;
                misses = 0;
            } else {
                misses += 1;
            }
            nth += self.step;
        }
        kills
    }
}
