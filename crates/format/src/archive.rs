//! An archive's own metadata: one msgpack map, stored as one object under the hash of its bytes.
//!
//! The manifest names it; its `items` name the chunks of the item stream, in order. The `tam` key,
//! which authenticates the rest, is not handled here: [`crate::crypto`] adds it to the encoded map
//! and checks it before anything is decoded.

use std::collections::BTreeMap;

use crate::chunker::ChunkerParams;
use crate::id::ChunkId;
use crate::msgpack::{self, DecodeError, Reader, Value};

/// Every key that archive metadata may begin with, for finding them among other objects.
const ARCHIVE_KEYS: [&str; 21] = [
    "version",
    "name",
    "items",
    "cmdline",
    "hostname",
    "username",
    "time",
    "time_end",
    "comment",
    "chunker_params",
    "recreate_cmdline",
    "recreate_source_id",
    "recreate_args",
    "recreate_partial_chunks",
    "size",
    "csize",
    "nfiles",
    "size_parts",
    "csize_parts",
    "nfiles_parts",
    "cwd",
];

/// A map that is no archive metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The bytes are no msgpack map.
    #[error("archive metadata is damaged")]
    Encoding(#[from] DecodeError),
    /// A required key is missing.
    #[error("archive metadata has no {0}")]
    Missing(&'static str),
    /// A key has a value it cannot have.
    #[error("archive metadata has an invalid value for {key:?}")]
    Field {
        /// The key.
        key: String,
        /// What is wrong with its value.
        #[source]
        source: DecodeError,
    },
    /// Made by a later program.
    #[error("unknown archive metadata version {0}")]
    Version(i64),
}

/// Metadata of one archive. What is `None` is not written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArchiveMetadata {
    /// The archive's name at the time of writing.
    pub name: Vec<u8>,
    /// The chunks of the item stream.
    pub items: Vec<ChunkId>,
    /// Command line that made the archive, with the program's name.
    pub cmdline: Vec<Vec<u8>>,
    /// Host it was made on.
    pub hostname: Option<Vec<u8>>,
    /// User who made it.
    pub username: Option<Vec<u8>>,
    /// Start of its making; see [`crate::timestamp`].
    pub time: String,
    /// End of its making.
    pub time_end: Option<String>,
    /// The user's comment, possibly empty.
    pub comment: Option<Vec<u8>>,
    /// How its files were cut.
    pub chunker_params: Option<ChunkerParams>,
    /// Command line of the last recreate.
    pub recreate_cmdline: Option<Vec<Vec<u8>>>,
    /// Working directory.
    pub cwd: Option<Vec<u8>>,
    /// Sum of the lengths of all files, parts not counted.
    pub size: Option<u64>,
    /// Sum of the stored lengths of all file chunks.
    pub csize: Option<u64>,
    /// Number of regular files, hard links to earlier ones not counted.
    pub nfiles: Option<u64>,
    /// As `size`, for the parts that checkpoints leave.
    pub size_parts: Option<u64>,
    /// As `csize`, for parts.
    pub csize_parts: Option<u64>,
    /// As `nfiles`, for parts.
    pub nfiles_parts: Option<u64>,
    /// Keys that are not known here, `tam` left out, sorted.
    pub unknown: BTreeMap<Vec<u8>, Value>,
}

impl ArchiveMetadata {
    /// The version that is written.
    pub const VERSION: i64 = 1;

