//! Answers that the local KMS does not give, or not when a test wants them, from a KMS that says what it is told to.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::DEADLINE;
use super::harness::hostile::{Hostile, forget_peak, peak_bytes};
use super::harness::scripted_kms::ScriptedKms;
use super::harness::{ENVOL, Ran, ran, wait_until};
use super::served::{Served, Trouble};

struct Scripted {
    root: TempDir,
    kms: ScriptedKms,
    volume: String,
}

impl Served for Scripted {
    fn envol(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(ENVOL);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("AWS_CONFIG_FILE", self.root().join("config"));
        command.env("AWS_SHARED_CREDENTIALS_FILE", self.root().join("credentials"));
        command.env("AWS_PROFILE", "volume").arg("--root").arg(self.root()).args(arguments);
        ran(&command.output().unwrap())
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    fn volume(&self) -> &str {
        &self.volume
    }

    fn profile(&self) -> &'static str {
        "volume"
    }

    fn disable_key(&self) {
        self.kms.refuse("Decrypt", "DisabledException");
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = self.envol(&["detach", &self.volume, "--force"]);
    }
}

impl Scripted {
    fn new() -> Self {
        let kms = ScriptedKms::start();
        // An attached volume has its name on the whole host.
        let volume = format!("vol-drill-{}", kms.address.port());
        let scripted = Self { root: TempDir::new().unwrap(), kms, volume };
        scripted.use_endpoint(&scripted.kms.address.to_string());
        let create = ["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/orders"];
        scripted.envol(&[&create[..], &["--id", &scripted.volume]].concat()).expect_code(0);
        scripted.serve();
        scripted
    }

    fn use_endpoint(&self, authority: &str) {
        let profile = format!(
            "[profile volume]\nregion = us-east-1\nendpoint_url = http://{authority}\naws_access_key_id = VOLUME\n\
             aws_secret_access_key = secret\n"
        );
        fs::write(self.root().join("config"), profile).unwrap();
    }

    /// The key is in this state, and refuses for that.
    fn refuse_in_state(&self, state: &'static str) {
        self.kms.describe_as(state);
        self.kms.refuse("Decrypt", "KMSInvalidStateException");
    }
}

fn allow(scripted: &Scripted) {
    scripted.kms.allow_all();
}

/// This error code to every probe.
#[track_caller]
fn ridden_through(code: &'static str) {
    let begins = |scripted: &Scripted| scripted.kms.refuse("Decrypt", code);
    Trouble { begins: &begins, error: code, ends: &allow }.is_ridden_through_by(&Scripted::new());
}

/// The key in this state.
#[track_caller]
fn state_ridden_through(state: &'static str) {
    let begins = |scripted: &Scripted| scripted.refuse_in_state(state);
    let scripted = Scripted::new();
    Trouble { begins: &begins, error: "KMSInvalidStateException", ends: &allow }.is_ridden_through_by(&scripted);
}

#[test]
fn the_ciphertext_is_of_another_key() {
    ridden_through("IncorrectKeyException");
}

#[test]
fn the_ciphertext_or_its_context_is_not_right() {
    ridden_through("InvalidCiphertextException");
}

#[test]
fn the_token_has_expired() {
    ridden_through("ExpiredTokenException");
}

#[test]
fn the_clock_is_off_and_the_answer_has_no_date_to_sign_by() {
    ridden_through("RequestExpired");
}

#[test]
fn the_key_cannot_be_reached_by_kms() {
    ridden_through("KeyUnavailableException");
}

#[test]
fn a_code_that_nobody_knows() {
    ridden_through("SomethingNewException");
}

#[test]
fn the_key_is_unavailable() {
    state_ridden_through("Unavailable");
}

#[test]
fn the_key_is_being_made() {
    state_ridden_through("Creating");
}

#[test]
fn the_key_is_being_updated() {
    state_ridden_through("Updating");
}

#[test]
fn a_state_that_describe_key_does_not_tell_is_not_the_owners_word_and_one_that_it_tells_is() {
    let scripted = Scripted::new();
    scripted.kms.refuse("DescribeKey", "AccessDeniedException");
    scripted.refuse_in_state("PendingDeletion");
    scripted.wait_for_unverified("KMSInvalidStateException");
    scripted.assert_served();
    scripted.kms.allow("DescribeKey");
    scripted.wait_for_terminal("key-pending-deletion");
}

