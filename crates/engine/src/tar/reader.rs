//! Tar streams taken apart: old, POSIX with and without extended headers, GNU, sparse files.
//!
//! Written by hand and not with a library, because what is damaged or odd has to be understood just
//! as official Borg does, whose reader is lenient in its own way: what looks like no header ends
//! the stream, unless it is the first one or belongs to the one before. Lengths are checked before
//! anything is read into memory.

use std::io::{self, BufRead, BufReader, Read};

use super::BLOCK;
use super::fields::{Header, HeaderFault, Pairs, number_of, pax_records};
use super::sparse::{Extent, Map, numbers};

/// Longest extended header or long name that is read.
const MOST_HEADER_BYTES: u64 = 8 << 20;
/// Most extended headers before one member.
const MOST_IN_A_ROW: usize = 200;
const BUFFER: usize = 256 << 10;

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It cannot be read at all.
    #[error("cannot read the tar stream")]
    Io(#[from] io::Error),
    /// It is empty, not even an end is there.
    #[error("tar stream: empty file")]
    Empty,
    /// It is no tar stream, or not at this place.
    #[error("tar stream: {fault} at offset {offset}")]
    Header {
        /// What is wrong.
        fault: HeaderFault,
        /// Where.
        offset: u64,
    },
    /// It ends inside a member.
    #[error("tar stream: unexpected end of data at offset {0}")]
    Truncated(u64),
    /// A header asks for more than is reasonable.
    #[error("tar stream: {what} at offset {offset}")]
    Excessive {
        /// What.
        what: &'static str,
        /// Where.
        offset: u64,
    },
}

/// When a member was changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mtime {
    /// Whole seconds since 1970.
    Seconds(i128),
    /// Seconds with a fraction.
    Fraction(f64),
}

/// A member of the stream; its content comes after it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path as it stands there.
    pub name: Vec<u8>,
    /// Letter of the type.
    pub kind: u8,
    /// Permissions.
    pub mode: i128,
    /// Numeric owner.
    pub uid: i128,
    /// Numeric group.
    pub gid: i128,
    /// Name of the owner.
    pub user: Vec<u8>,
    /// Name of the group.
    pub group: Vec<u8>,
    /// Length of the content.
    pub size: i128,
    /// When it was changed.
    pub mtime: Mtime,
    /// What a link refers to.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (i128, i128),
    /// Where the data of a sparse file belongs.
    pub sparse: Option<Map>,
    /// Where its data begins in the stream.
    data: u64,
    /// Where the next header begins.
    next: u64,
}

impl Entry {
    /// Tells whether it is a file with content.
    pub fn is_file(&self) -> bool {
        matches!(self.kind, b'0' | 0 | b'7' | b'S')
    }

    fn has_data(&self) -> bool {
        self.is_file() || !matches!(self.kind, b'1'..=b'6' | b'L' | b'K')
    }

    /// Applies what extended headers say.
    fn apply(&mut self, pairs: &Pairs) -> Result<(), HeaderFault> {
        for (key, value) in pairs.iter() {
            match key {
                b"GNU.sparse.name" => self.name = value.to_vec(),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    self.size = number_of(value).ok_or(HeaderFault::Invalid)?;
                }
                b"path" => self.name = without_slashes(value).to_vec(),
                b"linkpath" => self.link = value.to_vec(),
                b"uname" => self.user = value.to_vec(),
                b"gname" => self.group = value.to_vec(),
                b"size" => self.size = number_of(value).unwrap_or(0),
                b"uid" => self.uid = number_of(value).unwrap_or(0),
                b"gid" => self.gid = number_of(value).unwrap_or(0),
                b"mtime" => {
                    let text = std::str::from_utf8(value).unwrap_or_default();
                    self.mtime = Mtime::Fraction(text.trim().parse().unwrap_or(0.0));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A path without the slashes at its end.
fn without_slashes(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_suffix(b"/") {
        path = rest;
    }
    path
}

/// Why there is no member here.
enum Stop {
    /// What stands here is no header; how bad that is depends on where it is.
    Fault(HeaderFault),
    /// Nothing can be read after this.
    Error(TarError),
}

impl From<TarError> for Stop {
    fn from(error: TarError) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Error(error.into())
    }
}

/// Something before a header that changes what it says.
enum Prefix {
    Name(Vec<u8>),
    Link(Vec<u8>),
    /// Extended headers with all that is in force, and whether they are for one member only.
    Pairs(Pairs, bool),
}

/// Reads members.
pub struct TarReader<R> {
    input: BufReader<R>,
    position: u64,
    next: u64,
    globals: Pairs,
    ignore_zeros: bool,
    begun: bool,
    /// Where and why the stream was not read to its end.
    pub left_off: Option<(u64, HeaderFault)>,
}

impl<R: Read> TarReader<R> {
    /// Begins a stream. Empty and damaged blocks are passed over if `ignore_zeros` says so, else
    /// they are its end.
    pub fn new(input: R, ignore_zeros: bool) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER, input),
            position: 0,
            next: 0,
            globals: Pairs::default(),
            ignore_zeros,
            begun: false,
            left_off: None,
        }
    }

