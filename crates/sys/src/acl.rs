//! POSIX access control lists: the kernel's bytes, entries, and text with ids.
//!
//! Borg stores an ACL as text whose user and group entries carry the numeric id as a
//! fourth field; the kernel hands it out as the extended attribute
//! `system.posix_acl_access` or `system.posix_acl_default`. Here is the translation
//! between the two, without libacl, and reading and setting by those attributes.
//! ```text
//! kernel: u32 version = 2, then per entry u16 tag, u16 permissions, u32 id (all LE)
//! text:   user::rw-   user:daemon:rwx:1   group::r--   mask::rwx   other::---
//! ```

use std::ffi::CStr;
use std::io;

use crate::node::Node;
use crate::xattr;

/// Name of the attribute that holds the ACL of a file.
pub const ACCESS: &CStr = c"system.posix_acl_access";
/// Name of the attribute that holds the ACL that new files of a directory get.
pub const DEFAULT: &CStr = c"system.posix_acl_default";

const VERSION: u32 = 2;
/// What fits the largest extended attribute, 64 KiB.
const MOST_ENTRIES: usize = 8191;
const UNDEFINED_ID: u32 = u32::MAX;

/// Why bytes or text are no ACL.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AclError {
    /// The attribute's bytes are not of the known layout.
    #[error("ACL attribute of {length} bytes is malformed")]
    Bytes {
        /// Length of the attribute.
        length: usize,
    },
    /// A line of the text cannot be understood.
    #[error("ACL entry {line:?} is malformed")]
    Entry {
        /// The line.
        line: String,
    },
    /// An entry names a user or group that has no id here.
    #[error("ACL entry {line:?} names nobody known")]
    Unknown {
        /// The line.
        line: String,
    },
    /// More entries than an attribute can hold.
    #[error("ACL has more than {MOST_ENTRIES} entries")]
    TooMany,
}

/// Whom an entry is about, in the kernel's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The file's owner.
    Owner,
    /// A user by id.
    User(u32),
    /// The file's group.
    OwningGroup,
    /// A group by id.
    Group(u32),
    /// The most that users by id and groups get.
    Mask,
    /// Everybody else.
    Other,
}

impl Subject {
    fn from_raw(tag: u16, id: u32) -> Option<Self> {
        Some(match tag {
            0x01 => Self::Owner,
            0x02 => Self::User(id),
            0x04 => Self::OwningGroup,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Other,
            _ => return None,
        })
    }

    fn to_raw(self) -> (u16, u32) {
        match self {
            Self::Owner => (0x01, UNDEFINED_ID),
            Self::User(id) => (0x02, id),
            Self::OwningGroup => (0x04, UNDEFINED_ID),
            Self::Group(id) => (0x08, id),
            Self::Mask => (0x10, UNDEFINED_ID),
            Self::Other => (0x20, UNDEFINED_ID),
        }
    }
}

/// One line of an ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Whom it is about.
    pub subject: Subject,
    /// Permissions as in a mode: read 4, write 2, execute 1.
    pub permissions: u8,
}

/// A user or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user.
    User,
    /// A group.
    Group,
}

/// An access control list, in the kernel's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    entries: Vec<Entry>,
}

