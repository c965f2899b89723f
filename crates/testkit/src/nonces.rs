//! Finds AES counter values that were used twice.
//!
//! An encrypted object is: type byte, MAC (32 bytes), counter (8 bytes, big endian),
//! ciphertext. It uses the counters `[counter, counter + ceil(len / 16))`. Two
//! different objects of one key whose ranges overlap give away plaintext, even when
//! one of them belongs to a transaction that was rolled back: so the ledger is kept
//! over the whole life of a test's repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"BORG_SEG";
/// crc (4), size (4), tag (1)
const HEADER: usize = 9;
const KEY: usize = 32;
const PUT: u8 = 0;
/// keyfile, passphrase, repokey, keyfile-blake2, repokey-blake2
const ENCRYPTED_TYPES: [u8; 5] = [0, 1, 3, 4, 5];

/// Every counter range seen so far in one repository.
#[derive(Clone, Debug, Default)]
pub struct NonceLedger {
    /// start → (end, MAC of the object)
    ranges: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl NonceLedger {
    /// Makes an empty ledger.
    pub fn new() -> NonceLedger {
        NonceLedger::default()
    }

    /// Returns how many different encrypted objects were seen.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Returns whether no encrypted object was seen yet.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Reads every segment of a repository; panics when a counter value was used twice.
    #[track_caller]
    pub fn observe(&mut self, repository: &Path) {
        for path in segments(repository) {
            let bytes = fs::read(&path).unwrap_or_default();
            for object in objects(&bytes) {
                if let Err(problem) = self.add(object) {
                    panic!("{}: {problem}", path.display());
                }
            }
        }
    }

    fn add(&mut self, object: &[u8]) -> Result<(), String> {
        let Some((&kind, rest)) = object.split_first() else {
            return Ok(());
        };
        if !ENCRYPTED_TYPES.contains(&kind) || rest.len() < 40 {
            return Ok(());
        }
        let mac = rest[..32].to_vec();
        let start = u64::from_be_bytes(rest[32..40].try_into().expect("eight bytes"));
        let end = start + (rest.len() as u64 - 40).div_ceil(16);
        if let Some((known_end, known_mac)) = self.ranges.get(&start)
            && *known_mac == mac
            && *known_end == end
        {
            return Ok(()); // the same object, moved by a compaction
        }
        if let Some((other, (other_end, _))) = self.ranges.range(..end).next_back()
            && *other_end > start
        {
            return Err(format!(
                "counters {start}..{end} overlap {other}..{other_end}"
            ));
        }
        self.ranges.insert(start, (end, mac));
        Ok(())
    }
}

/// Returns the paths of all segment files.
fn segments(repository: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in entries(&repository.join("data")) {
        found.extend(entries(&directory));
    }
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).map_or_else(
        |_| Vec::new(),
        |list| list.flatten().map(|entry| entry.path()).collect(),
    )
}

/// Returns the objects of a segment's intact PUT entries, up to the first torn entry.
fn objects(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return found;
    };
    while rest.len() >= HEADER {
        let size = u32::from_le_bytes(rest[4..8].try_into().expect("four bytes")) as usize;
        if size < HEADER || size > rest.len() {
            break;
        }
        let crc = u32::from_le_bytes(rest[..4].try_into().expect("four bytes"));
        if rest[8] == PUT && size >= HEADER + KEY && crc == crc32(&rest[4..size]) {
            found.push(&rest[HEADER + KEY..size]);
        }
        rest = &rest[size..];
    }
    found
}

/// CRC-32 as zlib computes it.
fn crc32(bytes: &[u8]) -> u32 {
    const fn table() -> [u32; 256] {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 {
                    0xedb8_8320 ^ (value >> 1)
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    }
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(!0, |crc, &byte| {
        TABLE[(crc as u8 ^ byte) as usize] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(counter: u64, len: usize, mac: u8) -> Vec<u8> {
        let mut bytes = vec![3];
        bytes.extend([mac; 32]);
        bytes.extend(counter.to_be_bytes());
        bytes.extend(vec![0; len]);
        bytes
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn neighbouring_ranges_are_fine() {
        let mut ledger = NonceLedger::new();
        ledger.add(&object(10, 32, 1)).unwrap();
        ledger.add(&object(12, 1, 2)).unwrap();
        ledger.add(&object(9, 16, 3)).unwrap();
        assert_eq!(ledger.len(), 3);
    }

    #[test]
    fn an_object_seen_again_is_no_reuse() {
        let mut ledger = NonceLedger::new();
        ledger.add(&object(10, 32, 1)).unwrap();
        ledger.add(&object(10, 32, 1)).unwrap();
        assert_eq!(ledger.len(), 1);
    }

    #[test]
    fn overlapping_ranges_are_found_from_either_side() {
        for (counter, len) in [(10, 32), (9, 17), (11, 100), (5, 1000)] {
            let mut ledger = NonceLedger::new();
            ledger.add(&object(10, 32, 1)).unwrap();
            assert!(
                ledger.add(&object(counter, len, 2)).is_err(),
                "{counter} {len}"
            );
        }
    }
}
