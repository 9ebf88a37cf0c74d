//! A wire to a server that can be looked at, and cut.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::hostile::Hostile;

/// Listens on a port of its own, and hands everything on.
pub struct Wire {
    address: std::net::SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    ended: AtomicBool,
    to_server: AtomicU64,
    cuts_left: AtomicU64,
    access_keys: Mutex<BTreeSet<String>>,
    connections: Mutex<Vec<TcpStream>>,
    hostile: Mutex<Option<Hostile>>,
    honest_left: AtomicU64,
    most_taken: AtomicU64,
}

/// Of a connection that is to be cut, so much goes through.
const BEFORE_A_CUT: u64 = 8 << 20;

impl Wire {
    pub fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let of_thread = Arc::clone(&seen);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if of_thread.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (server, seen) = (server.clone(), Arc::clone(&of_thread));
                thread::spawn(move || carry(&connection, &server, &seen));
            }
        });
        Self { address, seen }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn bytes_to_server(&self) -> u64 {
        self.seen.to_server.load(Ordering::Relaxed)
    }

    /// Whoever signed a request.
    pub fn access_keys(&self) -> Vec<String> {
        self.seen.access_keys.lock().expect("not poisoned").iter().cloned().collect()
    }

    /// From now on nobody answers.
    pub fn close(&self) {
        self.seen.ended.store(true, Ordering::Relaxed);
        // So that it looks, and listens no more.
        let _ = TcpStream::connect(self.address);
        for connection in self.seen.connections.lock().expect("not poisoned").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// From now on, but for the next so many, every connection gets this for an answer, and the server hears nothing; `None`: as
    /// before.
    pub fn answer_with(&self, hostile: Option<Hostile>, after: u64) {
        *self.seen.hostile.lock().expect("not poisoned") = hostile;
        self.seen.honest_left.store(after, Ordering::Relaxed);
        self.seen.most_taken.store(0, Ordering::Relaxed);
    }

    /// The most that anybody took of one such answer.
    pub fn most_taken(&self) -> u64 {
        self.seen.most_taken.load(Ordering::Relaxed)
    }

    /// The next so many connections that carry much are cut on the way.
    pub fn cut(&self, times: u64) {
        self.seen.cuts_left.store(times, Ordering::Relaxed);
    }

    pub fn cuts_left(&self) -> u64 {
        self.seen.cuts_left.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.close();
    }
}

fn carry(mut client: &TcpStream, server: &str, seen: &Seen) {
    let hostile = *seen.hostile.lock().expect("not poisoned");
    let one_less = |left: u64| left.checked_sub(1);
    let honest = || seen.honest_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
    if let Some(hostile) = hostile
        && !honest()
    {
        // A request of few headers and no body, or the begin of one.
        if matches!(client.read(&mut [0; 16 << 10]), Ok(1..)) {
            seen.most_taken.fetch_max(hostile.say(client), Ordering::Relaxed);
        }
        return;
    }
    let Ok(server) = TcpStream::connect(server) else { return };
    let (Ok(from_server), Ok(to_client)) = (server.try_clone(), client.try_clone()) else { return };
    seen.connections.lock().expect("not poisoned").extend(client.try_clone());
    let back = thread::spawn(move || {
        let (mut from_server, mut to_client) = (from_server, to_client);
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    forward(client, &server, seen);
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
    let _ = back.join();
}

fn forward(mut client: &TcpStream, mut server: &TcpStream, seen: &Seen) {
    let mut buffer = vec![0; 64 << 10];
    let mut carried = 0;
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        seen.note_access_key(&buffer[..read]);
        seen.to_server.fetch_add(read as u64, Ordering::Relaxed);
        carried += read as u64;
        if carried > BEFORE_A_CUT {
            let one_less = |left: u64| left.checked_sub(1);
            if seen.cuts_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                return;
            }
            carried = 0;
        }
        if server.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

impl Seen {
    /// `Authorization: AWS4-HMAC-SHA256 Credential=KEY/…`, in the beginning of a request.
    fn note_access_key(&self, bytes: &[u8]) {
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
        if let Some((_, rest)) = head.split_once("Credential=")
            && let Some((key, _)) = rest.split_once('/')
        {
            self.access_keys.lock().expect("not poisoned").insert(key.to_owned());
        }
    }
}
