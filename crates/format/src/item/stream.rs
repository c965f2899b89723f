//! Takes a stream of items apart that arrives in chunks, and finds back into a damaged one.
//!
//! What is fed is kept until the item that it belongs to was given out. Where an item spans
//! chunks, its end is found by a scan that goes on where it stopped, so that even an item of many
//! megabytes is looked at once per byte and decoded once. Memory is bounded by the longest item
//! allowed plus one chunk.

use super::{ITEM_KEYS, Item, ItemError, ItemRef};
use crate::msgpack::{DecodeError, Reader};

/// Longest encoded item that is read unless another limit is set: the list of chunks of a file of
/// 50 TB with default parameters.
pub const DEFAULT_ITEM_LIMIT: usize = 1 << 30;

/// Longest stretch that is searched again and again for the rest of an item while resyncing.
const RESYNC_TAIL: usize = 16 << 20;

/// Bytes that candidates may make the search read per byte of the stretch.
const RESYNC_EFFORT: usize = 256;

/// Decodes items out of the chunks of an item stream.
///
/// Feed a chunk, take items until there is none, feed the next one, and [`finish`] at the end.
/// An error that is not [recoverable](ItemError::is_recoverable) is repeated until
/// [`resync`](Self::resync).
///
/// [`finish`]: Self::finish
#[derive(Debug)]
pub struct ItemDecoder {
    buffer: Vec<u8>,
    /// Where the next item begins in `buffer`.
    start: usize,
    /// Where the last one began that was given out.
    last: usize,
    /// Offset in the stream of the first byte of `buffer`.
    base: u64,
    limit: usize,
    scan: Scan,
    /// Encoded names of item keys, while looking for the next item.
    resync: Option<Vec<Vec<u8>>>,
    lost: Option<ItemError>,
}

impl Default for ItemDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ItemDecoder {
    /// Begins a stream.
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_ITEM_LIMIT)
    }

    /// Begins a stream in which an item of more than `limit` bytes is an error.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            last: 0,
            base: 0,
            limit,
            scan: Scan::default(),
            resync: None,
            lost: None,
        }
    }

    /// Adds the data of the next chunk of the stream.
    pub fn feed(&mut self, data: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.base += self.start as u64;
            self.start = 0;
            self.last = 0;
        }
        self.buffer.extend_from_slice(data);
    }

    /// Returns the next item as a view, or `None` until more is fed.
    ///
    /// # Errors
    /// [`ItemError`]; see [`ItemError::is_recoverable`].
    pub fn next_ref(&mut self) -> Option<Result<ItemRef<'_>, ItemError>> {
        if let Some(error) = &self.lost {
            return Some(Err(error.clone()));
        }
        if self.resync.is_some() && !self.search() {
            return None;
        }
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let offset = self.base + self.start as u64;
        let (len, outcome) = take(rest, &mut self.scan, self.limit)?;
        let error = match outcome {
            _ if len > self.limit => ItemError::TooLong {
                offset,
                limit: self.limit,
            },
            Err(ItemError::Stream { source, .. }) => ItemError::Stream { offset, source },
            recoverable_or_item => {
                self.last = self.start;
                self.start += len;
                self.scan = Scan::default();
                return Some(recoverable_or_item);
            }
        };
        Some(Err(self.lost.insert(error).clone()))
    }

    /// Returns what was fed and not given out yet: once there is no next item, the beginning of
    /// one that is not complete.
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Returns the bytes of the value that was given out last, be it an item or a recoverable
    /// error; nothing after more was fed.
    pub fn last_taken(&self) -> &[u8] {
        self.buffer.get(self.last..self.start).unwrap_or_default()
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// When it ends inside an item. While looking for a next item that is no error.
    pub fn finish(self) -> Result<(), ItemError> {
        if let Some(error) = self.lost {
            return Err(error);
        }
        if self.resync.is_none() && self.start < self.buffer.len() {
            return Err(ItemError::Truncated {
                offset: self.base + self.start as u64,
            });
        }
        Ok(())
    }

    /// Forgets what was fed and looks for the next item in what will be fed, byte by byte.
    ///
    /// To be called when a chunk is missing or an error lost the position. An item is taken for
    /// one when it begins with one of the known keys or one of `item_keys` and has a path, as in
    /// Borg's check.
    pub fn resync<'k>(&mut self, item_keys: impl IntoIterator<Item = &'k [u8]>) {
        self.base += self.buffer.len() as u64;
        self.buffer.clear();
        self.start = 0;
        self.last = 0;
        self.scan = Scan::default();
        self.lost = None;
        let known = ITEM_KEYS.iter().map(|key| key.as_bytes());
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for key in known.chain(item_keys) {
            let mut encoded = Vec::with_capacity(key.len() + 5);
            crate::msgpack::write_raw(&mut encoded, key);
            keys.push(encoded);
        }
        keys.sort();
        keys.dedup();
        self.resync = Some(keys);
    }

    /// Searches for an item; on success `start` is where it begins and the stream goes on.
    fn search(&mut self) -> bool {
        let keys = self.resync.as_deref().unwrap_or_default();
        let mut effort = self.buffer.len().saturating_mul(RESYNC_EFFORT);
        let mut incomplete = None;
        for at in self.start..self.buffer.len() {
            let rest = self.buffer.get(at..).unwrap_or_default();
            match looks_like_item(rest, keys) {
                Look::No => continue,
                Look::CutOff => {
                    incomplete.get_or_insert(at);
                    continue;
                }
                Look::Yes => {}
            }
            let mut scan = Scan::default();
            let end = scan.run(rest);
            effort = effort.saturating_sub(scan.done);
            match end {
                Ok(len) => {
                    let item = rest.get(..len).unwrap_or_default();
                    if ItemRef::decode(&mut Reader::new(item)).is_ok() {
                        self.start = at;
                        self.resync = None;
                        return true;
                    }
                }
                Err(DecodeError::Truncated) => drop(incomplete.get_or_insert(at)),
                Err(_) => {}
            }
            if effort == 0 {
                incomplete = None;
                break;
            }
        }
        let end = self.buffer.len();
        let tail = end.saturating_sub(RESYNC_TAIL);
        self.start = incomplete.map_or(end, |at| at.max(tail));
        false
    }
}

