//! Reading every object: in the order of the log, on all cores, each byte once.
//!
//! A thread takes a few neighbours at a time: it fetches them, opens them side by side, then
//! decompresses and hashes. How many are in memory at once is bounded by their bytes.

use std::cell::Cell;
use std::ops::Range;

use fastness_format::compress::{Decompressor, Method};
use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_repository::{Repository, RepositoryError};

use super::{Checker, damage_or_failure};
use crate::error::EngineError;
use crate::event::{Event, Level};
use crate::objects::{MAX_PLAINTEXT_BYTES, ObjectError, read_object};
use crate::parallel::ordered;

const PROGRESS: &str = "check.verify_data";

/// Neighbours that a thread takes at a time.
const GROUP: usize = 16;
/// Bytes of stored objects, and of their data, that a thread has in memory before it goes on to
/// the next step; one object may be longer.
const BATCH_BYTES: usize = 6 << 20;
/// Ids fetched from the repository at a time.
const PAGE: usize = 4096;

/// What came of one object.
pub(super) struct Inspected<R> {
    pub(super) id: ChunkId,
    /// A counter value above all that sealing it used; 0 if it was not encrypted.
    pub(super) next_counter: u64,
    pub(super) result: Result<R, ObjectError>,
}

/// Reads all objects in the order of the log; `inspect` sees the data of each that is sound, in
/// one of several threads, `consume` what came of it, in order.
pub(super) fn inspect_all<R: Send>(
    repository: &dyn Repository,
    crypto: &Crypto,
    threads: usize,
    inspect: impl Fn(&ChunkId, &[u8]) -> R + Sync,
    mut consume: impl FnMut(Inspected<R>) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let failed = Cell::new(None);
    let groups = Groups {
        repository,
        page: Vec::new().into_iter(),
        marker: None,
        ended: false,
        failed: &failed,
    };
    ordered(
        threads,
        threads + 1,
        groups,
        |ids| inspect_group(repository, crypto, &ids, &inspect),
        |group| group.into_iter().try_for_each(&mut consume),
    )?;
    failed.take().map_or(Ok(()), |error| Err(error.into()))
}

/// The ids of all objects, in the order of the log.
struct Groups<'a> {
    repository: &'a dyn Repository,
    page: std::vec::IntoIter<ChunkId>,
    marker: Option<ChunkId>,
    ended: bool,
    failed: &'a Cell<Option<RepositoryError>>,
}

impl Iterator for Groups<'_> {
    type Item = Vec<ChunkId>;

    fn next(&mut self) -> Option<Vec<ChunkId>> {
        if self.page.as_slice().is_empty() && !self.ended {
            let page = self.repository.scan(Some(PAGE), self.marker.as_ref());
            let page = page.unwrap_or_else(|error| {
                self.failed.set(Some(error));
                Vec::new()
            });
            self.ended = page.is_empty();
            self.marker = page.last().copied();
            self.page = page.into_iter();
        }
        let group: Vec<ChunkId> = self.page.by_ref().take(GROUP).collect();
        Some(group).filter(|group| !group.is_empty())
    }
}

fn inspect_group<R>(
    repository: &dyn Repository,
    crypto: &Crypto,
    ids: &[ChunkId],
    inspect: &impl Fn(&ChunkId, &[u8]) -> R,
) -> Vec<Inspected<R>> {
    let mut reader = Reader {
        crypto,
        decompressor: Decompressor::new(),
    };
    let mut inspected = Vec::with_capacity(ids.len());
    let mut fetched = Batch::default();
    for id in ids {
        match repository.get(id) {
            Ok(stored) => {
                fetched.bytes += stored.len();
                fetched.ids.push(*id);
                fetched.stored.push(stored);
            }
            Err(error) => {
                // What came before is told of before.
                reader.inspect(&mut fetched, inspect, &mut inspected);
                inspected.push(Inspected {
                    id: *id,
                    next_counter: 0,
                    result: Err(error.into()),
                });
            }
        }
        if fetched.bytes >= BATCH_BYTES {
            reader.inspect(&mut fetched, inspect, &mut inspected);
        }
    }
    reader.inspect(&mut fetched, inspect, &mut inspected);
    inspected
}

/// Objects as they are stored.
#[derive(Default)]
struct Batch {
    ids: Vec<ChunkId>,
    stored: Vec<Vec<u8>>,
    bytes: usize,
}

/// The data of an object.
enum Plain {
    /// Stored uncompressed: where it is in the stored object.
    Within(Range<usize>),
    Own(Vec<u8>),
    Damaged(ObjectError),
}

impl Plain {
    fn data<'a>(&'a self, stored: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Within(range) => stored.get(range.clone()).unwrap_or_default(),
            Self::Own(data) => data,
            Self::Damaged(_) => &[],
        }
    }
}

struct Reader<'a> {
    crypto: &'a Crypto,
    decompressor: Decompressor,
}