    /// Reads the metadata; a `tam` key is passed over.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut reader = Reader::new(bytes);
        let mut archive = Self::default();
        let mut seen = Required::default();
        for _ in 0..reader.read_map_len()? {
            let key = reader.read_raw()?;
            let start = reader.clone();
            if let Err(source) = archive.read_field(key, &mut reader, &mut seen) {
                reader = start;
                reader.skip()?;
                return Err(ArchiveError::Field {
                    key: String::from_utf8_lossy(key.get(..100).unwrap_or(key)).into_owned(),
                    source,
                });
            }
        }
        reader.finish()?;
        seen.check()?;
        Ok(archive)
    }

    fn read_field(
        &mut self,
        key: &[u8],
        reader: &mut Reader<'_>,
        seen: &mut Required,
    ) -> Result<(), DecodeError> {
        match key {
            b"version" => seen.version = Some(reader.read_int()?),
            b"name" => {
                self.name = reader.read_raw()?.to_vec();
                seen.name = true;
            }
            b"items" => {
                self.items = read_list(reader, |reader| Ok(ChunkId::new(reader.read_array()?)))?;
                seen.items = true;
            }
            b"cmdline" => {
                // Nothing depends on it, and some archives have a plain text here.
                let start = reader.clone();
                self.cmdline = match read_list(reader, read_bytes) {
                    Ok(words) => words,
                    Err(_) => {
                        *reader = start;
                        vec![read_bytes(reader)?]
                    }
                };
                seen.cmdline = true;
            }
            b"time" => {
                self.time = read_text(reader)?;
                seen.time = true;
            }
            b"time_end" => self.time_end = optional(reader, read_text)?,
            b"hostname" => self.hostname = optional(reader, read_bytes)?,
            b"username" => self.username = optional(reader, read_bytes)?,
            b"comment" => self.comment = optional(reader, read_bytes)?,
            b"cwd" => self.cwd = optional(reader, read_bytes)?,
            b"recreate_cmdline" => {
                self.recreate_cmdline = optional(reader, |reader| read_list(reader, read_bytes))?;
            }
            b"size" => self.size = optional(reader, Reader::read_int)?,
            b"csize" => self.csize = optional(reader, Reader::read_int)?,
            b"nfiles" => self.nfiles = optional(reader, Reader::read_int)?,
            b"size_parts" => self.size_parts = optional(reader, Reader::read_int)?,
            b"csize_parts" => self.csize_parts = optional(reader, Reader::read_int)?,
            b"nfiles_parts" => self.nfiles_parts = optional(reader, Reader::read_int)?,
            b"tam" => drop(reader.skip()?),
            _ => self.read_value(key, reader)?,
        }
        Ok(())
    }

    /// Reads the chunker's parameters if they have a known form, and everything unknown.
    fn read_value(&mut self, key: &[u8], reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let value = reader.read_value()?;
        if key == b"chunker_params" {
            self.chunker_params = ChunkerParams::from_value(&value);
            // The form of Borg 1.0 and 1.1 has no name; it is written again as it was.
            if self.chunker_params.map(|params| params.to_value()).as_ref() == Some(&value) {
                return Ok(());
            }
        }
        self.unknown.insert(key.to_vec(), value);
        Ok(())
    }

    /// Returns the metadata as a map with sorted keys, without `tam`.
    pub fn to_value(&self) -> Value {
        let mut map = self.unknown.clone();
        map.remove(&b"tam"[..]);
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.entry(key.as_bytes().to_vec()).or_insert(value);
            }
        };
        let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Value::Raw);
        let list = |list: &[Vec<u8>]| Value::Array(list.iter().cloned().map(Value::Raw).collect());
        let int = |number: Option<u64>| number.map(|number| Value::Int(number.into()));
        let ids = self
            .items
            .iter()
            .map(|id| Value::Raw(id.as_bytes().to_vec()));
        put("version", Some(Value::Int(Self::VERSION.into())));
        put("name", Some(Value::Raw(self.name.clone())));
        put("items", Some(Value::Array(ids.collect())));
        put("cmdline", Some(list(&self.cmdline)));
        put("hostname", bytes(&self.hostname));
        put("username", bytes(&self.username));
        put("time", Some(Value::text(&self.time)));
        put("time_end", self.time_end.as_deref().map(Value::text));
        put("comment", bytes(&self.comment));
        put(
            "chunker_params",
            self.chunker_params.map(|params| params.to_value()),
        );
        put(
            "recreate_cmdline",
            self.recreate_cmdline.as_deref().map(list),
        );
        put("cwd", bytes(&self.cwd));
        put("size", int(self.size));
        put("csize", int(self.csize));
        put("nfiles", int(self.nfiles));
        put("size_parts", int(self.size_parts));
        put("csize_parts", int(self.csize_parts));
        put("nfiles_parts", int(self.nfiles_parts));
        Value::sorted_map(map)
    }

    /// Returns the encoded metadata, without `tam`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + self.items.len() * 35);
        self.to_value().write(&mut out);
        out
    }

    /// Tells quickly whether an object's data may be archive metadata, to find them when the
    /// manifest is lost. If so, decode it to be sure.
    pub fn is_likely(data: &[u8]) -> bool {
        let skip = match data.first() {
            Some(byte) if byte & 0xf0 == 0x80 => 1,
            Some(0xde) => 3,
            _ => return false,
        };
        let begin = data.get(skip..).unwrap_or_default();
        let known_key = ARCHIVE_KEYS.iter().any(|key| {
            let mut encoded = Vec::with_capacity(32);
            msgpack::write_raw(&mut encoded, key.as_bytes());
            begin.starts_with(&encoded)
        });
        known_key && contains(data, b"cmdline") && contains(data, b"\xa7version\x01")
    }
}

fn contains(data: &[u8], wanted: &[u8]) -> bool {
    data.windows(wanted.len()).any(|window| window == wanted)
}

/// Which of the required keys were there.
#[derive(Default)]
struct Required {
    version: Option<i64>,
    name: bool,
    items: bool,
    cmdline: bool,
    time: bool,
}

impl Required {
    fn check(&self) -> Result<(), ArchiveError> {
        let version = self.version.ok_or(ArchiveError::Missing("version"))?;
        if version != ArchiveMetadata::VERSION {
            return Err(ArchiveError::Version(version));
        }
        let keys = [
            (self.name, "name"),
            (self.items, "items"),
            (self.cmdline, "cmdline"),
            (self.time, "time"),
        ];
        match keys.into_iter().find(|(there, _)| !there) {
            Some((_, key)) => Err(ArchiveError::Missing(key)),
            None => Ok(()),
        }
    }
}

pub(crate) fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let len = reader.read_array_len()?;
    (0..len).map(|_| read(reader)).collect()
}

pub(crate) fn read_bytes(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    reader.read_raw().map(<[u8]>::to_vec)
}

pub(crate) fn read_text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let bytes = reader.read_raw()?;
    String::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::OutOfRange)
}

fn optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if reader.read_nil() {
        Ok(None)
    } else {
        read(reader).map(Some)
    }
}

#[cfg(test)]
mod tests;
