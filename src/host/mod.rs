//! Verbs on the kernel: loop devices, file systems, mounts, processes. No policy: callers decide what, when and in which order.
//!
//! Invariant: these verbs run in the process that serves the FUSE mount itself. A thread of it that waits inside the kernel for that mount, or for the loop
//! device or file system above it, cannot be killed, keeps `/dev/fuse` open, and so waits for ever. What may wait on them
//! therefore happens in a child process with a deadline; this process only reads what the kernel prints as text (`/proc`, `/sys`).

mod device_number;
mod error;
pub mod file_system;
pub mod fuse_connection;
pub mod guard;
mod ioctl;
pub mod listener;
pub mod loop_device;
pub mod mounts;
pub mod processes;
pub mod signature;
pub mod tools;

pub use device_number::DeviceNumber;
pub use error::HostError;
