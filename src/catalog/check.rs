//! Looks for damage without a key: both header copies, the lifecycle record, and every block that the map says was
//! written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::error::CatalogError;
use super::paths::VolumePaths;
use super::peek::peek;
use crate::format::{BLOCK_SIZE, Geometry, HeaderCopy};

/// How many lost blocks are named; all are counted.
const NAMED: usize = 20;

/// What was found. The volume is sound when `problems` is empty.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub problems: Vec<String>,
    pub written_blocks: u64,
    pub lost_blocks: u64,
    /// No copy can be used: nothing else was looked at.
    pub header_is_gone: bool,
}

/// May run beside the daemon. `progress` gets blocks looked at and blocks in all.
pub fn check(paths: &VolumePaths, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, CatalogError> {
    let path = paths.backing();
    let mut report = CheckReport::default();
    let peek = peek(&path).map_err(CatalogError::io("read", &path))?;
    for (copy, found) in HeaderCopy::BOTH.into_iter().zip(&peek.copies) {
        if let Err(damage) = found {
            report.problems.push(format!("superblock copy {copy} {damage}"));
        }
    }
    if let Err(error) = &peek.lifecycle {
        report.problems.push(error.to_string());
    }
    let headers = match &peek.headers {
        Ok(headers) => headers,
        Err(error) => {
            report.problems.push(error.to_string());
            report.header_is_gone = true;
            return Ok(report);
        }
    };
    let header = headers.newest().unproven();
    if header.volume_id != *paths.id() {
        report.problems.push(format!("the image holds the header of volume {}", header.volume_id));
    }
    let needed = header.geometry.image_len_bytes();
    if peek.len_bytes < needed {
        report.problems.push(format!("the image is {} bytes long, but needs {needed}", peek.len_bytes));
        return Ok(report);
    }
    let file = File::open(&path).map_err(CatalogError::io("read", &path))?;
    check_blocks(&file, header.geometry, &mut report, progress).map_err(CatalogError::io("read", &path))?;
    Ok(report)
}

fn check_blocks(
    file: &File,
    geometry: Geometry,
    report: &mut CheckReport,
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<()> {
    const PAGE_BLOCKS: u64 = BLOCK_SIZE * 8;
    let blocks = geometry.block_count();
    let mut map = vec![0; usize::try_from(BLOCK_SIZE).unwrap_or(0)];
    let mut block_bytes = map.clone();
    for first in (0..blocks).step_by(usize::try_from(PAGE_BLOCKS).unwrap_or(usize::MAX)) {
        progress(first, blocks);
        file.read_exact_at(&mut map, map_offset(geometry, first)?)?;
        if map.iter().all(|byte| *byte == 0) {
            continue;
        }
        for block in first..blocks.min(first + PAGE_BLOCKS) {
            let bit = usize::try_from(block % PAGE_BLOCKS).unwrap_or(0);
            if map[bit / 8] & (1 << (bit % 8)) == 0 {
                continue;
            }
            report.written_blocks += 1;
            file.read_exact_at(&mut block_bytes, geometry.block_offset(block).ok_or_else(beyond_the_end)?)?;
            if block_bytes.iter().all(|byte| *byte == 0) && is_still_written(file, geometry, block)? {
                report.lost_blocks += 1;
                if report.problems.len() < NAMED {
                    report.problems.push(format!("block {block} was written and is gone from the image"));
                }
            }
        }
    }
    progress(blocks, blocks);
    Ok(())
}

/// A daemon beside us may have discarded the block meanwhile: it clears the bit first.
fn is_still_written(file: &File, geometry: Geometry, block: u64) -> io::Result<bool> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, map_offset(geometry, block)?)?;
    Ok(byte[0] & (1 << (block % 8)) != 0)
}

fn map_offset(geometry: Geometry, block: u64) -> io::Result<u64> {
    geometry.map_byte_offset(block).ok_or_else(beyond_the_end)
}

fn beyond_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a block beyond the end of the volume")
}
