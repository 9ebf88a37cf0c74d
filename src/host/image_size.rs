//! Has the kernel take the size of an image anew that a FUSE file system shows.

use std::path::Path;
use std::time::Duration;

use super::error::HostError;
use super::tools::Tool;

const DEADLINE: Duration = Duration::from_secs(30);

/// From the return on the kernel goes by the size that the front-end tells.
///
/// By setting the image's times, to which the front-end answers with all attributes: those the kernel takes over in any case
/// (`fuse_do_setattr()` in fs/fuse/dir.c). What it is answered when it only asks for them, as for stat(2), it drops if a direct
/// read or write has ended in between (`fuse_change_attributes()` in fs/fuse/inode.c), and under load one always has. A loop
/// device then shows the new size while every read behind the old one fails.
///
/// # Errors
/// [`HostError::Missing`], [`HostError::Failed`], [`HostError::TimedOut`].
pub fn refresh(image: &Path) -> Result<(), HostError> {
    Tool::new("touch", DEADLINE)?.args(["-c", "--"]).arg(image).run().map(drop)
}
