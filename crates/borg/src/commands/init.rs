//! `init`: a new repository.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::options::CommonOptions;
use crate::options::values::storage_quota;

/// Initialize a new repository
///
/// The repository is a directory that is made for it. Its data is encrypted by a key, and the
/// key by a passphrase; without both, nothing in it can ever be read again. Export the key and
/// keep it, with the passphrase, at another place.
///
/// MODE says where the key is and which hash makes the ids of chunks:
///
///   repokey-blake2, repokey               the key is in the repository
///   keyfile-blake2, keyfile               the key is in a file of this user
///   authenticated-blake2, authenticated   not encrypted, but protected against changes
///   none                                  neither
///
/// The blake2 modes are faster on machines without SHA instructions.
#[derive(Clone, Debug, clap::Parser)]
pub struct Init {
    /// The new repository
    #[arg(value_name = "REPOSITORY")]
    pub location: Option<OsString>,
    /// How data is encrypted and authenticated
    #[arg(short, long, value_name = "MODE", value_parser = [
        "none", "keyfile", "repokey", "keyfile-blake2", "repokey-blake2", "authenticated",
        "authenticated-blake2",
    ])]
    pub encryption: String,
    /// Keep everything ever written: what is deleted stays until the mode is changed
    #[arg(long)]
    pub append_only: bool,
    /// Let the repository grow to QUOTA (5G, 1.5T) and no further
    #[arg(long, value_name = "QUOTA", value_parser = storage_quota)]
    pub storage_quota: Option<u64>,
    /// Also make the directories above the repository
    #[arg(long)]
    pub make_parent_dirs: bool,
    /// Share the ids and cuts of chunks with the repository whose secrets are in PATH
    #[arg(long, value_name = "PATH")]
    pub import_related_secrets: Option<PathBuf>,
    /// Options of all commands.
    #[command(flatten)]
    pub common: CommonOptions,
}
