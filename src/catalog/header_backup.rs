//! A copy of a volume's header in a file of its own, and the way back.
//!
//! Nothing of it needs a key: the MAC in the superblock proves at the next attach whether it was ours.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;

use super::binding::{Binding, BoundKey};
use super::error::CatalogError;
use super::header::terminal;
use super::image::open_unattached;
use super::lifecycle::{Standing, standing};
use super::paths::{VolumePaths, sync_dir};
use super::peek::peek;
use crate::format::{
    BLOCKS_PER_REGION, Damage, FileSystemState, Geometry, HEADER_LEN, HeaderBackup, HeaderCopy, LIFECYCLE_BLOCK_LEN,
    LifecycleRecord, MAP_LEN, SUPERBLOCK_LEN, Superblock, UnverifiedSuperblock,
};
use crate::store::Store;

/// How much of a map is read with one call.
const MAP_STEP: u64 = 256 << 10;
/// What a block of the header area is where no record is.
const ZERO_BLOCK: [u8; LIFECYCLE_BLOCK_LEN] = [0; LIFECYCLE_BLOCK_LEN];

/// What the header is again.
#[derive(Clone, Debug)]
pub struct RestoredHeader {
    pub header: Superblock,
    /// It says that there is no file system, but something was written.
    pub may_have_a_file_system: bool,
}

/// Writes the header to a file that is not there yet, mode 0600, durably. The volume may be attached. Returns what the header
/// says.
///
/// # Errors
/// A volume whose key was revoked: brought back later, its record would be out of date.
pub fn back_up_header(paths: &VolumePaths, file: &Path) -> Result<Superblock, CatalogError> {
    let not_ours = |problem: String| CatalogError::NotOurs { id: paths.id().clone(), problem };
    let image = paths.backing();
    let peek = peek(&image).map_err(CatalogError::io("read", &image))?;
    let headers = peek.headers.map_err(|error| not_ours(error.to_string()))?;
    let newest = headers.newest();
    if newest.volume_id() != paths.id() {
        return Err(not_ours(format!("its image holds the header of volume {}", newest.volume_id())));
    }
    if let Some(binding) = Binding::read(paths)? {
        binding.check(paths, newest.kms_key())?;
    }
    let record = peek.lifecycle.map_err(|error| not_ours(error.to_string()))?;
    match standing(record.as_ref(), newest, Timestamp::now()) {
        Standing::Available => {}
        Standing::RecoverableUntil(until) => {
            return Err(CatalogError::Recoverable { id: paths.id().clone(), until });
        }
        Standing::Terminal => return Err(terminal(paths.id(), record.as_ref())),
    }
    let backup = HeaderBackup {
        superblock: newest.clone(),
        image_len_bytes: peek.len_bytes,
        made_at_s: Timestamp::now().as_second(),
    };
    write_new(file, &backup.encode())?;
    Ok(newest.unproven().clone())
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CatalogError> {
    let opened = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CatalogError::Usage(format!(
            "{} is there already, and was not overwritten; name another file",
            path.display()
        )),
        _ => CatalogError::io("make", path)(error),
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| sync_dir(dir));
    written.map_err(|error| {
        // Half a backup is none.
        let _ = fs::remove_file(path);
        CatalogError::io("write", path)(error)
    })
}

/// Brings the header area of the image back, durably. What is refused has written nothing.
///
/// Cut short, the image has no less than before, and the same command finishes. (But where both copies are whole, and one of
/// another history has the same sequence as the backup's: cut between the two, they are in conflict until the command is repeated.)
pub fn restore_header(
    paths: &VolumePaths,
    backup: &HeaderBackup,
    force_older: bool,
) -> Result<RestoredHeader, CatalogError> {
    let not_ours = |problem: String| CatalogError::NotOurs { id: paths.id().clone(), problem };
    let header = backup.superblock.unproven();
    if header.volume_id != *paths.id() {
        return Err(not_ours(format!("this is a backup of the header of volume {}", header.volume_id)));
    }
    let image = paths.backing();
    let store = open_unattached(paths)?;
    let len_bytes = store.len_bytes().map_err(CatalogError::io("find the length of", &image))?;
    let needed = header.geometry.image_len_bytes();
    if len_bytes < needed {
        return Err(not_ours(format!(
            "its image is {len_bytes} bytes long, but the backup needs {needed}: it was cut short"
        )));
    }
    let found = Found::read(&store, paths, backup)?;
    let mut binding = Binding::read(paths)?;
    if !force_older {
        refuse_older(&found, binding.as_ref(), paths, header)?;
        refuse_smaller(&found, &store, len_bytes, backup).map_err(CatalogError::io("read", &image))??;
    }
    check_key(binding.as_ref(), paths, header, force_older)?;

    if let Some(binding) = &mut binding
        && binding.present.kms_key != header.kms_key
    {
        // Of a key that was given up the grant was retired; of a rewrap that was cut short it is there.
        let grant = binding.bound(&header.kms_key).and_then(|bound| bound.grant.clone());
        let key_generation = Some(header.key_generation);
        binding.begin(BoundKey { kms_key: header.kms_key.clone(), key_generation, grant });
        binding.write(paths.dir())?;
    }
    // It counts the versions of the header, which go back.
    match fs::remove_file(paths.changes()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(CatalogError::io("remove", &paths.changes())(error));
        }
        _ => {}
    }
    found.replace(&store, backup).map_err(CatalogError::io("write the header in", &image))?;
    if let Some(binding) = &mut binding {
        binding.settle(&header.kms_key, header.key_generation);
        binding.present.key_generation = Some(header.key_generation);
        binding.write(paths.dir())?;
    }
    let has_none = !matches!(header.file_system, FileSystemState::Formatted(_));
    let mut maps = header.geometry.map_ranges();
    let is_written =
        maps.try_fold(false, |any, map| Ok::<_, io::Error>(any || (has_none && is_anything_set(&store, map)?)));
    let may_have_a_file_system = is_written.map_err(CatalogError::io("read", &image))?;
    Ok(RestoredHeader { header: header.clone(), may_have_a_file_system })
}

