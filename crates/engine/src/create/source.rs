//! The bytes of a file in their order, holes filled in without reading them.
//!
//! Under `big` and `read`. With `--sparse` a hole is also where the fixed chunker begins anew: then
//! a source tells how far its stretches go, as Borg does from the end of the header on. In all
//! other cases holes only save reading, and the bytes are those that reading would give. Holes are
//! asked for while reading goes on, so that a file with millions of them needs no more memory.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use fastness_sys::file;
use fastness_sys::sparse;
use fastness_sys::stat::{self, FileKind, Stat};

/// Bytes asked for by one read.
const READ_BYTES: usize = 1 << 20;
/// A file that has fewer bytes than this not stored is just read.
const WORTHWHILE: u64 = 1 << 20;

/// How holes are dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holes {
    /// Read like anything else.
    Read,
    /// Filled in.
    Fill,
    /// Filled in, and each stretch is cut for itself, up to the size of the file.
    Cut { size: u64 },
}

/// Reads one file from front to back.
#[derive(Debug)]
pub(super) struct Source<'a> {
    fd: BorrowedFd<'a>,
    holes: Holes,
    /// What is read next.
    offset: u64,
    /// The stretch that it lies in.
    end: u64,
    in_hole: bool,
    /// Where stretches end that are not cut yet.
    ends: VecDeque<u64>,
}

impl<'a> Source<'a> {
    /// Begins at the front. `cut_from` is where stretches begin to be cut for themselves; none when
    /// they are not.
    pub(super) fn new(fd: BorrowedFd<'a>, stat: &Stat, cut_from: Option<u64>) -> Self {
        let holes = match cut_from {
            Some(_) if has_holes(fd, stat) => Holes::Cut { size: stat.size },
            None if worth_asking(fd, stat) => Holes::Fill,
            _ => Holes::Read,
        };
        let header = cut_from.filter(|_| matches!(holes, Holes::Cut { .. }));
        let end = match holes {
            Holes::Read => u64::MAX,
            _ => header.unwrap_or(0).min(stat.size),
        };
        Self {
            fd,
            holes,
            offset: 0,
            end,
            in_hole: false,
            ends: header.filter(|header| *header > 0).into_iter().collect(),
        }
    }

    /// Appends what comes next until there are so many bytes; true when the file ended.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>, bytes: usize) -> io::Result<bool> {
        while buffer.len() < bytes {
            let room = bytes - buffer.len();
            if self.holes == Holes::Read {
                if file::read_some(self.fd, buffer, READ_BYTES.min(room))? == 0 {
                    return Ok(true);
                }
                continue;
            }
            if self.offset == self.end && !self.next_stretch()? {
                return Ok(true);
            }
            let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
            let got = if self.in_hole {
                let got = left.min(room);
                buffer.resize(buffer.len() + got, 0);
                got
            } else {
                let want = left.min(room).min(READ_BYTES);
                file::read_some_at(self.fd, self.offset, buffer, want)?
            };
            if got == 0 {
                return Ok(true);
            }
            self.offset += got as u64;
        }
        Ok(false)
    }

    /// Limits bytes that begin at `offset` to what is cut together; the second value tells whether
    /// nothing follows that belongs to it.
    pub(super) fn piece<'d>(&mut self, offset: u64, data: &'d [u8], end: bool) -> (&'d [u8], bool) {
        while self.ends.front().is_some_and(|end| *end <= offset) {
            self.ends.pop_front();
        }
        let stretch = self.ends.front().map(|end| end - offset);
        match stretch.and_then(|len| data.get(..usize::try_from(len).ok()?)) {
            Some(piece) => (piece, true),
            None => (data, end),
        }
    }

    /// Finds the stretch that begins here; false at the end of a file that is cut by stretches.
    fn next_stretch(&mut self) -> io::Result<bool> {
        let (offset, limit) = (self.offset, self.limit()?);
        if offset >= limit {
            // Whatever was appended meanwhile is still read, unless the stretches are fixed.
            (self.end, self.in_hole) = (u64::MAX, false);
            return Ok(self.holes == Holes::Fill);
        }
        let data = sparse::next_data(self.fd, offset)?;
        let data = data.unwrap_or(limit).min(limit);
        self.in_hole = data > offset;
        self.end = if self.in_hole {
            data
        } else {
            let hole = sparse::next_hole(self.fd, offset)?;
            hole.max(offset + 1).min(limit)
        };
        if self.holes != Holes::Fill {
            self.ends.push_back(self.end);
        }
        Ok(true)
    }

    /// How far holes may go.
    fn limit(&self) -> io::Result<u64> {
        match self.holes {
            Holes::Cut { size } => Ok(size),
            _ => Ok(stat::stat_open(self.fd)?.size),
        }
    }
}

