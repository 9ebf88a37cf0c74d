//! Takes a volume's plaintext away from the host, step by step: for the daemon when its key was revoked, and for those who
//! come when a daemon is gone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::footprint::Footprint;
use super::waiting::reached_within;
use crate::fuse::FuseServer;
use crate::host::everywhere::{self, Act};
use crate::host::fuse_connection::FuseConnection;
use crate::host::loop_use::LoopUse;
use crate::host::mounts::Mounts;
use crate::host::processes::{self, Holder};
use crate::host::{DeviceNumber, ancestors, ending, stack};
use crate::revocation::{Plaintext, Step};

/// From the first error that a database sees until it is killed: it should log why it stops.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Of all loop devices (Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: u32 = 7;

pub(super) struct Remains {
    footprint: Footprint,
    /// Of a daemon that serves its end itself.
    server: Option<FuseServer>,
    /// The image's, then what stands on it, nearest first.
    devices: Vec<DeviceNumber>,
    loops: Vec<LoopUse>,
    kept: Vec<Holder>,
    left: Vec<String>,
}

impl Remains {
    /// Of a volume whose daemon, with `server`, answers every request; without, it is gone, and its connection is aborted
    /// first: whoever touches a mount that nobody answers for waits for ever.
    pub(super) fn new(mut footprint: Footprint, server: Option<FuseServer>) -> Self {
        footprint.fuse = footprint.fuse.filter(|device| !is_reused(*device, &footprint.mount_point));
        let connection = footprint.fuse.map(|device| FuseConnection::known(device, &footprint.mount_point));
        if server.is_none()
            && let Some(Err(error)) = connection.as_ref().map(FuseConnection::abort)
        {
            // Without root the control file system may be out of reach. The daemon is gone, so the connection is dead.
            tracing::warn!("{error}");
        }
        let mut base: Vec<DeviceNumber> = footprint.fuse.into_iter().collect();
        base.extend(footprint.loop_device.and_then(LoopUse::device_number));
        let devices = stack::devices_on(&base);
        let loops = devices.iter().filter_map(|device| LoopUse::of(*device)).collect();
        Self { footprint, server, devices, loops, kept: Vec::new(), left: Vec::new() }
    }

    /// Whether there is anything to take away.
    pub(super) fn is_nothing(&self) -> bool {
        self.loops.is_empty() && everywhere::mounts_of(&self.devices).is_empty()
    }

    /// What could not be taken away, a sentence each; known once it was verified.
    pub(super) fn left(&self) -> &[String] {
        &self.left
    }

    fn act(&self, act: Act, devices: &[DeviceNumber], deadline: Duration) -> Result<(), String> {
        none_of(&everywhere::act(devices, act, deadline))
    }

    /// All but the image's own.
    fn above(&self) -> Vec<DeviceNumber> {
        self.devices.iter().copied().filter(|device| Some(*device) != self.footprint.fuse).collect()
    }

    fn connection(&self) -> Option<FuseConnection> {
        self.footprint.fuse.map(|device| FuseConnection::known(device, &self.footprint.mount_point))
    }

    fn wait_for_answers(&self, deadline: Duration) -> Result<(), String> {
        let (Some(connection), true) = (self.connection(), self.server.is_some()) else { return Ok(()) };
        let waiting = || connection.waiting().ok().flatten().unwrap_or(0);
        if reached_within(deadline, || waiting() == 0) {
            return Ok(());
        }
        Err(format!("{} requests wait; they get EIO as the backing store lets go of them", waiting()))
    }

    fn end_processes(&mut self, deadline: Duration) -> Result<(), String> {
        if self.footprint.keep_processes {
            self.kept = processes::holders_of(&self.devices).map_err(|error| error.to_string())?;
            return Ok(());
        }
        let spared = [self.footprint.spared.clone(), ancestors()].concat();
        let ended = ending::end_holders(&self.devices, &spared, LAST_WORDS, deadline);
        let ended = ended.map_err(|error| error.to_string())?;
        if !ended.ended.is_empty() {
            tracing::warn!("volume {}: ended {}", self.footprint.volume_id, names(&ended.ended));
        }
        self.kept = ended.left;
        Ok(())
    }

    fn clear_loops(&mut self, deadline: Duration) -> Result<(), String> {
        let mut problems = Vec::new();
        // What stands on another goes first.
        for used in self.loops.iter().rev().filter(|used| !used.is_over()) {
            let cleared = used.clear(deadline);
            if !reached_within(deadline / 2, || used.is_over()) {
                problems.extend(cleared.err().map(|error| error.to_string()));
                problems.push(format!("{} is still in use", used.path().display()));
            }
        }
        none_of(&problems)
    }

