//! The verbs on the kernel do what they say: on real loop devices, mounts and processes. Needs root.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use envol::format::FileSystemKind;
use envol::host::ending::end;
use envol::host::everywhere::{Act, act_here};
use envol::host::file_system;
use envol::host::freeze::{FROZEN_AT_MOST, Frozen, freeze_by};
use envol::host::fuse_connection::FuseConnection;
use envol::host::guard::{guard, release};
use envol::host::loop_device::LoopDevice;
use envol::host::loop_use::LoopUse;
use envol::host::mounts::{self, Mount, Mounts, is_mount_point};
use envol::host::processes::{Holder, Use, holders_of};
use envol::host::tools::Tool;
use envol::host::{DeviceNumber, HostError, signature};
use tempfile::TempDir;

const KINDS: [FileSystemKind; 2] = [FileSystemKind::Ext4, FileSystemKind::Xfs];
const SECONDS: Duration = Duration::from_secs(20);

/// A directory of its own, in which everything is unmounted and cleared at the end, also when the test fails.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests make loop devices and mounts: run them as root");
        assert!(Path::new("/dev/loop-control").exists(), "these tests need loop devices, and this kernel has none");
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn dir(&self, name: &str) -> PathBuf {
        fs::create_dir(self.path(name)).unwrap();
        self.path(name)
    }

    fn image(&self, name: &str, size_bytes: u64) -> PathBuf {
        File::create(self.path(name)).unwrap().set_len(size_bytes).unwrap();
        self.path(name)
    }

    fn device(&self, size_bytes: u64) -> LoopDevice {
        LoopDevice::attach(&self.image("image", size_bytes)).unwrap()
    }

    /// A device with a file system, mounted at `mnt`.
    fn mounted(&self, kind: FileSystemKind) -> (LoopDevice, Mount) {
        let device = self.device(file_system::minimum_size_bytes(kind).max(64 << 20));
        file_system::make(kind, &device, Some("test")).unwrap();
        mounts::mount(&device, &self.dir("mnt"), kind, &[]).unwrap();
        (device, Mounts::read().unwrap().at(&self.path("mnt")).unwrap().clone())
    }

    fn tmpfs(&self, kind: &str) -> PathBuf {
        let dir = self.dir(kind);
        Tool::new("mount", SECONDS).unwrap().args(["-t", kind, "none"]).arg(&dir).run().unwrap();
        dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let here = self.0.path();
        let mounts = Mounts::read().unwrap_or_default();
        let mounted: Vec<&Mount> = mounts.iter().filter(|mount| mount.mount_point.starts_with(here)).collect();
        for mount in mounted.iter().rev() {
            let _ = mounts::unmount_lazily(&mount.mount_point);
        }
        for image in fs::read_dir(here).into_iter().flatten().flatten() {
            for device in LoopDevice::backed_by(&image.path()).unwrap_or_default() {
                let _ = device.clear();
            }
            let _ = release(&image.path(), 0o700);
        }
    }
}

/// A process that uses something, and says when it does. It is killed at the end.
struct User(Child);

