//! Writing strictly below one directory, whatever the paths and the directory hold.
//!
//! Extraction gives every path of an archive to a [`Root`] and gets a [`Place`]: the
//! open parent directory and a final name. A hostile archive may name `../x`, `/etc`
//! or `link/x` where `link` leads out, and another process may swap directories for
//! symlinks meanwhile. The parent is therefore resolved by the kernel with
//! `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`; kernels without it (before 5.6,
//! some containers) get the same by one `openat(O_NOFOLLOW)` per component. All
//! operations of a place act on one name in that open directory and never follow it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, linkat, mkdirat, mknodat, openat, openat2,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::node::Node;
use crate::stat::{FileKind, Stat, stat_entry};

/// Parents kept open at most: one per level of a usual tree.
const MOST_HELD: usize = 32;
/// Longer paths (the kernel's limit is 4096) are walked by component.
const MOST_PATH_BYTES: usize = 4000;
/// The kernel may ask to try again while others rename; it never does so for long.
const MOST_ATTEMPTS: usize = 64;

/// Why a path has no place below the root.
#[derive(Debug, thiserror::Error)]
pub enum BeneathError {
    /// The path begins with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// A component is `..`.
    #[error("the path contains \"..\"")]
    Traversal,
    /// A parent is a symlink.
    #[error("a parent directory is a symlink")]
    SymlinkParent,
    /// The path is empty or has a zero byte.
    #[error("the path is no file name")]
    Invalid,
    /// A parent is missing, no directory, or cannot be opened or made.
    #[error("a parent directory cannot be used")]
    Io(#[source] io::Error),
}

/// What to do about missing parent directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parents {
    /// Fail.
    Require,
    /// Make them, open to all as far as the umask allows.
    Create,
}

/// A directory that nothing shall leave. A clone is independent, for another thread.
#[derive(Clone, Debug)]
pub struct Root {
    top: Arc<OwnedFd>,
    /// Open directories, each an ancestor of the next: archives come depth first, so
    /// most parents are the last one again.
    held: Vec<Held>,
    has_openat2: bool,
}

#[derive(Clone, Debug)]
struct Held {
    path: Vec<u8>,
    directory: Arc<OwnedFd>,
}

impl Root {
    /// Opens the root; the user chose this path, so symlinks in it are followed.
    ///
    /// # Errors
    /// The error of `open`.
    pub fn open(path: impl Arg) -> io::Result<Self> {
        let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, how, Mode::empty())?;
        Ok(Self {
            top: Arc::new(top),
            held: Vec::new(),
            has_openat2: true,
        })
    }

    /// Finds the place of a path of an archive. `.` is the root itself.
    ///
    /// # Errors
    /// [`BeneathError`]; with [`Parents::Create`] parents may have been made before it.
    pub fn place(&mut self, path: &[u8], parents: Parents) -> Result<Place, BeneathError> {
        let mut components = checked_components(path)?;
        let name = components.pop().unwrap_or(b".");
        let name = CString::new(name).map_err(|_| BeneathError::Invalid)?;
        let directory = self.directory(&components.join(&b'/'), parents)?;
        Ok(Place { directory, name })
    }

    /// Removes an empty directory and forgets what was known below it.
    ///
    /// # Errors
    /// [`BeneathError`]; the error of `rmdir` comes as [`BeneathError::Io`].
    pub fn remove_directory(&mut self, path: &[u8]) -> Result<(), BeneathError> {
        let place = self.place(path, Parents::Require)?;
        let gone = checked_components(path)?.join(&b'/');
        self.held.retain(|held| !is_within(&held.path, &gone));
        unlinkat(&*place.directory, &*place.name, AtFlags::REMOVEDIR).map_err(io_error)
    }

    /// Opens the directory with the given normalised path.
    fn directory(&mut self, path: &[u8], parents: Parents) -> Result<Arc<OwnedFd>, BeneathError> {
        while let Some(held) = self.held.last() {
            if is_within(path, &held.path) {
                break;
            }
            self.held.pop();
        }
        let (start, known) = match self.held.last() {
            Some(held) => (Arc::clone(&held.directory), held.path.len()),
            None => (Arc::clone(&self.top), 0),
        };
        let rest = path.get(known..).unwrap_or_default();
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        if rest.is_empty() {
            return Ok(start);
        }
        let directory = Arc::new(self.descend(&start, rest, parents)?);
        if self.held.len() >= MOST_HELD {
            self.held.remove(0);
        }
        self.held.push(Held {
            path: path.to_vec(),
            directory: Arc::clone(&directory),
        });
        Ok(directory)
    }

    fn descend(
        &mut self,
        start: &OwnedFd,
        rest: &[u8],
        parents: Parents,
    ) -> Result<OwnedFd, BeneathError> {
        if self.has_openat2 && rest.len() <= MOST_PATH_BYTES {
            match resolve(start, rest) {
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2 = false,
                Err(Errno::NOENT) if parents == Parents::Create => {}
                Err(Errno::LOOP | Errno::XDEV) => return Err(BeneathError::SymlinkParent),
                other => return other.map_err(io_error),
            }
        }
        let mut current: Option<OwnedFd> = None;
        for component in rest.split(|byte| *byte == b'/') {
            let directory = current.as_ref().unwrap_or(start);
            current = Some(step(directory.as_fd(), component, parents)?);
        }
        current.ok_or(BeneathError::Invalid)
    }
}

