//! Making an archive of file system trees.
//!
//! `conductor` walks in order, `lister` looks at directories, `read` and `big` read files (`source`
//! fills in their holes), `stream` is data from elsewhere, `stages` take chunks to sealed objects, `crew` is the threads, `pending`
//! puts everything into order again, `items` is the item stream. See `crew` for how they hang together.

mod ahead;
mod big;
mod claims;
mod conductor;
pub(crate) mod crew;
mod entry;
mod estimate;
pub(crate) mod feed;
mod items;
mod line;
mod lister;
mod pending;
mod read;
pub(crate) mod rewrite;
mod run;
mod slabs;
mod source;
pub(crate) mod stages;
pub(crate) mod stamp;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fastness_format::chunker::fixed::Fixed;
use fastness_format::chunker::{Buzhash, ChunkerParams};
use fastness_format::compress::CompressionSpec;

use crate::attributes::AttributeOptions;
use crate::select::patterns::PatternMatcher;
use crate::select::tags::TagRules;

pub use crate::select::roots::Root;
pub use entry::SkippedInodes;
pub use estimate::{Estimate, Share};
pub use rewrite::Recompress;
pub use run::{ClientState, CreateReport, Meanwhile, create, dry_run, estimate};
pub use stamp::Maker;
pub use stream::{
    Ended, FileProducer, NextFile, ProducedFile, Producer, ProducerError, Stream, StreamSource,
};

/// Which change while a file is read makes it count as changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FilesChanged {
    /// Its change time.
    #[default]
    Ctime,
    /// Its modification time.
    Mtime,
    /// None.
    Disabled,
}

/// What somebody who runs a create from within this process adds to what its options say.
#[derive(Debug, Default)]
pub struct Additions {
    /// Data from elsewhere.
    pub streams: Vec<Stream>,
    /// Where files are only for the time of the run.
    pub aliases: Vec<Alias>,
}

/// A place where files are only for the time of a run, such as a mounted snapshot. The files cache
/// knows them by the place where they are otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// Absolute, with `/` at its end.
    pub here: Vec<u8>,
    /// Absolute, with `/` at its end.
    pub otherwise: Vec<u8>,
}

impl Alias {
    /// Returns the path that a path below `here` has otherwise.
    fn lasting(&self, path: &[u8]) -> Option<Vec<u8>> {
        let below = path.strip_prefix(self.here.as_slice())?;
        Some([self.otherwise.as_slice(), below].concat())
    }
}

/// What is archived, and how.
#[derive(Debug)]
pub struct CreateOptions {
    /// Name of the archive.
    pub name: Vec<u8>,
    /// Comment, possibly empty.
    pub comment: Vec<u8>,
    /// Start time to be recorded instead of the real one, in microseconds since 1970.
    pub timestamp: Option<i64>,
    /// The trees, in order.
    pub roots: Vec<Root>,
    /// Whether directories are searched; if not, each root is one object.
    pub descend: bool,
    /// Data that is archived besides, in the order of their places.
    pub streams: Vec<Stream>,
    /// Where files are only for the time of this run.
    pub aliases: Vec<Alias>,
    /// Devices and fifos are read as if they were files, also behind symlinks.
    pub read_special: bool,
    /// What of them is taken.
    pub patterns: PatternMatcher,
    /// Directories that are excluded by what they hold.
    pub tags: TagRules,
    /// Excludes what has the nodump flag.
    pub exclude_nodump: bool,
    /// Stays on the file system of each root.
    pub one_file_system: bool,
    /// Inodes that are not archived, such as the repository itself.
    pub skipped: SkippedInodes,
    /// Which metadata is archived.
    pub attributes: AttributeOptions,
    /// How files are cut.
    pub chunker: ChunkerParams,
    /// The fixed chunker cuts holes and what lies between them for themselves.
    pub sparse: bool,
    /// How chunks are compressed.
    pub compression: CompressionSpec,
    /// When a file counts as changed while it was read.
    pub files_changed: FilesChanged,
    /// Time between checkpoints; none for no checkpoints.
    pub checkpoint_interval: Option<Duration>,
    /// Only walks and shows; nothing is read or stored. For [`dry_run`].
    pub dry_run: bool,
    /// Whether status letters are wanted.
    pub list: bool,
    /// Number of worker threads, at least 1.
    pub threads: usize,
    /// The command line, as the archive records it.
    pub command_line: Vec<Vec<u8>>,
    /// Working directory, to which relative roots refer.
    pub cwd: Vec<u8>,
    /// Host name, as the archive records it.
    pub hostname: Vec<u8>,
    /// User name, as the archive records it.
    pub username: Vec<u8>,
}

/// The chunker of file content, ready for use.
pub enum FileChunker {
    /// Content-defined cuts.
    Buzhash(Box<Buzhash>),
    /// Blocks.
    Fixed(Fixed),
}

impl FileChunker {
    /// Makes the chunker; the seed is the key's.
    pub fn new(params: ChunkerParams, seed: i32) -> Self {
        match params {
            ChunkerParams::Buzhash {
                min_exp,
                max_exp,
                mask_bits,
                window,
            } => Self::Buzhash(Box::new(Buzhash::new(
                min_exp,
                max_exp,
                mask_bits,
                window,
                seed as u32,
            ))),
            ChunkerParams::Fixed {
                block_size,
                header_size,
            } => Self::Fixed(Fixed::new(block_size, header_size)),
        }
    }
}
