//! What a server may say in the place of an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hostile {
    /// Somebody else's page, with a status that says that all is well.
    Page,
    /// Half of what was promised.
    CutShort,
    /// 1 GiB, as fast as it is read, and not said before.
    Gibibyte,
    /// The same, of which it is said that it is more than any memory.
    Promise,
}

const GIBIBYTE: u64 = 1 << 30;
const HEAD: &str = "HTTP/1.1 200 Hostile\r\nconnection: close\r\n";

impl Hostile {
    /// Instead of the answer to a request that has been read, and then no more. How much of it the client took, or the kernel
    /// for it.
    pub fn say(self, mut stream: &TcpStream) -> u64 {
        let (length, body) = match self {
            Self::Page => (Some(25), &b"<h1>Welcome, traveller</h1>"[..25]),
            Self::CutShort => (Some(1000), &b"<?xml version="[..]),
            Self::Gibibyte => (None, &[][..]),
            Self::Promise => (Some(1 << 62), &[][..]),
        };
        let length = length.map(|len: u64| format!("content-length: {len}\r\n")).unwrap_or_default();
        let mut taken = 0;
        if write!(stream, "{HEAD}{length}\r\n").and_then(|()| stream.write_all(body)).is_ok() {
            let filler = [b' '; 1 << 16];
            let wanted = if matches!(self, Self::Gibibyte | Self::Promise) { GIBIBYTE } else { 0 };
            while taken < wanted && stream.write_all(&filler).is_ok() {
                taken += filler.len() as u64;
            }
        }
        // What is left of the request must not make the kernel take back what was said.
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.take(GIBIBYTE).read_to_end(&mut Vec::new());
        taken
    }
}

/// How much memory a process has had at most since [`forget_peak`].
pub fn peak_bytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("proc_pid_status(5)");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// proc_pid_clear_refs(5)
pub fn forget_peak(pid: i32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("root");
}
