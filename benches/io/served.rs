//! Each contender's image: one file of the same size.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Setting;
use crate::contender::Contender;
use crate::guards::{Attached, Mounted, Server, run};
use crate::harness::wait_until;
use crate::place::Place;

/// Of a benchmark, and no secret.
const PASSPHRASE: &str = "bench";

const START_DEADLINE: Duration = Duration::from_secs(30);

/// An image, and what serves it: taken down in this order.
pub(crate) struct Served<'a> {
    pub(crate) image: PathBuf,
    volume: Option<Attached<'a>>,
    _mounted: Option<Mounted>,
    _servers: Vec<Server>,
}

impl<'a> Served<'a> {
    /// Of envol's.
    pub(crate) fn into_volume(self) -> Attached<'a> {
        self.volume.unwrap()
    }
}

pub(crate) fn serve<'a>(contender: Contender, setting: &'a Setting, place: &Place, size_bytes: u64) -> Served<'a> {
    let size = size_bytes.to_string();
    let name = contender.to_string();
    let backing = place.path(&format!("{name}.backing"));
    let served = |image: PathBuf, mounted: Option<Mounted>, servers: Vec<Server>| {
        wait_until(&format!("{name} to serve {}", image.display()), START_DEADLINE, || {
            fs::metadata(&image).is_ok_and(|metadata| metadata.len() == size_bytes)
        });
        Served { image, volume: None, _mounted: mounted, _servers: servers }
    };
    match contender {
        Contender::Raw | Contender::RawBuffered => {
            File::create(&backing).unwrap().set_len(size_bytes).unwrap();
            served(backing, None, Vec::new())
        }
        Contender::NoStore | Contender::Plain | Contender::PlainNoCache => {
            let dir = place.directory(&name);
            let mut command = Command::new(&setting.arguments.plain_front_end);
            command.arg(&dir);
            if contender == Contender::NoStore {
                command.args(["--no-store", &size]);
            } else {
                File::create(&backing).unwrap().set_len(size_bytes).unwrap();
                command.args((contender == Contender::PlainNoCache).then_some("--no-cache")).arg(&backing);
            }
            let server = Server::start(&mut command);
            served(dir.join("image"), Some(Mounted(dir)), vec![server])
        }
        Contender::Envol | Contender::EnvolNoCache => {
            let volume = setting.host.create(&["--size", &size, "--backing", backing.to_str().unwrap()]);
            let attached = Attached { host: &setting.host, volume };
            setting.host.envol(&["attach", &attached.volume, "--raw", contender.cache().unwrap()]).expect_code(0);
            let image = setting.host.image(&attached.volume);
            Served { volume: Some(attached), ..served(image, None, Vec::new()) }
        }
        Contender::QemuLuks | Contender::QemuNoCache => {
            make_luks(&backing, &size);
            let image = place.path(&name);
            File::create(&image).unwrap();
            let mut command = Command::new("qemu-storage-daemon");
            command.args(["--object", &format!("secret,id=secret,data={PASSPHRASE}")]);
            let direct = if contender == Contender::QemuNoCache { "on" } else { "off" };
            let file =
                format!("driver=file,node-name=file,filename={},aio=threads,cache.direct={direct}", backing.display());
            command.args(["--blockdev", &file]);
            command.args(["--blockdev", "driver=luks,node-name=luks,file=file,key-secret=secret"]);
            let export = format!("type=fuse,id=export,node-name=luks,mountpoint={},writable=on", image.display());
            command.args(["--export", &export]);
            let server = Server::start(&mut command);
            served(image.clone(), Some(Mounted(image)), vec![server])
        }
        Contender::NbdkitLuks => {
            make_luks(&backing, &size);
            let (dir, socket) = (place.directory(&name), place.path("nbdkit.socket"));
            let mut nbdkit = Command::new("nbdkit");
            nbdkit.arg("--foreground").arg("--unix").arg(&socket).args(["--filter=luks", "file"]);
            nbdkit.arg(format!("file={}", backing.display())).arg(format!("passphrase={PASSPHRASE}"));
            let nbdkit = Server::start(&mut nbdkit);
            wait_until("nbdkit's socket", START_DEADLINE, || socket.exists());
            let nbdfuse = Server::start(Command::new("nbdfuse").arg(dir.join("image")).arg("--unix").arg(&socket));
            served(dir.join("image"), Some(Mounted(dir)), vec![nbdfuse, nbdkit])
        }
        Contender::Gocryptfs => {
            let (mounted, server) = gocryptfs(place);
            let image = mounted.0.join("image");
            File::create(&image).unwrap().set_len(size_bytes).unwrap();
            served(image, Some(mounted), vec![server])
        }
    }
}

/// A directory of gocryptfs.
pub(crate) fn gocryptfs(place: &Place) -> (Mounted, Server) {
    let (ciphertext, dir) = (place.directory("gocryptfs.backing"), place.directory("gocryptfs"));
    let passphrase = place.path("passphrase");
    fs::write(&passphrase, PASSPHRASE).unwrap();
    // The strength of the passphrase is not what is measured.
    let init = ["-init", "-quiet", "-scryptn", "10", "-passfile"];
    run(Command::new("gocryptfs").args(init).arg(&passphrase).arg(&ciphertext));
    let mut command = Command::new("gocryptfs");
    command.args(["-fg", "-quiet", "-allow_other", "-passfile"]).arg(&passphrase).arg(&ciphertext).arg(&dir);
    let server = Server::start(&mut command);
    let mounted = Mounted(dir.clone());
    wait_until("gocryptfs to mount", START_DEADLINE, || envol::host::mounts::is_mount_point(&dir).unwrap_or(false));
    (mounted, server)
}

/// AES-256-XTS, as envol has it; the cost of guessing the passphrase is not what is measured.
fn make_luks(path: &Path, size: &str) {
    let secret = format!("secret,id=secret,data={PASSPHRASE}");
    let options = "key-secret=secret,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,iter-time=10";
    let create = ["create", "-q", "-f", "luks", "--object", &secret, "-o", options];
    run(Command::new("qemu-img").args(create).arg(path).arg(size));
}
