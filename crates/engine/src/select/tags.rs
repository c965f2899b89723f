//! Directories that mark themselves as not worth saving.
//!
//! A cache says so with a file `CACHEDIR.TAG` of a known beginning; users may name further files
//! whose mere presence counts. Such a directory is left out, with all below it; with
//! `keep_exclude_tags` the directory itself and its tags are kept.

/// Name of the file that marks a cache.
pub const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";

/// What that file begins with; the rest does not matter.
pub const CACHE_TAG_CONTENTS: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Which marks count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagRules {
    /// Directories with a valid `CACHEDIR.TAG` are left out (`--exclude-caches`).
    pub exclude_caches: bool,
    /// So are those that have one of these names in them (`--exclude-if-present`).
    pub exclude_if_present: Vec<Vec<u8>>,
    /// The directory and its tags are kept (`--keep-exclude-tags`).
    pub keep_exclude_tags: bool,
}

impl TagRules {
    /// Returns whether no directory needs to be looked at.
    pub fn is_empty(&self) -> bool {
        !self.exclude_caches && self.exclude_if_present.is_empty()
    }

    /// Returns the names of the tags of a directory; with none it is an ordinary one.
    ///
    /// `exists` tells whether a name exists in the directory (it may have `/` in it, and what it
    /// links to must exist too), `cache_tag_begins` gives the first bytes of `CACHEDIR.TAG`, if it
    /// can be read.
    pub fn tags_of(
        &self,
        exists: impl Fn(&[u8]) -> bool,
        cache_tag_begins: impl FnOnce(usize) -> Option<Vec<u8>>,
    ) -> Vec<Vec<u8>> {
        let mut tags = Vec::new();
        if self.exclude_caches && exists(CACHE_TAG_NAME) {
            let content = cache_tag_begins(CACHE_TAG_CONTENTS.len());
            if content.is_some_and(|content| content.starts_with(CACHE_TAG_CONTENTS)) {
                tags.push(CACHE_TAG_NAME.to_vec());
            }
        }
        let named = self.exclude_if_present.iter();
        tags.extend(named.filter(|name| exists(name)).cloned());
        tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> TagRules {
        TagRules {
            exclude_caches: true,
            exclude_if_present: vec![b".nobackup".to_vec(), b".git/x".to_vec()],
            keep_exclude_tags: false,
        }
    }

    #[test]
    fn caches_need_the_signature() {
        let tags = |content: &[u8]| {
            rules().tags_of(|name| name == CACHE_TAG_NAME, |_| Some(content.to_vec()))
        };
        assert_eq!(tags(CACHE_TAG_CONTENTS), [CACHE_TAG_NAME]);
        assert!(tags(b"Signature: 8a477f597d28d172789f06886806bc5").is_empty());
        assert!(
            rules()
                .tags_of(|name| name == CACHE_TAG_NAME, |_| None)
                .is_empty()
        );
    }

    #[test]
    fn named_files_count_by_being_there() {
        let tags = rules().tags_of(|name| name != CACHE_TAG_NAME, |_| None);
        assert_eq!(tags, [&b".nobackup"[..], b".git/x"]);
        assert!(TagRules::default().tags_of(|_| true, |_| None).is_empty());
    }
}
