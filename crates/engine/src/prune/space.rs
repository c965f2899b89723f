//! The space that returns when archives go, found out without deleting anything.
//!
//! The references of those archives are counted, each shared part of their item streams read once,
//! and held against the references of the whole repository: a chunk that nobody else refers to is
//! deleted with them. The numbers are those that [`delete_archives`] tells afterwards.
//!
//! [`delete_archives`]: crate::archives::delete::delete_archives

use fastness_format::id::ChunkId;

use crate::cache::ChunkTable;
use crate::cache::sync;
use crate::error::EngineError;
use crate::event::ArchiveStats;
use crate::session::Session;

/// What goes with some archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Sums over all that the archives refer to; what is deduplicated would become free.
    pub stats: ArchiveStats,
    /// How many chunks would be deleted.
    pub chunks: u64,
}

/// Tells what would become free without the archives whose metadata have the ids given. `chunks`
/// are the references of all archives; it stays as it is.
///
/// # Errors
/// When an archive is damaged, or the repository fails.
pub fn returning(
    session: &Session,
    chunks: &ChunkTable,
    archives: &[ChunkId],
    threads: usize,
) -> Result<Space, EngineError> {
    let counted = ChunkTable::new();
    sync::count_references(
        session.repository.as_ref(),
        &session.crypto,
        archives,
        threads,
        &|chunk, references| counted.add(chunk, references),
        &mut |_| {},
    )?;
    let mut space = Space::default();
    let mut missing = None;
    counted.for_each(|id, counted| {
        let Some(entry) = chunks.get(id) else {
            missing = Some(*id);
            return;
        };
        let [references, size, csize] =
            [counted.references, entry.size, entry.csize].map(u64::from);
        space.stats.original_bytes += references * size;
        space.stats.compressed_bytes += references * csize;
        if entry.references <= counted.references {
            space.stats.deduplicated_bytes += csize;
            space.chunks += 1;
        }
    });
    match missing {
        Some(id) => Err(EngineError::MissingReference(id)),
        None => Ok(space),
    }
}