impl User {
    /// Runs a Perl script that ends in `ready`, with arguments.
    fn perl(script: &str, args: &[&Path]) -> Self {
        let script = format!("sub ready {{ $| = 1; print \"ready\\n\"; sleep 1000 while 1 }} {script}");
        Self::start(Command::new("perl").arg("-e").arg(script).args(args))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let user = Self(child);
        assert_eq!(stdout.lines().next().unwrap().unwrap(), "ready");
        user
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    /// The signal that ended it; none while it runs.
    fn ended_by(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap().map(|status| status.signal().unwrap())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Unmounts what only this process has used: between fork and exec, the child of a test beside holds our files open, too.
fn unmount(dir: &Path) {
    let until = Instant::now() + SECONDS;
    while let Err(error) = mounts::unmount(dir) {
        assert!(matches!(error, HostError::Busy { .. }) && Instant::now() < until, "{error}");
    }
}

fn uses_of(holders: &[Holder], user: &User) -> Vec<Use> {
    let holder = holders.iter().find(|holder| holder.process.pid == user.id());
    holder.map(|holder| holder.uses.iter().copied().collect()).unwrap_or_default()
}

#[test]
fn a_loop_device_shows_its_image_until_it_is_cleared() {
    let place = Place::new();
    let (image, other) = (place.image("image", 16 << 20), place.image("other", 16 << 20));
    let device = LoopDevice::attach(&image).unwrap();

    assert_eq!(device.size_bytes().unwrap(), 16 << 20);
    assert_eq!(device.device_number().unwrap().major, 7);
    assert_eq!(LoopDevice::backed_by(&image).unwrap(), std::slice::from_ref(&device));
    assert_eq!(LoopDevice::backed_by(&other).unwrap(), []);
    let used = LoopUse::of(device.device_number().unwrap()).unwrap();
    assert!(!used.is_over());

    fs::remove_file(&image).unwrap();
    assert_eq!(LoopDevice::backed_by(&image).unwrap(), std::slice::from_ref(&device), "also when the image is deleted");

    assert!(matches!(device.wait_until_gone(Duration::ZERO), Err(HostError::Busy { .. })));
    device.clear().unwrap();
    device.wait_until_gone(SECONDS).unwrap();
    assert!(used.is_over());
    assert_eq!(LoopDevice::backed_by(&image).unwrap(), []);
    device.clear().unwrap();
}

#[test]
fn an_image_without_direct_io_is_refused_and_no_device_stays() {
    let place = Place::new();
    let image = place.tmpfs("ramfs").join("image");
    File::create(&image).unwrap().set_len(16 << 20).unwrap();

    let error = LoopDevice::attach(&image).unwrap_err();
    let found = LoopDevice::backed_by(&image).unwrap();
    found.iter().for_each(|device| device.clear().unwrap());
    assert!(matches!(error, HostError::Unsupported { .. }), "{error}");
    assert_eq!(found, []);
    assert!(error.to_string().contains("direct I/O"), "{error}");
}

#[test]
fn a_file_system_is_made_mounted_and_unmounted_and_its_device_goes_with_it() {
    for kind in KINDS {
        let place = Place::new();
        let (device, mount) = place.mounted(kind);
        let dir = mount.mount_point.clone();
        assert_eq!((mount.file_system.clone(), mount.device), (kind.to_string(), device.device_number().unwrap()));
        assert!(is_mount_point(&dir).unwrap());
        let line = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = line.lines().find(|line| line.contains(dir.to_str().unwrap())).unwrap().to_owned();
        assert!(line.contains("nodev") && line.contains("nosuid"), "{line}");

        device.clear_on_last_close().unwrap();
        assert!(device.is_attached(), "it is in use");

        let open = File::create(dir.join("file")).unwrap();
        let error = mounts::unmount(&dir).unwrap_err();
        assert!(matches!(error, HostError::Busy { .. }), "{kind}: {error}");
        assert!(is_mount_point(&dir).unwrap());
        drop(open);
        unmount(&dir);
        assert!(!is_mount_point(&dir).unwrap());
        device.wait_until_gone(SECONDS).unwrap();

        let error = mounts::unmount(&dir).unwrap_err();
        assert!(matches!(error, HostError::Failed { .. }), "not mounted is not busy: {error}");
    }
}

#[test]
fn the_minimum_size_is_enough_and_less_is_refused() {
    for kind in KINDS {
        let place = Place::new();
        let (device, dir) = (place.device(file_system::minimum_size_bytes(kind)), place.dir("mnt"));
        file_system::make(kind, &device, None).unwrap();
        mounts::mount(&device, &dir, kind, &[]).unwrap();
        fs::write(dir.join("file"), vec![1; 1 << 20]).unwrap();
        unmount(&dir);
        if kind == FileSystemKind::Ext4 {
            let features = Tool::new("dumpe2fs", SECONDS).unwrap().arg("-h").arg(device.path()).run().unwrap();
            assert!(features.contains("has_journal"), "{features}");
        }

        let small = LoopDevice::attach(&place.image("small", file_system::minimum_size_bytes(kind) - 4096)).unwrap();
        let error = file_system::make(kind, &small, None).unwrap_err();
        assert!(matches!(error, HostError::Unsupported { .. }), "{error}");
    }
}

#[test]
fn making_a_file_system_on_one_that_is_mounted_fails() {
    for kind in KINDS {
        let place = Place::new();
        let (device, mount) = place.mounted(kind);
        fs::write(mount.mount_point.join("file"), "kept").unwrap();
        let error = file_system::make(kind, &device, None).unwrap_err();
        assert!(matches!(error, HostError::Failed { .. }), "{error}");
        assert_eq!(fs::read_to_string(mount.mount_point.join("file")).unwrap(), "kept");
    }
}

#[test]
fn after_the_shutdown_nothing_is_read_written_or_opened() {
    for kind in KINDS {
        let place = Place::new();
        let (_, mount) = place.mounted(kind);
        let (dir, device) = (mount.mount_point.clone(), mount.device);
        let mut file = File::create(dir.join("file")).unwrap();
        file.write_all(b"before").unwrap();

        let other = DeviceNumber { major: device.major, minor: 1_000_000 };
        assert_eq!(act_here(None, &[other], Act::ShutDown).unwrap(), [""; 0], "nowhere is nothing to do");
        file.write_all(b"still").unwrap();
        file.sync_all().unwrap();

        assert_eq!(act_here(None, &[device], Act::Thaw).unwrap(), [""; 0], "it is not frozen");
        assert_eq!(act_here(None, &[device], Act::ShutDown).unwrap(), [""; 0]);
        let errors = [
            file.write_all(b"after").and_then(|()| file.sync_all()).unwrap_err(),
            File::open(dir.join("file")).unwrap_err(),
            File::create(dir.join("new")).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.raw_os_error(), Some(5), "{kind}: {error}");
        }
        fs::write(place.path("beside"), "the host's own file system is as it was").unwrap();
    }
}

#[test]
fn every_use_of_a_file_system_is_found_and_nothing_else() {
    for kind in KINDS {
        let place = Place::new();
        let (device, mount) = place.mounted(kind);
        let (dir, numbers) = (mount.mount_point.clone(), [device.device_number().unwrap()]);
        fs::copy("/usr/bin/perl", dir.join("perl")).unwrap();
        fs::set_permissions(dir.join("perl"), PermissionsExt::from_mode(0o755)).unwrap();
        let file = dir.join("file");

        let open = User::perl("open(F, '>', $ARGV[0]) or die; ready", &[&file]);
        let cwd = User::perl("chdir $ARGV[0] or die; ready", &[&dir]);
        let root = User::perl("chroot $ARGV[0] or die; chdir '/'; ready", &[&dir]);
        let running = User::start(Command::new(dir.join("perl")).args(["-e", "$|=1; print \"ready\\n\"; sleep 1000"]));
        let beside = User::perl("open(F, '>', $ARGV[0]) or die; ready", &[&place.path("beside")]);
        let own = File::open(&file).unwrap();

        let holders = holders_of(&numbers).unwrap();
        assert_eq!(uses_of(&holders, &open), [Use::OpenFile]);
        assert_eq!(uses_of(&holders, &cwd), [Use::WorkingDirectory]);
        assert_eq!(uses_of(&holders, &root), [Use::WorkingDirectory, Use::RootDirectory]);
        assert_eq!(uses_of(&holders, &running), [Use::Mapping, Use::Executable]);
        assert_eq!(uses_of(&holders, &beside), []);
        let perl = |holders: &[Holder]| holders.iter().filter(|holder| holder.name == "perl").count();
        assert_eq!(perl(&holders), 4, "{holders:?}: not one that merely sees the mount");
        assert!(holders.iter().all(|holder| holder.process.pid != std::process::id()), "{holders:?}: not this process");
        drop(own);

        // A shut-down XFS does not answer stat; the mount table knows.
        assert_eq!(act_here(None, &numbers, Act::ShutDown).unwrap(), [""; 0]);
        assert_eq!(perl(&holders_of(&numbers).unwrap()), 4);
        drop((open, cwd, root, running));
        assert_eq!(holders_of(&numbers).unwrap(), []);
    }
}

#[test]
fn a_holder_is_found_after_a_lazy_unmount_and_in_another_mount_namespace() {
    for kind in KINDS {
        let place = Place::new();
        let (device, mount) = place.mounted(kind);
        let (dir, numbers) = (mount.mount_point.clone(), [device.device_number().unwrap()]);
        let script = "$|=1; chdir $ARGV[0] or die; print \"ready\\n\"; sleep 1000";
        let apart = User::start(Command::new("unshare").args(["--mount", "perl", "-e", script]).arg(&dir));
        let open = User::perl("open(F, '>', $ARGV[0]) or die; ready", &[&dir.join("file")]);
        let bystander =
            User::start(Command::new("unshare").args(["--mount", "perl", "-e", script]).arg(place.path(".")));

        mounts::unmount_lazily(&dir).unwrap();
        assert!(!is_mount_point(&dir).unwrap());
        let holders = holders_of(&numbers).unwrap();
        assert_eq!(uses_of(&holders, &open), [Use::OpenFile]);
        assert_eq!(uses_of(&holders, &apart), [Use::WorkingDirectory]);
        assert_eq!(uses_of(&holders, &bystander), [], "it merely has the mount in its namespace");
    }
}

#[test]
fn holders_get_sigterm_and_those_that_stay_are_killed() {
    let place = Place::new();
    let (device, mount) = place.mounted(FileSystemKind::Ext4);
    let dir = mount.mount_point;
    let mut obedient = User::perl("chdir $ARGV[0] or die; ready", &[&dir]);
    let mut stubborn = User::perl("$SIG{TERM} = 'IGNORE'; chdir $ARGV[0] or die; ready", &[&dir]);
    let mut stopped = User::perl("chdir $ARGV[0] or die; ready", &[&dir]);
    let mut beside = User::perl("chdir $ARGV[0] or die; ready", &[&place.path(".")]);
    Tool::new("sh", SECONDS).unwrap().args(["-c", &format!("kill -STOP {}", stopped.id())]).run().unwrap();

    let holders = holders_of(&[device.device_number().unwrap()]).unwrap();
    assert_eq!(holders.len(), 3, "{holders:?}");
    assert_eq!(end(&holders, Duration::from_millis(500), SECONDS), []);
    assert_eq!(obedient.ended_by(), Some(15));
    assert_eq!(stubborn.ended_by(), Some(9));
    assert_eq!(stopped.ended_by(), Some(9));
    assert_eq!(beside.ended_by(), None);
    unmount(&dir);
    assert_eq!(end(&holders, SECONDS, SECONDS), [], "they are gone");
}

#[test]
fn a_guarded_directory_takes_no_file_not_even_from_root() {
    let place = Place::new();
    let dir = place.dir("mnt");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o750)).unwrap();
    let mode = || fs::metadata(&dir).unwrap().permissions().mode() & 0o7777;
    File::create(dir.join("before")).unwrap();

