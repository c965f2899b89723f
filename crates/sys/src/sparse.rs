//! Holes in files: where they are, and making them.
//!
//! Backup skips reading what the file system knows to be a hole; extraction makes
//! holes. A file system that cannot tell reports one stretch of data.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ftruncate, seek};
use rustix::io::Errno;

/// One stretch of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// Bytes that must be read.
    Data {
        /// Where it begins.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Bytes that read as zeros and take no space.
    Hole {
        /// Where it begins.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
}

/// Iterator over the stretches of a file, from the front to a given size, without gaps.
///
/// Moves the file's position, so use positioned reads meanwhile.
#[derive(Debug)]
pub struct Stretches<'a> {
    file: &'a File,
    offset: u64,
    size: u64,
}

impl<'a> Stretches<'a> {
    /// Returns the stretches of the first `size` bytes of `file`.
    #[must_use]
    pub fn new(file: &'a File, size: u64) -> Self {
        Self {
            file,
            offset: 0,
            size,
        }
    }

    fn step(&mut self) -> io::Result<Stretch> {
        let offset = self.offset;
        let data = next_data(self.file, offset)?
            .unwrap_or(self.size)
            .min(self.size);
        if data > offset {
            self.offset = data;
            return Ok(Stretch::Hole {
                offset,
                length: data - offset,
            });
        }
        // At least one byte, so that a file changing meanwhile cannot stop the progress.
        let hole = next_hole(self.file, offset)?
            .max(offset.saturating_add(1))
            .min(self.size);
        self.offset = hole;
        Ok(Stretch::Data {
            offset,
            length: hole - offset,
        })
    }
}

impl Iterator for Stretches<'_> {
    type Item = io::Result<Stretch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.size {
            return None;
        }
        let outcome = self.step();
        if outcome.is_err() {
            self.offset = self.size;
        }
        Some(outcome)
    }
}

/// Returns where data begins at or after `offset`; `None` = only a hole up to the end.
///
/// # Errors
/// The error of `lseek`; a file system without support says "here".
pub fn next_data(file: impl AsFd, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(position) => Ok(Some(position)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

/// Returns where a hole begins at or after `offset`; the end of the file counts as one.
///
/// # Errors
/// The error of `lseek`; a file system without support says "never" (`u64::MAX`).
pub fn next_hole(file: impl AsFd, offset: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Hole(offset)) {
        Ok(position) => Ok(position),
        Err(Errno::NXIO) => Ok(offset),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(u64::MAX),
        Err(error) => Err(error.into()),
    }
}

/// Says whether anything of the first `size` bytes of a file is a hole; its position is at the
/// front afterwards.
///
/// # Errors
/// The error of `lseek`; a file system without support says "no".
pub fn has_holes(file: impl AsFd, size: u64) -> io::Result<bool> {
    let hole = next_hole(file.as_fd(), 0)?;
    seek(file, SeekFrom::Start(0))?;
    Ok(hole < size)
}

/// Says whether the next read would give the first byte: not so for a pipe, nor for standard input
/// that somebody has read from.
#[must_use]
pub fn is_at_front(file: impl AsFd) -> bool {
    seek(file, SeekFrom::Current(0)) == Ok(0)
}

/// Says whether the file system is one whose word on holes can be trusted at any time.
///
/// OpenZFS has told holes where data was on its way to the disk, and what is mounted over the
/// network or through FUSE knows only what its server says. There, reading is the safe way.
#[must_use]
pub fn knows_holes_well(file: impl AsFd) -> bool {
    const EXT: u32 = 0xef53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683e;
    const F2FS: u32 = 0xf2f5_2010;
    const TMPFS: u32 = 0x0102_1994;
    // The number has different types on different machines; its lower half is what counts.
    rustix::fs::fstatfs(file)
        .is_ok_and(|told| [EXT, XFS, BTRFS, F2FS, TMPFS].contains(&(told.f_type as u32)))
}

/// Gives back the space of `length` bytes at `offset`; they read as zeros then.
///
/// # Errors
/// The error of `fallocate`, for example that the file system cannot do it.
pub fn punch_hole(file: impl AsFd, offset: u64, length: u64) -> io::Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, how, offset, length)?)
}

/// Reserves space for `length` bytes at `offset` without changing the file's size.
///
/// # Errors
/// The error of `fallocate`, for example a full disk.
pub fn reserve_space(file: impl AsFd, offset: u64, length: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::KEEP_SIZE, offset, length)?)
}

/// Sets the size of an open file, cutting it or adding a hole.
///
/// # Errors
/// The error of `ftruncate`.
pub fn set_size(file: impl AsFd, size: u64) -> io::Result<()> {
    Ok(ftruncate(file, size)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    const MIB: u64 = 1 << 20;

    #[test]
    fn stretches_cover_the_file_and_data_is_never_called_a_hole() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 4096], 4 * MIB).unwrap();
        file.write_all_at(&[2; 4096], 9 * MIB).unwrap();
        set_size(&file, 12 * MIB).unwrap();
        let mut position = 0;
        let mut data = Vec::new();
        for stretch in Stretches::new(&file, 12 * MIB) {
            let (offset, length, is_data) = match stretch.unwrap() {
                Stretch::Data { offset, length } => (offset, length, true),
                Stretch::Hole { offset, length } => (offset, length, false),
            };
            assert_eq!(offset, position);
            assert!(length > 0);
            position += length;
            if is_data {
                data.push(offset..position);
            }
        }
        assert_eq!(position, 12 * MIB);
        for written in [4 * MIB, 9 * MIB] {
            assert!(
                data.iter()
                    .any(|range| range.contains(&written) && range.contains(&(written + 4095)))
            );
        }
    }

    #[test]
    fn a_file_that_shrank_ends_in_a_hole_and_an_empty_one_has_no_stretch() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Stretches::new(&file, 0).count(), 0);
        let stretches: Vec<_> = Stretches::new(&file, 10).map(Result::unwrap).collect();
        assert_eq!(
            stretches,
            [Stretch::Hole {
                offset: 0,
                length: 10
            }]
        );
    }

    #[test]
    fn a_punched_hole_reads_as_zeros_and_keeps_the_size() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 65536], 0).unwrap();
        reserve_space(&file, 65536, 65536).unwrap();
        punch_hole(&file, 0, 32768).unwrap();
        let mut buffer = [1; 65536];
        file.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(buffer[..32768], [0; 32768]);
        assert_eq!(buffer[32768..], [7; 32768]);
        assert_eq!(file.metadata().unwrap().len(), 65536);
    }
}
