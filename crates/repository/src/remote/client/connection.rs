//! One session with a server: requests go out and answers come in without waiting for each other.
//!
//! One thread writes what the callers append to a buffer, one reads and hands each answer to the
//! caller who waits for it, by its number. Nobody who sends waits for an answer unless he wants
//! it, so the way there and back counts once and not for each request:
//!
//! - calls wait for their answer, now or later ([`Connection::post`]);
//! - changes do not; their failures are told by the next change, or by [`Connection::settle`];
//! - after a demand nothing leaves until it was answered well, see [`Connection::demand`];
//! - announced objects are asked for ahead, see [`Prefetch`].
//!
//! The reading thread never waits for anything but the server, so a server that will not read
//! before it has written cannot lock up the two.

use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastness_format::id::ChunkId;
use fastness_format::rpc::{Call, Form, Inbox, Response};

use super::exchange::{Change, Given, Pace, Refusal, Reply, Ticket};
use super::failures::Death;
use super::prefetch::{Prefetch, Taken};
use super::ratelimit::RateLimit;
use super::ssh::{Ending, Pipes, Process};
use super::state::{State, Waiting};
use crate::monitor::Monitor;

/// Bytes of changes that may wait to be sent if nobody says otherwise.
const UPLOAD_BUFFER: usize = 4 << 20;
/// A larger buffer is not kept when it was written.
const KEPT_BUFFER: usize = 32 << 20;
/// How long a process whose pipe has closed may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a server may take to close its repository.
pub const GOODBYE: Duration = Duration::from_secs(30);

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or an end.
    to_write: Condvar,
    /// There is room for changes, or answers to them, or an end.
    progress: Condvar,
    upload_buffer: usize,
}

