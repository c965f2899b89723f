//! One session with a server: requests go out and answers come in without waiting for each other.
//!
//! One thread writes what the callers append to a buffer, one reads and hands each answer to the
//! caller who waits for it, by its number. Nobody who sends waits for an answer unless he wants
//! it, so the way there and back counts once and not for each request:
//!
//! - calls wait for their answer;
//! - changes do not; their failures are told by the next change, or by [`Connection::settle`];
//! - announced objects are asked for ahead, see [`Prefetch`].
//!
//! The reading thread never waits for anything but the server, so a server that will not read
//! before it has written cannot lock up the two.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastness_format::id::ChunkId;
use fastness_format::rpc::{
    Answer, Call, Failure, Form, Inbox, Request, Response, Version, put_head,
};

use super::failures::Death;
use super::prefetch::{Prefetch, Taken};
use super::ratelimit::RateLimit;
use super::ssh::{Ending, Pipes, Process};

/// What a call gave, on its own.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// Nothing.
    Nil,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Bytes.
    Raw(Vec<u8>),
    /// Ids.
    Ids(Vec<ChunkId>),
    /// The server's version.
    Version(Version),
}

impl Given {
    /// How many bytes an object has.
    pub fn len(&self) -> usize {
        match self {
            Self::Raw(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

impl From<Answer<'_>> for Given {
    fn from(answer: Answer<'_>) -> Self {
        match answer {
            Answer::Nil => Self::Nil,
            Answer::Bool(value) => Self::Bool(value),
            Answer::Int(value) => Self::Int(value),
            Answer::Raw(bytes) => Self::Raw(bytes.to_vec()),
            Answer::Ids(ids) => Self::Ids(ids.into_owned()),
            Answer::Negotiated(version) => Self::Version(version),
        }
    }
}

/// What came back for a request.
pub type Reply = Result<Given, Box<Failure>>;

/// A change that is not waited for.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Stores an object.
    Put(&'a ChunkId, &'a [u8]),
    /// Removes one.
    Delete(&'a ChunkId),
    /// Removes one that may not be there; [`Connection::settle`] tells of that.
    DeletePresent(&'a ChunkId),
}

/// Why a change was not sent.
#[derive(Debug)]
pub enum Refusal {
    /// An earlier change failed.
    Failed(Box<Failure>),
    /// The session is over.
    Dead(Death),
}

/// An answer to wait for.
#[derive(Debug)]
pub enum Ticket {
    /// It is here.
    Here(Reply),
    /// It is on its way.
    Coming(Receiver<Reply>),
}

/// How much goes how fast.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Bytes a second to the server; zero is no limit.
    pub upload_rate: u64,
    /// Bytes a second from the server; zero is no limit.
    pub download_rate: u64,
    /// Bytes of changes that may wait to be sent; none leaves it to this program.
    pub upload_buffer: Option<usize>,
}

/// Bytes of changes that may wait to be sent if nobody says otherwise.
const UPLOAD_BUFFER: usize = 4 << 20;
/// A larger buffer is not kept when it was written.
const KEPT_BUFFER: usize = 32 << 20;
/// How long a process whose pipe has closed may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a server may take to close its repository.
const GOODBYE: Duration = Duration::from_secs(30);

/// Who waits for an answer.
enum Waiting {
    Call(SyncSender<Reply>),
    Change,
    DeletePresent,
    Object(ChunkId),
    Nobody,
}

struct State {
    form: Form,
    last_msgid: i64,
    outgoing: Vec<u8>,
    waiting: HashMap<i64, Waiting>,
    /// Changes without an answer.
    unanswered: usize,
    /// The first change that failed.
    failed: Option<Box<Failure>>,
    /// Something that was to be removed was not there, and might not have been.
    absent: bool,
    prefetch: Prefetch,
    closing: bool,
    dead: Option<Death>,
}

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
            state: Mutex::new(State {
                // The first request always has this form.
                form: Form::Positional,
                last_msgid: 0,
                outgoing: Vec::new(),
                waiting: HashMap::new(),
                unanswered: 0,
                failed: None,
                absent: false,
                prefetch: Prefetch::default(),
                closing: false,
                dead: None,
            }),
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
        let receiver = self.shared.lock().send_call(call)?;
        self.shared.to_write.notify_one();
        self.wait(Ticket::Coming(receiver))
    }

    /// As [`Self::call`], but ends the session when no answer comes within `limit`.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_within(&self, call: &Call<'_>, limit: Duration) -> Result<Reply, Death> {
        let receiver = self.shared.lock().send_call(call)?;
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
            if let Some(death) = &state.dead {
                return Err(Refusal::Dead(death.clone()));
            }
            if let Some(failure) = state.failed.take() {
                return Err(Refusal::Failed(failure));
            }
            let waiting = state.outgoing.len();
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

impl State {
    fn next_msgid(&mut self) -> i64 {
        self.last_msgid += 1;
        self.last_msgid
    }

    fn send_call(&mut self, call: &Call<'_>) -> Result<Receiver<Reply>, Death> {
        if let Some(death) = &self.dead {
            return Err(death.clone());
        }
        let (sender, receiver) = sync_channel(1);
        let msgid = self.next_msgid();
        self.waiting.insert(msgid, Waiting::Call(sender));
        Request::encode(self.form, msgid, call, &mut self.outgoing);
        Ok(receiver)
    }

    fn send_change(&mut self, change: Change<'_>) {
        let (Change::Put(id, _) | Change::Delete(id) | Change::DeletePresent(id)) = change;
        if let Some(msgid) = self.prefetch.forget(id) {
            self.waiting.insert(msgid, Waiting::Nobody);
        }
        let msgid = self.next_msgid();
        let waiting = match change {
            Change::DeletePresent(_) => Waiting::DeletePresent,
            Change::Put(..) | Change::Delete(_) => Waiting::Change,
        };
        self.waiting.insert(msgid, waiting);
        self.unanswered += 1;
        match change {
            Change::Put(id, data) => {
                put_head(self.form, msgid, id, data.len(), &mut self.outgoing);
                self.outgoing.extend_from_slice(data);
            }
            Change::Delete(id) | Change::DeletePresent(id) => {
                Request::encode(self.form, msgid, &Call::Delete(*id), &mut self.outgoing);
            }
        }
    }

    fn send_for_announced(&mut self) {
        while let Some(id) = self.prefetch.next(self.last_msgid + 1) {
            let msgid = self.next_msgid();
            self.waiting.insert(msgid, Waiting::Object(id));
            Request::encode(self.form, msgid, &Call::Get(id), &mut self.outgoing);
        }
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
        let may_be_absent = matches!(waiting, Waiting::DeletePresent);
        match waiting {
            Waiting::Nobody => {}
            // Nobody minds when the one who waited has gone.
            Waiting::Call(sender) => drop(sender.send(reply)),
            Waiting::Object(id) => {
                state.prefetch.arrived(&id, reply);
                state.send_for_announced();
                drop(state);
                self.to_write.notify_one();
            }
            Waiting::Change | Waiting::DeletePresent => {
                state.unanswered -= 1;
                match reply {
                    Err(failure) if may_be_absent && failure.class == "ObjectNotFound" => {
                        state.absent = true;
                    }
                    Err(failure) => {
                        state.failed.get_or_insert(failure);
                    }
                    Ok(_) => {}
                }
                if state.unanswered == 0 || state.failed.is_some() {
                    drop(state);
                    self.progress.notify_all();
                }
            }
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
