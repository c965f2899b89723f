//! Directories of an archive that are marked as not worth keeping, found by their items.

use std::collections::{HashMap, HashSet};

use fastness_format::item::{ChunkRef, ItemRef};
use fastness_sys::stat::FileKind;

use super::Source;
use crate::error::EngineError;
use crate::objects::read_object;
use crate::select::patterns::PatternMatcher;
use crate::select::tags::{CACHE_TAG_CONTENTS, CACHE_TAG_NAME, TagRules};

/// The marked directories, and the items that mark them.
#[derive(Debug, Default)]
pub struct Marked {
    directories: HashSet<Vec<u8>>,
    /// Items that are kept though their directory is not.
    kept: HashSet<Vec<u8>>,
    keep_tags: bool,
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (&[], path),
    }
}

impl Marked {
    /// Looks through the items of an archive.
    ///
    /// # Errors
    /// When the archive or a tag cannot be read.
    pub fn find(
        source: &Source<'_>,
        patterns: &PatternMatcher,
        rules: &TagRules,
    ) -> Result<Self, EngineError> {
        let mut marked = Self {
            keep_tags: rules.keep_exclude_tags,
            ..Self::default()
        };
        if rules.is_empty() {
            return Ok(marked);
        }
        let firsts = first_names_of_tags(source, rules)?;
        source.items().for_each(|item| {
            let (directory, name) = split(item.path);
            let matched = name == CACHE_TAG_NAME || patterns.check(item.path).included;
            if item.part.is_some() || !matched {
                return Ok(());
            }
            let named = rules.exclude_if_present.iter().any(|tag| tag == name);
            if named || rules.exclude_caches && is_cache_tag(source, item, &firsts)? {
                marked.directories.insert(directory.to_vec());
                if rules.keep_exclude_tags {
                    marked.kept.insert(item.path.to_vec());
                }
            }
            Ok(())
        })?;
        Ok(marked)
    }

    /// Tells whether there are any.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }

    /// Tells whether a path is left out for what its directory, or one above, holds.
    pub fn leaves_out(&self, path: &[u8]) -> bool {
        if self.directories.is_empty() {
            return false;
        }
        let mut above = path;
        if self.keep_tags {
            // The directory itself is kept, with its tags and what is below these.
            if self.is_kept(path) {
                return false;
            }
            above = split(above).0;
            if above.is_empty() {
                return self.directories.contains(above);
            }
        }
        loop {
            if above.is_empty() {
                return self.keep_tags && self.directories.contains(above);
            }
            if self.directories.contains(above) {
                return true;
            }
            above = split(above).0;
        }
    }

    fn is_kept(&self, path: &[u8]) -> bool {
        let mut path = path;
        while !path.is_empty() {
            if self.kept.contains(path) {
                return true;
            }
            path = split(path).0;
        }
        false
    }
}

/// Content of the files that a `CACHEDIR.TAG` is only a further name of.
fn first_names_of_tags(
    source: &Source<'_>,
    rules: &TagRules,
) -> Result<HashMap<Vec<u8>, Vec<ChunkRef>>, EngineError> {
    let mut firsts = HashMap::new();
    if !rules.exclude_caches {
        return Ok(firsts);
    }
    source.items().for_each(|item| {
        if split(item.path).1 == CACHE_TAG_NAME
            && item.chunks.is_none()
            && let Some(first) = item.source
        {
            firsts.insert(first.to_vec(), Vec::new());
        }
        Ok(())
    })?;
    if !firsts.is_empty() {
        source.items().for_each(|item| {
            if let (Some(chunks), Some(first)) = (item.chunks, firsts.get_mut(item.path)) {
                *first = chunks.into_iter().collect();
            }
            Ok(())
        })?;
    }
    Ok(firsts)
}

fn is_cache_tag(
    source: &Source<'_>,
    item: &ItemRef<'_>,
    firsts: &HashMap<Vec<u8>, Vec<ChunkRef>>,
) -> Result<bool, EngineError> {
    if split(item.path).1 != CACHE_TAG_NAME || FileKind::from_mode(item.mode) != FileKind::Regular {
        return Ok(false);
    }
    let chunks: Vec<ChunkRef> = match (item.chunks, item.source) {
        (Some(chunks), _) => chunks.into_iter().collect(),
        (None, Some(first)) => firsts.get(first).cloned().unwrap_or_default(),
        (None, None) => Vec::new(),
    };
    let mut content = Vec::new();
    for chunk in chunks {
        if content.len() >= CACHE_TAG_CONTENTS.len() {
            break;
        }
        content.extend(read_object(source.repository, source.crypto, &chunk.id)?);
    }
    Ok(content.starts_with(CACHE_TAG_CONTENTS))
}
