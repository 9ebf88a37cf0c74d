//! What is so in a directory, and over S3, and with a limit on what is uploaded.

use std::fs;
use std::num::NonZeroU64;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use object_store::memory::InMemory;

use super::super::{S3Credentials, SnapshotStore, StoreLocation};
use super::made::{Model, Random, full, id, nobody_lives, objects, read, reader};

#[test]
fn a_directory_is_private_and_what_was_half_written_goes_with_gc() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    let location: StoreLocation = path.to_str().unwrap().parse().unwrap();
    let store = Arc::new(SnapshotStore::open(&location, None, None).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(store.headers().unwrap().headers.is_empty());
    assert_eq!(store.gc(&nobody_lives, false).unwrap().objects, 0);

    let model: Model = (0..20).map(|chunk| (chunk * 90, Random(chunk + 1).chunk())).collect();
    full(&store, "snap-1", 1, &model);
    assert!(read(&reader(&store, "snap-1", 1)).unwrap() == model);
    let staged = [path.join("packs/snap-1/00000002#1"), path.join("snapshots/snap-2#12")];
    fs::create_dir_all(path.join("packs/snap-3")).unwrap();
    fs::write(path.join("packs/snap-3/00000001#1"), "x").unwrap();
    staged.iter().for_each(|file| fs::write(file, "half").unwrap());
    let planned = store.gc(&nobody_lives, true).unwrap();
    assert_eq!((planned.objects, planned.bytes), (3, 9));
    assert_eq!(store.gc(&nobody_lives, false).unwrap(), planned);
    assert!(staged.iter().all(|file| !file.exists()) && !path.join("packs/snap-3").exists());
    assert!(read(&reader(&store, "snap-1", 1)).unwrap() == model);

    store.delete(&id("snap-1"), &nobody_lives).unwrap();
    assert!(objects(&store).is_empty() && !path.join("packs/snap-1").exists());
}

#[test]
fn a_pack_cut_short_in_a_directory_is_damaged_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let location: StoreLocation = directory.path().to_str().unwrap().parse().unwrap();
    let store = Arc::new(SnapshotStore::open(&location, None, None).unwrap());
    full(&store, "snap-1", 1, &[(0, Random(1).chunk())].into());
    for len in [0, 100] {
        fs::File::options()
            .write(true)
            .open(directory.path().join("packs/snap-1/00000001"))
            .unwrap()
            .set_len(len)
            .unwrap();
        let error = read(&reader(&store, "snap-1", 1)).unwrap_err().to_string();
        assert!(error.contains("packs/snap-1/00000001: leaf 0 is cut short"), "{error}");
    }
    fs::write(directory.path().join("snapshots/snap-1"), "").unwrap();
    assert!(store.gc(&nobody_lives, false).is_err());
    store.delete(&id("snap-1"), &nobody_lives).unwrap();
    assert!(objects(&store).is_empty());
}

#[test]
fn s3_needs_credentials_and_shows_none() {
    let location: StoreLocation = "s3://bucket/prefix".parse().unwrap();
    let error = SnapshotStore::open(&location, None, None).err().unwrap().to_string();
    assert_eq!(error, "s3://bucket/prefix needs credentials for S3");
    let credentials = credentials("AKID", "secret");
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("AKID") && !shown.contains("secret"), "{shown}");
}

#[test]
fn uploads_keep_to_their_limit() {
    let limit = NonZeroU64::new(320 << 20);
    let store = Arc::new(SnapshotStore::from_objects(Arc::new(InMemory::new()), limit).unwrap());
    let model: Model = (0..130).map(|chunk| (chunk, incompressible())).collect();
    let start = Instant::now();
    full(&store, "snap-1", 1, &model);
    // Two packs of 32 MiB and a small one, in any order: one of the large ones waits until the other was paid for.
    assert!(start.elapsed().as_millis() >= 100, "{:?}", start.elapsed());
}

fn credentials(access_key: &str, secret_key: &str) -> S3Credentials {
    S3Credentials {
        access_key_id: access_key.to_owned(),
        secret_access_key: secret_key.to_owned(),
        session_token: None,
        expires_at: None,
    }
}

fn incompressible() -> (u128, Vec<u8>) {
    let mut data = vec![0; 512 * 1024];
    getrandom::fill(&mut data).unwrap();
    (u128::MAX, data)
}
