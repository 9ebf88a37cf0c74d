//! A volume under the local KMS, served as a principal that nothing but the volume's grant allows anything.

use std::path::Path;

use serde_json::{Value, json};

use super::GRANTEE;
use super::harness::{Host, Ran};
use super::served::Served;

pub(crate) struct Drill {
    pub(crate) host: Host,
    pub(crate) volume: String,
    /// A second volume under the same key, never served.
    pub(crate) other: String,
    pub(crate) key: String,
    profile: String,
}

impl Served for Drill {
    fn envol(&self, arguments: &[&str]) -> Ran {
        self.host.envol(arguments)
    }

    fn root(&self) -> &Path {
        self.host.root()
    }

    fn volume(&self) -> &str {
        &self.volume
    }

    fn profile(&self) -> &str {
        &self.profile
    }

    fn disable_key(&self) {
        self.aws(&["disable-key", "--key-id", &self.key]);
    }
}

impl Drill {
    pub(crate) fn new() -> Self {
        Self::on(Host::new())
    }

    pub(crate) fn on(host: Host) -> Self {
        Self::of(host, GRANTEE, "envol-volume")
    }

    /// Under `alias/test` of this host.
    pub(crate) fn of(host: Host, grantee: &str, profile: &str) -> Self {
        let create = || host.create(&["--size", "16MiB", "--grantee", grantee, "--kms-profile", profile]);
        let (volume, other, key) = (create(), create(), host.key_id());
        let drill = Self { host, volume, other, key, profile: profile.to_owned() };
        drill.serve();
        drill
    }

    /// As the administrator; it must succeed.
    pub(crate) fn aws(&self, arguments: &[&str]) -> String {
        self.host.aws(arguments).expect_code(0).stdout.trim().to_owned()
    }

    pub(crate) fn fault(&self, arguments: &[&str]) {
        self.host.envol(&[&["kms", "fault"], arguments].concat()).expect_code(0);
    }

    pub(crate) fn grant_id(&self) -> String {
        self.status()["grant_id"].as_str().unwrap().to_owned()
    }

    /// IAM decides, and the statements besides.
    pub(crate) fn put_key_policy(&self, statements: &[Value]) {
        let iam = json!({
            "Sid": "IAM", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
            "Action": "kms:*", "Resource": "*"
        });
        let statements = [&[iam], statements].concat();
        let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        self.aws(&["put-key-policy", "--key-id", &self.key, "--policy", &policy]);
    }

    /// Whether the key is good again for whoever may use it.
    #[track_caller]
    pub(crate) fn assert_other_can_be_served(&self) {
        self.attach(&self.other).expect_code(0);
    }

    #[track_caller]
    pub(crate) fn assert_other_is_refused(&self) {
        self.attach(&self.other).expect_code(4);
        let status = self.host.status(&self.other);
        assert_eq!(status["state"], "available", "only a volume that is served becomes terminal: {status}");
    }
}
