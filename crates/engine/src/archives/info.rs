//! Sums over an archive that is in the repository.

use fastness_format::id::ChunkId;

use super::references::{Damage, PartFiles, Reading, References};
use crate::cache::ChunkTable;
use crate::catalogue::ReadArchive;
use crate::error::EngineError;
use crate::event::{ArchiveStats, Monitor};
use crate::session::Session;

/// Sums up an archive. Its deduplicated bytes are those of the chunks of files that nothing else
/// refers to: what would become free if it were deleted, without its own metadata.
///
/// Other sums are those that Borg recorded since 1.2; for older archives they are counted.
///
/// # Errors
/// When its item stream cannot be read.
pub fn archive_stats(
    session: &Session,
    archive: &ReadArchive,
    name: &[u8],
    chunks: &ChunkTable,
    parts: PartFiles,
    threads: usize,
    monitor: &dyn Monitor,
) -> Result<ArchiveStats, EngineError> {
    let reading = Reading {
        damage: Damage::Refuse,
        parts: PartFiles::Apart,
        threads,
        progress: "archive.calc_stats",
    };
    let shown = String::from_utf8_lossy(&archive.metadata.name);
    let label = format!("Calculating statistics for archive {shown} ...");
    let counted = References::of_items(session, archive, name, &label, reading, monitor)?;
    let mut stats = match recorded(archive) {
        Some(stats) => stats,
        None => counted_stats(&counted, chunks),
    };
    if parts == PartFiles::AsFiles {
        stats.original_bytes += stats.original_bytes_parts;
        stats.compressed_bytes += stats.compressed_bytes_parts;
        stats.files += stats.files_parts;
    }
    stats.deduplicated_bytes = unique_bytes(&counted, chunks);
    Ok(stats)
}

/// What the metadata says.
fn recorded(archive: &ReadArchive) -> Option<ArchiveStats> {
    let metadata = &archive.metadata;
    Some(ArchiveStats {
        original_bytes: metadata.size?,
        compressed_bytes: metadata.csize?,
        files: metadata.nfiles?,
        original_bytes_parts: metadata.size_parts.unwrap_or(0),
        compressed_bytes_parts: metadata.csize_parts.unwrap_or(0),
        files_parts: metadata.nfiles_parts.unwrap_or(0),
        ..ArchiveStats::default()
    })
}

fn counted_stats(counted: &References, chunks: &ChunkTable) -> ArchiveStats {
    let sum = |table: &ChunkTable| {
        let (mut original, mut compressed) = (0, 0);
        table.for_each(|id, entry| {
            let known = chunks.get(id).unwrap_or(entry);
            let references = u64::from(entry.references);
            original += references * u64::from(known.size);
            compressed += references * u64::from(known.csize);
        });
        (original, compressed)
    };
    let (original_bytes, compressed_bytes) = sum(&counted.files);
    let (original_bytes_parts, compressed_bytes_parts) = sum(&counted.parts);
    ArchiveStats {
        original_bytes,
        compressed_bytes,
        files: counted.file_count - counted.part_count,
        original_bytes_parts,
        compressed_bytes_parts,
        files_parts: counted.part_count,
        ..ArchiveStats::default()
    }
}

/// Stored bytes of the chunks to which only this archive refers.
fn unique_bytes(counted: &References, chunks: &ChunkTable) -> u64 {
    let mut unique = 0;
    let mut add = |id: &ChunkId, references| {
        if let Some(known) = chunks.get(id)
            && known.references == references
        {
            unique += u64::from(known.csize);
        }
    };
    let parts = |id: &ChunkId| counted.parts.get(id).map_or(0, |entry| entry.references);
    counted
        .files
        .for_each(|id, entry| add(id, entry.references + parts(id)));
    counted.parts.for_each(|id, entry| {
        if !counted.files.contains(id) {
            add(id, entry.references);
        }
    });
    unique
}