#[test]
fn the_name_of_kms_is_not_known() {
    let begins = |scripted: &Scripted| {
        scripted.use_endpoint("kms.invalid:4599");
        scripted.kms.refuse("Decrypt", "ThrottlingException");
        scripted.wait_for_unverified("");
    };
    let ends = |scripted: &Scripted| {
        scripted.kms.allow_all();
        scripted.use_endpoint(&scripted.kms.address.to_string());
    };
    Trouble { begins: &begins, error: "dns error", ends: &ends }.is_ridden_through_by(&Scripted::new());
}

/// A stale replica's answer: so many denials in a row, and no more.
#[track_caller]
fn not_confirmed(code: &'static str, denials: usize) {
    let scripted = Scripted::new();
    scripted.kms.refuse_next("Decrypt", code, denials);
    wait_until("all denials", DEADLINE, || scripted.kms.is_out_of_refusals("Decrypt"));
    scripted.wait_for_two_probes();
    scripted.assert_served();
    // The same answer, again and again.
    scripted.kms.refuse("Decrypt", code);
    let cause = if code == "NotFoundException" { "key-not-found" } else { "access-denied" };
    scripted.wait_for_terminal(cause);
}

#[test]
fn one_denial_that_is_not_confirmed() {
    not_confirmed("AccessDeniedException", 1);
}

#[test]
fn two_denials_of_which_the_third_is_none() {
    not_confirmed("AccessDeniedException", 2);
}

#[test]
fn a_key_that_is_not_found_once() {
    not_confirmed("NotFoundException", 1);
}

/// Every answer to every call.
#[track_caller]
fn hostile_ridden_through(hostile: Hostile) {
    let begins = |scripted: &Scripted| scripted.kms.answer_with(Some(hostile));
    let ends = |scripted: &Scripted| scripted.kms.answer_with(None);
    Trouble { begins: &begins, error: "HTTP 200", ends: &ends }.is_ridden_through_by(&Scripted::new());
}

#[test]
fn an_answer_that_is_somebody_elses_page() {
    hostile_ridden_through(Hostile::Page);
}

#[test]
fn an_answer_that_is_cut_short() {
    hostile_ridden_through(Hostile::CutShort);
}

/// No honest answer comes near it, and a daemon is small.
const LITTLE: u64 = 16 << 20;

#[test]
fn an_answer_of_a_gibibyte_that_nobody_keeps() {
    for hostile in [Hostile::Gibibyte, Hostile::Promise] {
        let scripted = Scripted::new();
        let pid = i32::try_from(scripted.status()["pid"].as_i64().unwrap()).unwrap();
        scripted.wait_for_two_probes();
        forget_peak(pid);
        let before = peak_bytes(pid);
        scripted.kms.answer_with(Some(hostile));
        scripted.wait_for_unverified("HTTP 200");
        wait_until("the end of an answer", DEADLINE, || scripted.kms.most_taken() > 0);
        let (grown, taken) = (peak_bytes(pid).saturating_sub(before), scripted.kms.most_taken());
        println!("{hostile:?}: {taken} bytes taken, the daemon grew by {grown}");
        assert!(grown < LITTLE && taken < LITTLE, "{hostile:?}: {taken} bytes taken, {grown} grown");
        scripted.assert_served();
        // The control.
        scripted.kms.answer_with(None);
        scripted.wait_for_verified();
        scripted.disable_key();
        scripted.wait_for_terminal("key-disabled");
    }
}

#[test]
fn a_yes_with_another_plaintext_opens_nothing() {
    let scripted = Scripted::new();
    scripted.envol(&["detach", scripted.volume()]).expect_code(0);
    for plaintext in ["CQkJ".repeat(21) + "CQ==", "BwcH".repeat(11) + "BwcH", "Bw==".to_owned()] {
        scripted.kms.decrypt_to(Some(plaintext));
        scripted.attach(scripted.volume()).expect_code(7).expect_stderr(scripted.volume());
        assert_eq!(scripted.status()["state"], "available");
    }
    // The control.
    scripted.kms.decrypt_to(None);
    scripted.attach(scripted.volume()).expect_code(0);
    scripted.assert_served();
}
