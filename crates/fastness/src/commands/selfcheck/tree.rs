//! The files that go through both programs, and what of them is compared.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// What is compared of one object.
#[derive(PartialEq, Eq)]
struct Entry {
    mode: u32,
    mtime: (i64, i64),
    links: u64,
    /// The content of a file, the target of a symlink.
    content: Vec<u8>,
}

/// All objects of a directory.
pub struct Tree(BTreeMap<PathBuf, Entry>);

impl Tree {
    /// Makes the files, as `source` below `place`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make(place: &Path) -> io::Result<Self> {
        let source = place.join("source");
        fs::create_dir_all(source.join("folder/empty"))?;
        let mut noise = Noise(1);
        fs::write(source.join("empty file"), "")?;
        fs::write(source.join("text.txt"), "A line of text.\n".repeat(5000))?;
        fs::write(source.join("folder/naïve – ü ☂"), noise.bytes(1))?;
        let large = noise.bytes(3 << 20);
        fs::write(source.join("folder/large"), &large)?;
        // Shifted by a byte: found by cutting at content.
        fs::write(
            source.join("folder/shifted"),
            [b"x", large.as_slice()].concat(),
        )?;
        fs::write(source.join("zeros"), vec![0; 2 << 20])?;
        for number in 0..50 {
            fs::write(
                source.join(format!("folder/{number}")),
                noise.bytes(number * 97),
            )?;
        }
        symlink("../text.txt", source.join("folder/link"))?;
        fs::hard_link(source.join("text.txt"), source.join("second name"))?;
        fs::set_permissions(source.join("text.txt"), Permissions::from_mode(0o640))?;
        let old = File::options().write(true).open(source.join("zeros"))?;
        old.set_modified(UNIX_EPOCH + Duration::new(86_400, 123_456_789))?;
        Self::read(&source)
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut entries = BTreeMap::new();
        let mut waiting = vec![root.to_owned()];
        while let Some(path) = waiting.pop() {
            let metadata = fs::symlink_metadata(&path)?;
            let mut content = Vec::new();
            if metadata.is_dir() {
                for entry in fs::read_dir(&path)? {
                    waiting.push(entry?.path());
                }
            } else if metadata.is_symlink() {
                content = fs::read_link(&path)?.into_os_string().into_encoded_bytes();
            } else {
                content = fs::read(&path)?;
            }
            let entry = Entry {
                mode: metadata.mode(),
                mtime: (metadata.mtime(), metadata.mtime_nsec()),
                links: if metadata.is_dir() {
                    0
                } else {
                    metadata.nlink()
                },
                content,
            };
            let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
            entries.insert(name, entry);
        }
        Ok(Self(entries))
    }

    /// Says how much it is.
    pub fn summary(&self) -> String {
        let bytes: usize = self.0.values().map(|entry| entry.content.len()).sum();
        format!("{} objects, {} kB", self.0.len(), bytes / 1000)
    }

    /// Returns the first difference, in words.
    pub fn difference(&self, other: &Self) -> Option<String> {
        for (path, entry) in &self.0 {
            let found = other.0.get(path);
            let path = path.display();
            let Some(found) = found else {
                return Some(format!("{path} is missing"));
            };
            if entry.content != found.content {
                return Some(format!("{path} has another content"));
            }
            if entry != found {
                return Some(format!("{path} has other attributes"));
            }
        }
        let more = other.0.keys().find(|path| !self.0.contains_key(*path));
        more.map(|path| format!("{} is too much", path.display()))
    }
}

/// Bytes that do not compress, the same on every machine.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let step = |_| {
            // xorshift64
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 32) as u8
        };
        (0..count).map(step).collect()
    }
}
