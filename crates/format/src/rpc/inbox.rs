//! Cuts the bytes that arrive into messages.
//!
//! There is no frame around messages: where one ends is known only by walking over its values.
//! The walk goes on where it stopped when more bytes have come, and passes over strings without
//! looking at them. Memory grows with the bytes that are there, never with a length that the other
//! side merely claims, and ends at the longest message allowed.

use crate::msgpack::MAX_DEPTH;

use super::MAX_MESSAGE_BYTES;

/// Room offered for one read, at least.
const READ_BYTES: usize = 256 * 1024;

/// Why no message can be cut from the stream. Nothing after it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A message is longer than [`MAX_MESSAGE_BYTES`].
    #[error("a message is too long")]
    TooLong,
    /// Bytes that are no msgpack, such as the greeting of a login shell.
    #[error("unexpected data format")]
    Malformed,
}

/// Bytes that have arrived and are not worked on yet.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    /// Where the next message begins.
    start: usize,
    /// Where the bytes end that have arrived.
    end: usize,
    walk: Walk,
}

/// How far the message at the start was walked over.
#[derive(Debug, Default)]
struct Walk {
    /// Bytes passed.
    passed: usize,
    /// Values that are left in each of the arrays and maps that are open.
    open: Vec<u64>,
    /// Bytes that the message has at the least.
    least: usize,
}

impl Inbox {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers room for bytes to be read into; [`Inbox::arrived`] takes what came.
    pub fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < READ_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let filled = self.end - self.start;
        // Twice of what is there at most, so that a claimed length costs nothing.
        let wanted = self.walk.least.saturating_sub(filled).min(filled);
        let room = wanted.max(READ_BYTES);
        if self.buffer.len() - self.end < room {
            self.buffer.resize(self.end + room, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes the first `count` bytes of the room as arrived.
    pub fn arrived(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Appends bytes that were read elsewhere.
    pub fn extend(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room();
            let count = rest.len().min(room.len());
            let (head, tail) = rest.split_at(count);
            if let Some(room) = room.get_mut(..count) {
                room.copy_from_slice(head);
            }
            self.arrived(count);
            rest = tail;
        }
    }

    /// Tells whether a part of a message is there.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes that are there and belong to no message yet, for telling what came instead of one.
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Cuts off the next message, if all of it is there.
    ///
    /// # Errors
    /// When what arrived cannot be a message.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let there = self.buffer.get(self.start..self.end).unwrap_or_default();
        if there.is_empty() || !self.walk.advance(there)? {
            return Ok(None);
        }
        let message = self.start..self.start + self.walk.passed;
        self.start = message.end;
        self.walk.passed = 0;
        self.walk.least = 0;
        Ok(self.buffer.get(message))
    }
}

impl Walk {
    /// Goes on through `bytes`, which begin with the message; tells whether its end is reached.
    fn advance(&mut self, bytes: &[u8]) -> Result<bool, FrameError> {
        loop {
            let rest = bytes.get(self.passed..).unwrap_or_default();
            let Some((head, inside)) = value(rest)? else {
                self.least = self.least.max(self.passed + 1);
                return Ok(false);
            };
            let (bytes_inside, values_inside) = match inside {
                Inside::Bytes(count) => (count, 0),
                Inside::Values(count) => (0, count),
            };
            let end = self.passed as u64 + head as u64 + bytes_inside;
            // Every value has at least one byte.
            if end.saturating_add(values_inside) > MAX_MESSAGE_BYTES as u64 {
                return Err(FrameError::TooLong);
            }
            let end = end as usize;
            self.least = self.least.max(end + values_inside as usize);
            if end > bytes.len() {
                return Ok(false);
            }
            self.passed = end;
            if values_inside > 0 {
                if self.open.len() >= MAX_DEPTH {
                    return Err(FrameError::Malformed);
                }
                self.open.push(values_inside);
            } else if self.value_ends() {
                return Ok(true);
            }
        }
    }

    /// Counts a value that has ended, with all around it that end by that; tells whether this was
    /// the outermost.
    fn value_ends(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

/// What follows the head of a value.
enum Inside {
    Bytes(u64),
    Values(u64),
}

/// Reads the head of a value: its length, and what follows. None if it is not all there.
fn value(bytes: &[u8]) -> Result<Option<(usize, Inside)>, FrameError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let number = |width: usize| {
        let bytes = rest.get(..width)?;
        Some(
            bytes
                .iter()
                .fold(0u64, |sum, &byte| sum << 8 | u64::from(byte)),
        )
    };
    let plain = |bytes: u64| Some((1, Inside::Bytes(bytes)));
    let string = |width: usize| Some((1 + width, Inside::Bytes(number(width)?)));
    let values = |width: usize, each: u64| Some((1 + width, Inside::Values(number(width)? * each)));
    Ok(match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => plain(0),
        0x80..=0x8f => Some((1, Inside::Values(u64::from(first & 0x0f) * 2))),
        0x90..=0x9f => Some((1, Inside::Values(u64::from(first & 0x0f)))),
        0xa0..=0xbf => plain(u64::from(first & 0x1f)),
        0xcc | 0xd0 => plain(1),
        0xcd | 0xd1 => plain(2),
        0xca | 0xce | 0xd2 => plain(4),
        0xcb | 0xcf | 0xd3 => plain(8),
        0xc4 | 0xd9 => string(1),
        0xc5 | 0xda => string(2),
        0xc6 | 0xdb => string(4),
        0xdc => values(2, 1),
        0xdd => values(4, 1),
        0xde => values(2, 2),
        0xdf => values(4, 2),
        // Unused, and types that no Borg program writes.
        0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(FrameError::Malformed),
    })
}