/// The key generation counts rewraps: one that is lower brings back a key that was given up.
fn refuse_older(
    found: &Found,
    binding: Option<&Binding>,
    paths: &VolumePaths,
    header: &Superblock,
) -> Result<(), CatalogError> {
    let bound = binding.and_then(|binding| Some((binding.present.key_generation?, &binding.present.kms_key)));
    let there = found.newest().map(|newest| (newest.unproven().key_generation, newest.kms_key()));
    let newer = bound.into_iter().chain(there).max_by_key(|(generation, _)| *generation);
    let Some((generation, key)) = newer.filter(|(generation, _)| *generation > header.key_generation) else {
        return refuse_older_content(found, header);
    };
    Err(CatalogError::Usage(format!(
        "this backup of the header of volume {} is from before a rewrap: it is of key generation {} under {}, and the volume is of \
         generation {generation} under {key}. It would bring back the key that was given up, without its grant. Nothing was \
         written. Use a backup from after the rewrap, or --force-older if the old key is what you want",
        paths.id(),
        header.key_generation,
        header.kms_key
    )))
}

/// Of the same key, but the header in the image knows more.
fn refuse_older_content(found: &Found, header: &Superblock) -> Result<(), CatalogError> {
    let Some(there) = found.newest().map(UnverifiedSuperblock::unproven) else { return Ok(()) };
    let is_formatted = |header: &Superblock| matches!(header.file_system, FileSystemState::Formatted(_));
    if is_formatted(there) && !is_formatted(header) {
        return Err(CatalogError::Usage(format!(
            "this backup of the header of volume {} is from before its file system was made: attach would take it for blank. The header in \
             the image is whole. Nothing was written. Use a later backup, or --force-older",
            header.volume_id
        )));
    }
    Ok(())
}

/// A volume that was made larger since would lose its end. Nothing but the header knows the size; where it is gone, the length
/// of the image and the map behind the end tell.
fn refuse_smaller(
    found: &Found,
    store: &dyn Store,
    len_bytes: u64,
    backup: &HeaderBackup,
) -> io::Result<Result<(), CatalogError>> {
    let header = backup.superblock.unproven();
    let size_bytes = header.geometry.size_bytes();
    let why = match found.newest().map(|newest| newest.unproven().geometry.size_bytes()) {
        Some(there) if there > size_bytes => format!("its header in the image says {there} bytes"),
        Some(_) => return Ok(Ok(())),
        None if len_bytes > backup.image_len_bytes => {
            format!("its image has {len_bytes} bytes, and had {} then", backup.image_len_bytes)
        }
        None if is_written_behind(store, header.geometry, len_bytes)? => "there is data behind that end".to_owned(),
        None => return Ok(Ok(())),
    };
    Ok(Err(CatalogError::Usage(format!(
        "this backup of the header of volume {} is from before it was made larger: it says {size_bytes} bytes, and {why}. What is behind \
         would be out of reach. Nothing was written. Use a backup from after that, or --force-older if the smaller size is right",
        header.volume_id
    ))))
}

/// Whether the map has a bit for a block behind the end: those are never set otherwise.
fn is_written_behind(store: &dyn Store, geometry: Geometry, len_bytes: u64) -> io::Result<bool> {
    let Some(last) = geometry.map_ranges().last() else { return Ok(false) };
    let blocks_before = (u64::from(geometry.region_count()) - 1) * BLOCKS_PER_REGION;
    let blocks = geometry.block_count() - blocks_before;
    // The byte that the end divides.
    if !blocks.is_multiple_of(8) {
        let mut byte = [0];
        store.read_at(last.start + blocks / 8, &mut byte)?;
        if byte[0] >> (blocks % 8) != 0 {
            return Ok(true);
        }
    }
    if is_anything_set(store, last.start + blocks.div_ceil(8)..last.end)? {
        return Ok(true);
    }
    // A full region ends where another one would begin.
    let next = geometry.image_len_bytes();
    let is_full = blocks == BLOCKS_PER_REGION;
    Ok(is_full && len_bytes > next && is_anything_set(store, next..len_bytes.min(next + MAP_LEN))?)
}

