//! The lz4 method: one raw block.
//!
//! The block does not say how long the data is. When the caller does not know it either, it is
//! counted first by walking over the block's sequences, which costs little and copies nothing.

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::{DecompressError, Method, store, write_smaller};

const HEADER: [u8; 2] = [1, 0];
/// Shorter inputs use a table of half the size, which is cleared in half the time.
const SMALL: usize = u16::MAX as usize;

/// A compressor with its hash tables, and an output buffer for short inputs.
pub(super) struct Lz4 {
    small: CompressTable,
    large: Option<CompressTable>,
    body: Vec<u8>,
}

impl Default for Lz4 {
    fn default() -> Self {
        Self {
            small: CompressTable::small(),
            large: None,
            body: vec![0; get_maximum_output_size(SMALL)],
        }
    }
}

impl Lz4 {
    pub(super) fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if data.len() >= SMALL {
            self.compress_long(data, out);
            return;
        }
        // It cannot fail with this much room; if it did, the data would be stored as it is.
        let len = compress_into_with_table(data, &mut self.body, &mut self.small);
        let body = self.body.get(..len.unwrap_or(data.len())).unwrap_or(data);
        write_smaller(HEADER, body, data, out);
    }

    /// Works in the output itself: a second buffer for each thread would be more memory than
    /// filling the room with zeros is work.
    fn compress_long(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&HEADER);
        let body = out.len();
        let room = get_maximum_output_size(data.len());
        out.reserve_exact(room);
        out.resize(body + room, 0);
        let table = self.large.get_or_insert_with(CompressTable::large);
        let room = out.get_mut(body..).unwrap_or_default();
        let len = compress_into_with_table(data, room, table).unwrap_or(data.len());
        out.truncate(body + len);
        if len >= data.len() {
            out.truncate(begin);
            store(data, out);
        }
    }
}

pub(super) fn decompress(
    body: &[u8],
    size: Option<usize>,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let cut_short = || DecompressError::corrupt(Method::Lz4, "block is cut short");
    let size = match size {
        Some(size) => size,
        None => decompressed_len(body).ok_or_else(cut_short)?,
    };
    if size > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    // What is in the buffer from before is overwritten; only new room is filled with zeros.
    out.resize(size, 0);
    let written =
        decompress_into(body, out).map_err(|error| DecompressError::corrupt(Method::Lz4, error))?;
    out.truncate(written);
    Ok(())
}

/// Counts the bytes a block decompresses to; `None` if it ends inside a sequence.
pub(super) fn decompressed_len(block: &[u8]) -> Option<usize> {
    let mut rest = block;
    let mut total = 0usize;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let literals = read_len(usize::from(token >> 4), &mut rest)?;
        rest = rest.split_at_checked(literals)?.1;
        total = total.checked_add(literals)?;
        if rest.is_empty() {
            return Some(total);
        }
        rest = rest.split_at_checked(2)?.1;
        let more = read_len(usize::from(token & 0x0f), &mut rest)?;
        total = total.checked_add(more)?.checked_add(4)?;
    }
    None
}

fn read_len(nibble: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut len = nibble;
    if nibble == 15 {
        loop {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            len = len.checked_add(usize::from(*byte))?;
            if *byte != 255 {
                break;
            }
        }
    }
    Some(len)
}
