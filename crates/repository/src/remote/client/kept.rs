//! Sessions that are kept for the next command on the same repository.
//!
//! A run of several commands opens and closes a repository for each of them, and others may lock
//! it in between. The way there takes longest: it is kept while the server has nothing open. Only
//! our own servers can close a repository and go on; Borg's end with it.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastness_format::location::Location;

use super::session::Session;
use super::{Pace, RemoteOptions};
use crate::monitor::{Monitor, Silent};

/// What two commands must have in common to share a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// The command that reaches the server.
    pub words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    pace: Pace,
    path: Vec<u8>,
}

impl Way {
    pub fn to(location: &Location, options: &RemoteOptions) -> Self {
        Self {
            words: options.server.words(&location.host).unwrap_or_default(),
            environment: options.server.environment.clone(),
            pace: options.pace,
            path: location.path.clone(),
        }
    }
}

/// Keeps sessions that nobody uses. They end when this is dropped.
#[derive(Default)]
pub struct KeptSessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    idle: Vec<Arc<Session>>,
    /// Where the server ends with its repository.
    in_vain: Vec<Way>,
}

impl KeptSessions {
    /// Ends all sessions.
    pub fn close_all(&self) {
        let idle = std::mem::take(&mut self.lock().idle);
        idle.iter().for_each(|session| session.connection.close());
    }

    /// Takes a session that goes this way; it may have ended meanwhile.
    pub(super) fn take(&self, way: &Way) -> Option<Arc<Session>> {
        let idle = &mut self.lock().idle;
        let at = idle.iter().position(|session| session.way == *way)?;
        Some(idle.swap_remove(at))
    }

    /// Closes the repository and keeps the session. False if that cannot be done.
    pub(super) fn keep(&self, session: &Arc<Session>) -> bool {
        if self.lock().in_vain.contains(&session.way) {
            return false;
        }
        if !session.close_repository() {
            self.lock().in_vain.push(session.way.clone());
            return false;
        }
        // The command that it worked for is over.
        let nobody: Arc<dyn Monitor> = Arc::new(Silent);
        session.connection.report_to(&nobody);
        self.lock().idle.push(Arc::clone(session));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