/// Splits a path, drops `.` and empty components, and refuses what would lead out.
fn checked_components(path: &[u8]) -> Result<Vec<&[u8]>, BeneathError> {
    if path.is_empty() || path.contains(&0) {
        return Err(BeneathError::Invalid);
    }
    if path.starts_with(b"/") {
        return Err(BeneathError::Absolute);
    }
    let mut components = Vec::with_capacity(16);
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(BeneathError::Traversal),
            _ => components.push(component),
        }
    }
    Ok(components)
}

/// Says whether `path` is `ancestor` or below it; both normalised.
fn is_within(path: &[u8], ancestor: &[u8]) -> bool {
    match path.strip_prefix(ancestor) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/") || ancestor.is_empty(),
        None => false,
    }
}

fn resolve(start: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolution =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut outcome = Err(Errno::AGAIN);
    for _ in 0..MOST_ATTEMPTS {
        outcome = openat2(start, path, how, Mode::empty(), resolution);
        if !matches!(outcome, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    outcome
}

/// Goes one component down, which is neither `..` nor has a slash.
fn step(
    directory: BorrowedFd<'_>,
    component: &[u8],
    parents: Parents,
) -> Result<OwnedFd, BeneathError> {
    match enter(directory, component) {
        Err(Errno::NOENT) if parents == Parents::Create => {
            match mkdirat(directory, component, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(io_error(error)),
            }
            enter(directory, component).map_err(|error| refusal(directory, component, error))
        }
        outcome => outcome.map_err(|error| refusal(directory, component, error)),
    }
}

fn enter(directory: BorrowedFd<'_>, component: &[u8]) -> Result<OwnedFd, Errno> {
    let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, component, how, Mode::empty())
}

/// "Not a directory" is also the answer for a symlink, which deserves its own error.
fn refusal(directory: BorrowedFd<'_>, component: &[u8], error: Errno) -> BeneathError {
    let is_symlink =
        || stat_entry(directory, component).is_ok_and(|stat| stat.kind() == FileKind::Symlink);
    if error == Errno::LOOP || error == Errno::NOTDIR && is_symlink() {
        return BeneathError::SymlinkParent;
    }
    io_error(error)
}

fn io_error(error: Errno) -> BeneathError {
    BeneathError::Io(error.into())
}

/// One name in one open directory below the root. Nothing here follows a symlink.
#[derive(Clone, Debug)]
pub struct Place {
    directory: Arc<OwnedFd>,
    name: CString,
}

impl Place {
    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &CStr {
        &self.name
    }

    /// Returns the place as a target of metadata calls.
    #[must_use]
    pub fn node(&self) -> Node<'_> {
        Node::Entry {
            directory: self.directory.as_fd(),
            name: &self.name,
        }
    }

    /// Returns what is there, `None` if nothing.
    ///
    /// # Errors
    /// The error of `statx`.
    pub fn stat(&self) -> io::Result<Option<Stat>> {
        match self.node().stat() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Makes an empty file that only its owner may use, and opens it for writing.
    ///
    /// # Errors
    /// The error of `openat`; `EEXIST` if anything, even a dangling symlink, is there.
    pub fn create_file(&self) -> io::Result<File> {
        let how =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(
            &*self.directory,
            &*self.name,
            how,
            Mode::from_raw_mode(0o600),
        )?
        .into())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The error of `mkdirat`.
    pub fn create_directory(&self, mode: u32) -> io::Result<()> {
        Ok(mkdirat(
            &*self.directory,
            &*self.name,
            Mode::from_raw_mode(mode & 0o7777),
        )?)
    }

    /// Opens the directory that is there, to restore its attributes.
    ///
    /// # Errors
    /// The error of `openat`, `ENOTDIR` for a symlink.
    pub fn open_directory(&self) -> io::Result<OwnedFd> {
        crate::directory::open_directory(&*self.directory, &*self.name)
    }

    /// Makes a symlink; its target may be anything, as nobody here will follow it.
    ///
    /// # Errors
    /// The error of `symlinkat`.
    pub fn create_symlink(&self, target: &[u8]) -> io::Result<()> {
        Ok(symlinkat(target, &*self.directory, &*self.name)?)
    }

    /// Makes another name for the file at `source`, also if that is a symlink.
    ///
    /// # Errors
    /// The error of `linkat`.
    pub fn create_hard_link(&self, source: &Self) -> io::Result<()> {
        let flags = AtFlags::empty();
        Ok(linkat(
            &*source.directory,
            &*source.name,
            &*self.directory,
            &*self.name,
            flags,
        )?)
    }

    /// Makes a named pipe that only its owner may use.
    ///
    /// # Errors
    /// The error of `mknodat`.
    pub fn create_fifo(&self) -> io::Result<()> {
        self.create_node(FileType::Fifo, 0)
    }

    /// Makes a device node, numbered as glibc encodes it, that only its owner may use.
    ///
    /// # Errors
    /// The error of `mknodat`, or `InvalidInput` for a kind that is no device.
    pub fn create_device(&self, kind: FileKind, number: u64) -> io::Result<()> {
        match kind {
            FileKind::CharacterDevice => self.create_node(FileType::CharacterDevice, number),
            FileKind::BlockDevice => self.create_node(FileType::BlockDevice, number),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn create_node(&self, kind: FileType, number: u64) -> io::Result<()> {
        let mode = Mode::from_raw_mode(0o600);
        Ok(mknodat(&*self.directory, &*self.name, kind, mode, number)?)
    }

    /// Removes what is there, unless it is a directory ([`Root::remove_directory`]).
    ///
    /// # Errors
    /// The error of `unlinkat`.
    pub fn remove_file(&self) -> io::Result<()> {
        Ok(unlinkat(&*self.directory, &*self.name, AtFlags::empty())?)
    }
}

#[cfg(test)]
#[path = "beneath_tests.rs"]
mod tests;
