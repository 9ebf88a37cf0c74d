//! `aws/config` and `aws/credentials`: the files by which AWS clients know region and users. The person's own files
//! under `~/.aws` are never written.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::durable_file;
use crate::kms::User;

pub(crate) fn config_path(dir: &Path) -> PathBuf {
    dir.join("aws/config")
}

pub(crate) fn credentials_path(dir: &Path) -> PathBuf {
    dir.join("aws/credentials")
}

pub(crate) fn missing(dir: &Path) -> bool {
    !config_path(dir).exists() || !credentials_path(dir).exists()
}

/// Writes those of the two files that are missing, or both if they are to be replaced.
pub(crate) fn write(dir: &Path, region: &str, users: &[User], replace: bool) -> io::Result<()> {
    let config_path = config_path(dir);
    if replace || !config_path.exists() {
        let profiles: Vec<String> =
            users.iter().map(|user| format!("[profile {}]\nregion = {region}\n", user.name)).collect();
        durable_file::replace(&config_path, profiles.join("\n").as_bytes())?;
    }
    let credentials_path = credentials_path(dir);
    if replace || !credentials_path.exists() {
        let mut text = Zeroizing::new(String::with_capacity(256 * users.len()));
        for user in users {
            let User { name, access_key_id, secret_access_key, .. } = user;
            writeln!(text, "[{name}]\naws_access_key_id = {access_key_id}").map_err(io::Error::other)?;
            writeln!(text, "aws_secret_access_key = {}\n", **secret_access_key).map_err(io::Error::other)?;
        }
        durable_file::replace(&credentials_path, text.as_bytes())?;
    }
    Ok(())
}
