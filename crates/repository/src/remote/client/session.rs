//! The beginning of a session: who answers, and the repository that it opens.
//!
//! The greeting, the opening and what is wanted first leave together. The form of the greeting is
//! understood by all servers; that of what follows by those since 1.1, which take requests one
//! after the other. An older server ends the session on it, and is then greeted alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::location::Location;
use fastness_format::rpc::{Call, Failure, Form, OLD_PROTOCOL, Open, Version};

use super::connection::{Connection, GOODBYE};
use super::exchange::{Given, Refusal, Reply, Ticket};
use super::failures::{self, Death};
use super::kept::Way;
use super::ssh::Process;
use super::{Ahead, RemoteOptions};
use crate::error::{RepositoryError, Result};

/// The version that this client tells servers: that of the Borg it behaves like.
const VERSION: [i64; 4] = [1, 4, 5, -1];

/// A session and what is known of the other side.
pub(super) struct Session {
    pub connection: Connection,
    /// The address, for messages.
    pub name: String,
    pub version: Version,
    pub way: Way,
    /// The key, if it was asked for ahead.
    key: Mutex<Option<Ticket>>,
    /// The first free counter value, if it was asked for ahead.
    counter: Mutex<Option<Ticket>>,
}

/// Whether requests wait for the answer to the greeting.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// All that is known is sent.
    Eager,
    /// The greeting is sent alone.
    Careful,
}

impl Session {
    /// Begins a session and opens a repository.
    pub fn open(
        location: &Location,
        options: &RemoteOptions,
        open: &Open<'_>,
    ) -> Result<(Arc<Self>, RepositoryId)> {
        let way = Way::to(location, options);
        let kept = options.kept.as_ref().filter(|_| !open.create);
        if let Some(session) = kept.and_then(|kept| kept.take(&way)) {
            session.connection.report_to(&options.monitor);
            let opening = session.connection.post(&Call::Open(open.clone()));
            session.ask_ahead(options.ahead, open);
            // One that ended while nobody used it is no error.
            let reply = opening.and_then(|opening| session.connection.wait(opening));
            if reply.is_ok() {
                let id = session.opened(session.given(reply, None)?)?;
                return Ok((session, id));
            }
        }
        let (session, id) = Self::begin_and_open(location, options, open, &way)?;
        Ok((Arc::new(session), id))
    }

    fn begin_and_open(
        location: &Location,
        options: &RemoteOptions,
        open: &Open<'_>,
        way: &Way,
    ) -> Result<(Self, RepositoryId)> {
        // Not every server knows how to make them, and it would make nothing of the wish.
        if !open.make_parent_dirs
            && let Some(opened) = Self::attempt(location, options, open, way, Manner::Eager)?
        {
            return Ok(opened);
        }
        let opened = Self::attempt(location, options, open, way, Manner::Careful)?;
        opened.ok_or_else(|| Death::Unexpected("no answer to negotiate".to_owned()).error(None))
    }

    /// None if the server is too old for this manner.
    fn attempt(
        location: &Location,
        options: &RemoteOptions,
        open: &Open<'_>,
        way: &Way,
        manner: Manner,
    ) -> Result<Option<(Self, RepositoryId)>> {
        let mut session = Self::begin(location, options, way)?;
        let request = Call::Open(open.clone());
        let hello = Call::Negotiate(Some(Version::new(VERSION)));
        let hello = session.connection.post(&hello);
        let eager = (manner == Manner::Eager).then(|| {
            session.connection.speak(Form::Named);
            let opening = session.connection.post(&request);
            session.ask_ahead(options.ahead, open);
            opening
        });
        let form = session.meet(hello)?;
        if eager.is_some() && form == Form::Positional {
            return Ok(None);
        }
        session.connection.speak(form);
        if open.make_parent_dirs {
            session.require("open make_parent_dirs=True", [1, 1, 9, -1])?;
        }
        let opening = eager.unwrap_or_else(|| session.connection.post(&request));
        let id = session.opened(session.wait(opening)?)?;
        Ok(Some((session, id)))
    }

    /// The identity of the repository that was opened.
    fn opened(&self, given: Given) -> Result<RepositoryId> {
        let id = match given {
            Given::Raw(bytes) => RepositoryId::from_slice(&bytes),
            _ => None,
        };
        id.ok_or_else(|| self.unexpected("open"))
    }

    /// Starts the process.
    fn begin(location: &Location, options: &RemoteOptions, way: &Way) -> Result<Self> {
        let words = &way.words;
        options
            .monitor
            .debug(format!("SSH command line: {words:?}"));
        let started = Process::start(words, &options.server.environment, &options.monitor);
        let (process, pipes) = started.map_err(|source| RepositoryError::Unreachable {
            program: words
                .first()
                .map(|word| word.to_string_lossy().into_owned())
                .unwrap_or_default(),
            source,
        })?;
        Ok(Self {
            connection: Connection::new(process, pipes, options.pace),
            name: location.repository_text(),
            version: Version::untold(),
            way: way.clone(),
            key: Mutex::default(),
            counter: Mutex::default(),
        })
    }

