//! A Btrfs file system in a file, for what needs snapshots.
//!
//! Needs root and a kernel that knows Btrfs. It is unmounted when dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size of the file, most of which is never written.
const BYTES: u64 = 256 << 20;

/// A mounted Btrfs.
#[derive(Debug)]
pub struct Btrfs {
    path: PathBuf,
}

impl Btrfs {
    /// Mounts a new one at `path`, which is made; panics when it cannot.
    pub fn mount(path: &Path) -> Btrfs {
        fs::create_dir_all(path).unwrap();
        let image = path.with_extension("image");
        File::create(&image).unwrap().set_len(BYTES).unwrap();
        run(Command::new("mkfs.btrfs").arg("--quiet").arg(&image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(path));
        Btrfs {
            path: path.to_owned(),
        }
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a subvolume.
    pub fn subvolume(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        run(Command::new("btrfs")
            .args(["--quiet", "subvolume", "create"])
            .arg(&path));
        path
    }

    /// Returns the paths of all subvolumes, snapshots among them.
    pub fn subvolumes(&self) -> Vec<String> {
        let list = Command::new("btrfs")
            .args(["subvolume", "list"])
            .arg(&self.path)
            .output();
        let text = String::from_utf8(list.unwrap().stdout).unwrap();
        let path = |line: &str| line.split_once(" path ").unwrap().1.to_owned();
        text.lines().map(path).collect()
    }
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{command:?} failed: run scripts/setup tests"
    );
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        // A program that was killed may need a moment to let go of its files.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
