//! One dump for several archives that are made side by side.
//!
//! Each archive gets streams of its own. The program behind a stream is started once, when all
//! archives have come to it; a thread then hands every piece to each of them through a pipe, so
//! that all get the same bytes and memory is bounded by the pipes. The slowest sets the pace, but
//! nobody waits for long: an archive that takes nothing for a while is left behind. Its dump then
//! counts as failed, and those of the others go on.

mod reader;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastness_borg::signals::end_wanted;
use fastness_engine::create::{
    Ended, FileProducer, NextFile, ProducedFile, Producer, ProducerError, Stream, StreamSource,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};

use crate::output::log::{Level, Log};
use reader::Reader;

/// How long an archive may take nothing while others wait for it. Database servers end a dump that
/// is not read for a minute.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// How often those who wait look around.
const MOMENT: Duration = Duration::from_millis(50);

/// How much is handed on at once.
const PIECE_BYTES: usize = 256 << 10;

/// Files that may wait until an archive takes them.
const WAITING_FILES: usize = 16;

/// Archives that share their dumps. The programs have ended when this is gone.
pub struct Shared {
    group: Arc<Group>,
}

impl Shared {
    /// Makes it for archives in the repositories of these names.
    pub fn new(names: Vec<String>, log: &Log, patience: Duration) -> Self {
        let now = Instant::now();
        let person = || Person {
            joined: 0,
            owed: 0,
            active: now,
            left_behind: false,
        };
        Self {
            group: Arc::new(Group {
                people: Mutex::new(names.iter().map(|_| person()).collect()),
                names,
                log: log.clone(),
                patience,
                threads: Mutex::default(),
            }),
        }
    }

    /// Makes streams for each archive of those that one would get.
    pub fn split(&self, streams: Vec<Stream>) -> Vec<Vec<Stream>> {
        let count = self.group.names.len();
        let mut all: Vec<Vec<Stream>> = (0..count).map(|_| Vec::new()).collect();
        for stream in streams {
            let is_files = matches!(stream.source, StreamSource::Files(_));
            let dump = Arc::new(Dump::new(&self.group, stream.source));
            for (number, own) in all.iter_mut().enumerate() {
                let reader = Reader {
                    dump: Arc::clone(&dump),
                    number,
                };
                own.push(Stream {
                    place: stream.place,
                    source: match is_files {
                        true => StreamSource::Files(Box::new(reader)),
                        false => StreamSource::Produced(Box::new(reader)),
                    },
                    path: stream.path.clone(),
                    mode: stream.mode,
                    user: stream.user.clone(),
                    group: stream.group.clone(),
                    time: stream.time,
                    chunker: stream.chunker,
                });
            }
        }
        all
    }