impl Reader<'_> {
    fn inspect<R>(
        &mut self,
        batch: &mut Batch,
        inspect: &impl Fn(&ChunkId, &[u8]) -> R,
        inspected: &mut Vec<Inspected<R>>,
    ) {
        let mut batch = std::mem::take(batch);
        let counters: Vec<u64> = batch
            .stored
            .iter()
            .map(|stored| crate::keys::nonce::after_manifest(self.crypto, stored))
            .collect();
        let opened = self.crypto.open_many(&mut batch.stored);
        let mut objects = batch
            .ids
            .iter()
            .zip(&batch.stored)
            .zip(counters)
            .zip(opened);
        loop {
            let mut some = Vec::with_capacity(batch.ids.len());
            let mut bytes = 0;
            for (((id, stored), counter), opened) in objects.by_ref() {
                let plain = match opened {
                    Ok(()) => self.decompress(id, stored),
                    Err(source) => Plain::Damaged(ObjectError::Envelope { id: *id, source }),
                };
                if let Plain::Own(data) = &plain {
                    bytes += data.len();
                }
                some.push((id, stored, counter, plain));
                if bytes >= BATCH_BYTES {
                    break;
                }
            }
            if some.is_empty() {
                return;
            }
            self.hash(some, inspect, inspected);
        }
    }

    fn decompress(&mut self, id: &ChunkId, stored: &[u8]) -> Plain {
        let begin = self.crypto.overhead();
        let payload = stored.get(begin..).unwrap_or_default();
        if Method::detect(payload) == Some(Method::None) {
            return Plain::Within(begin + 2..stored.len());
        }
        let mut data = Vec::new();
        match self
            .decompressor
            .decompress(payload, None, MAX_PLAINTEXT_BYTES, &mut data)
        {
            Ok(()) => Plain::Own(data),
            Err(source) => Plain::Damaged(ObjectError::Compression { id: *id, source }),
        }
    }

    fn hash<R>(
        &self,
        objects: Vec<(&ChunkId, &Vec<u8>, u64, Plain)>,
        inspect: &impl Fn(&ChunkId, &[u8]) -> R,
        inspected: &mut Vec<Inspected<R>>,
    ) {
        let hashed: Vec<&[u8]> = objects
            .iter()
            .map(|(_, stored, _, plain)| plain.data(stored))
            .collect();
        let mut actual = Vec::with_capacity(hashed.len());
        self.crypto.ids(&hashed, &mut actual);
        drop(hashed);
        for ((id, stored, next_counter, plain), actual) in objects.into_iter().zip(actual) {
            // The manifest is the one object that is not stored under its own hash.
            let fits = *id == actual || *id == ChunkId::MANIFEST;
            let result = match &plain {
                Plain::Damaged(_) => Err(()),
                sound if fits => Ok(inspect(id, sound.data(stored))),
                _ => Err(()),
            };
            let result = result.map_err(|()| match plain {
                Plain::Damaged(error) => error,
                _ => ObjectError::Identity(*id),
            });
            inspected.push(Inspected {
                id: *id,
                next_counter,
                result,
            });
        }
    }
}

impl Checker<'_> {
    /// Verifies every object; with a repair deletes those that are damaged.
    pub(super) fn verify_data(&mut self) -> Result<(), EngineError> {
        self.info("Starting cryptographic data integrity verification...");
        let monitor = self.context.keys.monitor;
        let total = self.inventory.len();
        let (mut verified, mut errors) = (0, 0);
        let mut defects = Vec::new();
        let consume = |inspected: Inspected<()>| {
            if monitor.interrupted() {
                return Err(EngineError::Interrupted);
            }
            monitor.event(Event::Percent {
                msgid: PROGRESS,
                label: "Verifying data",
                current: verified,
                total: total as u64,
                path: None,
            });
            verified += 1;
            let Err(error) = inspected.result else {
                return Ok(());
            };
            let error = damage_or_failure(error)?;
            errors += 1;
            let id = inspected.id;
            let text = match &error {
                ObjectError::Repository(error) => format!("chunk {id}: {error}"),
                error => format!("chunk {id}, integrity error: {error}"),
            };
            monitor.log(Level::Error, super::LOGGER, text);
            if !is_missing(&error) {
                defects.push(id);
            }
            Ok(())
        };
        let threads = self.options.threads;
        inspect_all(&*self.repository, &self.crypto, threads, |_, _| (), consume)?;
        monitor.event(Event::PercentFinished { msgid: PROGRESS });
        self.problems |= errors > 0;
        if verified != total as u64 {
            let text = "Repo/Chunks index object count vs. segment files object count mismatch.";
            self.log(Level::Error, text);
            let text =
                format!("Repo/Chunks index: {total} objects != segment files: {verified} objects");
            self.log(Level::Error, text);
        }
        self.treat_defects(&defects)?;
        let level = if errors > 0 {
            Level::Error
        } else {
            Level::Info
        };
        let text = format!(
            "Finished cryptographic data integrity verification, verified {verified} chunks with {errors} integrity errors."
        );
        self.log(level, text);
        Ok(())
    }

    fn treat_defects(&mut self, defects: &[ChunkId]) -> Result<(), EngineError> {
        if defects.is_empty() {
            return Ok(());
        }
        if !self.options.repair {
            self.warning(
                "Found defect chunks. With --repair, they would get deleted, so affected files could get repaired then and maybe healed later.",
            );
            for id in defects {
                self.log(Level::Debug, format!("chunk {id} is defect."));
            }
            return Ok(());
        }
        self.warning(
            "Found defect chunks. They will be deleted now, so affected files can get repaired now and maybe healed later.",
        );
        for id in defects {
            // Read again: the fault may have been one of memory or of the network.
            match read_object(&*self.repository, &self.crypto, id) {
                Ok(_) => {
                    self.warning(format!(
                        "chunk {id} not deleted, did not consistently fail."
                    ));
                }
                Err(error) => {
                    damage_or_failure(error)?;
                    self.inventory.remove(id);
                    self.repository.delete(id)?;
                    self.log(Level::Debug, format!("chunk {id} deleted."));
                }
            }
        }
        Ok(())
    }
}

fn is_missing(error: &ObjectError) -> bool {
    matches!(
        error,
        ObjectError::Repository(RepositoryError::ObjectNotFound { .. })
    )
}
