//! LVM: snapshots of logical volumes, mounted for the time of the run.

use std::path::PathBuf;

use serde_json::Value;

use super::{FileSystem, Shop, SnapshotError, Taken, Volume, mounted};
use crate::hooks::dump::program::Program;
use crate::output::log::Level;

/// How much of the volume may change while the snapshot lives.
const DEFAULT_SIZE: &str = "10%ORIGIN";

/// The logical volume manager of Linux.
#[derive(Debug)]
pub struct Lvm;

impl FileSystem for Lvm {
    fn key(&self) -> &'static str {
        "lvm"
    }

    fn title(&self) -> &'static str {
        "LVM logical volumes"
    }

    fn volumes(&self, shop: &Shop, _: &[PathBuf]) -> Result<Vec<Volume>, SnapshotError> {
        let program = shop
            .program("LVM logical volumes", "lsblk_command", "lsblk")
            .words(["--output", "name,path,mountpoint,type", "--json", "--list"]);
        let told = told(shop, &program)?;
        let devices = told.get("blockdevices").and_then(Value::as_array);
        let devices = devices.ok_or_else(|| misunderstood(&program, "no \"blockdevices\""))?;
        let mut volumes = Vec::new();
        for device in devices {
            let field = |key: &str| device.get(key).and_then(Value::as_str);
            let Some(mount_point) = field("mountpoint").filter(|path| path.starts_with('/')) else {
                continue;
            };
            if field("type") != Some("lvm") {
                continue;
            }
            let (Some(name), Some(path)) = (field("name"), field("path")) else {
                return Err(misunderstood(&program, "a device without name or path"));
            };
            volumes.push(Volume {
                name: name.to_owned(),
                device: path.to_owned(),
                mount_point: mount_point.to_owned(),
                always: false,
            });
        }
        Ok(volumes)
    }

    fn take(&self, shop: &Shop, volume: &Volume) -> Result<Taken, SnapshotError> {
        let name = name(volume);
        let size = shop.settings.get("snapshot_size", DEFAULT_SIZE);
        let unit = match size.contains('%') {
            true => "--extents",
            false => "--size",
        };
        let program = shop
            .program(&volume.what(), "lvcreate_command", "lvcreate")
            .words(["--snapshot", unit, size])
            // A file system may have to replay its journal before it can be mounted.
            .words(["--permission", "rw", "--name", &name, &volume.device]);
        shop.run(&program)?;
        let mounted =
            device_of(shop, &name).and_then(|device| mounted::mount(shop, volume, &[], &device));
        mounted.inspect_err(|_| {
            if let Err(error) = remove(shop, &name) {
                shop.log.record(Level::Warning, &error.to_string());
            }
        })
    }

    fn remove(&self, shop: &Shop, volume: &Volume) -> Result<(), SnapshotError> {
        mounted::unmount(shop, volume)?;
        remove(shop, &name(volume))
    }

    fn remove_leftovers(&self, shop: &Shop) -> Result<(), SnapshotError> {
        mounted::unmount_leftovers(shop);
        for (name, device) in snapshots(shop)? {
            let own = name.rsplit_once('_').map_or("", |(_, own)| own);
            if mounted::is_left(own)
                && let Err(error) = remove_device(shop, &name, &device)
            {
                shop.log.record(Level::Warning, &error.to_string());
            }
        }
        Ok(())
    }
}

fn name(volume: &Volume) -> String {
    format!("{}_{}", volume.name, mounted::name())
}

/// What a program prints as JSON.
fn told(shop: &Shop, program: &Program) -> Result<Value, SnapshotError> {
    let text = shop.run(program)?;
    serde_json::from_str(&text).map_err(|error| misunderstood(program, &error.to_string()))
}

fn misunderstood(program: &Program, reason: &str) -> SnapshotError {
    SnapshotError::Output {
        program: program.shown(),
        reason: reason.to_owned(),
    }
}

/// All snapshots that there are: names and devices.
fn snapshots(shop: &Shop) -> Result<Vec<(String, String)>, SnapshotError> {
    let program = shop
        .program("LVM snapshots", "lvs_command", "lvs")
        .words(["--report-format", "json", "--options", "lv_name,lv_path"])
        .words(["--select", "lv_attr =~ ^s"]);
    let told = told(shop, &program)?;
    let report = told.get("report").and_then(|reports| reports.get(0));
    let volumes = report.and_then(|report| report.get("lv")?.as_array());
    let volumes = volumes.ok_or_else(|| misunderstood(&program, "no \"report\" with \"lv\""))?;
    let text = |volume: &Value, key: &str| volume.get(key)?.as_str().map(str::to_owned);
    volumes
        .iter()
        .map(|volume| Some((text(volume, "lv_name")?, text(volume, "lv_path")?)))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| misunderstood(&program, "a volume without \"lv_name\" or \"lv_path\""))
}

fn device_of(shop: &Shop, wanted: &str) -> Result<String, SnapshotError> {
    let found = snapshots(shop)?
        .into_iter()
        .find(|(name, _)| name == wanted);
    found
        .map(|(_, device)| device)
        .ok_or_else(|| SnapshotError::Output {
            program: shop.settings.get("lvs_command", "lvs").to_owned(),
            reason: format!("the snapshot {wanted} that was made just now is missing"),
        })
}

fn remove(shop: &Shop, name: &str) -> Result<(), SnapshotError> {
    let device = device_of(shop, name)?;
    remove_device(shop, name, &device)
}

fn remove_device(shop: &Shop, name: &str, device: &str) -> Result<(), SnapshotError> {
    let program = shop.program(name, "lvremove_command", "lvremove");
    shop.run(&program.words(["--force", device])).map(|_| ())
}
