//! The eight modes a repository can be in, each named by one byte.
//!
//! The first byte of every stored object is the type byte of the mode it was written in. The mode
//! decides how objects are enciphered and authenticated, how ids are computed and where the key
//! is kept:
//!
//! | byte | `--encryption` | cipher | MAC | id hash | key kept in |
//! |---|---|---|---|---|---|
//! | 0 | keyfile | AES-256-CTR | HMAC-SHA256 | HMAC-SHA256 | key file |
//! | 1 | (passphrase, before 1.0) | AES-256-CTR | HMAC-SHA256 | HMAC-SHA256 | nowhere: derived |
//! | 2 | none | – | – | SHA-256 | – |
//! | 3 | repokey | AES-256-CTR | HMAC-SHA256 | HMAC-SHA256 | repository config |
//! | 4 | keyfile-blake2 | AES-256-CTR | BLAKE2b-256 | BLAKE2b-256 | key file |
//! | 5 | repokey-blake2 | AES-256-CTR | BLAKE2b-256 | BLAKE2b-256 | repository config |
//! | 6 | authenticated-blake2 | – | – | BLAKE2b-256 | repository config |
//! | 7 | authenticated | – | – | HMAC-SHA256 | repository config |

/// The mode of a repository, by its type byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeyType {
    /// Encrypted, HMAC-SHA256, the key in a file on the client.
    Keyfile = 0,
    /// Encrypted with a key derived from the passphrase; cannot be made since Borg 1.0.
    Passphrase = 1,
    /// Neither encrypted nor authenticated.
    Plaintext = 2,
    /// Encrypted, HMAC-SHA256, the key in the repository.
    Repokey = 3,
    /// Encrypted, BLAKE2b, the key in a file on the client.
    KeyfileBlake2 = 4,
    /// Encrypted, BLAKE2b, the key in the repository.
    RepokeyBlake2 = 5,
    /// Not encrypted, ids keyed with BLAKE2b, the key in the repository.
    AuthenticatedBlake2 = 6,
    /// Not encrypted, ids keyed with HMAC-SHA256, the key in the repository.
    Authenticated = 7,
}

/// How the id of a chunk is computed from its plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IdHashKind {
    /// SHA-256, without a key.
    Sha256,
    /// HMAC-SHA256 under the id key.
    HmacSha256,
    /// BLAKE2b-256 of the 128-byte id key and the data after it.
    Blake2b,
}

/// Where the encrypted key of a repository is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyStorage {
    /// In a file in the keys directory of the client.
    Keyfile,
    /// In the config file of the repository.
    Repository,
    /// There is no key.
    None,
    /// The key is computed from the passphrase.
    Derived,
}

impl KeyType {
    /// All modes a repository can be created in, in the order in which Borg offers them.
    pub const CREATABLE: [Self; 7] = [
        Self::Plaintext,
        Self::Keyfile,
        Self::Repokey,
        Self::Authenticated,
        Self::KeyfileBlake2,
        Self::RepokeyBlake2,
        Self::AuthenticatedBlake2,
    ];

    /// Returns the mode of a type byte.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Keyfile,
            1 => Self::Passphrase,
            2 => Self::Plaintext,
            3 => Self::Repokey,
            4 => Self::KeyfileBlake2,
            5 => Self::RepokeyBlake2,
            6 => Self::AuthenticatedBlake2,
            7 => Self::Authenticated,
            _ => return None,
        })
    }

    /// Returns the type byte.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// Returns the mode that `--encryption` names.
    pub fn from_argument(argument: &str) -> Option<Self> {
        Self::CREATABLE
            .into_iter()
            .find(|key_type| key_type.argument() == argument)
    }

    /// Returns the name used with `--encryption`.
    pub const fn argument(self) -> &'static str {
        match self {
            Self::Keyfile => "keyfile",
            Self::Passphrase => "passphrase",
            Self::Plaintext => "none",
            Self::Repokey => "repokey",
            Self::KeyfileBlake2 => "keyfile-blake2",
            Self::RepokeyBlake2 => "repokey-blake2",
            Self::AuthenticatedBlake2 => "authenticated-blake2",
            Self::Authenticated => "authenticated",
        }
    }

    /// Returns the name shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keyfile => "key file",
            Self::Passphrase => "passphrase",
            Self::Plaintext => "plaintext",
            Self::Repokey => "repokey",
            Self::KeyfileBlake2 => "key file BLAKE2b",
            Self::RepokeyBlake2 => "repokey BLAKE2b",
            Self::AuthenticatedBlake2 => "authenticated BLAKE2b",
            Self::Authenticated => "authenticated",
        }
    }

    /// Tells whether objects are encrypted (and carry a MAC).
    pub const fn encrypts(self) -> bool {
        !matches!(
            self,
            Self::Plaintext | Self::Authenticated | Self::AuthenticatedBlake2
        )
    }

    /// Returns how ids are computed.
    pub const fn id_hash(self) -> IdHashKind {
        match self {
            Self::Plaintext => IdHashKind::Sha256,
            Self::Keyfile | Self::Passphrase | Self::Repokey | Self::Authenticated => {
                IdHashKind::HmacSha256
            }
            Self::KeyfileBlake2 | Self::RepokeyBlake2 | Self::AuthenticatedBlake2 => {
                IdHashKind::Blake2b
            }
        }
    }

    /// Returns where the key is kept.
    pub const fn storage(self) -> KeyStorage {
        match self {
            Self::Keyfile | Self::KeyfileBlake2 => KeyStorage::Keyfile,
            Self::Repokey
            | Self::RepokeyBlake2
            | Self::Authenticated
            | Self::AuthenticatedBlake2 => KeyStorage::Repository,
            Self::Plaintext => KeyStorage::None,
            Self::Passphrase => KeyStorage::Derived,
        }
    }

    /// Tells whether an object with this type byte may be in a repository of this mode.
    ///
    /// A repository that was migrated from the passphrase mode keeps its old objects.
    pub const fn accepts(self, byte: u8) -> bool {
        byte == self.byte() || (byte == 1 && matches!(self, Self::Repokey | Self::RepokeyBlake2))
    }

    /// Returns the mode in which a repository is opened whose manifest has this type byte.
    ///
    /// The passphrase mode counts as repokey: Borg takes for granted that the key was migrated.
    pub const fn of_manifest(byte: u8) -> Option<Self> {
        match Self::from_byte(byte) {
            Some(Self::Passphrase) => Some(Self::Repokey),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_arguments_read_back() {
        for byte in 0..8 {
            assert_eq!(KeyType::from_byte(byte).map(KeyType::byte), Some(byte));
        }
        assert_eq!(KeyType::from_byte(8), None);
        for key_type in KeyType::CREATABLE {
            assert_eq!(KeyType::from_argument(key_type.argument()), Some(key_type));
        }
        assert_eq!(KeyType::from_argument("passphrase"), None);
    }

    #[test]
    fn objects_of_the_passphrase_mode_belong_only_to_repokey_repositories() {
        for key_type in KeyType::CREATABLE {
            let repokey = matches!(key_type, KeyType::Repokey | KeyType::RepokeyBlake2);
            assert_eq!(key_type.accepts(1), repokey, "{key_type:?}");
        }
        assert_eq!(KeyType::of_manifest(1), Some(KeyType::Repokey));
    }
}
