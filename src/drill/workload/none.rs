//! No database: the observer itself reads and writes.

use std::fs;
use std::path::PathBuf;

use super::{Announce, Place, Resumed, Workload, number};
use crate::drill::error::DrillError;
use crate::drill::observer::Commit;

#[allow(clippy::unnecessary_wraps, reason = "as the other workloads")]
pub(super) fn start(place: &Place<'_>, _: &mut Announce<'_>) -> Result<Workload, DrillError> {
    Ok(workload(place))
}

pub(super) fn resume(place: &Place<'_>) -> Result<Resumed, DrillError> {
    let path = commits(place);
    let text = fs::read_to_string(&path).map_err(DrillError::io("read", &path))?;
    Ok(Resumed { workload: workload(place), commits: number(&text)? })
}

fn workload(place: &Place<'_>) -> Workload {
    Workload {
        name: "none: one file, written and synced".to_owned(),
        server: None,
        commit: Commit::File(commits(place)),
        typed: None,
        log: None,
        children: Vec::new(),
    }
}

fn commits(place: &Place<'_>) -> PathBuf {
    place.dir.join("commits")
}
