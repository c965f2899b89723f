//! Regular files: made beside their directory, written at their offsets, given their attributes.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastness_format::chunker::is_zero;
use fastness_format::item::{ChunkRef, Item};
use fastness_sys::beneath::{Parents, Place, Root};
use fastness_sys::node::Node;
use fastness_sys::stat::FileKind;

use crate::attributes::{self, Attributes, XattrWarning};
use crate::error::SourceError;
use crate::tasks::lock;

/// What could not be restored as it was: an error of the object, or of single attributes.
pub type Restored = Result<Vec<XattrWarning>, SourceError>;

/// Makes an empty file in place of what is there.
pub fn create(root: &mut Root, path: &[u8]) -> Result<(Place, File), SourceError> {
    let place = root.place(path, Parents::Create)?;
    match place.create_file() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove(root, path, &place);
            place.create_file()
        }
        other => other,
    }
    .map_err(|error| SourceError::named("open", path, in_the_way(error, &place)))
    .map(|file| (place, file))
}

/// Whoever opens a file for writing where a directory is hears of the directory.
fn in_the_way(error: io::Error, place: &Place) -> io::Error {
    const EISDIR: i32 = 21;
    let there = place.stat().ok().flatten();
    let is_directory = there.is_some_and(|stat| stat.kind() == FileKind::Directory);
    match is_directory && error.kind() == io::ErrorKind::AlreadyExists {
        true => io::Error::from_raw_os_error(EISDIR),
        false => error,
    }
}

/// Removes what is at a place, if that is possible; what comes next tells if it was not.
pub fn remove(root: &mut Root, path: &[u8], place: &Place) {
    let is_directory = place
        .stat()
        .is_ok_and(|stat| stat.is_some_and(|stat| stat.kind() == FileKind::Directory));
    if is_directory {
        drop(root.remove_directory(path));
    } else {
        drop(place.remove_file());
    }
}

/// The size inconsistency and damage that an item itself tells of.
pub fn told_by_item(item: &Item) -> Result<(), SourceError> {
    let chunks = item.chunks.as_deref().unwrap_or_default();
    let written: u64 = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
    if let Some(size) = item.size.filter(|size| *size != written) {
        return Err(SourceError::Other(format!(
            "Size inconsistency detected: size {size}, chunks size {written}"
        )));
    }
    if item.chunks_healthy.is_some() {
        return Err(SourceError::Other(
            "File has damaged (all-zero) chunks. Try running borg check --repair.".to_owned(),
        ));
    }
    Ok(())
}

/// Writes a whole file at once.
pub fn write_whole(
    root: &mut Root,
    path: &[u8],
    item: &Item,
    contents: &[Vec<u8>],
    sparse: bool,
    attributes: &Attributes<'_>,
) -> Restored {
    let _stage = tracing::trace_span!("write_file").entered();
    let (_, file) = create(root, path)?;
    let mut offset = 0;
    for data in contents {
        write_at(&file, data, offset, sparse)?;
        offset += data.len() as u64;
    }
    finish(&file, item, offset, sparse, attributes)
}

fn write_at(file: &File, data: &[u8], offset: u64, sparse: bool) -> Result<(), SourceError> {
    if sparse && is_zero(data) {
        return Ok(());
    }
    file.write_all_at(data, offset)
        .map_err(|error| SourceError::io("write", error))
}

fn finish(
    file: &File,
    item: &Item,
    length: u64,
    sparse: bool,
    attributes: &Attributes<'_>,
) -> Restored {
    if sparse {
        // A hole at the end is only there if the length says so.
        file.set_len(length)
            .map_err(|error| SourceError::io("truncate_and_attrs", error))?;
    }
    let warnings = attributes::restore(Node::Open(file.as_fd()), item, attributes)?;
    told_by_item(item)?;
    Ok(warnings)
}

/// A file that is written chunk by chunk, by several threads.
#[derive(Debug)]
pub struct BigFile {
    /// Its path below the target.
    pub path: Vec<u8>,
    /// Its item.
    pub item: Item,
    /// Number in the order of the archive.
    pub number: usize,
    file: File,
    chunks_left: AtomicUsize,
    failed: Mutex<Option<SourceError>>,
    sparse: bool,
}

impl BigFile {
    /// Takes an empty file that is to be written in as many chunks as its item has.
    pub fn new(file: File, path: Vec<u8>, item: Item, number: usize, sparse: bool) -> Self {
        let chunks = item.chunks.as_ref().map_or(0, Vec::len);
        Self {
            path,
            item,
            number,
            file,
            chunks_left: AtomicUsize::new(chunks),
            failed: Mutex::default(),
            sparse,
        }
    }

    /// Writes one chunk. Whoever writes the last gets the result of the whole.
    pub fn write_chunk(
        &self,
        data: &[u8],
        offset: u64,
        attributes: &Attributes<'_>,
    ) -> Option<Restored> {
        let _stage = tracing::trace_span!("write_chunk").entered();
        if let Err(error) = write_at(&self.file, data, offset, self.sparse) {
            lock(&self.failed).get_or_insert(error);
        }
        if self.chunks_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return None;
        }
        if let Some(error) = lock(&self.failed).take() {
            return Some(Err(error));
        }
        let chunks: &[ChunkRef] = self.item.chunks.as_deref().unwrap_or_default();
        let length = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
        Some(finish(
            &self.file,
            &self.item,
            length,
            self.sparse,
            attributes,
        ))
    }
}
