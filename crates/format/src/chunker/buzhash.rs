//! Content-defined cuts by a rolling hash over a window, as Borg makes them.
//!
//! With `T` the table mixed with the seed and `w` the window, the hash of the window at `p` is
//! `H(p) = XOR over i < w of rotl(T[data[p + i]], w - 1 - i)`. A chunk ends at the smallest `p`
//! of at least the minimum with `p + w` before the end (of the data, or of the longest chunk) and
//! the low bits of `H(p)` zero; else at that end. Borg rolls the hash from byte to byte: a chain
//! of dependent steps, two look-ups each. Here the same hash is the difference of two prefixes:
//! `S(i) = XOR over j < i of rotr(T[data[j]], j)` gives `H(i) = rotl(S(i + w) ^ S(i), w - 1 + i)`,
//! so each byte is looked up once, the chain is one XOR, and the test (against a mask rotated
//! instead of the hash) is done for many positions at a time. Long runs of one byte, as in disk
//! images, are skipped: the hash is the same in all of a run.

use super::table::BASE;

/// Positions hashed before they are tested; the prefixes of these and of a window are in memory.
const BLOCK: usize = 16 * 1024;

/// Positions after which rotations repeat.
const TURN: usize = 32;

/// The rolling-hash chunker of one repository and set of parameters.
#[derive(Clone)]
pub struct Buzhash {
    table: [u32; 256],
    /// The mask for a difference of prefixes at positions equal to the index modulo 32.
    masks: [u32; TURN],
    min: usize,
    max: usize,
    window: usize,
}

impl std::fmt::Debug for Buzhash {
    /// Leaves out the table: the seed in it is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buzhash")
            .field("min", &self.min)
            .field("max", &self.max)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// How far the search in one input has come. Belongs to one input and one [`Buzhash`].
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Position 0 of the prefixes, relative to the start of the current chunk.
    origin: isize,
    /// `S(base)` and those after it; `filled` of them.
    prefixes: Vec<u32>,
    filled: usize,
    /// Position of the first prefix kept, a multiple of 32.
    base: usize,
    /// Positions below this one are no cut.
    tested: usize,
    /// Whether the search in the current chunk goes on where it ran out of data.
    searching: bool,
}

impl Scan {
    /// Begins anew, for another input. Keeps the memory.
    pub fn reset(&mut self) {
        self.filled = 0;
        self.searching = false;
    }

    /// Moves on to the chunk that begins where this one was cut.
    fn advance(&mut self, cut: usize) {
        self.origin -= cut as isize;
        self.searching = false;
    }

    /// Begins the prefixes at `start` in the current chunk.
    fn restart(&mut self, start: usize, window: usize) {
        // Whole turns, and one more to round up a window.
        let len = (BLOCK + window).next_multiple_of(TURN) + TURN;
        if self.prefixes.len() != len {
            self.prefixes = vec![0; len];
        }
        if let Some(first) = self.prefixes.first_mut() {
            *first = 0;
        }
        self.origin = start as isize;
        self.filled = 1;
        self.base = 0;
        self.tested = 0;
    }

    /// Returns the first position whose prefix is not known.
    fn end(&self) -> usize {
        self.base + self.filled
    }

    /// Drops the prefixes below the first position to be tested, in whole turns.
    fn slide(&mut self) {
        let drop = (self.tested - self.base) / TURN * TURN;
        if drop > 0 && drop <= self.filled {
            self.prefixes.copy_within(drop..self.filled, 0);
            self.filled -= drop;
            self.base += drop;
        }
    }
}

/// Returns how many bytes at the beginning are the same, or some fewer.
fn run_of_one_byte(bytes: &[u8]) -> usize {
    let (parts, _) = bytes.as_chunks::<64>();
    let same = bytes.first().map_or([0; 64], |first| [*first; 64]);
    parts.iter().take_while(|part| **part == same).count() * 64
}

impl Buzhash {
    /// Makes a chunker. The seed is the repository key's; see
    /// [`ChunkerParams::validated`](super::ChunkerParams::validated) for the rules of the rest,
    /// which are not checked here.
    pub fn new(min_exp: u8, max_exp: u8, mask_bits: u8, window: u32, seed: u32) -> Self {
        let power = |exp: u8| 1usize << exp.min(31);
        let window = window.max(1) as usize;
        let mask = (power(mask_bits) - 1) as u32;
        let mut turns = 0;
        Self {
            table: BASE.map(|number| number ^ seed),
            masks: [mask; TURN].map(|mask| {
                let rotated = mask.rotate_right(((window - 1 + turns) % TURN) as u32);
                turns += 1;
                rotated
            }),
            min: power(min_exp),
            max: power(max_exp),
            window,
        }
    }

    /// Returns the length of the longest chunk: with so many bytes a cut is always found.
    pub fn max_chunk(&self) -> usize {
        self.max
    }

    /// Returns the length of the chunk at the beginning of `data`, or `None` when more data are
    /// needed to tell, or there are none.
    ///
    /// `data` begin where the last chunk ended and may grow from call to call; `eof` says that
    /// nothing follows them. What was looked at once is remembered in `scan`, also over a cut.
    pub fn next_cut(&self, scan: &mut Scan, data: &[u8], eof: bool) -> Option<usize> {
        let within = data.get(..self.max).unwrap_or(data);
        let mut cut = None;
        if within.len() > self.min + self.window {
            cut = self.search(scan, within);
        }
        if cut.is_none() && (eof || within.len() == self.max) && !within.is_empty() {
            cut = Some(within.len());
        }
        if let Some(cut) = cut {
            scan.advance(cut);
        }
        cut
    }

