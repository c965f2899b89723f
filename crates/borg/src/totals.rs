//! Sums over all archives and chunks of a repository, and the parts of JSON documents about it.

use fastness_engine::archives::items::ItemSource;
use fastness_engine::cache::ChunkTable;
use fastness_engine::keys::KeyTarget;
use fastness_engine::times::LocalTime;
use fastness_format::archive::ArchiveMetadata;
use fastness_format::timestamp;
use jiff::tz::TimeZone;

use crate::access::Opened;
use crate::context::Context;
use crate::error::CommandError;
use crate::output::json::{Json, object};
use crate::output::stats::RepositoryTotals;

impl Context<'_> {
    /// Sums up a repository.
    ///
    /// # Errors
    /// When the metadata of an archive cannot be read.
    pub fn totals(
        &self,
        opened: &Opened,
        chunks: &ChunkTable,
    ) -> Result<RepositoryTotals, CommandError> {
        let all = chunks.totals();
        let mut totals = RepositoryTotals {
            unique_bytes: all.unique_bytes,
            unique_compressed_bytes: all.unique_stored_bytes,
            unique_chunks: all.unique_chunks,
            chunks: all.chunks,
            ..RepositoryTotals::default()
        };
        let session = &opened.session;
        for (name, entry) in &session.catalogue.manifest.archives {
            let repository = session.repository.as_ref();
            let monitor = self.reporter.as_ref();
            let archive = session
                .catalogue
                .archive_by_id(repository, name, &entry.id, monitor)?;
            let (original, compressed) = self.sizes(opened, chunks, name, &archive.metadata)?;
            totals.original_bytes += original;
            totals.compressed_bytes += compressed;
        }
        Ok(totals)
    }

    /// The bytes of all files of an archive, and those of their chunks as stored: recorded since
    /// Borg 1.2, else counted.
    fn sizes(
        &self,
        opened: &Opened,
        chunks: &ChunkTable,
        name: &[u8],
        metadata: &ArchiveMetadata,
    ) -> Result<(u64, u64), CommandError> {
        let parts = self.common.consider_part_files;
        if let (Some(size), Some(csize)) = (metadata.size, metadata.csize) {
            return Ok(match parts {
                false => (size, csize),
                true => (
                    size + metadata.size_parts.unwrap_or(0),
                    csize + metadata.csize_parts.unwrap_or(0),
                ),
            });
        }
        let source = ItemSource {
            repository: opened.session.repository.as_ref(),
            crypto: &opened.session.crypto,
            archive: name,
            ids: &metadata.items,
            threads: self.threads(),
        };
        let (mut original, mut compressed) = (0, 0);
        source.for_each(|item| {
            if item.part.is_some() && !parts {
                return Ok(());
            }
            for chunk in item.chunks.into_iter().flatten() {
                original += u64::from(chunk.size);
                let known = chunks.get(&chunk.id);
                compressed += u64::from(known.map_or(chunk.csize, |known| known.csize));
            }
            Ok(())
        })?;
        Ok((original, compressed))
    }

    /// Returns the members that all JSON documents about a repository have.
    ///
    /// # Errors
    /// When the key file cannot be found.
    pub fn repository_json(
        &self,
        opened: &Opened,
        zone: &TimeZone,
    ) -> Result<Vec<(String, Json)>, CommandError> {
        let modified = timestamp::parse(&opened.session.catalogue.manifest.timestamp);
        let repository = object([
            ("id", opened.id().to_string().into()),
            ("location", opened.place.name.as_str().into()),
            (
                "last_modified",
                LocalTime::of_archive_micros(modified.unwrap_or_default(), zone)
                    .iso()
                    .into(),
            ),
        ]);
        let mut encryption = vec![("mode".to_owned(), Json::from(opened.key_type().argument()))];
        if let KeyTarget::File(path) = self.key_target(opened)? {
            encryption.push(("keyfile".to_owned(), path.display().to_string().into()));
        }
        Ok(vec![
            ("repository".to_owned(), repository),
            ("encryption".to_owned(), Json::Map(encryption)),
        ])
    }

    /// Returns the member about the local cache, with the sums over the repository.
    pub fn cache_json(&self, opened: &Opened, totals: &RepositoryTotals) -> (String, Json) {
        let path = self.borg_cache(&opened.id()).path().display().to_string();
        let stats = object([
            ("total_size", totals.original_bytes.into()),
            ("total_csize", totals.compressed_bytes.into()),
            ("unique_size", totals.unique_bytes.into()),
            ("unique_csize", totals.unique_compressed_bytes.into()),
            ("total_unique_chunks", totals.unique_chunks.into()),
            ("total_chunks", totals.chunks.into()),
        ]);
        (
            "cache".to_owned(),
            object([("path", path.into()), ("stats", stats)]),
        )
    }
}
