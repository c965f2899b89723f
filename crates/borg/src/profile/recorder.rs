//! Adds up what spans take.
//!
//! Every thread has a stack of the stages it is in. When a stage ends, its time goes into one
//! table: in all, without the stages that it called, and by who called it. What a worker thread does
//! has no caller.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use fastness_format::msgpack::Value;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What belongs to this program; libraries have spans, too.
const OURS: &str = "fastness";

/// The table of the process.
static TABLE: OnceLock<Mutex<Table>> = OnceLock::new();

thread_local! {
    static STACK: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// A stage that a thread is in.
struct Frame {
    stage: usize,
    begun: Instant,
    /// Spent in the stages that this one called.
    called: Duration,
}

#[derive(Default)]
struct Table {
    is_on: bool,
    /// The stages that were seen; their places are their numbers.
    stages: Vec<&'static Metadata<'static>>,
    times: HashMap<usize, Times>,
}

#[derive(Default)]
struct Times {
    sum: Sum,
    by_caller: HashMap<usize, Sum>,
}

#[derive(Default, Clone, Copy)]
struct Sum {
    calls: u64,
    /// Calls while no other call of the same stage was going on.
    outermost: u64,
    /// Without the stages called.
    own: Duration,
    /// With them; counted for outermost calls.
    total: Duration,
}

/// Begins anew.
pub(super) fn start() {
    let table = TABLE.get_or_init(|| {
        // Fails when there is one already; there is no other in this program.
        let _ = tracing::subscriber::set_global_default(Recorder);
        Mutex::default()
    });
    let mut table = lock(table);
    table.times.clear();
    table.is_on = true;
}

/// Stops and returns what was recorded, as Python lays out its profiles: `(file, line, stage)` →
/// `(outermost calls, calls, own seconds, seconds, callers)`.
pub(super) fn stop() -> Value {
    let Some(table) = TABLE.get() else {
        return Value::Map(Vec::new());
    };
    let mut table = lock(table);
    table.is_on = false;
    let mut times: Vec<_> = std::mem::take(&mut table.times).into_iter().collect();
    times.sort_unstable_by_key(|(stage, _)| *stage);
    Value::Map(
        times
            .iter()
            .map(|(stage, times)| (table.name(*stage), table.entry(times)))
            .collect(),
    )
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    fn stage(&mut self, metadata: &'static Metadata<'static>) -> usize {
        let known = self.stages.iter().position(|known| *known == metadata);
        known.unwrap_or_else(|| {
            self.stages.push(metadata);
            self.stages.len() - 1
        })
    }

    fn add(&mut self, stage: usize, caller: Option<usize>, taken: Sum) {
        if !self.is_on {
            return;
        }
        let times = self.times.entry(stage).or_default();
        times.sum.add(taken);
        if let Some(caller) = caller {
            times.by_caller.entry(caller).or_default().add(taken);
        }
    }

    fn name(&self, stage: usize) -> Value {
        let metadata = self.stages.get(stage);
        let file = metadata.and_then(|found| found.file()).unwrap_or_default();
        let line = metadata.and_then(|found| found.line()).unwrap_or_default();
        Value::Array(vec![
            Value::text(file),
            Value::Int(line.into()),
            Value::text(metadata.map(|found| found.name()).unwrap_or_default()),
        ])
    }

    fn entry(&self, times: &Times) -> Value {
        let mut callers: Vec<_> = times.by_caller.iter().collect();
        callers.sort_unstable_by_key(|(stage, _)| **stage);
        let callers = callers.into_iter().map(|(stage, sum)| {
            // Python has these two the other way round here.
            let [own, total] = sum.seconds();
            let counts = [sum.calls, sum.outermost].map(count);
            (
                self.name(*stage),
                Value::Array([counts, [own, total]].concat()),
            )
        });
        let [own, total] = times.sum.seconds();
        let [outermost, calls] = [times.sum.outermost, times.sum.calls].map(count);
        Value::Array(vec![
            outermost,
            calls,
            own,
            total,
            Value::Map(callers.collect()),
        ])
    }
}

fn count(calls: u64) -> Value {
    Value::Int(calls.into())
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.outermost += other.outermost;
        self.own += other.own;
        self.total += other.total;
    }

    fn seconds(&self) -> [Value; 2] {
        [self.own, self.total].map(|time| Value::Float(time.as_secs_f64()))
    }
}

/// The listener of this process.
struct Recorder;

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with(OURS)
    }

    /// A span's id is that of its stage: it is entered once, by the thread that makes it.
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let stage = TABLE
            .get()
            .map_or(0, |table| lock(table).stage(span.metadata()));
        Id::from_u64(stage as u64 + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        STACK.with_borrow_mut(|stack| {
            stack.push(Frame {
                stage: (span.into_u64() - 1) as usize,
                begun: Instant::now(),
                called: Duration::ZERO,
            });
        });
    }

    fn exit(&self, _: &Id) {
        let ended = STACK.with_borrow_mut(|stack| {
            let frame = stack.pop()?;
            let total = frame.begun.elapsed();
            let is_outermost = !stack.iter().any(|outer| outer.stage == frame.stage);
            let caller = stack.last_mut().map(|caller| {
                caller.called += total;
                caller.stage
            });
            let taken = Sum {
                calls: 1,
                outermost: is_outermost.into(),
                own: total.saturating_sub(frame.called),
                total: if is_outermost { total } else { Duration::ZERO },
            };
            Some((frame.stage, caller, taken))
        });
        if let (Some((stage, caller, taken)), Some(table)) = (ended, TABLE.get()) {
            lock(table).add(stage, caller, taken);
        }
    }
}