    let guarded = guard(&dir).unwrap();
    assert_eq!((guarded.former_mode, guarded.immutable, mode()), (Some(0o750), true, 0));
    let refused = File::create(dir.join("file")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);

    let again = guard(&dir).unwrap();
    assert_eq!((again.former_mode, again.immutable, mode()), (None, true, 0));

    release(&dir, 0o750).unwrap();
    release(&dir, 0o750).unwrap();
    assert_eq!(mode(), 0o750);
    File::create(dir.join("file")).unwrap();
}

#[test]
fn the_guard_stays_beneath_a_mount_and_never_touches_it() {
    let place = Place::new();
    let device = place.device(16 << 20);
    file_system::make(FileSystemKind::Ext4, &device, None).unwrap();
    let dir = place.dir("mnt");
    guard(&dir).unwrap();
    mounts::mount(&device, &dir, FileSystemKind::Ext4, &[]).unwrap();

    assert!(matches!(guard(&dir), Err(HostError::Busy { .. })));
    assert!(matches!(release(&dir, 0o700), Err(HostError::Busy { .. })));
    File::create(dir.join("file")).unwrap();

    unmount(&dir);
    assert_eq!(guard(&dir).unwrap().former_mode, None, "still closed");
    release(&dir, 0o700).unwrap();
}

