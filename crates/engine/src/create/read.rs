//! Reading files: opened beside their directory, looked at once more, cut into chunks.
//!
//! Many small files go through together ([`read_batch`]), so that their ids are computed in SIMD
//! lanes. What is wrong with a source file stays with that file; what is wrong with the repository
//! ends the operation. The two come back through different types.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fastness_format::chunker::Scan;
use fastness_format::item::Item;
use fastness_sys::file::{self, Links};
use fastness_sys::stat::{self, FileKind, Stat};

use super::big::read_big;
use super::crew::Crew;
use super::entry::{FileToRead, ReadFile, ReadItem};
use super::line::Loan;
use super::lister::Lister;
use super::source;
use super::stages::{Bench, StoredChunk};
use super::{Ended, FilesChanged, ProducedFile, StreamSource};
use crate::attributes::{self, XattrWarning};
use crate::error::{EngineError, SourceError};
use crate::select::roots::safe_path;

/// A file that is read beyond this is treated as a big one, whatever its size was before.
const SMALL_LIMIT: usize = 8 << 20;
/// Chunks of at least so many bytes go over the line, each for itself.
const LONG: usize = 64 << 10;
/// Shorter ones go through the stages together, at most so many ...
const GROUP: usize = 64;
/// ... and their bytes, unless it is a single one.
const GROUP_BYTES: usize = 2 << 20;

/// An open file and what its item says so far.
pub(super) struct OpenFile {
    pub fd: OwnedFd,
    pub stat: Stat,
    pub item: Item,
    pub warnings: Vec<XattrWarning>,
}

/// Opens a file and collects its metadata.
pub(super) fn open(lister: &Lister<'_>, file: &FileToRead) -> Result<OpenFile, SourceError> {
    if let Some(stream) = file.stream {
        return open_stream(lister, stream, file.produced.as_ref());
    }
    let (at, name) = (file.directory.at(), file.directory.name(file.index));
    let fd = match file.stat.kind() {
        FileKind::Regular => file::open_for_reading(at, name),
        _ => file::open_special(at, name, Links::Follow),
    };
    let fd = fd.map_err(|error| SourceError::io("open", error))?;
    let stat = stat::stat_open(fd.as_fd()).map_err(|error| SourceError::io("fstat", error))?;
    attributes::check_same_file(&file.stat, &stat)?;
    let mut item = Item {
        path: file.archived_path.clone(),
        hardlink_master: Some(file.hardlink_master),
        ..Item::default()
    };
    let warnings = attributes::read_open(fd.as_fd(), &stat, &lister.attributes(), &mut item)?;
    if stat.kind() != FileKind::Regular {
        // A special file whose content is read is archived as a regular file.
        item.mode = 0o100_000 | (item.mode & 0o7777);
        item.rdev = None;
    }
    Ok(OpenFile {
        fd,
        stat,
        item,
        warnings,
    })
}

/// Makes the item of the data that comes from elsewhere.
fn open_stream(
    lister: &Lister<'_>,
    stream: usize,
    file: Option<&ProducedFile>,
) -> Result<OpenFile, SourceError> {
    let missing = || SourceError::io("open", std::io::ErrorKind::NotFound.into());
    let stream = lister.options.streams.get(stream).ok_or_else(missing)?;
    let fd = match (&stream.source, file) {
        (_, Some(file)) => file.content.try_clone(),
        (StreamSource::Open(fd), None) => fd.try_clone(),
        (StreamSource::Files(_), None) => return Err(missing()),
        (StreamSource::Produced(producer), None) => Ok(producer
            .begin()
            .map_err(|error| SourceError::Produced(error.0))?),
    };
    let fd = fd.map_err(|error| SourceError::io("open", error))?;
    let stat = stat::stat_open(fd.as_fd()).map_err(|error| SourceError::io("fstat", error))?;
    let item = Item {
        path: match file {
            Some(file) => [safe_path(&stream.path), b"/", &file.path].concat(),
            None => safe_path(&stream.path).to_vec(),
        },
        mode: 0o100_000 | (stream.mode & 0o7777),
        user: Some(stream.user.0.clone()),
        uid: Some(stream.user.1),
        group: Some(stream.group.0.clone()),
        gid: Some(stream.group.1),
        mtime: Some(stream.time),
        ctime: Some(stream.time),
        atime: Some(stream.time),
        ..Item::default()
    };
    Ok(OpenFile {
        fd,
        stat,
        item,
        warnings: Vec::new(),
    })
}

