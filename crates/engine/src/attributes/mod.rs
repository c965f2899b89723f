//! The metadata of file system objects: from the file system into items, and back.
//!
//! What is wrong with one object is a [`SourceError`]; the caller tells it with the path in front
//! and goes on. A single extended attribute that could not be read or set is only an
//! [`XattrWarning`]: the rest of the object was dealt with.

mod error;
mod read;
mod restore;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use fastness_sys::users::Accounts;

pub use error::{SourceError, XattrAction, XattrWarning};
pub use read::{check_same_file, read_entry, read_open};
pub use restore::{owner, restore};

/// Which metadata is archived or restored; the times concern archiving only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttributeOptions {
    /// No names of users and groups, numbers only.
    pub numeric_ids: bool,
    /// Also the time of last access.
    pub atime: bool,
    /// Not the time of the last change of the inode.
    pub no_ctime: bool,
    /// No file flags.
    pub no_flags: bool,
    /// No ACLs.
    pub no_acls: bool,
    /// No extended attributes.
    pub no_xattrs: bool,
}

/// Names of users and groups, remembered, for all threads.
#[derive(Debug, Default)]
pub struct Names {
    accounts: Mutex<Accounts>,
    /// Devices whose file system has said that it keeps no flags, which is worth a name, too:
    /// asking again would cost an open for each file.
    flagless: Mutex<Vec<u64>>,
}

impl Names {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Accounts) -> T) -> T {
        // The memory of answers is valid between any two statements.
        ask(&mut self.accounts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with_flagless<T>(&self, ask: impl FnOnce(&mut Vec<u64>) -> T) -> T {
        ask(&mut self.flagless.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names of a user and a group.
    pub fn of(&self, uid: u32, gid: u32) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        self.with(|accounts| {
            (
                accounts.user_name(uid).map(<[u8]>::to_vec),
                accounts.group_name(gid).map(<[u8]>::to_vec),
            )
        })
    }
}

/// How metadata is read and restored.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// What is wanted.
    pub options: AttributeOptions,
    /// Names of users and groups.
    pub names: &'a Names,
}
