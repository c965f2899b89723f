//! The content of files, read in pieces of any size from any place.

use fastness_format::item::{ChunkRef, ItemRef};
use fastness_sys::stat::FileKind;

use super::tree::{NodeId, Place};
use super::{Vfs, VfsError};
use crate::error::EngineError;
use crate::objects::{ContentReader, ObjectError};

/// A file that is open: where each of its chunks is.
#[derive(Debug)]
pub struct OpenFile {
    /// Each chunk with the offset in the file at which it ends.
    parts: Vec<(u64, ChunkRef)>,
}

impl OpenFile {
    fn new(chunks: impl Iterator<Item = ChunkRef>) -> Self {
        let mut end = 0_u64;
        let parts = chunks.map(|chunk| {
            end = end.saturating_add(chunk.size.into());
            (end, chunk)
        });
        Self {
            parts: parts.collect(),
        }
    }
}

/// What an item says about the content of its file.
struct Described {
    is_file: bool,
    is_damaged: bool,
    file: OpenFile,
}

fn describe(item: &ItemRef<'_>) -> Described {
    Described {
        is_file: FileKind::from_mode(item.mode) == FileKind::Regular,
        is_damaged: item.chunks_healthy.is_some(),
        file: OpenFile::new(item.chunks.into_iter().flatten()),
    }
}

impl Vfs {
    /// Opens a file.
    ///
    /// # Errors
    /// [`VfsError::WrongKind`] when it is no regular file, [`VfsError::Damaged`] when chunks of it
    /// were lost; when its item cannot be read.
    pub fn open(&self, node: NodeId) -> Result<OpenFile, VfsError> {
        let (place, content) = {
            let tree = self.tree();
            let place = tree.node(node).ok_or(VfsError::NotFound)?.place;
            (place, tree.content_place(node))
        };
        let Place::Item(at) = place else {
            return Err(VfsError::WrongKind);
        };
        let mut described = self.with_item(at, describe)?;
        if !described.is_file {
            return Err(VfsError::WrongKind);
        }
        if let Some(content) = content {
            described = self.with_item(content, describe)?;
        }
        if described.is_damaged && !self.options.allow_damaged_files {
            self.warn(VfsError::Damaged.to_string());
            return Err(VfsError::Damaged);
        }
        Ok(described.file)
    }

    /// Reads up to `size` bytes at an offset; fewer only at the end of the file.
    ///
    /// # Errors
    /// When a chunk is missing or damaged, or the repository cannot be read.
    pub fn read(&self, file: &OpenFile, offset: u64, size: usize) -> Result<Vec<u8>, VfsError> {
        let first = file.parts.partition_point(|(end, _)| *end <= offset);
        let mut data = Vec::new();
        let mut at = offset;
        for (end, chunk) in file.parts.iter().skip(first) {
            let missing = size - data.len();
            if missing == 0 {
                break;
            }
            let whole = self.content_chunk(chunk)?;
            let begin = at.saturating_sub(end - u64::from(chunk.size)) as usize;
            let part = whole.get(begin..chunk.size as usize);
            // The chunk is what its id says, but the archive tells another length.
            let part = part.ok_or(ObjectError::Identity(chunk.id));
            let part = part.map_err(EngineError::from)?;
            let part = part.get(..missing).unwrap_or(part);
            data.extend_from_slice(part);
            at = *end;
        }
        Ok(data)
    }

    fn content_chunk(&self, chunk: &ChunkRef) -> Result<std::sync::Arc<Vec<u8>>, VfsError> {
        let session = self.session();
        let session = session.as_ref().ok_or(VfsError::Closed)?;
        let data = self.contents.get(&chunk.id, || {
            let (repository, crypto) = (session.repository.as_ref(), &session.crypto);
            let chunks = std::slice::from_ref(chunk);
            let read = ContentReader::default().take(repository, crypto, chunks)?;
            read.into_iter()
                .next()
                .ok_or(ObjectError::Identity(chunk.id))
        });
        data.map_err(|error| VfsError::Engine(error.into()))
    }
}
