//! Headers of tar members in the GNU format.
//!
//! Byte for byte what Borg writes: names beyond 100 bytes in members of their own before the
//! header, numbers that do not fit as octal digits in base 256, device numbers for devices only.

use super::BLOCK;

/// Longest name or link target that fits into a header.
const NAME_BYTES: usize = 100;
/// Where the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 148..156;
const MAGIC: &[u8; 8] = b"ustar  \0";

/// What a member is, with the letter that the format has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MemberKind {
    /// A regular file with its content.
    File = b'0',
    /// A further name of a member before.
    HardLink = b'1',
    /// A symbolic link.
    SymbolicLink = b'2',
    /// A character device.
    CharacterDevice = b'3',
    /// A block device.
    BlockDevice = b'4',
    /// A directory.
    Directory = b'5',
    /// A named pipe.
    Fifo = b'6',
}

/// What a header says.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The path; directories get a slash at the end.
    pub name: &'a [u8],
    /// What it is.
    pub kind: MemberKind,
    /// Permissions.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Length of the content.
    pub size: u64,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// What a link refers to; empty for everything else.
    pub link: &'a [u8],
    /// Name of the owner.
    pub user: &'a [u8],
    /// Name of the group.
    pub group: &'a [u8],
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Member<'_> {
    /// Appends the header, with those for long names before it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let slashed;
        let name = if self.kind == MemberKind::Directory && !self.name.ends_with(b"/") {
            slashed = [self.name, b"/"].concat();
            &slashed
        } else {
            self.name
        };
        if self.link.len() > NAME_BYTES {
            write_long(out, b'K', self.link);
        }
        if name.len() > NAME_BYTES {
            write_long(out, b'L', name);
        }
        let mut block = Block::begin(out);
        block.text(name, NAME_BYTES);
        block.number((self.mode & 0o7777).into(), 8);
        block.number(self.uid.into(), 8);
        block.number(self.gid.into(), 8);
        block.number(i128::from(self.size), 12);
        block.number(self.mtime.into(), 12);
        block.kind(self.kind as u8);
        block.text(self.link, NAME_BYTES);
        block.text(MAGIC, MAGIC.len());
        block.text(self.user, 32);
        block.text(self.group, 32);
        if matches!(
            self.kind,
            MemberKind::CharacterDevice | MemberKind::BlockDevice
        ) {
            block.number(self.device.0.into(), 8);
            block.number(self.device.1.into(), 8);
        }
        block.finish();
    }
}

/// Appends a member that holds the name of the next one.
fn write_long(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    let mut block = Block::begin(out);
    block.text(b"././@LongLink", NAME_BYTES);
    for _ in 0..3 {
        block.number(0, 8);
    }
    block.number(name.len() as i128 + 1, 12);
    block.number(0, 12);
    block.kind(kind);
    block.text(b"", NAME_BYTES);
    block.text(MAGIC, MAGIC.len());
    block.finish();
    out.extend_from_slice(name);
    let filled = (name.len() + 1).next_multiple_of(BLOCK);
    out.resize(out.len() + filled - name.len(), 0);
}

/// A header block that is filled from front to back.
struct Block<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Block<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.reserve(BLOCK);
        Self { out, start }
    }

    /// Appends a text, cut off or filled up with zeros.
    fn text(&mut self, text: &[u8], bytes: usize) {
        let cut = text.get(..bytes).unwrap_or(text);
        self.out.extend_from_slice(cut);
        self.out.resize(self.out.len() + bytes - cut.len(), 0);
    }

    /// Appends a number: in octal digits, or else in base 256 behind a byte that tells the sign.
    fn number(&mut self, number: i128, bytes: usize) {
        let digits = bytes - 1;
        if (0..1 << (3 * digits)).contains(&number) {
            let text = format!("{number:0digits$o}\0");
            self.out.extend_from_slice(text.as_bytes());
            return;
        }
        self.out.push(if number < 0 { 0o377 } else { 0o200 });
        let big = number.to_be_bytes();
        let low = big.get(big.len() - digits..).unwrap_or_default();
        self.out.extend_from_slice(low);
    }

    /// Leaves the checksum blank and appends the letter of the kind.
    fn kind(&mut self, kind: u8) {
        self.out.extend_from_slice(&[b' '; 8]);
        self.out.push(kind);
    }

    fn finish(self) {
        self.out.resize(self.start + BLOCK, 0);
        let block = self.out.get_mut(self.start..).unwrap_or_default();
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        // The last of the eight bytes stays blank.
        let text = format!("{sum:06o}\0");
        let place = block.get_mut(CHECKSUM).and_then(|place| place.get_mut(..7));
        if let Some(place) = place {
            place.copy_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Member<'static> = Member {
        name: b"a",
        kind: MemberKind::File,
        mode: 0o100_644,
        uid: 1,
        gid: 2,
        size: 3,
        mtime: 4,
        link: b"",
        user: b"",
        group: b"",
        device: (0, 0),
    };

    fn written(member: Member<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        member.write(&mut out);
        out
    }

    #[test]
    fn numbers_are_octal_as_long_as_they_fit() {
        let block = written(PLAIN);
        assert_eq!(block.len(), BLOCK);
        assert_eq!(&block[100..108], b"0000644\0");
        assert_eq!(&block[136..148], b"00000000004\0");
        let block = written(Member {
            uid: u32::MAX,
            mtime: -1,
            size: 1 << 33,
            ..PLAIN
        });
        assert_eq!(&block[108..116], [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(&block[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(&block[136..148], [0xff; 12]);
    }

    #[test]
    fn long_names_come_in_members_of_their_own() {
        let name = [b'n'; 600];
        let out = written(Member {
            name: &name,
            link: &name[..101],
            kind: MemberKind::SymbolicLink,
            ..PLAIN
        });
        assert_eq!(out.len(), BLOCK * (2 + 3 + 1));
        assert_eq!((out[156], out[BLOCK * 2 + 156]), (b'K', b'L'));
        assert_eq!(&out[BLOCK * 5..BLOCK * 5 + 100], [b'n'; 100]);
    }

    #[test]
    fn directories_end_with_a_slash_and_devices_have_numbers() {
        let block = written(Member {
            kind: MemberKind::Directory,
            ..PLAIN
        });
        assert_eq!(&block[..3], b"a/\0");
        assert_eq!(&block[329..345], [0; 16]);
        let block = written(Member {
            kind: MemberKind::BlockDevice,
            device: (7, 300),
            ..PLAIN
        });
        assert_eq!(&block[329..345], b"0000007\x000000454\0");
    }
}
