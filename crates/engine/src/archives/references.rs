//! What one archive refers to, chunk by chunk: the measure of what deleting it takes away.
//!
//! Its metadata and the chunks of its item stream once per occurrence, the chunks of its files once
//! per occurrence, the chunks of part files apart from the others. Everything is counted before
//! anything is changed, so that damage found half-way costs nothing.

use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, ItemDecoder};

use super::items::ItemSource;
use crate::cache::ChunkTable;
use crate::catalogue::ReadArchive;
use crate::error::EngineError;
use crate::event::{Event, Monitor};
use crate::session::Session;

/// What is done about damage in the item stream of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Damage {
    /// It ends the operation.
    #[default]
    Refuse,
    /// What comes before it counts, what comes behind it is passed over.
    PassOver,
}

/// Whether the parts that a checkpoint leaves of a big file count as files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartFiles {
    /// They do not.
    #[default]
    Apart,
    /// They do.
    AsFiles,
}

/// How the items of one archive are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What is done about damage.
    pub damage: Damage,
    /// What part files are.
    pub parts: PartFiles,
    /// Number of threads that fetch and open.
    pub threads: usize,
    /// Borg's id of the progress.
    pub progress: &'static str,
}

/// References, counted.
#[derive(Debug, Default)]
pub struct References {
    /// To the chunks of files.
    pub files: ChunkTable,
    /// To the chunks of part files.
    pub parts: ChunkTable,
    /// Number of files that have chunks, part files among them.
    pub file_count: u64,
    /// Number of part files.
    pub part_count: u64,
    /// The item stream is damaged: there is more.
    pub incomplete: bool,
}

impl References {
    /// Counts the references of an archive's items.
    ///
    /// # Errors
    /// When the item stream cannot be read, unless that is damage to be passed over.
    pub fn of_items(
        session: &Session,
        archive: &ReadArchive,
        name: &[u8],
        label: &str,
        reading: Reading,
        monitor: &dyn Monitor,
    ) -> Result<Self, EngineError> {
        let ids = &archive.metadata.items;
        let source = ItemSource {
            repository: session.repository.as_ref(),
            crypto: &session.crypto,
            archive: name,
            ids,
            threads: reading.threads,
        };
        let mut counted = Self::default();
        let mut decoder = ItemDecoder::new();
        let mut done = 0;
        let read = source.for_each_chunk(|data| {
            monitor.event(Event::Percent {
                msgid: reading.progress,
                label,
                current: done,
                total: ids.len() as u64,
                path: None,
            });
            done += 1;
            counted
                .count(&mut decoder, data, reading.parts)
                .map_err(|source| EngineError::Items {
                    archive: String::from_utf8_lossy(name).into_owned(),
                    source,
                })
        });
        let read = read.and_then(|()| {
            decoder.finish().map_err(|source| EngineError::Items {
                archive: String::from_utf8_lossy(name).into_owned(),
                source,
            })
        });
        monitor.event(Event::PercentFinished {
            msgid: reading.progress,
        });
        match read {
            Err(error) if reading.damage == Damage::PassOver && is_damage(&error) => {
                counted.incomplete = true;
                Ok(counted)
            }
            read => read.map(|()| counted),
        }
    }

    fn count(
        &mut self,
        decoder: &mut ItemDecoder,
        data: &[u8],
        parts: PartFiles,
    ) -> Result<(), fastness_format::item::ItemError> {
        decoder.feed(data);
        while let Some(item) = decoder.next_ref() {
            let item = item?;
            let Some(chunks) = item.chunks else { continue };
            self.file_count += 1;
            let mut table = &self.files;
            if item.part.is_some() {
                self.part_count += 1;
                if parts == PartFiles::Apart {
                    table = &self.parts;
                }
            }
            for chunk in chunks {
                table.add(&chunk, 1);
            }
        }
        Ok(())
    }

    /// Adds the references to the metadata of an archive and to the chunks of its item stream.
    pub fn add_metadata(&self, archive: &ReadArchive) {
        self.files.add(&unknown_lengths(archive.id), 1);
        for id in &archive.metadata.items {
            self.files.add(&unknown_lengths(*id), 1);
        }
    }
}

fn unknown_lengths(id: ChunkId) -> ChunkRef {
    ChunkRef {
        id,
        size: 0,
        csize: 0,
    }
}

/// Tells whether something in the archive is damaged or missing, as opposed to a failure to read.
pub fn is_damage(error: &EngineError) -> bool {
    match error {
        EngineError::Object(error) => error.is_damage(),
        EngineError::Items { .. } => true,
        _ => false,
    }
}
