//! The merged view: every file is a directory, its contents of all times are the files in it.
//!
//! Names are Borg's: the number of the version stands before the last extension, so that programs
//! still know what kind of file it is. A content that follows itself is no new version.

use fastness_format::id::ChunkId;

/// The newest version of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct VersionOf {
    /// Its number, from 1.
    pub(super) number: u32,
    /// Tells contents from each other.
    pub(super) content: ChunkId,
    /// The archive that it was met in last, by the place where its items begin.
    pub(super) archive: u64,
}

impl VersionOf {
    /// Returns the version after `before` of a file with this content.
    pub(super) fn after(before: Option<&Self>, content: ChunkId, archive: u64) -> Self {
        let number = match before {
            Some(before) if before.content == content => before.number,
            Some(before) => before.number.saturating_add(1),
            None => 1,
        };
        Self {
            number,
            content,
            archive,
        }
    }
}

/// Returns the name of a version of a file.
pub(super) fn versioned_name(name: &[u8], number: u32) -> Vec<u8> {
    // Dots at the beginning make a hidden file, not an extension.
    let hidden = name.iter().take_while(|byte| **byte == b'.').count();
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let at = dot.filter(|dot| *dot > hidden).unwrap_or(name.len());
    let (stem, extension) = name.split_at_checked(at).unwrap_or((name, b""));
    let mut versioned = stem.to_vec();
    versioned.extend_from_slice(format!(".{number:05}").as_bytes());
    versioned.extend_from_slice(extension);
    versioned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_stands_before_the_last_extension() {
        for (name, versioned) in [
            ("a", "a.00001"),
            ("a.txt", "a.00001.txt"),
            ("a.tar.gz", "a.tar.00001.gz"),
            (".hidden", ".hidden.00001"),
            ("..two", "..two.00001"),
            (".hidden.txt", ".hidden.00001.txt"),
            ("dot.", "dot.00001."),
            ("...", "....00001"),
        ] {
            let got = versioned_name(name.as_bytes(), 1);
            assert_eq!(String::from_utf8(got).unwrap(), versioned);
        }
        assert_eq!(versioned_name(b"a", 123_456), b"a.123456");
    }
}