    fn end_fuse(&mut self, deadline: Duration) -> Result<(), String> {
        let Some(connection) = self.connection() else { return Ok(()) };
        let unmounted = if rustix::process::geteuid().is_root() {
            self.act(Act::Unmount, &[connection.device()], deadline)
        } else {
            connection.unmount().map_err(|error| error.to_string())
        };
        let Some(server) = self.server.take() else { return unmounted };
        if !server.ends_within(deadline / 2) {
            connection.abort().map_err(|error| error.to_string())?;
        }
        if !server.ends_within(deadline) {
            return Err("a request waits for the backing store; its buffers go with this process".to_owned());
        }
        unmounted.and(server.join().map_err(|error| error.to_string()))
    }

    fn verify(&mut self, deadline: Duration) -> Result<(), String> {
        // The last user of a file system may still be on its way out.
        reached_within(deadline, || self.look().is_empty());
        self.left = self.look();
        none_of(&self.left)
    }

    /// What is still there.
    fn look(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (namespace, mount) in everywhere::mounts_of(&self.devices) {
            // Numbers are given to others as soon as they are free.
            if !self.is_anothers(mount.device) {
                let place = namespace.map_or_else(String::new, |path| format!(" in {}", path.display()));
                found.push(format!("{} is still mounted on {}{place}", mount.file_system, mount.mount_point.display()));
            }
        }
        for used in self.loops.iter().filter(|used| !used.is_over()) {
            found.push(format!("{} still shows the image", used.path().display()));
            let kinds = ["ext4", "xfs"].into_iter();
            let cached = kinds.filter(|kind| Path::new("/sys/fs").join(kind).join(used.name()).exists());
            found.extend(cached.map(|kind| format!("{kind} on it is still in memory, with its cached pages")));
        }
        if let Some(connection) = self.connection().filter(|connection| !self.is_anothers(connection.device())) {
            let path = PathBuf::from(format!("/sys/fs/fuse/connections/{}", connection.id()));
            if path.exists() {
                found.push(format!("the FUSE connection {} is still there", connection.id()));
            }
        }
        found.extend(self.holding().iter().map(|holder| format!("{holder} holds plaintext: {}", uses(holder))));
        found
    }

    /// Of those that were not ended, who has not let go by itself meanwhile.
    fn holding(&self) -> Vec<Holder> {
        if self.kept.is_empty() {
            return Vec::new();
        }
        let now = processes::holders_of(&self.devices).unwrap_or_else(|_| self.kept.clone());
        let was_kept = |holder: &Holder| self.kept.iter().any(|kept| kept.process == holder.process);
        now.into_iter().filter(was_kept).collect()
    }

    fn is_anothers(&self, device: DeviceNumber) -> bool {
        if Some(device) == self.footprint.fuse {
            return is_reused(device, &self.footprint.mount_point);
        }
        // A loop device that was ours is known by number alone once it is over.
        device.major == LOOP_MAJOR && !self.loops.iter().any(|used| used.device_number() == Some(device))
    }
}

impl Plaintext for Remains {
    fn take_away(&mut self, step: Step, deadline: Duration) -> Result<(), String> {
        match step {
            // The volume's own: done before anything here, or gone with its daemon.
            Step::TerminalFlag | Step::KeysWiped | Step::RecordWritten => Ok(()),
            Step::InFlightAnswered => self.wait_for_answers(deadline),
            Step::Thaw => self.act(Act::Thaw, &self.file_systems(), deadline),
            Step::FileSystemShutDown => self.act(Act::ShutDown, &self.file_systems(), deadline),
            Step::ProcessesEnded => self.end_processes(deadline),
            Step::Unmounted => self.act(Act::Unmount, &reversed(self.above()), deadline),
            Step::LoopCleared => self.clear_loops(deadline),
            Step::FuseEnded => self.end_fuse(deadline),
            Step::Verified => self.verify(deadline),
        }
    }
}

impl Remains {
    /// Those that can be shut down: on block devices, and not overlays, which only show what lies in others.
    fn file_systems(&self) -> Vec<DeviceNumber> {
        self.devices.iter().copied().filter(|device| device.major != 0).collect()
    }
}

/// Whether a FUSE mount's device number belongs to another mount by now, and not to one that was bound to a second place.
fn is_reused(device: DeviceNumber, mount_point: &Path) -> bool {
    let mounts = Mounts::read().unwrap_or_default();
    let mut places = mounts.of_device(device).map(|mount| mount.mount_point.as_path()).peekable();
    places.peek().is_some() && places.all(|place| place != mount_point)
}

fn reversed(mut devices: Vec<DeviceNumber>) -> Vec<DeviceNumber> {
    devices.reverse();
    devices
}

fn none_of(problems: &[String]) -> Result<(), String> {
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

fn names(holders: &[Holder]) -> String {
    holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn uses(holder: &Holder) -> String {
    holder.uses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
