//! The two pipes to a client.
//!
//! Answers are gathered while there are requests left to answer, so that many small ones leave at
//! once; values go out from where they lie.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use fastness_format::rpc::{Form, Inbox, Response, raw_answer_head};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Host;

/// Gathered answers leave when there are so many bytes of them.
const GATHERED_BYTES: usize = 128 * 1024;

/// How often it is looked whether the server is to end, while no request comes.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// The pipes to a client and what is under way in them.
pub(super) struct Connection {
    input: File,
    output: File,
    inbox: Inbox,
    gathered: Vec<u8>,
}

/// What waiting for requests brought.
pub(super) enum Received {
    /// There is more in the inbox.
    Bytes,
    /// Nothing will come any more.
    End,
}

/// The way to the client.
pub(super) struct Outbox<'a> {
    input: BorrowedFd<'a>,
    output: &'a File,
    gathered: &'a mut Vec<u8>,
}

impl Connection {
    pub(super) fn new(input: File, output: File) -> Self {
        Self {
            input,
            output,
            inbox: Inbox::new(),
            gathered: Vec::new(),
        }
    }

    /// Waits for bytes of the client, and tells it now and then that it is waited for.
    pub(super) fn receive(
        &mut self,
        host: &dyn Host,
        keep_alive: Duration,
    ) -> io::Result<Received> {
        let mut told = Instant::now();
        loop {
            if host.end_wanted() {
                return Ok(Received::End);
            }
            if told.elapsed() >= keep_alive {
                host.still_here();
                told = Instant::now();
            }
            let wait = LOOK_AROUND.min(keep_alive);
            match state(self.input.as_fd(), &self.output, wait)? {
                State::Nothing => continue,
                // What it sent before it went was not waited for.
                State::ReaderGone => return Ok(Received::End),
                State::Readable => {}
            }
            match self.input.read(self.inbox.room()) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => {
                    self.inbox.arrived(count);
                    return Ok(Received::Bytes);
                }
                Err(error) if is_passing(&error) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(Received::End);
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn split(&mut self) -> (&mut Inbox, Outbox<'_>) {
        let outbox = Outbox {
            input: self.input.as_fd(),
            output: &self.output,
            gathered: &mut self.gathered,
        };
        (&mut self.inbox, outbox)
    }

    /// Writes text for a person, who may have gone.
    pub(super) fn say(&mut self, text: &str) {
        let _ = self.output.write_all(text.as_bytes());
    }
}

impl Outbox<'_> {
    /// Sends a response, some time before the next request is waited for.
    pub(super) fn send(&mut self, form: Form, response: &Response<'_>) -> io::Result<()> {
        response.encode(form, self.gathered);
        self.flush_if_many()
    }

    /// Sends a response that is a value.
    pub(super) fn send_value(&mut self, form: Form, msgid: i64, value: &[u8]) -> io::Result<()> {
        raw_answer_head(form, msgid, value.len(), self.gathered);
        if value.len() < GATHERED_BYTES {
            self.gathered.extend_from_slice(value);
            return self.flush_if_many();
        }
        self.flush()?;
        write_all(self.output, value)
    }

    fn flush_if_many(&mut self) -> io::Result<()> {
        if self.gathered.len() < GATHERED_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Sends what is gathered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        write_all(self.output, self.gathered)?;
        self.gathered.clear();
        // A long list is not kept for the rest of the session.
        self.gathered.shrink_to(8 * GATHERED_BYTES);
        Ok(())
    }

    /// Tells whether nobody is there any more, without waiting.
    pub(super) fn is_abandoned(&self) -> bool {
        let mut files = [
            PollFd::from_borrowed_fd(self.input, PollFlags::RDHUP),
            PollFd::new(self.output, PollFlags::empty()),
        ];
        let asked = poll(&mut files, Some(&Timespec::default()));
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP;
        asked.is_ok() && files.iter().any(|file| file.revents().intersects(gone))
    }
}

enum State {
    Nothing,
    Readable,
    ReaderGone,
}

/// Waits until there is something to read, or nobody any more who reads.
fn state(input: BorrowedFd<'_>, output: &File, wait: Duration) -> io::Result<State> {
    let mut files = [
        PollFd::from_borrowed_fd(input, PollFlags::IN),
        PollFd::new(output, PollFlags::empty()),
    ];
    let wait = Timespec::try_from(wait).ok();
    match poll(&mut files, wait.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(State::Nothing),
        Err(error) => return Err(error.into()),
    }
    let [input, output] = &files;
    Ok(if output.revents().intersects(PollFlags::ERR) {
        State::ReaderGone
    } else if input.revents().is_empty() {
        State::Nothing
    } else {
        State::Readable
    })
}

/// Writes everything, even to a pipe that somebody made non-blocking.
fn write_all(mut output: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut files = [PollFd::new(output, PollFlags::OUT)];
                let _ = poll(&mut files, None);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}
