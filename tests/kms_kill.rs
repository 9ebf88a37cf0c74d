//! kill -9 of the local KMS at random moments under load, a hundred times: what it acknowledged is there, so is the audit
//! record of each acknowledged call, and the state opens.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod harness;
#[path = "../local-kms/tests/support/http.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod http;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use harness::Host;
use http::Client;
use serde_json::{Value, json};

const KILLS: usize = 100;
const WRITERS: usize = 4;
/// The kill comes at a random moment within.
const LOAD_MS: u64 = 150;
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";

/// What must be there: for each thing its acknowledged value, and the one that was asked for when no answer came.
#[derive(Default)]
struct Expected {
    values: BTreeMap<(String, &'static str), Vec<Value>>,
    /// Of acknowledged calls.
    request_ids: Vec<String>,
}

impl Expected {
    /// Whether it was acknowledged; if not, both what was and what was asked for may be.
    fn change(&mut self, client: &Client, thing: (&str, &'static str), value: Value, call: &(&str, Value)) -> bool {
        let thing = (thing.0.to_owned(), thing.1);
        let possible = self.values.entry(thing).or_insert_with(|| vec![Value::Null]);
        possible.push(value);
        let acknowledged = ask(client, call.0, &call.1).inspect(|(id, _)| self.request_ids.push(id.clone())).is_some();
        if acknowledged {
            possible.drain(..possible.len() - 1);
        }
        acknowledged
    }
}

/// Request id and body; `None` when the server is gone.
fn ask(client: &Client, operation: &str, body: &Value) -> Option<(String, Value)> {
    let body = body.to_string();
    let head = client.signed_head(operation, body.as_bytes());
    let received = exchange(client.address, format!("{head}{body}").as_bytes()).ok()?;
    let (head, body) = received.split_once("\r\n\r\n")?;
    let id = head.lines().find_map(|line| line.strip_prefix("x-amzn-requestid: "))?;
    // An answer that was cut off is none.
    let body = serde_json::from_str(body).ok()?;
    assert!(head.starts_with("HTTP/1.1 200"), "{operation}: {body}");
    Some((id.to_owned(), body))
}

fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request)?;
    let mut received = String::new();
    stream.read_to_string(&mut received)?;
    Ok(received)
}

fn policy(turn: usize) -> String {
    json!({
        "Version": "2012-10-17",
        "Id": format!("turn-{turn}"),
        "Statement": [{
            "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" }, "Action": "kms:*", "Resource": "*",
        }],
    })
    .to_string()
}

/// Changes keys of its own until the server is gone. Stops at the first call that is not answered.
fn write_until_gone(client: &Client) -> Expected {
    let mut expected = Expected::default();
    for turn in 0.. {
        let Some((id, created)) = ask(client, "CreateKey", &json!({})) else { break };
        expected.request_ids.push(id);
        let key = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let text = policy(turn);
        let tags = json!([{ "TagKey": "turn", "TagValue": turn.to_string() }]);
        let alias = format!("alias/{key}");
        let changes = [
            ("state", json!("Enabled"), ("EnableKey", json!({ "KeyId": key }))),
            ("policy", json!(text), ("PutKeyPolicy", json!({ "KeyId": key, "Policy": text }))),
            ("tags", tags.clone(), ("TagResource", json!({ "KeyId": key, "Tags": tags }))),
            (
                "grants",
                json!(1),
                ("CreateGrant", json!({ "KeyId": key, "GranteePrincipal": GRANTEE, "Operations": ["Decrypt"] })),
            ),
            ("alias", json!(alias), ("CreateAlias", json!({ "AliasName": alias, "TargetKeyId": key }))),
            ("rotations", json!(1), ("RotateKeyOnDemand", json!({ "KeyId": key }))),
            ("state", json!("Disabled"), ("DisableKey", json!({ "KeyId": key }))),
        ];
        for (aspect, value, call) in changes {
            if !expected.change(client, (&key, aspect), value, &call) {
                return expected;
            }
        }
    }
    expected
}

