//! The buffers that files are read into.
//!
//! A reader fills one, cuts it, and lends it out with its chunks ([`super::line::Loan`]), or a copy
//! that is just long enough; when they are compressed it comes back. The bytes that are lent out
//! bound the memory, and memory that is used again need not be faulted in again.

use std::sync::Mutex;

use crate::tasks::lock;

/// Longer buffers are rare, and would hold their memory while they are used for little.
const LONGEST_KEPT: usize = 10 << 20;

/// Buffers for copies are made in multiples of this.
const LENGTHS: usize = 1 << 20;

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
    most_bytes: usize,
    spare_bytes: usize,
}

impl Slabs {
    /// Bounds the bytes lent out; what was taken before that is reached may still be filled. So many
    /// and `spare_bytes` more may be lent out or kept.
    pub fn new(most_bytes: usize, spare_bytes: usize) -> Self {
        Self {
            stock: Mutex::default(),
            most_bytes,
            spare_bytes,
        }
    }

    /// Tells whether more may be lent out.
    pub fn has_room(&self) -> bool {
        lock(&self.stock).lent_bytes < self.most_bytes
    }

    /// Takes an empty buffer, the longest that there is.
    pub fn take(&self) -> Vec<u8> {
        let mut stock = lock(&self.stock);
        let free = stock.free.iter().enumerate();
        let longest = free.max_by_key(|(_, buffer)| buffer.capacity());
        let place = longest.map(|(place, _)| place);
        let buffer = place.map(|place| stock.free.swap_remove(place));
        let buffer = buffer.unwrap_or_default();
        stock.free_bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer that is not much longer than `bytes`, and copies them into it.
    pub fn copy_of(&self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.take_for(bytes.len()).unwrap_or_default();
        // Few lengths, so that buffers can be used again.
        buffer.reserve_exact(bytes.len().next_multiple_of(LENGTHS));
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// The shortest buffer that has room for so many bytes, unless it is much too long.
    fn take_for(&self, bytes: usize) -> Option<Vec<u8>> {
        let fits = bytes..=(bytes + bytes / 4).next_multiple_of(LENGTHS);
        let mut stock = lock(&self.stock);
        let free = stock.free.iter().enumerate();
        let (place, _) = free
            .filter(|(_, buffer)| fits.contains(&buffer.capacity()))
            .min_by_key(|(_, buffer)| buffer.capacity())?;
        let buffer = stock.free.swap_remove(place);
        stock.free_bytes -= buffer.capacity();
        Some(buffer)
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

    #[test]
    fn a_copy_is_made_in_a_buffer_that_is_not_much_longer() {
        let slabs = Slabs::new(64 << 20, 0);
        for mib in [9, 3, 4] {
            slabs.keep(Vec::with_capacity(mib << 20));
        }
        let copy = slabs.copy_of(&vec![7; 2 << 20]);
        assert_eq!((copy.capacity(), copy.len()), (3 << 20, 2 << 20));
        assert_eq!(slabs.copy_of(&vec![7; 5 << 20]).capacity(), 5 << 20);
        assert_eq!(slabs.take().capacity(), 9 << 20, "the longest is kept");
    }
}
