//! AWS variables and profile files of a test's own.
//!
//! Variables belong to a process and tests share one, so a test that needs its own runs again in a process of its own,
//! with nothing of the developer's AWS settings. The product needs no switch for tests, and they go the way a user goes.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const HOME: &str = "KMS_CLIENT_TEST_HOME";

/// Whether this is the process of one test already.
pub(crate) fn is_alone() -> bool {
    env::var_os(HOME).is_some()
}

/// A directory with `aws/config` and `aws/credentials`, which the AWS variables of this process name.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
}

/// In the process that belongs to `test`: its home. Elsewhere: runs it in such a process, to its end, and is `None`.
pub(crate) fn alone(test: &str, variables: &[(&str, &str)]) -> Option<Home> {
    if let Some(dir) = env::var_os(HOME) {
        return Some(Home { dir: dir.into() });
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let aws = home.path().join("aws");
    fs::create_dir(&aws).expect("an empty home");
    let mut process = Command::new(env::current_exe().expect("this test binary"));
    process.args([test, "--exact", "--nocapture"]);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("AWS_") || text.ends_with("_PROXY") {
            process.env_remove(&name);
        }
    }
    process
        .env(HOME, home.path())
        .env("AWS_CONFIG_FILE", aws.join("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", aws.join("credentials"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied());
    let output = process.output().expect("this test binary starts");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(
        output.status.success() && text[0].contains("1 passed"),
        "{test} failed in its own process:\n{}\n{}",
        text[0],
        text[1]
    );
    None
}

impl Home {
    /// Replaces `aws/config`.
    pub(crate) fn write_config(&self, text: &str) {
        fs::write(self.dir.join("aws/config"), text).expect("the profile file of a test");
    }

    /// Replaces `aws/config` by one profile with a key, for a server that checks none.
    pub(crate) fn write_profile(&self, name: &str, endpoint: &str) {
        self.write_config(&format!(
            "[profile {name}]\nregion = us-east-1\nendpoint_url = {endpoint}\naws_access_key_id = AKIDTEST\n\
             aws_secret_access_key = secret\n"
        ));
    }
}
