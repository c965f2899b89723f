//! The `config` file of Borg's own cache on a client.
//!
//! ```text
//! [cache]
//! version = 1
//! repository = <64 hexadecimal digits>
//! manifest = <id of the manifest's plaintext that the cache belongs to, or nothing>
//! timestamp = <that of the manifest>
//! ignored_features =
//! mandatory_features =
//! previous_location = <canonical address>
//! key_type = <decimal>
//!
//! [integrity]
//! manifest = <the same id, or the rest of the section does not count>
//! chunks = <digests as JSON>
//! files = <digests as JSON>
//! ```
//!
//! An INI file like that of a repository. What is not known here is kept when it is rewritten.

use crate::id::{ChunkId, RepositoryId};
use crate::integrity::Digests;
use crate::repository_config::{ConfigError, ConfigText};

const CACHE: &str = "cache";
const INTEGRITY: &str = "integrity";
const MANIFEST: &str = "manifest";
const CHUNKS: &str = "chunks";
const LOCATION: &str = "previous_location";
const VERSION: &str = "1";

/// What a cache belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheState<'a> {
    /// The repository.
    pub repository: RepositoryId,
    /// Id hash of the plaintext of its manifest.
    pub manifest: &'a ChunkId,
    /// Timestamp of that manifest.
    pub timestamp: &'a str,
    /// Type byte of the key.
    pub key_type: u8,
    /// Where the repository is, in the canonical form.
    pub location: &'a str,
}

/// The text of the file, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    text: ConfigText,
}

impl CacheConfig {
    /// Makes that of a cache that belongs to no manifest yet.
    pub fn new(repository: &RepositoryId) -> Self {
        let mut text = ConfigText::default();
        text.set_in(CACHE, "version", VERSION);
        text.set_in(CACHE, "repository", &repository.to_string());
        text.set_in(CACHE, MANIFEST, "");
        text.set_in(INTEGRITY, MANIFEST, "");
        Self { text }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is no INI file, or that of something else, or of another version.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let text = ConfigText::parse(text)?;
        if !text.has_section(CACHE) {
            return Err(ConfigError::NoSection);
        }
        match text.get_in(CACHE, "version") {
            Some(VERSION) => Ok(Self { text }),
            version => Err(ConfigError::Invalid {
                name: "version",
                value: version.unwrap_or_default().to_owned(),
            }),
        }
    }

    /// Writes the file as Borg does.
    pub fn to_text(&self) -> String {
        self.text.to_text()
    }

    /// Tells whether the cache has what belongs to this manifest of this repository, and can prove
    /// it.
    pub fn is_of(&self, repository: &RepositoryId, manifest: &ChunkId) -> bool {
        let [repository, manifest] = [repository.to_string(), manifest.to_string()];
        self.text.get_in(CACHE, "repository") == Some(&repository)
            && self.text.get_in(CACHE, MANIFEST) == Some(&manifest)
            && self.text.get_in(INTEGRITY, MANIFEST) == Some(&manifest)
            && self.text.get_in(INTEGRITY, CHUNKS).is_some()
    }

    /// Tells whether a version of Borg that knows nothing of integrity data changed the cache, so
    /// that these do not count.
    pub fn is_without_proof(&self) -> bool {
        self.text.has_section(INTEGRITY)
            && self.text.get_in(CACHE, MANIFEST) != self.text.get_in(INTEGRITY, MANIFEST)
    }

    /// Returns the digests of the file of chunks, as they were written.
    pub fn chunks(&self) -> Option<&str> {
        let text = self.text.get_in(INTEGRITY, CHUNKS);
        text.filter(|_| !self.is_without_proof())
    }

    /// Makes the cache one that belongs to no manifest, so that nobody uses its chunks. What is
    /// known of other files is kept.
    pub fn forget_chunks(&mut self) {
        self.drop_what_does_not_count();
        self.text.set_in(CACHE, MANIFEST, "");
        self.text.set_in(INTEGRITY, MANIFEST, "");
        self.text.remove_in(INTEGRITY, CHUNKS);
    }

