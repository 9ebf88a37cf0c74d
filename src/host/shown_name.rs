//! What others see this process as.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What ps(1), top(1) and the journal call this process: the end of its zeroth argument. Started through `/proc/self/exe`, it would
/// be `exe` to them.
pub fn show_as(argv0: &OsStr) {
    let name = Path::new(argv0).file_name().and_then(|name| CString::new(name.as_bytes()).ok());
    // Without a name it goes on all the same.
    let _ = name.map(|name| rustix::thread::set_name(&name));
}