impl Acl {
    /// Returns the list of the given entries.
    #[must_use]
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort();
        Self { entries }
    }

    /// Returns the three entries that say the same as a mode.
    #[must_use]
    pub fn from_mode(mode: u32) -> Self {
        let entry = |subject, shift: u32| Entry {
            subject,
            permissions: u8::try_from(mode >> shift & 7).unwrap_or(0),
        };
        Self::new(vec![
            entry(Subject::Owner, 6),
            entry(Subject::OwningGroup, 3),
            entry(Subject::Other, 0),
        ])
    }

    /// Returns the entries.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Says whether the list tells more than a mode could.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.entries.len() > 3
    }

    fn mask(&self) -> Option<u8> {
        let mask = |entry: &&Entry| entry.subject == Subject::Mask;
        self.entries
            .iter()
            .find(mask)
            .map(|entry| entry.permissions)
    }

    /// Returns the list in the bytes of an extended attribute.
    ///
    /// # Errors
    /// [`AclError::Bytes`] for anything but whole, known entries.
    pub fn from_attribute(bytes: &[u8]) -> Result<Self, AclError> {
        let malformed = || AclError::Bytes {
            length: bytes.len(),
        };
        let (version, rest) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
        if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 {
            return Err(malformed());
        }
        if rest.len() / 8 > MOST_ENTRIES {
            return Err(AclError::TooMany);
        }
        let entries = rest.chunks_exact(8).map(entry_from_bytes);
        let entries = entries.collect::<Option<Vec<_>>>().ok_or_else(malformed)?;
        Ok(Self::new(entries))
    }

    /// Returns the bytes for an extended attribute.
    #[must_use]
    pub fn to_attribute(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.entries.len().saturating_mul(8).saturating_add(4));
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for entry in &self.entries {
            let (tag, id) = entry.subject.to_raw();
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&u16::from(entry.permissions).to_le_bytes());
            bytes.extend_from_slice(&id.to_le_bytes());
        }
        bytes
    }

    /// Returns the text that Borg stores; `name_of` gives the name of an id, `None`
    /// (or always, for numeric ids) lets the id stand for it.
    #[must_use]
    pub fn to_text(&self, mut name_of: impl FnMut(Who, u32) -> Option<Vec<u8>>) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.entries.len().saturating_mul(24));
        let mask = self.mask().unwrap_or(7);
        for entry in &self.entries {
            if !text.is_empty() {
                text.push(b'\n');
            }
            let (kind, named): (&[u8], _) = match entry.subject {
                Subject::Owner => (b"user", None),
                Subject::User(id) => (b"user", Some((Who::User, id))),
                Subject::OwningGroup => (b"group", None),
                Subject::Group(id) => (b"group", Some((Who::Group, id))),
                Subject::Mask => (b"mask", None),
                Subject::Other => (b"other", None),
            };
            text.extend_from_slice(kind);
            text.push(b':');
            if let Some((who, id)) = named {
                match name_of(who, id) {
                    Some(name) => push_quoted(&mut text, &name),
                    None => text.extend_from_slice(id.to_string().as_bytes()),
                }
            }
            text.push(b':');
            text.extend_from_slice(&permission_letters(entry.permissions));
            // libacl notes a permission that the mask takes away in a comment behind a
            // tab; Borg 1.4 drops the comment and keeps the tab.
            let is_masked = !matches!(
                entry.subject,
                Subject::Owner | Subject::Mask | Subject::Other
            );
            if is_masked && entry.permissions & !mask != 0 {
                text.push(b'\t');
            }
            if let Some((_, id)) = named {
                text.extend_from_slice(format!(":{id}").as_bytes());
            }
        }
        text
    }

    /// Returns the list that Borg's text describes; no text, no entries.
    ///
    /// `id_of` gives the id for a name here; where it has none (or for numeric ids
    /// always answers `None`), the id of the fourth field counts, and without such a
    /// field a name made of digits.
    ///
    /// # Errors
    /// The first line that is no entry, or whose name has no id.
    pub fn from_text(
        text: &[u8],
        mut id_of: impl FnMut(Who, &[u8]) -> Option<u32>,
    ) -> Result<Self, AclError> {
        let mut entries = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            let line = without_comment(line);
            if line.is_empty() {
                continue;
            }
            if entries.len() == MOST_ENTRIES {
                return Err(AclError::TooMany);
            }
            entries.push(entry_from_text(line, &mut id_of)?);
        }
        Ok(Self::new(entries))
    }
}

fn entry_from_bytes(bytes: &[u8]) -> Option<Entry> {
    let (tag, rest) = bytes.split_first_chunk::<2>()?;
    let (permissions, rest) = rest.split_first_chunk::<2>()?;
    let id = rest.first_chunk::<4>()?;
    let permissions = u8::try_from(u16::from_le_bytes(*permissions)).ok()?;
    (permissions <= 7).then_some(())?;
    let subject = Subject::from_raw(u16::from_le_bytes(*tag), u32::from_le_bytes(*id))?;
    Some(Entry {
        subject,
        permissions,
    })
}

fn entry_from_text(
    line: &[u8],
    id_of: &mut impl FnMut(Who, &[u8]) -> Option<u32>,
) -> Result<Entry, AclError> {
    let shown = || String::from_utf8_lossy(line).into_owned();
    let mut fields = line.split(|byte| *byte == b':').map(<[u8]>::trim_ascii);
    let kind = fields.next().unwrap_or_default();
    let mut name = fields.next().unwrap_or_default();
    let last = fields.next();
    // The short form `mask:r--` and `other:r--` has no empty middle field.
    let letters = last.unwrap_or_else(|| std::mem::take(&mut name));
    let permissions = permissions_of(letters).ok_or_else(|| AclError::Entry { line: shown() })?;
    let who = match kind {
        b"user" | b"u" => Some(Who::User),
        b"group" | b"g" => Some(Who::Group),
        b"mask" | b"m" | b"other" | b"o" if name.is_empty() => None,
        _ => return Err(AclError::Entry { line: shown() }),
    };
    let subject = match who {
        None if kind.starts_with(b"m") => Subject::Mask,
        None => Subject::Other,
        Some(Who::User) if name.is_empty() => Subject::Owner,
        Some(Who::Group) if name.is_empty() => Subject::OwningGroup,
        Some(who) => {
            let id = id_of(who, &unquoted(name))
                .or_else(|| number(fields.next().unwrap_or(name)))
                .ok_or_else(|| AclError::Unknown { line: shown() })?;
            match who {
                Who::User => Subject::User(id),
                Who::Group => Subject::Group(id),
            }
        }
    };
    Ok(Entry {
        subject,
        permissions,
    })
}

