//! `hints.T`: what a writer must know of the segments, as of transaction T.
//!
//! One msgpack map: `version` 2, `segments` {number: count}, `compact` {number: bytes},
//! `storage_quota_use` bytes, `shadow_index` {id: list of numbers}. Version 1 (Borg 1.0) has `segments`
//! and a list `compact` of the segments that have something to free, without saying how much.
//! Readers do not need it.

use std::collections::{BTreeMap, HashMap};

use crate::id::ChunkId;
use crate::msgpack::{self, DecodeError, Reader};

/// Far above the bytes of any repository.
const MAX_NUMBER: i64 = 1 << 60;

/// The bookkeeping of a repository about its segments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// Number of current objects in each segment.
    pub segments: BTreeMap<u32, i64>,
    /// Estimated bytes that compacting a segment would free.
    pub compact: BTreeMap<u32, i64>,
    /// Bytes of all PUT entries that are in the segments.
    pub storage_quota_use: i64,
    /// Segments in which superseded or deleted PUTs of an id still lie.
    pub shadow_index: HashMap<ChunkId, Vec<u32>>,
}

/// Hints as they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredHints {
    /// Complete ones.
    Current(Hints),
    /// Those of Borg 1.0: `compact` has the segments with zeros, to be computed.
    Old(Hints),
}

/// Why hints cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HintsError {
    /// The bytes are not what they should be.
    #[error("malformed hints")]
    Malformed(#[from] DecodeError),
    /// The version is not known here.
    #[error("unknown hints file version: {0}")]
    UnknownVersion(i64),
}

impl Hints {
    /// Returns the content of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            64 + 8 * (self.segments.len() + self.compact.len()) + 44 * self.shadow_index.len(),
        );
        msgpack::write_map_len(&mut out, 5);
        msgpack::write_raw(&mut out, b"version");
        msgpack::write_uint(&mut out, 2);
        for (name, map) in [("segments", &self.segments), ("compact", &self.compact)] {
            msgpack::write_raw(&mut out, name.as_bytes());
            msgpack::write_map_len(&mut out, map.len());
            for (&segment, &number) in map {
                msgpack::write_uint(&mut out, segment.into());
                msgpack::write_int(&mut out, number);
            }
        }
        msgpack::write_raw(&mut out, b"storage_quota_use");
        msgpack::write_int(&mut out, self.storage_quota_use);
        msgpack::write_raw(&mut out, b"shadow_index");
        msgpack::write_map_len(&mut out, self.shadow_index.len());
        for (id, segments) in &self.shadow_index {
            msgpack::write_raw(&mut out, id.as_bytes());
            msgpack::write_array_len(&mut out, segments.len());
            for &segment in segments {
                msgpack::write_uint(&mut out, segment.into());
            }
        }
        out
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// When it is malformed or of an unknown version.
    pub fn decode(bytes: &[u8]) -> Result<StoredHints, HintsError> {
        let version = stored_version(bytes)?;
        if version != 1 && version != 2 {
            return Err(HintsError::UnknownVersion(version));
        }
        let mut hints = Self::default();
        let mut reader = Reader::new(bytes);
        for _ in 0..reader.read_map_len()? {
            match reader.read_raw()? {
                b"segments" => hints.segments = read_numbers(&mut reader)?,
                b"compact" if version == 2 => hints.compact = read_numbers(&mut reader)?,
                b"compact" => {
                    for _ in 0..reader.read_array_len()? {
                        hints.compact.insert(reader.read_int()?, 0);
                    }
                }
                b"storage_quota_use" => hints.storage_quota_use = read_number(&mut reader)?,
                b"shadow_index" => hints.shadow_index = read_shadow_index(&mut reader)?,
                _ => drop(reader.skip()?),
            }
        }
        reader.finish()?;
        Ok(if version == 1 {
            StoredHints::Old(hints)
        } else {
            StoredHints::Current(hints)
        })
    }

    /// Forgets segments above `last`, which no transaction contains.
    pub fn drop_uncommitted(&mut self, last: u32) {
        for segments in self.shadow_index.values_mut() {
            segments.retain(|&segment| segment <= last);
        }
    }
}

