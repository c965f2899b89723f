//! The manifest: which archives a repository has, and what a program must know to touch it.
//!
//! One msgpack map under the id of 32 zero bytes, rewritten by every change. Its `timestamp` grows
//! with every writing, which is how a replayed old repository is recognised. As with archives, the
//! `tam` key is added and checked by [`crate::crypto`], not here.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::{read_bytes, read_list, read_text};
use crate::id::ChunkId;
use crate::item::ITEM_KEYS;
use crate::msgpack::{DecodeError, Reader, Value};
use crate::timestamp;

/// Most archives a manifest may have.
pub const MAX_ARCHIVES: usize = 400_000;

/// Most characters an archive name may have.
pub const MAX_NAME_CHARS: usize = 255;

/// Most names of item keys a manifest may have.
pub const MAX_ITEM_KEYS: usize = 100;

/// What manifests of later versions of Borg begin with; no msgpack value does.
const FUTURE: [u8; 4] = [0xc1; 4];

/// A manifest that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Written by a later, incompatible version of Borg.
    #[error("unsupported manifest envelope, a newer version is required to access this repository")]
    Future,
    /// The bytes are no msgpack map.
    #[error("manifest is damaged")]
    Encoding(#[from] DecodeError),
    /// A required key is missing.
    #[error("manifest has no {0}")]
    Missing(&'static str),
    /// A key has a value it cannot have.
    #[error("manifest has an invalid value for {key:?}")]
    Field {
        /// The key.
        key: String,
        /// What is wrong with its value.
        #[source]
        source: DecodeError,
    },
    /// Not one of the known versions.
    #[error("invalid manifest version {0}")]
    Version(i64),
}

/// A manifest that is too large to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestLimit {
    /// More archives than [`MAX_ARCHIVES`].
    #[error("a repository can have 400000 archives, not {0}")]
    Archives(usize),
    /// A longer name than [`MAX_NAME_CHARS`].
    #[error("an archive name has at most 255 characters: {0:?}")]
    Name(String),
    /// More item keys than [`MAX_ITEM_KEYS`].
    #[error("a manifest can name 100 item keys, not {0}")]
    ItemKeys(usize),
}

/// The repository needs features that are not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported repository feature(s) {}, a newer version is required to access this repository", .0.join(", "))]
pub struct UnsupportedFeatures(pub Vec<String>);

/// What a command is about to do, as far as feature flags distinguish it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Listing and extracting.
    Read,
    /// Checking, and changing archives in place.
    Check,
    /// Adding archives.
    Write,
    /// Deleting archives, for which all references must be known.
    Delete,
}

impl Operation {
    /// Returns the name under which the manifest keeps the features.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Check => "check",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// What the manifest says of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// Id of the archive's metadata.
    pub id: ChunkId,
    /// Start of its making; see [`crate::timestamp`].
    pub time: String,
}

/// A repository's manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// 1, or 2 as some program may have written; 1 is written.
    pub version: i64,
    /// The archives by name.
    pub archives: BTreeMap<Vec<u8>, ArchiveEntry>,
    /// Time of the last writing; empty when it is not known.
    pub timestamp: String,
    /// A map: `tam_required`, `feature_flags` and whatever else is there.
    pub config: BTreeMap<Vec<u8>, Value>,
    /// Keys that items of this repository may have: the known ones and any others it names.
    pub item_keys: BTreeSet<Vec<u8>>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self::new()
    }
}

impl Manifest {
    /// Makes the manifest of a new repository.
    pub fn new() -> Self {
        Self {
            version: 1,
            archives: BTreeMap::new(),
            timestamp: String::new(),
            config: BTreeMap::new(),
            item_keys: ITEM_KEYS
                .iter()
                .map(|key| key.as_bytes().to_vec())
                .collect(),
        }
    }

    /// Tells whether these are the first bytes of a manifest of a later version of Borg.
    pub fn is_future(bytes: &[u8]) -> bool {
        bytes.starts_with(&FUTURE)
    }

