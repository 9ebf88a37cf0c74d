//! What the drill did, as a person types it into a shell.

use kms_client::KmsKeyArn;
use serde_json::Value;

use super::way::Way;
use crate::catalog::Root;

/// One command; each word is quoted where a shell would take it for something else.
pub(super) fn line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// A command of this program; the root directory is named where it is not the usual one.
pub(super) fn envol<S: AsRef<str>>(root: &Root, words: &[S]) -> String {
    let usual = Root::new(None).is_ok_and(|usual| usual.path() == root.path());
    let path = root.path().display().to_string();
    let root = if usual { vec![] } else { vec!["--root", &path] };
    line(["envol"].into_iter().chain(root).chain(words.iter().map(AsRef::as_ref)))
}

/// How the key is taken away. The CLI takes the region from its settings, and not from the ARN.
pub(super) fn revocation(way: Way, key: &KmsKeyArn, grant: Option<&str>, edited: &str) -> String {
    match way {
        Way::DisableKey => aws("disable-key", key, &[]),
        Way::ScheduleKeyDeletion => aws("schedule-key-deletion", key, &["--pending-window-in-days", "7"]),
        Way::RevokeGrant => aws("revoke-grant", key, &["--grant-id", grant.unwrap_or_default()]),
        Way::DenyPolicy => put_policy(key, edited),
        Way::DeleteKeyMaterial => aws("delete-imported-key-material", key, &[]),
    }
}

/// How it is allowed again. After a grant was revoked there is nothing to do: the restored volume has its own.
pub(super) fn allowing(way: Way, key: &KmsKeyArn, original: &str) -> Vec<String> {
    match way {
        Way::DisableKey => vec![aws("enable-key", key, &[])],
        Way::ScheduleKeyDeletion => vec![aws("cancel-key-deletion", key, &[]), aws("enable-key", key, &[])],
        Way::RevokeGrant => Vec::new(),
        Way::DenyPolicy => vec![put_policy(key, original)],
        Way::DeleteKeyMaterial => import(key),
    }
}

fn aws(operation: &str, key: &KmsKeyArn, more: &[&str]) -> String {
    let words = ["aws", "kms", operation, "--region", key.region(), "--key-id", key.as_str()];
    line(words.iter().chain(more))
}

fn put_policy(key: &KmsKeyArn, policy: &str) -> String {
    let compact = serde_json::from_str::<Value>(policy).map_or_else(|_| policy.to_owned(), |policy| policy.to_string());
    aws("put-key-policy", key, &["--policy-name", "default", "--policy", &compact])
}

/// The material is in a file `material` of whoever made it.
fn import(key: &KmsKeyArn) -> Vec<String> {
    let wrapping = ["--wrapping-algorithm", "RSAES_OAEP_SHA_256", "--wrapping-key-spec", "RSA_3072"];
    let files = ["--import-token", "fileb://token", "--encrypted-key-material", "fileb://wrapped"];
    let for_ever = ["--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE"];
    vec![
        aws("get-parameters-for-import", key, &[&wrapping[..], &["--output", "json"]].concat()) + " > parameters",
        "jq -r .PublicKey parameters | base64 -d > public; jq -r .ImportToken parameters | base64 -d > token"
            .to_owned(),
        "openssl pkeyutl -encrypt -pubin -keyform DER -inkey public -pkeyopt rsa_padding_mode:oaep -pkeyopt \
         rsa_oaep_md:sha256 -in material -out wrapped"
            .to_owned(),
        aws("import-key-material", key, &[&files[..], &for_ever].concat()),
    ]
}

fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_each_word_as_it_was() {
        let words = ["plain-word", "", "two words", "it's", "$HOME", "{\"a\":1}"];
        let echoed =
            std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {}", line(words))]).output().unwrap();
        assert_eq!(String::from_utf8(echoed.stdout).unwrap().lines().collect::<Vec<_>>(), words);
        assert!(line(words).starts_with("plain-word "));
    }

    #[test]
    fn the_root_directory_is_named_where_it_is_another() {
        let usual = Root::new(None).unwrap();
        assert_eq!(envol(&usual, &["list"]), "envol list");
        let other = Root::new(Some(std::path::Path::new("/srv/my volumes"))).unwrap();
        assert_eq!(envol(&other, &["list"]), "envol --root '/srv/my volumes' list");
    }

    #[test]
    fn what_was_taken_is_given_back_where_it_can_be() {
        let key: KmsKeyArn = "arn:aws:kms:eu-west-1:111122223333:key/1".parse().unwrap();
        let of = |way| (revocation(way, &key, Some("g1"), "{\"b\": 2}"), allowing(way, &key, "{\"a\": 1}"));
        let named = "--region eu-west-1 --key-id arn:aws:kms:eu-west-1:111122223333:key/1";
        let (taken, given) = of(Way::DisableKey);
        assert_eq!(taken, format!("aws kms disable-key {named}"));
        assert_eq!(given, [format!("aws kms enable-key {named}")]);
        let (taken, given) = of(Way::DenyPolicy);
        assert!(taken.ends_with("--policy '{\"b\":2}'") && given[0].ends_with("--policy '{\"a\":1}'"), "{taken}");
        let (taken, given) = of(Way::RevokeGrant);
        assert!(taken.ends_with("--grant-id g1") && given.is_empty(), "{taken}");
        assert_eq!(of(Way::ScheduleKeyDeletion).1.len(), 2);
        assert!(of(Way::DeleteKeyMaterial).1.last().unwrap().contains("import-key-material"));
    }
}
