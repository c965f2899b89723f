//! Large buffers that wait to be used again.
//!
//! Memory that comes fresh from the system is cleared page by page, which takes longer than
//! filling it. Threads that handle one large object after the other keep their buffers here, as
//! long as these and the buffers in use are together no more than what may be in use anyway.

use std::sync::Mutex;

use crate::tasks::lock;

/// Smaller buffers are left to the allocator, which does the same for them.
const SMALLEST: usize = 1 << 20;
/// Bytes that a shelf bounds its buffers to where nothing else is said.
const USUAL_BYTES: usize = 8 << 20;

/// The buffers of one thread, or of several.
#[derive(Debug)]
pub struct Shelf {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buffers: Vec<Vec<u8>>,
    /// Bytes of the buffers here.
    bytes: usize,
    /// Bytes of the buffers that are counted as in use.
    lent: usize,
}

impl Default for Shelf {
    fn default() -> Self {
        Self::new(USUAL_BYTES)
    }
}

impl Shelf {
    /// Makes an empty shelf. `most` bounds the bytes of its buffers together with those in use.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// Takes a buffer for about so many bytes: the smallest that has room for them, or the largest
    /// there is. What is in it means nothing.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        if bytes < SMALLEST {
            return Vec::new();
        }
        lock(&self.state).take(bytes)
    }

    /// Counts a buffer as in use until it is put back; it must not grow meanwhile.
    pub fn lend(&self, buffer: &Vec<u8>) {
        if buffer.capacity() >= SMALLEST {
            let mut state = lock(&self.state);
            state.lent += buffer.capacity();
            state.let_go(self.most);
        }
    }

    /// Takes a buffer back, and keeps it as far as there is room.
    pub fn put(&self, buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes >= SMALLEST {
            let mut state = lock(&self.state);
            state.lent = state.lent.saturating_sub(bytes);
            state.bytes += bytes;
            state.buffers.push(buffer);
            state.let_go(self.most);
        }
    }

    /// Keeps what there is room for of several buffers.
    pub fn put_all(&self, buffers: &mut Vec<Vec<u8>>) {
        buffers.drain(..).for_each(|buffer| self.put(buffer));
    }
}

impl State {
    fn take(&mut self, bytes: usize) -> Vec<u8> {
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

    fn let_go(&mut self, most: usize) {
        while self.bytes + self.lent > most
            && let Some(buffer) = self.buffers.pop()
        {
            self.bytes -= buffer.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_buffer_that_fits_is_taken_or_else_the_largest() {
        let shelf = Shelf::new(8 << 20);
        for size in [1 << 20, 3 << 20, 2 << 20] {
            shelf.put(Vec::with_capacity(size));
        }
        assert_eq!(shelf.take(3 << 19).capacity(), 2 << 20);
        assert_eq!(shelf.take(10 << 20).capacity(), 3 << 20);
        assert_eq!(shelf.take(100).capacity(), 0);
        assert_eq!(shelf.take(1 << 20).capacity(), 1 << 20);
        assert_eq!(shelf.take(1 << 20).capacity(), 0);
    }

    #[test]
    fn small_ones_and_more_than_the_limit_are_not_kept() {
        let shelf = Shelf::new(8 << 20);
        let state = || {
            let state = lock(&shelf.state);
            (state.buffers.len(), state.bytes, state.lent)
        };
        shelf.put(Vec::with_capacity(SMALLEST - 1));
        for _ in 0..20 {
            shelf.put(Vec::with_capacity(1 << 20));
        }
        assert_eq!(state(), (8, 8 << 20, 0));
        let used = Vec::with_capacity(5 << 20);
        shelf.lend(&used);
        assert_eq!(state(), (3, 3 << 20, 5 << 20));
        shelf.put(used);
        assert_eq!(state(), (4, 8 << 20, 0));
    }
}
