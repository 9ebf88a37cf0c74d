//! Each contender's file system: ext4 as envol makes it, or gocryptfs's directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Setting;
use crate::contender::Contender;
use crate::fio;
use crate::guards::{Attached, Loop, Mounted, Server, run};
use crate::place::Place;
use crate::served::{Served, gocryptfs, serve};

/// A directory, and what is below it: taken down in this order.
pub(crate) struct FileSystem<'a> {
    pub(crate) dir: PathBuf,
    _mounted: Option<Mounted>,
    _device: Option<Loop>,
    _served: Option<Served<'a>>,
    _server: Option<Server>,
    _volume: Option<Attached<'a>>,
}

pub(crate) fn make<'a>(contender: Contender, setting: &'a Setting, place: &Place, size_bytes: u64) -> FileSystem<'a> {
    let none = |dir| FileSystem { dir, _mounted: None, _device: None, _served: None, _server: None, _volume: None };
    if contender == Contender::Gocryptfs {
        let (mounted, server) = gocryptfs(place);
        return FileSystem { _mounted: Some(mounted), _server: Some(server), ..none(place.path("gocryptfs")) };
    }
    let dir = place.directory(&format!("{contender}.mnt"));
    let sparse = setting.arguments.sparse;
    let served = serve(contender, setting, place, size_bytes);
    if !sparse {
        fio::fill(&served.image);
    }
    if let Some(cache) = contender.cache() {
        // The same volume, with a file system that envol makes; what was written before it takes for somebody's data.
        let volume = served.into_volume();
        setting.host.envol(&["detach", &volume.volume]).expect_code(0);
        let mut attach = vec!["attach", &volume.volume, dir.to_str().unwrap(), cache];
        attach.extend((!sparse).then_some("--mkfs"));
        setting.host.envol(&attach).expect_code(0);
        return FileSystem { _volume: Some(volume), ..none(dir) };
    }
    let device = match contender {
        Contender::RawBuffered => Loop::buffered(&served.image),
        _ => Loop::direct(&served.image),
    };
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096", "-E", "nodiscard"]).arg(device.path()));
    run(Command::new("mount").args(["-t", "ext4", "-o", "nodev,nosuid"]).arg(device.path()).arg(&dir));
    let mounted = Mounted(dir.clone());
    FileSystem { _mounted: Some(mounted), _device: Some(device), _served: Some(served), ..none(dir) }
}

/// A new file of this size in `dir`, written once in full.
pub(crate) fn file(dir: &Path, name: &str, size_bytes: u64) -> PathBuf {
    let path = dir.join(name);
    fs::File::create(&path).unwrap().set_len(size_bytes).unwrap();
    fio::fill(&path);
    path
}
