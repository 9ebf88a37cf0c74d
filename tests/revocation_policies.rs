//! What a revocation means is chosen at create: for good, for a while, or the end of the keys themselves. And silence of KMS
//! ends nothing, unless the operator sets a limit.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use harness::{Host, Ran, free_address, is_alive, ran, wait_until};

const GONE_DEADLINE: Duration = Duration::from_secs(20);

fn attach(host: &Host, volume: &str, more: &[&str]) -> Ran {
    host.envol(&[&["attach", volume, "--raw", "--probe-interval", "1s", "--confirm-denial", "500ms"], more].concat())
}

/// Attaches, writes, revokes, and waits for the end; the pid is gone then.
fn revoke_attached(host: &Host, volume: &str) {
    attach(host, volume, &[]).expect_code(0);
    let image = fs::File::options().write(true).open(host.image(volume)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&image, b"written before", 0).unwrap();
    image.sync_all().unwrap();
    drop(image);
    let daemon = host.daemon_pid(volume);
    host.disable_key();
    wait_until("the daemon's end", GONE_DEADLINE, || !is_alive(daemon));
}

#[test]
fn a_recoverable_volume_comes_back_with_its_key_within_the_window() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB", "--on-revocation", "recoverable=7d"]);
    revoke_attached(&host, &volume);
    let status = host.status(&volume);
    assert_eq!((&status["state"], &status["cause"]), (&"recoverable".into(), &"key-disabled".into()));
    assert_eq!(status["rds_status"], "inaccessible-encryption-credentials-recoverable");
    let until: jiff::Timestamp = status["recoverable_until"].as_str().unwrap().parse().unwrap();
    let since: jiff::Timestamp = status["since"].as_str().unwrap().parse().unwrap();
    assert_eq!(until.duration_since(since).as_hours(), 7 * 24);

    let refused = attach(&host, &volume, &[]).expect_code(4);
    refused.expect_stderr("DisabledException").expect_stderr("still inaccessible");
    assert_eq!(host.status(&volume)["state"], "recoverable");
    host.enable_key();
    attach(&host, &volume, &[]).expect_code(0);
    assert_eq!(&fs::read(host.image(&volume)).unwrap()[..14], b"written before");
    host.envol(&["detach", &volume]).expect_code(0);
    assert_eq!(host.status(&volume)["state"], "available");
    let events = host.envol(&["events", &volume]).expect_code(0).stdout;
    let order = ["attached", "recoverable", "purged", "recovered", "attached", "detached"];
    let found: Vec<&str> = events
        .lines()
        .filter_map(|line| order.into_iter().find(|event| line.contains(&format!(" {event} "))))
        .collect();
    assert_eq!(found, order, "{events}");
}

#[test]
fn after_its_window_a_recoverable_volume_is_terminal() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB", "--on-revocation", "recoverable=1s"]);
    revoke_attached(&host, &volume);
    host.enable_key();
    wait_until("the end of the window", GONE_DEADLINE, || host.status(&volume)["state"] == "terminal");
    attach(&host, &volume, &[]).expect_code(6);
    let other = host.create(&["--size", "16MiB"]);
    attach(&host, &other, &[]).expect_code(0);
}

#[test]
fn a_policy_that_is_none_is_refused() {
    let host = Host::new();
    for policy in ["recoverable=", "recoverable=0s", "recoverable=7", "never", "erase=1d"] {
        let create =
            ["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/test", "--on-revocation", policy];
        host.envol(&create).expect_code(2).expect_stderr("--on-revocation");
    }
    assert_eq!(host.json(&["list"])["volumes"].as_array().unwrap().len(), 0);
}

/// TLS before the local KMS: openssl's certificate, python's server.
struct Tls {
    process: Child,
    certificate: PathBuf,
    endpoint: String,
}

