//! What goes to a server and what comes back, as values of this side.

use std::sync::mpsc::Receiver;

use fastness_format::id::ChunkId;
use fastness_format::rpc::{Answer, Failure, Version};

use super::failures::Death;

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
    /// Removes one that may not be there; [`Connection::settle`](super::connection::Connection::settle) tells of that.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second to the server; zero is no limit.
    pub upload_rate: u64,
    /// Bytes a second from the server; zero is no limit.
    pub download_rate: u64,
    /// Bytes of changes that may wait to be sent; none leaves it to this program.
    pub upload_buffer: Option<usize>,
}
