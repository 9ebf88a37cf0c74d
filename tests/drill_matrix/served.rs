//! A volume that is served, whichever KMS stands behind it, and what a drill may say of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::DEADLINE;
use super::harness::{Ran, wait_until};

const BLOCK: [u8; 4096] = [0xd7; 4096];

pub(crate) trait Served {
    fn envol(&self, arguments: &[&str]) -> Ran;
    fn root(&self) -> &Path;
    fn volume(&self) -> &str;
    /// The volume service's, with whose credentials it is probed.
    fn profile(&self) -> &str;
    /// The positive control of every row that rides through.
    fn disable_key(&self);

    /// With quick probes, and one block on it.
    fn serve(&self) {
        self.attach(self.volume()).expect_code(0);
        let block = self.root().join("block");
        fs::write(&block, BLOCK).unwrap();
        let image = self.image();
        let mut write = Command::new("dd");
        write.arg(format!("if={}", block.display())).arg(format!("of={image}"));
        write.args(["bs=4096", "oflag=direct", "conv=notrunc,fsync", "status=none"]);
        assert!(write.status().unwrap().success());
        self.assert_served();
    }

    fn attach(&self, volume: &str) -> Ran {
        let quickly = ["--probe-interval", "1s", "--confirm-denial", "500ms"];
        self.envol(&[&["attach", volume, "--raw", "--kms-profile", self.profile()], &quickly[..]].concat())
    }

    fn image(&self) -> String {
        self.root().join("volumes").join(self.volume()).join("attach/image").to_str().unwrap().to_owned()
    }

    fn status(&self) -> Value {
        let ran = self.envol(&["--json", "status", self.volume()]).expect_code(0);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Past the page cache: the daemon itself reads and deciphers it.
    fn block(&self) -> Option<Vec<u8>> {
        let image = format!("if={}", self.image());
        let read =
            Command::new("dd").args([&image, "bs=4096", "count=1", "iflag=direct", "status=none"]).output().unwrap();
        read.status.success().then_some(read.stdout)
    }

    #[track_caller]
    fn assert_served(&self) {
        let status = self.status();
        assert_eq!(status["state"], "in-use", "{status}");
        assert_eq!(self.block().as_deref(), Some(&BLOCK[..]), "the image cannot be read; {status}");
    }

    /// Until probes that began after now said yes: the one under way may have been answered before.
    #[track_caller]
    fn wait_for_two_probes(&self) {
        let verified_at = || self.status()["verified_at"].as_str().unwrap_or_default().to_owned();
        for _ in 0..2 {
            let before = verified_at();
            wait_until("a probe", DEADLINE, || verified_at() > before);
        }
    }

    /// Until a probe met the fault: `error` is in its words.
    #[track_caller]
    fn wait_for_unverified(&self, error: &str) {
        let mut last = Value::Null;
        wait_until(&format!("a probe that fails with {error:?}"), DEADLINE, || {
            last = self.status();
            assert_eq!(last["state"], "in-use", "{last}");
            last["unverified_s"].as_u64().unwrap_or(0) > 0
                && last["last_kms_error"].as_str().is_some_and(|seen| seen.contains(error))
        });
    }

    #[track_caller]
    fn wait_for_verified(&self) {
        wait_until("verified", DEADLINE, || {
            let status = self.status();
            status["unverified_s"] == 0 && status["last_kms_error"].is_null()
        });
    }

    #[track_caller]
    fn wait_for_terminal(&self, cause: &str) {
        let mut last = Value::Null;
        wait_until(&format!("terminal for {cause}"), DEADLINE, || {
            last = self.status();
            // The daemon says the cause at once, the record says the rest.
            last["state"] == "terminal" && last["detail"].is_string()
        });
        assert_eq!(last["cause"], cause, "{last}");
        assert!(last["since"].is_string(), "{last}");
        self.assert_terminal();
    }

    #[track_caller]
    fn assert_terminal(&self) {
        self.attach(self.volume()).expect_code(6).expect_stderr("terminal").expect_stderr(self.volume());
        assert_eq!(self.block(), None);
    }
}

/// What is done to a volume that is served, what its probes then say, and how it is undone.
pub(crate) struct Trouble<'a, S> {
    pub(crate) begins: &'a dyn Fn(&S),
    pub(crate) error: &'a str,
    pub(crate) ends: &'a dyn Fn(&S),
}

impl<S: Served> Trouble<'_, S> {
    /// The volume is served on, unverified; and when it is over, the owner's word counts.
    #[track_caller]
    pub(crate) fn is_ridden_through_by(&self, served: &S) {
        served.assert_served();
        (self.begins)(served);
        served.wait_for_unverified(self.error);
        served.assert_served();
        (self.ends)(served);
        served.wait_for_verified();
        served.assert_served();
        served.disable_key();
        served.wait_for_terminal("key-disabled");
    }
}
