//! Another name for an archive: new metadata, the same items.

use fastness_format::compress::CompressionSpec;
use fastness_format::id::ChunkId;

use crate::cache::chunks::{ChunkTable, Released};
use crate::error::EngineError;
use crate::event::Monitor;
use crate::session::Session;
use crate::world::World;

/// Renames an archive and commits. Returns the id of its new metadata.
///
/// # Errors
/// When there is no such archive, or one with the new name already.
pub fn rename(
    session: &mut Session,
    chunks: &ChunkTable,
    name: &[u8],
    new_name: &[u8],
    world: World<'_>,
    monitor: &dyn Monitor,
) -> Result<ChunkId, EngineError> {
    let archive = session
        .catalogue
        .archive(session.repository.as_ref(), name, monitor)?;
    let mut metadata = archive.metadata;
    metadata.name = new_name.to_vec();
    let compression = CompressionSpec::default();
    let (catalogue, repository) = session.split();
    let stored = catalogue.put_archive(repository, chunks, world, &compression, &metadata)?;
    // By the name in the manifest: check may have given it another than its metadata has.
    catalogue.manifest.archives.remove(name);
    match chunks.release(&archive.id, 1) {
        Released::Last(_) => repository.delete(&archive.id)?,
        Released::Kept(_) => {}
        Released::Missing => return Err(EngineError::MissingReference(archive.id)),
    }
    catalogue.write(repository, world, &compression)?;
    repository.commit(None)?;
    Ok(stored.id)
}
