//! How data are cut into chunks, and the parameters of it.
//!
//! Cut for cut the same as Borg with the same parameters and seed: else nothing would deduplicate
//! against what is there. [`buzhash`] cuts where the content says so, [`fixed`] in blocks.
//! An archive keeps the parameters of its files in `chunker_params`; item streams always use
//! [`ChunkerParams::ITEMS`].

use std::fmt;
use std::str::FromStr;

use crate::msgpack::Value;

pub mod buzhash;
pub mod fixed;
mod table;

pub use buzhash::{Buzhash, Scan};

/// Largest block and header of the fixed chunker: the largest object a repository takes.
pub const MAX_BLOCK: u32 = 20_971_479;

/// Smallest block of the fixed chunker.
pub const MIN_BLOCK: u32 = 64;

/// Smallest `min_exp`.
const MIN_EXP_LOWEST: u8 = 6;

/// Largest `max_exp`: a chunk has to fit one object.
const MAX_EXP_HIGHEST: u8 = 23;

/// Chunker parameters that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkerParamsError {
    /// Not one of the known forms.
    #[error(
        "invalid chunker parameters {0:?}, expected buzhash,MIN_EXP,MAX_EXP,BITS,WINDOW or fixed,BLOCK_SIZE[,HEADER_SIZE]"
    )]
    Syntax(String),
    /// Known form, impossible numbers.
    #[error("invalid chunker parameters {text:?}: {reason}")]
    Range {
        /// The parameters as text.
        text: String,
        /// The rule they break.
        reason: &'static str,
    },
}

/// A chunker and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkerParams {
    /// Content-defined cuts by a rolling hash.
    Buzhash {
        /// Smallest chunk: 2 to the power of this.
        min_exp: u8,
        /// Largest chunk: 2 to the power of this.
        max_exp: u8,
        /// Number of hash bits that are zero at a cut: the average chunk is 2 to the power of it.
        mask_bits: u8,
        /// Length of the hashed window in bytes, odd.
        window: u32,
    },
    /// Blocks of equal length, after a header of another length.
    Fixed {
        /// Length of a block in bytes.
        block_size: u32,
        /// Length of the header in bytes, 0 for none.
        header_size: u32,
    },
}

impl Default for ChunkerParams {
    fn default() -> Self {
        Self::FILES
    }
}

impl ChunkerParams {
    /// What files are cut with unless told otherwise: chunks of about 2 MiB.
    pub const FILES: Self = Self::Buzhash {
        min_exp: 19,
        max_exp: 23,
        mask_bits: 21,
        window: 4095,
    };

    /// What item streams are cut with, always: chunks of about 128 KiB.
    pub const ITEMS: Self = Self::Buzhash {
        min_exp: 15,
        max_exp: 19,
        mask_bits: 17,
        window: 4095,
    };

    /// Checks the numbers and returns the parameters.
    ///
    /// # Errors
    /// [`ChunkerParamsError::Range`].
    pub fn validated(self) -> Result<Self, ChunkerParamsError> {
        let reason = match self {
            Self::Buzhash {
                min_exp,
                max_exp,
                mask_bits,
                window,
            } => buzhash_rule_broken(min_exp, max_exp, mask_bits, window),
            Self::Fixed {
                block_size,
                header_size,
            } => fixed_rule_broken(block_size, header_size),
        };
        match reason {
            None => Ok(self),
            Some(reason) => Err(ChunkerParamsError::Range {
                text: self.to_string(),
                reason,
            }),
        }
    }

    /// Returns the length of the longest chunk.
    pub fn max_chunk(&self) -> usize {
        match *self {
            Self::Buzhash { max_exp, .. } => 1 << max_exp.min(31),
            Self::Fixed { block_size, .. } => block_size as usize,
        }
    }

    /// Returns the parameters as an archive's `chunker_params` hold them.
    pub fn to_value(&self) -> Value {
        let numbers = |name: &str, numbers: &[u32]| {
            let numbers = numbers.iter().map(|number| Value::Int((*number).into()));
            Value::Array(std::iter::once(Value::text(name)).chain(numbers).collect())
        };
        match *self {
            Self::Buzhash {
                min_exp,
                max_exp,
                mask_bits,
                window,
            } => numbers(
                "buzhash",
                &[min_exp.into(), max_exp.into(), mask_bits.into(), window],
            ),
            Self::Fixed {
                block_size,
                header_size,
            } => numbers("fixed", &[block_size, header_size]),
        }
    }