    /// Gives the input back.
    pub fn into_input(self) -> BufReader<R> {
        self.input
    }

    /// Returns the next member, after what is left of the one before.
    ///
    /// # Errors
    /// When the stream ends too early, or is none.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_to(self.next)?;
        loop {
            let offset = self.position;
            let fault = match self.entry() {
                Ok(entry) => {
                    self.begun = true;
                    self.next = entry.next;
                    return Ok(Some(entry));
                }
                Err(Stop::Error(error)) => return Err(error),
                Err(Stop::Fault(fault)) => fault,
            };
            let first = !self.begun;
            self.begun |= self.ignore_zeros;
            return match fault {
                HeaderFault::Zeros | HeaderFault::Invalid | HeaderFault::Checksum
                    if self.ignore_zeros =>
                {
                    continue;
                }
                HeaderFault::Zeros => Ok(None),
                HeaderFault::End if first => Err(TarError::Empty),
                HeaderFault::End => Ok(None),
                fault if first => Err(TarError::Header { fault, offset }),
                fault => {
                    self.left_off = Some((offset, fault));
                    Ok(None)
                }
            };
        }
    }

    /// Reads one member with everything that comes before its header.
    fn entry(&mut self) -> Result<Entry, Stop> {
        let mut prefixes: Vec<Prefix> = Vec::new();
        loop {
            let offset = self.position;
            let header = self.header().and_then(|header| match header.kind {
                b'L' => Ok((Some(Prefix::Name(self.extension(&header)?)), header)),
                b'K' => Ok((Some(Prefix::Link(self.extension(&header)?)), header)),
                b'x' | b'g' | b'X' => Ok((Some(self.pairs(&header)?), header)),
                _ => Ok((None, header)),
            });
            let (prefix, header) = match header {
                Ok(read) => read,
                // What belongs to something before it has to be there.
                Err(Stop::Fault(fault)) if !prefixes.is_empty() => {
                    return Err(TarError::Header { fault, offset }.into());
                }
                Err(stop) => return Err(stop),
            };
            match prefix {
                Some(_) if prefixes.len() == MOST_IN_A_ROW => {
                    let what = "too many extended headers in a row";
                    return Err(TarError::Excessive { what, offset }.into());
                }
                Some(prefix) => prefixes.push(prefix),
                None => return self.member(header, prefixes, offset),
            }
        }
    }

    fn header(&mut self) -> Result<Header, Stop> {
        let mut block = [0; BLOCK];
        let read = self.fill(&mut block)?;
        match read {
            0 => Err(Stop::Fault(HeaderFault::End)),
            BLOCK => Header::parse(&block).map_err(Stop::Fault),
            _ => Err(Stop::Fault(HeaderFault::Truncated)),
        }
    }

    /// Makes a member of its header and what came before it.
    fn member(
        &mut self,
        header: Header,
        prefixes: Vec<Prefix>,
        offset: u64,
    ) -> Result<Entry, Stop> {
        let fatal = |fault| Stop::Error(TarError::Header { fault, offset });
        let mut entry = header.entry;
        if let Some(sparse) = header.sparse {
            entry.sparse = Some(self.old_sparse_map(sparse.map, sparse.extended)?);
            self.place(&mut entry, offset)?;
            entry.size = sparse.size;
        } else {
            self.place(&mut entry, offset)?;
            entry.apply(&self.globals).map_err(fatal)?;
            if entry.kind == b'5' {
                entry.name.truncate(without_slashes(&entry.name).len());
            }
        }
        // The header itself says least: what stands nearer to it is overruled by what is before.
        for prefix in prefixes.into_iter().rev() {
            match prefix {
                Prefix::Name(name) => {
                    entry.name = name;
                    if entry.kind == b'5' && entry.name.ends_with(b"/") {
                        entry.name.pop();
                    }
                }
                Prefix::Link(link) => entry.link = link,
                Prefix::Pairs(pairs, own) => {
                    self.sparse_of(&pairs, &mut entry, offset)?;
                    if own {
                        entry.apply(&pairs).map_err(fatal)?;
                        if pairs.get(b"size").is_some() {
                            let data = entry.data;
                            entry.next = self.end_of(&entry, data, offset)?;
                        }
                    }
                }
            }
        }
        Ok(entry)
    }

    /// Notes where the data of a member is, and what comes after it.
    fn place(&self, entry: &mut Entry, offset: u64) -> Result<(), Stop> {
        entry.data = self.position;
        entry.next = self.end_of(entry, self.position, offset)?;
        Ok(())
    }

    fn end_of(&self, entry: &Entry, data: u64, offset: u64) -> Result<u64, Stop> {
        if !entry.has_data() {
            return Ok(data);
        }
        let size = u64::try_from(entry.size).ok();
        let end = size
            .and_then(|size| size.checked_next_multiple_of(BLOCK as u64))
            .and_then(|size| data.checked_add(size))
            .filter(|end| *end <= i64::MAX as u64);
        let what = "a size that is out of range";
        end.ok_or(Stop::Error(TarError::Excessive { what, offset }))
    }

    /// Reads the data of a header that is about another one, up to its first zero.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Stop> {
        let mut data = self.extension_blocks(header)?;
        if let Some(end) = data.iter().position(|byte| *byte == 0) {
            data.truncate(end);
        }
        Ok(data)
    }

    fn extension_blocks(&mut self, header: &Header) -> Result<Vec<u8>, Stop> {
        let offset = self.position;
        let size = u64::try_from(header.entry.size).ok();
        let Some(size) = size.filter(|size| *size <= MOST_HEADER_BYTES) else {
            let what = "an extended header that is too long";
            return Err(TarError::Excessive { what, offset }.into());
        };
        let mut data = Vec::new();
        let blocks = size.next_multiple_of(BLOCK as u64);
        self.position += (&mut self.input).take(blocks).read_to_end(&mut data)? as u64;
        Ok(data)
    }

    fn pairs(&mut self, header: &Header) -> Result<Prefix, Stop> {
        let data = self.extension_blocks(header)?;
        let own = header.kind != b'g';
        let mut pairs = self.globals.clone();
        pax_records(&data, &mut pairs).map_err(Stop::Fault)?;
        if !own {
            if pairs.bytes() > MOST_HEADER_BYTES as usize {
                let (what, offset) = ("too many global headers", self.position);
                return Err(TarError::Excessive { what, offset }.into());
            }
            self.globals = pairs.clone();
        }
        Ok(Prefix::Pairs(pairs, own))
    }

    /// Reads the rest of the map of a sparse file in the old GNU format.
    fn old_sparse_map(&mut self, mut map: Map, mut extended: bool) -> Result<Map, Stop> {
        while extended {
            let mut block = [0; BLOCK];
            if self.fill(&mut block)? < BLOCK {
                return Err(TarError::Truncated(self.position).into());
            }
            extended = map.extend_old(&block).map_err(Stop::Fault)?;
            self.check_map(&map)?;
        }
        Ok(map)
    }

    fn check_map(&self, map: &Map) -> Result<(), Stop> {
        match map.is_too_long() {
            false => Ok(()),
            true => {
                let (what, offset) = ("a sparse file with too many pieces", self.position);
                Err(TarError::Excessive { what, offset }.into())
            }
        }
    }

    /// Finds the map of a sparse file in one of the three formats with extended headers.
    fn sparse_of(&mut self, pairs: &Pairs, entry: &mut Entry, offset: u64) -> Result<(), Stop> {
        let fault = HeaderFault::Invalid;
        let invalid = || Stop::Error(TarError::Header { fault, offset });
        let map = if let Some(list) = pairs.get(b"GNU.sparse.map") {
            Map::from_numbers(&numbers(list).ok_or_else(invalid)?)
        } else if pairs.get(b"GNU.sparse.size").is_some() {
            pairs.pieces.clone()
        } else if pairs.get(b"GNU.sparse.major") == Some(b"1")
            && pairs.get(b"GNU.sparse.minor") == Some(b"0")
        {
            let map = self.map_in_data(invalid)?;
            entry.data = self.position;
            map
        } else {
            return Ok(());
        };
        self.check_map(&map)?;
        entry.sparse = Some(map);
        Ok(())
    }

    /// Reads a map that stands before the data: lines of decimal numbers, the first is their count.
    fn map_in_data(&mut self, invalid: impl Fn() -> Stop) -> Result<Map, Stop> {
        let mut text: Vec<u8> = Vec::new();
        let (mut at, mut wanted) = (0, None);
        let mut found: Vec<u64> = Vec::new();
        while wanted.is_none_or(|wanted| found.len() < wanted) {
            let rest = text.get(at..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                let mut block = [0; BLOCK];
                if rest.len() > BLOCK || self.fill(&mut block)? < BLOCK {
                    return Err(invalid());
                }
                text.drain(..at);
                at = 0;
                text.extend_from_slice(&block);
                continue;
            };
            let number = number_of(rest.get(..end).unwrap_or_default());
            let number = number.and_then(|number| u64::try_from(number).ok());
            let number = number.ok_or_else(&invalid)?;
            at += end + 1;
            match wanted {
                Some(_) => found.push(number),
                None if number > Map::MOST as u64 => return Err(invalid()),
                None => wanted = Some(number as usize * 2),
            }
        }
        Ok(Map::from_numbers(&found))
    }

    /// Fills the buffer as far as there is data.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }

    /// Passes over everything up to an offset.
    fn skip_to(&mut self, offset: u64) -> Result<(), TarError> {
        if self.position > offset {
            // Only a sparse map that claims more data than there is comes here.
            let what = "a sparse file whose map goes beyond its data";
            return Err(TarError::Excessive { what, offset });
        }
        while self.position < offset {
            let there = self.input.fill_buf()?.len() as u64;
            if there == 0 {
                return Err(TarError::Truncated(self.position));
            }
            let passed = there.min(offset - self.position);
            self.input.consume(passed as usize);
            self.position += passed;
        }
        Ok(())
    }

    /// Returns the content of the entry that was read last.
    ///
    /// # Errors
    /// When its size or its map cannot be.
    pub fn content(&mut self, entry: &Entry) -> Result<Content<'_, R>, TarError> {
        let offset = entry.data;
        let size = u64::try_from(entry.size).ok();
        let size = size.filter(|size| *size <= i64::MAX as u64);
        let size = size.ok_or(TarError::Excessive {
            what: "a size that is out of range",
            offset,
        })?;
        let extents = match &entry.sparse {
            None => vec![Extent::Data(size)],
            Some(map) => map.extents(size).ok_or(TarError::Excessive {
                what: "a sparse file whose map is not in order",
                offset,
            })?,
        };
        Ok(Content {
            reader: self,
            extents: extents.into_iter(),
            current: Extent::Data(0),
        })
    }
}