/// A session.
pub struct Connection {
    shared: Arc<Shared>,
    process: Arc<Mutex<Process>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Connection {
    /// Begins a session over the pipes of a process.
    pub fn new(process: Process, pipes: Pipes, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            to_write: Condvar::new(),
            progress: Condvar::new(),
            upload_buffer: pace.upload_buffer.unwrap_or(UPLOAD_BUFFER),
        });
        let process = Arc::new(Mutex::new(process));
        let (stdin, stdout) = (pipes.stdin, pipes.stdout);
        let writer = {
            let (shared, process) = (Arc::clone(&shared), Arc::clone(&process));
            let limit = RateLimit::new(pace.upload_rate);
            thread::spawn(move || shared.write(stdin, limit, &process))
        };
        let reader = {
            let (shared, process) = (Arc::clone(&shared), Arc::clone(&process));
            let limit = RateLimit::new(pace.download_rate);
            thread::spawn(move || {
                let end = shared.read(stdout, limit);
                shared.die(end, &process);
            })
        };
        Self {
            shared,
            process,
            threads: Mutex::new(vec![writer, reader]),
        }
    }

    /// Lays out requests like this from now on.
    pub fn speak(&self, form: Form) {
        self.shared.lock().form = form;
    }

    /// Calls and waits for the answer.
    ///
    /// # Errors
    /// When the session ends before it comes.
    pub fn call(&self, call: &Call<'_>) -> Result<Reply, Death> {
        self.wait(self.post(call)?)
    }

    /// Calls; the answer can be waited for later.
    ///
    /// # Errors
    /// When the session is over.
    pub fn post(&self, call: &Call<'_>) -> Result<Ticket, Death> {
        let receiver = self.shared.lock().send_call(call)?;
        self.shared.to_write.notify_one();
        Ok(Ticket::Coming(receiver))
    }

    /// Calls without waiting, but lets nothing that is sent afterwards leave this machine before
    /// the server has answered, and nothing at all if it answers with a failure: that is told as
    /// if a change had failed, and changes are refused until the session ends.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub fn demand(&self, call: &Call<'_>) -> Result<(), Refusal> {
        let mut state = self.shared.lock();
        while state.held.is_some() && state.dead.is_none() {
            state = wait(&self.shared.progress, state);
        }
        state.may_change()?;
        state.send_demand(call);
        drop(state);
        self.shared.to_write.notify_one();
        Ok(())
    }

    /// As [`Self::call`], but ends the session when no answer comes within `limit`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_within(&self, call: &Call<'_>, limit: Duration) -> Result<Reply, Death> {
        // What a demand holds back would only fail with it.
        let is_held = |state: &mut State| state.held.is_some() && state.dead.is_none();
        let (mut state, _) = (self.shared.progress)
            .wait_timeout_while(self.shared.lock(), limit, is_held)
            .unwrap_or_else(PoisonError::into_inner);
        let receiver = state.send_call(call)?;
        drop(state);
        self.shared.to_write.notify_one();
        match receiver.recv_timeout(limit) {
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Disconnected) => Err(self.death()),
            Err(RecvTimeoutError::Timeout) => {
                lock(&self.process).end(Duration::ZERO);
                Err(self.death())
            }
        }
    }

    /// Asks for an object, or takes it if it was asked for before.
    ///
    /// # Errors
    /// When the session is over.
    pub fn ask(&self, id: &ChunkId) -> Result<Ticket, Death> {
        let mut state = self.shared.lock();
        let ticket = match state.prefetch.take(id) {
            Some(Taken::Here(reply)) => Ticket::Here(reply),
            Some(Taken::Coming(receiver)) => Ticket::Coming(receiver),
            None => Ticket::Coming(state.send_call(&Call::Get(*id))?),
        };
        state.send_for_announced();
        drop(state);
        self.shared.to_write.notify_one();
        Ok(ticket)
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// When the session ends before it comes.
    pub fn wait(&self, ticket: Ticket) -> Result<Reply, Death> {
        match ticket {
            Ticket::Here(reply) => Ok(reply),
            Ticket::Coming(receiver) => receiver.recv().map_err(|_| self.death()),
        }
    }

    /// Asks for objects before they are wanted.
    pub fn announce(&self, ids: &[ChunkId]) {
        let mut state = self.shared.lock();
        if state.dead.is_none() {
            state.prefetch.announce(ids);
            state.send_for_announced();
            drop(state);
            self.shared.to_write.notify_one();
        }
    }

    /// Sends a change, as soon as there is room for it.
    ///
    /// # Errors
    /// When an earlier change failed, which is told once, or the session is over.
    pub fn change(&self, change: Change<'_>) -> Result<(), Refusal> {
        let bytes = match change {
            Change::Put(_, data) => data.len(),
            Change::Delete(_) | Change::DeletePresent(_) => 0,
        };
        let mut state = self.shared.lock();
        loop {
            state.may_change()?;
            let held = state.held.as_ref().map_or(0, |held| held.bytes.len());
            let waiting = state.outgoing.len().saturating_add(held);
            if waiting == 0 || waiting.saturating_add(bytes) <= self.shared.upload_buffer {
                break;
            }
            state = wait(&self.shared.progress, state);
        }
        state.send_change(change);
        drop(state);
        self.shared.to_write.notify_one();
        Ok(())
    }

    /// Waits for the answers to all changes. Returns whether all was there that was to be removed
    /// if it was.
    ///
    /// # Errors
    /// When one failed, or the session ends before.
    pub fn settle(&self) -> Result<bool, Refusal> {
        let mut state = self.shared.lock();
        while state.unanswered > 0 && state.dead.is_none() {
            state = wait(&self.shared.progress, state);
        }
        if let Some(death) = &state.dead {
            return Err(Refusal::Dead(death.clone()));
        }
        match state.failed.take() {
            Some(failure) => Err(Refusal::Failed(failure)),
            None => Ok(!std::mem::take(&mut state.absent)),
        }
    }

    /// Forgets failures of changes and what was asked for ahead: the transaction is over.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.failed = None;
        state.absent = false;
        for msgid in state.prefetch.forget_all() {
            state.waiting.insert(msgid, Waiting::Nobody);
        }
    }

    /// As [`Self::forget`], also what failed for good: another repository is going to be opened.
    pub fn begin_anew(&self) {
        self.forget();
        self.shared.lock().barred = None;
    }

    /// From now on somebody else is told what the server logs.
    pub fn report_to(&self, monitor: &Arc<dyn Monitor>) {
        lock(&self.process).report_to(monitor);
    }

    /// Ends the session: the server closes the repository, the process ends.
    pub fn close(&self) {
        {
            let mut state = self.shared.lock();
            state.closing = true;
            if state.dead.is_some() {
                // Nobody reads it.
                state.outgoing.clear();
            }
        }
        self.shared.to_write.notify_one();
        let threads = std::mem::take(&mut *lock(&self.threads));
        if threads.is_empty() {
            return;
        }
        lock(&self.process).end(GOODBYE);
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn death(&self) -> Death {
        let mut state = self.shared.lock();
        loop {
            match &state.dead {
                Some(death) => return death.clone(),
                // Callers lose their answer a moment before.
                None => state = wait(&self.shared.progress, state),
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Writes until the session is closed. The pipe closes with it, which the server takes as the
    /// end.
    fn write(&self, mut stdin: ChildStdin, mut limit: RateLimit, process: &Mutex<Process>) {
        let mut buffer = Vec::new();
        loop {
            let mut state = self.lock();
            while state.outgoing.is_empty() {
                if state.closing || state.dead.is_some() {
                    return;
                }
                state = wait(&self.to_write, state);
            }
            std::mem::swap(&mut buffer, &mut state.outgoing);
            drop(state);
            self.progress.notify_all();
            let written = write_limited(&mut stdin, &buffer, &mut limit);
            buffer.clear();
            if buffer.capacity() > KEPT_BUFFER {
                buffer = Vec::new();
            }
            if written.is_err() {
                drop(stdin);
                return self.expect_death(process);
            }
        }
    }

    /// Nobody takes what is written: the other direction ends soon, or is made to.
    fn expect_death(&self, process: &Mutex<Process>) {
        let state = self.lock();
        let alive = |state: &mut State| state.dead.is_none();
        let (state, timeout) = self
            .progress
            .wait_timeout_while(state, LAST_WORDS, alive)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if timeout.timed_out() {
            lock(process).end(Duration::ZERO);
        }
    }

    /// Reads until the session ends; none is a plain end.
    fn read(&self, mut stdout: ChildStdout, mut limit: RateLimit) -> Option<Death> {
        let mut inbox = Inbox::new();
        loop {
            let room = inbox.room();
            let granted = limit.take(room.len());
            let (room, _) = room.split_at_mut_checked(granted)?;
            let count = match stdout.read(room) {
                Ok(0) => return None,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => 0,
                Err(_) => return None,
            };
            limit.give(granted.saturating_sub(count));
            inbox.arrived(count);
            loop {
                match inbox.next_message() {
                    Ok(None) => break,
                    Ok(Some(message)) => {
                        if self.take_message(message).is_none() {
                            let mut bytes = message.to_vec();
                            bytes.extend_from_slice(inbox.pending());
                            return Some(Death::unexpected(&bytes));
                        }
                    }
                    Err(_) => return Some(Death::unexpected(inbox.pending())),
                }
            }
        }
    }

    /// Hands an answer to the one who waits; none if it is no answer to anything.
    fn take_message(&self, message: &[u8]) -> Option<()> {
        let response = Response::decode(message).ok()?;
        let msgid = response.msgid;
        let reply = response.outcome.map(Given::from).map_err(Box::new);
        let mut state = self.lock();
        let waiting = state.waiting.remove(&msgid)?;
        let is_progress = state.deliver(waiting, reply);
        let to_write = !state.outgoing.is_empty();
        drop(state);
        if is_progress {
            self.progress.notify_all();
        }
        if to_write {
            self.to_write.notify_one();
        }
        Some(())
    }

    fn die(&self, death: Option<Death>, process: &Mutex<Process>) {
        let closing = self.lock().closing;
        let death = match death {
            Some(death) => {
                lock(process).end(Duration::ZERO);
                death
            }
            None if closing => Death::Closed(Ending::default()),
            None => Death::Closed(lock(process).end(LAST_WORDS)),
        };
        let mut state = self.lock();
        state.dead = Some(death);
        state.held = None;
        state.waiting.clear();
        state.prefetch = Prefetch::default();
        drop(state);
        self.progress.notify_all();
        self.to_write.notify_all();
    }
}

fn write_limited(
    stdin: &mut ChildStdin,
    mut bytes: &[u8],
    limit: &mut RateLimit,
) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let granted = limit.take(bytes.len());
        let (now, later) = bytes.split_at_checked(granted).unwrap_or((bytes, &[]));
        stdin.write_all(now)?;
        bytes = later;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition
        .wait(guard)
        .unwrap_or_else(PoisonError::into_inner)
}