/// Finds the version first, since the order of the keys is not fixed.
fn stored_version(bytes: &[u8]) -> Result<i64, HintsError> {
    let mut reader = Reader::new(bytes);
    for _ in 0..reader.read_map_len()? {
        if reader.read_raw()? == b"version" {
            return Ok(reader.read_int()?);
        }
        reader.skip()?;
    }
    Err(HintsError::UnknownVersion(0))
}

fn read_numbers(reader: &mut Reader<'_>) -> Result<BTreeMap<u32, i64>, DecodeError> {
    let mut numbers = BTreeMap::new();
    for _ in 0..reader.read_map_len()? {
        numbers.insert(reader.read_int()?, read_number(reader)?);
    }
    Ok(numbers)
}

/// Reads a number that leaves room for sums: hints are not authenticated.
fn read_number(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    let number = reader.read_int()?;
    if (-MAX_NUMBER..=MAX_NUMBER).contains(&number) {
        return Ok(number);
    }
    Err(DecodeError::OutOfRange)
}

fn read_shadow_index(reader: &mut Reader<'_>) -> Result<HashMap<ChunkId, Vec<u32>>, DecodeError> {
    let len = reader.read_map_len()?;
    // Each pair takes at least 34 bytes, of which the length check knows only two.
    let mut shadow_index = HashMap::with_capacity(len.min(reader.rest().len() / 34));
    for _ in 0..len {
        let id = ChunkId::new(reader.read_array()?);
        let segments = (0..reader.read_array_len()?)
            .map(|_| reader.read_int())
            .collect::<Result<_, _>>()?;
        shadow_index.insert(id, segments);
    }
    Ok(shadow_index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::Value;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hints_read_back_as_written(
            segments in proptest::collection::btree_map(any::<u32>(), -5i64..100_000, 0..30),
            compact in proptest::collection::btree_map(any::<u32>(), 0i64..1 << 40, 0..30),
            shadows in proptest::collection::vec((any::<[u8; 32]>(), proptest::collection::vec(any::<u32>(), 0..5)), 0..20),
            storage_quota_use in -5i64..1 << 60,
        ) {
            let hints = Hints {
                segments,
                compact,
                storage_quota_use,
                shadow_index: shadows.into_iter().map(|(id, list)| (ChunkId::new(id), list)).collect(),
            };
            prop_assert_eq!(Hints::decode(&hints.encode()), Ok(StoredHints::Current(hints)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Hints::decode(&bytes).is_err());
        }
    }

    #[test]
    fn hints_of_borg_1_0_list_segments_without_sizes() {
        let mut bytes = Vec::new();
        Value::Map(vec![
            (
                Value::text("segments"),
                Value::Map(vec![(Value::Int(0), Value::Int(3))]),
            ),
            (Value::text("compact"), Value::Array(vec![Value::Int(7)])),
            (Value::text("version"), Value::Int(1)),
        ])
        .write(&mut bytes);
        let Ok(StoredHints::Old(hints)) = Hints::decode(&bytes) else {
            panic!("not read as version 1");
        };
        assert_eq!(hints.segments, BTreeMap::from([(0, 3)]));
        assert_eq!(hints.compact, BTreeMap::from([(7, 0)]));
    }

    #[test]
    fn quota_and_shadow_index_may_be_missing() {
        let mut bytes = Vec::new();
        Value::Map(vec![
            (Value::text("version"), Value::Int(2)),
            (Value::text("segments"), Value::Map(vec![])),
            (Value::text("compact"), Value::Map(vec![])),
            (Value::text("new in some version"), Value::Nil),
        ])
        .write(&mut bytes);
        assert_eq!(
            Hints::decode(&bytes),
            Ok(StoredHints::Current(Hints::default()))
        );
    }

    #[test]
    fn unknown_versions_are_refused() {
        let mut bytes = Vec::new();
        Value::Map(vec![(Value::text("version"), Value::Int(3))]).write(&mut bytes);
        assert_eq!(Hints::decode(&bytes), Err(HintsError::UnknownVersion(3)));
    }
}
