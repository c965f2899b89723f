//! From the file system into an item, as Borg 1.4 reads it on Linux.
//!
//! Beside the stat that the caller has, this costs one listing of extended attributes. ACLs are
//! among these, so that an object without any is known to have no ACL either.

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use fastness_format::item::{Item, MAX_TIMESTAMP};
use fastness_sys::acl::{self, Acl, Who};
use fastness_sys::file;
use fastness_sys::inode_flags::{self, InodeFlags};
use fastness_sys::node::Node;
use fastness_sys::stat::{FileKind, Stat};
use fastness_sys::xattr;

use super::{Attributes, SourceError, XattrAction, XattrWarning};

thread_local! {
    /// Names of attributes and one value: reused, since most objects have none.
    static BUFFERS: RefCell<(xattr::Names, Vec<u8>)> = RefCell::default();
}

/// Fills in the metadata of an open file or directory, and returns the extended attributes that
/// could not be read.
///
/// # Errors
/// When the system refuses to tell.
pub fn read_open(
    fd: BorrowedFd<'_>,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> Result<Vec<XattrWarning>, SourceError> {
    read(Node::Open(fd), stat, attributes, item)
}

/// Fills in the metadata of an object that is not opened, and returns the extended attributes
/// that could not be read.
///
/// # Errors
/// When the system refuses to tell.
pub fn read_entry(
    directory: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> Result<Vec<XattrWarning>, SourceError> {
    read(Node::Entry { directory, name }, stat, attributes, item)
}

/// Makes sure that what was opened is what had been looked at by name.
///
/// # Errors
/// When somebody has put another object in its place.
pub fn check_same_file(seen: &Stat, opened: &Stat) -> Result<(), SourceError> {
    if seen.kind() != opened.kind() {
        return Err(SourceError::race(
            "file type changed (race condition), skipping file",
        ));
    }
    if seen.inode != opened.inode {
        return Err(SourceError::race(
            "file inode changed (race condition), skipping file",
        ));
    }
    Ok(())
}

fn read(
    node: Node<'_>,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> Result<Vec<XattrWarning>, SourceError> {
    simple(stat, attributes, item);
    if !attributes.options.no_flags {
        let flags = flags(node, stat, attributes)
            .map_err(|error| SourceError::io("extended stat (flags)", error))?;
        item.bsdflags = Some(flags.to_bsd()).filter(|flags| *flags != 0);
    }
    extended(node, stat, attributes, item)
}

/// What stat tells.
fn simple(stat: &Stat, attributes: &Attributes<'_>, item: &mut Item) {
    let clamp = |time: i64| Some(time.clamp(0, MAX_TIMESTAMP));
    item.mode = stat.mode;
    item.uid = Some(stat.uid);
    item.gid = Some(stat.gid);
    item.mtime = clamp(stat.mtime);
    if attributes.options.atime {
        item.atime = clamp(stat.atime);
    }
    if !attributes.options.no_ctime {
        item.ctime = clamp(stat.ctime);
    }
    if !attributes.options.numeric_ids {
        (item.user, item.group) = attributes.names.of(stat.uid, stat.gid);
    }
    if matches!(
        stat.kind(),
        FileKind::CharacterDevice | FileKind::BlockDevice
    ) {
        item.rdev = Some(stat.rdev);
    }
}

/// Borg asks by ioctl, which only files and directories answer; statx may tell more of others.
fn flags(node: Node<'_>, stat: &Stat, attributes: &Attributes<'_>) -> io::Result<InodeFlags> {
    if !matches!(stat.kind(), FileKind::Regular | FileKind::Directory) {
        return Ok(InodeFlags::default());
    }
    if let Some(flags) = stat.flags {
        return Ok(flags);
    }
    let names = attributes.names;
    if names.with_flagless(|devices| devices.contains(&stat.device)) {
        return Ok(InodeFlags::default());
    }
    let outcome = match node {
        Node::Open(file) => inode_flags::read(file),
        Node::Entry { directory, name } => {
            inode_flags::read(file::open_for_reading(directory, name)?)
        }
    };
    match outcome {
        Ok(flags) => Ok(flags),
        Err(error) => {
            if inode_flags::is_unsupported(&error) {
                names.with_flagless(|devices| devices.push(stat.device));
            }
            // Whatever the reason, Borg takes a refusal as "none".
            Ok(InodeFlags::default())
        }
    }
}

/// Extended attributes and ACLs.
fn extended(
    node: Node<'_>,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> Result<Vec<XattrWarning>, SourceError> {
    let options = &attributes.options;
    let mut warnings = Vec::new();
    if options.no_xattrs && options.no_acls {
        return Ok(warnings);
    }
    BUFFERS.with_borrow_mut(|(names, value)| {
        match names.read(node) {
            Ok(()) => {}
            // A file system without them, or one that keeps them to itself: there are none.
            Err(error) if xattr::is_unsupported(&error) || is_forbidden(&error) => {
                return Ok(warnings);
            }
            // Borg does not say why it cannot see whether there is an ACL.
            Err(_) if options.no_xattrs => return Ok(warnings),
            Err(error) => return Err(SourceError::io("extended stat (xattrs)", error)),
        }
        if names.is_empty() {
            return Ok(warnings);
        }
        if !options.no_xattrs {
            warnings = xattrs(node, names, value, item);
        }
        let has_acl = names.iter().any(is_acl);
        if !options.no_acls && has_acl && stat.kind() != FileKind::Symlink {
            match acls(node, stat, attributes, item) {
                Err(error) if xattr::is_unsupported(&error) => {}
                outcome => {
                    outcome.map_err(|error| SourceError::io("extended stat (ACLs)", error))?;
                }
            }
        }
        Ok(warnings)
    })
}

fn xattrs(
    node: Node<'_>,
    names: &xattr::Names,
    value: &mut Vec<u8>,
    item: &mut Item,
) -> Vec<XattrWarning> {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    for name in names.iter().filter(|name| !is_acl(name)) {
        match xattr::read(node, name, value) {
            Ok(()) => {
                let value = (!value.is_empty()).then(|| value.clone());
                found.push((name.to_bytes().to_vec(), value));
            }
            // Removed since it was listed.
            Err(error) if xattr::is_absent(&error) => {}
            // One that nobody may read does not spoil the others.
            Err(source) => warnings.push(XattrWarning {
                action: XattrAction::Get,
                name: name.to_bytes().to_vec(),
                source,
            }),
        }
    }
    found.sort();
    item.xattrs = Some(found).filter(|found| !found.is_empty());
    warnings
}

/// Borg keeps both ACLs of an object that has more than its mode says, and neither of others.
fn acls(
    node: Node<'_>,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> io::Result<()> {
    let default = if stat.kind() == FileKind::Directory {
        acl::read(node, acl::DEFAULT)?
    } else {
        None
    };
    let access = acl::read(node, acl::ACCESS)?;
    let extended = access.as_ref().is_some_and(Acl::is_extended)
        || default
            .as_ref()
            .is_some_and(|acl| !acl.entries().is_empty());
    if !extended {
        return Ok(());
    }
    let access = access.unwrap_or_else(|| Acl::from_mode(stat.mode));
    item.acl_access = Some(text(&access, attributes));
    if stat.kind() == FileKind::Directory {
        item.acl_default = Some(text(&default.unwrap_or_default(), attributes));
    }
    Ok(())
}

fn text(acl: &Acl, attributes: &Attributes<'_>) -> Vec<u8> {
    acl.to_text(|who, id| {
        if attributes.options.numeric_ids {
            return None;
        }
        attributes.names.with(|accounts| {
            match who {
                Who::User => accounts.user_name(id),
                Who::Group => accounts.group_name(id),
            }
            .map(<[u8]>::to_vec)
        })
    })
}

fn is_acl(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"system.posix_acl_")
}

fn is_forbidden(error: &io::Error) -> bool {
    const EPERM: i32 = 1;
    error.raw_os_error() == Some(EPERM)
}
