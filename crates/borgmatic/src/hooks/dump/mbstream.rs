//! The stream of `mariadb-backup --stream=mbstream`, taken apart into pieces of files.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `XBSTCK01` |
//! | 1 | flags; 1: who does not know the kind may skip the piece |
//! | 1 | kind: `P` data, `E` end of the file |
//! | 4 | length of the path, then the path |
//! | 8, 8, 4 | of data: length, offset in the file, CRC-32; then the data |
//!
//! Numbers are little-endian. Pieces of several files may alternate.

use std::io::{self, Read};

/// The longest path that is read.
const PATH_BYTES: u32 = 4096;

/// The longest piece; the program makes them of 10 MiB.
const PIECE_BYTES: u64 = 64 << 20;

const MAGIC: &[u8; 8] = b"XBSTCK01";

/// A piece of the stream; its data follows in the buffer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Data of a file, at this offset.
    Data {
        /// The file.
        path: String,
        /// Where the data belongs.
        offset: u64,
    },
    /// The file is complete.
    End {
        /// The file.
        path: String,
    },
}

/// Why a stream cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It cannot be read, or ends within a piece.
    #[error("cannot read the backup: {0}")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("the backup is damaged, or of a kind that is not known: {0}")]
    Damaged(&'static str),
    /// A path that must not be.
    #[error("the backup has a file with the path {0:?}")]
    Path(String),
}

/// Reads the next piece, its data into `data`; none at the end of the stream.
///
/// # Errors
/// When the stream cannot be read or is damaged.
pub fn next_piece(
    stream: &mut impl Read,
    data: &mut Vec<u8>,
) -> Result<Option<Piece>, StreamError> {
    data.clear();
    let mut magic = [0; 8];
    if !read_or_end(stream, &mut magic)? {
        return Ok(None);
    }
    if &magic != MAGIC {
        return Err(StreamError::Damaged("a piece does not begin as one"));
    }
    let [_flags, kind] = array(stream)?;
    let length = u32::from_le_bytes(array(stream)?);
    if length > PATH_BYTES {
        return Err(StreamError::Damaged("a path is too long"));
    }
    let mut path = vec![0; length as usize];
    stream.read_exact(&mut path)?;
    let path = checked_path(path)?;
    match kind {
        b'E' => Ok(Some(Piece::End { path })),
        b'P' => {
            let length = u64::from_le_bytes(array(stream)?);
            let offset = u64::from_le_bytes(array(stream)?);
            let sum = u32::from_le_bytes(array(stream)?);
            if length > PIECE_BYTES {
                return Err(StreamError::Damaged("a piece is too long"));
            }
            let read = stream.by_ref().take(length).read_to_end(data)?;
            if read as u64 != length {
                return Err(StreamError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            if crc32fast::hash(data) != sum {
                return Err(StreamError::Damaged("a checksum is wrong"));
            }
            Ok(Some(Piece::Data { path, offset }))
        }
        _ => Err(StreamError::Damaged("a piece is of an unknown kind")),
    }
}

fn array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Fills the buffer; false if the stream ended before its first byte.
fn read_or_end(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut first = [0];
    loop {
        match stream.read(&mut first) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if let Some((head, rest)) = buffer.split_first_mut() {
        [*head] = first;
        stream.read_exact(rest)?;
    }
    Ok(true)
}

/// A path below the data directory, and never out of it.
fn checked_path(path: Vec<u8>) -> Result<String, StreamError> {
    let path = String::from_utf8(path).map_err(|error| {
        StreamError::Path(String::from_utf8_lossy(error.as_bytes()).into_owned())
    })?;
    let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
    let fine = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    match path.split('/').all(fine) {
        true => Ok(path),
        false => Err(StreamError::Path(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(kind: u8, path: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[0, kind]].concat();
        bytes.extend(u32::try_from(path.len()).unwrap().to_le_bytes());
        bytes.extend(path.as_bytes());
        if kind == b'P' {
            bytes.extend((data.len() as u64).to_le_bytes());
            bytes.extend(7u64.to_le_bytes());
            bytes.extend(crc32fast::hash(data).to_le_bytes());
            bytes.extend(data);
        }
        bytes
    }

    #[test]
    fn pieces_come_as_they_were_written() {
        let bytes = [piece(b'P', "./a/b", b"data"), piece(b'E', "a/b", b"")].concat();
        let (mut stream, mut data) = (bytes.as_slice(), Vec::new());
        let path = "a/b".to_owned();
        let first = next_piece(&mut stream, &mut data).unwrap();
        assert_eq!(
            first,
            Some(Piece::Data {
                path: path.clone(),
                offset: 7
            })
        );
        assert_eq!(data, b"data");
        let second = next_piece(&mut stream, &mut data).unwrap();
        assert_eq!(second, Some(Piece::End { path }));
        assert_eq!(next_piece(&mut stream, &mut data).unwrap(), None);
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error() {
        let whole = piece(b'P', "a", b"data");
        for end in 1..whole.len() {
            assert!(
                next_piece(&mut &whole[..end], &mut Vec::new()).is_err(),
                "{end}"
            );
        }
        for index in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 0x40;
            // Flags, the path and the offset are not covered by the checksum.
            let covered = index != 8 && index != 14 && !(23..31).contains(&index);
            let read = next_piece(&mut damaged.as_slice(), &mut Vec::new());
            assert!(read.is_err() || !covered, "{index}");
        }
        for path in ["", "/etc/x", "../x", "a/../b", "a//b"] {
            let bytes = piece(b'E', path, b"");
            let read = next_piece(&mut bytes.as_slice(), &mut Vec::new());
            assert!(read.is_err(), "{path}");
        }
    }
}
