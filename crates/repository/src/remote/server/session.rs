//! What each method does with the repository.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_format::id::ChunkId;
use fastness_format::rpc::{Answer, Call, Failure, Form, OLD_PROTOCOL, Open, Request};

use super::connection::Outbox;
use super::failure::Refusal;
use super::{Host, ServeOptions};
use crate::local::lock::{LockError, LockKind, LockWait, break_lock};
use crate::local::{CreateOptions, LocalRepository, LockOptions, OpenOptions};
use crate::monitor::Monitor;
use crate::{CheckOptions, CompactOptions, Repository, RepositoryError};

/// While a lock is waited for, it is looked this often whether the client is still there.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// One client and its repository.
pub(super) struct Session<'a> {
    options: &'a ServeOptions,
    host: Arc<dyn Host>,
    opened: Option<Opened>,
    was_open: bool,
    /// The value last read; its memory is used again.
    value: Vec<u8>,
}

struct Opened {
    repository: LocalRepository,
    writing: Writing,
    /// A transaction has ended, and nothing was asked since. As Borg does, it is looked then
    /// whether the files are still the same.
    settled: bool,
}

/// Whether a client may change the repository, by the lock it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// The lock is exclusive, or becomes so with the first write (clients older than 1.0.7).
    Allowed,
    /// Others may read meanwhile.
    Refused,
    /// Nothing is locked, and only counter values are reserved: `borg check --bypass-lock`
    /// encrypts what it does not keep.
    Unlocked,
}

impl<'a> Session<'a> {
    pub(super) fn new(options: &'a ServeOptions, host: Arc<dyn Host>) -> Self {
        Self {
            options,
            host,
            opened: None,
            was_open: false,
            value: Vec::new(),
        }
    }

    /// Tells whether there ever was a repository.
    pub(super) fn was_open(&self) -> bool {
        self.was_open
    }

    /// Rolls back and frees the lock. Errors are told, too.
    pub(super) fn close(&mut self) -> Result<(), Refusal> {
        let Some(mut opened) = self.opened.take() else {
            return Ok(());
        };
        let closed = opened.repository.close();
        Ok(closed.inspect_err(|error| (&*self.host as &dyn Monitor).error(error.to_string()))?)
    }