/// What the server says of a thing; null where nothing was done to it.
fn actual(client: &Client, key: &str, aspect: &str) -> Value {
    let of_key = |operation: &str| client.ok(operation, &json!({ "KeyId": key }));
    let or_null = |value: Value, nothing: &Value| if value == *nothing { Value::Null } else { value };
    match aspect {
        "state" => of_key("DescribeKey")["KeyMetadata"]["KeyState"].clone(),
        "policy" => {
            let policy = of_key("GetKeyPolicy")["Policy"].clone();
            if policy.as_str().unwrap().contains("key-default-1") { Value::Null } else { policy }
        }
        "tags" => or_null(of_key("ListResourceTags")["Tags"].clone(), &json!([])),
        "grants" => or_null(json!(of_key("ListGrants")["Grants"].as_array().unwrap().len()), &json!(0)),
        "alias" => {
            of_key("ListAliases")["Aliases"].as_array().unwrap().first().map_or(Value::Null, |a| a["AliasName"].clone())
        }
        "rotations" => or_null(json!(of_key("ListKeyRotations")["Rotations"].as_array().unwrap().len()), &json!(0)),
        other => unreachable!("{other}"),
    }
}

fn missing(client: &Client, expected: &Expected) -> Vec<String> {
    let mut missing = Vec::new();
    for ((key, aspect), possible) in &expected.values {
        let actual = actual(client, key, aspect);
        // A key begins enabled.
        let possible_null = *aspect == "state" && possible.contains(&Value::Null) && actual == "Enabled";
        if !possible.contains(&actual) && !possible_null {
            missing.push(format!("{aspect} of {key}: {actual} is none of {possible:?}"));
        }
    }
    missing
}

/// Reads what was appended to the audit log since the last time.
struct AuditTail {
    path: PathBuf,
    read: u64,
    request_ids: HashSet<String>,
}

impl AuditTail {
    fn read_on(&mut self) {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            self.read += line.len() as u64;
            // A torn line is of a call that was not acknowledged.
            let record: Value = serde_json::from_str(&line).unwrap_or_default();
            self.request_ids.extend(record["requestID"].as_str().map(str::to_owned));
            line.clear();
        }
    }
}

fn random_below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % limit
}

#[test]
fn what_was_acknowledged_survives_a_hundred_kills_at_random_moments() {
    let host = Host::new();
    let address = SocketAddr::V4(host.kms_address());
    let dir = host.root().join("kms");
    let client = || Client::admin(&dir, address);
    let mut audit = AuditTail { path: dir.join("audit.jsonl"), read: 0, request_ids: HashSet::new() };
    let (mut changes, mut acknowledged, mut some) = (0, 0, None);
    for kill in 0..KILLS {
        let writers: Vec<Expected> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| write_until_gone(&client()))).collect();
            // Not a wait for anything: the random moment itself.
            std::thread::sleep(Duration::from_millis(random_below(LOAD_MS)));
            host.stop_kms();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        host.start_kms();
        audit.read_on();
        let client = client();
        for expected in writers {
            assert_eq!(missing(&client, &expected), Vec::<String>::new(), "after kill {kill}");
            for id in &expected.request_ids {
                assert!(audit.request_ids.contains(id), "no audit record of {id} after kill {kill}");
            }
            changes += expected.values.len();
            acknowledged += expected.request_ids.len();
            some = expected.values.into_iter().next().or(some);
        }
    }
    eprintln!("{KILLS} kills, {changes} things checked, {acknowledged} acknowledged calls in the audit log");
    assert!(acknowledged > KILLS * WRITERS, "hardly anything was written: {acknowledged}");

    // The check sees a loss.
    let ((key, _), _) = some.unwrap();
    for (aspect, value) in [("state", json!("PendingDeletion")), ("policy", json!("x")), ("grants", json!(7))] {
        let values = [((key.clone(), aspect), vec![value])].into();
        assert_eq!(missing(&client(), &Expected { values, ..Expected::default() }).len(), 1, "{aspect}");
    }
    assert!(!audit.request_ids.contains("a-request-that-was-not-made"));
}
