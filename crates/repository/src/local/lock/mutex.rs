//! The directory `lock.exclusive`: one process has it, all others wait.
//!
//! It is prepared under another name, with a file named after its owner inside, and renamed into
//! place, so that it never exists without an owner. Borg 1.1 makes the directory first and the
//! file after; therefore an empty directory is not taken over at once (Borg 1.2 and 1.4 do that)
//! but only when it stayed empty for [`EMPTY_GRACE`], which its owner cannot mean.
//!
//! The name of a dead process of this host is stale and is removed. Other hosts are never stale.

use super::error::{Holder, LockError};
use super::{LockWait, Place};
use fastness_format::lock_roster::{LockIdentity, LockKind};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long the lock directory may be empty before it counts as left behind.
const EMPTY_GRACE: Duration = Duration::from_millis(300);

/// Locks whose directory this process has: a second taker in the same process must wait too, but
/// would find a file with its own name and think that it has the lock already.
static TAKEN_HERE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn taken_here() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    TAKEN_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a holder is a process of this host that does not exist any more.
pub(super) fn is_stale(holder: &LockIdentity, own: &LockIdentity) -> bool {
    let Some(pid) = i32::try_from(holder.pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    holder.host_id == own.host_id
        && holder.thread == 0
        && test_kill_process(pid) == Err(Errno::SRCH)
}

/// Waits until a point in time, in steps that begin short (most locks are held for a moment only,
/// while a roster changes) and grow to a second.
pub(super) struct Timer {
    deadline: Option<Instant>,
    step: Duration,
}

impl Timer {
    pub(super) fn start(wait: LockWait) -> Self {
        Self {
            deadline: match wait {
                LockWait::Forever => None,
                LockWait::UpTo(time) => Instant::now().checked_add(time),
            },
            step: Duration::from_millis(4),
        }
    }

    /// Sleeps a step and returns true, or returns false when the time is over.
    pub(super) fn sleep(&mut self) -> bool {
        let left = match self.deadline {
            None => self.step,
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        };
        std::thread::sleep(self.step.min(left));
        self.step = (self.step * 5 / 4).min(Duration::from_secs(1));
        !left.is_zero()
    }
}

/// A directory with our name in it, not yet in place; removed unless it gets there.
struct Prepared {
    dir: PathBuf,
    file: PathBuf,
    made: Option<SystemTime>,
}

impl Prepared {
    fn create(place: &Place, identity: &LockIdentity) -> io::Result<Self> {
        let mut number = 0_u32;
        let dir = loop {
            let name = format!("lock.exclusive.{}-{number}.tmp", identity.pid);
            let dir = place.dir.join(name);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 10_000 => {}
                result => break result.map(|()| dir)?,
            }
            number += 1;
        };
        let file = dir.join(identity.to_string());
        let mut prepared = Self {
            dir,
            file,
            made: None,
        };
        File::create_new(&prepared.file)?;
        prepared.made = modified(&prepared.file);
        Ok(prepared)
    }

    /// Renames the directory into place; false when there is one already.
    fn put(&self, place: &Place) -> io::Result<bool> {
        let flags = RenameFlags::NOREPLACE;
        let result = match renameat_with(CWD, &self.dir, CWD, &place.mutex, flags) {
            // The file system knows no such flag; plain rename fails on a directory in use.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(&self.dir, &place.mutex),
            result => result.map_err(Into::into),
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => Ok(false),
                _ => Err(error),
            },
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // After `put` neither exists under these names any more.
        let _ = fs::remove_file(&self.file);
        let _ = fs::remove_dir(&self.dir);
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).ok()?.modified().ok()
}

/// Takes the lock directory.
pub(super) fn take(
    place: &Place,
    identity: &LockIdentity,
    wait: LockWait,
    notes: &mut Vec<String>,
) -> Result<(), LockError> {
    let mut timer = Timer::start(wait);
    while !taken_here().insert(place.key.clone()) {
        if !timer.sleep() {
            let now = modified(&place.dir);
            return Err(timeout(place, now));
        }
    }
    let taken = take_from_others(place, identity, &mut timer, notes);
    if taken.is_err() {
        taken_here().remove(&place.key);
    }
    taken
}

