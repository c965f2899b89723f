//! Responses: the number of a request, with what it gave or why it failed.

use crate::msgpack::{self, DecodeError, Reader, Value};

use super::{Answer, Form, Malformed};

/// What old servers and clients are told in place of a result.
const NO_RESULT: &str = "Remote Exception (see remote log for the traceback)";

/// More lines or arguments of an exception are not kept.
const MAX_LINES: usize = 1000;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Response<'a> {
    /// The number of the request.
    pub msgid: i64,
    /// What the call gave.
    pub outcome: Result<Answer<'a>, Failure>,
}

/// Why a call failed. Servers before 1.1 tell the class and nothing else.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Failure {
    /// The name of the class of the exception, without those around it: `DoesNotExist`.
    pub class: String,
    /// What the exception was made of; none from servers before 1.1.
    pub args: Option<Vec<Value>>,
    /// The traceback, in lines.
    pub full: Vec<String>,
    /// The message, in lines.
    pub short: Vec<String>,
    /// Whether the traceback is to be shown.
    pub trace: bool,
    /// What the server runs on.
    pub sysinfo: String,
}

impl Failure {
    /// Returns one of the texts that the exception was made of.
    pub fn text(&self, place: usize) -> Option<String> {
        let bytes = self.args.as_ref()?.get(place)?.as_raw()?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let text = |name: &str, text: &str, out: &mut Vec<u8>| {
            msgpack::write_raw(out, name.as_bytes());
            msgpack::write_raw(out, text.as_bytes());
        };
        let lines = |name: &str, lines: &[String], out: &mut Vec<u8>| {
            msgpack::write_raw(out, name.as_bytes());
            msgpack::write_array_len(out, lines.len());
            let lines = lines.iter().map(String::as_bytes);
            lines.for_each(|line| msgpack::write_raw(out, line));
        };
        text("exception_class", &self.class, out);
        let args = self.args.as_deref().unwrap_or_default();
        msgpack::write_raw(out, b"exception_args");
        msgpack::write_array_len(out, args.len());
        args.iter().for_each(|arg| arg.write(out));
        lines("exception_full", &self.full, out);
        lines("exception_short", &self.short, out);
        msgpack::write_raw(out, b"exception_trace");
        msgpack::write_bool(out, self.trace);
        text("sysinfo", &self.sysinfo, out);
    }
}

impl<'a> Response<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is no response.
    pub fn decode(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let response = match reader.read_array_len() {
            Ok(4) => Self::read_positional(&mut reader)?,
            Ok(_) => return Err(Malformed),
            Err(DecodeError::UnexpectedType(_)) => Self::read_named(&mut reader)?,
            Err(_) => return Err(Malformed),
        };
        reader.finish()?;
        Ok(response)
    }

    fn read_positional(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        reader.skip()?;
        let msgid = reader.read_int()?;
        let outcome = if reader.read_nil() {
            Ok(Answer::read(reader)?)
        } else {
            let class = text(reader)?;
            reader.skip()?;
            Err(Failure {
                class,
                trace: true,
                ..Failure::default()
            })
        };
        Ok(Self { msgid, outcome })
    }

    fn read_named(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (mut msgid, mut answer, mut failed) = (None, None, false);
        let mut failure = Failure {
            trace: true,
            ..Failure::default()
        };
        for _ in 0..reader.read_map_len()? {
            match reader.read_raw()? {
                b"i" => msgid = Some(reader.read_int()?),
                b"r" => answer = Some(Answer::read(reader)?),
                b"exception_class" => {
                    failure.class = text(reader)?;
                    failed = true;
                }
                b"exception_args" => failure.args = Some(args(reader)?),
                b"exception_full" => failure.full = lines(reader)?,
                b"exception_short" => failure.short = lines(reader)?,
                b"exception_trace" => failure.trace = reader.read_bool()?,
                b"sysinfo" => failure.sysinfo = text(reader)?,
                _ => drop(reader.skip()?),
            }
        }
        let outcome = if failed {
            Err(failure)
        } else {
            Ok(answer.ok_or(Malformed)?)
        };
        Ok(Self {
            msgid: msgid.ok_or(Malformed)?,
            outcome,
        })
    }

    /// Appends a response.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        match &self.outcome {
            Ok(answer) => {
                write_ok_head(form, self.msgid, out);
                answer.write(out);
            }
            Err(failure) => match form {
                Form::Positional => {
                    msgpack::write_array_len(out, 4);
                    msgpack::write_int(out, 1);
                    msgpack::write_int(out, self.msgid);
                    msgpack::write_raw(out, failure.class.as_bytes());
                    msgpack::write_raw(out, NO_RESULT.as_bytes());
                }
                Form::Named => {
                    msgpack::write_map_len(out, 7);
                    msgpack::write_raw(out, b"i");
                    msgpack::write_int(out, self.msgid);
                    failure.write(out);
                }
            },
        }
    }
}

/// Appends what comes before the result of a call that did not fail.
pub(super) fn write_ok_head(form: Form, msgid: i64, out: &mut Vec<u8>) {
    match form {
        Form::Positional => {
            msgpack::write_array_len(out, 4);
            msgpack::write_int(out, 1);
            msgpack::write_int(out, msgid);
            msgpack::write_nil(out);
        }
        Form::Named => {
            msgpack::write_map_len(out, 2);
            msgpack::write_raw(out, b"i");
            msgpack::write_int(out, msgid);
            msgpack::write_raw(out, b"r");
        }
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(String::from_utf8_lossy(reader.read_raw()?).into_owned())
}

/// Reads at most as many lines as anybody would look at.
fn lines(reader: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    few(reader, text)
}

/// Reads what an exception is made of: texts, numbers, and nil in place of anything else.
fn args(reader: &mut Reader<'_>) -> Result<Vec<Value>, Malformed> {
    few(reader, |reader| {
        let value = match reader.peek() {
            Some(0x80..=0x9f | 0xdc..=0xdf) => reader.skip().map(|_| Value::Nil),
            _ => reader.read_value(),
        };
        Ok(value?)
    })
}

/// Reads the first elements of an array, and passes over the rest: small values take more memory
/// than room in a message.
fn few<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut values = Vec::new();
    for place in 0..reader.read_array_len()? {
        if place < MAX_LINES {
            values.push(read(reader)?);
        } else {
            reader.skip()?;
        }
    }
    Ok(values)
}
