//! Directories that something is mounted on.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::mount::UnmountFlags;

/// Tells whether something may be mounted here: a directory in which this user may do everything.
#[must_use]
pub fn is_possible_at(path: &Path) -> bool {
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    path.is_dir() && access(path, wanted).is_ok()
}

/// Takes the file system at a path away from its place; who has files of it open may go on.
///
/// # Errors
/// When nothing is mounted there, or this user may not.
pub fn detach(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::DETACH)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_can_be_mounted_on() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_possible_at(directory.path()));
        assert!(!is_possible_at(&directory.path().join("missing")));
        assert!(!is_possible_at(Path::new("/proc/self/status")));
        assert!(detach(directory.path()).is_err());
    }
}