/// Asks who produced a stream whether it is complete.
pub(super) fn finish_stream(
    lister: &Lister<'_>,
    stream: Option<usize>,
    ended: &Ended,
    abandoned: &dyn Fn() -> bool,
) -> Result<(), SourceError> {
    let stream = stream.and_then(|number| lister.options.streams.get(number));
    match stream.map(|stream| &stream.source) {
        Some(StreamSource::Produced(producer)) => producer
            .finish(ended, abandoned)
            .map_err(|error| SourceError::Produced(error.0)),
        Some(StreamSource::Open(_) | StreamSource::Files(_)) | None => Ok(()),
    }
}

/// Looks at a file again after its content was read.
pub(super) fn close(lister: &Lister<'_>, open: OpenFile) -> Result<ReadItem, SourceError> {
    let now = stat::stat_open(open.fd.as_fd()).map_err(|error| SourceError::io("fstat", error))?;
    let changed = open.stat.kind() == FileKind::Regular
        && match lister.options.files_changed {
            FilesChanged::Disabled => false,
            FilesChanged::Ctime => now.ctime != open.stat.ctime,
            FilesChanged::Mtime => now.mtime != open.stat.mtime,
        };
    Ok(ReadItem {
        item: open.item,
        warnings: open.warnings,
        stamp: lister.stamp(&open.stat),
        changed,
    })
}

/// One file of a batch, its content in the batch's buffer.
struct Buffered {
    file: FileToRead,
    opened: bool,
    outcome: Result<ReadItem, SourceError>,
    chunks: Range<usize>,
    /// Set for a file that grew and was stored on its own.
    stored: Vec<StoredChunk>,
}

/// Reads files, stores their chunks, and hands the results to `receiver`, now or when the last chunk
/// is done.
///
/// # Errors
/// When the operation fails; problems of single files are in the results.
pub fn read_batch<'env>(
    crew: &Crew<'env>,
    bench: &mut Bench<'env>,
    lister: &Lister<'_>,
    files: Vec<FileToRead>,
    receiver: impl FnOnce(Vec<ReadFile>) + Send + 'env,
) -> Result<(), EngineError> {
    let _stage = tracing::trace_span!("read_files").entered();
    let taken = crew.take_slab(bench);
    let mut bytes = taken.ok_or(EngineError::Abandoned)?;
    let sizes = files.iter().map(|file| file.stat.size.saturating_add(1));
    let expected = sizes.fold(0, u64::saturating_add);
    bytes.reserve_exact(
        usize::try_from(expected)
            .unwrap_or(SMALL_LIMIT)
            .min(SMALL_LIMIT),
    );
    let mut cuts: Vec<Range<usize>> = Vec::with_capacity(files.len());
    let mut read = Vec::with_capacity(files.len());
    for file in files {
        read.push(read_one(crew, bench, lister, file, &mut bytes, &mut cuts)?);
    }
    let loan = Loan::new(bytes, &crew.slabs);
    let (long, short): (Vec<usize>, Vec<usize>) =
        (0..cuts.len()).partition(|&at| cuts.get(at).is_some_and(|cut| cut.len() >= LONG));
    let of = |places: &[usize]| -> Vec<Range<usize>> {
        let cuts = places.iter().filter_map(|&at| cuts.get(at).cloned());
        cuts.collect()
    };
    let mut stored = vec![None; cuts.len()];
    let short_cuts = of(&short);
    let mut places = short.iter();
    for group in groups(&short_cuts) {
        let chunks: Vec<&[u8]> = group.iter().map(|range| loan.get(range)).collect();
        for (chunk, &at) in crew
            .store
            .store(bench, &chunks)?
            .into_iter()
            .zip(places.by_ref())
        {
            if let Some(place) = stored.get_mut(at) {
                *place = Some(chunk);
            }
        }
    }
    let long_cuts = of(&long);
    let finish = move |chunks: Vec<StoredChunk>| {
        for (chunk, at) in chunks.into_iter().zip(long) {
            if let Some(place) = stored.get_mut(at) {
                *place = Some(chunk);
            }
        }
        let stored: Vec<StoredChunk> = stored.into_iter().flatten().collect();
        receiver(read.into_iter().map(|file| file.finish(&stored)).collect());
    };
    if long_cuts.is_empty() {
        finish(Vec::new());
    } else {
        crew.put_on_line(&loan, long_cuts.into_iter(), finish);
    }
    Ok(())
}

