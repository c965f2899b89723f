//! An archive as a tar stream.
//!
//! One thread walks over the items and makes jobs of them: headers as they will be written, and
//! references to chunks. Workers fetch the chunks of a job together; the caller's thread writes the
//! results in order. What is under way is bounded by the number of jobs and the bytes in each.

use std::io::{self, Write};

use crossbeam_channel::{Sender, bounded};
use fastness_format::crypto::Crypto;
use fastness_format::item::{ChunkRef, ItemRef};
use fastness_repository::Repository;
use fastness_sys::stat::FileKind;

use super::header::{Member, MemberKind};
use super::{BLOCK, RECORD};
use crate::archives::items::ItemSource;
use crate::catalogue::ReadArchive;
use crate::error::EngineError;
use crate::event::{Event, Monitor, Warning};
use crate::extract::links::{FirstNames, Further, strip};
use crate::extract::walk::{list, shown, warn_of_unmatched};
use crate::objects::{ContentReader, ObjectError};
use crate::parallel::ordered;
use crate::select::patterns::PatternMatcher;
use crate::session::Session;

/// A job is complete with so many bytes of content ...
const JOB_BYTES: u64 = 4 << 20;
/// ... or so many parts.
const JOB_PARTS: usize = 1024;
/// How progress is called.
const PROGRESS: &str = "extract";
const NANOS: f64 = 1e9;

/// What is exported, and how.
#[derive(Debug)]
pub struct ExportOptions {
    /// What of the archive is taken.
    pub patterns: PatternMatcher,
    /// Leading directories that paths lose; shorter paths are left out.
    pub strip_components: usize,
    /// Whether paths are to be told.
    pub list: bool,
    /// Whether a share of the work is to be told; costs a look at all items before.
    pub progress: bool,
    /// Also exports the part files that checkpoints leave.
    pub part_files: bool,
    /// Number of threads that fetch content, at least 1.
    pub threads: usize,
}

/// Writes the items that are taken to `output`, as a complete tar stream in the GNU format.
///
/// # Errors
/// When the archive cannot be read, an object of it is damaged, or `output` takes no more. Objects
/// that a tar cannot hold only warn.
pub fn export(
    session: &Session,
    archive: &ReadArchive,
    output: &mut dyn Write,
    options: &ExportOptions,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let _stage = tracing::trace_span!("export_tar").entered();
    let (repository, crypto) = (session.repository.as_ref(), session.crypto.as_ref());
    let selection = Selection {
        repository,
        crypto,
        archive,
        options,
    };
    let total = match options.progress {
        true => Some(selection.content_bytes()?),
        false => None,
    };
    let threads = options.threads.max(1);
    let mut writer = Writer {
        output,
        written: 0,
        list: options.list,
        total,
        done: 0,
        path: Vec::new(),
        monitor,
    };
    std::thread::scope(|scope| {
        let (sender, jobs) = bounded(2 * threads);
        let selection = &selection;
        let walker = scope.spawn(move || selection.walk(&mut Jobs::new(sender)));
        let read = |job: Job| job.read(repository, crypto);
        let written = ordered(threads, 2 * threads, jobs.into_iter(), read, |parts| {
            writer.take(parts?)
        });
        // The receiver is gone by now: a walker that is not at its end sees that and ends.
        let walked = walker.join().unwrap_or(Err(EngineError::WorkerDied));
        written.and(walked)
    })?;
    writer.finish()?;
    warn_of_unmatched(&options.patterns, monitor);
    Ok(())
}

/// A piece of the stream, or something to be told when it is reached.
enum Part {
    /// Bytes as they are written.
    Bytes(Vec<u8>),
    /// A chunk, and how many of its bytes are written.
    Chunk(ChunkRef, usize),
    /// The path of the content that follows, for the progress.
    Content(Vec<u8>),
    /// A path to be listed.
    Listed(Vec<u8>),
    /// Something that the stream cannot hold.
    Unsupported(String),
}

/// Parts that are made ready together.
#[derive(Default)]
struct Job {
    parts: Vec<Part>,
    content_bytes: u64,
}

/// The parts of a job, with the content of its chunks in order.
type Ready = (Vec<Part>, Vec<Vec<u8>>);

impl Job {
    fn read(self, repository: &dyn Repository, crypto: &Crypto) -> Result<Ready, ObjectError> {
        let chunks: Vec<ChunkRef> = (self.parts.iter())
            .filter_map(|part| match part {
                Part::Chunk(chunk, _) => Some(*chunk),
                _ => None,
            })
            .collect();
        let contents = ContentReader::default().take(repository, crypto, &chunks)?;
        Ok((self.parts, contents))
    }
}

/// Gathers parts into jobs and sends them off.
struct Jobs {
    sender: Sender<Job>,
    job: Job,
}

