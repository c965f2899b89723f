//! Which directories workers open before the walk comes to them.
//!
//! The walk goes depth first, so what it needs next are the directories in the directory where it
//! stands, then those in the ones that were opened ahead, then the further ones of the directories
//! around it. Opening one means one stat and one listing of attributes for each of its entries:
//! that is most of the work for a tree that did not change, and it is done here on all cores.

use std::collections::VecDeque;
use std::sync::Arc;

use super::crew::Crew;
use super::entry::{Directory, Entry, Opened, OpenedSlot, Run};
use super::lister::{Lister, OpenRequest};
use crate::tasks::Priority;

/// Directories that may be open ahead of the walk, for each thread.
const FAR: usize = 32;
/// Directories that may be open ahead of the walk however many threads there are: each holds a
/// file descriptor, of which a process may often have 1024.
const MOST_FAR: usize = 256;
/// As many more are opened in the directory where the walk stands, whatever was opened elsewhere.
const NEAR: usize = 64;
/// Directories in one directory that are opened ahead, for each thread.
const OF_ONE: usize = 8;

/// Some entries of a directory, and which of them are directories to be opened.
#[derive(Debug, Default)]
pub struct Sight {
    /// The entries.
    pub run: Run,
    /// Directories that are not asked for, or in which there are some; by their places in `run`.
    directories: VecDeque<usize>,
}

impl Sight {
    /// Looks which of the entries are directories.
    pub fn new(run: Run) -> Self {
        let is_directory = |entry: &Option<Entry>| matches!(entry, Some(Entry::Directory { .. }));
        let places = run.entries.iter().enumerate();
        let directories = places
            .filter_map(|(place, entry)| is_directory(entry).then_some(place))
            .collect();
        Self { run, directories }
    }
}

/// How many directories are open or being opened ahead of the walk.
pub struct LookAhead<'w, 'env> {
    crew: &'w Crew<'env>,
    lister: &'env Lister<'env>,
    opening: usize,
    far: usize,
    of_one: usize,
}

impl<'w, 'env> LookAhead<'w, 'env> {
    /// Begins with none.
    pub fn new(crew: &'w Crew<'env>, lister: &'env Lister<'env>) -> Self {
        Self {
            crew,
            lister,
            opening: 0,
            far: (FAR * crew.threads).min(MOST_FAR),
            of_one: OF_ONE * crew.threads,
        }
    }

    /// Lets a worker open a directory that the walk needs now or soon.
    pub fn open(&mut self, request: OpenRequest) -> OpenedSlot {
        let slot = OpenedSlot::default();
        self.opening += 1;
        let (lister, filled) = (self.lister, Arc::clone(&slot));
        self.crew.spawn(Priority::Soon, move |_, _| {
            filled.put(lister.open(&request));
        });
        slot
    }

    /// The walk has come to one of the directories.
    pub fn arrived(&mut self) {
        self.opening -= 1;
    }

    /// Asks for directories where the walk stands, and in those opened ahead.
    pub fn near(&mut self, directory: &Arc<Directory>, sight: &mut Sight) {
        self.among(directory, sight, self.far + NEAR);
    }

    /// Asks for directories around where the walk stands. False when enough are open.
    pub fn far(&mut self, directory: &Arc<Directory>, sight: &mut Sight) -> bool {
        self.among(directory, sight, self.far);
        self.opening < self.far
    }

    fn among(&mut self, directory: &Arc<Directory>, sight: &mut Sight, most: usize) {
        let mut place = 0;
        while place < self.of_one
            && self.opening < most
            && let Some(index) = sight.directories.get(place)
        {
            let entry = sight.run.entries.get_mut(*index).and_then(Option::as_mut);
            if self.one(directory, entry) {
                place += 1;
            } else {
                sight.directories.remove(place);
            }
        }
    }

    /// Asks for a directory, or for those in it. False when there is nothing more to ask for.
    fn one(&mut self, parent: &Arc<Directory>, entry: Option<&mut Entry>) -> bool {
        let Some(Entry::Directory {
            index,
            stat,
            excluded,
            slot,
        }) = entry
        else {
            return false;
        };
        let Some(slot) = slot else {
            *slot = Some(self.open(OpenRequest {
                parent: Arc::clone(parent),
                index: *index,
                stat: **stat,
                excluded: *excluded,
            }));
            return true;
        };
        slot.with(|opened| match opened {
            None => true,
            Some(Ok(Opened {
                entries: Some(directory),
                first,
                ..
            })) => {
                self.among(directory, first, self.far);
                !first.directories.is_empty()
            }
            Some(_) => false,
        })
    }
}
