//! Which objects the repository has, and which of them are needed.
//!
//! A sorted list of all ids, with two bits for each, and a table of where the ids with the same
//! first bits begin: 33 bytes an object, and a search looks at a handful of neighbours. Ids that
//! nobody chose by chance only make it slower. What a repair adds is kept beside.

use std::collections::HashMap;

use fastness_format::id::ChunkId;
use fastness_repository::Repository;

use crate::error::EngineError;

/// Ids fetched from the repository at a time.
const PAGE: usize = 10_000;

/// A bit for each object.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn get(&self, at: usize) -> bool {
        let word = self.0.get(at / 64).copied().unwrap_or_default();
        word >> (at % 64) & 1 == 1
    }

    fn set(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }
}

/// All objects, and what is known of their use.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Sorted.
    ids: Vec<ChunkId>,
    /// Where the ids with the first bits `n` begin, for each `n`.
    starts: Vec<u32>,
    first_bits: u32,
    removed: Bits,
    referenced: Bits,
    /// Objects that were added, and whether they are referenced.
    added: HashMap<ChunkId, bool>,
    len: usize,
}

impl Inventory {
    /// Lists the objects of a repository.
    pub(super) fn load(repository: &dyn Repository) -> Result<Self, EngineError> {
        let mut ids = repository.list(Some(PAGE), None)?;
        let mut is_last = ids.len() < PAGE;
        if !is_last {
            ids.reserve_exact(repository.len()?.saturating_sub(ids.len()));
        }
        while !is_last {
            let page = repository.list(Some(PAGE), ids.last())?;
            is_last = page.len() < PAGE;
            ids.extend(page);
        }
        Ok(Self::new(ids))
    }

    fn new(mut ids: Vec<ChunkId>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        // About two ids for each value of the first bits.
        let first_bits = (ids.len() / 2).checked_ilog2().unwrap_or(0).min(28);
        let mut starts = Vec::with_capacity((1 << first_bits) + 1);
        for (at, id) in ids.iter().enumerate() {
            while starts.len() <= prefix(id, first_bits) {
                starts.push(at as u32);
            }
        }
        starts.resize((1 << first_bits) + 1, ids.len() as u32);
        Self {
            removed: Bits::new(ids.len()),
            referenced: Bits::new(ids.len()),
            len: ids.len(),
            ids,
            starts,
            first_bits,
            added: HashMap::new(),
        }
    }

    fn find(&self, id: &ChunkId) -> Option<usize> {
        let prefix = prefix(id, self.first_bits);
        let begin = *self.starts.get(prefix)? as usize;
        let end = *self.starts.get(prefix + 1)? as usize;
        let found = self.ids.get(begin..end)?.binary_search(id).ok()?;
        Some(begin + found).filter(|at| !self.removed.get(*at))
    }

    /// The number of objects.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is such an object.
    pub(super) fn contains(&self, id: &ChunkId) -> bool {
        self.find(id).is_some() || self.added.contains_key(id)
    }

    /// Notes that something needs the object; tells whether there is one.
    pub(super) fn reference(&mut self, id: &ChunkId) -> bool {
        if let Some(at) = self.find(id) {
            self.referenced.set(at);
            return true;
        }
        match self.added.get_mut(id) {
            Some(referenced) => {
                *referenced = true;
                true
            }
            None => false,
        }
    }

    /// Tells whether something needs the object.
    pub(super) fn is_referenced(&self, id: &ChunkId) -> bool {
        match self.find(id) {
            Some(at) => self.referenced.get(at),
            None => self.added.get(id).copied().unwrap_or(false),
        }
    }

    /// Adds an object that something needs.
    pub(super) fn add(&mut self, id: ChunkId) {
        if !self.reference(&id) {
            self.added.insert(id, true);
            self.len += 1;
        }
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, id: &ChunkId) {
        if let Some(at) = self.find(id) {
            self.removed.set(at);
            self.len -= 1;
        } else if self.added.remove(id).is_some() {
            self.len -= 1;
        }
    }

    /// The objects that nothing needs, in the order of their ids.
    pub(super) fn unreferenced(&self) -> impl Iterator<Item = &ChunkId> {
        let ids = self.ids.iter().enumerate();
        ids.filter(|(at, _)| !self.removed.get(*at) && !self.referenced.get(*at))
            .map(|(_, id)| id)
    }
}

/// The first `bits` bits of an id as a number.
fn prefix(id: &ChunkId, bits: u32) -> usize {
    let [a, b, c, d, ..] = *id.as_bytes();
    match bits {
        0 => 0,
        bits => (u32::from_be_bytes([a, b, c, d]) >> (32 - bits)) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn id(number: u16) -> ChunkId {
        let mut bytes = [0; 32];
        let [high, low] = number.wrapping_mul(40_503).to_be_bytes();
        bytes[..2].copy_from_slice(&[high, low]);
        ChunkId::new(bytes)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Reference(u16),
        Add(u16),
        Remove(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        (0u16..400, 0..4).prop_map(|(number, kind)| match kind {
            0 => Step::Add(number),
            1 => Step::Remove(number),
            _ => Step::Reference(number),
        })
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_map(
            begin in proptest::collection::vec(0u16..400, 0..300),
            steps in proptest::collection::vec(step(), 0..100),
        ) {
            let mut model: BTreeMap<u16, bool> = begin.iter().map(|n| (*n, false)).collect();
            let mut inventory = Inventory::new(begin.iter().map(|n| id(*n)).collect());
            let first = model.clone();
            for step in steps {
                match step {
                    Step::Reference(number) => {
                        let there = model.get_mut(&number).map(|used| *used = true).is_some();
                        prop_assert_eq!(inventory.reference(&id(number)), there);
                    }
                    Step::Add(number) => {
                        model.insert(number, true);
                        inventory.add(id(number));
                    }
                    Step::Remove(number) => {
                        model.remove(&number);
                        inventory.remove(&id(number));
                    }
                }
                prop_assert_eq!(inventory.len(), model.len());
            }
            for number in 0..400 {
                prop_assert_eq!(inventory.contains(&id(number)), model.contains_key(&number));
                let used = model.get(&number).copied().unwrap_or(false);
                prop_assert_eq!(inventory.is_referenced(&id(number)), used);
            }
            let mut unused: Vec<ChunkId> = model
                .iter()
                .filter(|(number, used)| !**used && first.contains_key(number))
                .map(|(number, _)| id(*number))
                .collect();
            unused.sort_unstable();
            let found: Vec<ChunkId> = inventory.unreferenced().copied().collect();
            prop_assert_eq!(found, unused);
        }
    }

    #[test]
    fn ids_that_begin_alike_are_told_apart() {
        let like = |last: u8| {
            let mut bytes = [0; 32];
            bytes[31] = last;
            ChunkId::new(bytes)
        };
        let mut inventory = Inventory::new((0..200).map(like).collect());
        assert!(inventory.reference(&like(77)) && !inventory.reference(&like(200)));
        assert_eq!(inventory.unreferenced().count(), 199);
    }
}