impl Jobs {
    fn new(sender: Sender<Job>) -> Self {
        Self {
            sender,
            job: Job::default(),
        }
    }

    fn add(&mut self, part: Part) -> Result<(), EngineError> {
        if let Part::Chunk(chunk, _) = &part {
            self.job.content_bytes += u64::from(chunk.size);
        }
        self.job.parts.push(part);
        if self.job.content_bytes >= JOB_BYTES || self.job.parts.len() >= JOB_PARTS {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), EngineError> {
        let job = std::mem::take(&mut self.job);
        self.sender.send(job).map_err(|_| EngineError::Abandoned)
    }
}

/// What of the archive is taken.
struct Selection<'a> {
    repository: &'a dyn Repository,
    crypto: &'a Crypto,
    archive: &'a ReadArchive,
    options: &'a ExportOptions,
}

/// What the stream says of an item.
enum Content {
    /// Nothing but what the header says.
    None,
    /// A link to this path.
    Link(Vec<u8>),
    /// A file of this length, in these chunks.
    Bytes(u64, Vec<ChunkRef>),
}

impl Selection<'_> {
    fn items(&self) -> ItemSource<'_> {
        ItemSource {
            repository: self.repository,
            crypto: self.crypto,
            archive: &self.archive.metadata.name,
            ids: &self.archive.metadata.items,
            // It runs beside the workers already.
            threads: 1,
        }
    }

    /// Hands each item that is taken to `visit`, with its path in the stream and its content.
    fn for_each(
        &self,
        mut visit: impl FnMut(&ItemRef<'_>, &[u8], Content) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let options = self.options;
        let partial = !options.patterns.is_empty() || options.strip_components > 0;
        let mut names = FirstNames::new(partial, options.strip_components);
        self.items().for_each(|item| {
            if item.part.is_some() && !options.part_files {
                return Ok(());
            }
            let included = options.patterns.check(item.path).included;
            let path = strip(item.path, options.strip_components).filter(|_| included);
            match path {
                Some(path) => {
                    let content = content(item, &path, &mut names);
                    visit(item, &path, content)
                }
                None => {
                    names.leave_out(item);
                    Ok(())
                }
            }
        })
    }

    fn content_bytes(&self) -> Result<u64, EngineError> {
        let mut total = 0;
        self.for_each(|_, _, content| {
            if let Content::Bytes(size, _) = content {
                total += size;
            }
            Ok(())
        })?;
        Ok(total)
    }

    fn walk(&self, jobs: &mut Jobs) -> Result<(), EngineError> {
        self.for_each(|item, path, content| self.item(jobs, item, path, content))?;
        jobs.send()
    }

    fn item(
        &self,
        jobs: &mut Jobs,
        item: &ItemRef<'_>,
        path: &[u8],
        content: Content,
    ) -> Result<(), EngineError> {
        let Some(kind) = member_kind(item.mode) else {
            let format = item.mode & 0o170_000;
            return jobs.add(Part::Unsupported(format!(
                "{}: unsupported file type {format:o} for tar export",
                shown(path)
            )));
        };
        if self.options.list {
            jobs.add(Part::Listed(item.path.to_vec()))?;
        }
        let mut header = Vec::new();
        header_of(item, path, kind, &content)?.write(&mut header);
        jobs.add(Part::Bytes(header))?;
        match content {
            Content::Bytes(size, chunks) => self.content(jobs, item.path, size, &chunks),
            _ => Ok(()),
        }
    }

    /// Adds as much of the content as the header says, and fills up the last block.
    fn content(
        &self,
        jobs: &mut Jobs,
        path: &[u8],
        size: u64,
        chunks: &[ChunkRef],
    ) -> Result<(), EngineError> {
        if self.options.progress && size > 0 {
            jobs.add(Part::Content(path.to_vec()))?;
        }
        let mut left = size;
        for chunk in chunks {
            let taken = left.min(chunk.size.into());
            if taken == 0 {
                break;
            }
            left -= taken;
            jobs.add(Part::Chunk(*chunk, taken as usize))?;
        }
        if left > 0 {
            let path = shown(path);
            return Err(EngineError::Other(format!(
                "{path}: unexpected end of data, {left} of {size} bytes are missing"
            )));
        }
        let fill = size.next_multiple_of(BLOCK as u64) - size;
        match fill {
            0 => Ok(()),
            fill => jobs.add(Part::Bytes(vec![0; fill as usize])),
        }
    }
}

