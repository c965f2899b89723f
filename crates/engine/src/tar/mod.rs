//! Archives as tar streams.
//!
//! `header` writes the blocks of the GNU format exactly as Borg's exports have them, `export` sends
//! the items of an archive through it. Compression is the business of the caller, who gives or
//! takes the plain stream.

pub mod export;
mod header;

/// Length of a block: headers take one or more, content is filled up to a multiple of it.
const BLOCK: usize = 512;
/// The whole stream is filled up to a multiple of this.
const RECORD: u64 = 20 * BLOCK as u64;
