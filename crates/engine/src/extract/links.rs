//! Which files have several names, and what of them was extracted already.
//!
//! The first name of a file carries its content, further ones refer to it. When the first is not
//! among what is taken, the first of the others gets the content, and the rest become its links.

use std::collections::HashMap;

use fastness_format::item::{ChunkRef, ItemRef};
use fastness_sys::stat::FileKind;

/// What became of the first name of a file.
#[derive(Debug, Clone)]
enum First {
    /// Not taken; its content, if it is a regular file.
    LeftOut(Option<Vec<ChunkRef>>),
    /// Extracted, or replaced by a further name, under this path.
    At(Vec<u8>),
}

/// How a further name is extracted.
#[derive(Debug, PartialEq, Eq)]
pub enum Further {
    /// As a link to this path below the target.
    Link(Vec<u8>),
    /// As the file itself, with this content.
    Content(Option<Vec<ChunkRef>>),
}

/// First names, for the archive being extracted.
#[derive(Debug, Default)]
pub struct FirstNames {
    known: HashMap<Vec<u8>, First>,
    strip_components: usize,
    /// Without selection every first name is extracted, and nothing needs to be remembered.
    partial: bool,
}

impl FirstNames {
    /// Begins an extraction.
    pub fn new(partial: bool, strip_components: usize) -> Self {
        Self {
            known: HashMap::new(),
            strip_components,
            partial,
        }
    }

    /// Remembers an item that is not taken, if further names may refer to it.
    pub fn leave_out(&mut self, item: &ItemRef<'_>) {
        if self.partial
            && FileKind::from_mode(item.mode).is_hardlinkable()
            && item.hardlink_master != Some(false)
            && item.source.is_none()
        {
            let chunks = item.chunks.map(|chunks| chunks.into_iter().collect());
            self.known
                .insert(item.path.to_vec(), First::LeftOut(chunks));
        }
    }

    /// Remembers where a first name was extracted.
    pub fn extracted(&mut self, archived: &[u8], path: &[u8]) {
        if self.partial && !self.known.is_empty() || archived != path {
            self.known
                .insert(archived.to_vec(), First::At(path.to_vec()));
        }
    }

    /// Tells how the further name of the file archived as `source` is extracted to `path`.
    pub fn further(&mut self, source: &[u8], path: &[u8]) -> Further {
        match self.known.get_mut(source) {
            Some(First::At(first)) => Further::Link(first.clone()),
            Some(first @ First::LeftOut(_)) => {
                match std::mem::replace(first, First::At(path.to_vec())) {
                    First::LeftOut(chunks) => Further::Content(chunks),
                    First::At(first) => Further::Link(first),
                }
            }
            None => Further::Link(strip(source, self.strip_components).unwrap_or_default()),
        }
    }
}

/// A path without its first `count` components; none when nothing is left.
pub fn strip(path: &[u8], count: usize) -> Option<Vec<u8>> {
    let rest = path
        .split(|byte| *byte == b'/')
        .skip(count)
        .collect::<Vec<_>>()
        .join(&b'/');
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_stripped_and_short_paths_left_out() {
        assert_eq!(strip(b"a/b/c", 0), Some(b"a/b/c".to_vec()));
        assert_eq!(strip(b"a/b/c", 2), Some(b"c".to_vec()));
        assert_eq!(strip(b"a/b/c", 3), None);
    }

    #[test]
    fn links_to_extracted_files_follow_their_stripped_path() {
        let mut names = FirstNames::new(true, 1);
        assert_eq!(names.further(b"d/a", b"b"), Further::Link(b"a".to_vec()));
    }
}
