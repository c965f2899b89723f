//! A repository that a server keeps: Borg's own, of any version since 1.0.7, or ours.
//!
//! ```text
//! mod           the repository: each method is a call          ssh         the process in between
//! session       who answers, and what is asked for ahead       ratelimit   bytes a second
//! connection    requests and answers, on their way at once     failures    errors from over there
//! state         what is under way                              exchange    values that go and come
//! prefetch      objects that are asked for ahead               kept        sessions between commands
//! ```
//!
//! Objects are stored and deleted without waiting; a failure is told by the next change or by the
//! commit, which waits for all of them. A session that ends in the middle leaves a transaction
//! without its commit: the server, or the next client, drops it.

mod connection;
mod exchange;
mod failures;
mod kept;
mod prefetch;
mod ratelimit;
mod session;
mod ssh;
mod state;

use std::sync::Arc;
use std::time::Duration;

use fastness_format::id::{ChunkId, RepositoryId};
use fastness_format::location::Location;
use fastness_format::rpc::{Call, Open, Version};

use self::exchange::{Change, Given, Ticket};
use self::failures::Death;
use self::session::Session;
use crate::error::{RepositoryError, Result};
use crate::local::lock::{LockKind, LockWait};
use crate::monitor::Monitor;
use crate::{CheckOptions, CommitReport, CompactOptions, NonceStore, Repository, Room};

pub use self::exchange::Pace;
pub use self::kept::KeptSessions;
pub use self::ssh::{Ending, ServerCommand};

/// Ids that are asked for at once.
const PAGE: usize = 100_000;
/// How long a server may take to roll back.
const ROLLBACK: Duration = Duration::from_secs(30);

/// How a repository on another machine is opened.
#[derive(Clone)]
pub struct RemoteOptions {
    /// How the server is started.
    pub server: ServerCommand,
    /// How much goes how fast.
    pub pace: Pace,
    /// The kind of lock and how long to wait for it; none leaves the repository unlocked.
    pub lock: Option<(LockKind, LockWait)>,
    /// What is asked for together with the opening.
    pub ahead: Ahead,
    /// Where sessions are kept for the next command.
    pub kept: Option<Arc<KeptSessions>>,
    /// Receives what the server logs.
    pub monitor: Arc<dyn Monitor>,
}

/// What is going to be wanted first. It is asked for before it is known whether the repository can
/// be opened, so that all of it takes one way there and back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ahead {
    /// Nothing that is known before.
    #[default]
    Nothing,
    /// The manifest.
    Manifest,
    /// Also the key.
    ToRead,
    /// Also the first free counter value.
    ToWrite,
}

/// What a new repository is like. The server chooses its identity.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRemote {
    /// Nothing is ever removed.
    pub append_only: bool,
    /// Also creates the directories above it.
    pub make_parent_dirs: bool,
}

/// An open repository on another machine.
pub struct RemoteRepository {
    session: Arc<Session>,
    id: RepositoryId,
    /// Whether there is a transaction.
    changed: bool,
    kept: Option<Arc<KeptSessions>>,
    /// The session belongs to the next command.
    is_closed: bool,
}

impl RemoteRepository {
    /// Opens a repository.
    ///
    /// # Errors
    /// When there is no way to the server, or it cannot open the repository.
    pub fn open(location: &Location, options: &RemoteOptions) -> Result<Self> {
        Self::start(location, options, None)
    }

    /// Creates a repository and opens it.
    ///
    /// # Errors
    /// As [`Self::open`]; when there is one already.
    pub fn create(location: &Location, options: &RemoteOptions, new: NewRemote) -> Result<Self> {
        Self::start(location, options, Some(new))
    }

    fn start(location: &Location, options: &RemoteOptions, new: Option<NewRemote>) -> Result<Self> {
        let make_parent_dirs = new.is_some_and(|new| new.make_parent_dirs);
        let kind = options.lock.map(|(kind, _)| kind);
        let wait = options.lock.map(|(_, wait)| wait).unwrap_or_default();
        let open = Open {
            path: &location.path,
            create: new.is_some(),
            lock_wait: match wait {
                LockWait::Forever => None,
                LockWait::UpTo(limit) => Some(limit.as_secs_f64()),
            },
            lock: options.lock.is_some(),
            exclusive: Some(kind == Some(LockKind::Exclusive)),
            append_only: new.is_some_and(|new| new.append_only),
            make_parent_dirs,
        };
        let (session, id) = Session::open(location, options, &open)?;
        Ok(Self {
            session,
            id,
            changed: false,
            kept: options.kept.clone(),
            is_closed: false,
        })
    }

