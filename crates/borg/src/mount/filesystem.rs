//! What the kernel asks and the view answers.
//!
//! Requests come from several threads. Nothing ever changes, so the kernel may keep what it was
//! told for long; archives that nobody looked into are read when the first request comes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastness_engine::event::Level;
use fastness_engine::vfs::{Attributes, NodeId, OpenFile, Vfs, VfsError};
use fastness_sys::stat::FileKind;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use crate::error::with_causes;
use crate::reporter::Reporter;

/// How long the kernel may keep names and attributes; as in Borg.
const KEPT: Duration = Duration::from_secs(300);

/// The unit of sizes that `stat` tells.
const BLOCK_BYTES: u32 = 512;

/// A view as FUSE knows it.
pub struct ArchiveFs {
    vfs: Arc<Vfs>,
    reporter: Arc<Reporter>,
    open: Mutex<HashMap<u64, Arc<OpenFile>>>,
    next_handle: AtomicU64,
}

impl ArchiveFs {
    /// Shows a view.
    pub fn new(vfs: Arc<Vfs>, reporter: Arc<Reporter>) -> Self {
        Self {
            vfs,
            reporter,
            open: Mutex::default(),
            next_handle: AtomicU64::new(1),
        }
    }

    fn open_files(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, node: NodeId) -> Result<FileAttr, VfsError> {
        let attributes = self.vfs.attributes(node)?;
        file_attr(node, &attributes).ok_or(VfsError::WrongKind)
    }

    /// Returns the number for an error, and logs what nobody would learn of otherwise.
    fn errno(&self, error: &VfsError) -> Errno {
        match error {
            VfsError::NotFound => Errno::ENOENT,
            VfsError::NotADirectory => Errno::ENOTDIR,
            VfsError::WrongKind => Errno::EINVAL,
            VfsError::Damaged => Errno::EIO,
            error => {
                let text = with_causes(error);
                self.reporter
                    .log()
                    .log(Level::Error, "borg.fuse", &text, None);
                Errno::EIO
            }
        }
    }
}

fn node_of(inode: INodeNo) -> Result<NodeId, VfsError> {
    NodeId::from_inode(inode.0).ok_or(VfsError::NotFound)
}

fn file_type(kind: FileKind) -> Option<FileType> {
    Some(match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::CharacterDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Socket => FileType::Socket,
        FileKind::Other => return None,
    })
}

fn system_time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    match nanoseconds < 0 {
        true => UNIX_EPOCH - distance,
        false => UNIX_EPOCH + distance,
    }
}

fn file_attr(node: NodeId, attributes: &Attributes) -> Option<FileAttr> {
    Some(FileAttr {
        ino: INodeNo(node.inode()),
        size: attributes.size,
        blocks: attributes.size.div_ceil(BLOCK_BYTES.into()),
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: system_time(attributes.birthtime),
        kind: file_type(FileKind::from_mode(attributes.mode))?,
        perm: (attributes.mode & 0o7777) as u16,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        // The kernel's form has the low 32 bits of the system's.
        rdev: attributes.rdev as u32,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

impl Filesystem for ArchiveFs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for capability in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            // An old kernel does without.
            let _ = config.add_capabilities(capability);
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = node_of(parent)
            .and_then(|parent| self.vfs.lookup(parent, name.as_bytes()))
            .and_then(|node| self.attributes(node));
        match found {
            Ok(attr) => reply.entry(&KEPT, &attr, Generation(0)),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        match node_of(inode).and_then(|node| self.attributes(node)) {
            Ok(attr) => reply.attr(&KEPT, &attr),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        match node_of(inode).and_then(|node| self.vfs.link_target(node)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match node_of(inode).and_then(|node| self.vfs.open(node)) {
            Ok(file) => {
                let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
                self.open_files().insert(handle, Arc::new(file));
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file = self.open_files().get(&handle.0).map(Arc::clone);
        let Some(file) = file else {
            return reply.error(Errno::EBADF);
        };
        match self.vfs.read(&file, offset, size as usize) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.open_files().remove(&handle.0);
        reply.ok();
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Reads the archive if it has to be: an error is told here, not in the middle of a listing.
        match node_of(inode).and_then(|node| self.vfs.list(node, 0, |_, _| false)) {
            Ok(()) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
                reply.opened(FileHandle(0), flags);
            }
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = node_of(inode).and_then(|node| {
            let dots = [(".", node), ("..", self.vfs.parent(node))];
            for (place, (name, node)) in (1..).zip(dots).skip(offset.min(2) as usize) {
                let inode = INodeNo(node.inode());
                if reply.add(inode, place, FileType::Directory, name) {
                    return Ok(());
                }
            }
            let from = offset.saturating_sub(2) as usize;
            self.vfs.list(node, from, |place, listed| {
                let inode = INodeNo(listed.node.inode());
                let kind = file_type(listed.kind).unwrap_or(FileType::RegularFile);
                let name = OsStr::from_bytes(&listed.name);
                !reply.add(inode, place as u64 + 3, kind, name)
            })
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut failed = None;
        let listed = node_of(inode).and_then(|node| {
            let dots = [(".", node), ("..", self.vfs.parent(node))];
            for (place, (name, node)) in (1..).zip(dots).skip(offset.min(2) as usize) {
                let attr = self.attributes(node)?;
                if reply.add(attr.ino, place, name, &KEPT, &attr, Generation(0)) {
                    return Ok(());
                }
            }
            let from = offset.saturating_sub(2) as usize;
            self.vfs.list(node, from, |place, listed| {
                let name = OsStr::from_bytes(&listed.name);
                match self.attributes(listed.node) {
                    Ok(attr) => {
                        let next = place as u64 + 3;
                        !reply.add(attr.ino, next, name, &KEPT, &attr, Generation(0))
                    }
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                }
            })
        });
        match failed.map_or(listed, Err) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(self.errno(&error)),
        }
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, BLOCK_BYTES, 255, BLOCK_BYTES);
    }

    fn getxattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let mut found = None;
        let asked = node_of(inode).and_then(|node| {
            self.vfs.xattrs(node, |known, value| {
                if known == name.as_bytes() {
                    found = Some(value.to_vec());
                }
                found.is_none()
            })
        });
        match (asked, found) {
            (Ok(()), Some(value)) => give(&value, size, reply),
            (Ok(()), None) => reply.error(Errno::ENODATA),
            (Err(error), _) => reply.error(self.errno(&error)),
        }
    }

    fn listxattr(&self, _request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let mut names = Vec::new();
        let asked = node_of(inode).and_then(|node| {
            self.vfs.xattrs(node, |name, _| {
                names.extend_from_slice(name);
                names.push(0);
                true
            })
        });
        match asked {
            Ok(()) => give(&names, size, reply),
            Err(error) => reply.error(self.errno(&error)),
        }
    }
}

/// Answers with data, or with its length where no room was offered.
fn give(data: &[u8], room: u32, reply: ReplyXattr) {
    match (room as usize, u32::try_from(data.len())) {
        (0, Ok(length)) => reply.size(length),
        (room, Ok(_)) if data.len() <= room => reply.data(data),
        _ => reply.error(Errno::ERANGE),
    }
}
