use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use super::super::ImageLayout;
use super::*;

const MIB: u64 = 1 << 20;

fn layout(len_bytes: u64) -> ImageLayout {
    ImageLayout { len_bytes, header_len_bytes: MIB, maps: std::iter::once(MIB..(33 * MIB).min(len_bytes)).collect() }
}

fn create(path: &Path, len_bytes: u64) -> Result<FileStore, StoreError> {
    FileStore::create(path, &layout(len_bytes), &mut |_, _| {})
}

/// Detached and removed also when the test fails.
struct LoopDevice {
    path: PathBuf,
    _backing: tempfile::NamedTempFile,
}

impl LoopDevice {
    /// `None` where this process may not make one.
    fn of(content: &[u8], len_bytes: u64) -> Option<Self> {
        let backing = tempfile::NamedTempFile::new().unwrap();
        backing.as_file().set_len(len_bytes).unwrap();
        backing.as_file().write_all_at(content, 0).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(backing.path())
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let path = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        Some(Self { path, _backing: backing })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

#[test]
fn a_second_opener_is_told_busy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let first = create(&path, 34 * MIB).unwrap();
    assert!(matches!(FileStore::open(&path), Err(StoreError::Busy { .. })));
    assert!(matches!(create(&path, 34 * MIB), Err(StoreError::Busy { .. })));
    drop(first);
    FileStore::open(&path).unwrap();
}

#[test]
fn a_new_image_is_sparse_private_and_has_its_header_allocated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    create(&path, 1 << 40).unwrap();
    let made = fs::metadata(&path).unwrap();
    assert_eq!(made.len(), 1 << 40);
    assert_eq!(made.permissions().mode() & 0o777, 0o600);
    let allocated = made.blocks() * 512;
    assert!((MIB..2 * MIB).contains(&allocated), "{allocated} bytes allocated");
}

#[test]
fn what_is_written_is_there_after_opening_again() {
    for directory in [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")] {
        let directory = directory.unwrap();
        let path = directory.path().join("image");
        let store = create(&path, 34 * MIB).unwrap();
        store.write_at(33 * MIB, &[5; 4096]).unwrap();
        store.sync().unwrap();
        store.write_header(4096, &[6; 4096]).unwrap();
        drop(store);

        let store = FileStore::open(&path).unwrap();
        let mut block = [0; 4096];
        store.read_at(33 * MIB, &mut block).unwrap();
        assert_eq!(block, [5; 4096]);
        store.read_header(4096, &mut block).unwrap();
        assert_eq!(block, [6; 4096]);
    }
}

#[test]
fn punching_gives_room_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let store = create(&path, 64 * MIB).unwrap();
    store.write_at(34 * MIB, &vec![5; 8 << 20]).unwrap();
    store.sync().unwrap();
    let before = fs::metadata(&path).unwrap().blocks() * 512;
    store.punch(34 * MIB, 8 * MIB).unwrap();
    let after = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(before - after >= 8 * MIB, "{before} bytes before, {after} after");
}

#[test]
fn an_existing_file_is_taken_only_if_it_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for at in [0, 2 * MIB - 1, 59 * MIB, 60 * MIB - 1] {
        let file = File::create(&path).unwrap();
        file.set_len(60 * MIB).unwrap();
        file.write_all_at(&[1], at).unwrap();
        let error = create(&path, 64 * MIB).map(|_| ()).unwrap_err();
        assert!(matches!(error, StoreError::NotEmpty { offset, .. } if offset == at), "{error}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 60 * MIB);
        fs::remove_file(&path).unwrap();
    }

    // What the two probes do not see is zeroed where the format needs zeros.
    let file = File::create(&path).unwrap();
    file.set_len(60 * MIB).unwrap();
    file.write_all_at(&[1], 20 * MIB).unwrap();
    let mut reports = Vec::new();
    let store = FileStore::create(&path, &layout(64 * MIB), &mut |done, total| reports.push((done, total))).unwrap();
    assert_eq!(store.len_bytes().unwrap(), 64 * MIB);
    let mut map = vec![1; 32 << 20];
    store.read_at(MIB, &mut map).unwrap();
    assert!(map.iter().all(|&byte| byte == 0));
    assert_eq!(reports.first(), Some(&(MIB, 33 * MIB)));
    assert_eq!(reports.last(), Some(&(33 * MIB, 33 * MIB)));
}

