//! Finding the archives of a repository that has lost its manifest.
//!
//! Every object is looked at: what is authentic metadata of an archive was an archive once, and if
//! it was not deleted it still is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastness_format::archive::ArchiveMetadata;
use fastness_format::id::ChunkId;
use fastness_format::manifest::ArchiveEntry;

use super::verify_data::{Inspected, inspect_all};
use super::{Checker, LOGGER, damage_or_failure, lossy};
use crate::catalogue::Catalogue;
use crate::error::EngineError;
use crate::event::{Event, Level, Monitor};
use crate::security::{requirement, verify_archive};

const PROGRESS: &str = "check.rebuild_manifest";

type Archives = BTreeMap<Vec<u8>, ArchiveEntry>;

impl Checker<'_> {
    /// Makes a manifest of all archives that are found.
    pub(super) fn rebuild_manifest(&mut self) -> Result<Catalogue, EngineError> {
        let _stage = tracing::trace_span!("rebuild_manifest").entered();
        self.info("Rebuilding missing manifest, this might take some time...");
        let monitor = self.context.keys.monitor;
        let total = self.inventory.len() as u64;
        let (mut done, mut next_counter) = (0, 0);
        let mut problems = false;
        let mut archives = Archives::new();
        let consume = |inspected: Inspected<Option<Vec<u8>>>| {
            if monitor.interrupted() {
                return Err(EngineError::Interrupted);
            }
            if inspected.id == ChunkId::MANIFEST {
                return Ok(());
            }
            monitor.event(Event::Percent {
                msgid: PROGRESS,
                label: "Rebuilding manifest",
                current: done,
                total,
                path: None,
            });
            done += 1;
            // Nobody else knows any more which counter values were used.
            next_counter = next_counter.max(inspected.next_counter);
            match inspected.result {
                Ok(None) => {}
                Ok(Some(data)) => {
                    let entry = self.authentic(&inspected.id, &data);
                    problems |= entry.is_err();
                    if let Ok(Some((name, entry))) = entry {
                        add(&mut archives, name, entry, monitor);
                    }
                }
                Err(error) => {
                    let error = damage_or_failure(error)?;
                    let text = format!("Skipping corrupted chunk: {error}");
                    monitor.log(Level::Error, LOGGER, text);
                    problems = true;
                }
            }
            Ok(())
        };
        let likely = |_: &ChunkId, data: &[u8]| {
            Some(data)
                .filter(|data| ArchiveMetadata::is_likely(data))
                .map(<[u8]>::to_vec)
        };
        let threads = self.options.threads;
        inspect_all(&*self.repository, &self.crypto, threads, likely, consume)?;
        monitor.event(Event::PercentFinished { msgid: PROGRESS });
        self.problems |= problems;
        self.info("Manifest rebuild complete.");
        if !self.options.repair {
            self.warning("The rebuilt manifest will only be committed when using --repair!");
        }
        let nonces = self.allocator(next_counter);
        let mut catalogue = Catalogue::new(Arc::clone(&self.crypto), nonces);
        catalogue.manifest.archives = archives;
        Ok(catalogue)
    }

    /// Returns name and manifest entry if this is an archive; fails if it may be a forged one.
    fn authentic(&self, id: &ChunkId, data: &[u8]) -> Result<Option<(Vec<u8>, ArchiveEntry)>, ()> {
        let Ok(metadata) = ArchiveMetadata::decode(data) else {
            return Ok(None);
        };
        let verified = verify_archive(
            &self.crypto,
            data,
            &metadata.name,
            requirement(&self.crypto),
            self.context.wrong_tag,
            self.context.keys.monitor,
        );
        if let Err(error) = verified {
            let name = lossy(&metadata.name);
            self.log(
                Level::Error,
                format!("Archive TAM authentication issue for archive {name}: {error}"),
            );
            let text =
                "This archive will *not* be added to the rebuilt manifest! It will be deleted.";
            self.log(Level::Error, text);
            return Err(());
        }
        let entry = ArchiveEntry {
            id: *id,
            time: metadata.time,
        };
        Ok(Some((metadata.name, entry)))
    }
}

/// Adds an archive, under another name if there is one of its name: none replaces another.
fn add(archives: &mut Archives, name: Vec<u8>, entry: ArchiveEntry, monitor: &dyn Monitor) {
    let text = format!("Found archive {}", lossy(&name));
    monitor.log(Level::Info, LOGGER, text);
    let mut free = name.clone();
    let mut number = 0u64;
    while archives.contains_key(&free) {
        number += 1;
        free.clone_from(&name);
        free.extend_from_slice(format!(".{number}").as_bytes());
    }
    if number > 0 {
        let text = format!(
            "Duplicate archive name {}, storing as {}",
            lossy(&name),
            lossy(&free)
        );
        monitor.log(Level::Warning, LOGGER, text);
    }
    archives.insert(free, entry);
}
