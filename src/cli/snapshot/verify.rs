//! `envol snapshot verify`: every chunk is fetched, authenticated and unpacked, and thrown away.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::arguments::One;
use super::source::{Source, cancelled_by_signal};
use crate::catalog::Root;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::quantity::size;
use crate::snapshot;

pub(super) fn run(root: &Root, verb: &One, output: &Output) -> Result<(), CliError> {
    let source = Source::open(root, &verb.store, &verb.snapshot, "snapshot verify")?;
    let cancelled = cancelled_by_signal()?;
    let (done, chunks) = (AtomicU64::new(0), AtomicU64::new(0));
    let total = source.reader.header().full_bytes;
    let progress = Mutex::new(Progress::new("verifying", output));
    let count = |bytes: u64| {
        chunks.fetch_add(1, Ordering::Relaxed);
        let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Whoever finds it taken need not draw, too.
        if let Ok(mut progress) = progress.try_lock() {
            progress.show(done, total);
        }
    };
    snapshot::verify(&source.reader, &count, &cancelled).map_err(CliError::from_snapshot)?;
    drop(progress);
    let (done, chunks) = (done.into_inner(), chunks.into_inner());
    let object = json!({
        "snapshot_id": verb.snapshot,
        "verified": true,
        "chunks": chunks,
        "full_bytes": done,
    });
    output.print(&format!("snapshot {} is whole: {chunks} chunks, {}", verb.snapshot, size(done)), &object)
}
