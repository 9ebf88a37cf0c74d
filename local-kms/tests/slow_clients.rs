//! Slow, broken and idle clients, and the others, who do not notice.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use local_kms::{InitOptions, init};
use serde_json::json;
use support::Server;
use support::http::{Client, connect, exchange};
use tempfile::TempDir;

/// More than the usual limit of descriptors.
const SLOW_CLIENTS: usize = 1500;
/// For an answer that takes a millisecond when nothing is wrong.
const DEADLINE: Duration = Duration::from_secs(5);

fn started() -> (TempDir, Server, Client) {
    let dir = TempDir::new().unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    let server = Server::start(dir.path());
    let client = Client::admin(dir.path(), server.address);
    client.ok("ListKeys", &json!({}));
    (dir, server, client)
}

fn assert_served(client: &Client) {
    let asked = Instant::now();
    client.ok("ListKeys", &json!({}));
    assert!(asked.elapsed() < DEADLINE, "an answer took {:?}", asked.elapsed());
}

#[test]
fn clients_that_trickle_do_not_keep_others_from_an_answer() {
    let (_dir, _server, client) = started();
    let head = client.signed_head("ListKeys", b"{}");
    let slow: Vec<TcpStream> = (0..SLOW_CLIENTS)
        .map(|number| {
            let mut stream = connect(client.address);
            // Some say nothing, some stop in the head, some in the body.
            let part = [&b""[..], &head.as_bytes()[..40], &[head.as_bytes(), b"{"].concat()][number % 3].to_vec();
            stream.write_all(&part).unwrap();
            stream
        })
        .collect();
    assert_served(&client);
    drop(slow);
    assert_served(&client);
}

#[test]
fn large_bodies_that_trickle_keep_large_ones_waiting_and_no_small_one() {
    let (_dir, _server, client) = started();
    let body = format!("{{{}}}", " ".repeat(100_000));
    let head = client.signed_head("ListKeys", body.as_bytes());
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(client.address);
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_served(&client);
    drop(slow);
    assert_eq!(exchange(client.address, format!("{head}{body}").as_bytes()).status, 200);
}

#[test]
fn clients_that_speak_nonsense_or_vanish_do_no_harm() {
    let (_dir, _server, client) = started();
    let head = client.signed_head("CreateKey", b"{}");
    for part in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", head.as_bytes()]
    {
        let mut stream = connect(client.address);
        stream.write_all(part).unwrap();
        drop(stream);
        assert_served(&client);
    }
    assert_eq!(client.ok("ListKeys", &json!({}))["Keys"], json!([]), "half a request was carried out");
}