    /// The version of the server.
    pub fn server_version(&self) -> &Version {
        &self.session.version
    }

    fn read(&self, id: &ChunkId, ticket: std::result::Result<Ticket, Death>) -> Result<Vec<u8>> {
        let session = &self.session;
        let connection = &session.connection;
        let reply = ticket.and_then(|ticket| connection.wait(ticket));
        match session.given(reply, Some(id))? {
            Given::Raw(value) => Ok(value),
            _ => Err(session.unexpected("get")),
        }
    }

    /// Calls page by page, where all ids are wanted at once.
    fn pages(
        &self,
        limit: Option<usize>,
        marker: Option<&ChunkId>,
        call: impl Fn(Option<u64>, Option<ChunkId>) -> Call<'static>,
    ) -> Result<Vec<ChunkId>> {
        let mut ids: Vec<ChunkId> = Vec::new();
        let mut left = limit.unwrap_or(usize::MAX);
        while left > 0 {
            let marker = ids.last().or(marker).copied();
            let wanted = left.min(PAGE);
            let call = call(Some(wanted as u64), marker);
            let page = match self.session.call(&call)? {
                Given::Ids(page) => page,
                _ => return Err(self.session.unexpected(call.method())),
            };
            left = left.saturating_sub(page.len());
            let is_last = page.len() < wanted;
            match ids.is_empty() {
                true => ids = page,
                false => ids.extend(page),
            }
            if is_last {
                break;
            }
        }
        Ok(ids)
    }

    fn change(&mut self, change: Change<'_>) -> Result<()> {
        self.changed = true;
        let sent = self.session.connection.change(change);
        sent.map_err(|refusal| self.session.refusal(&refusal))
    }
}

impl Repository for RemoteRepository {
    fn id(&self) -> RepositoryId {
        self.id
    }

    fn location(&self) -> String {
        self.session.name.clone()
    }

    /// Gives a buffer of its own: the value came in one.
    fn get_with(&self, id: &ChunkId, _room: &mut Room<'_>) -> Result<Vec<u8>> {
        self.read(id, self.session.connection.ask(id))
    }

    fn get_many(&self, ids: &[ChunkId]) -> Vec<Result<Vec<u8>>> {
        let tickets: Vec<_> = ids
            .iter()
            .map(|id| self.session.connection.ask(id))
            .collect();
        let pairs = ids.iter().zip(tickets);
        pairs.map(|(id, ticket)| self.read(id, ticket)).collect()
    }

    fn prefetch(&self, ids: &[ChunkId]) {
        self.session.connection.announce(ids);
    }

    fn expect_key(&self) {
        self.session.expect_key();
    }

