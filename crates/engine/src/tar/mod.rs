//! Archives as tar streams, and tar streams as archives.
//!
//! `header` writes the blocks of the GNU format exactly as Borg's exports have them, `export` sends
//! the items of an archive through it. `reader`, with `fields` and `sparse`, takes any kind of tar
//! apart, `import` makes an archive of it. Compression is the business of the caller, who gives or
//! takes the plain stream.

pub mod export;
mod fields;
mod header;
pub mod import;
mod reader;
mod sparse;

/// Length of a block: headers take one or more, content is filled up to a multiple of it.
const BLOCK: usize = 512;
/// The whole stream is filled up to a multiple of this.
const RECORD: u64 = 20 * BLOCK as u64;