    /// Looks for the first position of at least `min` that is a cut and has its window and one
    /// more byte in `data`.
    fn search(&self, scan: &mut Scan, data: &[u8]) -> Option<usize> {
        let first = self.min as isize - scan.origin;
        // What was tested in this chunk before may have been dropped already.
        let is_kept = scan.searching || first >= scan.base as isize;
        if scan.filled > 0 && is_kept && first < scan.end() as isize {
            scan.tested = scan.tested.max(usize::try_from(first).unwrap_or(0));
            scan.slide();
        } else {
            scan.restart(self.min, self.window);
        }
        // The last byte only has to be there.
        let bytes = data.get(..data.len() - 1).unwrap_or_default();
        loop {
            let known = scan.origin + (scan.end() - 1) as isize;
            let rest = usize::try_from(known).ok().and_then(|at| bytes.get(at..));
            let rest = rest.unwrap_or_default();
            let room = scan.prefixes.len() - scan.filled;
            let run = run_of_one_byte(rest);
            // Windows inside a run have one hash: if the first is no cut, none is.
            let skips = run > self.window + BLOCK && self.window <= room;
            let wanted = if skips { self.window } else { room };
            let (now, later) = rest.split_at(wanted.min(rest.len()));
            self.extend(scan, now);
            if let Some(position) = self.test(scan) {
                scan.tested = position;
                return usize::try_from(scan.origin + position as isize).ok();
            }
            if later.is_empty() {
                scan.searching = true;
                return None;
            }
            if skips && let Ok(start) = usize::try_from(known) {
                scan.restart(start + run + 1 - self.window, self.window);
            } else {
                scan.slide();
            }
        }
    }

    /// Adds the prefixes that end behind each of `bytes`.
    fn extend(&self, scan: &mut Scan, bytes: &[u8]) {
        let at = scan.filled;
        let Some((known, new)) = scan.prefixes.split_at_mut_checked(at) else {
            return;
        };
        let mut prefix = known.last().copied().unwrap_or_default();
        // Position of the first byte; the base is a multiple of a turn.
        let turn = (at + TURN - 1) % TURN;
        let lead = ((TURN - turn) % TURN).min(bytes.len());
        let (lead, bytes) = bytes.split_at(lead);
        let (lead_out, new) = new.split_at_mut(lead.len().min(new.len()));
        prefix = self.extend_slowly(prefix, turn as u32, lead, lead_out);
        let (turns, tail) = bytes.as_chunks::<TURN>();
        let (turns_out, _) = new.as_chunks_mut::<TURN>();
        for (input, output) in turns.iter().zip(turns_out) {
            prefix = self.extend_turn(prefix, input, output);
        }
        let tail_out = new.get_mut(turns.len() * TURN..).unwrap_or_default();
        self.extend_slowly(prefix, 0, tail, tail_out);
        scan.filled += lead.len() + bytes.len();
    }

    fn extend_slowly(&self, mut prefix: u32, turn: u32, input: &[u8], output: &mut [u32]) -> u32 {
        for ((byte, out), turn) in input.iter().zip(output).zip(turn..) {
            prefix ^= self.number(*byte).rotate_right(turn);
            *out = prefix;
        }
        prefix
    }

    #[inline(always)]
    #[expect(clippy::indexing_slicing, reason = "a byte is an index of 256 numbers")]
    fn number(&self, byte: u8) -> u32 {
        self.table[usize::from(byte)]
    }

    /// Adds the prefixes of one turn, the first byte at a multiple of 32.
    #[inline(always)]
    fn extend_turn(&self, prefix: u32, input: &[u8; TURN], output: &mut [u32; TURN]) -> u32 {
        let mut prefix = prefix;
        macro_rules! step {
            ($($at:literal)*) => {$(
                prefix ^= self.number(input[$at]).rotate_right($at);
                output[$at] = prefix;
            )*};
        }
        step!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        step!(16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        prefix
    }

    /// Tests all positions whose window is hashed and returns the first that is a cut.
    fn test(&self, scan: &mut Scan) -> Option<usize> {
        let known = scan.prefixes.get(..scan.filled).unwrap_or_default();
        let ends = known.get(self.window..).unwrap_or_default();
        let mut at = scan.tested - scan.base;
        while at < ends.len() {
            let starts_left = known.get(at..ends.len()).unwrap_or_default();
            let ends_left = ends.get(at..).unwrap_or_default();
            let mut step = TURN - at % TURN;
            let mut found = true;
            if step == TURN {
                let (starts, _) = starts_left.as_chunks::<TURN>();
                let (ends, _) = ends_left.as_chunks::<TURN>();
                let empty = starts
                    .iter()
                    .zip(ends)
                    .take_while(|(a, b)| !self.any_cut(a, b));
                let empty = empty.count() * TURN;
                found = empty == 0;
                step = if found { TURN } else { empty };
            }
            if found {
                let masks = self.masks.iter().cycle().skip(at % TURN);
                let pairs = starts_left.iter().zip(ends_left).zip(masks).take(step);
                let mut hits = pairs.map(|((start, end), mask)| (start ^ end) & mask == 0);
                if let Some(hit) = hits.position(|hit| hit) {
                    return Some(scan.base + at + hit);
                }
            }
            at += step;
        }
        scan.tested = scan.tested.max(scan.base + ends.len());
        None
    }

    /// Tells whether one of 32 positions, the first at a multiple of 32, is a cut.
    #[inline(always)]
    fn any_cut(&self, starts: &[u32; TURN], ends: &[u32; TURN]) -> bool {
        let mut any = 0;
        for ((start, end), mask) in starts.iter().zip(ends).zip(&self.masks) {
            any |= u32::from((start ^ end) & mask == 0);
        }
        any != 0
    }
}
