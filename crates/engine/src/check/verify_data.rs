//! Reading every object: in the order of the log, on all cores, each byte once.
//!
//! A thread takes a few neighbours at a time and sends them through its conveyor, which is kept full
//! from one group to the next: only few objects are in memory at once.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_repository::{Repository, RepositoryError};

use super::{Checker, damage_or_failure};
use crate::conveyor::{Conveyor, Outcome, shelf_for};
use crate::error::EngineError;
use crate::event::{Event, Level};
use crate::objects::{ObjectError, read_object};
use crate::parallel::{Inbox, Outlet, ordered_streams};

const PROGRESS: &str = "check.verify_data";

/// Neighbours that a thread takes at most at a time.
const GROUP: usize = 16;
/// At the end it takes this part of what is left, so that all threads end together.
const SHARE: usize = 16;
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
    let shelf = shelf_for(threads);
    ordered_streams(
        threads,
        4 * threads + 1,
        groups,
        |inbox, outlet| {
            Inspector {
                conveyor: Conveyor::new(repository, crypto, &shelf),
                inspect: &inspect,
                waiting: VecDeque::new(),
                open: BTreeMap::new(),
            }
            .work(inbox, outlet);
        },
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
            self.announce();
        }
        let size = (self.page.len() / SHARE).clamp(2, GROUP);
        let group: Vec<ChunkId> = self.page.by_ref().take(size).collect();
        self.announce();
        Some(group).filter(|group| !group.is_empty())
    }
}

impl Groups<'_> {
    /// Announces the next group. It is not known how long its objects are: more are not asked for
    /// ahead.
    fn announce(&self) {
        let rest = self.page.as_slice();
        self.repository.prefetch(rest.get(..GROUP).unwrap_or(rest));
    }
}

/// Objects that were handed to a thread together, and what came of those that are done.
struct Group<R> {
    inspected: Vec<Option<Inspected<R>>>,
    left: usize,
}

/// Where an object belongs: its group's number and its place in it.
type Place = (usize, usize);

/// One thread's work. It begins the objects of the next group before those of the last are done.
struct Inspector<'a, R, F> {
    conveyor: Conveyor<'a, Place>,
    inspect: &'a F,
    waiting: VecDeque<(Place, ChunkId)>,
    open: BTreeMap<usize, Group<R>>,
}

impl<R, F: Fn(&ChunkId, &[u8]) -> R> Inspector<'_, R, F> {
    fn work(&mut self, inbox: &Inbox<Vec<ChunkId>>, outlet: &Outlet<Vec<Inspected<R>>>) {
        loop {
            while self.conveyor.has_room() && self.begin_one(inbox) {}
            let Some(outcome) = self.conveyor.finish_one() else {
                return;
            };
            let (number, place) = outcome.tag;
            let inspected = self.inspected(outcome);
            let Some(group) = self.open.get_mut(&number) else {
                continue;
            };
            if let Some(slot) = group.inspected.get_mut(place) {
                *slot = Some(inspected);
            }
            group.left -= 1;
            if group.left > 0 {
                continue;
            }
            let group = self.open.remove(&number).into_iter();
            let all = group.flat_map(|group| group.inspected).flatten();
            if !outlet.send(number, all.collect()) {
                return;
            }
        }
    }

    /// Begins another object; false when there is none now. Waits for one only while nothing is
    /// under way.
    fn begin_one(&mut self, inbox: &Inbox<Vec<ChunkId>>) -> bool {
        if self.waiting.is_empty() {
            let next = match self.open.is_empty() {
                true => inbox.wait(),
                false => inbox.take(),
            };
            let Some((number, ids)) = next else {
                return false;
            };
            let inspected = ids.iter().map(|_| None).collect();
            let left = ids.len();
            self.open.insert(number, Group { inspected, left });
            let places = ids.into_iter().enumerate();
            self.waiting
                .extend(places.map(|(place, id)| ((number, place), id)));
        }
        let Some((place, id)) = self.waiting.pop_front() else {
            return false;
        };
        self.conveyor.begin(place, id, None);
        true
    }

    fn inspected(&mut self, outcome: Outcome<Place>) -> Inspected<R> {
        let id = outcome.id;
        let result = outcome.result.map(|content| {
            let seen = (self.inspect)(&id, content.data());
            self.conveyor.recycle(content);
            seen
        });
        Inspected {
            id,
            next_counter: outcome.next_counter,
            result,
        }
    }
}

impl Checker<'_> {
    /// Verifies every object; with a repair deletes those that are damaged.
    pub(super) fn verify_data(&mut self) -> Result<(), EngineError> {
        let _stage = tracing::trace_span!("verify_data").entered();
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
