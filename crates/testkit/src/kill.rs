//! Ends programs with SIGKILL at chosen system calls, by strace.
//!
//! strace counts calls per thread, so a sweep takes each system call by itself:
//! a thread that makes few of them is reached as well. The kernel ends the
//! program on entry of the call, so the call itself does not happen.

use crate::{Outcome, Run};

/// The system calls at which a repository changes its durable state.
pub const DURABLE: [&str; 5] = [
    "fsync,fdatasync,sync_file_range,syncfs",
    "?rename,?renameat,renameat2",
    "?unlink,unlinkat,?rmdir",
    "?mkdir,mkdirat",
    "ftruncate,?truncate,fallocate",
];

/// One place to die: the n-th call of a set of system calls in any one thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KillPoint {
    /// The system calls, as strace writes a set.
    pub syscalls: &'static str,
    /// Which call, counted from 1.
    pub nth: u32,
}

/// Runs the command and kills it at the point; an outcome with an exit code means that
/// the program ended before it came there.
pub fn at(run: Run, point: KillPoint) -> Outcome {
    let KillPoint { syscalls, nth } = point;
    run.under([
        "strace".to_owned(),
        "-f".to_owned(),
        "-qq".to_owned(),
        "-o/dev/null".to_owned(),
        format!("-etrace={syscalls}"),
        format!("-einject={syscalls}:signal=SIGKILL:when={nth}"),
    ])
    .go()
}

/// Which points of a sweep to take.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Take every `step`-th call.
    pub step: u32,
    /// Begin with this call.
    pub first: u32,
    /// Give up a set after this many points; a sweep that comes here is reported as incomplete.
    pub limit: u32,
}

impl Sweep {
    /// Every single call.
    pub const FULL: Sweep = Sweep {
        step: 1,
        first: 1,
        limit: 2000,
    };

    /// Kills `attempt`'s run at one point after the other, for each set of [`DURABLE`], until the
    /// program ends before the point is reached. `attempt` prepares a fresh state, calls [`at`] and
    /// judges the result; it returns whether the program was killed. Returns the number of kills.
    pub fn over(self, mut attempt: impl FnMut(KillPoint) -> bool) -> u32 {
        let mut kills = 0;
        for syscalls in DURABLE {
            let mut nth = self.first;
            let mut taken = 0;
            while attempt(KillPoint { syscalls, nth }) {
                nth += self.step;
                taken += 1;
                assert!(
                    taken < self.limit,
                    "more than {taken} calls of {syscalls}: sweep incomplete"
                );
            }
            kills += taken;
        }
        kills
    }
}
