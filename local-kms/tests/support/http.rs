//! HTTP by hand, and AWS's own signer: what a client library would hide from a test stays visible.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// Status and `__type`.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["__type"].as_str().unwrap().to_owned())
    }
}

/// A user of the server, as its credentials file names them.
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) at: SystemTime,
}

impl Client {
    pub(crate) fn admin(dir: &Path, address: SocketAddr) -> Self {
        Self::named(dir, address, "envol-admin")
    }

    pub(crate) fn named(dir: &Path, address: SocketAddr, profile: &str) -> Self {
        let text = std::fs::read_to_string(dir.join("aws/credentials")).unwrap();
        let section = text.split(&format!("[{profile}]")).nth(1).unwrap();
        let value = |name: &str| {
            let line = section.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(" = ").to_owned()
        };
        Self {
            address,
            access_key_id: value("aws_access_key_id"),
            secret_access_key: value("aws_secret_access_key"),
            at: SystemTime::now(),
        }
    }

    /// The head of a signed request, up to the body.
    pub(crate) fn signed_head(&self, operation: &str, body: &[u8]) -> String {
        let host = self.address.to_string();
        let target = format!("TrentService.{operation}");
        let headers =
            [("host", host.as_str()), ("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)];
        let identity =
            Credentials::new(self.access_key_id.as_str(), self.secret_access_key.as_str(), None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("kms")
            .time(self.at)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let request =
            SignableRequest::new("POST", format!("http://{host}/"), headers.into_iter(), SignableBody::Bytes(body));
        let (instructions, _) = sign(request.unwrap(), &params).unwrap().into_parts();
        let mut head = "POST / HTTP/1.1\r\n".to_owned();
        let (added, _) = instructions.into_parts();
        let added: Vec<_> = added.iter().map(|header| (header.name(), header.value())).collect();
        for (name, value) in headers.into_iter().chain(added) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + &format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len())
    }

    pub(crate) fn call(&self, operation: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let head = self.signed_head(operation, body.as_bytes());
        exchange(self.address, &[head.as_bytes(), body.as_bytes()].concat())
    }

    pub(crate) fn ok(&self, operation: &str, body: &Value) -> Value {
        let answer = self.call(operation, body);
        assert_eq!(answer.status, 200, "{operation}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a whole request and reads until the server closes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    read_answer(&mut stream)
}

pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("an HTTP answer");
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: received[end + 4..].to_vec() }
}