/// Tells what the stream has of an item. Only regular files are linked to each other; of everything
/// else each name is an object of its own.
fn content(item: &ItemRef<'_>, path: &[u8], names: &mut FirstNames) -> Content {
    let own = || item.chunks.map(|chunks| chunks.into_iter().collect());
    if FileKind::from_mode(item.mode) != FileKind::Regular {
        return Content::None;
    }
    let chunks: Option<Vec<ChunkRef>> = match item.source {
        None => return Content::Bytes(item.content_size(), own().unwrap_or_default()),
        Some(source) => match names.further(source, path) {
            Further::Link(first) if !first.is_empty() => return Content::Link(first),
            Further::Link(_) => None,
            Further::Content(chunks) => chunks,
        },
    };
    let chunks = chunks.unwrap_or_default();
    let size = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
    Content::Bytes(item.size.unwrap_or(size), chunks)
}

fn member_kind(mode: u32) -> Option<MemberKind> {
    Some(match FileKind::from_mode(mode) {
        FileKind::Regular => MemberKind::File,
        FileKind::Directory => MemberKind::Directory,
        FileKind::Symlink => MemberKind::SymbolicLink,
        FileKind::BlockDevice => MemberKind::BlockDevice,
        FileKind::CharacterDevice => MemberKind::CharacterDevice,
        FileKind::Fifo => MemberKind::Fifo,
        _ => return None,
    })
}

fn header_of<'a>(
    item: &'a ItemRef<'_>,
    path: &'a [u8],
    kind: MemberKind,
    content: &'a Content,
) -> Result<Member<'a>, EngineError> {
    let missing = |key| EngineError::Other(format!("{}: item has no {key}", shown(path)));
    let (kind, size, link) = match content {
        Content::Bytes(size, _) => (kind, *size, &[][..]),
        Content::Link(first) => (MemberKind::HardLink, 0, first.as_slice()),
        Content::None => (kind, 0, item.source.unwrap_or_default()),
    };
    let device = match kind {
        MemberKind::BlockDevice | MemberKind::CharacterDevice => {
            let device = item.rdev.ok_or_else(|| missing("rdev"))?;
            fastness_sys::stat::device_numbers(device)
        }
        _ => (0, 0),
    };
    let link = match kind {
        MemberKind::HardLink | MemberKind::SymbolicLink => link,
        _ => &[],
    };
    Ok(Member {
        name: path,
        kind,
        mode: item.mode,
        uid: item.uid.ok_or_else(|| missing("uid"))?,
        gid: item.gid.ok_or_else(|| missing("gid"))?,
        size,
        // Towards zero, by way of a floating-point number, as Borg does it.
        mtime: (item.mtime.ok_or_else(|| missing("mtime"))? as f64 / NANOS) as i64,
        link,
        user: item.user.unwrap_or_default(),
        group: item.group.unwrap_or_default(),
        device,
    })
}

/// Writes parts, and tells what there is to be told of them.
struct Writer<'a> {
    output: &'a mut dyn Write,
    written: u64,
    list: bool,
    total: Option<u64>,
    done: u64,
    /// What the content being written belongs to.
    path: Vec<u8>,
    monitor: &'a dyn Monitor,
}

impl Writer<'_> {
    fn take(&mut self, (parts, contents): Ready) -> Result<(), EngineError> {
        let mut contents = contents.into_iter();
        if self.monitor.interrupted() {
            return Err(EngineError::Interrupted);
        }
        for part in parts {
            match part {
                Part::Bytes(bytes) => self.write(&bytes)?,
                Part::Chunk(_, taken) => {
                    let data = contents.next().unwrap_or_default();
                    let data = data.get(..taken).ok_or_else(|| {
                        EngineError::Other("a chunk is shorter than its reference says".into())
                    })?;
                    self.write(data)?;
                    self.progress(taken as u64);
                }
                Part::Content(path) => self.path = path,
                Part::Listed(path) if self.list => list(self.monitor, &path),
                Part::Listed(_) => {}
                Part::Unsupported(text) => self.monitor.event(Event::Warning(Warning {
                    msgid: "BorgWarning",
                    text,
                })),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        self.written += bytes.len() as u64;
        self.output.write_all(bytes).map_err(|error| failed(&error))
    }

    fn progress(&mut self, bytes: u64) {
        if let Some(total) = self.total {
            self.done += bytes;
            self.monitor.event(Event::Percent {
                msgid: PROGRESS,
                label: "Processing",
                current: self.done,
                total,
                path: Some(&self.path),
            });
        }
    }

    /// Ends the stream: two empty blocks, and more up to a whole record.
    fn finish(&mut self) -> Result<(), EngineError> {
        if self.total.is_some() {
            self.monitor
                .event(Event::PercentFinished { msgid: PROGRESS });
        }
        let end = (self.written + 2 * BLOCK as u64).next_multiple_of(RECORD);
        self.write(&vec![0; (end - self.written) as usize])?;
        self.output.flush().map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> EngineError {
    EngineError::Other(format!("cannot write the tar stream: {error}"))
}