#[test]
fn a_file_system_without_the_immutable_flag_is_told() {
    let place = Place::new();
    let dir = place.tmpfs("ramfs").join("mnt");
    fs::create_dir(&dir).unwrap();
    let guarded = guard(&dir).unwrap();
    assert_eq!((guarded.former_mode.is_some(), guarded.immutable), (true, false));
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0);
    release(&dir, 0o700).unwrap();
}

#[test]
fn what_a_file_carries_is_named() {
    let place = Place::new();
    let image = place.image("blank", 16 << 20);
    assert_eq!(signature::find(&image).unwrap(), None);
    assert!(signature::find(&place.path("absent")).is_err());

    let (device, mount) = place.mounted(FileSystemKind::Ext4);
    unmount(&mount.mount_point);
    for path in [place.path("image"), device.path()] {
        assert_eq!(signature::find(&path).unwrap().unwrap().what, "ext4", "{}", path.display());
    }

    let luks = place.path("luks");
    let mut header = vec![0; 16 << 20];
    header[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    fs::write(&luks, &header).unwrap();
    assert_eq!(signature::find(&luks).unwrap().unwrap().what, "crypto_LUKS");

    let gpt = place.path("gpt");
    fs::write(&gpt, with_backup_gpt_only(16 << 20)).unwrap();
    assert_eq!(signature::find(&gpt).unwrap().unwrap().what, "gpt partition table");
}

/// A disk of which only the last 17 KiB remain: the backup of an empty GPT (UEFI specification, 5.3).
fn with_backup_gpt_only(size_bytes: usize) -> Vec<u8> {
    let last = u64::try_from(size_bytes).unwrap() / 512 - 1;
    let entries = [0; 128 * 128];
    let mut header = [0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    for (offset, value) in [(8, 0x0001_0000), (12, 92), (80, 128), (84, 128), (88, crc32fast::hash(&entries))] {
        header[offset..offset + 4].copy_from_slice(&u32::to_le_bytes(value));
    }
    for (offset, value) in [(24, last), (32, 1), (40, 34), (48, last - 33), (72, last - 32)] {
        header[offset..offset + 8].copy_from_slice(&u64::to_le_bytes(value));
    }
    header[56..72].copy_from_slice(b"sixteen bytes id");
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    let mut disk = vec![0; size_bytes];
    disk[size_bytes - 512..size_bytes - 512 + 92].copy_from_slice(&header);
    // The protective MBR tells where a GPT is to be looked for.
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12..446 + 16].copy_from_slice(&u32::try_from(last).unwrap().to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

mod silent {
    //! A FUSE file system with two files: no byte of `image` can be read, and who looks at `hung` waits for ever.

    use std::ffi::OsStr;
    use std::sync::Mutex;
    use std::time::{Duration, UNIX_EPOCH};

    use fuser::{
        Errno, FileAttr, FileHandle, FileType, Filesystem, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData,
        ReplyEntry, Request,
    };

    #[derive(Default)]
    pub(super) struct Silent {
        unanswered: Mutex<Vec<ReplyEntry>>,
    }

    const FILE: INodeNo = INodeNo(2);
    const TTL: Duration = Duration::ZERO;

    fn attr(ino: INodeNo) -> FileAttr {
        let (kind, perm) = if ino == FILE { (FileType::RegularFile, 0o600) } else { (FileType::Directory, 0o700) };
        let (atime, mtime, ctime, crtime) = (UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH, UNIX_EPOCH);
        let (size, blocks) = (16 << 20, 0);
        FileAttr {
            ino,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            crtime,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    impl Filesystem for Silent {
        fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
            if name == "hung" {
                self.unanswered.lock().unwrap().push(reply);
            } else if name == "image" {
                reply.entry(&TTL, &attr(FILE), fuser::Generation(0));
            } else {
                reply.error(Errno::ENOENT);
            }
        }

        fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
            reply.attr(&TTL, &attr(ino));
        }

        fn read(
            &self,
            _: &Request,
            _: INodeNo,
            _: FileHandle,
            _: u64,
            _: u32,
            _: OpenFlags,
            _: Option<LockOwner>,
            reply: ReplyData,
        ) {
            reply.error(Errno::EIO);
        }
    }
}

#[test]
fn what_cannot_be_read_is_not_taken_for_empty() {
    let place = Place::new();
    let dir = place.dir("fuse");
    let _session = fuser::spawn_mount(silent::Silent::default(), &dir, &fuser::Config::default()).unwrap();
    let error = signature::find(&dir.join("image")).unwrap_err();
    assert!(matches!(error, HostError::Failed { .. }) && error.to_string().contains("Input/output error"), "{error}");
}

#[test]
fn an_aborted_fuse_connection_answers_no_more() {
    let place = Place::new();
    let dir = place.dir("fuse");
    assert_eq!(FuseConnection::at(&dir).unwrap(), None);
    let _session = fuser::spawn_mount(silent::Silent::default(), &dir, &fuser::Config::default()).unwrap();
    let look = || Tool::new("stat", SECONDS).unwrap().arg(dir.join("image")).run();

    let connection = FuseConnection::at(&dir).unwrap().unwrap();
    look().unwrap();
    assert_eq!(connection.waiting().unwrap(), Some(0));
    connection.abort().unwrap();
    let error = look().unwrap_err();
    assert!(error.to_string().contains("not connected"), "{error}");

    assert!(is_mount_point(&dir).unwrap(), "its mount is dead, and is seen without asking it");
    connection.unmount().unwrap();
    assert!(!is_mount_point(&dir).unwrap());
    assert_eq!(connection.waiting().unwrap(), None);
    connection.abort().unwrap();
}

#[test]
fn a_hung_fuse_mount_is_looked_at_and_ended_without_waiting_for_it() {
    let place = Place::new();
    let dir = place.dir("fuse");
    let _session = fuser::spawn_mount(silent::Silent::default(), &dir, &fuser::Config::default()).unwrap();
    let connection = FuseConnection::at(&dir).unwrap().unwrap();
    let device = Mounts::read().unwrap().at(&dir).unwrap().device;
    let inside = User::perl("chdir $ARGV[0] or die; ready", &[&dir]);

    let look = Tool::new("stat", Duration::from_millis(300)).unwrap().arg(dir.join("hung")).run();
    let error = look.unwrap_err();
    assert!(matches!(error, HostError::TimedOut { still_running: true, .. }), "{error}");
    // That of somebody else on the host who looked in may just be answered.
    let until = Instant::now() + SECONDS;
    while connection.waiting().unwrap() != Some(1) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(connection.waiting().unwrap(), Some(1));

    assert!(is_mount_point(&dir).unwrap());
    assert!(matches!(guard(&dir), Err(HostError::Busy { .. })));
    assert_eq!(uses_of(&holders_of(&[device]).unwrap(), &inside), [Use::WorkingDirectory]);
    connection.unmount().unwrap();
    assert_eq!(uses_of(&holders_of(&[device]).unwrap(), &inside), [Use::WorkingDirectory]);
    connection.abort().unwrap();
}

const ENVOL: &str = env!("CARGO_BIN_EXE_envol");

fn frozen(place: &Place) -> Frozen {
    freeze_by(Path::new(ENVOL), &place.path("mnt"), SECONDS).unwrap()
}

/// Writes into a file system in a thread; hears of it when it is done.
fn writing(dir: &Path) -> mpsc::Receiver<()> {
    let (done, hears) = mpsc::channel();
    let file = dir.join("file");
    std::thread::spawn(move || {
        fs::write(file, "written").unwrap();
        done.send(())
    });
    hears
}

fn is_held_back(writer: &mpsc::Receiver<()>) -> bool {
    writer.recv_timeout(Duration::from_millis(200)).is_err()
}

/// A signal to a process that is not ours to wait for.
fn signal_process(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_frozen_file_system_holds_writers_back_until_it_is_thawed() {
    for kind in KINDS {
        let place = Place::new();
        let (device, mount) = place.mounted(kind);
        let frozen = frozen(&place);
        let writer = writing(&mount.mount_point);
        assert!(is_held_back(&writer), "{kind}");
        let again = freeze_by(Path::new(ENVOL), &mount.mount_point, SECONDS).map(drop).unwrap_err();
        assert!(again.to_string().contains("busy"), "{again}");
        assert!(frozen.thaw().unwrap(), "{kind}");
        writer.recv_timeout(SECONDS).unwrap();
        unmount(&mount.mount_point);
        device.clear().unwrap();
    }
}

#[test]
fn a_frozen_file_system_is_thawed_after_its_time_and_thawing_says_so() {
    let place = Place::new();
    let (_, mount) = place.mounted(FileSystemKind::Ext4);
    let since = Instant::now();
    let frozen = frozen(&place);
    let writer = writing(&mount.mount_point);
    writer.recv_timeout(SECONDS).unwrap();
    assert!(since.elapsed() >= FROZEN_AT_MOST);
    assert!(!frozen.thaw().unwrap());
}

#[test]
fn a_frozen_file_system_is_thawed_when_it_is_let_go_of() {
    let place = Place::new();
    let (_, mount) = place.mounted(FileSystemKind::Ext4);
    drop(frozen(&place));
    // Within its time, and not after it.
    writing(&mount.mount_point).recv_timeout(FROZEN_AT_MOST / 2).unwrap();
}

#[test]
fn a_frozen_file_system_is_thawed_when_its_helper_is_killed_or_stopped() {
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::STOP] {
        let place = Place::new();
        let (_, mount) = place.mounted(FileSystemKind::Ext4);
        let frozen = frozen(&place);
        signal_process(frozen.helper_id().unwrap(), signal);
        let writer = writing(&mount.mount_point);
        assert!(is_held_back(&writer));
        assert!(frozen.thaw().unwrap(), "it was frozen until now");
        writer.recv_timeout(SECONDS).unwrap();
    }
}

#[test]
fn a_frozen_file_system_is_thawed_when_whoever_froze_it_is_killed() {
    let place = Place::new();
    let (_, mount) = place.mounted(FileSystemKind::Ext4);
    // What a daemon does, in Perl: a helper whose input is a pipe, of which only the daemon has the other end.
    let script =
        "$SIG{CHLD} = 'IGNORE'; open(my $pipe, '|-') || exec { $ARGV[0] } 'envol-host', $ARGV[1]; sleep 1000 while 1";
    let task = serde_json::json!({"Freeze": {"dir": mount.mount_point, "at_most": {"secs": 1000, "nanos": 0}}});
    let mut parent = Command::new("perl");
    parent.args(["-e", script, ENVOL, &task.to_string()]).stdout(Stdio::piped());
    let mut parent = parent.spawn().unwrap();
    let answer = BufReader::new(parent.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert_eq!(answer, "\"Frozen\"");
    let writer = writing(&mount.mount_point);
    assert!(is_held_back(&writer));
    parent.kill().unwrap();
    parent.wait().unwrap();
    writer.recv_timeout(SECONDS).unwrap();
}

#[test]
fn what_is_no_file_system_of_its_own_is_not_frozen() {
    let place = Place::new();
    let absent = freeze_by(Path::new(ENVOL), &place.path("absent"), SECONDS).map(drop).unwrap_err();
    assert!(absent.to_string().contains("No such file"), "{absent}");
    let proc = freeze_by(Path::new(ENVOL), Path::new("/proc"), SECONDS).map(drop).unwrap_err();
    assert!(proc.to_string().contains("cannot freeze /proc"), "{proc}");
}

#[test]
fn what_was_written_is_in_the_image_after_a_sync() {
    let place = Place::new();
    let (_, mount) = place.mounted(FileSystemKind::Ext4);
    let words = b"words that are looked for in the image".repeat(100);
    let in_image = || fs::read(place.path("image")).unwrap().windows(words.len()).any(|window| window == words);
    fs::write(mount.mount_point.join("file"), &words).unwrap();
    file_system::sync_by(Path::new(ENVOL), &mount.mount_point, SECONDS).unwrap();
    assert!(in_image());
    let absent = file_system::sync_by(Path::new(ENVOL), &place.path("absent"), SECONDS).unwrap_err();
    assert!(absent.to_string().contains("No such file"), "{absent}");
}
