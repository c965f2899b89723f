//! msgpack as Borg 1.x uses it: the old specification, in which text and binary are one type.
//!
//! Written strings are *raw* (`a0..bf`, `da`, `db`; never `d9` or the bin types); integers take
//! their smallest form. The reader accepts all of them, and bin, and float values that no Borg
//! program writes. A raw value is bytes: nothing here assumes UTF-8.
//!
//! Reading is bounded: a length is checked against the bytes that are there before anything is
//! allocated, and nesting ends at [`MAX_DEPTH`].

use std::collections::BTreeMap;

/// Deepest nesting of arrays and maps that is read.
pub const MAX_DEPTH: usize = 32;

/// Bytes that are not the msgpack value they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a value.
    #[error("msgpack data ends inside a value")]
    Truncated,
    /// A value of one type stands where another is needed.
    #[error("msgpack value has an unexpected type, first byte {0:#04x}")]
    UnexpectedType(u8),
    /// An integer does not fit where it is stored.
    #[error("msgpack integer is out of range")]
    OutOfRange,
    /// Arrays or maps are nested more than [`MAX_DEPTH`] deep.
    #[error("msgpack data is nested too deeply")]
    TooDeep,
    /// Bytes follow after the value that should be the only one.
    #[error("msgpack data is followed by extra bytes")]
    TrailingBytes,
}

/// Appends `nil`.
pub fn write_nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

/// Appends a boolean.
pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

/// Appends an unsigned integer in its smallest form.
pub fn write_uint(out: &mut Vec<u8>, value: u64) {
    if let Ok(small) = u8::try_from(value) {
        if small >= 0x80 {
            out.push(0xcc);
        }
        out.push(small);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xcd);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xce);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends a signed integer in its smallest form.
