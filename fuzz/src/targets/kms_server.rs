//! Whole requests to a local KMS: signed by its administrator, so that they reach the operations; and heads that nobody, or
//! anybody, has signed.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use local_kms::admin::{self, Request as Order};
use local_kms::{Clock, InitOptions, Kms, Received, answer, init};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Then a new one: what the requests made must not pile up.
const RUNS: u32 = 2000;
const REGION: &str = "us-east-1";

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// A KMS with a key, and what its clients hold of it.
struct Server {
    kms: Kms,
    _directory: TempDir,
    now: Timestamp,
    access_key_id: String,
    secret: String,
    /// What stands for something in an input, and for what: it is random, and an input must not be.
    names: Vec<(&'static str, String)>,
    runs: u32,
}

fn with_server(act: impl FnOnce(&mut Server)) {
    SERVER.with_borrow_mut(|server| {
        if server.as_ref().is_none_or(|server| server.runs >= RUNS) {
            // The old one first: it has its files open.
            *server = None;
        }
        let server = server.get_or_insert_with(Server::new);
        server.runs += 1;
        act(server);
    });
}

impl Server {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        init(directory.path(), &InitOptions::default()).expect("a KMS");
        let now = Timestamp::now();
        let kms = Kms::open(directory.path(), Clock::from_fn(move || now)).expect("it opens");
        let credentials = fs::read_to_string(directory.path().join("aws/credentials")).expect("its profiles");
        let section = credentials.split("[envol-admin]").nth(1).expect("the administrator's");
        let value = |name: &str| {
            let line = section.lines().find_map(|line| line.strip_prefix(name)).expect("it has both");
            line.trim_start_matches(" = ").to_owned()
        };
        let (access_key_id, secret) = (value("aws_access_key_id"), value("aws_secret_access_key"));
        let mut server = Self { kms, _directory: directory, now, access_key_id, secret, names: Vec::new(), runs: 0 };
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let made = server.ok("CreateKey", &json!({}));
        let key = text(&made["KeyMetadata"]["KeyId"]);
        server.ok("CreateAlias", &json!({ "AliasName": "alias/k", "TargetKeyId": key }));
        let blob = server.ok("Encrypt", &json!({ "KeyId": key, "Plaintext": "AAAA" }));
        let grantee = "arn:aws:iam::111122223333:user/envol-volume";
        let grant = json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["Decrypt", "CreateGrant"] });
        let grant = server.ok("CreateGrant", &grant);
        let external = server.ok("CreateKey", &json!({ "Origin": "EXTERNAL" }));
        server.names = vec![
            ("@key@", key),
            ("@blob@", text(&blob["CiphertextBlob"])),
            ("@grant@", text(&grant["GrantId"])),
            ("@token@", text(&grant["GrantToken"])),
            ("@external@", text(&external["KeyMetadata"]["KeyId"])),
        ];
        server
    }

    /// What setting up asks for.
    fn ok(&self, operation: &str, body: &Value) -> Value {
        let (status, answer) = self.signed(Some(operation), body.to_string().into_bytes());
        assert_eq!(status, 200, "{operation}: {answer}");
        serde_json::from_str(&answer).expect("JSON")
    }

    fn named(&self, text: &[u8]) -> Vec<u8> {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for (name, value) in &self.names {
            if text.contains(name) {
                text = text.replace(name, value);
            }
        }
        text.into_bytes()
    }

    /// `None` is STS, which has no targets.
    fn signed(&self, operation: Option<&str>, body: Vec<u8>) -> (u16, String) {
        let mut head = vec![("host", "localhost".to_owned()), ("x-amz-date", self.date())];
        head.extend(operation.map(|operation| ("x-amz-target", format!("TrentService.{operation}"))));
        let service = if operation.is_some() { "kms" } else { "sts" };
        let names = head.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let canonical: String = head.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let signature = self.signature(service, &format!("{canonical}\n{names}"), &body);
        let credential = format!("{}/{}", self.access_key_id, self.scope(service));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}");
        head.push(("authorization", authorization));
        let mut request = Request::post("/");
        for (name, value) in &head {
            request = request.header(*name, value);
        }
        let Ok(request) = request.body(()) else { return (400, json!({ "__type": "no header" }).to_string()) };
        self.answered(request, body)
    }

    fn answered(&self, request: Request<()>, body: Vec<u8>) -> (u16, String) {
        let (head, ()) = request.into_parts();
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4599));
        let received = Received { head, body: Bytes::from(body), peer, request_id: "request".to_owned() };
        let answer = answer(&self.kms, &received);
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).expect("an answer is text"))
    }

    fn date(&self) -> String {
        self.now.strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    fn scope(&self, service: &str) -> String {
        format!("{}/{REGION}/{service}/aws4_request", &self.date()[..8])
    }

    /// Signature Version 4 of a `POST /`.
    fn signature(&self, service: &str, headers: &str, body: &[u8]) -> String {
        let canonical = format!("POST\n/\n\n{headers}\n{}", hex(&Sha256::digest(body)));
        let (date, scope) = (self.date(), self.scope(service));
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part.as_bytes());
        }
        hex(&hmac(&key, to_sign.as_bytes()))
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(status: u16, answer: &str) {
    assert!(status == 200 || status == 400, "{status}: {answer}");
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    assert!(status == 200 || answer["__type"].is_string());
}

