//! Btrfs: a snapshot is a directory in the subvolume it is of, and needs no mount.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{FileSystem, Shop, SnapshotError, Taken, Volume};
use crate::output::log::Level;
use crate::patterns::{Kind, Pattern};

/// The inode number of the directory that a subvolume is.
const SUBVOLUME_INODE: u64 = 256;

/// The directory with the snapshot, in the subvolume.
const PLACE: &str = ".borgmatic-snapshot";

/// The file system.
#[derive(Debug)]
pub struct Btrfs;

impl FileSystem for Btrfs {
    fn key(&self) -> &'static str {
        "btrfs"
    }

    fn title(&self) -> &'static str {
        "Btrfs subvolumes"
    }

    fn volumes(&self, shop: &Shop, roots: &[PathBuf]) -> Result<Vec<Volume>, SnapshotError> {
        if !shop.settings.get("findmnt_command", "").is_empty() {
            let text = "The Btrfs \"findmnt_command\" option is deprecated and has no effect";
            shop.log.record(Level::Warning, text);
        }
        let mut found = BTreeSet::new();
        for root in roots {
            found.extend(containing(shop, root)?);
        }
        let volume = |path: String| Volume {
            name: path.clone(),
            device: String::new(),
            mount_point: path,
            always: false,
        };
        Ok(found.into_iter().map(volume).collect())
    }

    fn take(&self, shop: &Shop, volume: &Volume) -> Result<Taken, SnapshotError> {
        let lock = lock(&volume.mount_point)?;
        let snapshot = snapshot(&volume.mount_point);
        if snapshot.exists() {
            // Nobody holds the lock: a killed run has left it.
            self.remove(shop, volume)?;
        }
        if let Some(parent) = snapshot.parent() {
            shop.make_directory(parent)?;
        }
        let program = shop
            .program(&volume.what(), "btrfs_command", "btrfs")
            .words(["subvolume", "snapshot"])
            .word(&volume.mount_point)
            .word(snapshot.to_string_lossy());
        shop.run(&program)?;
        Ok(Taken {
            below: Path::new(&volume.mount_point).join(PLACE),
            excluded: Some(Pattern {
                kind: Kind::NoRecurse,
                style: Some("fm".to_owned()),
                // The snapshot has an empty directory where it is itself in the subvolume.
                path: snapshot.join(PLACE).to_string_lossy().into_owned(),
            }),
            _lock: Some(lock),
        })
    }

    fn remove(&self, shop: &Shop, volume: &Volume) -> Result<(), SnapshotError> {
        let snapshot = snapshot(&volume.mount_point);
        let program = shop
            .program(&volume.mount_point, "btrfs_command", "btrfs")
            .words(["subvolume", "delete"])
            .word(snapshot.to_string_lossy());
        shop.run(&program)?;
        // Empty directories that led to it. For the subvolume "/" there are none.
        let end = Path::new(&volume.mount_point);
        for directory in snapshot.ancestors().skip(1).take_while(|path| *path != end) {
            let _ = std::fs::remove_dir(directory);
        }
        Ok(())
    }

    /// They are where new ones are taken, and removed there.
    fn remove_leftovers(&self, _: &Shop) -> Result<(), SnapshotError> {
        Ok(())
    }
}

fn snapshot(subvolume: &str) -> PathBuf {
    let inner = subvolume.trim_matches('/');
    Path::new(subvolume).join(PLACE).join(inner)
}

/// Keeps other runs away from the place of the snapshot.
fn lock(subvolume: &str) -> Result<OwnedFd, SnapshotError> {
    let failed = |source| SnapshotError::Directory {
        path: PathBuf::from(subvolume),
        source,
    };
    let directory = OwnedFd::from(File::open(subvolume).map_err(failed)?);
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SnapshotError::InUse(subvolume.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// The writable subvolume that a path is in.
fn containing(shop: &Shop, path: &Path) -> Result<Option<String>, SnapshotError> {
    let subvolume = path.ancestors().find(|ancestor| {
        let found = std::fs::metadata(ancestor);
        found.is_ok_and(|found| found.is_dir() && found.ino() == SUBVOLUME_INODE)
    });
    let Some(subvolume) = subvolume.and_then(Path::to_str) else {
        return Ok(None);
    };
    let program = shop
        .program(subvolume, "btrfs_command", "btrfs")
        .words(["property", "get", "-t", "subvol"])
        .words([subvolume, "ro"]);
    match shop.run(&program) {
        Ok(text) => match text.trim().split_once('=') {
            Some((_, "true")) => {
                let text = format!("Ignoring the Btrfs subvolume {subvolume}: it is read-only");
                shop.log.record(Level::Debug, &text);
                Ok(None)
            }
            Some(_) => Ok(Some(subvolume.to_owned())),
            None => Err(SnapshotError::Output {
                program: program.shown(),
                reason: format!("{:?}", text.trim()),
            }),
        },
        // Other file systems have directories with this number, too.
        Err(error) => {
            shop.log.record(Level::Debug, &error.to_string());
            Ok(None)
        }
    }
}
