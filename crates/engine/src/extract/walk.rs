//! The walk over the items: what is made at once, what is handed to workers, and when.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use fastness_format::item::{ChunkRef, Item, ItemRef};
use fastness_sys::beneath::{Parents, Place, Root};
use fastness_sys::node::Node;
use fastness_sys::stat::FileKind;

use super::crew::{Crew, Job, SmallFile, Target, Workshop};
use super::files::{self, BigFile, Restored};
use super::links::{FirstNames, Further, strip};
use super::{Existing, ExtractOptions};
use crate::archives::items::ItemSource;
use crate::attributes::{self, Attributes, Names};
use crate::catalogue::ReadArchive;
use crate::error::{EngineError, SourceError};
use crate::event::{Event, Level, Monitor, Warning};
use crate::objects::ContentReader;
use crate::parallel::ordered_with;
use crate::select::patterns::PatternMatcher;
use crate::session::Session;

/// Files of up to this size are written whole, several in one job.
const SMALL_BYTES: u64 = 1 << 20;
/// A job has as many small files ...
const BATCH_FILES: usize = 32;
/// ... or bytes, or chunks of a big file.
const BATCH_BYTES: u64 = 1 << 20;
const PIECE_CHUNKS: usize = 4;
/// Directories and links that wait until the files before them are written.
const MOST_WAITING: usize = 4096;

pub(super) fn extract(
    session: &Session,
    archive: &ReadArchive,
    target: &Path,
    options: &ExtractOptions,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let _stage = tracing::trace_span!("extract").entered();
    let names = Names::new();
    let root = Root::open(target.as_os_str().as_bytes())
        .map_err(|error| EngineError::Other(format!("{}: {error}", target.display())))?;
    let attributes = Attributes {
        options: options.attributes,
        names: &names,
    };
    let workshop = Workshop {
        repository: session.repository.as_ref(),
        crypto: &session.crypto,
        root: (!options.dry_run).then(|| root.clone()),
        attributes,
        sparse: options.sparse,
    };
    let crew = Crew::new(workshop, options.threads.max(1));
    let selection = Selection::new(session, archive, options);
    let progress = Progress::new(&selection, monitor)?;
    crew.run(|crew| {
        let mut walk = Walk {
            crew,
            options,
            monitor,
            attributes,
            root,
            progress,
            open: Vec::new(),
            left: Vec::new(),
            links: Vec::new(),
            first_names: FirstNames::new(selection.is_partial(), options.strip_components),
            batch: Vec::new(),
            batch_bytes: 0,
            number: 0,
        };
        selection.items().for_each(|item| {
            match selection.path_of(item) {
                Some(path) => {
                    let item = item.to_item().map_err(|source| EngineError::Items {
                        archive: String::from_utf8_lossy(&archive.metadata.name).into_owned(),
                        source,
                    })?;
                    walk.item(item, path)?;
                }
                None => walk.first_names.leave_out(item),
            }
            Ok(())
        })?;
        walk.finish()
    })?;
    warn_of_unmatched(&options.patterns, monitor);
    Ok(())
}

/// Which items are taken.
struct Selection<'a> {
    session: &'a Session,
    archive: &'a ReadArchive,
    options: &'a ExtractOptions,
}

impl<'a> Selection<'a> {
    fn new(session: &'a Session, archive: &'a ReadArchive, options: &'a ExtractOptions) -> Self {
        Self {
            session,
            archive,
            options,
        }
    }

    fn items(&self) -> ItemSource<'a> {
        ItemSource {
            repository: self.session.repository.as_ref(),
            crypto: &self.session.crypto,
            archive: &self.archive.metadata.name,
            ids: &self.archive.metadata.items,
            threads: self.options.threads.max(1),
        }
    }

    fn is_partial(&self) -> bool {
        !self.options.patterns.is_empty() || self.options.strip_components > 0
    }

    /// Where an item goes; none when it is not taken.
    fn path_of(&self, item: &ItemRef<'_>) -> Option<Vec<u8>> {
        if item.part.is_some() && !self.options.part_files {
            return None;
        }
        if !self.options.patterns.check(item.path).included {
            return None;
        }
        strip(item.path, self.options.strip_components)
    }
}

/// Tells how much of the content is done.
struct Progress<'a> {
    monitor: &'a dyn Monitor,
    /// None when nobody wants to know.
    total: Option<u64>,
    /// The file that was last begun.
    path: Vec<u8>,
}