/// A line with the operation, and the body.
pub(super) fn request(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (operation, body) = (String::from_utf8_lossy(&data[..at]), data.get(at + 1..).unwrap_or_default());
    with_server(|server| {
        let (status, answer) = server.signed(Some(&operation), server.named(body));
        check(status, &answer);
    });
}

/// Who am I, and whom may I be: a form.
pub(super) fn form(data: &[u8]) {
    with_server(|server| {
        let mut body = b"Version=2011-06-15&".to_vec();
        body.extend_from_slice(data);
        let (status, answer) = server.signed(None, body);
        assert!(matches!(status, 200 | 400 | 403), "{status}: {answer}");
        // What is no text is no form, and the KMS says so in its own way.
        let end = if std::str::from_utf8(data).is_ok() { '>' } else { '}' };
        assert!(answer.ends_with(end), "{answer}");
    });
}

/// A line with method and path, lines of headers, an empty line, and the body.
pub(super) fn head(data: &[u8]) {
    let end = data.windows(2).position(|end| end == b"\n\n").unwrap_or(data.len());
    let body = data.get(end + 2..).unwrap_or_default().to_vec();
    with_server(|server| {
        let text = String::from_utf8_lossy(&data[..end]);
        let mut lines = text.lines();
        let mut first = lines.next().unwrap_or_default().split(' ');
        let mut request =
            Request::builder().method(first.next().unwrap_or_default()).uri(first.next().unwrap_or_default());
        let mut canonical = String::new();
        let mut signed = false;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let mut value = value.replace("@id@", &server.access_key_id).replace("@date@", &server.date());
            value = value.replace("@day@", &server.date()[..8]);
            if value.contains("@signature@") {
                // Right if every header before it is one that it signs.
                let names = value.split_once("SignedHeaders=").map_or("", |(_, rest)| rest);
                let names = names.split(',').next().unwrap_or_default();
                let signature = server.signature("kms", &format!("{canonical}\n{names}"), &body);
                value = value.replace("@signature@", &signature);
                signed = true;
            }
            let value = value.trim();
            canonical.push_str(&format!("{name}:{value}\n"));
            let header = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()));
            let (Ok(name), Ok(value)) = header else { continue };
            request = request.header(name, value);
        }
        let Ok(request) = request.body(()) else { return };
        let (status, answer) = server.answered(request, body);
        assert!(matches!(status, 200 | 400 | 403), "{status}: {answer}");
        assert!(signed || status != 200, "nobody signed this: {answer}");
    });
}

/// An order of the administrator of the machine, of whom there is one: afterwards all is as it was.
pub(super) fn order(data: &[u8]) {
    let Ok(order) = serde_json::from_slice::<Order>(data) else { return };
    let lasting =
        matches!(order, Order::CreatePrincipal { .. } | Order::DeletePrincipal { .. } | Order::AttachPolicy { .. });
    with_server(|server| {
        let _ = admin::handle(&server.kms, &order);
        let _ = server.signed(Some("ListKeys"), b"{}".to_vec());
        admin::handle(&server.kms, &Order::ClearFaults).expect("faults end");
        if lasting {
            server.runs += RUNS / 20;
        }
    });
}
