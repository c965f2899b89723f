//! Names and numbers of users and groups, as the system's own lookup gives them.
//!
//! Asks libc, so that LDAP and the like configured in `nsswitch.conf` count. Each
//! question may go over a network, so [`Accounts`] remembers every answer, also
//! "unknown". Borg looks up both ways: numbers to names when it archives, names to
//! numbers when it restores.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::path::PathBuf;

use libc::{c_char, c_int};

/// A larger record than this (a group with very many members) is given up.
const MOST_BYTES: usize = 16 << 20;

/// Lookups of users and groups with a memory; one per thread.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    user_names: HashMap<u32, Option<Box<[u8]>>>,
    group_names: HashMap<u32, Option<Box<[u8]>>>,
    user_ids: HashMap<Box<[u8]>, Option<u32>>,
    group_ids: HashMap<Box<[u8]>, Option<u32>>,
}

impl Accounts {
    /// Returns a memory without answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the name of a user, if the system knows one.
    pub fn user_name(&mut self, uid: u32) -> Option<&[u8]> {
        self.user_names
            .entry(uid)
            .or_insert_with(|| user_by_id(uid).map(|user| user.name.into_boxed_slice()))
            .as_deref()
    }

    /// Returns the name of a group, if the system knows one.
    pub fn group_name(&mut self, gid: u32) -> Option<&[u8]> {
        self.group_names
            .entry(gid)
            .or_insert_with(|| group_by_id(gid).map(|group| group.0.into_boxed_slice()))
            .as_deref()
    }

    /// Returns the id of a user, if the system knows one of that name.
    pub fn user_id(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(known) = self.user_ids.get(name) {
            return *known;
        }
        let id = user_by_name(name).map(|user| user.uid);
        self.user_ids.insert(name.into(), id);
        id
    }

    /// Returns the id of a group, if the system knows one of that name.
    pub fn group_id(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(known) = self.group_ids.get(name) {
            return *known;
        }
        let id = group_by_name(name).map(|group| group.1);
        self.group_ids.insert(name.into(), id);
        id
    }
}

/// What the system records about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: Vec<u8>,
    /// Number.
    pub uid: u32,
    /// Number of the primary group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// Returns the user that this process acts as.
#[must_use]
pub fn current_user() -> Option<User> {
    user_by_id(rustix::process::getuid().as_raw())
}

/// Returns the user of a number.
#[must_use]
pub fn user_by_id(uid: u32) -> Option<User> {
    user_record(|record, buffer, length, found| {
        // SAFETY: all pointers are valid for the call, `buffer` for `length` bytes.
        unsafe { libc::getpwuid_r(uid, record, buffer, length, found) }
    })
}

/// Returns the user of a name.
#[must_use]
pub fn user_by_name(name: &[u8]) -> Option<User> {
    let name = CString::new(name).ok()?;
    user_record(|record, buffer, length, found| {
        // SAFETY: as above; the name ends with a zero byte.
        unsafe { libc::getpwnam_r(name.as_ptr(), record, buffer, length, found) }
    })
}

fn group_by_id(gid: u32) -> Option<(Vec<u8>, u32)> {
    group_record(|record, buffer, length, found| {
        // SAFETY: all pointers are valid for the call, `buffer` for `length` bytes.
        unsafe { libc::getgrgid_r(gid, record, buffer, length, found) }
    })
}

fn group_by_name(name: &[u8]) -> Option<(Vec<u8>, u32)> {
    let name = CString::new(name).ok()?;
    group_record(|record, buffer, length, found| {
        // SAFETY: as above; the name ends with a zero byte.
        unsafe { libc::getgrnam_r(name.as_ptr(), record, buffer, length, found) }
    })
}

fn user_record(ask: impl Question<libc::passwd>) -> Option<User> {
    record(ask, |record: &libc::passwd| User {
        // SAFETY: libc has filled the record; its strings lie in the live buffer.
        name: unsafe { text(record.pw_name) },
        uid: record.pw_uid,
        gid: record.pw_gid,
        home: {
            use std::os::unix::ffi::OsStringExt;
            // SAFETY: as for the name.
            PathBuf::from(std::ffi::OsString::from_vec(unsafe { text(record.pw_dir) }))
        },
    })
}

fn group_record(ask: impl Question<libc::group>) -> Option<(Vec<u8>, u32)> {
    record(ask, |record: &libc::group| {
        // SAFETY: libc has filled the record; its strings lie in the live buffer.
        (unsafe { text(record.gr_name) }, record.gr_gid)
    })
}

/// One of libc's reentrant lookups: record, buffer, its length, where the answer goes.
trait Question<R>: FnMut(*mut R, *mut c_char, usize, *mut *mut R) -> c_int {}
impl<R, F: FnMut(*mut R, *mut c_char, usize, *mut *mut R) -> c_int> Question<R> for F {}

/// Asks with a growing buffer; an error counts as "unknown", as in Borg.
fn record<R, T>(mut ask: impl Question<R>, keep: impl FnOnce(&R) -> T) -> Option<T> {
    let mut buffer: Vec<c_char> = vec![0; 1024];
    loop {
        let mut record = MaybeUninit::<R>::uninit();
        let mut found = std::ptr::null_mut();
        let code = ask(
            record.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        );
        match code {
            0 if found.is_null() => return None,
            // SAFETY: success with a record found means that `record` is filled.
            0 => return Some(keep(unsafe { record.assume_init_ref() })),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < MOST_BYTES => {
                let size = buffer.len().saturating_mul(4);
                buffer.resize(size, 0);
            }
            _ => return None,
        }
    }
}

/// Returns a C string's bytes.
///
/// # Safety
/// `string` is null or points to a live string that ends with a zero byte.
unsafe fn text(string: *const c_char) -> Vec<u8> {
    if string.is_null() {
        return Vec::new();
    }
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(string) }.to_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number_and_so_is_what_nobody_has() {
        let mut accounts = Accounts::new();
        for _ in 0..2 {
            assert_eq!(accounts.user_name(0), Some(b"root".as_slice()));
            assert_eq!(accounts.group_name(0), Some(b"root".as_slice()));
            assert_eq!(accounts.user_id(b"root"), Some(0));
            assert_eq!(accounts.group_id(b"root"), Some(0));
            assert_eq!(accounts.user_name(3_999_999_999), None);
            assert_eq!(accounts.group_name(3_999_999_999), None);
            assert_eq!(accounts.user_id(b"no such user here"), None);
            assert_eq!(accounts.group_id(b"with a \0 byte"), None);
        }
    }

    #[test]
    fn every_account_of_the_system_is_found_both_ways() {
        let passwd = std::fs::read("/etc/passwd").unwrap();
        for line in passwd
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let fields: Vec<_> = line.split(|byte| *byte == b':').collect();
            let user = user_by_name(fields[0]).unwrap();
            assert_eq!(user.uid.to_string().as_bytes(), fields[2]);
            assert_eq!(user.gid.to_string().as_bytes(), fields[3]);
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(user.home.as_os_str().as_bytes(), fields[5]);
            assert!(user_by_id(user.uid).is_some());
        }
        assert_eq!(
            current_user().unwrap().uid,
            rustix::process::getuid().as_raw()
        );
    }
}
