//! A moto server (<https://docs.getmoto.org>): KMS as somebody else wrote it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::contract::{MOTO, connect, contract, furnish};
use crate::home::alone;

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Killed when dropped.
pub(crate) struct Moto {
    process: Child,
    pub(crate) endpoint: String,
}

impl Moto {
    pub(crate) fn start() -> Self {
        let mut process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs moto_server on the PATH: pip install 'moto[server]'");
        let stderr = process.stderr.take().expect("piped above");
        // From here on dropped, so killed, also when it does not come up.
        let mut moto = Self { process, endpoint: String::new() };
        let (found, endpoint) = mpsc::channel();
        // Reads to the end, or moto would block on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, endpoint)) = line.split_once("Running on ") {
                    let _ = found.send(endpoint.trim().to_owned());
                }
            }
        });
        moto.endpoint = endpoint.recv_timeout(STARTS_WITHIN).expect("moto_server says where it listens");
        moto
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn keeps_the_contract_but_for_what_is_known() {
    let Some(home) = alone("moto::keeps_the_contract_but_for_what_is_known", &[]) else {
        return;
    };
    let moto = Moto::start();
    home.write_profile("admin", &moto.endpoint);
    let peer = furnish("admin", "admin", MOTO).await;
    let kms = connect("admin").await;
    contract(&kms, &kms, peer).await;
}
