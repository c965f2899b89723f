//! Memory: files mapped for reading, and secrets kept out of swap and core dumps.
//!
//! Maps serve the large lookup tables (chunk index, files cache) that this program
//! writes itself and replaces only by renaming a new file over the old one.

use std::fs::File;
use std::io;
use std::ops::Deref;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Blocks of at least this many bytes go back to the system when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BLOCK: libc::c_int = 1 << 20;

/// Has large blocks of memory go back to the system as soon as they are freed.
///
/// glibc would otherwise raise its threshold with the first of them and keep the rest, spread over
/// the heaps of all threads. Other allocators are left as they are.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: `mallopt` takes two numbers and changes a setting of the allocator.
        let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK) };
    }
}

/// The bytes of a file, mapped for reading.
///
/// The file must be one that nobody changes in place: this program's caches are
/// replaced by rename. If somebody cuts the file short all the same, touching the
/// lost part kills the process (`SIGBUS`); it cannot read foreign memory.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<memmap2::Mmap>,
}

impl MappedFile {
    /// Maps the whole of `file`.
    ///
    /// # Errors
    /// The error of `mmap`.
    pub fn open(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Ok(Self { map: None });
        }
        // SAFETY: the map is private and only ever read; the file belongs to this
        // program, which never writes to it again after it got its final name.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(file)? };
        Ok(Self { map: Some(map) })
    }

    /// Tells the kernel that the bytes are looked up here and there, not in order.
    ///
    /// Reading ahead would fetch pages nobody asked for. Best effort.
    pub fn expect_random_access(&self) {
        if let Some(map) = &self.map {
            let _ = map.advise(memmap2::Advice::Random);
        }
    }

    /// Tells the kernel that all of the bytes are needed soon. Best effort.
    pub fn expect_full_use(&self) {
        if let Some(map) = &self.map {
            let _ = map.advise(memmap2::Advice::WillNeed);
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

/// Has the processor fetch a value that is needed in a moment, while it does something else.
///
/// Worth it for look-ups in large tables, where each costs the time of a hundred instructions.
/// Nothing where the processor cannot be asked.
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program sees, and the address is valid.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Keeps the pages that hold `secret` out of swap; says whether that worked.
///
/// Best effort: unprivileged users may lock only a little. The lock ends with the
/// process. Pages are locked whole, so neighbours are locked, too.
pub fn lock_secret(secret: &[u8]) -> bool {
    if secret.is_empty() {
        return true;
    }
    // SAFETY: the range is a live slice; locking pages changes no content.
    unsafe { libc::mlock(secret.as_ptr().cast(), secret.len()) == 0 }
}

/// Makes sure that keys of this process never land in a core dump, and that other
/// processes of the same user cannot attach to it.
///
/// Best effort. Programs started later inherit the core limit, not the rest.
pub fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_mapped_file_shows_its_bytes_and_an_empty_one_none() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(&*MappedFile::open(&file).unwrap(), b"");
        file.write_all(b"table").unwrap();
        let map = MappedFile::open(&file).unwrap();
        map.expect_random_access();
        map.expect_full_use();
        assert_eq!(&*map, b"table");
    }

    #[test]
    fn a_small_secret_can_be_locked() {
        let secret = [7u8; 64];
        assert!(lock_secret(&[]));
        lock_secret(&secret);
        assert_eq!(secret, [7; 64]);
    }
}
