//! Compression specifications as they are given with `--compression`.
//!
//! `none`, `lz4`, `zlib[,0-9]`, `lzma[,0-9]`, `zstd[,1-22]`, `auto,SPEC` (lz4 first, SPEC if that
//! looks worth it), `obfuscate,HOW,SPEC` (padding hides the size).

use std::fmt;
use std::str::FromStr;

/// How chunks are compressed. The default is lz4.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CompressionSpec {
    /// Not at all.
    None,
    /// LZ4: fast.
    #[default]
    Lz4,
    /// zlib with a level of 0 to 9.
    Zlib(u8),
    /// LZMA with a preset of 0 to 9.
    Lzma(u8),
    /// Zstandard with a level of 1 to 22.
    Zstd(u8),
    /// The inner one where lz4 shows that data can be compressed.
    Auto(Box<CompressionSpec>),
    /// The inner one with padding.
    Obfuscate(Obfuscation, Box<CompressionSpec>),
}

/// How much padding is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obfuscation {
    /// 1 to 6: in proportion to the size, up to 0.001 × 10ⁿ and now and then much more.
    Relative(u8),
    /// 110 to 123: up to 1 KiB × 2ⁿ⁻¹¹⁰, evenly distributed.
    Random(u8),
    /// 250: to the next Padmé size.
    Padme,
}

impl Obfuscation {
    fn from_number(number: u32) -> Option<Self> {
        let small = u8::try_from(number).ok()?;
        match number {
            1..=6 => Some(Self::Relative(small)),
            110..=123 => Some(Self::Random(small)),
            250 => Some(Self::Padme),
            _ => None,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Relative(number) | Self::Random(number) => number,
            Self::Padme => 250,
        }
    }
}

/// A text that is no compression specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// The first word is not known.
    #[error("unsupported compression type")]
    UnknownType,
    /// The level is out of its range, which is given.
    #[error("level must be >= {0} and <= {1}")]
    Level(u8, u8),
    /// There is no such kind of padding.
    #[error("level must be (inclusively) within 1...6, 110...123 or equal to 250")]
    Obfuscation,
    /// A level is no number.
    #[error("invalid level: {0:?}")]
    NoNumber(String),
    /// More words than the method takes.
    #[error("too many arguments")]
    TooMany,
    /// Words are missing, or too many.
    #[error("bad arguments")]
    BadArguments,
}

fn number(text: &str) -> Result<i64, InvalidSpec> {
    let digits = text.trim();
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    digits
        .parse()
        .map_err(|_| InvalidSpec::NoNumber(text.to_owned()))
}

fn level(rest: &[&str], default: u8, low: u8, high: u8) -> Result<u8, InvalidSpec> {
    match rest {
        [] => Ok(default),
        [text] => u8::try_from(number(text)?)
            .ok()
            .filter(|level| (low..=high).contains(level))
            .ok_or(InvalidSpec::Level(low, high)),
        _ => Err(InvalidSpec::TooMany),
    }
}

impl CompressionSpec {
    fn from_words(words: &[&str]) -> Result<Self, InvalidSpec> {
        match words {
            // Borg takes no notice of words after these two.
            ["none", ..] => Ok(Self::None),
            ["lz4", ..] => Ok(Self::Lz4),
            ["zlib", rest @ ..] => level(rest, 6, 0, 9).map(Self::Zlib),
            ["lzma", rest @ ..] => level(rest, 6, 0, 9).map(Self::Lzma),
            ["zstd", rest @ ..] => level(rest, 3, 1, 22).map(Self::Zstd),
            ["auto", rest @ ..] if (1..=2).contains(&rest.len()) => {
                Ok(Self::Auto(Box::new(Self::from_words(rest)?)))
            }
            ["obfuscate", how, rest @ ..] if (1..=3).contains(&rest.len()) => {
                let how = u32::try_from(number(how)?)
                    .ok()
                    .and_then(Obfuscation::from_number)
                    .ok_or(InvalidSpec::Obfuscation)?;
                Ok(Self::Obfuscate(how, Box::new(Self::from_words(rest)?)))
            }
            ["auto" | "obfuscate", ..] => Err(InvalidSpec::BadArguments),
            _ => Err(InvalidSpec::UnknownType),
        }
    }
}

impl FromStr for CompressionSpec {
    type Err = InvalidSpec;

    fn from_str(text: &str) -> Result<Self, InvalidSpec> {
        let words: Vec<&str> = text.split(',').collect();
        Self::from_words(&words)
    }
}

impl fmt::Display for CompressionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zlib(level) => write!(f, "zlib,{level}"),
            Self::Lzma(level) => write!(f, "lzma,{level}"),
            Self::Zstd(level) => write!(f, "zstd,{level}"),
            Self::Auto(inner) => write!(f, "auto,{inner}"),
            Self::Obfuscate(how, inner) => write!(f, "obfuscate,{},{inner}", how.number()),
        }
    }
}
