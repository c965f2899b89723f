//! The end of the log, as much of it as a service takes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::output::log::{Attachment, Entry, Log, Sink};

/// What stands where the beginning was dropped.
const CUT: &str = "...\n";

/// Keeps the last lines of the log as long as it lives.
pub struct Tail {
    kept: Arc<Mutex<Kept>>,
    _attachment: Attachment,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    /// Most bytes; none for all.
    limit: Option<usize>,
    cut: bool,
}

impl Tail {
    /// Begins to keep records of a verbosity: at most `limit` bytes of them, or all for 0.
    pub fn begin(log: &Log, verbosity: i64, limit: i64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let kept = Arc::new(Mutex::new(Kept {
            limit: (limit > 0).then(|| limit.saturating_sub(CUT.len())),
            ..Kept::default()
        }));
        let attachment = log.attach(verbosity, Box::new(Keeper(Arc::clone(&kept))));
        Self {
            kept,
            _attachment: attachment,
        }
    }

    /// Returns the lines, with a mark where earlier ones are missing.
    pub fn text(&self) -> String {
        let kept = lock(&self.kept);
        let cut = if kept.cut { CUT } else { "" };
        cut.chars()
            .chain(kept.lines.iter().flat_map(|line| line.chars()))
            .collect()
    }
}

struct Keeper(Arc<Mutex<Kept>>);

impl Sink for Keeper {
    fn take(&mut self, entry: &Entry<'_>) {
        let mut kept = lock(&self.0);
        let line = format!("{}\n", entry.text);
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.limit.is_some_and(|limit| kept.bytes > limit)
            && let Some(line) = kept.lines.pop_front()
        {
            kept.bytes -= line.len();
            kept.cut = true;
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::log::{Level, tests};

    #[test]
    fn the_oldest_lines_go_when_there_are_too_many_bytes() {
        let (log, stdout, _) = tests::log(-1);
        let (short, all) = (Tail::begin(&log, 1, 14), Tail::begin(&log, 1, 0));
        log.set_prefix("nas");
        for text in ["one", "two", "three"] {
            log.record(Level::Info, text);
        }
        log.record(Level::Debug, "unseen");
        assert_eq!(short.text(), "...\ntwo\nthree\n");
        assert_eq!(all.text(), "one\ntwo\nthree\n");
        assert_eq!(stdout.text(), "");
        drop((short, all));
        assert_eq!(log.verbosity(), -1);
    }
}