    /// Reads the object: servers have no other way to tell.
    fn contains(&self, id: &ChunkId) -> Result<bool> {
        match self.get(id) {
            Ok(_) => Ok(true),
            Err(RepositoryError::ObjectNotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn len(&self) -> Result<usize> {
        match self.session.call(&Call::Len)? {
            Given::Int(count) => Ok(usize::try_from(count).unwrap_or_default()),
            _ => Err(self.session.unexpected("__len__")),
        }
    }

    fn list(&self, limit: Option<usize>, marker: Option<&ChunkId>) -> Result<Vec<ChunkId>> {
        self.pages(limit, marker, |limit, marker| Call::List { limit, marker })
    }

    fn scan(&self, limit: Option<usize>, marker: Option<&ChunkId>) -> Result<Vec<ChunkId>> {
        self.session.require("scan", [1, 1, 0, -3, 3])?;
        self.pages(limit, marker, |limit, marker| Call::Scan { limit, marker })
    }

    fn put(&mut self, id: &ChunkId, value: &[u8]) -> Result<()> {
        self.change(Change::Put(id, value))
    }

    fn delete(&mut self, id: &ChunkId) -> Result<()> {
        self.change(Change::Delete(id))
    }

    fn delete_present(&mut self, ids: &[ChunkId]) -> Result<bool> {
        for id in ids {
            self.change(Change::DeletePresent(id))?;
        }
        let settled = self.session.connection.settle();
        settled.map_err(|refusal| self.session.refusal(&refusal))
    }

    fn commit(&mut self, compaction: Option<CompactOptions>) -> Result<CommitReport> {
        if !self.changed {
            if compaction.is_none() {
                return Ok(CommitReport::default());
            }
            // Servers of Borg fail when there is no transaction; its clients begin one like this.
            let manifest = self.get(&ChunkId::MANIFEST)?;
            self.put(&ChunkId::MANIFEST, &manifest)?;
        }
        let session = &self.session;
        let settled = session.connection.settle();
        settled.map_err(|refusal| session.refusal(&refusal))?;
        let options = compaction.unwrap_or_default();
        session.call(&Call::Commit {
            compact: compaction.is_some(),
            threshold: options.threshold,
            cleanup_commits: options.cleanup_commits,
        })?;
        self.changed = false;
        Ok(CommitReport::default())
    }

    fn rollback(&mut self) -> Result<()> {
        let session = &self.session;
        session.connection.forget();
        let reply = session.connection.call_within(&Call::Rollback, ROLLBACK);
        session.connection.forget();
        session.given(reply, None)?;
        self.changed = false;
        Ok(())
    }

    fn check(&mut self, options: &CheckOptions) -> Result<bool> {
        let max_duration = options.max_duration.map_or(0, |limit| limit.as_secs());
        if max_duration > 0 {
            let what = format!("check max_duration={max_duration}");
            self.session.require(&what, [1, 2, 0, -4, 4])?;
        }
        match self.session.call(&Call::Check {
            repair: options.repair,
            max_duration,
        })? {
            Given::Bool(sound) => Ok(sound),
            _ => Err(self.session.unexpected("check")),
        }
    }

    fn destroy(&mut self) -> Result<()> {
        self.session.call(&Call::Destroy).map(drop)
    }

    fn load_key(&self) -> Result<Option<String>> {
        let text = match self.session.load_key()? {
            Given::Raw(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
            Given::Nil => String::new(),
            _ => return Err(self.session.unexpected("load_key")),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn save_key(&mut self, key: &str) -> Result<()> {
        self.session.save_key(key.trim().as_bytes())
    }

    fn nonces(&self) -> Arc<dyn NonceStore> {
        Arc::new(RemoteNonces(Arc::clone(&self.session)))
    }

    fn break_lock(&mut self) -> Result<()> {
        self.session.call(&Call::BreakLock).map(drop)
    }

    fn close(&mut self) -> Result<()> {
        if !self.is_kept() {
            self.session.connection.close();
        }
        Ok(())
    }
}

impl RemoteRepository {
    /// Hands the session to the next command, if that can be done.
    fn is_kept(&mut self) -> bool {
        let Some(kept) = self.kept.take() else {
            return self.is_closed;
        };
        self.is_closed = kept.keep(&self.session);
        self.is_closed
    }
}

impl Drop for RemoteRepository {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// The reservations that the server keeps.
struct RemoteNonces(Arc<Session>);

impl NonceStore for RemoteNonces {
    fn get_free_nonce(&self) -> Result<Option<u64>> {
        match self.0.get_free_nonce()? {
            Given::Nil => Ok(None),
            Given::Int(number) => match u64::try_from(number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(RepositoryError::InvalidNonce(number.to_string())),
            },
            _ => Err(self.0.unexpected("get_free_nonce")),
        }
    }

    /// Does not wait: nothing that was encrypted leaves before the server has agreed.
    fn commit_nonce_reservation(&self, next_unreserved: u64, expected: Option<u64>) -> Result<()> {
        let call = Call::CommitNonceReservation {
            next_unreserved,
            start_nonce: expected,
        };
        let demanded = self.0.connection.demand(&call);
        demanded.map_err(|refusal| self.0.refusal(&refusal))
    }
}
