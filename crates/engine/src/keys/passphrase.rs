//! Passphrases: where they come from and how often they are asked for.
//!
//! The engine neither reads the environment nor prompts. A [`PassphraseSource`] does; this module
//! holds the rules by which it is asked.

use std::fmt;

use zeroize::Zeroizing;

use super::KeyError;

/// A passphrase: bytes that are wiped when dropped and never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes a passphrase as it was typed; text is UTF-8, without normalization.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// Returns the bytes.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Tells whether it is the empty passphrase, which protects nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(***)")
    }
}

/// Gets passphrases from the user. Implemented above the engine.
pub trait PassphraseSource {
    /// Returns the passphrase that is given without asking: `BORG_PASSPHRASE`, then what
    /// `BORG_PASSCOMMAND` prints, then what `BORG_PASSPHRASE_FD` reads. It may be empty.
    ///
    /// # Errors
    /// [`KeyError::Passcommand`] when the command fails.
    fn given(&self) -> Result<Option<Passphrase>, KeyError>;

    /// Returns the passphrase that is given for new keys only: `BORG_NEW_PASSPHRASE`.
    fn given_new(&self) -> Option<Passphrase>;

    /// Asks at the terminal, without showing what is typed.
    ///
    /// # Errors
    /// [`KeyError::NoPassphrase`] when there is no terminal or its input ends.
    fn prompt(&self, text: &str) -> Result<Passphrase, KeyError>;

    /// Says something to the user who is typing a new passphrase.
    fn tell(&self, text: &str);

    /// Offers to show a new passphrase that was just typed twice (`BORG_DISPLAY_PASSPHRASE`).
    fn offer_display(&self, passphrase: &Passphrase);
}

/// How often an existing passphrase may be typed.
const ATTEMPTS: usize = 3;
/// How often a new passphrase may be typed until both times agree.
const NEW_ATTEMPTS: usize = 10;

/// Finds the passphrase of an existing key: the given one, or the empty one, or what is typed.
///
/// `fits` tries one; it returns the key, or `None` if the passphrase is wrong.
///
/// # Errors
/// [`KeyError::PassphraseWrong`] when a given one does not fit: then nobody is asked.
/// [`KeyError::PasswordRetriesExceeded`] when the typed ones do not; what `fits` returns.
pub fn find<T>(
    source: &dyn PassphraseSource,
    key_name: &str,
    mut fits: impl FnMut(&Passphrase) -> Result<Option<T>, KeyError>,
) -> Result<(T, Passphrase), KeyError> {
    if let Some(passphrase) = source.given()? {
        let key = fits(&passphrase)?.ok_or(KeyError::PassphraseWrong)?;
        return Ok((key, passphrase));
    }
    let empty = Passphrase::default();
    if let Some(key) = fits(&empty)? {
        return Ok((key, empty));
    }
    let text = format!("Enter passphrase for key {key_name}: ");
    for _ in 0..ATTEMPTS {
        let passphrase = source.prompt(&text)?;
        if let Some(key) = fits(&passphrase)? {
            return Ok((key, passphrase));
        }
    }
    Err(KeyError::PasswordRetriesExceeded)
}

/// Gets the passphrase of a new key, which may be empty.
///
/// # Errors
/// What the source returns; [`KeyError::PasswordRetriesExceeded`] when two entries never agreed.
pub fn new(source: &dyn PassphraseSource) -> Result<Passphrase, KeyError> {
    if let Some(passphrase) = source.given_new() {
        return Ok(passphrase);
    }
    if let Some(passphrase) = source.given()? {
        return Ok(passphrase);
    }
    for _ in 0..NEW_ATTEMPTS {
        let passphrase = source.prompt("Enter new passphrase: ")?;
        let again = source.prompt("Enter same passphrase again: ")?;
        if passphrase == again {
            source.offer_display(&passphrase);
            source.tell("Remember your passphrase. Your data will be inaccessible without it.");
            return Ok(passphrase);
        }
        source.tell("Passphrases do not match");
    }
    Err(KeyError::PasswordRetriesExceeded)
}
