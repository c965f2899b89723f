//! Objects that are asked for before they are wanted, so that nobody waits for the way there.
//!
//! An announced object is *queued*, then *sent* for, then *here* until it is taken. How much is
//! under way and held is bounded; what is wanted before its turn is asked for at once by the one
//! who wants it.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use fastness_format::id::ChunkId;

use super::exchange::Reply;

/// Requests that may be under way. Each way there and back brings no more than these: small objects
/// have to be many.
const MOST_SENT: usize = 4096;
/// Bytes that may be held or, as far as that can be told, under way.
const MOST_BYTES: usize = 64 << 20;
/// How long objects are taken to be before any has come.
const LIKELY_BYTES: usize = 2 << 20;

/// The announced objects.
#[derive(Debug)]
pub struct Prefetch {
    entries: HashMap<ChunkId, Entry>,
    /// In the order of the announcements; some may have been taken since.
    queue: VecDeque<ChunkId>,
    sent: usize,
    held_bytes: usize,
    /// The length of the longest of the last objects.
    likely_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// How often it is still going to be taken.
    uses: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Queued,
    Sent {
        msgid: i64,
        waiting: Vec<SyncSender<Reply>>,
    },
    Here(Reply),
}

/// An announced object that is taken.
#[derive(Debug)]
pub enum Taken {
    /// It is here.
    Here(Reply),
    /// It is on its way.
    Coming(Receiver<Reply>),
}

impl Default for Prefetch {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            queue: VecDeque::new(),
            sent: 0,
            held_bytes: 0,
            likely_bytes: LIKELY_BYTES,
        }
    }
}

impl Prefetch {
    /// Queues objects, each to be taken once more.
    pub fn announce(&mut self, ids: &[ChunkId]) {
        for id in ids {
            let queue = &mut self.queue;
            let entry = self.entries.entry(*id).or_insert_with(|| {
                queue.push_back(*id);
                Entry {
                    uses: 0,
                    stage: Stage::Queued,
                }
            });
            entry.uses += 1;
        }
    }

    /// Takes an object once; none if it was not announced or not sent for yet.
    pub fn take(&mut self, id: &ChunkId) -> Option<Taken> {
        let entry = self.entries.get_mut(id).filter(|entry| entry.uses > 0)?;
        entry.uses -= 1;
        let last = entry.uses == 0;
        match &mut entry.stage {
            Stage::Queued => {
                if last {
                    self.entries.remove(id);
                }
                None
            }
            Stage::Sent { waiting, .. } => {
                let (sender, receiver) = sync_channel(1);
                waiting.push(sender);
                Some(Taken::Coming(receiver))
            }
            Stage::Here(reply) if !last => Some(Taken::Here(reply.clone())),
            Stage::Here(_) => match self.entries.remove(id)?.stage {
                Stage::Here(reply) => {
                    self.held_bytes -= length(&reply);
                    Some(Taken::Here(reply))
                }
                Stage::Queued | Stage::Sent { .. } => None,
            },
        }
    }

    /// The next object to be sent for, if there is room; it counts as sent then.
    pub fn next(&mut self, msgid: i64) -> Option<ChunkId> {
        let under_way = (self.sent + 1).saturating_mul(self.likely_bytes);
        if self.sent >= MOST_SENT || self.held_bytes.saturating_add(under_way) > MOST_BYTES {
            return None;
        }
        while let Some(id) = self.queue.pop_front() {
            if let Some(entry) = self.entries.get_mut(&id)
                && matches!(entry.stage, Stage::Queued)
            {
                let waiting = Vec::new();
                entry.stage = Stage::Sent { msgid, waiting };
                self.sent += 1;
                return Some(id);
            }
        }
        None
    }

    /// Takes in what was sent for.
    pub fn arrived(&mut self, id: &ChunkId, reply: Reply) {
        self.sent = self.sent.saturating_sub(1);
        let bytes = length(&reply);
        self.likely_bytes = bytes.max(self.likely_bytes - self.likely_bytes / 16);
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if let Stage::Sent { waiting, .. } = &mut entry.stage {
            // Nobody minds when the one who waited has gone.
            for sender in waiting.drain(..) {
                let _ = sender.send(reply.clone());
            }
        }
        if entry.uses > 0 {
            self.held_bytes += bytes;
            entry.stage = Stage::Here(reply);
        } else {
            self.entries.remove(id);
        }
    }