/// The content of one member.
pub struct Content<'a, R> {
    reader: &'a mut TarReader<R>,
    extents: std::vec::IntoIter<Extent>,
    current: Extent,
}

impl<R: Read> Content<'_, R> {
    /// Appends at most `most` bytes; none at the end.
    ///
    /// # Errors
    /// When the stream ends too early or cannot be read.
    pub fn read(&mut self, out: &mut Vec<u8>, most: usize) -> Result<usize, TarError> {
        while self.current.len() == 0 {
            match self.extents.next() {
                Some(extent) => self.current = extent,
                None => return Ok(0),
            }
        }
        let bytes = self.current.len().min(most as u64) as usize;
        let start = out.len();
        match &mut self.current {
            Extent::Hole(left) => {
                out.resize(start + bytes, 0);
                *left -= bytes as u64;
            }
            Extent::Data(left) => {
                let input = &mut self.reader.input;
                let read = input.take(bytes as u64).read_to_end(out)?;
                self.reader.position += read as u64;
                if read < bytes {
                    return Err(TarError::Truncated(self.reader.position));
                }
                *left -= bytes as u64;
            }
        }
        Ok(bytes)
    }
}

impl Entry {
    /// Makes the entry of a header; where its data is gets known later.
    pub(super) fn new(name: Vec<u8>, kind: u8) -> Self {
        Self {
            name,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            size: 0,
            mtime: Mtime::Seconds(0),
            link: Vec::new(),
            device: (0, 0),
            sparse: None,
            data: 0,
            next: 0,
        }
    }
}
