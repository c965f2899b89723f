//! `integrity.T`: checksums of the index and the hints of transaction T.
//!
//! The file is a msgpack map `{version: 2, hints: TEXT, index: TEXT}`; each text is JSON:
//! `{"algorithm": "XXH64", "digests": {"HashHeader": "<16 hex>", "final": "<16 hex>"}}`.
//!
//! A digest is that of one running XXH64 (seed 0) over: the length of the file's name (decimal,
//! right-aligned to ten places) and the name; the file's bytes; and at each named part the same
//! form of the part's name and the position in the file. It guards against accidents only.

use std::hash::Hasher;

use twox_hash::XxHash64;

use crate::msgpack::{self, Value};

/// Name of the part that ends with the header of a hash index.
pub const PART_HEADER: &str = "HashHeader";
const PART_FINAL: &str = "final";
const ALGORITHM: &str = "XXH64";

/// Computes the digests of one file while it is read or written.
#[derive(Clone)]
pub struct FileDigest {
    state: XxHash64,
    position: u64,
    parts: Vec<(&'static str, u64)>,
}

impl FileDigest {
    /// Begins a file; `name` is its last component once it is in place, such as `index.9`.
    pub fn new(name: &str) -> Self {
        let mut digest = Self {
            state: XxHash64::with_seed(0),
            position: 0,
            parts: Vec::new(),
        };
        digest.name(name);
        digest
    }

    fn name(&mut self, name: &str) {
        self.state.write(format!("{:>10}", name.len()).as_bytes());
        self.state.write(name.as_bytes());
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.write(bytes);
        self.position += bytes.len() as u64;
    }

    /// Ends a part here.
    pub fn part(&mut self, name: &'static str) {
        self.name(name);
        self.state.write(self.position.to_string().as_bytes());
        self.parts.push((name, self.state.finish()));
    }

    /// Ends the file.
    pub fn finish(mut self) -> Digests {
        self.part(PART_FINAL);
        Digests(
            self.parts
                .into_iter()
                .map(|(name, digest)| (name.to_owned(), format!("{digest:016x}")))
                .collect(),
        )
    }
}

/// The digests of one file, by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests(Vec<(String, String)>);

impl Digests {
    /// The JSON text that Borg writes for them.
    pub fn to_json(&self) -> String {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|(name, digest)| format!("\"{name}\": \"{digest}\""))
            .collect();
        format!(
            "{{\"algorithm\": \"{ALGORITHM}\", \"digests\": {{{}}}}}",
            parts.join(", ")
        )
    }

    /// Reads what [`Digests::to_json`] writes.
    ///
    /// # Errors
    /// When it is something else, or of another algorithm.
    pub fn from_json(text: &str) -> Result<Self, IntegrityError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|_| IntegrityError::Malformed)?;
        let algorithm = value
            .get("algorithm")
            .and_then(|algorithm| algorithm.as_str())
            .ok_or(IntegrityError::Malformed)?;
        if algorithm != ALGORITHM {
            return Err(IntegrityError::UnknownAlgorithm(algorithm.to_owned()));
        }
        let digests = value
            .get("digests")
            .and_then(|digests| digests.as_object())
            .ok_or(IntegrityError::Malformed)?;
        digests
            .iter()
            .map(|(name, digest)| Some((name.clone(), digest.as_str()?.to_owned())))
            .collect::<Option<_>>()
            .map(Self)
            .ok_or(IntegrityError::Malformed)
    }

    /// Tells whether `actual` has every part that these digests have, with the same values.
    pub fn agree_with(&self, actual: &Self) -> bool {
        self.0.iter().any(|(name, _)| name == PART_FINAL)
            && self.0.iter().all(|part| actual.0.contains(part))
    }
}

/// Why integrity data cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntegrityError {
    /// It is not what it should be; what it stands for counts as damaged.
    #[error("malformed integrity data")]
    Malformed,
    /// It is of a version not known here; nothing can be verified.
    #[error("unknown integrity data version")]
    UnknownVersion,
    /// It is of an algorithm not known here; nothing can be verified.
    #[error("unknown integrity algorithm {0:?}")]
    UnknownAlgorithm(String),
}

/// The texts in `integrity.T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntegrityFile {
    /// Digests of `hints.T` as JSON.
    pub hints: String,
    /// Digests of `index.T` as JSON.
    pub index: String,
}

impl IntegrityFile {
    /// Returns the content of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        msgpack::write_map_len(&mut out, 3);
        msgpack::write_raw(&mut out, b"version");
        msgpack::write_uint(&mut out, 2);
        for (name, text) in [("hints", &self.hints), ("index", &self.index)] {
            msgpack::write_raw(&mut out, name.as_bytes());
            msgpack::write_raw(&mut out, text.as_bytes());
        }
        out
    }

    /// Reads the content of the file.
    ///
    /// # Errors
    /// When it is malformed or of an unknown version.
    pub fn decode(bytes: &[u8]) -> Result<Self, IntegrityError> {
        let value = Value::decode(bytes).map_err(|_| IntegrityError::Malformed)?;
        if value.get(b"version").and_then(Value::as_int) != Some(2) {
            return Err(IntegrityError::UnknownVersion);
        }
        let text = |name: &[u8]| {
            value
                .get(name)
                .and_then(Value::as_raw)
                .and_then(|raw| String::from_utf8(raw.to_vec()).ok())
                .ok_or(IntegrityError::Malformed)
        };
        Ok(Self {
            hints: text(b"hints")?,
            index: text(b"index")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_read_back_as_written() {
        let mut digest = FileDigest::new("index.9");
        digest.update(b"header");
        digest.part(PART_HEADER);
        digest.update(b"the rest");
        let digests = digest.finish();
        let read = Digests::from_json(&digests.to_json()).unwrap();
        assert!(read.agree_with(&digests));
        let other = FileDigest::new("index.8").finish();
        assert!(!read.agree_with(&other));
        let file = IntegrityFile {
            hints: other.to_json(),
            index: digests.to_json(),
        };
        assert_eq!(IntegrityFile::decode(&file.encode()), Ok(file));
    }

    #[test]
    fn pieces_make_the_same_digest_as_the_whole() {
        let mut whole = FileDigest::new("hints.9");
        whole.update(b"some bytes");
        let mut pieces = FileDigest::new("hints.9");
        pieces.update(b"some");
        pieces.update(b" bytes");
        assert_eq!(whole.finish(), pieces.finish());
    }

    #[test]
    fn other_versions_and_algorithms_are_told_from_damage() {
        let mut bytes = Vec::new();
        Value::Map(vec![(Value::text("version"), Value::Int(3))]).write(&mut bytes);
        assert_eq!(
            IntegrityFile::decode(&bytes),
            Err(IntegrityError::UnknownVersion)
        );
        assert_eq!(
            IntegrityFile::decode(b"\xff\xff"),
            Err(IntegrityError::Malformed)
        );
        assert_eq!(
            Digests::from_json(r#"{"algorithm": "SHA512", "digests": {}}"#),
            Err(IntegrityError::UnknownAlgorithm("SHA512".to_owned()))
        );
        assert_eq!(Digests::from_json("{"), Err(IntegrityError::Malformed));
        let empty = Digests::from_json(r#"{"algorithm": "XXH64", "digests": {}}"#).unwrap();
        assert!(!empty.agree_with(&FileDigest::new("hints.9").finish()));
    }
}