impl<'a> Progress<'a> {
    fn new(selection: &Selection<'_>, monitor: &'a dyn Monitor) -> Result<Self, EngineError> {
        let mut total = 0;
        if selection.options.progress {
            monitor.event(Event::PercentBegins {
                msgid: "extract",
                message: "Calculating total archive size for the progress indicator \
                    (might take long for large archives)",
            });
            selection.items().for_each(|item| {
                if selection.path_of(item).is_some() {
                    total += item.content_size() + link_size(item);
                }
                Ok(())
            })?;
        }
        Ok(Self {
            monitor,
            total: selection.options.progress.then_some(total),
            path: Vec::new(),
        })
    }

    /// A file is begun; so much of all content is done.
    fn begin(&mut self, item: &Item, done: u64) {
        if self.total.is_some() && item.chunks.is_some() {
            self.path.clone_from(&item.path);
            self.show(done);
        }
    }

    fn show(&self, done: u64) {
        if let Some(total) = self.total
            && !self.path.is_empty()
        {
            self.monitor.event(Event::Percent {
                msgid: "extract",
                label: "Extracting",
                current: done,
                total,
                path: Some(&self.path),
            });
        }
    }

    fn finish(&self, done: u64) {
        self.show(done);
        if self.total.is_some() {
            self.monitor
                .event(Event::PercentFinished { msgid: "extract" });
        }
    }
}

/// Borg counts the target of a symlink as its size, though it is never counted as done.
fn link_size(item: &ItemRef<'_>) -> u64 {
    match (FileKind::from_mode(item.mode), item.source) {
        (FileKind::Symlink, Some(target)) => target.len() as u64,
        _ => 0,
    }
}

pub(crate) fn warn_of_unmatched(patterns: &PatternMatcher, monitor: &dyn Monitor) {
    for pattern in patterns.unmatched_include_paths() {
        let pattern = String::from_utf8_lossy(pattern);
        monitor.event(Event::Warning(Warning {
            msgid: "IncludePatternNeverMatchedWarning",
            text: format!("Include pattern '{pattern}' never matched."),
        }));
    }
}

pub(crate) fn list(monitor: &dyn Monitor, path: &[u8]) {
    monitor.log(Level::Info, "borg.output.list", shown(path));
}

