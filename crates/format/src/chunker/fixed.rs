//! Cutting in blocks of equal length, for disk images and databases.
//!
//! A file is a list of ranges: an optional header, then data and holes in turn as the file system
//! tells them, or the rest of the file as one range. Each range is cut for itself, from its start,
//! so that a range that ends within a block yields a short one, as in Borg.

/// A stretch of a file, and whether it is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Offset of the first byte.
    pub start: u64,
    /// Number of bytes.
    pub len: u64,
    /// Whether the file system says that nothing is stored there: reading yields zeros.
    pub hole: bool,
}

/// One chunk of a file cut in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Offset of the first byte.
    pub start: u64,
    /// Number of bytes, never 0.
    pub len: u32,
    /// Whether it need not be read, as it is part of a hole.
    pub hole: bool,
}

/// The fixed chunker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    block_size: u32,
    header_size: u32,
}

impl Fixed {
    /// Makes a chunker; a block has at least one byte.
    pub fn new(block_size: u32, header_size: u32) -> Self {
        Self {
            block_size: block_size.max(1),
            header_size,
        }
    }

    /// Returns the length of the longest block.
    pub fn block_size(&self) -> usize {
        self.block_size as usize
    }

    /// Returns how long the header is; 0 when there is none.
    pub fn header_size(&self) -> u64 {
        self.header_size.into()
    }

    /// Returns how long the chunk is that begins at `offset`, if the data go on that far, when
    /// holes are not looked for. Where the data end first, the chunk ends with them.
    pub fn next_len(&self, offset: u64) -> usize {
        let header = u64::from(self.header_size);
        let block = u64::from(self.block_size);
        match header.checked_sub(offset) {
            Some(left) if left > 0 => left.min(block) as usize,
            _ => self.block_size(),
        }
    }

    /// Returns the ranges of a file of `len` bytes.
    ///
    /// `data` are the stretches that hold data as (start, end) in order, as SEEK_DATA and
    /// SEEK_HOLE find them from the end of the header on; `None` when holes are not looked for.
    pub fn ranges(&self, len: u64, data: Option<&[(u64, u64)]>) -> Vec<Range> {
        let mut ranges = Vec::new();
        let mut push = |start: u64, end: u64, hole: bool| {
            let end = end.min(len);
            if let Some(bytes) = end.checked_sub(start).filter(|bytes| *bytes > 0) {
                ranges.push(Range {
                    start,
                    len: bytes,
                    hole,
                });
            }
        };
        let body = u64::from(self.header_size).min(len);
        push(0, body, false);
        let Some(data) = data else {
            push(body, len, false);
            return ranges;
        };
        let mut at = body;
        for (start, end) in data {
            let start = (*start).clamp(at, len.max(at));
            let end = (*end).clamp(start, len.max(start));
            push(at, start, true);
            push(start, end, false);
            at = end;
        }
        push(at, len, true);
        ranges
    }

    /// Cuts ranges into blocks.
    pub fn blocks<'a>(&self, ranges: &'a [Range]) -> impl Iterator<Item = Block> + use<'a> {
        let block_size = u64::from(self.block_size);
        ranges.iter().copied().flat_map(move |range| {
            (0..range.len.div_ceil(block_size)).map(move |number| {
                let offset = number * block_size;
                Block {
                    start: range.start + offset,
                    len: (range.len - offset).min(block_size) as u32,
                    hole: range.hole,
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_and_blocks_are_cut_for_themselves() {
        let fixed = Fixed::new(4096, 512);
        let cuts: Vec<(u64, u32)> = fixed
            .blocks(&fixed.ranges(10_000, None))
            .map(|block| (block.start, block.len))
            .collect();
        assert_eq!(cuts, [(0, 512), (512, 4096), (4608, 4096), (8704, 1296)]);
        assert_eq!(fixed.ranges(0, None), []);
    }

    #[test]
    fn a_data_range_that_ends_within_a_block_yields_a_short_one() {
        let fixed = Fixed::new(100, 0);
        let ranges = fixed.ranges(600, Some(&[(0, 150), (400, 450)]));
        let cuts: Vec<(u64, u32, bool)> = fixed
            .blocks(&ranges)
            .map(|block| (block.start, block.len, block.hole))
            .collect();
        let expected = [
            (0, 100, false),
            (100, 50, false),
            (150, 100, true),
            (250, 100, true),
            (350, 50, true),
            (400, 50, false),
            (450, 100, true),
            (550, 50, true),
        ];
        assert_eq!(cuts, expected);
    }

    #[test]
    fn a_header_longer_than_a_block_is_cut_too() {
        let fixed = Fixed::new(100, 250);
        let lens: Vec<u32> = fixed
            .blocks(&fixed.ranges(300, None))
            .map(|block| block.len)
            .collect();
        assert_eq!(lens, [100, 100, 50, 50]);
    }

    proptest! {
        #[test]
        fn blocks_cover_the_file_without_gap_and_agree_with_streaming(
            block in 1u32..500, header in 0u32..1000, len in 0u64..5000,
        ) {
            let fixed = Fixed::new(block, header);
            let mut at = 0;
            for block in fixed.blocks(&fixed.ranges(len, None)) {
                prop_assert_eq!(block.start, at);
                let wanted = fixed.next_len(at) as u64;
                prop_assert_eq!(u64::from(block.len), wanted.min(len - at));
                at += u64::from(block.len);
            }
            prop_assert_eq!(at, len);
        }

        #[test]
        fn any_list_of_stretches_covers_the_file(
            header in 0u32..100, len in 0u64..1000,
            data in proptest::collection::vec((0u64..1200, 0u64..1200), 0..10),
        ) {
            let fixed = Fixed::new(64, header);
            let total: u64 = fixed.ranges(len, Some(&data)).iter().map(|range| range.len).sum();
            prop_assert_eq!(total, len);
        }
    }
}
