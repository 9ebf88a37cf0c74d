//! Verbs on the kernel: loop devices, file systems, mounts, processes. No policy: callers decide what, when and in which order.
//!
//! Invariant: these verbs run in the process that serves the FUSE mount itself. A thread of it that waits inside the kernel for that mount, or for the loop
//! device or file system above it, cannot be killed, keeps `/dev/fuse` open, and so waits for ever. What may wait on them
//! therefore happens in a child process with a deadline; this process only reads what the kernel prints as text (`/proc`, `/sys`).

mod boot;
pub mod child;
mod device_number;
pub mod ending;
mod error;
pub mod everywhere;
pub mod file_system;
pub mod freeze;
pub mod fuse_connection;
pub mod guard;
pub mod image_size;
mod ioctl;
pub mod listener;
mod location;
pub mod loop_device;
pub mod loop_use;
pub mod mounts;
mod niceness;
mod process_name;
pub mod processes;
mod shown_name;
pub mod signature;
pub mod stack;
pub mod tools;

pub use boot::boot_id;
pub use device_number::DeviceNumber;
pub use error::HostError;
pub use location::where_lies;
pub use niceness::give_way;
pub use process_name::{ProcessName, Stat, ancestors, parse_stat};
pub use shown_name::show_as;