/// Tells whether a file is at its front and anything of it is a hole.
pub(super) fn has_holes(fd: BorrowedFd<'_>, stat: &Stat) -> bool {
    stat.kind() == FileKind::Regular
        && sparse::is_at_front(fd)
        && sparse::has_holes(fd, stat.size).unwrap_or(false)
}

/// Tells whether asking for holes will save reading.
fn worth_asking(fd: BorrowedFd<'_>, stat: &Stat) -> bool {
    stat.kind() == FileKind::Regular
        && stat.blocks.saturating_mul(512).saturating_add(WORTHWHILE) <= stat.size
        && sparse::knows_holes_well(fd)
        && sparse::is_at_front(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Seek;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1 << 20;

    fn with_holes(size: u64, data: &[(u64, usize)]) -> File {
        let file = tempfile::tempfile().unwrap();
        for (offset, len) in data {
            file.write_all_at(&vec![7; *len], *offset).unwrap();
        }
        file.set_len(size).unwrap();
        file
    }

    fn read(file: &File, cut_from: Option<u64>, step: usize) -> (Vec<u8>, Vec<u64>) {
        let stat = stat::stat_open(file).unwrap();
        (&*file).rewind().unwrap();
        let mut source = Source::new(file.as_fd(), &stat, cut_from);
        let mut bytes = Vec::new();
        let mut want = step;
        while !source.fill(&mut bytes, want).unwrap() {
            want += step;
        }
        (bytes, source.ends.into_iter().collect())
    }

    #[test]
    fn bytes_are_the_same_whether_holes_are_filled_in_or_read() {
        for (size, data) in [
            (0, &[][..]),
            (9 * MIB + 17, &[]),
            (9 * MIB + 17, &[(0, 4096)]),
            (9 * MIB, &[(4 * MIB, 5000), (9 * MIB - 1, 1)]),
            (3 * MIB, &[(0, 3 << 20)]),
        ] {
            let file = with_holes(size, data);
            let mut wanted = vec![0; size as usize];
            file.read_exact_at(&mut wanted, 0).unwrap();
            for cut_from in [None, Some(0), Some(5 * MIB + 3)] {
                assert!(
                    read(&file, cut_from, 777_777).0 == wanted,
                    "{size} {cut_from:?}"
                );
            }
        }
    }

    #[test]
    fn stretches_are_told_from_the_end_of_the_header_on() {
        let file = with_holes(8 * MIB, &[(2 * MIB, 1 << 20), (6 * MIB, 1 << 20)]);
        let every = |mib: &[u64]| mib.iter().map(|mib| mib * MIB).collect::<Vec<_>>();
        assert_eq!(read(&file, Some(0), 1 << 20).1, every(&[2, 3, 6, 7, 8]));
        assert_eq!(
            read(&file, Some(MIB), 1 << 20).1,
            every(&[1, 2, 3, 6, 7, 8])
        );
        assert_eq!(read(&file, Some(6 * MIB), 99_999).1, every(&[6, 7, 8]));
        assert!(read(&file, None, 1 << 20).1.is_empty());
    }

    #[test]
    fn a_file_that_grew_is_read_to_its_end_unless_it_is_cut_by_stretches() {
        let file = with_holes(4 * MIB, &[]);
        let stat = stat::stat_open(&file).unwrap();
        file.write_all_at(b"more", 4 * MIB).unwrap();
        for (cut_from, size) in [(None, 4 * MIB + 4), (Some(0), 4 * MIB)] {
            (&file).rewind().unwrap();
            let mut source = Source::new(file.as_fd(), &stat, cut_from);
            let mut bytes = Vec::new();
            assert!(source.fill(&mut bytes, 5 << 20).unwrap());
            assert_eq!(bytes.len() as u64, size, "{cut_from:?}");
        }
    }
}
