//! What the kernel and the tools of the host print, and what the children of this program say.

use std::net::{Ipv4Addr, SocketAddr};

use envol::host::child::{Answer, Task, read_answer};
use envol::host::mounts::{Mounts, mount_id_in};
use envol::host::processes::mapped_device;
use envol::host::signature::describe;
use envol::host::stack::layers;
use envol::host::{DeviceNumber, listener, parse_stat};

use super::json;
use crate::patch::choice;

pub(super) fn child(data: &[u8]) {
    let (kind, text) = choice(data);
    if kind % 2 == 0 {
        drop(json::read::<Task>(text));
    } else {
        drop(json::read::<Answer>(text));
        let _ = read_answer(&String::from_utf8_lossy(text));
    }
}

/// One of the files of `/proc`, or a list that a tool prints.
pub(super) fn kernel_tables(data: &[u8]) {
    let (kind, table) = choice(data);
    let text = String::from_utf8_lossy(table);
    match kind % 8 {
        0 => {
            let mounts = Mounts::parse(table);
            assert!(mounts.iter().count() <= table.split(|byte| *byte == b'\n').count());
            for mount in mounts.iter() {
                assert!(mounts.at(&mount.mount_point).is_some() && mounts.with_id(mount.id).is_some());
                assert!(mounts.of_device(mount.device).next().is_some());
                let _ = layers(mount.options.as_encoded_bytes());
            }
        }
        1 => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4599));
            assert!(listener::parse(&text, address).len() <= text.lines().count());
        }
        2 => drop(parse_stat(table).map(drop)),
        3 => drop(mount_id_in(&text).map(|id| assert!(text.contains("mnt_id:"), "{id}"))),
        4 => drop(table.split(|byte| *byte == b'\n').filter_map(mapped_device).count()),
        5 => assert!(layers(table).iter().all(|layer| layer.as_os_str().len() <= table.len())),
        6 => assert!(!describe(&text).is_empty() || text.contains("TYPE=")),
        _ => {
            if let Ok(device) = text.parse::<DeviceNumber>() {
                assert_eq!(device.to_string().parse(), Ok(device));
            }
        }
    }
}
