//! Whose process listens on a TCP port of this host, from the kernel's socket table.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_LISTEN` of the kernel's tcp_states.h, as the table prints it.
const LISTENING: &str = "0A";

/// The user ids of all sockets that may answer a connection to `address`, which is one of this host.
///
/// # Errors
/// If `/proc` is not there.
pub fn uids(address: SocketAddr) -> io::Result<Vec<u32>> {
    let mut uids = parse(&fs::read_to_string("/proc/net/tcp")?, address);
    // Without IPv6 there is no such table.
    uids.extend(parse(&fs::read_to_string("/proc/net/tcp6").unwrap_or_default(), address));
    Ok(uids)
}

pub fn parse(table: &str, address: SocketAddr) -> Vec<u32> {
    table.lines().skip(1).filter_map(|line| listener(line, address)).collect()
}

/// The user id in a line of the table, if it is of a socket that listens on `address` or on all addresses.
fn listener(line: &str, address: SocketAddr) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace();
    let (ip, port) = fields.nth(1)?.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != address.port() || fields.nth(1)? != LISTENING {
        return None;
    }
    let ip = parse_ip(ip)?;
    let answers = ip.is_unspecified() || ip.to_canonical() == address.ip().to_canonical();
    answers.then(|| fields.nth(3)?.parse().ok()).flatten()
}

/// Hexadecimal words in the byte order of the processor, as in `0100007F` for 127.0.0.1 on a little-endian one.
#[expect(clippy::host_endian_bytes, reason = "the kernel prints its own words")]
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn our_own_listener_is_ours_and_a_silent_port_is_nobodys() {
        let our_uid = rustix::process::geteuid().as_raw();
        for bind in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bind) else { continue };
            let address = listener.local_addr().unwrap();
            let asked = if address.ip().is_unspecified() { ([127, 0, 0, 1], address.port()).into() } else { address };
            assert_eq!(uids(asked).unwrap(), [our_uid], "{bind}");
            drop(listener);
            // Another test's child has a copy of the descriptor between its fork and its exec.
            let deadline = Instant::now() + Duration::from_secs(20);
            while !uids(asked).unwrap().is_empty() {
                assert!(Instant::now() < deadline, "{bind}");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_listener_on_another_address_does_not_answer() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:11F7 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1\n   \
            1: 0200007F:11F7 00000000:0000 0A 00000000:00000000 00:00000000 00000000     7        0 2 1\n   \
            2: 0100007F:11F7 0100007F:9999 01 00000000:00000000 00:00000000 00000000     8        0 3 1\n";
        assert_eq!(parse(table, "127.0.0.1:4599".parse().unwrap()), [1000]);
        assert_eq!(parse(table, "127.0.0.1:4600".parse().unwrap()), [0_u32; 0]);
    }
}
