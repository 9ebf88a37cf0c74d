//! A real S3 server of its own for a test: SeaweedFS, with one bucket and one identity, ended with the test.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutMode, RetryConfig};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Host, free_address};

pub const BUCKET: &str = "snapshots";
/// Also of the local KMS, which is told no other.
pub const REGION: &str = "us-east-1";
/// Of a user who has nothing to do with the KMS.
pub const KEY_ID: &str = "AKIAOFTHESTOREALONE0";
pub const SECRET: &str = "the-secret-of-the-store-alone";

const STARTUP: Duration = Duration::from_secs(20);

/// Every part of it listens, and each is told where: the ports that it would choose may be another test's.
const PARTS: [&str; 10] = [
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
];

pub struct Seaweed {
    /// The access key that the KMS of the host knows as its administrator's.
    pub admin: (String, String),
    address: SocketAddrV4,
    objects: AmazonS3,
    runtime: Runtime,
    server: Server,
    _dir: TempDir,
}

/// Ended when it goes.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // What it has is thrown away.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Seaweed {
    /// Its identity has two access keys: one of its own, and the one that `host`'s administrator has at the KMS, so that
    /// the same AWS variables reach both, as they do on AWS.
    pub fn start(host: &Host) -> Self {
        let dir = tempfile::Builder::new().prefix("envol-seaweed-").tempdir().expect("a temporary directory");
        let admin = admin_key(host);
        let identity = serde_json::json!({ "identities": [{
            "name": "snapshots",
            "credentials": [
                { "accessKey": KEY_ID, "secretKey": SECRET },
                { "accessKey": admin.0, "secretKey": admin.1 },
            ],
            "actions": ["Admin"],
        }]});
        fs::write(dir.path().join("s3.json"), identity.to_string()).expect("s3.json");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let addresses = PARTS.map(|_| free_address());
        let address = addresses[0];
        let objects = client(address);
        let mut server = Server(spawn(dir.path(), &addresses));
        let until = Instant::now() + STARTUP;
        while Instant::now() < until && server.0.try_wait().expect("a child").is_none() {
            if runtime.block_on(objects.list(None).try_collect::<Vec<_>>()).is_ok() {
                return Self { admin, address, objects, runtime, server, _dir: dir };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("the S3 server does not start:\n{log}");
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// SIGSTOP and SIGCONT: the kernel still takes connections for it.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.server.0), signal).expect("it lives");
    }

    /// Name and length of every object whose name begins with the prefix and a slash.
    pub fn objects(&self, prefix: &str) -> Vec<(String, u64)> {
        let listed = self.objects.list(Some(&ObjectPath::from(prefix))).try_collect::<Vec<_>>();
        let listed = self.runtime.block_on(listed).expect("a listing");
        let mut found: Vec<_> = listed.into_iter().map(|object| (object.location.to_string(), object.size)).collect();
        found.sort();
        found
    }

    pub fn get(&self, name: &str) -> Vec<u8> {
        let read = async { self.objects.get(&ObjectPath::from(name)).await?.bytes().await };
        self.runtime.block_on(read).expect("an object").to_vec()
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = ObjectPath::from(name);
        let put = self.objects.put(&path, bytes.to_vec().into());
        self.runtime.block_on(put).expect("a put");
    }

    pub fn remove(&self, name: &str) {
        self.runtime.block_on(self.objects.delete(&ObjectPath::from(name))).expect("a delete");
    }

    /// All at the same time, and only if there is no such object; how many were told that theirs is there.
    pub fn create_at_once(&self, name: &str, contents: &[Vec<u8>]) -> usize {
        let path = ObjectPath::from(name);
        let puts =
            contents.iter().map(|content| self.objects.put_opts(&path, content.clone().into(), PutMode::Create.into()));
        let results = self.runtime.block_on(futures_util::future::join_all(puts));
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
        }
        results.iter().filter(|result| result.is_ok()).count()
    }
}

fn spawn(dir: &Path, addresses: &[SocketAddrV4]) -> Child {
    let log = fs::File::create(dir.join("log")).expect("a log");
    let mut command = Command::new("weed");
    command.arg("-logtostderr=true").arg("mini").arg(format!("-dir={}", dir.display()));
    command.arg(format!("-s3.config={}", dir.join("s3.json").display())).arg(format!("-bucket={BUCKET}"));
    for part in ["s3", "filer"] {
        command.arg(format!("-{part}.localSocket={}", dir.join(part).display()));
    }
    let ip = addresses[0].ip();
    command.arg(format!("-ip={ip}")).arg(format!("-ip.bind={ip}"));
    command.args(["-webdav=false", "-admin.ui=false", "-s3.autoCreateBucket=false"]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.preStopSeconds=0"]);
    command.args(PARTS.iter().zip(addresses).map(|(part, address)| format!("-{part}={}", address.port())));
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.spawn().expect("weed is not installed; scripts/test.sh installs it")
}

fn client(address: SocketAddrV4) -> AmazonS3 {
    let client = AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_region(REGION)
        .with_endpoint(format!("http://{address}"))
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(RetryConfig { max_retries: 0, ..Default::default() })
        .with_access_key_id(KEY_ID)
        .with_secret_access_key(SECRET);
    client.build().expect("a client")
}

fn admin_key(host: &Host) -> (String, String) {
    let file = host.variable("AWS_SHARED_CREDENTIALS_FILE");
    let text = fs::read_to_string(file).expect("the profiles of the local KMS");
    let (_, section) = text.split_once("[envol-admin]").expect("the administrator");
    let value = |name: &str| {
        let line = section.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
        line.expect(name).trim().to_owned()
    };
    (value("aws_access_key_id"), value("aws_secret_access_key"))
}
