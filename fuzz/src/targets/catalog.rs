//! The small files in a volume's directory, and its log.

use std::fs;
use std::ops::ControlFlow;

use envol::catalog::{Binding, LastSnapshot, MountRecord, Restoration, WrappedKeys, uploader_is_alive};
use envol::daemon::footprint::Footprint;
use envol::revocation::events::EventLog;
use envol::snapshot::Uploader;

use super::json;
use super::volume::scratch_file;
use crate::patch::choice;

pub(super) fn records(data: &[u8]) {
    let (kind, text) = choice(data);
    match kind % 7 {
        0 => drop(json::read::<Binding>(text)),
        1 => drop(json::read::<MountRecord>(text)),
        2 => drop(json::read::<LastSnapshot>(text)),
        3 => drop(json::read::<Restoration>(text)),
        4 => drop(json::read::<WrappedKeys>(text)),
        5 => drop(json::read::<Footprint>(text)),
        _ => {
            if let Some(uploader) = json::read::<Uploader>(text) {
                assert_ne!(uploader_is_alive(&uploader), Some(true), "nobody uploads here");
            }
        }
    }
}

pub(super) fn events(data: &[u8]) {
    let path = scratch_file("events.jsonl");
    fs::write(&path, data).expect("a file");
    let log = EventLog::at(&path);
    let mut kept = Vec::new();
    log.read(None, &mut |stored| {
        assert!(json::read::<envol::revocation::events::Event>(stored.line.as_bytes()).is_some());
        kept.push(stored.event.clone());
        ControlFlow::Continue(())
    })
    .expect("a file is read");
    // The last line may have no end yet.
    assert!(kept.len() <= data.iter().filter(|byte| **byte == b'\n').count());

    // Whatever lies in it, the next event is found.
    let Some(event) = kept.first() else { return };
    log.append(event).expect("an event is written");
    let mut last = None;
    let mut count = 0;
    log.read(None, &mut |stored| {
        count += 1;
        last = Some(stored.event.message.clone());
        ControlFlow::Continue(())
    })
    .expect("a file is read");
    assert!(count > kept.len() && last.as_ref() == Some(&event.message));
}
