//! Extended attributes of a [`Node`]: names, values, setting, removing.
//!
//! The backup of an unchanged file consists of one `statx` and one listing here, so
//! the listing takes one system call, also for files that are not open: `listxattrat`
//! where the kernel has it (Linux 6.13), else `llistxattr` through `/proc/self/fd`,
//! which takes twice the time.
//! Names come as the kernel gives them, `system.posix_acl_*` among them: their
//! presence tells for free that a file has an ACL.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr,
    lremovexattr, lsetxattr,
};
use rustix::io::Errno;

use crate::node::{Node, with_path};

/// Room to begin with; nearly all files need less.
const FIRST_ROOM: usize = 1024;
/// The kernel's own limit for a name list and for a value (`XATTR_SIZE_MAX`).
const MOST_BYTES: usize = 64 * 1024;

/// The names of one file's extended attributes; reusable.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
}

impl Names {
    /// Returns an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the list by the names of `node`.
    ///
    /// # Errors
    /// The error of `listxattr`; [`is_unsupported`] tells "none possible here".
    pub fn read(&mut self, node: Node<'_>) -> io::Result<()> {
        fill(&mut self.bytes, |room| match node {
            Node::Open(file) => raw(flistxattr(file, room)),
            Node::Entry { directory, name } => list_entry(directory, name, room),
        })
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the names in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.bytes
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
            .filter(|name| !name.is_empty())
    }
}

/// Replaces `value` by the value of attribute `name` of `node`.
///
/// # Errors
/// The error of `getxattr`; `ENODATA` means that there is no such attribute.
pub fn read(node: Node<'_>, name: &CStr, value: &mut Vec<u8>) -> io::Result<()> {
    fill(value, |room| match node {
        Node::Open(file) => raw(fgetxattr(file, name, room)),
        Node::Entry {
            directory,
            name: entry,
        } => read_entry(directory, entry, name, room),
    })
}

/// Sets attribute `name` of `node`, whether it exists or not.
///
/// # Errors
/// The error of `setxattr`.
pub fn write(node: Node<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    let flags = XattrFlags::empty();
    match node {
        Node::Open(file) => Ok(fsetxattr(file, name, value, flags)?),
        Node::Entry {
            directory,
            name: entry,
        } => with_path(directory, entry, |path| {
            Ok(lsetxattr(path, name, value, flags)?)
        }),
    }
}

/// Removes attribute `name` of `node`.
///
/// # Errors
/// The error of `removexattr`; `ENODATA` means that there was none.
pub fn remove(node: Node<'_>, name: &CStr) -> io::Result<()> {
    match node {
        Node::Open(file) => Ok(fremovexattr(file, name)?),
        Node::Entry {
            directory,
            name: entry,
        } => with_path(directory, entry, |path| Ok(lremovexattr(path, name)?)),
    }
}

/// Says whether an error means that this file system has no extended attributes.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOTSUP)
}

/// Says whether an error means that there is no attribute of that name.
#[must_use]
pub fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENODATA)
}

type Room<'a> = &'a mut [MaybeUninit<u8>];

fn raw(outcome: rustix::io::Result<(&mut [u8], Room<'_>)>) -> io::Result<usize> {
    Ok(outcome.map(|(filled, _)| filled.len())?)
}

/// Replaces the content of `target` by what `call` writes, with more room as needed.
fn fill(
    target: &mut Vec<u8>,
    mut call: impl FnMut(Room<'_>) -> io::Result<usize>,
) -> io::Result<()> {
    target.clear();
    target.reserve(FIRST_ROOM);
    loop {
        let room = target.spare_capacity_mut();
        let size = room.len();
        match call(room) {
            Ok(count) => {
                // SAFETY: the kernel has written the first `count` bytes of the spare
                // room of an empty vector; `min` guards against more than there was.
                unsafe { target.set_len(count.min(size)) };
                return Ok(());
            }
            Err(error) if needs_more(&error) && size < MOST_BYTES => {
                target.reserve(size.saturating_mul(4).min(MOST_BYTES));
            }
            Err(error) => return Err(error),
        }
    }
}

fn needs_more(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::RANGE.raw_os_error())
}

fn read_entry(
    directory: BorrowedFd<'_>,
    entry: &CStr,
    name: &CStr,
    room: Room<'_>,
) -> io::Result<usize> {
    if let Some(outcome) = getxattrat(directory, entry, name, room) {
        return outcome;
    }
    with_path(directory, entry, |path| raw(lgetxattr(path, name, room)))
}

fn list_entry(directory: BorrowedFd<'_>, name: &CStr, room: Room<'_>) -> io::Result<usize> {
    if let Some(outcome) = listxattrat(directory, name, room) {
        return outcome;
    }
    with_path(directory, name, |path| raw(llistxattr(path, room)))
}

/// Whether the kernel has said that it lacks the calls below.
static WITHOUT_XATTRAT: AtomicBool = AtomicBool::new(false);

/// The numbers that all architectures share since system calls are numbered together.
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SHARES_NUMBERS: bool = cfg!(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
));

/// Where `getxattrat` puts a value: the kernel's `struct xattr_args`.
#[repr(C)]
struct XattrArguments {
    value: u64,
    size: u32,
    flags: u32,
}

/// Calls `listxattrat` without following a symlink; `None` if this kernel lacks it.
fn listxattrat(
    directory: BorrowedFd<'_>,
    name: &CStr,
    room: Room<'_>,
) -> Option<io::Result<usize>> {
    // SAFETY: the descriptor is open, the name ends with a zero byte, and the kernel
    // writes at most `room.len()` bytes to `room`; all three outlive the call.
    unless_missing(|| unsafe {
        libc::syscall(
            SYS_LISTXATTRAT,
            directory.as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            room.as_mut_ptr(),
            room.len(),
        )
    })
}