    /// Reads an archive's `chunker_params`, also in the form without name of Borg 1.0 and 1.1.
    ///
    /// The numbers are not judged: they only tell how the archive was made.
    pub fn from_value(value: &Value) -> Option<Self> {
        let mut parts = value.as_array()?;
        let mut name: &[u8] = b"buzhash";
        if let Some((first, rest)) = parts.split_first()
            && let Some(given) = first.as_raw()
        {
            name = given;
            parts = rest;
        }
        let numbers: Option<Vec<u32>> = parts
            .iter()
            .map(|part| part.as_int().and_then(|number| number.try_into().ok()))
            .collect();
        Self::from_numbers(name, &numbers?)
    }

    fn from_numbers(name: &[u8], numbers: &[u32]) -> Option<Self> {
        match (name, numbers) {
            (b"buzhash", &[min_exp, max_exp, mask_bits, window]) => Some(Self::Buzhash {
                min_exp: min_exp.try_into().ok()?,
                max_exp: max_exp.try_into().ok()?,
                mask_bits: mask_bits.try_into().ok()?,
                window,
            }),
            (b"fixed", &[block_size]) => Some(Self::Fixed {
                block_size,
                header_size: 0,
            }),
            (b"fixed", &[block_size, header_size]) => Some(Self::Fixed {
                block_size,
                header_size,
            }),
            _ => None,
        }
    }
}

fn buzhash_rule_broken(
    min_exp: u8,
    max_exp: u8,
    mask_bits: u8,
    window: u32,
) -> Option<&'static str> {
    if min_exp < MIN_EXP_LOWEST {
        Some("the smallest chunk is at least 2^6 bytes")
    } else if max_exp > MAX_EXP_HIGHEST {
        Some("the largest chunk is at most 2^23 bytes")
    } else if !(min_exp <= mask_bits && mask_bits <= max_exp) {
        Some("BITS has to be between MIN_EXP and MAX_EXP")
    } else if window.is_multiple_of(2) {
        Some("WINDOW has to be odd")
    } else if u64::from(window) + (1 << min_exp) + 1 > 1 << max_exp {
        Some("WINDOW and the smallest chunk together have to fit the largest")
    } else {
        None
    }
}

fn fixed_rule_broken(block_size: u32, header_size: u32) -> Option<&'static str> {
    if block_size < MIN_BLOCK {
        Some("a block has at least 64 bytes")
    } else if block_size > MAX_BLOCK || header_size > MAX_BLOCK {
        Some("blocks and header are at most 20971479 bytes long")
    } else {
        None
    }
}

impl FromStr for ChunkerParams {
    type Err = ChunkerParamsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || ChunkerParamsError::Syntax(text.to_owned());
        if text.trim().eq_ignore_ascii_case("default") {
            return Ok(Self::default());
        }
        let mut parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let mut name = "buzhash";
        if let Some(first) = parts.first().copied()
            && let Some(known) = ["buzhash", "fixed"]
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(first))
        {
            name = known;
            parts.remove(0);
        }
        let numbers: Result<Vec<u32>, _> = parts.iter().map(|part| part.parse()).collect();
        Self::from_numbers(name.as_bytes(), &numbers.map_err(|_| syntax())?)
            .ok_or_else(syntax)?
            .validated()
    }
}

impl fmt::Display for ChunkerParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buzhash {
                min_exp,
                max_exp,
                mask_bits,
                window,
            } => write!(f, "buzhash,{min_exp},{max_exp},{mask_bits},{window}"),
            Self::Fixed {
                block_size,
                header_size,
            } => write!(f, "fixed,{block_size},{header_size}"),
        }
    }
}

/// Tells whether `data` is nothing but zero bytes.
pub fn is_zero(data: &[u8]) -> bool {
    let (blocks, rest) = data.as_chunks::<256>();
    blocks
        .iter()
        .all(|block| block.iter().fold(0, |any, byte| any | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