fn take_from_others(
    place: &Place,
    identity: &LockIdentity,
    timer: &mut Timer,
    notes: &mut Vec<String>,
) -> Result<(), LockError> {
    let failed = |error| place.failed(&place.mutex, error);
    let prepared = Prepared::create(place, identity).map_err(failed)?;
    let mut empty_since = None;
    loop {
        // An own name without a lock in this process was left by a dead process with our pid.
        if prepared.put(place).map_err(failed)? || place.own_file(identity).exists() {
            return Ok(());
        }
        let names = names_in(&place.mutex).map_err(failed)?;
        if names.is_empty() {
            let since = *empty_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= EMPTY_GRACE {
                remove_if_empty(&place.mutex).map_err(failed)?;
            }
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        empty_since = None;
        if remove_stale(place, identity, &names, notes).map_err(failed)? {
            continue;
        }
        if !timer.sleep() {
            return Err(timeout(place, prepared.made));
        }
    }
}

/// Names in the lock directory; none when it has just gone.
fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries
        .take(1000)
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// Removes the lock directory if all names in it are stale.
fn remove_stale(
    place: &Place,
    identity: &LockIdentity,
    names: &[String],
    notes: &mut Vec<String>,
) -> io::Result<bool> {
    let stale = |name: &String| {
        LockIdentity::from_file_name(name).is_some_and(|holder| is_stale(&holder, identity))
    };
    if !names.iter().all(stale) {
        return Ok(false);
    }
    for name in names {
        match fs::remove_file(place.mutex.join(name)) {
            Ok(()) => notes.push(format!("Killed stale lock {name}.")),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    remove_if_empty(&place.mutex).map(|()| true)
}

/// Removes the lock directory unless somebody was faster and has it now, or removed it.
fn remove_if_empty(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        result => result,
    }
}

fn timeout(place: &Place, now: Option<SystemTime>) -> LockError {
    LockError::Timeout {
        path: place.mutex.clone(),
        holders: holders(place, now),
    }
}

/// Returns those who have their name in the lock directory.
fn holders(place: &Place, now: Option<SystemTime>) -> Vec<Holder> {
    let names = names_in(&place.mutex).unwrap_or_default();
    let holder = |name: String| Holder {
        kind: LockKind::Exclusive,
        age: now
            .zip(modified(&place.mutex.join(&name)))
            .and_then(|(now, since)| now.duration_since(since).ok()),
        identity: LockIdentity::from_file_name(&name).ok_or(name),
    };
    names.into_iter().map(holder).collect()
}

/// Returns an error when the lock directory is not ours any more.
pub(super) fn verify(place: &Place, identity: &LockIdentity) -> Result<(), LockError> {
    if place.own_file(identity).exists() {
        return Ok(());
    }
    let path = place.mutex.clone();
    if !path.exists() {
        return Err(LockError::NotLocked { path });
    }
    let holders = holders(place, None);
    Err(LockError::NotMyLock { path, holders })
}

/// Gives the lock directory back.
pub(super) fn give_back(place: &Place, identity: &LockIdentity) -> Result<(), LockError> {
    let result = verify(place, identity).and_then(|()| {
        fs::remove_file(place.own_file(identity))
            .and_then(|()| remove_if_empty(&place.mutex))
            .map_err(|error| place.failed(&place.mutex, error))
    });
    taken_here().remove(&place.key);
    result
}

/// Puts another owner's name into the lock directory.
pub(super) fn rename_owner(
    place: &Place,
    old: &LockIdentity,
    new: &LockIdentity,
) -> Result<(), LockError> {
    verify(place, old)?;
    File::create(place.own_file(new))
        .and_then(|_| fs::remove_file(place.own_file(old)))
        .map_err(|error| place.failed(&place.mutex, error))
}

/// Removes prepared directories of processes that died before they got the lock.
pub(super) fn sweep(place: &Place, identity: &LockIdentity) {
    let Ok(entries) = fs::read_dir(&place.dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("lock.exclusive.") || !name.ends_with(".tmp") {
            continue;
        }
        let owners = names_in(&entry.path()).unwrap_or_default();
        let holder = match owners.as_slice() {
            [owner] => LockIdentity::from_file_name(owner),
            _ => None,
        };
        if let Some(holder) = holder.filter(|holder| is_stale(holder, identity)) {
            let _ = fs::remove_file(entry.path().join(holder.to_string()));
            let _ = fs::remove_dir(entry.path());
        }
    }
}