/// Calls `getxattrat` without following a symlink; `None` if this kernel lacks it.
fn getxattrat(
    directory: BorrowedFd<'_>,
    entry: &CStr,
    name: &CStr,
    room: Room<'_>,
) -> Option<io::Result<usize>> {
    let arguments = XattrArguments {
        value: room.as_mut_ptr().expose_provenance() as u64,
        size: u32::try_from(room.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    // SAFETY: as above; `arguments` describes `room`, of which the kernel writes at
    // most `size` bytes, and is itself only read.
    unless_missing(|| unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            directory.as_raw_fd(),
            entry.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            name.as_ptr(),
            &raw const arguments,
            size_of::<XattrArguments>(),
        )
    })
}

fn unless_missing(call: impl FnOnce() -> libc::c_long) -> Option<io::Result<usize>> {
    if !SHARES_NUMBERS || WITHOUT_XATTRAT.load(Ordering::Relaxed) {
        return None;
    }
    if let Ok(count) = usize::try_from(call()) {
        return Some(Ok(count));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            WITHOUT_XATTRAT.store(true, Ordering::Relaxed);
            None
        }
        // Old container run times answer so to calls they do not know; where it is a
        // true answer, the other way gives it again.
        Some(libc::EPERM) => None,
        _ => Some(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::open_directory_path;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    fn names(node: Node<'_>) -> Vec<String> {
        let mut names = Names::new();
        names.read(node).unwrap();
        let mut names: Vec<_> = names
            .iter()
            .map(|n| n.to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn attributes_set_one_way_are_seen_the_other_way() {
        let root = tempfile::tempdir().unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let file = fs::File::create(root.path().join("file")).unwrap();
        let (open, named) = (Node::open(&file), Node::entry(&top, c"file"));
        assert!(names(open).is_empty() && names(named).is_empty());
        write(open, c"user.one", b"1").unwrap();
        write(named, c"user.two", b"").unwrap();
        assert_eq!(names(open), ["user.one", "user.two"]);
        assert_eq!(names(named), ["user.one", "user.two"]);
        let mut value = b"old".to_vec();
        read(named, c"user.one", &mut value).unwrap();
        assert_eq!(value, b"1");
        read(open, c"user.two", &mut value).unwrap();
        assert_eq!(value, b"");
        remove(named, c"user.one").unwrap();
        assert!(is_absent(&read(open, c"user.one", &mut value).unwrap_err()));
        assert!(is_absent(&remove(open, c"user.one").unwrap_err()));
        assert_eq!(names(open), ["user.two"]);
    }

    #[test]
    fn long_lists_and_values_find_room() {
        let root = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let file = fs::File::create(root.path().join("file")).unwrap();
        let node = Node::open(&file);
        let value = vec![7; 3000];
        if write(node, c"user.big", &value).is_err() {
            return assert!(
                !root.path().starts_with("/dev/shm"),
                "tmpfs takes 3000 bytes"
            );
        }
        let mut found = Vec::new();
        read(Node::entry(&top, c"file"), c"user.big", &mut found).unwrap();
        assert_eq!(found, value);
        for number in 0..60 {
            let name = format!("user.a name of some length to fill the list {number}\0");
            let name = CStr::from_bytes_with_nul(name.as_bytes()).unwrap();
            write(node, name, b"").unwrap();
        }
        assert_eq!(names(Node::entry(&top, c"file")).len(), 61);
        assert_eq!(names(node).len(), 61);
    }

    #[test]
    fn a_symlink_is_asked_itself_and_both_ways_of_listing_agree() {
        let root = tempfile::tempdir().unwrap();
        let top = open_directory_path(root.path()).unwrap();
        let file = fs::File::create(root.path().join("file")).unwrap();
        write(Node::open(&file), c"user.secret", b"x").unwrap();
        symlink("file", root.path().join("link")).unwrap();
        symlink("nowhere", root.path().join("dangling")).unwrap();
        assert!(names(Node::entry(&top, c"link")).is_empty());
        assert!(names(Node::entry(&top, c"dangling")).is_empty());
        for name in [c"file", c"link", c"dangling"] {
            let mut old_way = [MaybeUninit::uninit(); 100];
            let old = with_path(top.as_fd(), name, |path| {
                raw(llistxattr(path, &mut old_way))
            });
            let mut new_way = [MaybeUninit::uninit(); 100];
            let new = list_entry(top.as_fd(), name, &mut new_way);
            assert_eq!(old.unwrap(), new.unwrap(), "{name:?}");
        }
        for name in [c"file", c"link"] {
            let mut old_way = [MaybeUninit::uninit(); 100];
            let old = with_path(top.as_fd(), name, |path| {
                raw(lgetxattr(path, c"user.secret", &mut old_way))
            });
            let mut new_way = [MaybeUninit::uninit(); 100];
            let new = read_entry(top.as_fd(), name, c"user.secret", &mut new_way);
            let code = |outcome: io::Result<usize>| outcome.map_err(|error| error.raw_os_error());
            assert_eq!(code(old), code(new), "{name:?}");
        }
        let missing = Names::new()
            .read(Node::entry(&top, c"missing"))
            .unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let absolute = std::ffi::CString::new(root.path().join("file").to_str().unwrap()).unwrap();
        assert_eq!(names(Node::entry(&top, &absolute)), ["user.secret"]);
    }
}
