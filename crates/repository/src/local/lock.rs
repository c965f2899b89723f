//! Locks on a directory, shared or exclusive, that real Borg respects and that respect Borg's.
//!
//! `lock.exclusive` is the mutex: an exclusive holder keeps it, everybody else has it only while
//! reading and changing `lock.roster`, the list of holders. Exclusive holders wait until no reader
//! is listed. Holders that died on this host are removed by whoever comes next; those of other
//! hosts must be removed by hand with [`break_lock`].
//!
//! Repositories and client caches use the same locks.

mod error;
mod mutex;

pub use self::error::{Holder, LockError};
pub use fastness_format::lock_roster::{LockIdentity, LockKind};

use self::mutex::Timer;
use fastness_format::lock_roster::{LockRoster, MAX_ROSTER_LEN};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long to wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// As long as it takes.
    Forever,
    /// This long; zero means one attempt.
    UpTo(Duration),
}

impl Default for LockWait {
    /// One second, as Borg without `--lock-wait`.
    fn default() -> Self {
        Self::UpTo(Duration::from_secs(1))
    }
}

/// Readers of this process: the roster lists a process once, however many locks it has.
static READERS_HERE: Mutex<BTreeMap<(PathBuf, LockIdentity), usize>> = Mutex::new(BTreeMap::new());

fn readers_here() -> MutexGuard<'static, BTreeMap<(PathBuf, LockIdentity), usize>> {
    READERS_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files of one lock.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    mutex: PathBuf,
    roster: PathBuf,
    /// Tells this lock from others within the process, by whatever path they were given.
    key: PathBuf,
}

impl Place {
    fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            mutex: dir.join("lock.exclusive"),
            roster: dir.join("lock.roster"),
            key: fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()),
        }
    }

    fn own_file(&self, identity: &LockIdentity) -> PathBuf {
        self.mutex.join(identity.to_string())
    }

    fn failed(&self, path: &Path, source: io::Error) -> LockError {
        LockError::Failed {
            path: path.to_owned(),
            source,
        }
    }

    fn read_roster(&self) -> Result<LockRoster, LockError> {
        let mut text = Vec::new();
        let result = File::open(&self.roster)
            .and_then(|file| file.take(MAX_ROSTER_LEN as u64).read_to_end(&mut text));
        match result {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(self.failed(&self.roster, error))
            }
            _ => Ok(LockRoster::parse(&text)),
        }
    }

    /// Replaces the roster, or removes it when nobody is listed. A full disk or a crash leaves the
    /// old one: a truncated roster would make readers invisible.
    fn write_roster(&self, roster: &LockRoster) -> Result<(), LockError> {
        let nobody = roster.is_empty(LockKind::Shared) && roster.is_empty(LockKind::Exclusive);
        let result = if nobody {
            match fs::remove_file(&self.roster) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                result => result,
            }
        } else {
            let new = self.dir.join("lock.roster.tmp");
            fs::write(&new, roster.encode()).and_then(|()| fs::rename(&new, &self.roster))
        };
        result.map_err(|error| self.failed(&self.roster, error))
    }
}

/// A lock that is held. Dropping it releases it, [`Lock::release`] also tells of failure.
///
/// A process that forks must hand the lock to one side with [`Lock::migrate`] and must not drop
/// it in the other one (`std::mem::forget`, or an exit without unwinding).
#[derive(Debug)]
#[must_use = "a lock that is dropped is released"]
pub struct Lock {
    place: Place,
    identity: LockIdentity,
    wait: LockWait,
    kind: LockKind,
    held: bool,
    notes: Vec<String>,
}

impl Lock {
    /// Takes the lock of a directory.
    ///
    /// # Errors
    /// [`LockError::Timeout`] when others hold it for too long, [`LockError::Failed`] when the
    /// file system refuses.
    pub fn acquire(
        dir: &Path,
        kind: LockKind,
        wait: LockWait,
        identity: LockIdentity,
    ) -> Result<Self, LockError> {
        let _stage = tracing::trace_span!("lock").entered();
        let mut lock = Self {
            place: Place::new(dir),
            identity,
            wait,
            kind,
            held: false,
            notes: Vec::new(),
        };
        match kind {
            LockKind::Shared => lock.with_mutex(Self::add_reader)?,
            LockKind::Exclusive => {
                lock.wait_for_readers(None)?;
                mutex::sweep(&lock.place, &lock.identity);
            }
        }
        lock.held = true;
        Ok(lock)
    }

