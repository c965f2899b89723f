//! Requests: a number, a method, and arguments that stay encoded until they are asked for.

use crate::id::ChunkId;
use crate::msgpack::{self, DecodeError, Reader};

use super::{Call, Form, Malformed, OLD_PROTOCOL, Version};

/// A request as it arrived: its arguments are read by [`Request::call`].
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The form of its answer.
    pub form: Form,
    /// The number that its answer bears.
    pub msgid: i64,
    method: &'a [u8],
    /// The encoded array or map.
    arguments: &'a [u8],
}

/// Why a request that is well-formed cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no such method.
    #[error("RPC method {0} is not valid.")]
    UnknownMethod(String),
    /// An argument is missing.
    #[error("{method}: missing argument: {name}")]
    Missing {
        /// The method.
        method: String,
        /// The argument.
        name: &'static str,
    },
    /// An argument is of the wrong type or out of range.
    #[error("{method}: unusable argument: {name}")]
    Unusable {
        /// The method.
        method: String,
        /// The argument.
        name: &'static str,
    },
}

impl<'a> Request<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is no request.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let request = match reader.read_array_len() {
            Ok(4) => Self::read_positional(&mut reader)?,
            Ok(_) => return Err(Malformed),
            Err(DecodeError::UnexpectedType(_)) => Self::read_named(&mut reader)?,
            Err(_) => return Err(Malformed),
        };
        reader.finish()?;
        Ok(request)
    }

    fn read_positional(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        // The kind of message. It was always 1, and always passed over.
        reader.skip()?;
        let msgid = reader.read_int()?;
        let method = reader.read_raw()?;
        let arguments = reader.skip()?;
        Reader::new(arguments).read_array_len()?;
        Ok(Self {
            form: Form::Positional,
            msgid,
            method,
            arguments,
        })
    }

    fn read_named(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut msgid, mut method, mut arguments) = (None, None, None);
        for _ in 0..reader.read_map_len()? {
            match reader.read_raw()? {
                b"i" => msgid = Some(reader.read_int()?),
                b"m" => method = Some(reader.read_raw()?),
                b"a" => arguments = Some(reader.skip()?),
                _ => drop(reader.skip()?),
            }
        }
        let arguments = arguments.ok_or(Malformed)?;
        Reader::new(arguments).read_map_len()?;
        Ok(Self {
            form: Form::Named,
            msgid: msgid.ok_or(Malformed)?,
            method: method.ok_or(Malformed)?,
            arguments,
        })
    }

    /// The name of the method, known or not.
    pub fn method(&self) -> String {
        String::from_utf8_lossy(self.method).into_owned()
    }

    /// Reads the arguments.
    ///
    /// # Errors
    /// When there is no such method, or it cannot be called like that.
    pub fn call(&self) -> Result<Call<'a>, CallError> {
        let method = std::str::from_utf8(self.method)
            .map_err(|_| CallError::UnknownMethod(self.method()))?;
        let arguments = Arguments {
            form: self.form,
            method,
            encoded: self.arguments,
        };
        Call::read(method, &arguments)
    }

    /// Appends a request.
    pub fn encode(form: Form, msgid: i64, call: &Call<'_>, out: &mut Vec<u8>) {
        if let Call::Put { id, data } = call {
            put_head(form, msgid, id, data.len(), out);
            out.extend_from_slice(data);
            return;
        }
        write_head(form, msgid, call.method(), out);
        call.write_arguments(form, out);
    }
}

/// Appends a request to store a value of `len` bytes, all but the value itself, which follows.
pub fn put_head(form: Form, msgid: i64, id: &ChunkId, len: usize, out: &mut Vec<u8>) {
    write_head(form, msgid, "put", out);
    match form {
        Form::Positional => {
            msgpack::write_array_len(out, 2);
            msgpack::write_raw(out, id.as_bytes());
        }
        Form::Named => {
            msgpack::write_map_len(out, 2);
            msgpack::write_raw(out, b"id");
            msgpack::write_raw(out, id.as_bytes());
            msgpack::write_raw(out, b"data");
        }
    }
    msgpack::write_raw_len(out, len);
}

fn write_head(form: Form, msgid: i64, method: &str, out: &mut Vec<u8>) {
    match form {
        Form::Positional => {
            msgpack::write_array_len(out, 4);
            msgpack::write_int(out, 1);
            msgpack::write_int(out, msgid);
            msgpack::write_raw(out, method.as_bytes());
        }
        Form::Named => {
            msgpack::write_map_len(out, 3);
            msgpack::write_raw(out, b"i");
            msgpack::write_int(out, msgid);
            msgpack::write_raw(out, b"m");
            msgpack::write_raw(out, method.as_bytes());
            msgpack::write_raw(out, b"a");
        }
    }
}