pub fn write_int(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = u64::try_from(value) {
        write_uint(out, value);
    } else if value >= -32 {
        out.extend_from_slice(&(value as i8).to_be_bytes());
    } else if let Ok(value) = i8::try_from(value) {
        out.push(0xd0);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends a raw string. Longer ones than 4 GiB cannot be written and are cut there.
pub fn write_raw(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
    write_raw_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends the header of a raw string; its bytes follow. Lengths end at 4 GiB.
pub fn write_raw_len(out: &mut Vec<u8>, len: usize) {
    if len < 32 {
        out.push(0xa0 | len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(0xda);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(0xdb);
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// Appends the header of an array; its elements follow.
pub fn write_array_len(out: &mut Vec<u8>, len: usize) {
    write_len(out, len, 0x90, 0xdc);
}

/// Appends the header of a map; its keys and values follow in turn.
pub fn write_map_len(out: &mut Vec<u8>, len: usize) {
    write_len(out, len, 0x80, 0xde);
}

fn write_len(out: &mut Vec<u8>, len: usize, fix: u8, wide: u8) {
    if len < 16 {
        out.push(fix | len as u8);
    } else if let Ok(len) = u16::try_from(len) {
        out.push(wide);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(wide + 1);
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// A msgpack value of any type, for data whose shape is not fixed.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `nil`, Python's `None`.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer; wide enough for both `i64` and `u64`.
    Int(i128),
    /// A float. Borg never writes one.
    Float(f64),
    /// Text or binary.
    Raw(Vec<u8>),
    /// An array.
    Array(Vec<Value>),
    /// A map in the order of its pairs. Borg writes them sorted by key.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Makes a raw value of text.
    pub fn text(text: &str) -> Self {
        Self::Raw(text.as_bytes().to_vec())
    }

    /// Returns the bytes of a raw value.
    pub fn as_raw(&self) -> Option<&[u8]> {
        match self {
            Self::Raw(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns an integer that fits `i64`.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => i64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// Returns a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns the elements of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// Returns the value of a raw key in a map.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        match self {
            Self::Map(pairs) => pairs
                .iter()
                .find(|(name, _)| name.as_raw() == Some(key))
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// Appends the encoded value, maps in the order they have.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => write_nil(out),
            Self::Bool(value) => write_bool(out, *value),
            Self::Int(value) => match u64::try_from(*value) {
                Ok(value) => write_uint(out, value),
                Err(_) => write_int(out, i64::try_from(*value).unwrap_or(i64::MIN)),
            },
            Self::Float(value) => {
                out.push(0xcb);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Raw(bytes) => write_raw(out, bytes),
            Self::Array(values) => {
                write_array_len(out, values.len());
                values.iter().for_each(|value| value.write(out));
            }
            Self::Map(pairs) => {
                write_map_len(out, pairs.len());
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
        }
    }

    /// Reads a value that fills `bytes` to the end.
    ///
    /// # Errors
    /// When the bytes are no msgpack, or more than one value.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = reader.read_value()?;
        reader.finish()?;
        Ok(value)
    }

    /// Sorts a list of named values by name and makes them a map, as Borg writes its maps.
    pub fn sorted_map(pairs: BTreeMap<Vec<u8>, Value>) -> Self {
        Self::Map(
            pairs
                .into_iter()
                .map(|(name, value)| (Self::Raw(name), value))
                .collect(),
        )
    }
}

/// Reads msgpack values one after the other from a slice.
///
/// After an error the reader stands at the beginning of the value that could not be read.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            total: bytes.len(),
        }
    }

    /// Returns how many bytes were read.
    pub fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Returns the bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Returns the first byte of the next value, without reading it.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Tells whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// [`DecodeError::TrailingBytes`] when bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .rest
            .split_at_checked(len)
            .ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (head, tail) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    fn be<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// Runs `read`; on an error the reader is put back to where it stood.
    fn atomically<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let before = self.rest;
        read(self).inspect_err(|_| self.rest = before)
    }

    /// Reads `nil` if it stands next, and tells whether it did.
    pub fn read_nil(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0xc0, tail)) => {
                self.rest = tail;
                true
            }
            _ => false,
        }
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn read_bool(&mut self) -> Result<bool, DecodeError> {
        self.atomically(|reader| match reader.byte()? {
            0xc2 => Ok(false),
            0xc3 => Ok(true),
            other => Err(DecodeError::UnexpectedType(other)),
        })
    }

    /// Reads an integer of any width.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn read_integer(&mut self) -> Result<i128, DecodeError> {
        self.atomically(|reader| {
            Ok(match reader.byte()? {
                byte @ 0x00..=0x7f => i128::from(byte),
                byte @ 0xe0..=0xff => i128::from(byte as i8),
                0xcc => i128::from(reader.byte()?),
                0xcd => i128::from(u16::from_be_bytes(reader.be()?)),
                0xce => i128::from(u32::from_be_bytes(reader.be()?)),
                0xcf => i128::from(u64::from_be_bytes(reader.be()?)),
                0xd0 => i128::from(i8::from_be_bytes(reader.be()?)),
                0xd1 => i128::from(i16::from_be_bytes(reader.be()?)),
                0xd2 => i128::from(i32::from_be_bytes(reader.be()?)),
                0xd3 => i128::from(i64::from_be_bytes(reader.be()?)),
                other => return Err(DecodeError::UnexpectedType(other)),
            })
        })
    }

    /// Reads an integer into the type wanted.
    ///
    /// # Errors
    /// When something else stands there, or the value does not fit.
    pub fn read_int<T: TryFrom<i128>>(&mut self) -> Result<T, DecodeError> {
        self.atomically(|reader| {
            T::try_from(reader.read_integer()?).map_err(|_| DecodeError::OutOfRange)
        })
    }

    /// Reads a raw string, str or bin.
    ///
    /// # Errors
    /// When something else stands there, or the input ends before it.
    pub fn read_raw(&mut self) -> Result<&'a [u8], DecodeError> {
        self.atomically(|reader| {
            let len = match reader.byte()? {
                byte @ 0xa0..=0xbf => usize::from(byte & 0x1f),
                0xd9 | 0xc4 => usize::from(reader.byte()?),
                0xda | 0xc5 => usize::from(u16::from_be_bytes(reader.be()?)),
                0xdb | 0xc6 => u32::from_be_bytes(reader.be()?) as usize,
                other => return Err(DecodeError::UnexpectedType(other)),
            };
            reader.take(len)
        })
    }

    /// Reads a raw string of exactly `N` bytes.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn read_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.atomically(|reader| {
            reader
                .read_raw()?
                .try_into()
                .map_err(|_| DecodeError::OutOfRange)
        })
    }

    /// Reads the header of an array and returns the number of its elements.
    ///
    /// The number is at most the number of bytes left, so that it may be used to reserve memory.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn read_array_len(&mut self) -> Result<usize, DecodeError> {
        self.read_len(0x90, 0xdc, 1)
    }

    /// Reads the header of a map and returns the number of its pairs, bounded like that of arrays.
    ///
    /// # Errors
    /// When something else stands there.
    pub fn read_map_len(&mut self) -> Result<usize, DecodeError> {
        self.read_len(0x80, 0xde, 2)
    }

    fn read_len(&mut self, fix: u8, wide: u8, bytes_each: usize) -> Result<usize, DecodeError> {
        self.atomically(|reader| {
            let len = match reader.byte()? {
                byte if byte & 0xf0 == fix => usize::from(byte & 0x0f),
                byte if byte == wide => usize::from(u16::from_be_bytes(reader.be()?)),
                byte if byte == wide + 1 => u32::from_be_bytes(reader.be()?) as usize,
                other => return Err(DecodeError::UnexpectedType(other)),
            };
            if len.saturating_mul(bytes_each) > reader.rest.len() {
                return Err(DecodeError::Truncated);
            }
            Ok(len)
        })
    }

    /// Reads the next value whatever it is.
    ///
    /// # Errors
    /// When there is none, it is cut short or nested too deeply.
    pub fn read_value(&mut self) -> Result<Value, DecodeError> {
        self.atomically(|reader| reader.value_at(0))
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        Ok(match self.peek().ok_or(DecodeError::Truncated)? {
            0xc0 => {
                self.byte()?;
                Value::Nil
            }
            0xc2 | 0xc3 => Value::Bool(self.read_bool()?),
            0xca => {
                self.byte()?;
                Value::Float(f64::from(f32::from_be_bytes(self.be()?)))
            }
            0xcb => {
                self.byte()?;
                Value::Float(f64::from_be_bytes(self.be()?))
            }
            0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6 => Value::Raw(self.read_raw()?.to_vec()),
            0x90..=0x9f | 0xdc | 0xdd => {
                let len = self.read_array_len()?;
                let mut values = Vec::new();
                for _ in 0..len {
                    values.push(self.value_at(depth + 1)?);
                }
                Value::Array(values)
            }
            0x80..=0x8f | 0xde | 0xdf => {
                let len = self.read_map_len()?;
                let mut pairs = Vec::new();
                for _ in 0..len {
                    pairs.push((self.value_at(depth + 1)?, self.value_at(depth + 1)?));
                }
                Value::Map(pairs)
            }
            _ => Value::Int(self.read_integer()?),
        })
    }

    /// Passes over the next value and returns its bytes.
    ///
    /// # Errors
    /// When there is none, it is cut short or nested too deeply.
    pub fn skip(&mut self) -> Result<&'a [u8], DecodeError> {
        self.atomically(|reader| {
            let start = reader.rest;
            reader.skip_at(0)?;
            let len = start.len() - reader.rest.len();
            start.get(..len).ok_or(DecodeError::Truncated)
        })
    }

    fn skip_at(&mut self, depth: usize) -> Result<(), DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        match self.peek().ok_or(DecodeError::Truncated)? {
            0xc0 | 0xc2 | 0xc3 => drop(self.byte()?),
            0xca => drop(self.take(5)?),
            0xcb => drop(self.take(9)?),
            0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6 => drop(self.read_raw()?),
            0x90..=0x9f | 0xdc | 0xdd => {
                for _ in 0..self.read_array_len()? {
                    self.skip_at(depth + 1)?;
                }
            }
            0x80..=0x8f | 0xde | 0xdf => {
                for _ in 0..self.read_map_len()? * 2 {
                    self.skip_at(depth + 1)?;
                }
            }
            _ => drop(self.read_integer()?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|value| Value::Int(value.into())),
            any::<u64>().prop_map(|value| Value::Int(value.into())),
            proptest::collection::vec(any::<u8>(), 0..80).prop_map(Value::Raw),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
                proptest::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_reads_back_as_written(value in any_value()) {
            let mut bytes = Vec::new();
            value.write(&mut bytes);
            prop_assert_eq!(Value::decode(&bytes), Ok(value));
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.skip(), Ok(&bytes[..]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = Reader::new(&bytes).read_value().is_ok();
            prop_assert_eq!(read, Reader::new(&bytes).skip().is_ok());
        }
    }

    #[test]
    fn integers_take_their_smallest_form() {
        for (value, bytes) in [
            (0i64, &[0x00u8][..]),
            (127, &[0x7f]),
            (128, &[0xcc, 0x80]),
            (256, &[0xcd, 1, 0]),
            (65536, &[0xce, 0, 1, 0, 0]),
            (1 << 32, &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
            (-1, &[0xff]),
            (-33, &[0xd0, 0xdf]),
            (-129, &[0xd1, 0xff, 0x7f]),
            (-32769, &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
        ] {
            let mut out = Vec::new();
            write_int(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn strings_of_32_bytes_and_more_avoid_the_str8_form() {
        let mut out = Vec::new();
        write_raw(&mut out, &[b'x'; 40]);
        assert_eq!(out[..3], [0xda, 0, 40]);
        assert_eq!(
            Reader::new(&[0xd9, 2, b'a', b'b']).read_raw(),
            Ok(&b"ab"[..])
        );
        assert_eq!(Reader::new(&[0xc4, 1, 0xff]).read_raw(), Ok(&b"\xff"[..]));
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_before_anything_is_reserved() {
        for bytes in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Value::decode(bytes), Err(DecodeError::Truncated));
        }
        let mut deep = vec![0x91; 100];
        deep.push(0xc0);
        assert_eq!(Value::decode(&deep), Err(DecodeError::TooDeep));
    }

    #[test]
    fn a_failed_read_leaves_the_reader_where_it_stood() {
        let mut reader = Reader::new(&[0xcd, 0x01]);
        assert_eq!(reader.read_int::<u32>(), Err(DecodeError::Truncated));
        assert_eq!(reader.position(), 0);
        let mut reader = Reader::new(&[0xcc, 0xff]);
        assert_eq!(reader.read_int::<i8>(), Err(DecodeError::OutOfRange));
        assert_eq!(reader.position(), 0);
    }
}