impl Tls {
    fn before(host: &Host) -> Self {
        const PROXY: &str = "import socket, ssl, sys, threading\n\
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
            context.load_cert_chain(sys.argv[1], sys.argv[2])\n\
            listener = socket.create_server((sys.argv[3], int(sys.argv[4])))\n\
            print('ready', flush=True)\n\
            def copy(a, b):\n    \
                try:\n        \
                    while (data := a.recv(65536)): b.sendall(data)\n    \
                except OSError: pass\n    \
                for end in (a, b):\n        \
                    try: end.shutdown(socket.SHUT_RDWR)\n        \
                    except OSError: pass\n\
            def serve(raw):\n    \
                try:\n        \
                    client = context.wrap_socket(raw, server_side=True)\n        \
                    server = socket.create_connection((sys.argv[5], int(sys.argv[6])))\n    \
                except OSError: return\n    \
                threading.Thread(target=copy, args=(client, server), daemon=True).start()\n    \
                copy(server, client)\n\
            while True:\n    \
                raw, _ = listener.accept()\n    \
                threading.Thread(target=serve, args=(raw,), daemon=True).start()\n";
        let (key, certificate) = (host.root().join("tls.key"), host.root().join("tls.crt"));
        let listen = free_address();
        let mut openssl = host.command("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=localhost", "-addext", &format!("subjectAltName=IP:{}", listen.ip())]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
        let made = openssl.arg(&key).arg("-out").arg(&certificate).stderr(Stdio::null()).status().unwrap();
        assert!(made.success());
        let kms = host.kms_address();
        let mut python = host.command("python3");
        python
            .args(["-c", PROXY])
            .arg(&certificate)
            .arg(&key)
            .args([listen, kms].map(|address| [address.ip().to_string(), address.port().to_string()]).as_flattened());
        let mut process = python.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.take().unwrap()), &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { process, certificate, endpoint: format!("https://{listen}") }
    }

    fn envol(&self, host: &Host, arguments: &[&str]) -> Ran {
        let mut command = host.command(harness::ENVOL);
        command.env("AWS_ENDPOINT_URL_KMS", &self.endpoint).env("SSL_CERT_FILE", &self.certificate);
        ran(&command.arg("--root").arg(host.root()).args(arguments).output().unwrap())
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The wrapped keys in both copies of the header, by docs/format.md.
fn wrapped_keys(image: &Path) -> Vec<Vec<u8>> {
    let image = fs::File::open(image).unwrap();
    let mut found = Vec::new();
    for copy in [0, 512 << 10] {
        for offset in [2304, 2304 + 6144] {
            let mut slot = vec![0; 6144];
            std::os::unix::fs::FileExt::read_exact_at(&image, &mut slot, copy + offset).unwrap();
            found.push(slot);
        }
    }
    found
}

#[test]
fn erase_overwrites_the_keys_when_tls_proves_who_disabled_them() {
    let host = Host::new();
    let tls = Tls::before(&host);
    let volume = host.create(&["--size", "16MiB", "--on-revocation", "erase"]);
    let backing = host.backing(&volume);
    assert!(wrapped_keys(&backing).iter().all(|slot| slot.iter().any(|byte| *byte != 0)));
    tls.envol(&host, &["attach", &volume, "--raw", "--probe-interval", "1s"]).expect_code(0);
    let daemon = host.daemon_pid(&volume);
    host.disable_key();
    wait_until("the daemon's end", GONE_DEADLINE, || !is_alive(daemon));
    assert!(wrapped_keys(&backing).iter().all(|slot| slot.iter().all(|byte| *byte == 0)));
    assert!(host.envol(&["events", &volume]).stdout.contains(" erased "));
    host.enable_key();
    attach(&host, &volume, &[]).expect_code(6);
    assert_eq!(host.status(&volume)["state"], "terminal");
    host.envol(&["inspect", backing.to_str().unwrap()]).expect_code(0);

    // Also when its lifecycle record is taken out.
    let image = fs::File::options().write(true).open(&backing).unwrap();
    for copy in [256 << 10, 768 << 10] {
        std::os::unix::fs::FileExt::write_all_at(&image, &[0; 4096], copy).unwrap();
    }
    attach(&host, &volume, &[]).expect_code(6).expect_stderr("erased");
}

#[test]
fn over_plain_http_or_for_a_denial_nothing_is_erased() {
    let host = Host::new();
    let tls = Tls::before(&host);
    let volume = host.create(&["--size", "16MiB", "--on-revocation", "erase"]);
    revoke_attached(&host, &volume);
    assert_eq!(host.status(&volume)["state"], "terminal");
    assert!(wrapped_keys(&host.backing(&volume)).iter().all(|slot| slot.iter().any(|byte| *byte != 0)));

    host.enable_key();
    let grantee = "arn:aws:iam::111122223333:user/envol-volume";
    let granted =
        ["--size", "16MiB", "--on-revocation", "erase", "--grantee", grantee, "--kms-profile", "envol-volume"];
    let volume = host.create(&granted);
    let quickly = ["--raw", "--probe-interval", "1s", "--confirm-denial", "500ms", "--kms-profile", "envol-volume"];
    tls.envol(&host, &[&["attach", &volume], &quickly[..]].concat()).expect_code(0);
    let (daemon, grant) = (host.daemon_pid(&volume), host.status(&volume)["grant_id"].as_str().unwrap().to_owned());
    host.aws(&["revoke-grant", "--key-id", &host.key_id(), "--grant-id", &grant]).expect_code(0);
    wait_until("the daemon's end", GONE_DEADLINE, || !is_alive(daemon));
    assert_eq!(host.status(&volume)["cause"], "access-denied");
    assert!(wrapped_keys(&host.backing(&volume)).iter().all(|slot| slot.iter().any(|byte| *byte != 0)));
}

#[test]
fn silence_ends_serving_only_where_there_is_a_limit() {
    let host = Host::new();
    let (limited, other) = (host.create(&["--size", "16MiB"]), host.create(&["--size", "16MiB"]));
    attach(&host, &limited, &["--max-unverified", "4s"]).expect_code(0);
    attach(&host, &other, &[]).expect_code(0);
    let daemon = host.daemon_pid(&limited);
    host.stop_kms();
    wait_until("the daemon's end", GONE_DEADLINE, || !is_alive(daemon));
    let status = host.status(&limited);
    assert_eq!(status["state"], "available", "nobody revoked anything: {status}");
    assert!(host.envol(&["events", &limited]).stdout.contains(" stopped "));
    assert!(fs::read(host.image(&limited)).is_err());
    assert_eq!(host.status(&other)["state"], "in-use");
    attach(&host, &limited, &[]).expect_code(5);
    host.start_kms();
    attach(&host, &limited, &[]).expect_code(0);
}

#[test]
fn attach_warns_when_a_revocation_would_be_final() {
    let host = Host::new();
    let (terminal, recoverable) =
        (host.create(&["--size", "16MiB"]), host.create(&["--size", "16MiB", "--on-revocation", "recoverable"]));
    attach(&host, &terminal, &[]).expect_code(0).expect_stderr("no snapshot");
    let quiet = attach(&host, &recoverable, &[]).expect_code(0);
    assert!(!quiet.stderr.contains("no snapshot"), "{}", quiet.stderr);
}
