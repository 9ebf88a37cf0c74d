//! Front-end: shows an image as one file, `image`. The only room that knows FUSE.

mod attributes;
mod commits;
mod errno;
mod front_end;
mod image;
mod in_flight;
mod linger;
mod meter;
mod metered;
mod mount;
mod waiting_room;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::{Config, Session, SessionACL};

use front_end::FrontEnd;
use linger::Linger;

pub use image::Image;
pub use meter::{ErrorCounters, IoCounters, Meter, RequestCounters};

/// The name of the one file.
pub const IMAGE_NAME: &str = "image";

/// Two receivers answer on two cores what one file's readers and writers ask; more threads help only large requests.
const MIN_RECEIVERS: usize = 2;
const MAX_RECEIVERS: usize = 8;

/// Past the page cache, where the store has a queue: those that wait for a disk, and as many to receive what goes to the queue. Only requests that
/// are longer than what is queued, or of parts of blocks, can take them all.
const QUEUEING_RECEIVERS: usize = 2 * in_flight::WAIT_THEMSELVES;

/// Where each request has a receiver that waits for the disk. Twice as many make a sixth more of small reads at a deep queue, and cost 2 MiB of
/// buffers each.
const WAITING_RECEIVERS: usize = 16;

/// A mounted front-end. It is unmounted by whoever owns the mount point; that, or the end of the FUSE connection,
/// ends its threads.
pub struct FuseServer {
    workers: JoinHandle<io::Result<()>>,
    meter: Arc<Meter>,
}

/// Mounts `image` at `mount_point` (an empty directory) and serves it from threads of its own.
///
/// As root by mount(2), else through fusermount3. Only the user who mounts may look inside.
pub fn serve(image: Arc<impl Image>, mount_point: &Path, source: &str) -> io::Result<FuseServer> {
    let device = mount::mount(mount_point, source)?;
    let mut config = Config::default();
    config.acl = SessionACL::Owner;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (receivers, may_wait) = match (image.always_waits(), image.has_queue()) {
        (false, _) => {
            let receivers = cores.clamp(MIN_RECEIVERS, MAX_RECEIVERS);
            (receivers, receivers - 1)
        }
        (true, false) => (WAITING_RECEIVERS, WAITING_RECEIVERS - 1),
        (true, true) => (QUEUEING_RECEIVERS, QUEUEING_RECEIVERS - in_flight::WAIT_THEMSELVES),
    };
    config.n_threads = Some(receivers);
    config.clone_fd = true;
    let meter = Arc::<Meter>::default();
    let front_end = FrontEnd::new(image, Arc::clone(&meter), may_wait, Linger::new(device.try_clone()?))?;
    let session = Session::from_fd(front_end, device, SessionACL::Owner, config)?;
    let workers = std::thread::Builder::new().name("fuse".to_owned()).spawn(move || session.run())?;
    Ok(FuseServer { workers, meter })
}

impl FuseServer {
    /// What is counted of its requests; holds nothing of the image.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Waits until the mount is gone and every request was answered.
    pub fn join(self) -> io::Result<()> {
        match self.workers.join() {
            // An aborted connection is an end like any other: somebody wanted it gone.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
            Ok(result) => result,
            Err(_) => Err(io::Error::other("a FUSE worker panicked")),
        }
    }

    /// Waits at most that long for the end that [`FuseServer::join`] waits for.
    pub fn ends_within(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        while !self.has_ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.has_ended()
    }

    pub fn has_ended(&self) -> bool {
        self.workers.is_finished()
    }
}
