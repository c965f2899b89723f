//! The fields of tar headers and the records of extended ones, read as leniently as Borg does.

use super::BLOCK;
use super::reader::{Entry, Mtime};
use super::sparse::Map;

/// What is wrong with a block that should be a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// There is nothing more.
    #[error("empty header")]
    End,
    /// There is less than a block.
    #[error("truncated header")]
    Truncated,
    /// It is empty, which is how streams end.
    #[error("end of file header")]
    Zeros,
    /// A field is not what it should be.
    #[error("invalid header")]
    Invalid,
    /// The checksum is another.
    #[error("bad checksum")]
    Checksum,
}

/// A header block.
pub struct Header {
    /// Letter of the type.
    pub kind: u8,
    /// What it says.
    pub entry: Entry,
    /// What it says of a sparse file, in the old GNU format.
    pub sparse: Option<OldSparse>,
}

/// The beginning of an old sparse map.
pub struct OldSparse {
    /// The pieces in the header.
    pub map: Map,
    /// Whether blocks with more follow.
    pub extended: bool,
    /// Length of the file with its holes.
    pub size: i128,
}

impl Header {
    /// Reads a block.
    ///
    /// # Errors
    /// When it is no header.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Self, HeaderFault> {
        if block.iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Zeros);
        }
        let field = |at: usize, len: usize| block.get(at..at + len).unwrap_or_default();
        let number = |at, len| octal(field(at, len));
        check_sum(block, number(148, 8)?)?;
        let kind = field(156, 1).first().copied().unwrap_or_default();
        let mut entry = Entry::new(text(field(0, 100)).to_vec(), kind);
        entry.mode = number(100, 8)?;
        entry.uid = number(108, 8)?;
        entry.gid = number(116, 8)?;
        entry.size = number(124, 12)?;
        entry.mtime = Mtime::Seconds(number(136, 12)?);
        entry.link = text(field(157, 100)).to_vec();
        entry.user = text(field(265, 32)).to_vec();
        entry.group = text(field(297, 32)).to_vec();
        entry.device = (number(329, 8)?, number(337, 8)?);
        // The oldest format has no type for directories, but they end with a slash.
        if kind == 0 && entry.name.ends_with(b"/") {
            entry.kind = b'5';
        }
        let mut sparse = None;
        if kind == b'S' {
            let mut map = Map::default();
            map.add_old(block, 386, 4)?;
            sparse = Some(OldSparse {
                map,
                extended: field(482, 1) != [0],
                size: number(483, 12)?,
            });
        }
        while entry.kind == b'5' && entry.name.ends_with(b"/") {
            entry.name.pop();
        }
        let prefix = text(field(345, 155));
        if !prefix.is_empty() && !matches!(kind, b'L' | b'K' | b'S') {
            entry.name = [prefix, b"/", &entry.name].concat();
        }
        Ok(Self {
            kind: entry.kind,
            entry,
            sparse,
        })
    }
}

/// Compares the checksum with the sum over the block, of signed or unsigned bytes.
fn check_sum(block: &[u8; BLOCK], expected: i128) -> Result<(), HeaderFault> {
    let bytes = || {
        let (before, after) = (block.get(..148), block.get(156..));
        let bytes = before.into_iter().chain(after).flatten();
        bytes.copied()
    };
    // The checksum itself counts as blanks.
    let blanks = 8 * i128::from(b' ');
    let unsigned: i128 = blanks + bytes().map(i128::from).sum::<i128>();
    let signed: i128 = blanks + bytes().map(|byte| i128::from(byte as i8)).sum::<i128>();
    match expected == unsigned || expected == signed {
        true => Ok(()),
        false => Err(HeaderFault::Checksum),
    }
}

/// A field up to its first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a number field: octal digits, or base 256 behind a byte that tells the sign.
pub fn octal(field: &[u8]) -> Result<i128, HeaderFault> {
    let Some((first, rest)) = field.split_first() else {
        return Err(HeaderFault::Invalid);
    };
    if matches!(first, 0o200 | 0o377) {
        let value = rest
            .iter()
            .fold(0, |value: i128, byte| value << 8 | i128::from(*byte));
        return Ok(match first {
            0o377 => value - (1 << (8 * rest.len())),
            _ => value,
        });
    }
    let text = text(field);
    match text.trim_ascii() {
        [] => Ok(0),
        text => digits(text, 8).ok_or(HeaderFault::Invalid),
    }
}

/// Reads a decimal number, possibly with a sign and blanks around it.
pub fn number_of(text: &[u8]) -> Option<i128> {
    digits(text.trim_ascii(), 10)
}

