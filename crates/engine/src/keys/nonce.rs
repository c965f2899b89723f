//! Counter values for AES-CTR, handed out so that none is ever used twice with a key.
//!
//! Not by two threads, not after a crash, not by another client. Before anything that was made with
//! a value of a range leaves this process, the whole range (2²⁸ blocks, 4 GiB) is reserved durably:
//! in the repository (a distant one may still be agreeing; nothing is sent to it before), which
//! other clients see, and in the client's security directory, which an attacker who puts an old
//! state of the repository back does not reach. Both places are the ones Borg uses, so that both
//! programs may write to one repository in turn.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fastness_format::crypto::Crypto;
use fastness_repository::{NonceStore, RepositoryError};

use crate::directories;

/// Blocks reserved beyond what is needed at once.
pub const RESERVATION: u64 = 1 << 28;
const FILE: &str = "nonce";

/// Why no counter values can be had. Nothing may be encrypted then.
#[derive(Debug, thiserror::Error)]
pub enum NonceError {
    /// The repository does not reserve.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The file in the security directory holds something else than 16 hexadecimal digits.
    #[error("Local security dir has an invalid nonce file: {}", .0.display())]
    InvalidLocal(PathBuf),
    /// The file in the security directory cannot be read or written.
    #[error("{}: cannot reserve nonces", path.display())]
    Local {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody else reserved at the same time.
    #[error("nonce space reservation with mismatched previous state")]
    Mismatch,
    /// All 2⁶⁴ values are used up, or a nonce file says so.
    #[error("no nonces are left for this key")]
    Exhausted,
}

impl NonceError {
    /// Borg's name of the error.
    pub fn msgid(&self) -> &str {
        match self {
            Self::Repository(error) => error.msgid(),
            _ => "Error",
        }
    }
}

/// Hands out counter values; shared by all threads that seal.
pub struct NonceAllocator {
    store: Arc<dyn NonceStore>,
    file: PathBuf,
    /// A value above all that the manifest proves to be used.
    from_manifest: u64,
    state: Mutex<State>,
}

struct State {
    next: u64,
    /// Values below are reserved; none at the beginning.
    end: Option<u64>,
}

/// Returns the first value that the objects up to this manifest cannot have used; 0 for a new
/// repository or a mode that does not encrypt.
pub fn after_manifest(crypto: &Crypto, manifest: &[u8]) -> u64 {
    // Borg counts the blocks of the whole object, which is a few more than were encrypted.
    let blocks = (manifest.len() as u64).div_ceil(16);
    match crypto.counter_of(manifest) {
        Some(counter) => counter.saturating_add(blocks),
        None => 0,
    }
}

impl NonceAllocator {
    /// Prepares to hand out values; reserves none yet.
    ///
    /// `security_directory` is that of the repository; `from_manifest` is what
    /// [`after_manifest`] returns, or 0 for a new repository.
    pub fn new(store: Arc<dyn NonceStore>, security_directory: &Path, from_manifest: u64) -> Self {
        Self {
            store,
            file: security_directory.join(FILE),
            from_manifest,
            state: Mutex::new(State {
                next: from_manifest,
                end: None,
            }),
        }
    }

    /// Hands out values for objects that are dropped as soon as they are made, and never leave this
    /// process: nothing is reserved for them, anywhere.
    pub(crate) fn for_dropped_objects(store: Arc<dyn NonceStore>) -> Self {
        Self {
            store,
            file: PathBuf::new(),
            from_manifest: 0,
            state: Mutex::new(State {
                next: 0,
                end: Some(u64::MAX),
            }),
        }
    }

    /// Takes `blocks` values and returns the first of them. The reservation that covers them is
    /// durable when this returns, or before the repository lets anything out that is put there.
    /// Zero blocks need no reservation.
    ///
    /// # Errors
    /// When the reservation fails or the values are used up. What was reserved before remains.
    pub fn reserve(&self, blocks: u64) -> Result<u64, NonceError> {
        // A thread that panicked inside changed nothing or took values that are lost: both are safe.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks == 0 {
            return Ok(state.next);
        }
        let after = state.next.checked_add(blocks);
        match (state.end, after) {
            (Some(end), Some(after)) if after <= end => {
                let first = state.next;
                state.next = after;
                Ok(first)
            }
            _ => {
                let (first, end) = self.reserve_range(blocks, state.end)?;
                state.next = first + blocks;
                state.end = Some(end);
                Ok(first)
            }
        }
    }

    /// Reserves a range for `blocks` and more; returns its first value and its end.
    fn reserve_range(&self, blocks: u64, end: Option<u64>) -> Result<(u64, u64), NonceError> {
        let in_repository = self.store.get_free_nonce()?;
        let here = self.read_local()?;
        let first = [in_repository, here, Some(self.from_manifest), end]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(self.from_manifest);
        let end = first
            .checked_add(blocks)
            .and_then(|end| end.checked_add(RESERVATION))
            .filter(|end| *end < u64::MAX)
            .ok_or(NonceError::Exhausted)?;
        self.store.commit_nonce_reservation(end, in_repository)?;
        self.commit_local(end, here)?;
        Ok((first, end))
    }

    fn read_local(&self) -> Result<Option<u64>, NonceError> {
        let text = match fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.local_error(source)),
        };
        let digits = text.trim_ascii();
        let number = std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|text| u64::from_str_radix(text, 16).ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(NonceError::InvalidLocal(self.file.clone())),
        }
    }

    fn commit_local(&self, next: u64, expected: Option<u64>) -> Result<(), NonceError> {
        if self.read_local()? != expected {
            return Err(NonceError::Mismatch);
        }
        let text = format!("{next:016x}");
        if let Some(directory) = self.file.parent() {
            directories::ensure(directory).map_err(|source| self.local_error(source))?;
        }
        directories::replace_file(&self.file, text.as_bytes())
            .map_err(|source| self.local_error(source))
    }

    fn local_error(&self, source: io::Error) -> NonceError {
        NonceError::Local {
            path: self.file.clone(),
            source,
        }
    }
}
