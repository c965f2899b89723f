//! From an item back to a file system object.
//!
//! The order matters: a change of owner clears set-uid bits and capabilities, so mode and extended
//! attributes come after it; setting these touches times, so times come late; flags may forbid
//! every further change, so they come last. The caller restores a directory after its contents.

use std::ffi::CString;
use std::io;

use fastness_format::item::Item;
use fastness_sys::acl::{self, Acl, Who};
use fastness_sys::inode_flags::InodeFlags;
use fastness_sys::node::{Node, Time};
use fastness_sys::stat::FileKind;
use fastness_sys::xattr;

use super::{Attributes, SourceError, XattrAction, XattrWarning};

/// Borg's name for this part of the work in messages.
const OPERATION: &str = "attrs";
const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const EINVAL: i32 = 22;

/// Gives the object at `node` the metadata of `item`, and returns the extended attributes that
/// could not be set.
///
/// Owner, times and flags are restored as far as this user may, without a word, as in Borg.
///
/// # Errors
/// When the mode or an ACL cannot be restored; what comes later in the order is left out.
pub fn restore(
    node: Node<'_>,
    item: &Item,
    attributes: &Attributes<'_>,
) -> Result<Vec<XattrWarning>, SourceError> {
    let options = &attributes.options;
    let failed = |error| SourceError::io(OPERATION, error);
    let (uid, gid) = owner(item, attributes);
    let owned = node.set_owner(Some(uid), Some(gid)).is_ok();
    if !item.is_symlink() {
        let mode = if owned {
            item.mode
        } else {
            harmless_mode(node, item.mode, uid, gid)
        };
        node.set_permissions(mode).map_err(failed)?;
        if !options.no_acls {
            restore_acls(node, item, attributes).map_err(failed)?;
        }
    }
    let warnings = if options.no_xattrs {
        Vec::new()
    } else {
        restore_xattrs(node, item)
    };
    if let Some(mtime) = item.mtime {
        // Old archives have only this one time. Not every file system has times of symlinks.
        let atime = item.atime.unwrap_or(mtime);
        let _ = node.set_times(Time::At(atime), Time::At(mtime));
    }
    if let Some(bits) = item.bsdflags.filter(|_| !options.no_flags) {
        let _ = node.set_flags(InodeFlags::from_bsd(bits));
    }
    Ok(warnings)
}

/// The owner and group that an item's object gets here: by name, else by number.
pub fn owner(item: &Item, attributes: &Attributes<'_>) -> (u32, u32) {
    let (mut uid, mut gid) = (None, None);
    if !attributes.options.numeric_ids {
        attributes.names.with(|accounts| {
            uid = item.user.as_deref().and_then(|name| accounts.user_id(name));
            gid = item
                .group
                .as_deref()
                .and_then(|name| accounts.group_id(name));
        });
    }
    let number = |found: Option<u32>, stored: Option<u32>| found.or(stored).unwrap_or(0);
    (number(uid, item.uid), number(gid, item.gid))
}

/// Set-uid and set-gid mean "with the rights of this owner": where the owner could not be
/// restored they would lend the rights of whoever extracts, so they go. (Borg 1.4 keeps them.)
/// On directories set-gid only passes the group on.
pub(super) fn harmless_mode(node: Node<'_>, mode: u32, uid: u32, gid: u32) -> u32 {
    let Ok(present) = node.stat() else {
        return mode & !(S_ISUID | S_ISGID);
    };
    let mut mode = mode;
    if present.kind() != FileKind::Directory {
        if present.uid != uid {
            mode &= !S_ISUID;
        }
        if present.gid != gid {
            mode &= !S_ISGID;
        }
    }
    mode
}

fn restore_acls(node: Node<'_>, item: &Item, attributes: &Attributes<'_>) -> io::Result<()> {
    let texts = [
        (acl::ACCESS, &item.acl_access),
        (acl::DEFAULT, &item.acl_default),
    ];
    for (name, text) in texts {
        let Some(text) = text else { continue };
        match acl::write(node, name, &parse(text, attributes)?) {
            // A file system without ACLs restores what it can, as in Borg.
            Err(error) if xattr::is_unsupported(&error) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

fn parse(text: &[u8], attributes: &Attributes<'_>) -> io::Result<Acl> {
    let id_of = |who, name: &[u8]| {
        if attributes.options.numeric_ids {
            return None;
        }
        attributes.names.with(|accounts| match who {
            Who::User => accounts.user_id(name),
            Who::Group => accounts.group_id(name),
        })
    };
    // What libacl answers to a text that it cannot read.
    Acl::from_text(text, id_of).map_err(|_| io::Error::from_raw_os_error(EINVAL))
}

fn restore_xattrs(node: Node<'_>, item: &Item) -> Vec<XattrWarning> {
    let mut warnings = Vec::new();
    for (name, value) in item.xattrs.iter().flatten() {
        let value = value.as_deref().unwrap_or_default();
        let outcome = match CString::new(name.as_slice()) {
            Ok(name) => xattr::write(node, &name, value),
            Err(_) => Err(io::Error::from_raw_os_error(EINVAL)),
        };
        if let Err(source) = outcome {
            warnings.push(XattrWarning {
                action: XattrAction::Set {
                    length: value.len(),
                },
                name: name.clone(),
                source,
            });
        }
    }
    warnings
}
