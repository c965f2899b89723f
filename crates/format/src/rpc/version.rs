//! Versions as they are told in the first messages.
//!
//! A tuple of integers: major, minor, patch, then -1 for a release, or what kind of preview it is
//! (-4 alpha, -3 beta, -2 release candidate, -9 development) and its number. Versions are compared
//! as tuples.

use std::fmt;

use super::Malformed;
use crate::msgpack::{self, Reader};

/// More numbers than this are no version.
const MAX_NUMBERS: usize = 16;

/// The version of a client or server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<i64>);

impl Version {
    /// What a side is taken for that does not tell its version.
    pub fn untold() -> Self {
        Self::release(1, 0, 8)
    }

    /// A release.
    pub fn release(major: i64, minor: i64, patch: i64) -> Self {
        Self(vec![major, minor, patch, -1])
    }

    /// Makes a version of its numbers.
    pub fn new(numbers: impl Into<Vec<i64>>) -> Self {
        Self(numbers.into())
    }

    /// Returns the numbers.
    pub fn numbers(&self) -> &[i64] {
        &self.0
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        msgpack::write_array_len(out, self.0.len());
        self.0
            .iter()
            .for_each(|&number| msgpack::write_int(out, number));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = reader.read_array_len()?;
        if len > MAX_NUMBERS {
            return Err(Malformed);
        }
        let numbers: Result<Vec<i64>, _> = (0..len).map(|_| reader.read_int()).collect();
        Ok(Self(numbers?))
    }
}

/// As Borg writes versions: `1.4.5`, `1.2.0a8`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.iter();
        let mut separator = "";
        for &number in numbers.by_ref() {
            if number < 0 {
                let kind = match number {
                    -1 => return Ok(()),
                    -2 => "rc",
                    -3 => "b",
                    -4 => "a",
                    _ => ".dev",
                };
                f.write_str(kind)?;
                break;
            }
            write!(f, "{separator}{number}")?;
            separator = ".";
        }
        numbers
            .next()
            .map_or(Ok(()), |number| write!(f, "{number}"))
    }
}
