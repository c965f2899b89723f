//! Results of calls.

use std::borrow::Cow;

use crate::id::ChunkId;
use crate::msgpack::{self, Reader};

use super::response::write_ok_head;
use super::{Form, Malformed, Version};

/// What a call gives back.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<'a> {
    /// Nothing: most methods.
    Nil,
    /// Whether a check found no errors.
    Bool(bool),
    /// A number of objects, a counter value, the number of the old protocol.
    Int(i64),
    /// An object, a key, the id of a repository.
    Raw(&'a [u8]),
    /// Ids of objects.
    Ids(Cow<'a, [ChunkId]>),
    /// The version of the server.
    Negotiated(Version),
}

impl<'a> Answer<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => msgpack::write_nil(out),
            Self::Bool(value) => msgpack::write_bool(out, *value),
            Self::Int(value) => msgpack::write_int(out, *value),
            Self::Raw(bytes) => msgpack::write_raw(out, bytes),
            Self::Ids(ids) => {
                out.reserve(5 + ids.len() * (ChunkId::LEN + 3));
                msgpack::write_array_len(out, ids.len());
                ids.iter()
                    .for_each(|id| msgpack::write_raw(out, id.as_bytes()));
            }
            Self::Negotiated(version) => {
                msgpack::write_map_len(out, 1);
                msgpack::write_raw(out, b"server_version");
                version.write(out);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match reader.peek().ok_or(Malformed)? {
            0xc0 => {
                reader.read_nil();
                Self::Nil
            }
            0xc2 | 0xc3 => Self::Bool(reader.read_bool()?),
            0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6 => Self::Raw(reader.read_raw()?),
            0x90..=0x9f | 0xdc | 0xdd => {
                let len = reader.read_array_len()?;
                // A list takes more bytes on the wire than in memory, so this is bounded.
                let mut ids = Vec::with_capacity(len.min(reader.rest().len() / ChunkId::LEN));
                for _ in 0..len {
                    ids.push(ChunkId::new(reader.read_array()?));
                }
                Self::Ids(Cow::Owned(ids))
            }
            0x80..=0x8f | 0xde | 0xdf => {
                let mut version = None;
                for _ in 0..reader.read_map_len()? {
                    if reader.read_raw()? == b"server_version" {
                        version = Some(Version::read(reader)?);
                    } else {
                        reader.skip()?;
                    }
                }
                Self::Negotiated(version.ok_or(Malformed)?)
            }
            _ => Self::Int(reader.read_int()?),
        })
    }
}

/// Appends the answer to a call that gives `len` bytes, all but the bytes, which follow.
pub fn raw_answer_head(form: Form, msgid: i64, len: usize, out: &mut Vec<u8>) {
    write_ok_head(form, msgid, out);
    msgpack::write_raw_len(out, len);
}