    /// Makes the cache one that belongs to a manifest, with chunks of these digests.
    pub fn belong_to(&mut self, state: &CacheState<'_>, chunks: &Digests) {
        self.drop_what_does_not_count();
        let manifest = state.manifest.to_string();
        let [repository, key_type] = [state.repository.to_string(), state.key_type.to_string()];
        for (name, value) in [
            ("repository", repository.as_str()),
            (MANIFEST, &manifest),
            ("timestamp", state.timestamp),
            // Whoever counts references from archives has seen those of all features there are.
            ("ignored_features", ""),
            ("mandatory_features", ""),
            (LOCATION, state.location),
            ("key_type", &key_type),
        ] {
            self.text.set_in(CACHE, name, value);
        }
        self.text.set_in(INTEGRITY, MANIFEST, &manifest);
        self.text.set_in(INTEGRITY, CHUNKS, &chunks.to_json());
    }

    fn drop_what_does_not_count(&mut self) {
        if self.is_without_proof() {
            self.text.remove_section(INTEGRITY);
        }
    }

    /// Returns where the repository was when the cache was used last.
    pub fn location(&self) -> Option<&str> {
        let location = self.text.get_in(CACHE, LOCATION);
        location.filter(|location| !location.is_empty())
    }

    /// Sets where the repository was last, or that nothing is known of it.
    pub fn set_location(&mut self, location: Option<&str>) {
        match location {
            Some(location) => self.text.set_in(CACHE, LOCATION, location),
            None => {
                self.text.remove_in(CACHE, LOCATION);
            }
        }
    }
}

/// Tells whether a location can stand in the file: it is one line of text.
pub fn can_hold(location: &[u8]) -> Option<&str> {
    let location = std::str::from_utf8(location).ok()?;
    (!location.contains(char::is_control) && location.trim() == location).then_some(location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::FileDigest;

    const MANIFEST_ID: ChunkId = ChunkId::new([7; 32]);

    fn repository() -> RepositoryId {
        RepositoryId::from_hex(&"ab".repeat(32)).unwrap()
    }

    fn state(repository: &RepositoryId) -> CacheState<'_> {
        CacheState {
            repository: *repository,
            manifest: &MANIFEST_ID,
            timestamp: "2026-01-01T00:00:00.000000",
            key_type: 5,
            location: "/mnt/100% = : full/r",
        }
    }

    #[test]
    fn a_cache_belongs_to_the_manifest_it_was_written_with() {
        let repository = repository();
        let mut config = CacheConfig::new(&repository);
        assert!(!config.is_of(&repository, &MANIFEST_ID));
        config.belong_to(&state(&repository), &FileDigest::new("chunks").finish());
        let mut read = CacheConfig::parse(&config.to_text()).unwrap();
        assert_eq!(read, config);
        assert!(read.is_of(&repository, &MANIFEST_ID));
        assert!(!read.is_of(&repository, &ChunkId::new([8; 32])));
        assert_eq!(read.location(), Some("/mnt/100% = : full/r"));
        read.forget_chunks();
        assert!(!read.is_of(&repository, &MANIFEST_ID) && read.chunks().is_none());
        assert!(read.to_text().contains("manifest = \n"));
    }

    #[test]
    fn digests_of_other_files_are_kept_unless_an_old_version_interfered() {
        let repository = repository();
        let mut config = CacheConfig::new(&repository);
        config.text.set_in(INTEGRITY, "files", "{}");
        let digests = FileDigest::new("chunks").finish();
        config.belong_to(&state(&repository), &digests);
        assert!(config.to_text().contains("files = {}") && !config.is_without_proof());
        config.text.set_in(CACHE, MANIFEST, "00");
        assert!(config.is_without_proof() && config.chunks().is_none());
        config.belong_to(&state(&repository), &digests);
        assert!(!config.to_text().contains("files") && !config.is_without_proof());
    }

    #[test]
    fn other_files_and_versions_are_refused() {
        for text in [
            "[repository]\nversion = 1\n",
            "[cache]\n",
            "[cache]\nversion = 2\n",
            "x",
        ] {
            assert!(CacheConfig::parse(text).is_err(), "{text}");
        }
        for location in [&b"a\nb"[..], b"\xff", b" a"] {
            assert_eq!(can_hold(location), None);
        }
    }
}
