//! Where the data of a sparse file belongs, in the four ways that tars tell it.

use super::BLOCK;
use super::fields::{HeaderFault, number_of, octal};

/// Pieces of data in a block that continues a map.
const PIECES_IN_BLOCK: usize = 21;
/// Bytes of a number in an old map.
const NUMBER: usize = 12;

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes of the stream.
    Data(u64),
    /// So many zeros.
    Hole(u64),
}

impl Extent {
    /// Its length.
    pub fn len(self) -> u64 {
        match self {
            Self::Data(len) | Self::Hole(len) => len,
        }
    }
}

/// Offsets and lengths of the pieces of data in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(pub Vec<(u64, u64)>);

impl Map {
    /// Most pieces that are accepted.
    pub const MOST: usize = 1 << 20;

    /// Tells whether there are more pieces than are accepted.
    pub fn is_too_long(&self) -> bool {
        self.0.len() > Self::MOST
    }

    /// Takes offsets and lengths in turn.
    pub fn from_numbers(numbers: &[u64]) -> Self {
        let pairs = numbers.chunks_exact(2);
        Self(
            pairs
                .filter_map(|pair| Some((*pair.first()?, *pair.last()?)))
                .collect(),
        )
    }

    /// Adds `count` pieces from an old header, from `at` on.
    pub(super) fn add_old(
        &mut self,
        block: &[u8; BLOCK],
        at: usize,
        count: usize,
    ) -> Result<(), HeaderFault> {
        let fields = block.get(at..).unwrap_or_default().chunks_exact(2 * NUMBER);
        for field in fields.take(count) {
            let (offset, length) = field.split_at_checked(NUMBER).unwrap_or_default();
            let [offset, length] = [octal(offset)?, octal(length)?].map(u64::try_from);
            let (Ok(offset), Ok(length)) = (offset, length) else {
                return Err(HeaderFault::Invalid);
            };
            if length > 0 || offset > 0 {
                self.0.push((offset, length));
            }
        }
        Ok(())
    }

    /// Adds the pieces of a block that continues an old header; tells whether another follows.
    pub(super) fn extend_old(&mut self, block: &[u8; BLOCK]) -> Result<bool, HeaderFault> {
        self.add_old(block, 0, PIECES_IN_BLOCK)?;
        Ok(block.get(504).is_some_and(|more| *more != 0))
    }

    /// Returns data and holes in turn, for a file of this size; none when the pieces are not in
    /// order.
    pub fn extents(&self, size: u64) -> Option<Vec<Extent>> {
        let mut extents = Vec::with_capacity(2 * self.0.len() + 1);
        let mut end = 0;
        for (offset, length) in &self.0 {
            if *length == 0 {
                continue;
            }
            if *offset < end {
                return None;
            }
            let (from, to) = ((*offset).min(size), offset.checked_add(*length)?.min(size));
            extents.push(Extent::Hole(from - end));
            extents.push(Extent::Data(to - from));
            end = to;
        }
        extents.push(Extent::Hole(size - end));
        Some(extents)
    }
}

/// Reads numbers with commas between them.
pub fn numbers(list: &[u8]) -> Option<Vec<u64>> {
    list.split(|byte| *byte == b',')
        .map(|text| u64::try_from(number_of(text)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_what_is_between_the_data() {
        let map = Map(vec![(100, 50), (300, 100), (0, 0)]);
        let expected = [
            Extent::Hole(100),
            Extent::Data(50),
            Extent::Hole(150),
            Extent::Data(100),
            Extent::Hole(600),
        ];
        assert_eq!(map.extents(1000).unwrap(), expected);
        assert_eq!(Map::default().extents(7).unwrap(), [Extent::Hole(7)]);
    }

    #[test]
    fn pieces_out_of_order_are_refused_and_too_long_ones_cut() {
        assert_eq!(Map(vec![(10, 5), (0, 5)]).extents(100), None);
        assert_eq!(Map(vec![(u64::MAX, 5)]).extents(100), None);
        let cut = Map(vec![(10, 500)]).extents(20).unwrap();
        assert_eq!(cut, [Extent::Hole(10), Extent::Data(10), Extent::Hole(0)]);
    }
}
