//! The buffers that files are read into.
//!
//! A reader fills one, cuts it, and lends it out with its chunks ([`super::line::Loan`]); when they
//! are compressed it comes back. The bytes that are lent out bound the memory, and memory that is
//! used again need not be faulted in again.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::tasks::lock;

/// Longer buffers are rare, and would hold their memory while they are used for little.
const LONGEST_KEPT: usize = 10 << 20;

#[derive(Debug, Default)]
struct Stock {
    free: Vec<Vec<u8>>,
    free_bytes: usize,
    lent_bytes: usize,
}

/// A stock of buffers.
#[derive(Debug)]
pub struct Slabs {
    stock: Mutex<Stock>,
    returned: Condvar,
    most_bytes: usize,
    spare_bytes: usize,
}

impl Slabs {
    /// Bounds the bytes lent out; what was taken before that is reached may still be filled. So many
    /// and `spare_bytes` more may be lent out or kept.
    pub fn new(most_bytes: usize, spare_bytes: usize) -> Self {
        Self {
            stock: Mutex::default(),
            returned: Condvar::new(),
            most_bytes,
            spare_bytes,
        }
    }

    /// Tells whether more may be lent out.
    pub fn has_room(&self) -> bool {
        lock(&self.stock).lent_bytes < self.most_bytes
    }

    /// Takes an empty buffer.
    pub fn take(&self) -> Vec<u8> {
        let mut stock = lock(&self.stock);
        let buffer = stock.free.pop().unwrap_or_default();
        stock.free_bytes -= buffer.capacity();
        buffer
    }

    /// Counts a buffer as lent out, until it is given back: with all it has room for, since memory
    /// that was used once stays.
    pub fn lend(&self, buffer: &Vec<u8>) {
        lock(&self.stock).lent_bytes += buffer.capacity();
    }

    /// Takes a buffer back that was lent out with what is in it.
    pub fn give_back(&self, buffer: Vec<u8>) {
        lock(&self.stock).lent_bytes -= buffer.capacity();
        self.keep(buffer);
        self.returned.notify_one();
    }

    /// Takes a buffer that was not lent out.
    pub fn keep(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut stock = lock(&self.stock);
        let bytes = buffer.capacity();
        if bytes > LONGEST_KEPT {
            return;
        }
        if stock.free_bytes + stock.lent_bytes + bytes <= self.most_bytes + self.spare_bytes {
            stock.free_bytes += bytes;
            stock.free.push(buffer);
        }
    }

    /// Waits until one was given back, or a short while.
    pub fn wait(&self) {
        let stock = lock(&self.stock);
        if stock.lent_bytes >= self.most_bytes {
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
    fn there_is_no_room_while_too_much_is_lent() {
        let slabs = Slabs::new(100, 100);
        let (mut first, mut second) = (slabs.take(), slabs.take());
        first.reserve_exact(60);
        slabs.lend(&first);
        assert!(slabs.has_room());
        second.reserve_exact(60);
        slabs.lend(&second);
        assert!(!slabs.has_room());
        slabs.give_back(first);
        assert!(slabs.has_room());
        assert_eq!(slabs.take().capacity(), 60);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let slabs = Slabs::new(100, 0);
        for _ in 0..5 {
            slabs.keep(Vec::with_capacity(40));
        }
        assert_eq!(lock(&slabs.stock).free.len(), 2);
        assert_eq!(slabs.take().capacity(), 40);
        assert_eq!(lock(&slabs.stock).free_bytes, 40);
    }
}
