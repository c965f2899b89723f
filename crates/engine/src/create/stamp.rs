//! What an archive that is not made from files records about its making.

use std::time::Duration;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::chunker::ChunkerParams;
use fastness_format::id::ChunkId;
use fastness_format::timestamp;

use crate::event::ArchiveStats;
use crate::world::World;

/// Who makes an archive, and by which command.
#[derive(Debug, Clone)]
pub struct Maker {
    /// The command line, as the archive records it.
    pub command_line: Vec<Vec<u8>>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Host name.
    pub hostname: Vec<u8>,
    /// User name.
    pub username: Vec<u8>,
}

/// Makes metadata, with the time that passed since it was made itself.
pub struct Stamp<'a> {
    maker: &'a Maker,
    world: World<'a>,
    begun: Duration,
    begun_micros: i64,
    timestamp: Option<i64>,
    chunker: ChunkerParams,
}

impl<'a> Stamp<'a> {
    /// Begins now; `timestamp` is a start time to be recorded instead, in microseconds since 1970.
    pub fn new(
        maker: &'a Maker,
        chunker: ChunkerParams,
        timestamp: Option<i64>,
        world: World<'a>,
    ) -> Self {
        Self {
            maker,
            world,
            begun: world.clock.monotonic(),
            begun_micros: world.clock.now().0 / 1000,
            timestamp,
            chunker,
        }
    }

    /// Returns the metadata of an archive that ends now.
    pub fn metadata(
        &self,
        name: &[u8],
        comment: &[u8],
        items: Vec<ChunkId>,
        stats: ArchiveStats,
    ) -> ArchiveMetadata {
        let elapsed = self.world.clock.monotonic().saturating_sub(self.begun);
        let elapsed = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
        let (start, end) = match self.timestamp {
            Some(start) => (start, start.saturating_add(elapsed)),
            None => {
                let end = (self.world.clock.now().0 / 1000).max(self.begun_micros);
                (end.saturating_sub(elapsed), end)
            }
        };
        ArchiveMetadata {
            name: name.to_vec(),
            items,
            cmdline: self.maker.command_line.clone(),
            hostname: Some(self.maker.hostname.clone()),
            username: Some(self.maker.username.clone()),
            time: timestamp::format(start),
            time_end: Some(timestamp::format(end)),
            comment: Some(comment.to_vec()),
            chunker_params: Some(self.chunker),
            cwd: Some(self.maker.cwd.clone()),
            size: Some(stats.original_bytes),
            csize: Some(stats.compressed_bytes),
            nfiles: Some(stats.files),
            size_parts: Some(stats.original_bytes_parts),
            csize_parts: Some(stats.compressed_bytes_parts),
            nfiles_parts: Some(stats.files_parts),
            ..ArchiveMetadata::default()
        }
    }
}
