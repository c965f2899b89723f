//! The files `index.T`, `hints.T` and `integrity.T`: which there are, loading and saving them.
//!
//! They only repeat what the segments say. Whatever is missing or damaged is rebuilt.

use std::io::Read;
use std::path::Path;

use fastness_format::hash_index::{HEADER_LEN, Loading, RepositoryIndex};
use fastness_format::hints::{Hints, StoredHints};
use fastness_format::integrity::{Digests, FileDigest, IntegrityError, IntegrityFile, PART_HEADER};

use crate::error::{RepositoryError, Result};
use crate::monitor::Monitor;
use crate::storage;

/// Hints hold a few bytes for each segment and deleted object: this is far above what occurs.
const MAX_HINTS_BYTES: u64 = 8 << 30;
const MAX_INTEGRITY_BYTES: u64 = 1 << 20;
const KINDS: [&str; 3] = ["index", "hints", "integrity"];

/// Why a file cannot be used although it is there, or that it is not.
#[derive(Debug)]
pub(super) enum LoadError {
    /// It is missing or damaged: it can be rebuilt.
    Damaged(String),
    /// Something else is wrong.
    Other(RepositoryError),
}

impl From<RepositoryError> for LoadError {
    fn from(error: RepositoryError) -> Self {
        Self::Other(error)
    }
}

/// The highest transaction that has an index.
pub(super) fn last_index(repository: &Path) -> Result<Option<u32>> {
    let mut numbers: Vec<u32> = storage::names(repository)?
        .iter()
        .filter_map(|name| name.strip_prefix("index."))
        .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|number| number.parse().ok())
        .collect();
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        let len = storage::file_len(&repository.join(format!("index.{number}")))?;
        if len.is_some_and(|len| len > 0) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Reads what the integrity file says about one of the others. None means that nothing can be
/// verified.
fn expected_digests(
    repository: &Path,
    transaction: u32,
    pick: impl Fn(IntegrityFile) -> String,
    monitor: &dyn Monitor,
) -> Result<Option<Digests>, LoadError> {
    let name = format!("integrity.{transaction}");
    let Some(bytes) = storage::read_small(&repository.join(&name), MAX_INTEGRITY_BYTES)? else {
        return Ok(None);
    };
    let digests = IntegrityFile::decode(&bytes).and_then(|file| Digests::from_json(&pick(file)));
    match digests {
        Ok(digests) => Ok(Some(digests)),
        Err(IntegrityError::Malformed) => Err(LoadError::Damaged(format!("{name} is damaged"))),
        Err(error) => {
            monitor.warning(format!("{error} in {name}"));
            Ok(None)
        }
    }
}

fn verify(
    repository: &Path,
    name: &str,
    expected: Option<Digests>,
    actual: &Digests,
) -> Result<(), LoadError> {
    if expected.is_some_and(|expected| !expected.agree_with(actual)) {
        let path = repository.join(name);
        let text = format!("File failed integrity check: {}", path.display());
        return Err(LoadError::Damaged(text));
    }
    Ok(())
}

/// Loads the index of a transaction.
pub(super) fn load_index(
    repository: &Path,
    transaction: u32,
    monitor: &dyn Monitor,
) -> Result<RepositoryIndex, LoadError> {
    let name = format!("index.{transaction}");
    let path = repository.join(&name);
    let expected = expected_digests(repository, transaction, |file| file.index, monitor)?;
    let damaged = |error: &dyn std::fmt::Display| LoadError::Damaged(format!("{name}: {error}"));
    let Some(len) = storage::file_len(&path)? else {
        return Err(damaged(&"missing"));
    };
    let mut file = storage::open(&path)?;
    let mut header = [0; HEADER_LEN];
    file.read_exact(&mut header)
        .map_err(|error| damaged(&error))?;
    let mut loading = Loading::begin(&header, len).map_err(|error| damaged(&error))?;
    file.read_exact(loading.bucket_bytes_mut())
        .map_err(|error| damaged(&error))?;
    let mut digest = FileDigest::new(&name);
    digest.update(&header);
    digest.part(PART_HEADER);
    digest.update(loading.bucket_bytes_mut());
    verify(repository, &name, expected, &digest.finish())?;
    loading.finish().map_err(|error| damaged(&error))
}

/// Loads the hints of a transaction.
pub(super) fn load_hints(
    repository: &Path,
    transaction: u32,
    monitor: &dyn Monitor,
) -> Result<StoredHints, LoadError> {
    let name = format!("hints.{transaction}");
    let expected = expected_digests(repository, transaction, |file| file.hints, monitor)?;
    let bytes = storage::read_small(&repository.join(&name), MAX_HINTS_BYTES)?
        .ok_or_else(|| LoadError::Damaged(format!("{name} is missing")))?;
    let mut digest = FileDigest::new(&name);
    digest.update(&bytes);
    verify(repository, &name, expected, &digest.finish())?;
    Hints::decode(&bytes).map_err(|error| LoadError::Damaged(format!("{name}: {error}")))
}

