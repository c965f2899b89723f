//! The messages between a client and `borg serve`, as values and back.
//!
//! Each direction is a row of msgpack values without any frame around them. [`Inbox`] cuts the
//! bytes that arrive into messages; [`Request`], [`Call`], [`Response`] and [`Answer`] read and
//! write them; [`LogLine`] reads what a server says on stderr beside them. There are two forms:
//!
//! ```text
//! positional (until 1.0, and always the first request)
//!     [1, msgid, method, [argument, …]]          [1, msgid, nil or class of the error, result]
//! named (since 1.1, when both sides have told their versions)
//!     {i: msgid, m: method, a: {name: argument}}
//!     {i: msgid, r: result}                      {i: msgid, exception_class: …, exception_args: …, …}
//! ```
//!
//! Values of objects are borrowed from the buffer that they arrived in, and can be sent from where
//! they lie: [`put_head`] and [`raw_answer_head`] write what comes before them.

mod answer;
mod call;
mod inbox;
mod log_line;
#[cfg(test)]
mod recordings;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod version;

pub use answer::{Answer, raw_answer_head};
pub use call::{Call, Open};
pub use inbox::{FrameError, Inbox};
pub use log_line::{LogLine, Progress};
pub use request::{CallError, Request, put_head};
pub use response::{Failure, Response};
pub use version::Version;

/// The longest message that is taken, in bytes; Borg's limit too. An object with its envelope
/// needs a third of it.
pub const MAX_MESSAGE_BYTES: usize = 3 * (20 << 20);

/// What the first request says in place of a version when the client is older than 1.1; such
/// clients are answered the same.
pub const OLD_PROTOCOL: i64 = 2;

/// Bytes that are no message of this protocol. The connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unexpected data format")]
pub struct Malformed;

impl From<crate::msgpack::DecodeError> for Malformed {
    fn from(_: crate::msgpack::DecodeError) -> Self {
        Self
    }
}

/// How arguments and results are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Arguments by their place, as until Borg 1.0 and in the first request.
    Positional,
    /// Arguments by their name, as since Borg 1.1.
    Named,
}