#[test]
fn a_longer_file_keeps_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    File::create(&path).unwrap().set_len(80 * MIB).unwrap();
    assert_eq!(create(&path, 64 * MIB).unwrap().len_bytes().unwrap(), 80 * MIB);
}

/// ext4 with 4 KiB blocks ends a file just below 16 TiB; a file system that takes more proves the positive control only.
#[test]
fn a_file_system_that_ends_early_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    match create(&path, 64 << 40) {
        Ok(store) => assert_eq!(store.len_bytes().unwrap(), 64 << 40),
        Err(error) => {
            assert!(matches!(error, StoreError::FileTooLarge { len_bytes, .. } if len_bytes == 64 << 40), "{error}");
            assert!(!path.exists(), "a failed creation leaves nothing behind");
        }
    }
    create(&path, 8 << 40).unwrap();
}

#[test]
fn a_directory_is_not_an_image_and_nothing_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(FileStore::open(directory.path()), Err(StoreError::Unsuitable { .. })));
    let missing = FileStore::open(&directory.path().join("none")).map(|_| ()).unwrap_err();
    assert!(matches!(missing, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound));
}

#[test]
fn a_block_device_is_zeroed_locked_and_used() {
    let Some(device) = LoopDevice::of(&vec![0xAA; 40 << 20], 40 * MIB) else {
        eprintln!("skipped: no loop device without root");
        return;
    };
    let error = create(&device.path, 48 * MIB).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::TooSmall { len_bytes, .. } if len_bytes == 40 * MIB), "{error}");

    let store = create(&device.path, 36 * MIB).unwrap();
    assert!(matches!(FileStore::open(&device.path), Err(StoreError::Busy { .. })));
    let mut front = vec![1; 33 << 20];
    store.read_at(0, &mut front).unwrap();
    assert!(front.iter().all(|&byte| byte == 0));
    let mut behind = [0; 4096];
    store.read_at(33 * MIB, &mut behind).unwrap();
    assert_eq!(behind, [0xAA; 4096]);

    store.punch(33 * MIB, 4096).unwrap();
    store.read_at(33 * MIB, &mut behind).unwrap();
    assert_eq!(behind, [0; 4096]);
    store.write_header(8192, &[3; 4096]).unwrap();
    store.sync().unwrap();
    drop(store);

    let store = FileStore::open(&device.path).unwrap();
    assert_eq!(store.len_bytes().unwrap(), 40 * MIB);
    store.read_header(8192, &mut behind).unwrap();
    assert_eq!(behind, [3; 4096]);
}

#[test]
fn a_file_grows_sparsely_and_what_must_be_zero_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let store = create(&path, 40 * MIB).unwrap();
    store.write_at(36 * MIB, &[7; 8192]).unwrap();
    let zeros = [36 * MIB + 4096..36 * MIB + 8192, 50 * MIB..60 * MIB];
    store.grow(&path, 70 * MIB, &zeros).unwrap();
    assert_eq!(store.len_bytes().unwrap(), 70 * MIB);
    let mut found = [1; 12288];
    store.read_at(36 * MIB, &mut found).unwrap();
    assert!(found[..4096] == [7; 4096] && found[4096..] == [0; 8192]);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 10 * MIB);
    // Never shorter.
    store.grow(&path, 50 * MIB, &[]).unwrap();
    assert_eq!(store.len_bytes().unwrap(), 70 * MIB);
    let refused = store.grow(&path, 1 << 62, &[]);
    assert!(matches!(refused, Err(StoreError::FileTooLarge { .. })), "{refused:?}");
}

#[test]
fn a_block_device_has_to_be_large_enough_already() {
    let Some(device) = LoopDevice::of(&[], 64 * MIB) else { return };
    let store = create(&device.path, 40 * MIB).unwrap();
    store.write_at(50 * MIB, &[7; 8192]).unwrap();
    let refused = store.grow(&device.path, 65 * MIB, &[]);
    assert!(matches!(refused, Err(StoreError::TooSmall { .. })), "{refused:?}");
    store.grow(&device.path, 64 * MIB, std::slice::from_ref(&(50 * MIB..50 * MIB + 4096))).unwrap();
    let mut found = [1; 8192];
    store.read_at(50 * MIB, &mut found).unwrap();
    assert!(found[..4096] == [0; 4096] && found[4096..] == [7; 4096]);
}