    /// Drops an object that is going to change. Returns the number of the request if it was sent
    /// for: its answer is of no use any more.
    pub fn forget(&mut self, id: &ChunkId) -> Option<i64> {
        match self.entries.remove(id)?.stage {
            Stage::Queued => None,
            Stage::Sent { msgid, .. } => {
                self.sent = self.sent.saturating_sub(1);
                Some(msgid)
            }
            Stage::Here(reply) => {
                self.held_bytes -= length(&reply);
                None
            }
        }
    }

    /// Drops everything. Returns the numbers of the requests whose answers are of no use any more.
    pub fn forget_all(&mut self) -> Vec<i64> {
        let entries = std::mem::take(self).entries;
        let sent = entries.into_values().filter_map(|entry| match entry.stage {
            Stage::Sent { msgid, .. } => Some(msgid),
            Stage::Queued | Stage::Here(_) => None,
        });
        sent.collect()
    }
}

fn length(reply: &Reply) -> usize {
    reply.as_ref().map_or(0, super::exchange::Given::len)
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Given;
    use super::*;

    fn id(number: u8) -> ChunkId {
        ChunkId::new([number; 32])
    }

    fn value(bytes: usize) -> Reply {
        Ok(Given::Raw(vec![1; bytes]))
    }

    #[test]
    fn what_is_announced_twice_is_sent_for_once_and_taken_twice() {
        let mut prefetch = Prefetch::default();
        prefetch.announce(&[id(1), id(1)]);
        assert_eq!(prefetch.next(7), Some(id(1)));
        assert_eq!(prefetch.next(8), None);
        let Some(Taken::Coming(coming)) = prefetch.take(&id(1)) else {
            panic!("it is on its way");
        };
        prefetch.arrived(&id(1), value(10));
        assert_eq!(coming.recv().unwrap().unwrap().len(), 10);
        assert!(matches!(prefetch.take(&id(1)), Some(Taken::Here(Ok(_)))));
        assert!(prefetch.take(&id(1)).is_none());
        assert_eq!((prefetch.sent, prefetch.held_bytes), (0, 0));
    }

    #[test]
    fn what_is_wanted_before_its_turn_is_not_sent_for_again() {
        let mut prefetch = Prefetch::default();
        prefetch.announce(&[id(1), id(2)]);
        assert!(prefetch.take(&id(1)).is_none());
        assert_eq!(prefetch.next(1), Some(id(2)));
        assert_eq!(prefetch.next(2), None);
    }

    #[test]
    fn bytes_held_and_under_way_are_bounded() {
        let mut prefetch = Prefetch::default();
        let ids: Vec<ChunkId> = (0..200).map(id).collect();
        prefetch.announce(&ids);
        let mut sent = VecDeque::new();
        loop {
            sent.extend(std::iter::from_fn(|| prefetch.next(1)));
            let Some(id) = sent.pop_front() else { break };
            prefetch.arrived(&id, value(2 << 20));
        }
        assert_eq!(prefetch.held_bytes, MOST_BYTES);
        // What is taken makes room for others.
        assert!(matches!(prefetch.take(&id(0)), Some(Taken::Here(_))));
        assert_eq!(prefetch.next(1), Some(id(32)));
    }

    #[test]
    fn objects_that_change_are_not_taken_from_here() {
        let mut prefetch = Prefetch::default();
        prefetch.announce(&[id(1), id(2), id(3)]);
        prefetch.next(1);
        prefetch.next(2);
        prefetch.arrived(&id(1), value(5));
        assert_eq!(prefetch.forget(&id(1)), None);
        assert_eq!(prefetch.forget(&id(2)), Some(2));
        assert!(prefetch.forget_all().is_empty());
        assert!(prefetch.take(&id(1)).is_none() && prefetch.take(&id(3)).is_none());
    }
}