    /// Returns how the lock is held.
    pub fn kind(&self) -> LockKind {
        self.kind
    }

    /// Returns whose name the lock carries.
    pub fn identity(&self) -> &LockIdentity {
        &self.identity
    }

    /// Takes the warnings that came up: one for each dead holder that was removed.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Returns whether the lock is exclusive and nobody broke it meanwhile.
    pub fn is_exclusive_on_disk(&self) -> bool {
        self.kind == LockKind::Exclusive && mutex::verify(&self.place, &self.identity).is_ok()
    }

    /// Makes a shared lock exclusive. Two readers that both want this wait for each other until
    /// their time is over; the lock stays shared then.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub fn upgrade(&mut self) -> Result<(), LockError> {
        if self.kind == LockKind::Shared {
            self.wait_for_readers(Some(LockKind::Shared))?;
            self.kind = LockKind::Exclusive;
        }
        Ok(())
    }

    /// Makes an exclusive lock shared, without a moment in which others could take it.
    ///
    /// # Errors
    /// [`LockError::NotLocked`] or [`LockError::NotMyLock`] when somebody broke the lock,
    /// [`LockError::Failed`] when the file system refuses.
    pub fn downgrade(&mut self) -> Result<(), LockError> {
        if self.kind == LockKind::Exclusive {
            mutex::verify(&self.place, &self.identity)?;
            let mut roster = self.current_roster()?;
            roster.remove(LockKind::Exclusive, &self.identity);
            roster.add(LockKind::Shared, &self.identity);
            self.place.write_roster(&roster)?;
            *readers_here().entry(self.reader_key()).or_default() += 1;
            self.kind = LockKind::Shared;
            mutex::give_back(&self.place, &self.identity)?;
        }
        Ok(())
    }

    /// Gives the lock another owner's name, after a process has forked into the background.
    ///
    /// # Errors
    /// As [`Lock::release`].
    pub fn migrate(&mut self, new: LockIdentity) -> Result<(), LockError> {
        let old = self.identity.clone();
        if old == new {
            return Ok(());
        }
        match self.kind {
            LockKind::Exclusive => mutex::rename_owner(&self.place, &old, &new)?,
            LockKind::Shared => mutex::take(&self.place, &new, self.wait, &mut self.notes)?,
        }
        self.identity = new;
        let listed = self.rename_in_roster(&old);
        match self.kind {
            LockKind::Exclusive => listed,
            LockKind::Shared => listed.and(mutex::give_back(&self.place, &self.identity)),
        }
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// [`LockError::NotLocked`] or [`LockError::NotMyLock`] when somebody broke the lock,
    /// [`LockError::Timeout`] when others keep the roster, [`LockError::Failed`] when the file
    /// system refuses.
    pub fn release(mut self) -> Result<(), LockError> {
        self.release_once()
    }

    fn release_once(&mut self) -> Result<(), LockError> {
        if !std::mem::replace(&mut self.held, false) {
            return Ok(());
        }
        match self.kind {
            LockKind::Shared => self.with_mutex(Self::remove_reader),
            LockKind::Exclusive => {
                let listed = mutex::verify(&self.place, &self.identity)
                    .and_then(|()| self.remove_from_roster(LockKind::Exclusive));
                // Once more verified there: the error of a broken lock is the same.
                listed.and(mutex::give_back(&self.place, &self.identity))
            }
        }
    }

    fn reader_key(&self) -> (PathBuf, LockIdentity) {
        (self.place.key.clone(), self.identity.clone())
    }

    /// Runs a step that needs the roster, with the mutex held.
    fn with_mutex(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), LockError>,
    ) -> Result<(), LockError> {
        mutex::take(&self.place, &self.identity, self.wait, &mut self.notes)?;
        let result = step(self);
        result.and(mutex::give_back(&self.place, &self.identity))
    }

    fn add_reader(&mut self) -> Result<(), LockError> {
        let mut roster = self.current_roster()?;
        roster.add(LockKind::Shared, &self.identity);
        self.place.write_roster(&roster)?;
        *readers_here().entry(self.reader_key()).or_default() += 1;
        Ok(())
    }

    fn remove_reader(&mut self) -> Result<(), LockError> {
        if self.readers_left_after_removing_one() == 0 {
            self.remove_from_roster(LockKind::Shared)?;
        }
        Ok(())
    }

    fn readers_left_after_removing_one(&self) -> usize {
        let key = self.reader_key();
        let mut readers = readers_here();
        let left = readers.get(&key).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => readers.remove(&key),
            _ => readers.insert(key, left),
        };
        left
    }

    fn remove_from_roster(&mut self, kind: LockKind) -> Result<(), LockError> {
        let mut roster = self.current_roster()?;
        roster.remove(kind, &self.identity);
        self.place.write_roster(&roster)
    }

    /// Reads the roster without those that died.
    fn current_roster(&mut self) -> Result<LockRoster, LockError> {
        let mut roster = self.place.read_roster()?;
        for kind in [LockKind::Shared, LockKind::Exclusive] {
            for dead in roster.retain(kind, |holder| !mutex::is_stale(holder, &self.identity)) {
                self.notes.push(format!(
                    "Removed stale {} roster lock for host {} pid {} thread {}.",
                    kind.key(),
                    dead.host_id,
                    dead.pid,
                    dead.thread
                ));
            }
        }
        Ok(roster)
    }

    /// Takes the mutex at a moment when no reader is listed, and keeps it. Of the own locks, the
    /// one of kind `instead_of` does not count.
    fn wait_for_readers(&mut self, instead_of: Option<LockKind>) -> Result<(), LockError> {
        let mut timer = Timer::start(self.wait);
        loop {
            mutex::take(&self.place, &self.identity, self.wait, &mut self.notes)?;
            let result = self.list_as_writer(instead_of);
            if let Ok(None) = result {
                return Ok(());
            }
            mutex::give_back(&self.place, &self.identity)?;
            let readers = result?.unwrap_or_default();
            if !timer.sleep() {
                let holder = |identity| Holder {
                    kind: LockKind::Shared,
                    identity: Ok(identity),
                    age: None,
                };
                return Err(LockError::Timeout {
                    path: self.place.dir.join("lock"),
                    holders: readers.into_iter().map(holder).collect(),
                });
            }
        }
    }

    /// Enters this process as the writer, unless there are readers; these are returned.
    fn list_as_writer(
        &mut self,
        instead_of: Option<LockKind>,
    ) -> Result<Option<Vec<LockIdentity>>, LockError> {
        let mut roster = self.current_roster()?;
        let only_reader_here = readers_here().get(&self.reader_key()) == Some(&1);
        let upgrading = instead_of == Some(LockKind::Shared);
        if upgrading && only_reader_here {
            roster.remove(LockKind::Shared, &self.identity);
        } else if !upgrading && !readers_here().contains_key(&self.reader_key()) {
            // Left by a dead process that had our pid.
            roster.remove(LockKind::Shared, &self.identity);
        }
        if !roster.is_empty(LockKind::Shared) {
            return Ok(Some(roster.holders(LockKind::Shared).collect()));
        }
        roster.add(LockKind::Exclusive, &self.identity);
        self.place.write_roster(&roster)?;
        if upgrading {
            self.readers_left_after_removing_one();
        }
        Ok(None)
    }

    /// The dead are not removed here: the old owner may be one of them by now.
    fn rename_in_roster(&self, old: &LockIdentity) -> Result<(), LockError> {
        let mut roster = self.place.read_roster()?;
        let mut readers = readers_here();
        let old_key = (self.place.key.clone(), old.clone());
        let left = match (self.kind, readers.get(&old_key)) {
            (LockKind::Shared, Some(count)) => count.saturating_sub(1),
            _ => 0,
        };
        if left == 0 {
            roster.remove(self.kind, old);
        }
        roster.add(self.kind, &self.identity);
        self.place.write_roster(&roster)?;
        if self.kind == LockKind::Shared {
            match left {
                0 => readers.remove(&old_key),
                _ => readers.insert(old_key, left),
            };
            *readers.entry(self.reader_key()).or_default() += 1;
        }
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.release_once();
    }
}

/// Removes a lock whoever holds it. Only for locks of processes that do not exist any more.
///
/// # Errors
/// [`LockError::Failed`] when the file system refuses.
pub fn break_lock(dir: &Path) -> Result<(), LockError> {
    let place = Place::new(dir);
    let gone = |result: io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(|error| place.failed(path, error)),
    };
    gone(fs::remove_file(&place.roster), &place.roster)?;
    let entries = match fs::read_dir(&place.mutex) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| place.failed(&place.mutex, error))?,
    };
    for entry in entries.flatten() {
        gone(fs::remove_file(entry.path()), &entry.path())?;
    }
    gone(fs::remove_dir(&place.mutex), &place.mutex)
}
