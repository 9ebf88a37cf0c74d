//! `aws/config` and `aws/credentials`: the files by which AWS clients know region and principals. The person's own
//! files under `~/.aws` are never written.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::durable_file;
use crate::principals::{Directory, Principal, PrincipalId};

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
pub(crate) fn write(dir: &Path, region: &str, directory: &Directory, replace: bool) -> io::Result<()> {
    let config_path = config_path(dir);
    if replace || !config_path.exists() {
        let profiles: Vec<String> =
            directory.principals().map(|principal| config(principal, region, directory)).collect();
        durable_file::replace(&config_path, profiles.join("\n").as_bytes())?;
    }
    let credentials_path = credentials_path(dir);
    if replace || !credentials_path.exists() {
        let keys: Vec<_> = directory.principals().filter_map(|p| directory.access_key_of(&p.record.id)).collect();
        let mut text = Zeroizing::new(String::with_capacity(256 * keys.len()));
        for key in keys {
            let profile = key.principal.profile();
            writeln!(text, "[{profile}]\naws_access_key_id = {}", key.id).map_err(io::Error::other)?;
            writeln!(text, "aws_secret_access_key = {}\n", *key.secret).map_err(io::Error::other)?;
        }
        durable_file::replace(&credentials_path, text.as_bytes())?;
    }
    Ok(())
}

/// A role's profile has its sessions made by the first user whom it trusts. The AWS CLI keeps them in `~/.aws/cli/cache`,
/// by the role's ARN and the session's name; that name is of this very role, so that a session of another KMS, or of a
/// role that was deleted, is not taken for one of its own.
fn config(principal: &Principal, region: &str, directory: &Directory) -> String {
    let mut section = format!("[profile {}]\nregion = {region}\n", principal.record.id.profile());
    if let (PrincipalId::Role { .. }, Some(trust)) = (&principal.record.id, &principal.record.trust_policy) {
        let trusted = trusted_arns(trust).into_iter().filter_map(|arn| arn.parse::<PrincipalId>().ok());
        let source = trusted.into_iter().find(|id| directory.access_key_of(id).is_some());
        section += &format!("role_arn = {}\n", principal.record.id.arn());
        section += &format!("source_profile = {}\n", source.map_or("envol-admin".to_owned(), |id| id.profile()));
        section += &format!("role_session_name = {}\n", principal.record.unique_id);
    }
    section
}

/// Every ARN that a trust policy names.
fn trusted_arns(trust_policy: &str) -> Vec<String> {
    let list = |value: &Value| match value {
        Value::Array(values) => values.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let policy: Value = serde_json::from_str(trust_policy).unwrap_or_default();
    let principals = list(&policy["Statement"]).into_iter().flat_map(|statement| list(&statement["Principal"]["AWS"]));
    principals.filter_map(|arn| arn.as_str().map(str::to_owned)).collect()
}
