//! A loop device while one image is in it. The device is given to others as soon as it is free; the use of it is not.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::DeviceNumber;
use super::error::HostError;
use super::tools::Tool;

/// By the device's number, and the sequence number that the kernel gives a disk each time its medium changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopUse {
    number: u32,
    sequence: u64,
}

impl LoopUse {
    /// None if it is no loop device, or has no image in it.
    #[must_use]
    pub fn of(device: DeviceNumber) -> Option<Self> {
        let name = fs::read_link(format!("/sys/dev/block/{device}")).ok()?;
        let number = name.file_name()?.to_str()?.strip_prefix("loop")?.parse().ok()?;
        fs::metadata(format!("/sys/block/loop{number}/loop/backing_file")).ok()?;
        Some(Self { number, sequence: sequence_of(number)? })
    }

    /// Nothing, or another image, is in the device by now.
    #[must_use]
    pub fn is_over(self) -> bool {
        sequence_of(self.number) != Some(self.sequence)
    }

    /// `None` once it is over.
    #[must_use]
    pub fn device_number(self) -> Option<DeviceNumber> {
        let number = fs::read_to_string(format!("/sys/block/loop{}/dev", self.number)).ok()?;
        number.parse().ok().filter(|_| !self.is_over())
    }

    #[must_use]
    pub fn path(self) -> PathBuf {
        format!("/dev/loop{}", self.number).into()
    }

    /// The name under which the kernel shows a file system on it, in `/sys/fs/KIND`.
    #[must_use]
    pub fn name(self) -> String {
        format!("loop{}", self.number)
    }

    /// Drops what the kernel has cached of the device, then takes the image from it: now, or as soon as nothing uses it.
    ///
    /// # Errors
    /// [`HostError::Failed`], [`HostError::TimedOut`], of the first that went wrong.
    pub fn clear(self, deadline: Duration) -> Result<(), HostError> {
        let run = |program: &str, option: &str| {
            Tool::new(program, deadline / 2)?.arg(option).arg(self.path()).run().map(drop)
        };
        // What cannot be written back any more must not keep the device.
        let flushed = run("blockdev", "--flushbufs");
        run("losetup", "--detach").and(flushed)
    }
}

fn sequence_of(number: u32) -> Option<u64> {
    fs::read_to_string(format!("/sys/block/loop{number}/diskseq")).ok()?.trim().parse().ok()
}