/// Gives the items out as values of their own.
impl Iterator for ItemDecoder {
    type Item = Result<Item, ItemError>;

    fn next(&mut self) -> Option<Result<Item, ItemError>> {
        self.next_ref()
            .map(|item| item.and_then(|item| item.to_item()))
    }
}

/// Takes the item at the beginning of `bytes`: its length and what it is; `None` when more is
/// needed to tell.
///
/// Most items are whole and decoded at once. The others are scanned for their end, each time from
/// where the scan stopped.
fn take<'a>(
    bytes: &'a [u8],
    scan: &mut Scan,
    limit: usize,
) -> Option<(usize, Result<ItemRef<'a>, ItemError>)> {
    if bytes.is_empty() {
        return None;
    }
    if scan.done == 0 {
        let mut reader = Reader::new(bytes);
        let outcome = ItemRef::decode(&mut reader);
        let cut_off = matches!(
            outcome,
            Err(ItemError::Stream {
                source: DecodeError::Truncated,
                ..
            })
        );
        if !cut_off {
            return Some((reader.position(), outcome));
        }
    }
    match scan.run(bytes) {
        Ok(len) => {
            let item = bytes.get(..len).unwrap_or_default();
            Some((len, ItemRef::decode(&mut Reader::new(item))))
        }
        Err(DecodeError::Truncated) if bytes.len() <= limit => None,
        Err(DecodeError::Truncated) => Some((bytes.len(), Err(ItemError::NotAMap))),
        Err(source) => Some((0, Err(ItemError::Stream { offset: 0, source }))),
    }
}

enum Look {
    Yes,
    No,
    /// Too few bytes to tell.
    CutOff,
}

/// Tells whether a map of up to 65535 pairs begins here, the first key of which is one of `keys`.
fn looks_like_item(bytes: &[u8], keys: &[Vec<u8>]) -> Look {
    let skip = match bytes.first() {
        Some(byte) if byte & 0xf0 == 0x80 => 1,
        Some(0xde) => 3,
        _ => return Look::No,
    };
    let Some(key) = bytes.get(skip..) else {
        return Look::CutOff;
    };
    if keys.iter().any(|name| key.starts_with(name)) {
        Look::Yes
    } else if keys.iter().any(|name| name.starts_with(key)) {
        Look::CutOff
    } else {
        Look::No
    }
}

/// A pass over one msgpack value that can be continued when more bytes have come.
#[derive(Debug)]
struct Scan {
    done: usize,
    /// Values still to pass over, the members of all open arrays and maps counted in.
    left: u64,
}

impl Default for Scan {
    fn default() -> Self {
        Self { done: 0, left: 1 }
    }
}

impl Scan {
    /// Goes on over `bytes`, which begin where the value does, and returns its length.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when it goes on behind `bytes`; any other when it is no msgpack.
    fn run(&mut self, bytes: &[u8]) -> Result<usize, DecodeError> {
        let mut rest = bytes.get(self.done..).unwrap_or_default();
        while self.left > 0 {
            let (len, members) = measure(rest)?;
            rest = rest.get(len..).ok_or(DecodeError::Truncated)?;
            self.done += len;
            self.left = (self.left - 1).saturating_add(members);
        }
        Ok(self.done)
    }
}

/// Returns the length of the value or container header that begins here, and how many members
/// follow.
#[inline]
fn measure(bytes: &[u8]) -> Result<(usize, u64), DecodeError> {
    let (first, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    let size = |width: usize| -> Result<usize, DecodeError> {
        let field = rest.get(..width).ok_or(DecodeError::Truncated)?;
        Ok(field
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    Ok(match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (1, 0),
        0xa0..=0xbf => (1 + usize::from(first & 0x1f), 0),
        0x90..=0x9f => (1, u64::from(first & 0x0f)),
        0x80..=0x8f => (1, u64::from(first & 0x0f) * 2),
        0xcc | 0xd0 => (2, 0),
        0xcd | 0xd1 => (3, 0),
        0xca | 0xce | 0xd2 => (5, 0),
        0xcb | 0xcf | 0xd3 => (9, 0),
        0xd9 | 0xc4 => (2 + size(1)?, 0),
        0xda | 0xc5 => (3 + size(2)?, 0),
        0xdb | 0xc6 => (5 + size(4)?, 0),
        0xdc => (3, size(2)? as u64),
        0xdd => (5, size(4)? as u64),
        0xde => (3, size(2)? as u64 * 2),
        0xdf => (5, size(4)? as u64 * 2),
        0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(DecodeError::UnexpectedType(*first)),
    })
}
