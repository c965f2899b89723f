//! ZFS: snapshots of datasets, mounted for the time of the run.

use std::path::PathBuf;

use super::{FileSystem, Shop, SnapshotError, Taken, Volume, mounted};
use crate::output::log::Level;

/// A dataset whose property of this name is `auto` is always saved.
const PROPERTY: &str = "org.torsion.borgmatic:backup";

/// The file system.
#[derive(Debug)]
pub struct Zfs;

impl FileSystem for Zfs {
    fn key(&self) -> &'static str {
        "zfs"
    }

    fn title(&self) -> &'static str {
        "ZFS datasets"
    }

    fn volumes(&self, shop: &Shop, _: &[PathBuf]) -> Result<Vec<Volume>, SnapshotError> {
        let program = shop
            .program("ZFS datasets", "zfs_command", "zfs")
            .words(["list", "-H", "-t", "filesystem", "-o"])
            .word(format!("name,mountpoint,canmount,{PROPERTY}"));
        let text = shop.run(&program)?;
        let mut volumes = Vec::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.trim_end().split('\t').collect();
            let [name, mount_point, may_mount, saved] = fields.as_slice() else {
                return Err(SnapshotError::Output {
                    program: program.shown(),
                    reason: format!("{line:?}"),
                });
            };
            // A snapshot of one that is not mounted would show nothing.
            if *may_mount != "off" && mount_point.starts_with('/') {
                volumes.push(Volume {
                    name: (*name).to_owned(),
                    device: String::new(),
                    mount_point: (*mount_point).to_owned(),
                    always: *saved == "auto",
                });
            }
        }
        Ok(volumes)
    }

    fn take(&self, shop: &Shop, volume: &Volume) -> Result<Taken, SnapshotError> {
        let snapshot = snapshot(volume);
        let program = shop.program(&volume.what(), "zfs_command", "zfs");
        shop.run(&program.word("snapshot").word(&snapshot))?;
        mounted::mount(shop, volume, &["-t", "zfs"], &snapshot).inspect_err(|_| {
            destroy_or_tell(shop, &snapshot);
        })
    }

    fn remove(&self, shop: &Shop, volume: &Volume) -> Result<(), SnapshotError> {
        mounted::unmount(shop, volume)?;
        destroy(shop, &snapshot(volume))
    }

    fn remove_leftovers(&self, shop: &Shop) -> Result<(), SnapshotError> {
        mounted::unmount_leftovers(shop);
        let program = shop
            .program("ZFS snapshots", "zfs_command", "zfs")
            .words(["list", "-H", "-t", "snapshot", "-o", "name"]);
        let text = shop.run(&program)?;
        for snapshot in text.lines().map(str::trim_end) {
            let name = snapshot.rsplit_once('@').map_or("", |(_, name)| name);
            if mounted::is_left(name) {
                destroy_or_tell(shop, snapshot);
            }
        }
        Ok(())
    }
}

fn snapshot(volume: &Volume) -> String {
    format!("{}@{}", volume.name, mounted::name())
}

fn destroy(shop: &Shop, snapshot: &str) -> Result<(), SnapshotError> {
    let program = shop.program(snapshot, "zfs_command", "zfs");
    shop.run(&program.word("destroy").word(snapshot))
        .map(|_| ())
}

fn destroy_or_tell(shop: &Shop, snapshot: &str) {
    if let Err(error) = destroy(shop, snapshot) {
        shop.log.record(Level::Warning, &error.to_string());
    }
}