/// Removes the index of a transaction, so that it is rebuilt.
pub(super) fn remove_index(repository: &Path, transaction: u32) -> Result<()> {
    storage::remove_if_exists(&repository.join(format!("index.{transaction}")))
}

/// Removes the hints of a transaction.
pub(super) fn remove_hints(repository: &Path, transaction: u32) -> Result<()> {
    storage::remove_if_exists(&repository.join(format!("hints.{transaction}")))
}

/// Saves the three files of a transaction and removes those of others.
///
/// The index comes last: a transaction counts as indexed when its index is there, and the others
/// must be there then.
pub(super) fn save(
    repository: &Path,
    transaction: u32,
    index: &RepositoryIndex,
    hints: &Hints,
) -> Result<()> {
    let name = |kind: &str| format!("{kind}.{transaction}");
    let path = |kind: &str| repository.join(name(kind));
    let temporary = |kind: &str| repository.join(format!("{}.tmp", name(kind)));

    let bytes = hints.encode();
    let mut digest = FileDigest::new(&name("hints"));
    digest.update(&bytes);
    storage::write_synced(&temporary("hints"), &[&bytes])?;
    let hints = digest.finish().to_json();

    let (header, buckets) = (index.header(), index.bucket_bytes());
    let mut digest = FileDigest::new(&name("index"));
    digest.update(&header);
    digest.part(PART_HEADER);
    digest.update(buckets);
    storage::write_synced(&temporary("index"), &[&header, buckets])?;
    let index = digest.finish().to_json();

    let bytes = IntegrityFile { hints, index }.encode();
    storage::write_synced(&temporary("integrity"), &[&bytes])?;

    storage::rename(&temporary("integrity"), &path("integrity"))?;
    storage::sync_dir(repository)?;
    storage::rename(&temporary("hints"), &path("hints"))?;
    storage::rename(&temporary("index"), &path("index"))?;
    storage::sync_dir(repository)?;
    remove_others(repository, transaction)
}

/// Removes the files of all other transactions, finished or not.
fn remove_others(repository: &Path, transaction: u32) -> Result<()> {
    let current = format!(".{transaction}");
    for name in storage::names(repository)? {
        let kind = name.split_once('.').map_or("", |(kind, _)| kind);
        if KINDS.contains(&kind) && !name.ends_with(&current) {
            storage::remove_if_exists(&repository.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use fastness_format::hash_index::Location;
    use fastness_format::id::{ChunkId, EntryOffset, SegmentNumber};

    fn sample() -> (RepositoryIndex, Hints) {
        let mut index = RepositoryIndex::default();
        let location = Location {
            segment: SegmentNumber(3),
            offset: EntryOffset(8),
        };
        index.insert(&ChunkId::new([5; 32]), location);
        let mut hints = Hints::default();
        hints.segments.insert(3, 1);
        (index, hints)
    }

    #[test]
    fn what_is_saved_is_loaded_and_replaces_what_was() {
        let dir = tempfile::tempdir().unwrap();
        let (index, hints) = sample();
        save(dir.path(), 3, &index, &hints).unwrap();
        std::fs::write(dir.path().join("index.9.tmp"), "left over").unwrap();
        save(dir.path(), 12, &index, &hints).unwrap();
        let mut names = storage::names(dir.path()).unwrap();
        names.sort();
        assert_eq!(names, ["hints.12", "index.12", "integrity.12"]);
        assert_eq!(last_index(dir.path()).unwrap(), Some(12));
        let loaded = load_index(dir.path(), 12, &Silent).unwrap();
        assert!(loaded.iter().eq(index.iter()));
        let loaded = load_hints(dir.path(), 12, &Silent).unwrap();
        assert_eq!(loaded, StoredHints::Current(hints));
    }

    #[test]
    fn damage_is_noticed_in_each_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let (index, hints) = sample();
        for kind in KINDS {
            save(dir.path(), 3, &index, &hints).unwrap();
            let path = dir.path().join(format!("{kind}.3"));
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            std::fs::write(&path, bytes).unwrap();
            let index = load_index(dir.path(), 3, &Silent).is_err();
            let hints = load_hints(dir.path(), 3, &Silent).is_err();
            match kind {
                "index" => assert_eq!((index, hints), (true, false)),
                "hints" => assert_eq!((index, hints), (false, true)),
                _ => assert!(index || hints),
            }
        }
    }

    #[test]
    fn empty_index_files_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("index.7"), "").unwrap();
        std::fs::write(dir.path().join("index.x"), "x").unwrap();
        assert_eq!(last_index(dir.path()).unwrap(), None);
        assert!(matches!(
            load_index(dir.path(), 8, &Silent),
            Err(LoadError::Damaged(_))
        ));
    }
}
