//! Loop devices: a volume's image file as a block device.
//!
//! Sysfs is read in this process (text, no I/O); every call on the device itself is `losetup`'s.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use super::DeviceNumber;
use super::error::{Context, HostError};
use super::tools::Tool;

/// The block size of a volume. With smaller sectors each write of 512 bytes would be a read, a decryption and an encryption more.
const SECTOR_SIZE: &str = "4096";

const DEADLINE: Duration = Duration::from_secs(30);

/// Sysfs has no event for a loop device that was cleared.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A loop device and the image it was made from. Dropping it leaves the device alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopDevice {
    number: u32,
    image: PathBuf,
}

impl LoopDevice {
    /// Makes a loop device with direct I/O and 4096-byte sectors from an image file.
    ///
    /// # Errors
    /// [`HostError::Unsupported`] if the image cannot be read without the page cache, which would hold its plaintext twice.
    pub fn attach(image: &Path) -> Result<Self, HostError> {
        let image = std::path::absolute(image).context(|| format!("cannot resolve {}", image.display()))?;
        let tool = Tool::new("losetup", DEADLINE)?;
        let options = ["--find", "--show", "--direct-io=on", "--sector-size", SECTOR_SIZE];
        let path = match tool.args(options).arg("--").arg(&image).run() {
            // Where the kernel makes the device all the same, without direct I/O, `verify` sees it.
            Err(HostError::Failed { stderr, .. }) if stderr.contains("Invalid argument") => {
                let what =
                    format!("no loop device with direct I/O and 4096-byte sectors on {} ({stderr})", image.display());
                return Err(HostError::Unsupported { what });
            }
            result => result?,
        };
        let number = path.strip_prefix("/dev/loop").and_then(|number| number.parse().ok());
        let number = number
            .ok_or_else(|| HostError::Unsupported { what: format!("losetup made a device of the name {path:?}") })?;
        let device = Self { number, image };
        device.verify().inspect_err(|_| drop(device.clear()))?;
        Ok(device)
    }

