//! What a client asks for: one variant per method, with its arguments.
//!
//! Arguments that a client does not send have the values that servers assume then; names that are
//! not known are passed over, as every server does, so that newer clients can be answered.

use crate::id::ChunkId;

use super::request::{Arguments, CallError};
use super::{Form, OLD_PROTOCOL, Version};
use crate::msgpack::{self, Value};

/// A method and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum Call<'a> {
    /// Tells the client's version, asks for the server's; none is a client older than 1.1.
    Negotiate(Option<Version>),
    /// Opens a repository; the first call after the versions.
    Open(Open<'a>),
    /// Reads an object.
    Get(ChunkId),
    /// Stores an object.
    Put {
        /// Its id.
        id: ChunkId,
        /// Its value.
        data: &'a [u8],
    },
    /// Removes an object.
    Delete(ChunkId),
    /// Ids in the order of the index, after `marker`.
    List {
        /// At most so many.
        limit: Option<u64>,
        /// The last one of the part before.
        marker: Option<ChunkId>,
    },
    /// Ids in the order of the log, after `marker`; since 1.1.
    Scan {
        /// At most so many.
        limit: Option<u64>,
        /// The last one of the part before.
        marker: Option<ChunkId>,
    },
    /// The number of objects.
    Len,
    /// Ends a transaction. Servers older than 1.2 know none of the arguments, and compact.
    Commit {
        /// Frees space, too.
        compact: bool,
        /// Segments are rewritten when more than this share of them is dead.
        threshold: f64,
        /// Also rewrites segments that hold nothing but a commit.
        cleanup_commits: bool,
    },
    /// Forgets the transaction.
    Rollback,
    /// Checks the repository.
    Check {
        /// Repairs it, too.
        repair: bool,
        /// Ends after so many seconds; zero is no limit.
        max_duration: u64,
    },
    /// Deletes the repository.
    Destroy,
    /// Reads the key kept in the repository.
    LoadKey,
    /// Keeps a key in the repository.
    SaveKey(&'a [u8]),
    /// Removes locks of others.
    BreakLock,
    /// The first counter value that nobody has reserved.
    GetFreeNonce,
    /// Reserves counter values.
    CommitNonceReservation {
        /// All below it are reserved.
        next_unreserved: u64,
        /// What the first free one must still be.
        start_nonce: Option<u64>,
    },
    /// Makes the server fail; Borg's own tests use it.
    InjectException(&'a [u8]),
    /// Closes the repository, so that another can be opened later. Servers of Borg do not know it.
    Close,
}

/// How a repository is to be opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Open<'a> {
    /// The path as the user gave it, perhaps `/./…` or `~/…`.
    pub path: &'a [u8],
    /// Makes a new one.
    pub create: bool,
    /// How many seconds to wait for others; none is without an end.
    pub lock_wait: Option<f64>,
    /// Locks it at all.
    pub lock: bool,
    /// An exclusive lock; none leaves it to the first write, as with Borg 1.0.
    pub exclusive: Option<bool>,
    /// Nothing is ever removed from it.
    pub append_only: bool,
    /// Also makes the directories above a new one.
    pub make_parent_dirs: bool,
}

impl<'a> Open<'a> {
    /// What servers assume when only the path is given.
    pub fn of(path: &'a [u8]) -> Self {
        Self {
            path,
            create: false,
            lock_wait: None,
            lock: true,
            exclusive: None,
            append_only: false,
            make_parent_dirs: false,
        }
    }
}

impl<'a> Call<'a> {
    /// The name of the method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Negotiate(_) => "negotiate",
            Self::Open(_) => "open",
            Self::Get(_) => "get",
            Self::Put { .. } => "put",
            Self::Delete(_) => "delete",
            Self::List { .. } => "list",
            Self::Scan { .. } => "scan",
            Self::Len => "__len__",
            Self::Commit { .. } => "commit",
            Self::Rollback => "rollback",
            Self::Check { .. } => "check",
            Self::Destroy => "destroy",
            Self::LoadKey => "load_key",
            Self::SaveKey(_) => "save_key",
            Self::BreakLock => "break_lock",
            Self::GetFreeNonce => "get_free_nonce",
            Self::CommitNonceReservation { .. } => "commit_nonce_reservation",
            Self::InjectException(_) => "inject_exception",
            Self::Close => "close_repository",
        }
    }

    pub(super) fn read(method: &str, arguments: &Arguments<'a>) -> Result<Self, CallError> {
        let at = arguments;
        Ok(match method {
            "negotiate" => Self::Negotiate(at.version("client_data")?),
            "open" => Self::Open(read_open(at)?),
            "get" => Self::Get(at.id("id")?),
            "put" => Self::Put {
                id: at.id("id")?,
                data: at.raw("data")?,
            },
            "delete" => Self::Delete(at.id("id")?),
            "list" => Self::List {
                limit: at.optional("limit", Arguments::number)?,
                marker: at.optional("marker", Arguments::id)?,
            },
            "scan" => Self::Scan {
                limit: at.optional("limit", Arguments::number)?,
                marker: at.optional("marker", Arguments::id)?,
            },
            "__len__" => Self::Len,
            "commit" => Self::Commit {
                compact: at.flag("compact", true)?,
                threshold: at.optional("threshold", Arguments::real)?.unwrap_or(0.1),
                cleanup_commits: at.flag("cleanup_commits", false)?,
            },
            "rollback" => Self::Rollback,
            "check" => Self::Check {
                repair: at.flag("repair", false)?,
                max_duration: at.optional("max_duration", Arguments::number)?.unwrap_or(0),
            },
            "destroy" => Self::Destroy,
            "load_key" => Self::LoadKey,
            "save_key" => Self::SaveKey(at.raw("keydata")?),
            "break_lock" => Self::BreakLock,
            "get_free_nonce" => Self::GetFreeNonce,
            "commit_nonce_reservation" => Self::CommitNonceReservation {
                next_unreserved: at.number("next_unreserved")?,
                start_nonce: at.optional("start_nonce", Arguments::number)?,
            },
            "inject_exception" => Self::InjectException(at.raw("kind")?),
            "close_repository" => Self::Close,
            _ => return Err(CallError::UnknownMethod(method.to_owned())),
        })
    }

    /// Appends the arguments.
    pub(super) fn write_arguments(&self, form: Form, out: &mut Vec<u8>) {
        let arguments = self.arguments(form);
        match form {
            Form::Positional => msgpack::write_array_len(out, arguments.len()),
            Form::Named => msgpack::write_map_len(out, arguments.len()),
        }
        for (name, value) in arguments {
            if form == Form::Named {
                msgpack::write_raw(out, name.as_bytes());
            }
            value.write(out);
        }
    }

    /// Makes the arguments, in the order of their places in the positional form. Those that old
    /// servers do not know have names only.
    fn arguments(&self, form: Form) -> Vec<(&'static str, Value)> {
        let named_only = |mut arguments: Vec<_>, more: Vec<_>| {
            arguments.extend(more.into_iter().filter(|_| form == Form::Named));
            arguments
        };
        let no = || Value::Bool(false);
        match self {
            Self::Negotiate(version) => vec![("client_data", client_data(version))],
            Self::Open(open) => named_only(
                open_arguments(open),
                vec![("make_parent_dirs", Value::Bool(open.make_parent_dirs))],
            ),
            Self::Get(id) | Self::Delete(id) => vec![("id", raw(id.as_bytes()))],
            Self::Put { id, data } => vec![("id", raw(id.as_bytes())), ("data", raw(data))],
            Self::List { limit, marker } | Self::Scan { limit, marker } => {
                let marker = marker.as_ref().map(|id| raw(id.as_bytes()));
                let marker = marker.unwrap_or(Value::Nil);
                vec![("limit", number(*limit)), ("marker", marker)]
            }
            Self::Commit {
                compact,
                threshold,
                cleanup_commits,
            } => named_only(
                vec![("save_space", no())],
                vec![
                    ("compact", Value::Bool(*compact)),
                    ("threshold", Value::Float(*threshold)),
                    ("cleanup_commits", Value::Bool(*cleanup_commits)),
                ],
            ),
            Self::Check {
                repair,
                max_duration,
            } => named_only(
                vec![("repair", Value::Bool(*repair)), ("save_space", no())],
                vec![("max_duration", number(Some(*max_duration)))],
            ),
            Self::SaveKey(key) => vec![("keydata", raw(key))],
            Self::CommitNonceReservation {
                next_unreserved,
                start_nonce,
            } => vec![
                ("next_unreserved", number(Some(*next_unreserved))),
                ("start_nonce", number(*start_nonce)),
            ],
            Self::InjectException(kind) => vec![("kind", raw(kind))],
            Self::Len
            | Self::Rollback
            | Self::Destroy
            | Self::LoadKey
            | Self::BreakLock
            | Self::GetFreeNonce
            | Self::Close => Vec::new(),
        }
    }
}

