//! Identifiers and numbers of the repository format, each a type of its own.
//!
//! Ids are 32 bytes, printed as 64 lower-case hexadecimal digits. Numbers are kept in newtypes so
//! that a segment number cannot be passed where an offset is meant.

use std::fmt;

/// A text that is not the hexadecimal form of a 32-byte id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a 64-digit hexadecimal id: {0:?}")]
pub struct InvalidId(pub String);

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = 32;

            /// Makes an id of its 32 bytes.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Returns the 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Makes an id of a slice, if that has 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Reads 64 hexadecimal digits, upper or lower case.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is anything else.
            pub fn from_hex(text: &str) -> Result<Self, InvalidId> {
                data_encoding::HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| Self::from_slice(&bytes))
                    .ok_or_else(|| InvalidId(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id_type! {
    /// Key of an object in a repository; for all but the manifest the id hash of its plaintext.
    ChunkId
}
id_type! {
    /// The random identity of a repository (`id` in its config file).
    RepositoryId
}

impl ChunkId {
    /// The id under which the manifest is stored: 32 zero bytes.
    pub const MANIFEST: Self = Self([0; 32]);
}

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_type! {
    /// Number of a segment file; also the number of the transaction that ends in it.
    SegmentNumber
}
number_type! {
    /// Offset in bytes of an entry in its segment file (of its crc field).
    EntryOffset
}

impl SegmentNumber {
    /// The highest number a hash index can store; everything above marks empty or deleted buckets.
    pub const MAX: Self = Self(4_294_966_271);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_form_reads_back() {
        let id = ChunkId::new([0xa5; 32]);
        assert_eq!(ChunkId::from_hex(&id.to_string()), Ok(id));
        assert_eq!(ChunkId::from_hex(&id.to_string().to_uppercase()), Ok(id));
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert_eq!(ChunkId::from_hex(text), Err(InvalidId(text.to_owned())));
        }
    }
}