    /// All loop devices whose image has, or had, this path. After the mount with the image in it was lazily unmounted the
    /// kernel no longer knows where the image was, and it is not found.
    ///
    /// # Errors
    /// [`HostError::Io`] if sysfs is not there.
    pub fn backed_by(image: &Path) -> Result<Vec<Self>, HostError> {
        let image = std::path::absolute(image).context(|| format!("cannot resolve {}", image.display()))?;
        let devices = fs::read_dir("/sys/block").context(|| "cannot list /sys/block".to_owned())?;
        let numbers =
            devices.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_prefix("loop")?.parse().ok());
        let candidates = numbers.map(|number| Self { number, image: image.clone() });
        Ok(candidates.filter(Self::is_attached).collect())
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/dev/loop{}", self.number).into()
    }

    /// # Errors
    /// [`HostError::Io`] if the device does not exist any more.
    pub fn device_number(&self) -> Result<DeviceNumber, HostError> {
        self.attribute("dev")
    }

    /// # Errors
    /// [`HostError::Io`] if the device does not exist any more.
    pub fn size_bytes(&self) -> Result<u64, HostError> {
        // Sysfs counts in 512 bytes whatever the sector size is.
        self.attribute::<u64>("size").map(|sectors| sectors.saturating_mul(512))
    }

    /// Has the device show the size of its image, which is `size_bytes` by now; the kernel has been made to know that
    /// ([`image_size::refresh`](super::image_size::refresh)). Nothing to do if it does already.
    ///
    /// # Errors
    /// [`HostError::Unsupported`] if the device does not show it afterwards; [`HostError::Failed`], [`HostError::TimedOut`].
    pub fn follow_size(&self, size_bytes: u64) -> Result<(), HostError> {
        if self.size_bytes()? == size_bytes {
            return Ok(());
        }
        Tool::new("losetup", DEADLINE)?.arg("--set-capacity").arg(self.path()).run()?;
        let shown = self.size_bytes()?;
        if shown == size_bytes {
            return Ok(());
        }
        let what = format!("{} still shows {shown} bytes of an image of {size_bytes}", self.path().display());
        Err(HostError::Unsupported { what })
    }

    /// Whether the device still shows this image, and not nothing or another one.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let shown = fs::read(self.sysfs("loop/backing_file")).unwrap_or_default();
        shows(&shown, &self.image)
    }

    /// Lets the kernel clear the device when its last user (the mount) is gone. Call it once the device is mounted: without a user
    /// it is cleared at once.
    ///
    /// # Errors
    /// [`HostError::Io`] if the device does not exist any more.
    pub fn clear_on_last_close(&self) -> Result<(), HostError> {
        self.clear()?;
        if self.is_attached() && self.attribute::<u8>("loop/autoclear")? != 1 {
            return Err(HostError::Unsupported {
                what: format!("the kernel does not clear {} by itself on its last close", self.path().display()),
            });
        }
        Ok(())
    }

    /// Takes the image from the device: now, or, while something uses the device, as soon as nothing does
    /// ([`LoopDevice::wait_until_gone`]). Nothing to do if it is gone already.
    ///
    /// # Errors
    /// [`HostError::Failed`], [`HostError::TimedOut`].
    pub fn clear(&self) -> Result<(), HostError> {
        if !self.is_attached() {
            return Ok(());
        }
        match Tool::new("losetup", DEADLINE)?.arg("--detach").arg(self.path()).run() {
            Err(HostError::Failed { .. }) if !self.is_attached() => Ok(()),
            result => result.map(drop),
        }
    }

    /// # Errors
    /// [`HostError::Busy`] if the device still shows the image at the deadline.
    pub fn wait_until_gone(&self, deadline: Duration) -> Result<(), HostError> {
        let until = Instant::now() + deadline;
        while self.is_attached() {
            if Instant::now() >= until {
                return Err(HostError::Busy { what: self.path().display().to_string() });
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn verify(&self) -> Result<(), HostError> {
        let unsupported = |what: &str| HostError::Unsupported {
            what: format!("{} on {}: {what}", self.path().display(), self.image.display()),
        };
        if !self.is_attached() {
            return Err(unsupported("the kernel shows another image for this device"));
        }
        if self.attribute::<u8>("loop/dio")? != 1 {
            return Err(unsupported(
                "direct I/O was refused; the file system that holds the image must support O_DIRECT",
            ));
        }
        if self.attribute::<String>("queue/logical_block_size")? != SECTOR_SIZE {
            return Err(unsupported("4096-byte sectors were refused"));
        }
        Ok(())
    }

    fn sysfs(&self, attribute: &str) -> PathBuf {
        format!("/sys/block/loop{}/{attribute}", self.number).into()
    }

    fn attribute<T: FromStr>(&self, attribute: &str) -> Result<T, HostError> {
        let path = self.sysfs(attribute);
        let parse = |text: String| text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        fs::read_to_string(&path).and_then(parse).context(|| format!("cannot read {}", path.display()))
    }
}

/// Whether `loop/backing_file` shows this image, which may have been deleted since.
fn shows(backing_file: &[u8], image: &Path) -> bool {
    let shown = backing_file.strip_suffix(b"\n").unwrap_or(backing_file);
    let image = image.as_os_str().as_encoded_bytes();
    shown == image || shown.strip_suffix(b" (deleted)") == Some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_recognised_also_when_it_was_deleted() {
        let image = Path::new("/run/envol/vol-1/image");
        assert!(shows(b"/run/envol/vol-1/image\n", image));
        assert!(shows(b"/run/envol/vol-1/image (deleted)\n", image));
    }

    #[test]
    fn another_image_is_not_taken_for_it() {
        let image = Path::new("/run/envol/vol-1/image");
        for other in ["", "/image", "/run/envol/vol-1/image2", "/run/envol/vol-10/image", "/x/run/envol/vol-1/image"] {
            assert!(!shows(format!("{other}\n").as_bytes(), image), "{other}");
        }
    }
}