/// A path as people see it: what is no text becomes question marks.
pub(crate) fn shown(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// A directory whose attributes are still to be restored.
struct Directory {
    path: Vec<u8>,
    item: Item,
}

/// Whose a directory is.
enum Made {
    /// It is restored.
    Ours,
    /// It was there and stays as it is.
    Theirs,
}

/// A further name that is still to be made.
struct Link {
    first: Vec<u8>,
    path: Vec<u8>,
    archived: Vec<u8>,
}

struct Walk<'w, 'a> {
    crew: &'w Crew<'a>,
    options: &'w ExtractOptions,
    monitor: &'w dyn Monitor,
    attributes: Attributes<'a>,
    root: Root,
    progress: Progress<'w>,
    /// Directories the walk is in, outermost first.
    open: Vec<Directory>,
    /// Directories the walk has left.
    left: Vec<Directory>,
    links: Vec<Link>,
    first_names: FirstNames,
    batch: Vec<SmallFile>,
    batch_bytes: u64,
    number: usize,
}

impl Walk<'_, '_> {
    fn item(&mut self, item: Item, path: Vec<u8>) -> Result<(), EngineError> {
        while let Some(directory) = self
            .open
            .pop_if(|directory| !path.starts_with(&directory.path))
        {
            self.left.push(directory);
        }
        if self.options.list {
            list(self.monitor, &path);
        }
        if self.monitor.interrupted() {
            return Err(EngineError::Interrupted);
        }
        self.progress.begin(&item, self.crew.written());
        if self.options.dry_run {
            return self.verify(&item);
        }
        let kind = FileKind::from_mode(item.mode);
        if kind.is_hardlinkable()
            && let Some(source) = &item.source
        {
            let source = source.clone();
            match self.first_names.further(&source, &path) {
                Further::Link(first) => {
                    self.links.push(Link {
                        first,
                        path,
                        archived: item.path,
                    });
                }
                Further::Content(chunks) => {
                    self.object(kind, Item { chunks, ..item }, path)?;
                }
            }
        } else {
            if kind.is_hardlinkable() {
                self.first_names.extracted(&item.path, &path);
            }
            self.object(kind, item, path)?;
        }
        if self.links.len() + self.left.len() > MOST_WAITING {
            self.settle()?;
        }
        Ok(())
    }

    fn object(&mut self, kind: FileKind, item: Item, path: Vec<u8>) -> Result<(), EngineError> {
        if kind == FileKind::Regular {
            return self.file(item, path);
        }
        if kind == FileKind::Directory {
            let made = self.directory(&path);
            match made {
                Ok(Made::Ours) => self.open.push(Directory { path, item }),
                Ok(Made::Theirs) => {}
                Err(error) => self.warn(&error, &item.path),
            }
            return Ok(());
        }
        let restored = self.special(kind, &item, &path);
        self.tell(restored, &item.path);
        Ok(())
    }

    fn directory(&mut self, path: &[u8]) -> Result<Made, SourceError> {
        let place = self.root.place(path, Parents::Create)?;
        if self.options.existing.leaves(&place) {
            return Ok(Made::Theirs);
        }
        match place.create_directory(0o777) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = place
                    .stat()
                    .map_err(|error| SourceError::named("mkdir", path, error))?;
                if there.is_some_and(|stat| stat.kind() == FileKind::Directory) {
                    return Ok(Made::Ours);
                }
                drop(place.remove_file());
                place.create_directory(0o777)
            }
            other => other,
        }
        .map(|()| Made::Ours)
        .map_err(|error| SourceError::named("mkdir", path, error))
    }

    /// Makes anything but files and directories.
    fn special(&mut self, kind: FileKind, item: &Item, path: &[u8]) -> Restored {
        let place = self.root.place(path, Parents::Create)?;
        if self.options.existing.leaves(&place) {
            return Ok(Vec::new());
        }
        let make = |place: &Place| match kind {
            FileKind::Symlink => place.create_symlink(item.source.as_deref().unwrap_or_default()),
            FileKind::Fifo => place.create_fifo(),
            _ => place.create_device(kind, item.rdev.unwrap_or_default()),
        };
        match make(&place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                files::remove(&mut self.root, path, &place);
                make(&place)
            }
            other => other,
        }
        .map_err(|error| SourceError::named("", path, error))?;
        attributes::restore(place.node(), item, &self.attributes)
    }

    fn file(&mut self, item: Item, path: Vec<u8>) -> Result<(), EngineError> {
        if let Some(restored) = self.there_already(&item, &path) {
            self.crew.wrote(item.content_size());
            self.tell(restored, &item.path);
            return Ok(());
        }
        self.number += 1;
        let number = self.number;
        if item.content_size() <= SMALL_BYTES {
            self.batch_bytes += item.content_size();
            self.batch.push(SmallFile { path, item, number });
            if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
                self.send_batch()?;
            }
            return Ok(());
        }
        let file = match files::create(&mut self.root, &path) {
            Ok((_, file)) => file,
            Err(error) => {
                self.warn(&error, &item.path);
                return Ok(());
            }
        };
        let chunks = item.chunks.clone().unwrap_or_default();
        let archived = item.path.clone();
        let sparse = self.options.sparse;
        let file = Arc::new(BigFile::new(file, archived, item, number, sparse));
        let mut offset = 0;
        for chunk in chunks {
            let target = Target {
                file: Arc::clone(&file),
                offset,
            };
            offset += u64::from(chunk.size);
            self.crew.hand_over(Job::Chunk(chunk, Some(target)))?;
            self.progress.show(self.crew.written());
        }
        Ok(())
    }

    /// What became of a file that need not be written; none when it must be.
    fn there_already(&mut self, item: &Item, path: &[u8]) -> Option<Restored> {
        if self.options.existing == Existing::default() {
            return None;
        }
        let place = self.root.place(path, Parents::Require).ok()?;
        self.options.existing.file(&place, item, &self.attributes)
    }

    fn send_batch(&mut self) -> Result<(), EngineError> {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.crew.hand_over(Job::Files(batch))
    }

    fn verify(&mut self, item: &Item) -> Result<(), EngineError> {
        for chunk in item.chunks.iter().flatten() {
            self.crew.hand_over(Job::Chunk(*chunk, None))?;
        }
        if let Err(error) = files::told_by_item(item) {
            self.warn(&error, &item.path);
        }
        Ok(())
    }

    /// Waits for all files so far, then makes links and completes the directories left.
    fn settle(&mut self) -> Result<(), EngineError> {
        self.send_batch()?;
        self.crew.wait()?;
        for (path, restored) in self.crew.outcomes() {
            self.tell(restored, &path);
        }
        for link in std::mem::take(&mut self.links) {
            if let Err(error) = self.link(&link) {
                self.warn(&error, &link.archived);
            }
        }
        for directory in std::mem::take(&mut self.left) {
            let restored = self.complete(&directory);
            self.tell(restored, &directory.item.path);
        }
        Ok(())
    }

    fn link(&mut self, link: &Link) -> Result<(), SourceError> {
        let first = self
            .root
            .place(&link.first, Parents::Require)
            .map_err(|_| SourceError::HardlinkSource)?;
        let place = self.root.place(&link.path, Parents::Create)?;
        if self.options.existing.leaves(&place) {
            return Ok(());
        }
        match place.create_hard_link(&first) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                files::remove(&mut self.root, &link.path, &place);
                place.create_hard_link(&first)
            }
            other => other,
        }
        .map_err(|error| SourceError::named("link", &link.path, error))
    }

    fn complete(&mut self, directory: &Directory) -> Restored {
        let place = self.root.place(&directory.path, Parents::Require)?;
        let open = place
            .open_directory()
            .map_err(|error| SourceError::named("open", &directory.path, error))?;
        attributes::restore(Node::Open(open.as_fd()), &directory.item, &self.attributes)
    }

    fn finish(mut self) -> Result<(), EngineError> {
        while let Some(directory) = self.open.pop() {
            self.left.push(directory);
        }
        self.settle()?;
        self.progress.finish(self.crew.written());
        Ok(())
    }

    fn tell(&self, restored: Restored, path: &[u8]) {
        match restored {
            Err(error) => self.warn(&error, path),
            Ok(warnings) => {
                for warning in warnings {
                    self.monitor.event(Event::Warning(Warning {
                        msgid: "BorgWarning",
                        text: warning.text(path),
                    }));
                }
            }
        }
    }

    fn warn(&self, error: &SourceError, path: &[u8]) {
        self.monitor.event(Event::Warning(Warning {
            msgid: error.msgid(),
            text: format!("{}: {error}", shown(path)),
        }));
    }
}