    /// Tells whether the dumps went on without an archive, by its number.
    pub fn left_behind(&self, number: usize) -> bool {
        self.group.left_behind(number)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for thread in locked(&self.group.threads).drain(..) {
            let _ = thread.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all dumps know of those who take them.
struct Group {
    names: Vec<String>,
    log: Log,
    patience: Duration,
    people: Mutex<Vec<Person>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// One archive, seen from the dumps.
struct Person {
    /// Dumps under way that it takes.
    joined: usize,
    /// Those of them that wait for it. With fewer than it takes it waits for a program itself.
    owed: usize,
    /// When it took something last.
    active: Instant,
    left_behind: bool,
}

impl Group {
    fn change(&self, number: usize, change: impl FnOnce(&mut Person)) {
        if let Some(person) = locked(&self.people).get_mut(number) {
            change(person);
        }
    }

    fn takes(&self, number: usize) {
        self.change(number, |person| person.active = Instant::now());
    }

    fn left_behind(&self, number: usize) -> bool {
        let people = locked(&self.people);
        people.get(number).is_some_and(|person| person.left_behind)
    }

    /// Tells whether others waited long enough for it, where they have since `since`.
    fn is_stalled(&self, number: usize, since: Instant) -> bool {
        locked(&self.people).get(number).is_some_and(|person| {
            person.joined <= person.owed && person.active.max(since).elapsed() > self.patience
        })
    }

    fn leave_behind(&self, number: usize) {
        let mut known = true;
        self.change(number, |person| {
            known = std::mem::replace(&mut person.left_behind, true);
        });
        let name = self.names.get(number).filter(|_| !known);
        if let Some(name) = name {
            let seconds = self.patience.as_secs();
            let text = format!(
                "{name}: took nothing of the dumps for {seconds} seconds; they go on without it"
            );
            self.log.output(Level::Warning, &text);
        }
    }

    fn why_left_behind(&self) -> ProducerError {
        let seconds = self.patience.as_secs();
        ProducerError(format!(
            "the dump for several repositories went on without this archive, which took nothing for {seconds} seconds"
        ))
    }
}

/// One dump, shared by all who take it and the thread that makes it.
struct Dump {
    group: Arc<Group>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Until the thread has it.
    source: Option<StreamSource>,
    /// How it ended, and how long it is.
    ended: Option<Result<u64, String>>,
    seats: Vec<Seat>,
}

/// What waits for one of those who take it.
#[derive(Default)]
struct Seat {
    standing: Standing,
    /// Whether the dump is under way.
    counted: bool,
    pipe: Option<OwnedFd>,
    files: VecDeque<ProducedFile>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Standing {
    /// It has not come to this dump yet.
    #[default]
    Expected,
    Joined,
    Gone,
}

/// The end of a pipe to one of those who take a dump.
struct Outlet {
    number: usize,
    pipe: PipeWriter,
    /// How much of the piece it has.
    taken: usize,
    broken: bool,
}

impl Dump {
    fn new(group: &Arc<Group>, source: StreamSource) -> Self {
        Self {
            state: Mutex::new(State {
                source: Some(source),
                ended: None,
                seats: group.names.iter().map(|_| Seat::default()).collect(),
            }),
            group: Arc::clone(group),
            changed: Condvar::new(),
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, MOMENT);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Somebody has come to this dump. The first one begins the thread.
    fn join(self: &Arc<Self>, number: usize) {
        let mut state = locked(&self.state);
        let Some(seat) = state.seats.get_mut(number) else {
            return;
        };
        if seat.standing != Standing::Expected {
            return;
        }
        seat.standing = Standing::Joined;
        self.group.takes(number);
        if let Some(source) = state.source.take() {
            let dump = Arc::clone(self);
            let thread = std::thread::spawn(move || dump.make(source));
            locked(&self.group.threads).push(thread);
        }
        self.changed.notify_all();
    }

    fn leave(&self, number: usize) {
        let mut state = locked(&self.state);
        let Some(seat) = state.seats.get_mut(number) else {
            return;
        };
        if seat.counted {
            self.group.change(number, |person| person.joined -= 1);
        }
        if seat.standing == Standing::Joined {
            self.group.takes(number);
        }
        *seat = Seat {
            standing: Standing::Gone,
            ..Seat::default()
        };
        self.changed.notify_all();
    }

    fn standing(&self, number: usize) -> Standing {
        let standing = locked(&self.state)
            .seats
            .get(number)
            .map(|seat| seat.standing);
        match standing {
            Some(standing) if !self.group.left_behind(number) => standing,
            _ => Standing::Gone,
        }
    }

    /// Those who stand like this.
    fn all(&self, standing: Standing) -> Vec<usize> {
        let numbers = 0..self.group.names.len();
        numbers
            .filter(|number| self.standing(*number) == standing)
            .collect()
    }

    fn make(&self, source: StreamSource) {
        let result = match (self.gather(), source) {
            (false, _) | (_, StreamSource::Open(_)) => Err("nobody takes it any more".to_owned()),
            (true, StreamSource::Produced(producer)) => self.bytes(producer.as_ref()),
            (true, StreamSource::Files(producer)) => self.files(producer.as_ref()),
        };
        locked(&self.state).ended = Some(result);
        self.changed.notify_all();
    }

    /// Waits until all have come who are to come. Tells whether there is anybody.
    fn gather(&self) -> bool {
        let since = Instant::now();
        loop {
            let (expected, here) = (self.all(Standing::Expected), self.all(Standing::Joined));
            if expected.is_empty() || end_wanted() {
                self.count();
                return !here.is_empty();
            }
            for number in expected {
                if !here.is_empty() && self.group.is_stalled(number, since) {
                    self.group.leave_behind(number);
                }
            }
            drop(self.wait(locked(&self.state)));
        }
    }

    /// The dump is under way for those who are here.
    fn count(&self) {
        for (number, seat) in locked(&self.state).seats.iter_mut().enumerate() {
            if seat.standing == Standing::Joined {
                seat.counted = true;
                self.group.change(number, |person| person.joined += 1);
            }
        }
    }

    /// Makes a dump that is one stream of bytes.
    fn bytes(&self, producer: &dyn Producer) -> Result<u64, String> {
        let source = producer.begin().map_err(|error| error.0)?;
        let mut outlets = Vec::new();
        for number in self.all(Standing::Joined) {
            let (outlet, pipe) = Outlet::open(number).map_err(|error| error.to_string())?;
            outlets.push(outlet);
            if let Some(seat) = locked(&self.state).seats.get_mut(number) {
                seat.pipe = Some(pipe);
            }
        }
        self.changed.notify_all();
        let ended = self.copy(File::from(source), outlets)?;
        let abandoned = || self.all(Standing::Joined).is_empty();
        let finished = producer.finish(&ended, &abandoned);
        finished.map(|()| ended.bytes).map_err(|error| error.0)
    }

    /// Makes a dump that is several files.
    fn files(&self, producer: &dyn FileProducer) -> Result<u64, String> {
        loop {
            if self.all(Standing::Joined).is_empty() {
                return Err("nobody takes it any more".to_owned());
            }
            match producer.next().map_err(|error| error.0)? {
                NextFile::NotYet => {}
                NextFile::End => return Ok(0),
                NextFile::File(file) => {
                    let outlets = self.offer(&file.path).map_err(|error| error.to_string())?;
                    self.copy(File::from(file.content), outlets)?;
                }
            }
        }
    }

    /// Gives everybody the next file, when they have room for it.
    fn offer(&self, path: &[u8]) -> io::Result<Vec<Outlet>> {
        let since = Instant::now();
        let mut owed: Vec<usize> = Vec::new();
        loop {
            let here = self.all(Standing::Joined);
            let state = locked(&self.state);
            let is_full = |number: &usize| {
                let seat = state.seats.get(*number);
                seat.is_some_and(|seat| seat.files.len() >= WAITING_FILES)
            };
            let (full, free): (Vec<usize>, Vec<usize>) = here.iter().partition(|n| is_full(n));
            self.owe(&mut owed, &full);
            if full.is_empty() {
                break;
            }
            for number in full {
                if !free.is_empty() && self.group.is_stalled(number, since) {
                    self.group.leave_behind(number);
                }
            }
            drop(self.wait(state));
        }
        let mut outlets = Vec::new();
        for number in self.all(Standing::Joined) {
            let (outlet, content) = Outlet::open(number)?;
            outlets.push(outlet);
            if let Some(seat) = locked(&self.state).seats.get_mut(number) {
                let path = path.to_vec();
                seat.files.push_back(ProducedFile { path, content });
            }
        }
        self.changed.notify_all();
        Ok(outlets)
    }

    /// Notes for whom this dump waits; `owed` is for whom it did.
    fn owe(&self, owed: &mut Vec<usize>, now: &[usize]) {
        for number in owed.iter().filter(|number| !now.contains(number)) {
            self.group.change(*number, |person| person.owed -= 1);
        }
        for number in now.iter().filter(|number| !owed.contains(number)) {
            self.group.change(*number, |person| person.owed += 1);
        }
        *owed = now.to_vec();
    }

    /// Hands all that comes out of `source` to everybody.
    fn copy(&self, mut source: File, mut outlets: Vec<Outlet>) -> Result<Ended, String> {
        let mut ended = Ended::default();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            outlets.retain(|outlet| self.standing(outlet.number) == Standing::Joined);
            if outlets.is_empty() {
                return Err("nobody takes it any more".to_owned());
            }
            if !is_ready(&mut [PollFd::new(&source, PollFlags::IN)]) {
                continue;
            }
            let count = match source.read(&mut buffer) {
                Ok(0) => return Ok(ended),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            let piece = buffer.get(..count).unwrap_or_default();
            ended.add(piece);
            self.hand_out(piece, &mut outlets);
        }
    }

    /// Waits until everybody has a piece who does not stay behind.
    fn hand_out(&self, piece: &[u8], outlets: &mut Vec<Outlet>) {
        let since = Instant::now();
        let mut owed: Vec<usize> = Vec::new();
        outlets.iter_mut().for_each(|outlet| outlet.taken = 0);
        loop {
            for outlet in &mut *outlets {
                if outlet.fill(piece) {
                    self.group.takes(outlet.number);
                }
            }
            outlets.retain(|outlet| {
                !outlet.broken && self.standing(outlet.number) == Standing::Joined
            });
            let waits = |outlet: &&Outlet| outlet.taken < piece.len();
            let waiting: Vec<&Outlet> = outlets.iter().filter(waits).collect();
            let numbers: Vec<usize> = waiting.iter().map(|outlet| outlet.number).collect();
            self.owe(&mut owed, &numbers);
            if waiting.is_empty() {
                return;
            }
            // With nobody else to be kept waiting there is time.
            if waiting.len() < outlets.len() {
                for number in numbers {
                    if self.group.is_stalled(number, since) {
                        self.group.leave_behind(number);
                    }
                }
            }
            let mut watched: Vec<PollFd<'_>> = waiting
                .iter()
                .map(|outlet| PollFd::new(&outlet.pipe, PollFlags::OUT))
                .collect();
            is_ready(&mut watched);
        }
    }
}

/// Waits a moment until something can be read or written.
fn is_ready(watched: &mut [PollFd<'_>]) -> bool {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(MOMENT.subsec_nanos()),
    };
    matches!(poll(watched, Some(&moment)), Ok(1..))
}

impl Outlet {
    fn open(number: usize) -> io::Result<(Self, OwnedFd)> {
        let (reader, pipe) = io::pipe()?;
        // Who is slow must not keep the others waiting more than needed.
        let _ = fastness_sys::process::widen_pipe(&pipe);
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let outlet = Self {
            number,
            pipe,
            taken: 0,
            broken: false,
        };
        Ok((outlet, reader.into()))
    }

    /// Puts as much into the pipe as it takes. Tells whether that was anything.
    fn fill(&mut self, piece: &[u8]) -> bool {
        let before = self.taken;
        while let Some(rest) = piece.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match self.pipe.write(rest) {
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.broken = error.kind() != io::ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.taken > before
    }
}

#[cfg(test)]
mod tests;