fn is_anything_set(store: &dyn Store, map: Range<u64>) -> io::Result<bool> {
    let mut buffer = vec![0; usize::try_from(MAP_STEP).unwrap_or(0)];
    let mut offset = map.start;
    while offset < map.end {
        let len = usize::try_from((map.end - offset).min(MAP_STEP)).unwrap_or(0);
        store.read_at(offset, &mut buffer[..len])?;
        if buffer[..len].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        offset += len as u64;
    }
    Ok(false)
}

/// Only a rewrap changes the key: the same generation, or a newer one, under another key is somebody else's.
fn check_key(
    binding: Option<&Binding>,
    paths: &VolumePaths,
    header: &Superblock,
    force_older: bool,
) -> Result<(), CatalogError> {
    let Some(binding) = binding else { return Ok(()) };
    let is_older = binding.present.key_generation.is_some_and(|bound| header.key_generation < bound);
    if force_older && is_older { Ok(()) } else { binding.check(paths, &header.kms_key) }
}

/// The header area of the image, as it is now.
struct Found {
    area: Vec<u8>,
    copies: [Option<UnverifiedSuperblock>; 2],
    /// Until some time; the record stays.
    is_recoverable: bool,
}

impl Found {
    fn read(store: &dyn Store, paths: &VolumePaths, backup: &HeaderBackup) -> Result<Self, CatalogError> {
        let id = paths.id();
        let mut area = vec![0; usize::try_from(HEADER_LEN).unwrap_or(0)];
        for (offset, block) in (0..).step_by(ZERO_BLOCK.len()).zip(area.chunks_mut(ZERO_BLOCK.len())) {
            if let Err(error) = store.read_header(offset, block) {
                tracing::warn!("the header area of volume {id} cannot be read at byte {offset}: {error}");
                // Whatever belongs there is written.
                block.fill(0xff);
            }
        }
        let mut copies = [None, None];
        for (copy, found) in HeaderCopy::BOTH.into_iter().zip(&mut copies) {
            *found = match UnverifiedSuperblock::parse(part(&area, copy.superblock_offset(), SUPERBLOCK_LEN)) {
                Ok(superblock) if superblock.volume_id() != id => {
                    let problem = format!("its image holds the header of volume {}", superblock.volume_id());
                    return Err(CatalogError::NotOurs { id: id.clone(), problem });
                }
                Ok(superblock) if superblock.is_erased() => return Err(terminal(id, None)),
                Ok(superblock) => Some(superblock),
                Err(damage @ (Damage::Version(_) | Damage::Features(_))) => {
                    let problem = format!("superblock copy {copy} {damage}");
                    return Err(CatalogError::NotOurs { id: id.clone(), problem });
                }
                Err(_) => None,
            };
        }
        let [a, b] = HeaderCopy::BOTH.map(|copy| part(&area, copy.lifecycle_offset(), LIFECYCLE_BLOCK_LEN));
        // One that is damaged went the way of the header.
        let record = LifecycleRecord::of_copies(a, b, id).unwrap_or_default();
        let is_recoverable = match standing(record.as_ref(), &backup.superblock, Timestamp::now()) {
            Standing::Available => false,
            Standing::RecoverableUntil(_) => true,
            Standing::Terminal => return Err(terminal(id, record.as_ref())),
        };
        Ok(Self { area, copies, is_recoverable })
    }

    fn newest(&self) -> Option<&UnverifiedSuperblock> {
        self.copies.iter().flatten().max_by_key(|copy| copy.sequence())
    }

    /// What no superblock is first, then the copy that does not serve, then the one that does: until the last, what served
    /// before serves.
    fn replace(&self, store: &dyn Store, backup: &HeaderBackup) -> io::Result<()> {
        let wanted = backup.header_area();
        let serves = match &self.copies {
            [Some(a), Some(b)] if b.sequence() > a.sequence() => HeaderCopy::B,
            [Some(_), _] => HeaderCopy::A,
            [None, _] => HeaderCopy::B,
        };
        let superblocks = [serves.other(), serves].map(HeaderCopy::superblock_offset);
        let superblock_len = SUPERBLOCK_LEN as u64;
        let is_in = |offset: u64, start: u64, len: u64| (start..start + len).contains(&offset);
        let stays = |offset: u64| {
            superblocks.iter().any(|start| is_in(offset, *start, superblock_len))
                || (self.is_recoverable && HeaderCopy::BOTH.iter().any(|copy| offset == copy.lifecycle_offset()))
        };
        for offset in (0..HEADER_LEN).step_by(ZERO_BLOCK.len()).filter(|offset| !stays(*offset)) {
            if part(&self.area, offset, ZERO_BLOCK.len()) != ZERO_BLOCK {
                store.write_header(offset, &ZERO_BLOCK)?;
            }
        }
        for offset in superblocks {
            let bytes = part(&wanted, offset, SUPERBLOCK_LEN);
            if part(&self.area, offset, SUPERBLOCK_LEN) != bytes {
                store.write_header(offset, bytes)?;
            }
        }
        Ok(())
    }
}

fn part(area: &[u8], offset: u64, len: usize) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    &area[start..][..len]
}
