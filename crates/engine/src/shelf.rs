//! Large buffers that wait to be used again.
//!
//! Memory that comes fresh from the system is cleared page by page, which takes longer than
//! filling it. Threads that handle one large object after the other keep their buffers here.

/// Smaller buffers are left to the allocator, which does the same for them.
const SMALLEST: usize = 64 << 10;
/// Bytes that a shelf holds.
const MOST_BYTES: usize = 24 << 20;

/// The buffers of one thread.
#[derive(Debug, Default)]
pub struct Shelf {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl Shelf {
    /// Takes a buffer for about so many bytes: the smallest that has room for them, or the largest
    /// there is. What is in it means nothing.
    pub fn take(&mut self, bytes: usize) -> Vec<u8> {
        if bytes < SMALLEST {
            return Vec::new();
        }
        let fit = |buffer: &Vec<u8>| match buffer.capacity().checked_sub(bytes) {
            Some(over) => (false, over),
            None => (true, usize::MAX - buffer.capacity()),
        };
        let best = (0..self.buffers.len()).min_by_key(|&at| self.buffers.get(at).map(fit));
        match best {
            Some(at) => {
                let buffer = self.buffers.swap_remove(at);
                self.bytes -= buffer.capacity();
                buffer
            }
            None => Vec::new(),
        }
    }

    /// Keeps a buffer if there is room for it.
    pub fn put(&mut self, buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes >= SMALLEST && self.bytes + bytes <= MOST_BYTES {
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }

    /// Keeps what there is room for of several buffers.
    pub fn put_all(&mut self, buffers: &mut Vec<Vec<u8>>) {
        buffers.drain(..).for_each(|buffer| self.put(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_fits_is_taken_or_else_the_largest() {
        let mut shelf = Shelf::default();
        for size in [100 << 10, 300 << 10, 200 << 10] {
            shelf.put(Vec::with_capacity(size));
        }
        assert_eq!(shelf.take(150 << 10).capacity(), 200 << 10);
        assert_eq!(shelf.take(1 << 20).capacity(), 300 << 10);
        assert_eq!(shelf.take(100).capacity(), 0);
        assert_eq!(shelf.take(100 << 10).capacity(), 100 << 10);
        assert_eq!(shelf.take(100 << 10).capacity(), 0);
    }

    #[test]
    fn small_ones_and_more_than_the_limit_are_not_kept() {
        let mut shelf = Shelf::default();
        shelf.put(Vec::with_capacity(SMALLEST - 1));
        for _ in 0..20 {
            shelf.put(Vec::with_capacity(1 << 20));
        }
        assert_eq!(shelf.bytes, MOST_BYTES);
        assert_eq!(shelf.buffers.len(), 8);
    }
}