fn without_comment(line: &[u8]) -> &[u8] {
    let end = line
        .iter()
        .position(|byte| *byte == b'#')
        .unwrap_or(line.len());
    line.get(..end).unwrap_or(line).trim_ascii()
}

fn permission_letters(permissions: u8) -> [u8; 3] {
    let letter = |bit: u8, letter: u8| if permissions & bit != 0 { letter } else { b'-' };
    [letter(4, b'r'), letter(2, b'w'), letter(1, b'x')]
}

fn permissions_of(letters: &[u8]) -> Option<u8> {
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    letters.iter().try_fold(0, |permissions, letter| {
        Some(
            permissions
                | match letter {
                    b'r' => 4,
                    b'w' => 2,
                    b'x' => 1,
                    b'-' => 0,
                    _ => return None,
                },
        )
    })
}

fn number(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    let id = digits.parse().ok()?;
    (id != UNDEFINED_ID).then_some(id)
}

/// Writes a name as libacl does: what would break the line becomes `\ooo`.
fn push_quoted(text: &mut Vec<u8>, name: &[u8]) {
    for byte in name {
        match byte {
            b':' | b',' | b' ' | b'\t' | b'\n' | b'\r' | b'\\' | b'#' => {
                text.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            _ => text.push(*byte),
        }
    }
}

fn unquoted(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        let octal = (*byte == b'\\')
            .then(|| after.first_chunk::<3>().and_then(octal))
            .flatten();
        match octal {
            Some(value) => {
                plain.push(value);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    plain
}

fn octal(digits: &[u8; 3]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// Returns the list in attribute `name` ([`ACCESS`] or [`DEFAULT`]) of `node`, if any.
///
/// # Errors
/// The error of `getxattr`, or `InvalidData` with an [`AclError`].
pub fn read(node: Node<'_>, name: &CStr) -> io::Result<Option<Acl>> {
    let mut bytes = Vec::new();
    match xattr::read(node, name, &mut bytes) {
        Err(error) if xattr::is_absent(&error) => return Ok(None),
        other => other?,
    }
    let acl = Acl::from_attribute(&bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some(acl))
}

/// Sets the list of `node`; one without entries removes a default ACL.
///
/// # Errors
/// The error of `setxattr`; `EINVAL` means that the entries contradict each other.
pub fn write(node: Node<'_>, name: &CStr, acl: &Acl) -> io::Result<()> {
    if acl.entries.is_empty() {
        return match xattr::remove(node, name) {
            Err(error) if xattr::is_absent(&error) => Ok(()),
            other => other,
        };
    }
    xattr::write(node, name, &acl.to_attribute())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::open_directory_path;
    use std::fs;
    use std::process::Command;

    const TEXT: &[u8] = b"user::rw-\nuser:daemon:rwx:1\nuser:4711:r--:4711\ngroup::r--\n\
        group:adm:r-x:4\nmask::rwx\nother::---";

    fn names(who: Who, id: u32) -> Option<Vec<u8>> {
        match (who, id) {
            (Who::User, 1) => Some(b"daemon".to_vec()),
            (Who::Group, 4) => Some(b"adm".to_vec()),
            _ => None,
        }
    }

    fn nobody(_: Who, _: &[u8]) -> Option<u32> {
        None
    }

    #[test]
    fn text_and_bytes_are_translated_into_each_other() {
        let acl = Acl::from_text(TEXT, nobody).unwrap();
        assert_eq!(acl.to_text(names), TEXT);
        assert_eq!(Acl::from_attribute(&acl.to_attribute()).unwrap(), acl);
        assert_eq!(acl.to_attribute().len(), 4 + 7 * 8);
        assert!(acl.is_extended());
        let numeric = acl.to_text(|_, _| None);
        assert!(numeric.starts_with(b"user::rw-\nuser:1:rwx:1\n"));
        assert_eq!(
            Acl::from_mode(0o640).to_text(names),
            b"user::rw-\ngroup::r--\nother::---"
        );
        assert_eq!(Acl::from_text(b"", nobody).unwrap(), Acl::default());
    }

    #[test]
    fn entries_cut_by_the_mask_carry_the_tab_that_borg_leaves() {
        // As Borg 1.4.5 archived `setfacl -m u:1:rw,m::r,g:4:rw`.
        let text =
            b"user::rw-\nuser:daemon:rw-\t:1\ngroup::r--\ngroup:adm:rw-\t:4\nmask::r--\nother::r--";
        let acl = Acl::from_text(text, nobody).unwrap();
        assert_eq!(acl.entries()[1].permissions, 6);
        assert_eq!(acl.to_text(names), text);
        let wide = b"user::rwx\ngroup::r-x\t\ngroup:adm:r--:4\nmask::r--\nother::r-x";
        assert_eq!(Acl::from_text(wide, nobody).unwrap().to_text(names), wide);
    }

    #[test]
    fn names_known_here_win_over_stored_ids() {
        let local = |who, name: &[u8]| (who == Who::User && name == b"daemon").then_some(99);
        let acl = Acl::from_text(TEXT, local).unwrap();
        assert_eq!(acl.entries()[1].subject, Subject::User(99));
        assert_eq!(acl.entries()[2].subject, Subject::User(4711));
        let old = Acl::from_text(b"user:4711:r--\nmask:r--\nother::r # comment", nobody).unwrap();
        assert_eq!(old.entries()[0].subject, Subject::User(4711));
        assert_eq!(old.entries().len(), 3);
    }

    #[test]
    fn names_with_separators_survive() {
        let name = b"we:ird na\\me#\xff".to_vec();
        let acl = Acl::new(vec![Entry {
            subject: Subject::User(7),
            permissions: 4,
        }]);
        let text = acl.to_text(|_, _| Some(name.clone()));
        assert_eq!(text.iter().filter(|byte| **byte == b':').count(), 3);
        let again = Acl::from_text(&text, |_, found| (found == name).then_some(8)).unwrap();
        assert_eq!(again.entries()[0].subject, Subject::User(8));
    }

    #[test]
    fn what_is_no_acl_is_an_error() {
        let malformed: [&[u8]; 8] = [
            b"user",
            b"user:",
            b"user::rwxr",
            b"user::rwq",
            b"nobody::r--",
            b"mask:x:r--",
            b"user:unknown:r--",
            b"user:unknown:r--:-1",
        ];
        for text in malformed {
            assert!(
                Acl::from_text(text, nobody).is_err(),
                "{}",
                text.escape_ascii()
            );
        }
        let long = b"other::r\n".repeat(MOST_ENTRIES + 1);
        assert_eq!(Acl::from_text(&long, nobody), Err(AclError::TooMany));
        let good = Acl::from_mode(0o644).to_attribute();
        for length in (0..good.len()).filter(|length| length % 8 != 4) {
            assert!(Acl::from_attribute(&good[..length]).is_err());
        }
        for (position, value) in [(0, 1), (4, 3), (5, 1), (6, 8), (7, 1)] {
            let mut bad = good.clone();
            bad[position] = value;
            assert!(Acl::from_attribute(&bad).is_err(), "byte {position}");
        }
    }

    #[test]
    fn setfacl_and_getfacl_agree_with_us() {
        let root = tempfile::tempdir().unwrap();
        let top = open_directory_path(root.path()).unwrap();
        fs::create_dir(root.path().join("directory")).unwrap();
        let node = Node::entry(&top, c"directory");
        assert_eq!(read(node, ACCESS).unwrap(), None);
        let set = Command::new("setfacl")
            .args(["-m", "u:1:rwx,g:4711:r-x,d:u:2:r", "directory"])
            .current_dir(root.path())
            .status();
        let Ok(status) = set else {
            return eprintln!("setfacl is not installed");
        };
        assert!(status.success());
        let access = read(node, ACCESS).unwrap().unwrap();
        assert_eq!(
            access.entries()[1],
            Entry {
                subject: Subject::User(1),
                permissions: 7
            }
        );
        assert_eq!(access.entries().len(), 6);
        assert_eq!(read(node, DEFAULT).unwrap().unwrap().entries().len(), 5);
        let ours = Acl::from_text(
            b"user::rwx\nuser:3:r--:3\ngroup::---\nmask::r--\nother::---",
            nobody,
        );
        write(node, ACCESS, &ours.unwrap()).unwrap();
        write(node, DEFAULT, &Acl::default()).unwrap();
        write(node, DEFAULT, &Acl::default()).unwrap();
        let shown = Command::new("getfacl")
            .args(["-nc", "directory"])
            .current_dir(root.path())
            .output()
            .unwrap();
        let expected = "user::rwx\nuser:3:r--\ngroup::---\nmask::r--\nother::---\n\n";
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), expected);
    }
}