    /// Does what a request asks for.
    pub(super) fn answer(
        &mut self,
        request: &Request<'_>,
        peer: &Outbox<'_>,
    ) -> Result<Answer<'_>, Box<Failure>> {
        let (host, sysinfo) = (Arc::clone(&self.host), &self.options.sysinfo);
        let result = match request.call() {
            Ok(call) => self.call(call, peer),
            Err(error) => Err(error.into()),
        };
        result.map_err(|refusal| {
            tell(&*host, request.form, &refusal);
            Box::new(refusal.failure(sysinfo))
        })
    }

    fn call(&mut self, call: Call<'_>, peer: &Outbox<'_>) -> Result<Answer<'_>, Refusal> {
        match call {
            Call::Negotiate(None) => Ok(Answer::Int(OLD_PROTOCOL)),
            Call::Negotiate(Some(version)) => {
                self.host.client_is(&version);
                Ok(Answer::Negotiated(self.options.version.clone()))
            }
            Call::Open(open) => self.open(&open, peer),
            Call::InjectException(kind) => Err(injected(kind)),
            Call::Close => {
                self.close()?;
                Ok(Answer::Nil)
            }
            Call::Get(id) => {
                let mut memory = std::mem::take(&mut self.value);
                let repository = self.reading()?;
                let value = repository.get_with(&id, &mut |_| std::mem::take(&mut memory))?;
                self.value = value;
                Ok(Answer::Raw(&self.value))
            }
            Call::LoadKey => {
                let key = self.reading()?.load_key()?;
                self.value = key.unwrap_or_default().into_bytes();
                Ok(Answer::Raw(&self.value))
            }
            Call::List { limit, marker } => {
                ids(self.reading()?.list(count(limit), marker.as_ref())?)
            }
            Call::Scan { limit, marker } => {
                ids(self.reading()?.scan(count(limit), marker.as_ref())?)
            }
            Call::Len => number(self.reading()?.len()? as u64),
            Call::GetFreeNonce => match self.reading()?.nonces().get_free_nonce()? {
                Some(nonce) => number(nonce),
                None => Ok(Answer::Nil),
            },
            call => self.change(call),
        }
    }

    /// The methods that change something.
    fn change(&mut self, call: Call<'_>) -> Result<Answer<'_>, Refusal> {
        match call {
            Call::Put { id, data } => self.writing()?.put(&id, data)?,
            Call::Delete(id) => self.writing()?.delete(&id)?,
            Call::Commit {
                compact,
                threshold,
                cleanup_commits,
            } => {
                let compaction = compact.then_some(CompactOptions {
                    threshold,
                    cleanup_commits,
                });
                self.writing()?.commit(compaction)?;
                self.settled();
            }
            Call::Rollback => self.reading()?.rollback()?,
            Call::Check {
                repair,
                max_duration,
            } => {
                let max_duration = Some(Duration::from_secs(max_duration));
                let options = CheckOptions {
                    repair,
                    max_duration: max_duration.filter(|time| !time.is_zero()),
                };
                let repository = if repair {
                    self.writing()?
                } else {
                    self.reading()?
                };
                let sound = repository.check(&options)?;
                self.settled();
                return Ok(Answer::Bool(sound));
            }
            Call::Destroy => {
                self.writing()?.destroy()?;
                self.opened = None;
            }
            Call::SaveKey(key) => {
                let text = std::str::from_utf8(key);
                let text = text.map_err(|_| Refusal::Other("a key must be text".to_owned()))?;
                self.reading()?.save_key(text)?;
            }
            Call::CommitNonceReservation {
                next_unreserved,
                start_nonce,
            } => {
                self.reserve(next_unreserved, start_nonce)?;
            }
            Call::BreakLock => {
                let path = self.reading()?.path().to_owned();
                break_lock(&path).map_err(RepositoryError::from)?;
            }
            other => return Err(Refusal::Other(format!("{}: not here", other.method()))),
        }
        Ok(Answer::Nil)
    }

    /// Reserves counter values. On a medium that cannot be written they can only be for what is
    /// not kept, if nothing is locked; that is no failure then.
    fn reserve(&mut self, next_unreserved: u64, expected: Option<u64>) -> Result<(), Refusal> {
        let writing = self.opened.as_ref().map(|opened| opened.writing);
        if writing != Some(Writing::Unlocked) {
            let nonces = self.writing()?.nonces();
            return Ok(nonces.commit_nonce_reservation(next_unreserved, expected)?);
        }
        let nonces = self.reading()?.nonces();
        match nonces.commit_nonce_reservation(next_unreserved, expected) {
            Err(error) if is_denied(&error) => {
                let text =
                    format!("{error}. This is expected when working on read-only repositories.");
                (&*self.host as &dyn Monitor).warning(text);
                Ok(())
            }
            result => Ok(result?),
        }
    }

    fn settled(&mut self) {
        if let Some(opened) = &mut self.opened {
            opened.settled = true;
        }
    }

    fn reading(&mut self) -> Result<&mut LocalRepository, Refusal> {
        match &mut self.opened {
            Some(opened) => {
                if std::mem::take(&mut opened.settled) {
                    opened.repository.refresh()?;
                }
                Ok(&mut opened.repository)
            }
            None => Err(Refusal::Other("no repository is open".to_owned())),
        }
    }

    fn writing(&mut self) -> Result<&mut LocalRepository, Refusal> {
        match &mut self.opened {
            Some(opened) if opened.writing != Writing::Allowed => Err(Refusal::Other(format!(
                "{} is not opened for writing: the client did not ask for an exclusive lock",
                opened.repository.path().display()
            ))),
            _ => self.reading(),
        }
    }

    fn open(&mut self, open: &Open<'_>, peer: &Outbox<'_>) -> Result<Answer<'_>, Refusal> {
        let path = self.options.places.resolve(open.path);
        let meant = format!(
            "Resolved repository path to {:?}",
            path.display().to_string()
        );
        (&*self.host as &dyn Monitor).debug(meant);
        if !self.options.restrictions.allow(&path, &self.options.places) {
            return Err(Refusal::PathNotAllowed(path.display().to_string()));
        }
        // The lock of the one before would stand in the way of the next.
        let _ = self.close();
        let new = match open.create {
            true => Some(self.new_repository(open)?),
            false => None,
        };
        let repository = self.wait_for_lock(open, peer, |options| match &new {
            Some(new) => LocalRepository::create(&path, new, options),
            None => LocalRepository::open(&path, options),
        })?;
        self.value = repository.id().as_bytes().to_vec();
        self.opened = Some(Opened {
            repository,
            writing: match (open.lock, open.exclusive) {
                (true, None | Some(true)) => Writing::Allowed,
                (true, Some(false)) => Writing::Refused,
                (false, _) => Writing::Unlocked,
            },
            settled: false,
        });
        self.was_open = true;
        Ok(Answer::Raw(&self.value))
    }

    fn new_repository(&self, open: &Open<'_>) -> Result<CreateOptions, Refusal> {
        let id = (self.options.new_id)()
            .map_err(|error| Refusal::Other(format!("no random bytes: {error}")))?;
        Ok(CreateOptions {
            id,
            // What --append-only of the server asks for is not written down, as in Borg.
            append_only: open.append_only,
            storage_quota: self.options.storage_quota.filter(|quota| *quota > 0),
            make_parent_dirs: open.make_parent_dirs,
        })
    }

    /// Opens, again and again until the lock is free, as long as the client waits for it.
    fn wait_for_lock(
        &self,
        open: &Open<'_>,
        peer: &Outbox<'_>,
        attempt: impl Fn(OpenOptions) -> crate::Result<LocalRepository>,
    ) -> Result<LocalRepository, Refusal> {
        let wait = open
            .lock_wait
            .map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
        let deadline = wait.and_then(|wait| Instant::now().checked_add(wait));
        loop {
            let left = match (wait, deadline) {
                (Some(_), Some(deadline)) => deadline.saturating_duration_since(Instant::now()),
                _ => Duration::MAX,
            };
            let result = attempt(self.open_options(open, left.min(LOCK_PATIENCE)));
            let Err(RepositoryError::Lock(LockError::Timeout { .. })) = &result else {
                return Ok(result?);
            };
            let over = left <= LOCK_PATIENCE;
            if over || open.create || peer.is_abandoned() || self.host.end_wanted() {
                return Ok(result?);
            }
        }
    }

    fn open_options(&self, open: &Open<'_>, wait: Duration) -> OpenOptions {
        let exclusive = open.exclusive.unwrap_or(false);
        let kind = match exclusive {
            true => LockKind::Exclusive,
            false => LockKind::Shared,
        };
        let host: Arc<dyn Host> = Arc::clone(&self.host);
        OpenOptions {
            lock: open.lock.then(|| LockOptions {
                kind,
                wait: LockWait::UpTo(wait),
                identity: self.options.identity.clone(),
            }),
            append_only: open.append_only || (self.options.append_only && !open.create),
            storage_quota: self.options.storage_quota,
            monitor: host,
            now: self.options.now,
        }
    }
}

