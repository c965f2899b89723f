//! `key change-passphrase`: the same key under another passphrase.

use std::ffi::OsString;

use crate::options::CommonOptions;

/// Change the passphrase that protects the key
///
/// The key itself stays the same: whoever has an old copy of it and the old passphrase can still
/// use both.
#[derive(Clone, Debug, clap::Parser)]
pub struct ChangePassphrase {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    pub location: Option<OsString>,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
