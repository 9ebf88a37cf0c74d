//! The wire: shapes of answers and refusals, and which requests are not believed.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod support;

use std::io::{Read, Write};
use std::time::{Duration, SystemTime};

use local_kms::{InitOptions, init};
use serde_json::json;
use support::Server;
use support::http::{Client, connect, exchange, read_answer};
use tempfile::TempDir;

fn started() -> (TempDir, Server, Client) {
    let dir = TempDir::new().unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    let server = Server::start(dir.path());
    let client = Client::admin(dir.path(), server.address);
    (dir, server, client)
}

fn audit(dir: &TempDir) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_answer_is_aws_json_with_a_request_id_that_the_audit_log_knows() {
    let (dir, _server, client) = started();
    let answer = client.call("CreateKey", &json!({}));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-amz-json-1.1")));
    let request_id = answer.header("x-amzn-requestid").unwrap();
    assert_eq!(audit(&dir).last().unwrap()["requestID"], request_id);
    let key = answer.json()["KeyMetadata"]["KeyId"].clone();
    let disabled = client.call("DisableKey", &json!({ "KeyId": key }));
    assert_eq!((disabled.status, disabled.body.as_slice()), (200, b"{}".as_slice()));
}

#[test]
fn a_refusal_has_a_type_and_the_message_if_there_is_one() {
    let (_dir, _server, client) = started();
    let answer = client.call("DescribeKey", &json!({ "KeyId": "fake-key-id" }));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), Some("application/x-amz-json-1.1"));
    assert!(answer.header("x-amzn-requestid").is_some());
    assert_eq!(answer.json(), json!({ "__type": "NotFoundException", "message": "Invalid keyId 'fake-key-id'" }));
    let answer = client.call("Decrypt", &json!({ "CiphertextBlob": "AAAA" }));
    assert_eq!((answer.status, answer.json()), (400, json!({ "__type": "InvalidCiphertextException" })));
    let answer = client.call("GetPublicKey", &json!({}));
    assert_eq!((answer.status, answer.json()), (400, json!({ "__type": "UnknownOperationException" })));
}

#[test]
fn requests_that_are_not_believed_are_refused_and_not_recorded() {
    let (dir, _server, client) = started();
    client.ok("ListKeys", &json!({}));
    let records = audit(&dir).len();
    let address = client.address;
    let with = |change: fn(&mut Client)| {
        let mut client = Client::admin(dir.path(), address);
        change(&mut client);
        client.call("ListKeys", &json!({})).refusal()
    };
    let invalid = (400, "InvalidSignatureException".to_owned());
    assert_eq!(with(|client| client.secret_access_key.push('x')), invalid);
    assert_eq!(with(|client| client.at = SystemTime::now() - Duration::from_secs(360)), invalid);
    assert_eq!(with(|client| client.at = SystemTime::now() + Duration::from_secs(360)), invalid);
    let unknown = with(|client| client.access_key_id = "AKIAAAAAAAAAAAAAAAAA".into());
    assert_eq!(unknown, (400, "UnrecognizedClientException".into()));

    let head = client.signed_head("ListKeys", b"{ }");
    let altered = exchange(address, format!("{head}{{\t}}").as_bytes());
    assert_eq!(altered.refusal(), invalid);
    let unsigned = format!("POST / HTTP/1.1\r\nhost: {address}\r\nx-amz-target: TrentService.ListKeys\r\n");
    let ending = "content-length: 2\r\nconnection: close\r\n\r\n{}";
    let missing = exchange(address, format!("{unsigned}{ending}").as_bytes());
    assert_eq!(missing.refusal(), (400, "MissingAuthenticationTokenException".into()));
    let malformed = exchange(address, format!("{unsigned}authorization: Basic eDp5\r\n{ending}").as_bytes());
    assert_eq!(malformed.refusal(), (400, "IncompleteSignatureException".into()));

    assert_eq!(audit(&dir).len(), records);
}

#[test]
fn a_signature_is_for_one_operation_and_path() {
    let (_dir, _server, client) = started();
    let head = client.signed_head("ListKeys", b"{}");
    let send = |head: &str| exchange(client.address, format!("{head}{{}}").as_bytes());
    assert_eq!(send(&head).status, 200);
    let moved = head.replace("TrentService.ListKeys", "TrentService.CreateKey");
    assert_eq!(send(&moved).refusal(), (400, "InvalidSignatureException".into()));
    for (from, to) in [("POST / ", "POST /keys "), ("POST / ", "POST /?a=b "), ("POST / ", "GET / ")] {
        assert_eq!(send(&head.replace(from, to)).refusal(), (400, "UnknownOperationException".into()), "{to}");
    }
}

#[test]
fn a_body_beyond_a_mebibyte_is_refused_and_the_server_goes_on() {
    let (_dir, _server, client) = started();
    let answer = client.call("GenerateRandom", &json!({ "NumberOfBytes": 8, "Padding": "x".repeat(1 << 20) }));
    assert_eq!(answer.refusal(), (413, "RequestEntityTooLargeException".into()));
    client.ok("GenerateRandom", &json!({ "NumberOfBytes": 8, "Padding": "x".repeat((1 << 20) - 100) }));
}

#[test]
fn a_stop_answers_what_is_in_flight_and_does_not_wait_for_idle_connections() {
    let (_dir, mut server, client) = started();
    let mut idle = connect(client.address);
    let head = client.signed_head("GenerateRandom", br#"{"NumberOfBytes":8}"#).replace("connection: close\r\n", "");
    idle.write_all(format!("{head}{{\"NumberOfBytes\":8}}").as_bytes()).unwrap();
    wait_for_answer(&idle);

    let body = br#"{"NumberOfBytes":16}"#;
    let mut in_flight = connect(client.address);
    let head = client.signed_head("GenerateRandom", body).replacen("\r\n", "\r\nexpect: 100-continue\r\n", 1);
    in_flight.write_all(head.as_bytes()).unwrap();
    // The server asks for the body: it is busy with the request.
    let mut interim = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    in_flight.read_exact(&mut interim).unwrap();
    server.ask_to_stop();
    read_answer(&mut idle);
    in_flight.write_all(body).unwrap();
    assert_eq!(read_answer(&mut in_flight).status, 200);
    server.stop().unwrap();
}

/// Until the first byte of the answer is there; it is not consumed.
fn wait_for_answer(stream: &std::net::TcpStream) {
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
}

#[test]
fn concurrent_calls_are_all_answered_and_recorded_whole() {
    let (dir, _server, client) = started();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5).for_each(|_| drop(client.ok("CreateKey", &json!({})))));
        }
    });
    assert_eq!(client.ok("ListKeys", &json!({}))["Keys"].as_array().unwrap().len(), 40);
    assert_eq!(audit(&dir).iter().filter(|record| record["eventName"] == "CreateKey").count(), 40);
}