    /// Finds out who answers, and how that one wants to be spoken to.
    fn meet(&mut self, hello: std::result::Result<Ticket, Death>) -> Result<Form> {
        let hint = Some("Is borg working on the server?");
        let reply = hello.and_then(|hello| self.connection.wait(hello));
        match reply.map_err(|death| death.error(hint))? {
            Ok(Given::Version(version)) => {
                self.version = version;
                Ok(Form::Named)
            }
            Ok(Given::Int(OLD_PROTOCOL)) => Ok(Form::Positional),
            Ok(_) => Err(self.unexpected("negotiate")),
            Err(failure) => Err(self.failure(&failure, None)),
        }
    }

    /// Asks for what is wanted first. A session that has ended will be noticed by the one who wants
    /// the answers; what is read without a lock is read when it is wanted.
    fn ask_ahead(&self, ahead: Ahead, open: &Open<'_>) {
        if !open.lock {
            return;
        }
        if ahead >= Ahead::Manifest {
            self.connection.announce(&[ChunkId::MANIFEST]);
        }
        if ahead >= Ahead::ToRead {
            self.expect_key();
        }
        if ahead >= Ahead::ToWrite {
            let asked = self.connection.post(&Call::GetFreeNonce).ok();
            *lock(&self.counter) = asked;
        }
    }

    /// Closes the repository without ending the session; false if the server cannot.
    pub fn close_repository(&self) -> bool {
        lock(&self.key).take();
        lock(&self.counter).take();
        let closed = self.connection.call_within(&Call::Close, GOODBYE);
        self.connection.begin_anew();
        matches!(closed, Ok(Ok(_)))
    }

    /// Asks for the key before it is wanted.
    pub fn expect_key(&self) {
        let asked = self.connection.post(&Call::LoadKey).ok();
        *lock(&self.key) = asked;
    }

    /// Loads the key.
    pub fn load_key(&self) -> Result<Given> {
        self.take(&self.key, &Call::LoadKey)
    }

    /// Saves a key in the place of the one there was.
    pub fn save_key(&self, key: &[u8]) -> Result<()> {
        lock(&self.key).take();
        self.call(&Call::SaveKey(key)).map(drop)
    }

    /// Asks for the first free counter value.
    pub fn get_free_nonce(&self) -> Result<Given> {
        self.take(&self.counter, &Call::GetFreeNonce)
    }

    /// Takes what was asked for ahead, once, or else asks for it.
    fn take(&self, ahead: &Mutex<Option<Ticket>>, call: &Call<'_>) -> Result<Given> {
        let asked = lock(ahead).take();
        match asked {
            Some(ticket) => self.wait(Ok(ticket)),
            None => self.call(call),
        }
    }

    fn wait(&self, ticket: std::result::Result<Ticket, Death>) -> Result<Given> {
        self.given(ticket.and_then(|ticket| self.connection.wait(ticket)), None)
    }

    /// Calls and waits for the answer.
    pub fn call(&self, call: &Call<'_>) -> Result<Given> {
        self.given(self.connection.call(call), None)
    }

    /// Makes an error of what is no answer.
    pub fn given(
        &self,
        reply: std::result::Result<Reply, Death>,
        wanted: Option<&ChunkId>,
    ) -> Result<Given> {
        match reply {
            Ok(Ok(given)) => Ok(given),
            Ok(Err(failure)) => Err(self.failure(&failure, wanted)),
            Err(death) => Err(death.error(None)),
        }
    }

    fn failure(&self, failure: &Failure, wanted: Option<&ChunkId>) -> RepositoryError {
        failures::error(failure, &self.name, wanted)
    }

    /// The error of a change that was not sent.
    pub fn refusal(&self, refusal: &Refusal) -> RepositoryError {
        match refusal {
            Refusal::Failed(failure) => self.failure(failure, None),
            Refusal::Dead(death) => death.error(None),
        }
    }

    /// The error of an answer that is none to the question.
    pub fn unexpected(&self, method: &str) -> RepositoryError {
        Death::Unexpected(format!("no answer to {method}")).error(None)
    }

    /// Refuses to ask an old server for what it would not understand.
    pub fn require(&self, what: &str, since: impl Into<Vec<i64>>) -> Result<()> {
        let since = Version::new(since);
        if self.version >= since {
            return Ok(());
        }
        Err(RepositoryError::Remote {
            class: "RemoteRepository.RPCServerOutdated".to_owned(),
            message: format!("Borg server is too old for {what}. Required version {since}"),
        })
    }
}

fn lock(ahead: &Mutex<Option<Ticket>>) -> MutexGuard<'_, Option<Ticket>> {
    ahead.lock().unwrap_or_else(PoisonError::into_inner)
}
