//! How many calls a second the server answers, clients included, with a thousand keys and ten thousand grants: 16
//! clients that keep their connections and sign every request. `cargo bench -p local-kms`, or `scripts/bench.sh kms`.
//!
//! Beside it, in the same rounds, requests that are refused before anything is looked up: what HTTP alone costs here.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench that fails says why")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use local_kms::{InitOptions, init};
use serde_json::{Value, json};
use support::Server;
use support::http::{Client, connect};
use tempfile::TempDir;

const CLIENTS: usize = 16;
const KEYS: usize = 1000;
const GRANTS: usize = 10_000;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";

/// A connection that is used again and again.
struct Connection<'a> {
    client: &'a Client,
    stream: BufReader<TcpStream>,
}

impl<'a> Connection<'a> {
    fn open(client: &'a Client) -> Self {
        Self { client, stream: BufReader::new(connect(client.address)) }
    }

    /// Status and body.
    fn call(&mut self, operation: &str, body: &Value) -> (u16, Vec<u8>) {
        let body = body.to_string();
        let head = self.client.signed_head(operation, body.as_bytes()).replace("connection: close\r\n", "");
        self.exchange(&[head.as_bytes(), body.as_bytes()].concat())
    }

    fn exchange(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.stream.get_mut().write_all(request).unwrap();
        let (mut line, mut status, mut len) = (String::new(), 0, 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let text = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = text.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                len = value.parse().unwrap();
            } else if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).unwrap();
        (status, body)
    }

    fn ok(&mut self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.call(operation, body);
        assert_eq!(status, 200, "{operation}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }
}

fn main() {
    let dir = TempDir::new().unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    let server = Server::start(dir.path());
    let (admin, grantee) =
        (Client::admin(dir.path(), server.address), Client::named(dir.path(), server.address, "envol-volume"));
    let started = Instant::now();
    let blobs = fill(&admin);
    eprintln!("{KEYS} keys and {GRANTS} grants made in {:.0} s", started.elapsed().as_secs_f64());

    let shared = one_key_for_all(&admin);
    let context = json!({ "aws:ebs:id": "vol-1" });
    let decrypt = |blob: &Value| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
    let unsigned = format!(
        "POST / HTTP/1.1\r\nhost: {}\r\nx-amz-target: TrentService.Decrypt\r\ncontent-length: 2\r\n\r\n{{}}",
        server.address
    );
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        rates[0].push(rate(&admin, |connection, _| {
            assert_eq!(connection.exchange(unsigned.as_bytes()).0, 400);
        }));
        rates[1].push(rate(&admin, |connection, turn| drop(connection.ok("Decrypt", &decrypt(&blobs[turn % KEYS])))));
        rates[2].push(rate(&grantee, |connection, turn| drop(connection.ok("Decrypt", &decrypt(&blobs[turn % KEYS])))));
        rates[3].push(rate(&grantee, |connection, turn| drop(connection.ok("Decrypt", &shared[turn % shared.len()]))));
    }
    println!(
        "calls a second, {CLIENTS} keep-alive clients, medians of {ROUNDS} interleaved rounds of {} s",
        ROUND.as_secs()
    );
    let http = median(&rates[0]);
    let names = [
        "refused unsigned (HTTP alone)",
        "Decrypt, allowed by IAM",
        "Decrypt, allowed by a grant",
        "by one of 10,000 on one key",
    ];
    for (name, rates) in names.into_iter().zip(&rates) {
        println!("{name:<32} {:>8.0}   {:.2} of HTTP alone", median(rates), median(rates) / http);
    }
    server.stop().unwrap();
}

/// One key, and as many grants on it as on all the others together, each for a volume. Returns what decrypts the data keys
/// of some of the volumes.
fn one_key_for_all(admin: &Client) -> Vec<Value> {
    let key = Connection::open(admin).ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].clone();
    let next = AtomicUsize::new(0);
    let grant = |connection: &mut Connection, number: usize| {
        let context = json!({ "aws:ebs:id": format!("vol-{number}"), "aws:rds:db-id": "db-1" });
        let request = json!({
            "KeyId": key, "GranteePrincipal": GRANTEE, "Operations": ["Decrypt"],
            "Constraints": { "EncryptionContextSubset": context }, "Name": format!("vol-{number}"),
        });
        connection.ok("CreateGrant", &request);
        number.is_multiple_of(100).then(|| {
            let data_key = json!({ "KeyId": key, "NumberOfBytes": 64, "EncryptionContext": context });
            let blob = connection.ok("GenerateDataKeyWithoutPlaintext", &data_key)["CiphertextBlob"].clone();
            json!({ "CiphertextBlob": blob, "EncryptionContext": context })
        })
    };
    std::thread::scope(|scope| {
        let work = || {
            let mut connection = Connection::open(admin);
            let mut made = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= GRANTS {
                    return made;
                }
                made.extend(grant(&mut connection, number));
            }
        };
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Keys, a data key under each, and the same number of grants on each. Returns the data keys.
fn fill(admin: &Client) -> Vec<Value> {
    let context = json!({ "aws:ebs:id": "vol-1" });
    let one = |connection: &mut Connection| {
        let key = connection.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].clone();
        for number in 0..GRANTS / KEYS {
            let volume = format!("vol-{number}");
            let constraints = json!({ "EncryptionContextSubset": { "aws:ebs:id": volume } });
            let grant = json!({
                "KeyId": key, "GranteePrincipal": GRANTEE, "Operations": ["Decrypt"], "Constraints": constraints,
            });
            connection.ok("CreateGrant", &grant);
        }
        let data_key = json!({ "KeyId": key, "NumberOfBytes": 64, "EncryptionContext": context });
        connection.ok("GenerateDataKeyWithoutPlaintext", &data_key)["CiphertextBlob"].clone()
    };
    let left = AtomicUsize::new(KEYS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(admin);
                    let mut blobs = Vec::new();
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                        blobs.push(one(&mut connection));
                    }
                    blobs
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn rate(client: &Client, call: impl Fn(&mut Connection, usize) + Sync) -> f64 {
    let turns = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(client);
                while started.elapsed() < ROUND {
                    call(&mut connection, turns.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    turns.into_inner() as f64 / started.elapsed().as_secs_f64()
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
