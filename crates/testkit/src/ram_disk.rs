//! A small file system in memory, to be filled to the last byte.
//!
//! Needs root. It is unmounted when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs of limited size.
#[derive(Debug)]
pub struct RamDisk {
    path: PathBuf,
}

impl RamDisk {
    /// Mounts a tmpfs of `bytes` at `path`, which is made; panics when it cannot.
    pub fn mount(path: &Path, bytes: u64) -> RamDisk {
        fs::create_dir_all(path).unwrap();
        let options = format!("size={bytes},mode=0755");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot mount {}",
            path.display()
        );
        RamDisk {
            path: path.to_owned(),
        }
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the size, as adding a disk would.
    pub fn resize(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.path)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot resize {}",
            self.path.display()
        );
    }

    /// Fills what is left with a file called `ballast` and returns its path.
    pub fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let block = vec![0x5a_u8; 65536];
        let mut file = fs::File::create(&ballast).unwrap();
        for size in [65536, 4096, 1] {
            while std::io::Write::write_all(&mut file, &block[..size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for RamDisk {
    fn drop(&mut self) {
        // A program that was killed may need a moment to let go of its files.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