    /// Reads a manifest; a `tam` key is passed over.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if Self::is_future(bytes) {
            return Err(ManifestError::Future);
        }
        let mut reader = Reader::new(bytes);
        let mut manifest = Self::new();
        let (mut version, mut has_archives) = (None, false);
        for _ in 0..reader.read_map_len()? {
            let key = reader.read_raw()?;
            let read = match key {
                b"version" => reader.read_int().map(|value| version = Some(value)),
                b"archives" => {
                    has_archives = true;
                    read_archives(&mut reader).map(|archives| manifest.archives = archives)
                }
                b"timestamp" => {
                    read_text(&mut reader).map(|timestamp| manifest.timestamp = timestamp)
                }
                b"config" => read_config(&mut reader).map(|config| manifest.config = config),
                b"item_keys" => {
                    read_list(&mut reader, read_bytes).map(|keys| manifest.item_keys.extend(keys))
                }
                _ => reader.skip().map(drop),
            };
            read.map_err(|source| ManifestError::Field {
                key: String::from_utf8_lossy(key.get(..100).unwrap_or(key)).into_owned(),
                source,
            })?;
        }
        reader.finish()?;
        manifest.version = version.ok_or(ManifestError::Missing("version"))?;
        if !matches!(manifest.version, 1 | 2) {
            return Err(ManifestError::Version(manifest.version));
        }
        if !has_archives {
            return Err(ManifestError::Missing("archives"));
        }
        Ok(manifest)
    }

    /// Returns the manifest as a map with sorted keys, without `tam`.
    pub fn to_value(&self) -> Value {
        let archives = self.archives.iter().map(|(name, entry)| {
            let entry = Value::Map(vec![
                (Value::text("id"), Value::Raw(entry.id.as_bytes().to_vec())),
                (Value::text("time"), Value::text(&entry.time)),
            ]);
            (Value::Raw(name.clone()), entry)
        });
        let item_keys = self.item_keys.iter().cloned().map(Value::Raw);
        Value::Map(vec![
            (Value::text("archives"), Value::Map(archives.collect())),
            (
                Value::text("config"),
                Value::sorted_map(self.config.clone()),
            ),
            (Value::text("item_keys"), Value::Array(item_keys.collect())),
            (Value::text("timestamp"), Value::text(&self.timestamp)),
            (Value::text("version"), Value::Int(1)),
        ])
    }

    /// Returns the encoded manifest, without `tam`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024 + self.archives.len() * 128);
        self.to_value().write(&mut out);
        out
    }

    /// Checks that the manifest may be written.
    ///
    /// # Errors
    /// The first limit that is passed.
    pub fn check_limits(&self) -> Result<(), ManifestLimit> {
        if self.archives.len() > MAX_ARCHIVES {
            return Err(ManifestLimit::Archives(self.archives.len()));
        }
        let too_long = |name: &&Vec<u8>| chars(name) > MAX_NAME_CHARS;
        if let Some(name) = self.archives.keys().find(too_long) {
            return Err(ManifestLimit::Name(
                String::from_utf8_lossy(name).into_owned(),
            ));
        }
        if self.item_keys.len() > MAX_ITEM_KEYS {
            return Err(ManifestLimit::ItemKeys(self.item_keys.len()));
        }
        Ok(())
    }

    /// Tells whether archives and manifest must be authenticated according to the manifest.
    pub fn tam_required(&self) -> bool {
        self.config
            .get(&b"tam_required"[..])
            .and_then(Value::as_bool)
            == Some(true)
    }

    /// Checks that the operations need no feature: as all of Borg 1.x, we know none.
    ///
    /// # Errors
    /// Names the features that are missing.
    pub fn check_features(&self, operations: &[Operation]) -> Result<(), UnsupportedFeatures> {
        let mut missing = BTreeSet::new();
        for operation in operations {
            missing.extend(self.mandatory_features(*operation));
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(UnsupportedFeatures(missing.into_iter().collect()))
        }
    }

    /// Returns the features without which an operation must not be done.
    pub fn mandatory_features(&self, operation: Operation) -> Vec<String> {
        let flags = self.config.get(&b"feature_flags"[..]);
        let features = flags
            .and_then(|flags| flags.get(operation.name().as_bytes()))
            .and_then(|requirements| requirements.get(b"mandatory"));
        match features {
            None | Some(Value::Nil) => Vec::new(),
            Some(Value::Array(features)) => features.iter().map(feature_name).collect(),
            // Something is required, said in a way we do not know: as good as unknown.
            Some(other) => vec![feature_name(other)],
        }
    }

    /// Sets the time of the next writing: now, but always later than the last one.
    ///
    /// `now` is in microseconds since 1970. Clocks go wrong and back, the timestamp must not.
    pub fn advance_timestamp(&mut self, now: i64) {
        self.timestamp = next_timestamp(&self.timestamp, now);
    }
}

/// Returns the timestamp of a manifest written at `now` (microseconds since 1970) after one with
/// the timestamp `previous`: the later of now and a microsecond after `previous`.
pub fn next_timestamp(previous: &str, now: i64) -> String {
    let after = timestamp::parse(previous).map_or(now, |micros| micros.saturating_add(1));
    timestamp::format(now.max(after))
}

fn feature_name(value: &Value) -> String {
    match value.as_raw() {
        Some(name) => String::from_utf8_lossy(name).into_owned(),
        None => "?".to_owned(),
    }
}

/// Counts characters as Python does: a byte that belongs to no UTF-8 sequence is one.
fn chars(name: &[u8]) -> usize {
    name.utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum()
}

fn read_archives(reader: &mut Reader<'_>) -> Result<BTreeMap<Vec<u8>, ArchiveEntry>, DecodeError> {
    let mut archives = BTreeMap::new();
    for _ in 0..reader.read_map_len()? {
        let name = read_bytes(reader)?;
        archives.insert(name, read_entry(reader)?);
    }
    Ok(archives)
}

fn read_entry(reader: &mut Reader<'_>) -> Result<ArchiveEntry, DecodeError> {
    let first = reader.peek().unwrap_or_default();
    let (mut id, mut time) = (None, None);
    for _ in 0..reader.read_map_len()? {
        match reader.read_raw()? {
            b"id" => id = Some(ChunkId::new(reader.read_array()?)),
            b"time" => time = Some(read_text(reader)?),
            _ => drop(reader.skip()?),
        }
    }
    match (id, time) {
        (Some(id), Some(time)) => Ok(ArchiveEntry { id, time }),
        _ => Err(DecodeError::UnexpectedType(first)),
    }
}

fn read_config(reader: &mut Reader<'_>) -> Result<BTreeMap<Vec<u8>, Value>, DecodeError> {
    let mut config = BTreeMap::new();
    for _ in 0..reader.read_map_len()? {
        config.insert(read_bytes(reader)?, reader.read_value()?);
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