fn read_open<'a>(at: &Arguments<'a>) -> Result<Open<'a>, CallError> {
    Ok(Open {
        path: at.raw("path")?,
        create: at.flag("create", false)?,
        lock_wait: at.optional("lock_wait", Arguments::real)?,
        lock: at.flag("lock", true)?,
        exclusive: at.optional("exclusive", |at, name| at.flag(name, false))?,
        append_only: at.flag("append_only", false)?,
        make_parent_dirs: at.flag("make_parent_dirs", false)?,
    })
}

fn open_arguments(open: &Open<'_>) -> Vec<(&'static str, Value)> {
    let wait = open.lock_wait.map_or(Value::Nil, |seconds| {
        // Borg's option is a whole number.
        if seconds.fract() == 0.0 && seconds.abs() < 1e15 {
            Value::Int(seconds as i128)
        } else {
            Value::Float(seconds)
        }
    });
    vec![
        ("path", raw(open.path)),
        ("create", Value::Bool(open.create)),
        ("lock_wait", wait),
        ("lock", Value::Bool(open.lock)),
        ("exclusive", open.exclusive.map_or(Value::Nil, Value::Bool)),
        ("append_only", Value::Bool(open.append_only)),
    ]
}

fn client_data(version: &Option<Version>) -> Value {
    let Some(version) = version else {
        return Value::Int(OLD_PROTOCOL.into());
    };
    let numbers = version.numbers().iter();
    let numbers = numbers.map(|&number| Value::Int(number.into())).collect();
    Value::Map(vec![(Value::text("client_version"), Value::Array(numbers))])
}

fn raw(bytes: &[u8]) -> Value {
    Value::Raw(bytes.to_vec())
}

fn number(number: Option<u64>) -> Value {
    number.map_or(Value::Nil, |number| Value::Int(number.into()))
}
