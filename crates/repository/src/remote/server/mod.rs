//! The server's side: `borg serve`.
//!
//! One process answers one client, request by request, until the client's side of the pipe is
//! closed. It opens whatever the options allow and nothing else, and knows no key: objects are
//! opaque to it. What ends it, the transaction that is open is rolled back and the lock is freed.
//!
//! While an answer waits for its reader no further request is read, so that memory stays bounded
//! whatever a client sends.

mod connection;
mod failure;
mod session;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fastness_format::id::RepositoryId;
use fastness_format::lock_roster::LockIdentity;
use fastness_format::rpc::{Answer, Request, Response, Version};

use self::connection::{Connection, Received};
use self::session::Session;
use super::restrict::{Places, Restrictions};
use crate::monitor::Monitor;

/// What a server may do, and what it must be told of its surroundings.
pub struct ServeOptions {
    /// Where clients may go.
    pub restrictions: Restrictions,
    /// What relative paths of clients mean.
    pub places: Places,
    /// Opens every repository so that nothing is ever removed from it.
    pub append_only: bool,
    /// Bytes that repositories may use, instead of what their config says; zero is no limit.
    pub storage_quota: Option<u64>,
    /// What is told to clients as the version of Borg.
    pub version: Version,
    /// Who holds the locks.
    pub identity: LockIdentity,
    /// Told with each failure: what runs here.
    pub sysinfo: String,
    /// Tells the time for the log of transactions.
    pub now: fn() -> SystemTime,
    /// After so much time without a request the client is told that the server is still there. A
    /// connection that is dead at the other end fails by that, some time later, and the lock is
    /// free again; silence would keep it for hours.
    pub keep_alive: Duration,
    /// Makes the identity of a new repository.
    pub new_id: fn() -> io::Result<RepositoryId>,
}

/// Who runs the server: shows what it tells, and ends it.
pub trait Host: Monitor {
    /// The client has told its version. From now on it understands JSON on stderr.
    fn client_is(&self, version: &Version);

    /// Says something to the client that means nothing, once more.
    fn still_here(&self);

    /// Tells whether the server is to end now.
    fn end_wanted(&self) -> bool;
}

/// Why a server ended other than by the client's wish.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Something came that is no request. Nothing after it can be understood.
    #[error("Borg {0}: Got unexpected RPC data format from client.")]
    UnexpectedData(Version),
    /// The connection failed.
    #[error("Connection to the client failed: {0}")]
    Connection(#[source] io::Error),
}

impl ServeError {
    /// Borg's name of the error.
    pub fn msgid(&self) -> &'static str {
        match self {
            Self::UnexpectedData(_) => "UnexpectedRPCDataFormatFromClient",
            Self::Connection(_) => "ConnectionClosed",
        }
    }
}

/// Answers a client until it is gone.
///
/// # Errors
/// When it talks nonsense, or goes while it is being answered. The repository is closed then, too.
pub fn serve(
    options: &ServeOptions,
    host: &Arc<dyn Host>,
    input: File,
    output: File,
) -> Result<(), ServeError> {
    let mut connection = Connection::new(input, output);
    let mut session = Session::new(options, Arc::clone(host));
    let ended = answer_all(options, &**host, &mut connection, &mut session);
    let was_open = session.was_open();
    // It has told of its errors.
    let _ = session.close();
    if ended.is_ok() && !was_open && !host.end_wanted() {
        // People who start a server by hand see that it waits for a client.
        connection.say(&format!(
            "Borg {}: Got connection close before repository was opened.\n",
            options.version
        ));
    }
    ended
}

fn answer_all(
    options: &ServeOptions,
    host: &dyn Host,
    connection: &mut Connection,
    session: &mut Session<'_>,
) -> Result<(), ServeError> {
    let unexpected = || ServeError::UnexpectedData(options.version.clone());
    loop {
        let received = connection.receive(host, options.keep_alive);
        match received.map_err(ServeError::Connection)? {
            Received::Bytes => {}
            Received::End => return Ok(()),
        }
        let (inbox, mut outbox) = connection.split();
        while let Some(message) = inbox.next_message().map_err(|_| unexpected())? {
            let request = Request::decode(message).map_err(|_| unexpected())?;
            let answered = session.answer(&request, &outbox);
            let response = match answered {
                Ok(Answer::Raw(value)) => outbox.send_value(request.form, request.msgid, value),
                outcome => outbox.send(
                    request.form,
                    &Response {
                        msgid: request.msgid,
                        outcome: outcome.map_err(|failure| *failure),
                    },
                ),
            };
            response.map_err(ServeError::Connection)?;
            if host.end_wanted() {
                return Ok(());
            }
        }
        outbox.flush().map_err(ServeError::Connection)?;
    }
}
