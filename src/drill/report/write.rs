//! report.json, its checksum and report.html, in the directory of the report.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Report, Written, html};
use crate::catalog;
use crate::drill::directory::make_passable;
use crate::drill::error::DrillError;

/// The limits, before anything is made: nobody can say afterwards that they were others.
pub(crate) fn write_plan(directory: &Path, report: &Report) -> Result<(), DrillError> {
    make_passable(directory)?;
    put(&directory.join("report.json"), &json(report)?)
}

/// The checksum is that of the bytes of report.json, as `sha256sum --check` reads it.
pub(crate) fn write(directory: &Path, report: &mut Report) -> Result<(), DrillError> {
    let bytes = json(report)?;
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    put(&directory.join("report.json"), &bytes)?;
    put(&directory.join("report.json.sha256"), format!("{sha256}  report.json\n").as_bytes())?;
    put(&directory.join("report.html"), html::page(report, &sha256).as_bytes())?;
    report.written = Some(Written { directory: directory.to_owned(), sha256 });
    Ok(())
}

fn json(report: &Report) -> Result<Vec<u8>, DrillError> {
    let mut bytes = serde_json::to_vec_pretty(report).map_err(|error| DrillError::Failed(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), DrillError> {
    // A report of an earlier drill there is not mixed with this one's.
    let _ = fs::remove_file(path);
    catalog::write_durably(path, bytes).map_err(DrillError::io("write", path))
}
