//! What stands on a file system: loop devices on files in it, overlays over it, mapped devices on those, and so on. Their
//! pages are copies of its pages, and each keeps it in use.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::DeviceNumber;
use super::everywhere;
use super::mounts::Mounts;
use super::tools::Tool;

const DEADLINE: Duration = Duration::from_secs(1);

/// `base` first, then whatever stands on it, nearest first.
#[must_use]
pub fn devices_on(base: &[DeviceNumber]) -> Vec<DeviceNumber> {
    let tables: Vec<Mounts> = everywhere::tables().into_iter().map(|(_, table)| table).collect();
    let loops = loop_devices();
    let mut found = base.to_vec();
    let mut at = 0;
    while let Some(device) = found.get(at).copied() {
        at += 1;
        let on_files = loops.iter().filter(|(_, backing)| *backing == device).map(|(number, _)| *number);
        let overlays = tables.iter().flat_map(|table| overlays_over(table, device));
        let more: Vec<DeviceNumber> = on_files.chain(overlays).chain(mapped_on(device)).collect();
        for device in more {
            if !found.contains(&device) {
                found.push(device);
            }
        }
    }
    found
}

/// Each loop device and the device that its file lies on.
fn loop_devices() -> Vec<(DeviceNumber, DeviceNumber)> {
    let listed = Tool::new("losetup", DEADLINE)
        .and_then(|tool| tool.args(["--list", "--noheadings", "--output", "MAJ:MIN,BACK-MAJ:MIN"]).run());
    let text = listed.unwrap_or_else(|error| {
        tracing::warn!("loop devices that stand on the volume are not known: {error}");
        String::new()
    });
    let parse = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        Some((columns.next()?.parse().ok()?, columns.next()?.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

fn overlays_over(table: &Mounts, device: DeviceNumber) -> Vec<DeviceNumber> {
    let below: Vec<&Path> = table.of_device(device).map(|mount| mount.mount_point.as_path()).collect();
    let overlays = table.iter().filter(|mount| mount.file_system == "overlay");
    let over = |options: &[u8]| layers(options).iter().any(|layer| below.iter().any(|place| layer.starts_with(place)));
    overlays.filter(|mount| over(mount.options.as_bytes())).map(|mount| mount.device).collect()
}

/// The directories that an overlay is made of, from its options.
pub fn layers(options: &[u8]) -> Vec<PathBuf> {
    let values = options.split(|byte| *byte == b',').filter_map(|option| {
        let at = option.iter().position(|byte| *byte == b'=')?;
        let name = &option[..at];
        let is_layer = name.starts_with(b"lowerdir") || name == b"upperdir" || name == b"datadir+";
        is_layer.then_some(&option[at + 1..])
    });
    let paths = values.flat_map(|value| value.split(|byte| *byte == b':')).filter(|path| !path.is_empty());
    paths.map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path))).collect()
}

/// Devices of the device mapper, or RAIDs, on a block device.
fn mapped_on(device: DeviceNumber) -> Vec<DeviceNumber> {
    let holders = fs::read_dir(format!("/sys/dev/block/{device}/holders")).into_iter().flatten().flatten();
    holders.filter_map(|holder| fs::read_to_string(holder.path().join("dev")).ok()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_is_found_by_any_of_its_layers() {
        let table = |options: &str| {
            let text = format!(
                "37 27 7:0 / /srv/a rw - ext4 /dev/loop0 rw\n38 27 0:40 / /over rw - overlay overlay rw,{options}\n"
            );
            overlays_over(&Mounts::parse(text.as_bytes()), DeviceNumber { major: 7, minor: 0 })
        };
        let overlay = [DeviceNumber { major: 0, minor: 40 }];
        assert_eq!(table("lowerdir=/x:/srv/a/low,upperdir=/u,workdir=/w"), overlay);
        assert_eq!(table("lowerdir+=/srv/a,upperdir=/u"), overlay);
        assert_eq!(table("lowerdir=/x,upperdir=/srv/a/up,workdir=/w"), overlay);
        assert_eq!(table("lowerdir=/srv/ab,upperdir=/u,workdir=/w"), []);
    }
}
