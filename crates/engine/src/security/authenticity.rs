//! Authentication of manifests and archives, with Borg's errors and log lines.

use fastness_format::crypto::Crypto;
use fastness_format::crypto::tam::{self, Context, Requirement, TamError, Verdict};

use super::SecurityError;
use crate::event::{Level, Monitor};

const LOGGER: &str = "borg.crypto.key";

/// Whether the authentication of a manifest or an archive fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticity {
    /// It fits; this is its salt.
    Verified([u8; tam::SALT_LEN]),
    /// It has none that could be verified, and none is required.
    Unverified,
}

/// Verifies a manifest, given as its plaintext. `requirement` is usually
/// [`requirement`] of the key; [`Requirement::Optional`] with `--force` style options.
///
/// # Errors
/// When it must not be trusted.
pub fn verify_manifest(
    crypto: &Crypto,
    plaintext: &[u8],
    requirement: Requirement,
    monitor: &dyn Monitor,
) -> Result<Authenticity, SecurityError> {
    let debug = |text: String| monitor.log(Level::Debug, LOGGER, text);
    match tam::verify(crypto, plaintext, Context::Manifest, requirement) {
        Ok(Verdict::Verified(salt)) => {
            debug("TAM-verified manifest".to_owned());
            Ok(Authenticity::Verified(salt))
        }
        Ok(Verdict::Absent) => {
            debug("Manifest TAM not found and not required".to_owned());
            Ok(Authenticity::Unverified)
        }
        Ok(Verdict::UnknownSuite(suite)) => {
            debug(format!(
                "Ignoring manifest TAM made with unsupported suite, since TAM is not required: '{suite}'"
            ));
            Ok(Authenticity::Unverified)
        }
        Err(TamError::Missing) => Err(SecurityError::TamRequired),
        Err(TamError::Invalid | TamError::Malformed(_)) => Err(SecurityError::TamInvalid),
        Err(TamError::UnsupportedSuite(suite)) => Err(SecurityError::TamUnsupportedSuite(suite)),
        Err(TamError::FutureManifest) => Err(SecurityError::UnsupportedManifest),
    }
}

/// What to do about an archive whose authentication is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongTag {
    /// The archive must not be used.
    Refuse,
    /// It is used as if it had no authentication (`BORG_WORKAROUNDS=ignore_invalid_archive_tam`).
    Ignore,
}

/// Verifies the metadata of an archive, given as its plaintext. `name` is for the message.
///
/// # Errors
/// When it must not be trusted.
pub fn verify_archive(
    crypto: &Crypto,
    plaintext: &[u8],
    name: &[u8],
    requirement: Requirement,
    wrong_tag: WrongTag,
    monitor: &dyn Monitor,
) -> Result<Authenticity, SecurityError> {
    let debug = |text: String| monitor.log(Level::Debug, LOGGER, text);
    match tam::verify(crypto, plaintext, Context::Archive, requirement) {
        Ok(Verdict::Verified(salt)) => {
            debug("TAM-verified archive".to_owned());
            Ok(Authenticity::Verified(salt))
        }
        Ok(Verdict::Absent) => {
            debug("Archive TAM not found and not required".to_owned());
            Ok(Authenticity::Unverified)
        }
        Ok(Verdict::UnknownSuite(suite)) => {
            debug(format!(
                "Ignoring archive TAM made with unsupported suite, since TAM is not required: '{suite}'"
            ));
            Ok(Authenticity::Unverified)
        }
        Err(TamError::Invalid) if wrong_tag == WrongTag::Ignore => {
            debug("ignoring invalid archive TAM due to BORG_WORKAROUNDS".to_owned());
            Ok(Authenticity::Unverified)
        }
        Err(TamError::Missing) => Err(SecurityError::ArchiveTamRequired(
            String::from_utf8_lossy(name).into_owned(),
        )),
        Err(TamError::UnsupportedSuite(suite)) => Err(SecurityError::TamUnsupportedSuite(suite)),
        Err(TamError::Invalid | TamError::Malformed(_) | TamError::FutureManifest) => {
            Err(SecurityError::ArchiveTamInvalid)
        }
    }
}

/// Returns what a key says about the authentication of manifests.
pub fn requirement(crypto: &Crypto) -> Requirement {
    if crypto.tam_required() {
        Requirement::Required
    } else {
        Requirement::Optional
    }
}