/// Logs what clients do not find out by the failure they are sent.
fn tell(host: &dyn Host, form: Form, refusal: &Refusal) {
    let monitor: &dyn Monitor = host;
    match (form, refusal) {
        (_, refusal) if refusal.speaks_for_itself() => {}
        (Form::Positional, refusal) => monitor.error(refusal.to_string()),
        // Clients make a message of their own of these, which does not tell the reason.
        (Form::Named, Refusal::Repository(error @ RepositoryError::CheckNeeded { .. })) => {
            monitor.warning(error.to_string());
        }
        (Form::Named, Refusal::Repository(RepositoryError::Lock(error))) => {
            monitor.info(error.to_string());
        }
        (Form::Named, refusal) => monitor.debug(refusal.to_string()),
    }
}

fn is_denied(error: &RepositoryError) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match error {
        RepositoryError::Io { source, .. } => {
            matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem)
        }
        _ => false,
    }
}

fn ids<'a>(ids: Vec<ChunkId>) -> Result<Answer<'a>, Refusal> {
    Ok(Answer::Ids(Cow::Owned(ids)))
}

fn number<'a>(number: u64) -> Result<Answer<'a>, Refusal> {
    i64::try_from(number)
        .map(Answer::Int)
        .map_err(|_| Refusal::Other(format!("{number} is too large a number")))
}

fn count(limit: Option<u64>) -> Option<usize> {
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The failures that Borg's tests ask for.
fn injected(kind: &[u8]) -> Refusal {
    const TEXT: &str = "test string";
    let (class, args) = match kind {
        b"DoesNotExist" => ("DoesNotExist", vec![TEXT]),
        b"AlreadyExists" => ("AlreadyExists", vec![TEXT]),
        b"CheckNeeded" => ("CheckNeeded", vec![TEXT]),
        b"IntegrityError" => ("IntegrityError", vec![TEXT]),
        b"PathNotAllowed" => ("PathNotAllowed", vec!["foo"]),
        b"ObjectNotFound" => ("ObjectNotFound", vec![TEXT, "test string2"]),
        b"InvalidRPCMethod" => ("InvalidRPCMethod", vec![TEXT]),
        _ => ("ZeroDivisionError", vec!["division by zero"]),
    };
    Refusal::Injected { class, args }
}