/// Reads digits with a sign before and single underscores between them.
fn digits(text: &[u8], radix: u32) -> Option<i128> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut value: i128 = 0;
    let mut underscore = true;
    for byte in text {
        if *byte == b'_' && !underscore {
            underscore = true;
            continue;
        }
        let digit = char::from(*byte).to_digit(radix)?;
        value = value.checked_mul(radix.into())?.checked_add(digit.into())?;
        underscore = false;
    }
    match (underscore, negative) {
        (true, _) => None,
        (_, true) => Some(-value),
        _ => Some(value),
    }
}

/// Keys and values of extended headers, in the order in which the keys came first.
#[derive(Debug, Clone, Default)]
pub struct Pairs {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The map of a sparse file in the format that repeats keys for it.
    pub pieces: Map,
}

impl Pairs {
    /// Returns the value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let found = self.pairs.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_slice())
    }

    /// Returns all pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Returns how much memory they take.
    pub fn bytes(&self) -> usize {
        let bytes = |(key, value): &(Vec<u8>, Vec<u8>)| key.len() + value.len() + 64;
        self.pairs.iter().map(bytes).sum()
    }

    /// Only what is of interest is kept: the number of keys is bounded by that.
    fn set(&mut self, key: &[u8], value: &[u8]) {
        const KEPT: [&[u8]; 8] = [
            b"path",
            b"linkpath",
            b"size",
            b"mtime",
            b"uid",
            b"gid",
            b"uname",
            b"gname",
        ];
        if !KEPT.contains(&key) && !key.starts_with(b"GNU.sparse.") {
            return;
        }
        let full = self.pairs.len() >= 64;
        match self.pairs.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value.to_vec(),
            None if full => {}
            None => self.pairs.push((key.to_vec(), value.to_vec())),
        }
    }
}

/// Adds the records of an extended header. What is no record ends them.
///
/// # Errors
/// When a record has no length.
pub fn pax_records(data: &[u8], pairs: &mut Pairs) -> Result<(), HeaderFault> {
    let (mut offsets, mut lengths) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(record) = data.get(at..).and_then(Record::parse) {
        if record.length == 0 {
            return Err(HeaderFault::Invalid);
        }
        match record.key {
            b"GNU.sparse.offset" => offsets.extend(number_of(record.value)),
            b"GNU.sparse.numbytes" => lengths.extend(number_of(record.value)),
            key => pairs.set(key, record.value),
        }
        at = at.saturating_add(record.length);
    }
    let both = offsets.into_iter().zip(lengths);
    let both = both.filter_map(|(offset, length)| {
        Some((u64::try_from(offset).ok()?, u64::try_from(length).ok()?))
    });
    pairs.pieces = Map(both.collect());
    Ok(())
}

struct Record<'a> {
    length: usize,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record: its length in digits, a blank, the key, `=`, the value, the end of the line.
    fn parse(data: &'a [u8]) -> Option<Self> {
        let digits = data.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = data.split_at_checked(digits)?;
        let text = std::str::from_utf8(number).ok()?;
        let rest = rest.strip_prefix(b" ").filter(|_| !text.is_empty())?;
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let key = rest.get(..equals).filter(|key| !key.is_empty())?;
        let length = text.parse().unwrap_or(usize::MAX);
        let begin = digits + 1 + equals + 1;
        let end = length.saturating_sub(1).min(data.len());
        Some(Self {
            length,
            key,
            value: data.get(begin..end).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_in_base_256() {
        assert_eq!(octal(b"0000644\0"), Ok(0o644));
        assert_eq!(octal(b"   644 \0"), Ok(0o644));
        assert_eq!(octal(b"\0\0\0\0"), Ok(0));
        assert_eq!(octal(b"\x80\0\x01\0"), Ok(256));
        assert_eq!(octal(b"\xff\xff\xff\xfe"), Ok(-2));
        assert_eq!(octal(b"00009\0"), Err(HeaderFault::Invalid));
    }

    #[test]
    fn records_are_read_until_something_else_comes() {
        let mut pairs = Pairs::default();
        pax_records(b"9 path=a\n12 uname=bc\nrest", &mut pairs).unwrap();
        assert_eq!(pairs.get(b"path"), Some(&b"a"[..]));
        assert_eq!(pairs.get(b"uname"), Some(&b"bc"[..]));
        assert!(pax_records(b"0 path=a\n", &mut pairs).is_err());
        // Lengths that lie give odd values but neither panics nor endless loops.
        for text in ["1 a=b\n", "99999999999999999999 path=b\n", "3 path=abc\n"] {
            pax_records(text.as_bytes(), &mut pairs).unwrap();
        }
    }
}
