//! The few large buffers that big files are read into.
//!
//! A reader fills a slab, cuts it, and hands it over with its chunks; whoever stored them gives
//! the slab back. There is one slab more than there are readers, so that one of them can always go
//! on. Their number bounds the memory, and memory that is used again need not be faulted in again.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::tasks::lock;

#[derive(Debug, Default)]
struct Stock {
    free: Vec<Vec<u8>>,
    made: usize,
}

/// A stock of buffers of one size.
#[derive(Debug)]
pub struct Slabs {
    stock: Mutex<Stock>,
    returned: Condvar,
    most: usize,
    bytes: usize,
}

impl Slabs {
    /// Allows `most` buffers of so many bytes; they are made when they are needed.
    pub fn new(most: usize, bytes: usize) -> Self {
        Self {
            stock: Mutex::default(),
            returned: Condvar::new(),
            most,
            bytes,
        }
    }

    /// The capacity of a slab.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes an empty slab, if one is free.
    pub fn try_take(&self) -> Option<Vec<u8>> {
        let mut stock = lock(&self.stock);
        if let Some(slab) = stock.free.pop() {
            return Some(slab);
        }
        if stock.made == self.most {
            return None;
        }
        stock.made += 1;
        Some(Vec::with_capacity(self.bytes))
    }

    /// Gives a slab back.
    pub fn give(&self, mut slab: Vec<u8>) {
        slab.clear();
        let mut stock = lock(&self.stock);
        // One that was made beyond the limit is not kept.
        if stock.free.len() < self.most {
            stock.free.push(slab);
        }
        drop(stock);
        self.returned.notify_one();
    }

    /// Waits until one was given back, or a short while.
    pub fn wait(&self) {
        let stock = lock(&self.stock);
        if stock.free.is_empty() {
            drop(
                self.returned
                    .wait_timeout(stock, Duration::from_millis(20))
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_allowed() {
        let slabs = Slabs::new(2, 100);
        let first = slabs.try_take().unwrap();
        assert!(slabs.try_take().is_some());
        assert!(slabs.try_take().is_none());
        slabs.give(first);
        assert_eq!(slabs.try_take().map(|slab| slab.len()), Some(0));
    }
}
