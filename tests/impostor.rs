//! A local KMS that is down leaves its port to anybody. Only root and our own user are believed there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::net::SocketAddrV4;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Host, wait_until};

/// Answers every call with `DisabledException`.
const SERVER: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"__type":"DisabledException","message":"it is disabled."}'
        self.send_response(400)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"#;

struct Server(Child);

impl Server {
    fn start(user: &str, address: SocketAddrV4) -> Self {
        let ids = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
        let child = Command::new("setpriv")
            .args(ids)
            .args(["/usr/bin/python3", "-c", SERVER, &address.ip().to_string(), &address.port().to_string()])
            .current_dir("/")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self(child);
        wait_until("the server", Duration::from_secs(10), || std::net::TcpStream::connect(address).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_user_on_the_port_of_the_local_kms_cannot_revoke() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "500ms"]).expect_code(0);
    let address = host.kms_address();
    host.stop_kms();

    let impostor = Server::start("65534", address);
    wait_until("an answer of the impostor", Duration::from_secs(20), || {
        host.status(&volume)["last_kms_error"].as_str().is_some_and(|error| error.contains("DisabledException"))
    });
    assert_eq!(host.status(&volume)["state"], "in-use");
    drop(impostor);

    // The control: the same words from root's process end the volume.
    let _honest = Server::start("0", address);
    wait_until("terminal", Duration::from_secs(20), || host.status(&volume)["state"] == "terminal");
}
