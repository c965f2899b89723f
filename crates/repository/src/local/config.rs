//! The config file, and the nonce file beside it: small files that are replaced as a whole.
//!
//! The config may hold the encrypted key. While it is replaced the old one has a second name,
//! `config.old`, which is overwritten before it is removed, so that an old key does not stay on
//! the disk. (On most of today's disks it may do so all the same.)

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fastness_format::repository_config::{ConfigError, ConfigText};

use crate::NonceStore;
use crate::error::{RepositoryError, Result};
use crate::monitor::Monitor;
use crate::storage;

const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Makes the error of a config that cannot be used.
pub(super) fn invalid(repository: &Path, error: &ConfigError) -> RepositoryError {
    RepositoryError::InvalidRepositoryConfig {
        location: repository.display().to_string(),
        reason: error.to_string(),
    }
}

/// Reads the config.
pub(super) fn read(repository: &Path) -> Result<ConfigText> {
    let bytes = storage::read_small(&repository.join("config"), MAX_CONFIG_BYTES)?
        .ok_or_else(|| RepositoryError::InvalidRepository(repository.display().to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| RepositoryError::InvalidRepositoryConfig {
        location: repository.display().to_string(),
        reason: "it is no text".to_owned(),
    })?;
    ConfigText::parse(&text).map_err(|error| invalid(repository, &error))
}

/// Replaces the config.
pub(super) fn write(repository: &Path, config: &ConfigText, monitor: &dyn Monitor) -> Result<()> {
    let path = repository.join("config");
    let old = repository.join("config.old");
    if old.exists() {
        monitor.warning("Old config file not securely erased on previous config update");
        storage::erase(&old)?;
    }
    if path.exists()
        && let Err(error) = std::fs::hard_link(&path, &old)
    {
        if !no_hard_links(&error) {
            return Err(storage::failed("link", &old)(error));
        }
        monitor.warning(
            "Failed to securely erase old repository config file (hardlinks not supported). \
             Old repokey data, if any, might persist on physical storage.",
        );
    }
    storage::replace(&path, config.to_text().as_bytes())?;
    storage::erase(&old)
}

fn no_hard_links(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::TooManyLinks
    ) || [Errno::NOSYS, Errno::NOTSUP, Errno::IO]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Changes options of the config, starting from what it is now. Nothing is written if `change`
/// changes nothing.
pub(super) fn update(
    repository: &Path,
    monitor: &dyn Monitor,
    change: impl FnOnce(&mut ConfigText),
) -> Result<()> {
    let before = read(repository)?;
    let mut after = before.clone();
    change(&mut after);
    if before == after {
        return Ok(());
    }
    write(repository, &after, monitor)
}

/// The file `nonce`: 16 hexadecimal digits, the first counter value that nobody reserved.
#[derive(Debug)]
pub(super) struct NonceFile {
    path: PathBuf,
    /// Held while the file is read and replaced.
    turn: Mutex<()>,
}

impl NonceFile {
    pub(super) fn new(repository: &Path) -> Self {
        Self {
            path: repository.join("nonce"),
            turn: Mutex::default(),
        }
    }
}

impl NonceStore for NonceFile {
    fn get_free_nonce(&self) -> Result<Option<u64>> {
        let Some(bytes) = storage::read_small(&self.path, 1024)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let digits = text.trim();
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(digits, 16) {
            Ok(nonce) if digits.len() == 16 && hexadecimal => Ok(Some(nonce)),
            _ => Err(RepositoryError::InvalidNonce(format!("{digits:?}"))),
        }
    }

    fn commit_nonce_reservation(&self, next_unreserved: u64, expected: Option<u64>) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Going back would hand out values a second time.
        if self.get_free_nonce()? != expected || expected.is_some_and(|now| next_unreserved < now) {
            return Err(RepositoryError::NonceMismatch);
        }
        storage::replace(&self.path, format!("{next_unreserved:016x}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;

    #[test]
    fn the_old_config_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ConfigText::parse("[repository]\nid = 1\n").unwrap();
        write(dir.path(), &config, &Silent).unwrap();
        config.set("key", "a\nb");
        std::fs::write(dir.path().join("config.old"), "left over").unwrap();
        write(dir.path(), &config, &Silent).unwrap();
        assert_eq!(storage::names(dir.path()).unwrap(), ["config"]);
        assert_eq!(read(dir.path()).unwrap(), config);
    }

    #[test]
    fn nonces_are_reserved_by_those_who_know_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = NonceFile::new(dir.path());
        assert_eq!(nonces.get_free_nonce().unwrap(), None);
        nonces.commit_nonce_reservation(0x1000, None).unwrap();
        let text = std::fs::read_to_string(dir.path().join("nonce")).unwrap();
        assert_eq!(text, "0000000000001000");
        for (next, expected) in [(0x3000, None), (0x3000, Some(1)), (0xfff, Some(0x1000))] {
            assert!(matches!(
                nonces.commit_nonce_reservation(next, expected),
                Err(RepositoryError::NonceMismatch)
            ));
        }
        nonces
            .commit_nonce_reservation(u64::MAX, Some(0x1000))
            .unwrap();
        assert_eq!(nonces.get_free_nonce().unwrap(), Some(u64::MAX));
    }

    #[test]
    fn a_nonce_file_with_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let nonces = NonceFile::new(dir.path());
        for text in [
            "",
            "12",
            "+000000000000001",
            "00000000000000zz",
            "000000000000000000",
        ] {
            std::fs::write(dir.path().join("nonce"), text).unwrap();
            assert!(nonces.get_free_nonce().is_err(), "{text}");
            assert!(nonces.commit_nonce_reservation(5, None).is_err());
        }
    }
}