impl Buffered {
    /// Adds the chunks of the batch that are of this file.
    fn finish(self, stored: &[StoredChunk]) -> ReadFile {
        let of_batch = stored.get(self.chunks).unwrap_or_default();
        ReadFile {
            chunks: [of_batch, &self.stored].concat(),
            file: self.file,
            opened: self.opened,
            outcome: self.outcome,
        }
    }
}

/// Divides chunks into those that go through the stages together.
fn groups(mut cuts: &[Range<usize>]) -> impl Iterator<Item = &[Range<usize>]> {
    std::iter::from_fn(move || {
        let first = cuts.first()?.start;
        let fits = |cut: &&Range<usize>| cut.end - first <= GROUP_BYTES;
        let count = cuts.iter().take(GROUP).take_while(fits).count().max(1);
        let (group, rest) = cuts.split_at_checked(count)?;
        cuts = rest;
        Some(group)
    })
}

fn read_one<'env>(
    crew: &Crew<'env>,
    bench: &mut Bench<'env>,
    lister: &Lister<'_>,
    file: FileToRead,
    bytes: &mut Vec<u8>,
    cuts: &mut Vec<Range<usize>>,
) -> Result<Buffered, EngineError> {
    let mut buffered = Buffered {
        opened: false,
        outcome: Err(SourceError::race("not read")),
        chunks: cuts.len()..cuts.len(),
        stored: Vec::new(),
        file,
    };
    let open = match open(lister, &buffered.file) {
        Ok(open) => open,
        Err(error) => {
            buffered.outcome = Err(error);
            return Ok(buffered);
        }
    };
    buffered.opened = true;
    let start = bytes.len();
    let with_holes =
        lister.cut_holes_from().is_some() && source::has_holes(open.fd.as_fd(), &open.stat);
    let small = match with_holes {
        true => Ok(false),
        false => read_small(open.fd.as_fd(), &open.stat, bytes),
    };
    match small {
        Ok(true) => {
            cut(lister, bytes, start, cuts);
            buffered.chunks.end = cuts.len();
            buffered.outcome = close(lister, open);
        }
        Ok(false) => {
            bytes.truncate(start);
            let (outcome, stored) = read_big(crew, bench, lister, open)?;
            buffered.outcome = outcome;
            buffered.stored = stored;
        }
        Err(error) => {
            bytes.truncate(start);
            buffered.outcome = Err(SourceError::io("read", error));
        }
    }
    Ok(buffered)
}

/// Appends the content of a file; false when it is longer than a small file may be.
fn read_small(fd: BorrowedFd<'_>, stat: &Stat, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
    let start = bytes.len();
    // One byte more than expected, so that one more read tells the end.
    let mut want = usize::try_from(stat.size)
        .unwrap_or(SMALL_LIMIT)
        .min(SMALL_LIMIT)
        + 1;
    loop {
        let got = file::read_some(fd, bytes, want)?;
        if got == 0 {
            return Ok(true);
        }
        let total = bytes.len() - start;
        if total as u64 == stat.size && got < want {
            // A short read at the size that stat told is the end of a regular file.
            return Ok(true);
        }
        if total > SMALL_LIMIT {
            return Ok(false);
        }
        want = want.saturating_sub(got).max(64 << 10);
    }
}

fn cut(lister: &Lister<'_>, bytes: &[u8], start: usize, cuts: &mut Vec<Range<usize>>) {
    let _stage = tracing::trace_span!("cut").entered();
    let mut cutter = lister.cutter();
    let mut at = start;
    while let Some(data) = bytes.get(at..).filter(|data| !data.is_empty()) {
        let len = cutter.next_cut(data, true).unwrap_or(data.len()).max(1);
        cuts.push(at..at + len);
        at += len;
    }
}

/// Where a chunk ends, whatever chunker is in use.
pub(super) struct Cutter<'a> {
    chunker: &'a super::FileChunker,
    scan: Scan,
    offset: u64,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(chunker: &'a super::FileChunker) -> Self {
        Self {
            chunker,
            scan: Scan::default(),
            offset: 0,
        }
    }

    /// Where the next chunk begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the length of the chunk that `data` begins with; none when more data is needed.
    pub(super) fn next_cut(&mut self, data: &[u8], end: bool) -> Option<usize> {
        let len = match self.chunker {
            super::FileChunker::Buzhash(buzhash) => buzhash.next_cut(&mut self.scan, data, end)?,
            super::FileChunker::Fixed(fixed) => {
                let len = fixed.next_len(self.offset);
                if len > data.len() && !end {
                    return None;
                }
                len.min(data.len())
            }
        };
        self.offset += len as u64;
        Some(len)
    }
}
