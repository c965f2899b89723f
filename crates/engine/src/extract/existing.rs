//! What happens where something is already: whether it is replaced, compared or left alone.
//!
//! A file gets its time of change after its content, owner, mode and extended attributes: one that
//! has size and time of its item was restored to its end. So an extraction that was killed is
//! completed by comparing, without reading the content of what is there.

use fastness_format::item::Item;
use fastness_sys::beneath::Place;
use fastness_sys::inode_flags::InodeFlags;
use fastness_sys::stat::{FileKind, Stat};

use super::files::{Restored, told_by_item};
use crate::attributes::{self, Attributes};

/// What happens to what is in the place of something that is restored.
///
/// `since` is when an extraction began that did not come to its end, in nanoseconds since 1970: what
/// was made at that time or later is its work, and a file of it that is complete is not written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It goes, as in Borg.
    Replace {
        /// When an unfinished extraction began.
        since: Option<i64>,
    },
    /// A file with the size and time of change of the archived one keeps its content; everything
    /// else goes.
    Compare,
    /// It stays, whatever it is.
    Keep {
        /// When an unfinished extraction began.
        since: Option<i64>,
    },
}

impl Default for Existing {
    fn default() -> Self {
        Self::Replace { since: None }
    }
}

impl Existing {
    /// Tells whether there is something that stays as it is.
    pub(super) fn leaves(self, place: &Place) -> bool {
        let stat = || place.stat().ok().flatten();
        match self {
            Self::Keep { since } => stat().is_some_and(|stat| is_older(&stat, since)),
            Self::Replace { .. } | Self::Compare => false,
        }
    }

    /// Leaves the content of a file that is there, and restores what its attributes lack. None when
    /// the file must be written.
    pub(super) fn file(
        self,
        place: &Place,
        item: &Item,
        attributes: &Attributes<'_>,
    ) -> Option<Restored> {
        if self == Self::default() {
            return None;
        }
        let stat = place.stat().ok().flatten()?;
        match self {
            Self::Replace { since } if is_older(&stat, since) => return None,
            Self::Keep { since } if is_older(&stat, since) => return Some(Ok(Vec::new())),
            _ => {}
        }
        let same = stat.kind() == FileKind::Regular
            && stat.size == item.content_size()
            && Some(stat.mtime) == item.mtime;
        same.then(|| match is_complete(&stat, item, attributes) {
            true => told_by_item(item).map(|()| Vec::new()),
            false => attributes::restore(place.node(), item, attributes),
        })
    }
}

fn is_older(stat: &Stat, since: Option<i64>) -> bool {
    since.is_none_or(|since| stat.birthtime.unwrap_or(stat.ctime) < since)
}

/// Tells whether a file has all attributes that are cheap to know.
fn is_complete(stat: &Stat, item: &Item, attributes: &Attributes<'_>) -> bool {
    const PERMISSIONS: u32 = 0o7777;
    let flags = item.bsdflags.filter(|_| !attributes.options.no_flags);
    let flags = InodeFlags::from_bsd(flags.unwrap_or_default());
    stat.mode & PERMISSIONS == item.mode & PERMISSIONS
        && (stat.uid, stat.gid) == attributes::owner(item, attributes)
        && stat.flags.is_none_or(|there| there == flags)
}
