//! Data that does not come from the file system, archived as files among those of the walk.
//!
//! What is open already (standard input) is read like a file: trouble with it is a warning. What a
//! [`Producer`] gives must be complete, or the archive is not: see [`super::create`].

use std::fmt;
use std::os::fd::OwnedFd;

use fastness_format::chunker::ChunkerParams;

/// Data that comes from a pipe or whatever is open, to be archived as a file.
#[derive(Debug)]
pub struct Stream {
    /// The number of trees that are archived before it.
    pub place: usize,
    /// Where the data comes from.
    pub source: StreamSource,
    /// Name of the file.
    pub path: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its owner, by name and number.
    pub user: (Vec<u8>, u32),
    /// Its group, by name and number.
    pub group: (Vec<u8>, u32),
    /// Its times, in nanoseconds since 1970.
    pub time: i64,
    /// How it is cut, if otherwise than files are.
    pub chunker: Option<ChunkerParams>,
}

/// Where the data of a stream comes from.
#[derive(Debug)]
pub enum StreamSource {
    /// From what is open. When it cannot be read, the archive is made without it, with a warning.
    Open(OwnedFd),
    /// From something that begins when its turn comes. When it fails, the archive is not complete.
    Produced(Box<dyn Producer>),
    /// Several files below the path of the stream, which are not known before. When one fails, the
    /// archive is not complete.
    Files(Box<dyn FileProducer>),
}

/// Something that gives files one after another.
///
/// Dropping it ends whatever still runs for it.
pub trait FileProducer: fmt::Debug + Send + Sync {
    /// Returns the next file, or waits for a moment; begins when it is called for the first time.
    /// The file before need not be read yet. Not called any more after the end or an error.
    ///
    /// # Errors
    /// When the files are not complete; then none of those before may count.
    fn next(&self) -> Result<NextFile, ProducerError>;
}

/// What comes next of a [`FileProducer`].
#[derive(Debug)]
pub enum NextFile {
    /// A file.
    File(ProducedFile),
    /// Nothing yet.
    NotYet,
    /// The end: all files are complete.
    End,
}

/// One of several files.
#[derive(Debug)]
pub struct ProducedFile {
    /// Its path below that of the stream.
    pub path: Vec<u8>,
    /// Where its content comes out, to the end.
    pub content: OwnedFd,
}

/// Something that gives data when it is asked to, such as a program that dumps a database.
///
/// Dropping it ends whatever still runs for it.
pub trait Producer: fmt::Debug + Send + Sync {
    /// Begins, and returns where the data comes out. Called at most once.
    ///
    /// # Errors
    /// When there will be no data.
    fn begin(&self) -> Result<OwnedFd, ProducerError>;

    /// Called when the data ended: tells whether that was all of it. `abandoned` tells whether
    /// nobody waits for the answer any more.
    ///
    /// # Errors
    /// When the data is not complete.
    fn finish(&self, ended: &Ended, abandoned: &dyn Fn() -> bool) -> Result<(), ProducerError>;
}

/// The data of a [`Producer`], seen from its end.
#[derive(Debug, Default)]
pub struct Ended {
    /// How much there was.
    pub bytes: u64,
    /// The last of it, at most [`Ended::TAIL_BYTES`].
    pub tail: Vec<u8>,
}

impl Ended {
    /// How much of the end is kept.
    pub const TAIL_BYTES: usize = 64;

    /// Takes notice of what comes next.
    pub fn add(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        let last = data.len().saturating_sub(Self::TAIL_BYTES);
        self.tail
            .extend_from_slice(data.get(last..).unwrap_or_default());
        let surplus = self.tail.len().saturating_sub(Self::TAIL_BYTES);
        self.tail.drain(..surplus);
    }
}

/// Why a producer's data is not there or not complete, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProducerError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_data_is_kept_however_it_comes() {
        let data: Vec<u8> = (0..=255).collect();
        for step in [1, 7, 63, 64, 65, 256] {
            let mut ended = Ended::default();
            data.chunks(step).for_each(|piece| ended.add(piece));
            assert_eq!((ended.bytes, ended.tail.as_slice()), (256, &data[192..]));
        }
        let mut ended = Ended::default();
        ended.add(b"short");
        assert_eq!(ended.tail, b"short");
    }
}