/// The names of positional arguments.
fn places(method: &str) -> &'static [&'static str] {
    match method {
        "negotiate" => &["client_data"],
        "open" => &[
            "path",
            "create",
            "lock_wait",
            "lock",
            "exclusive",
            "append_only",
        ],
        "get" | "delete" => &["id"],
        "put" => &["id", "data"],
        "list" | "scan" => &["limit", "marker"],
        "commit" => &["save_space"],
        "check" => &["repair", "save_space"],
        "save_key" => &["keydata"],
        "commit_nonce_reservation" => &["next_unreserved", "start_nonce"],
        "inject_exception" => &["kind"],
        _ => &[],
    }
}

/// The arguments of a call, still encoded.
pub(super) struct Arguments<'a> {
    form: Form,
    method: &'a str,
    encoded: &'a [u8],
}

impl<'a> Arguments<'a> {
    /// Finds the encoded value of an argument.
    fn find(&self, name: &str) -> Option<&'a [u8]> {
        let mut reader = Reader::new(self.encoded);
        match self.form {
            Form::Positional => {
                let place = places(self.method)
                    .iter()
                    .position(|other| *other == name)?;
                let len = reader.read_array_len().ok()?;
                (0..len).map_while(|_| reader.skip().ok()).nth(place)
            }
            Form::Named => {
                for _ in 0..reader.read_map_len().ok()? {
                    let found = reader.read_raw().ok()? == name.as_bytes();
                    let value = reader.skip().ok()?;
                    if found {
                        return Some(value);
                    }
                }
                None
            }
        }
    }

    fn needed(&self, name: &'static str) -> Result<Reader<'a>, CallError> {
        let value = self.find(name).ok_or_else(|| CallError::Missing {
            method: self.method.to_owned(),
            name,
        })?;
        Ok(Reader::new(value))
    }

    fn unusable(&self, name: &'static str) -> CallError {
        CallError::Unusable {
            method: self.method.to_owned(),
            name,
        }
    }

    /// Reads an argument that may be missing or nil.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Self, &'static str) -> Result<T, CallError>,
    ) -> Result<Option<T>, CallError> {
        match self.find(name) {
            None | Some([0xc0]) => Ok(None),
            Some(_) => read(self, name).map(Some),
        }
    }

    /// Reads what is true or false, as Python takes it.
    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, CallError> {
        let Some(value) = self.find(name) else {
            return Ok(default);
        };
        let mut reader = Reader::new(value);
        if reader.read_nil() {
            return Ok(false);
        }
        reader
            .read_bool()
            .or_else(|_| reader.read_integer().map(|number| number != 0))
            .map_err(|_| self.unusable(name))
    }

    pub(super) fn raw(&self, name: &'static str) -> Result<&'a [u8], CallError> {
        let value = self.needed(name)?.read_raw();
        value.map_err(|_| self.unusable(name))
    }

    pub(super) fn id(&self, name: &'static str) -> Result<ChunkId, CallError> {
        let value = self.raw(name)?;
        ChunkId::from_slice(value).ok_or_else(|| self.unusable(name))
    }

    pub(super) fn number(&self, name: &'static str) -> Result<u64, CallError> {
        let value = self.needed(name)?.read_int();
        value.map_err(|_| self.unusable(name))
    }

    pub(super) fn real(&self, name: &'static str) -> Result<f64, CallError> {
        let mut reader = self.needed(name)?;
        // Whatever else stands there may be as large as a message, and is not made a value.
        let number = match reader.peek() {
            Some(0xca | 0xcb) => match reader.read_value() {
                Ok(msgpack::Value::Float(number)) => number,
                _ => f64::NAN,
            },
            _ => reader
                .read_integer()
                .map_or(f64::NAN, |number| number as f64),
        };
        match number.is_finite() {
            true => Ok(number),
            false => Err(self.unusable(name)),
        }
    }

    /// Reads what a client tells of itself; none is an old one.
    pub(super) fn version(&self, name: &'static str) -> Result<Option<Version>, CallError> {
        let mut reader = self.needed(name)?;
        if reader.read_int() == Ok(OLD_PROTOCOL) {
            return Ok(None);
        }
        let version = self.client_version(&mut reader);
        version.map_err(|Malformed| self.unusable(name))
    }

    fn client_version(&self, reader: &mut Reader<'a>) -> Result<Option<Version>, Malformed> {
        for _ in 0..reader.read_map_len()? {
            if reader.read_raw()? == b"client_version" {
                return Version::read(reader).map(Some);
            }
            reader.skip()?;
        }
        Err(Malformed)
    }
}
