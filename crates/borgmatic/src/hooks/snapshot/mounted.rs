//! Snapshots that have to be mounted before anything can be read from them.
//!
//! They are mounted below the private directory of the run, each under a name of its own, so that
//! `/var` and `/var/spool` are not in each other's way.

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};

use fastness_sys::process;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use super::{FileSystem, Shop, SnapshotError, Taken, Volume};
use crate::directories::{MARK, mounts};
use crate::output::log::Level;

/// How the names of snapshots begin; the number of the process comes after it.
const PREFIX: &str = "borgmatic-";

/// As many bytes of a checksum tell mount points apart.
const NAME_BYTES: usize = 10;

/// The name of the snapshots of this run.
pub(super) fn name() -> String {
    format!("{PREFIX}{}", process::own_pid())
}

/// Tells whether a name is that of a snapshot whose run is over.
pub(super) fn is_left(name: &str) -> bool {
    let number = name.strip_prefix(PREFIX).map(str::parse::<u64>);
    // One with our own number is older than we are.
    number.is_some_and(|number| {
        number.is_ok_and(|pid| pid == u64::from(process::own_pid()) || !process::is_alive(pid))
    })
}

/// The directory below which live paths lead into the snapshot of a volume.
fn below(shop: &Shop, volume: &Volume) -> PathBuf {
    let mut name = String::new();
    for byte in Sha256::digest(&volume.mount_point).iter().take(NAME_BYTES) {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    // Without the dot that stands in the path of the runtime directory.
    let runtime: PathBuf = shop.runtime.components().collect();
    runtime
        .join(directory(shop.settings.file_system))
        .join(name)
}

fn directory(file_system: &dyn FileSystem) -> String {
    format!("{}_snapshots", file_system.key())
}

fn place(shop: &Shop, volume: &Volume) -> PathBuf {
    below(shop, volume).join(volume.mount_point.trim_start_matches('/'))
}

/// Mounts a snapshot, read-only.
pub(super) fn mount(
    shop: &Shop,
    volume: &Volume,
    words: &[&str],
    snapshot: &str,
) -> Result<Taken, SnapshotError> {
    let place = place(shop, volume);
    shop.make_directory(&place)?;
    let program = shop
        .program(&volume.what(), "mount_command", "mount")
        .words(words.iter().copied())
        .words(["-o", "ro", snapshot])
        .word(place.to_string_lossy());
    shop.run(&program)?;
    Ok(Taken {
        below: below(shop, volume),
        excluded: None,
        _lock: None,
    })
}

/// Unmounts a snapshot.
pub(super) fn unmount(shop: &Shop, volume: &Volume) -> Result<(), SnapshotError> {
    unmount_at(shop, &place(shop, volume))?;
    let place = place(shop, volume);
    // Only what is empty: a file here would be somebody's.
    for directory in place.ancestors().take_while(|path| *path != shop.runtime) {
        if std::fs::remove_dir(directory).is_err() {
            break;
        }
    }
    Ok(())
}

fn unmount_at(shop: &Shop, place: &Path) -> Result<(), SnapshotError> {
    let place = place.to_string_lossy();
    let program = shop.program(&place, "umount_command", "umount");
    shop.run(&program.word(place.as_ref())).map(|_| ())
}

/// Unmounts what killed runs left mounted.
pub(super) fn unmount_leftovers(shop: &Shop) {
    let directory = directory(shop.settings.file_system);
    let mut places: Vec<PathBuf> = mounts()
        .into_iter()
        .filter(|mount| {
            let above = mount.ancestors();
            let mut snapshots = above.filter(|path| path.ends_with(&directory));
            snapshots.any(|path| path.ancestors().nth(2).is_some_and(is_abandoned))
        })
        .collect();
    // Longer paths first: they may be mounted on others.
    places.sort();
    for place in places.iter().rev() {
        if let Err(error) = unmount_at(shop, place) {
            shop.log.record(Level::Warning, &error.to_string());
        }
    }
}

/// Tells whether a runtime directory belongs to a run of ours that is over.
fn is_abandoned(runtime: &Path) -> bool {
    let lock = FlockOperation::NonBlockingLockExclusive;
    runtime.join(MARK).exists()
        && File::open(runtime).is_ok_and(|runtime| rustix::fs::flock(&runtime, lock).is_ok())
}
