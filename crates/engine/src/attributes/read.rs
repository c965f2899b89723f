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
use fastness_sys::inode_flags;
use fastness_sys::node::Node;
use fastness_sys::stat::{FileKind, Stat};
use fastness_sys::xattr;

use super::{Attributes, SourceError};

thread_local! {
    /// Names of attributes and one value: reused, since most objects have none.
    static BUFFERS: RefCell<(xattr::Names, Vec<u8>)> = RefCell::default();
}

/// Fills in the metadata of an open file or directory.
///
/// # Errors
/// When the system refuses to tell.
pub fn read_open(
    fd: BorrowedFd<'_>,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> Result<(), SourceError> {
    simple(stat, attributes, item);
    if !attributes.options.no_flags {
        let flags = match stat.flags {
            Some(flags) => flags,
            None => match inode_flags::read(fd) {
                Err(error) if inode_flags::is_unsupported(&error) => Default::default(),
                other => other.map_err(|error| SourceError::io("extended stat (flags)", error))?,
            },
        };
        item.bsdflags = Some(flags.to_bsd()).filter(|flags| *flags != 0);
    }
    extended(Node::Open(fd), stat, attributes, item)
}

/// Fills in the metadata of an object that is not opened.
///
/// # Errors
/// When the system refuses to tell.
pub fn read_entry(
    directory: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> Result<(), SourceError> {
    simple(stat, attributes, item);
    if !attributes.options.no_flags {
        let flags = match (stat.flags, stat.kind()) {
            (Some(flags), _) => flags,
            (None, FileKind::Regular | FileKind::Directory) => {
                inode_flags::read_entry(directory, name)
                    .map_err(|error| SourceError::io("extended stat (flags)", error))?
            }
            _ => Default::default(),
        };
        item.bsdflags = Some(flags.to_bsd()).filter(|flags| *flags != 0);
    }
    extended(Node::Entry { directory, name }, stat, attributes, item)
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

/// Extended attributes and ACLs.
fn extended(
    node: Node<'_>,
    stat: &Stat,
    attributes: &Attributes<'_>,
    item: &mut Item,
) -> Result<(), SourceError> {
    if attributes.options.no_xattrs && attributes.options.no_acls {
        return Ok(());
    }
    BUFFERS.with_borrow_mut(|(names, value)| {
        match names.read(node) {
            Ok(()) => {}
            // A file system without them, or one that keeps them to itself: there are none.
            Err(error) if xattr::is_unsupported(&error) || is_forbidden(&error) => return Ok(()),
            Err(error) => return Err(SourceError::io("extended stat (xattrs)", error)),
        }
        if names.is_empty() {
            return Ok(());
        }
        let is_acl = |name: &CStr| name == acl::ACCESS || name == acl::DEFAULT;
        if !attributes.options.no_xattrs {
            let mut found = Vec::new();
            for name in names.iter().filter(|name| !is_acl(name)) {
                // One that vanished meanwhile, or that nobody may read, does not spoil the others.
                if xattr::read(node, name, value).is_ok() {
                    let value = (!value.is_empty()).then(|| value.clone());
                    found.push((name.to_bytes().to_vec(), value));
                }
            }
            found.sort();
            item.xattrs = Some(found).filter(|found| !found.is_empty());
        }
        if !attributes.options.no_acls
            && stat.kind() != FileKind::Symlink
            && names.iter().any(is_acl)
        {
            acls(node, stat, attributes, item)
                .map_err(|error| SourceError::io("extended stat (ACLs)", error))?;
        }
        Ok(())
    })
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

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