/// Content that is read ahead before it is written out in order.
const OUTPUT_BYTES: u64 = 16 << 20;

pub(super) fn extract_to(
    session: &Session,
    archive: &ReadArchive,
    output: &mut dyn Write,
    options: &ExtractOptions,
    monitor: &dyn Monitor,
) -> Result<(), EngineError> {
    let selection = Selection::new(session, archive, options);
    let mut progress = Progress::new(&selection, monitor)?;
    let mut waiting: Vec<ChunkRef> = Vec::new();
    let (mut waiting_bytes, mut written) = (0, 0);
    selection.items().for_each(|item| {
        let Some(path) = selection.path_of(item) else {
            return Ok(());
        };
        if options.list {
            list(monitor, &path);
        }
        if monitor.interrupted() {
            return Err(EngineError::Interrupted);
        }
        let item = item.to_item().map_err(|source| EngineError::Items {
            archive: String::from_utf8_lossy(&archive.metadata.name).into_owned(),
            source,
        })?;
        progress.begin(&item, written);
        for chunk in item.chunks.iter().flatten() {
            waiting.push(*chunk);
            waiting_bytes += u64::from(chunk.size);
            if waiting_bytes >= OUTPUT_BYTES {
                write_out(session, &waiting, options.threads, output)?;
                waiting.clear();
                written += std::mem::take(&mut waiting_bytes);
                progress.show(written);
            }
        }
        if let Err(error) = files::told_by_item(&item) {
            monitor.event(Event::Warning(Warning {
                msgid: error.msgid(),
                text: format!("{}: {error}", shown(&item.path)),
            }));
        }
        Ok(())
    })?;
    write_out(session, &waiting, options.threads, output)?;
    progress.finish(written + waiting_bytes);
    warn_of_unmatched(&options.patterns, monitor);
    output
        .flush()
        .map_err(|error| EngineError::Other(format!("stdout: {error}")))
}

fn write_out(
    session: &Session,
    chunks: &[ChunkRef],
    threads: usize,
    output: &mut dyn Write,
) -> Result<(), EngineError> {
    ordered_with(
        threads,
        2 * threads,
        chunks.chunks(PIECE_CHUNKS),
        ContentReader::default,
        |reader, piece| reader.take(session.repository.as_ref(), &session.crypto, piece),
        |contents| {
            for data in contents? {
                output
                    .write_all(&data)
                    .map_err(|error| EngineError::Other(format!("stdout: {error}")))?;
            }
            Ok(())
        },
    )
}
