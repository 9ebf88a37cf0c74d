//! What the local KMS reads besides requests: its own records, and the log that others write.

use std::fs;
use std::ops::ControlFlow;

use local_kms::{
    AliasRecord, AuditFilter, CiphertextBlob, CredentialRecord, GrantRecord, KeyRecord, LastUsage, Policy, PolicyKind,
    PrincipalRecord, Settings, read_audit,
};
use sha2::{Digest, Sha256};

use super::json;
use super::volume::scratch_file;
use crate::patch::choice;

pub(super) fn records(data: &[u8]) {
    let (kind, text) = choice(data);
    match kind % 7 {
        0 => drop(json::read::<KeyRecord>(text)),
        1 => drop(json::read::<AliasRecord>(text)),
        2 => drop(json::read::<GrantRecord>(text)),
        3 => drop(json::read::<PrincipalRecord>(text)),
        4 => drop(json::read::<CredentialRecord>(text)),
        5 => drop(json::read::<LastUsage>(text)),
        _ => drop(json::read::<Settings>(text)),
    }
}

pub(super) fn policy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for kind in [PolicyKind::Resource, PolicyKind::Identity, PolicyKind::Trust] {
        let parsed = Policy::parse(&text, kind);
        if parsed.is_ok() {
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|json| !json["Statement"].is_null()));
        }
    }
}

/// As it is, and with a right checksum.
pub(super) fn ciphertext(data: &[u8]) {
    const CHECKED_LEN: usize = 61;
    let _ = CiphertextBlob::parse(data);
    let mut blob = data.to_vec();
    if let Some((checked, rest)) = blob.split_at_mut_checked(CHECKED_LEN)
        && let Some(sum) = rest.first_chunk_mut::<8>()
    {
        sum.copy_from_slice(&Sha256::digest(&*checked)[..8]);
        assert_eq!(CiphertextBlob::parse(&blob).is_ok(), blob[0] == 1);
    }
}

pub(super) fn audit_log(data: &[u8]) {
    let path = scratch_file("audit.jsonl");
    let directory = path.parent().expect("it lies in a directory");
    fs::write(&path, data).and_then(|()| fs::write(directory.join("state.redb"), b"")).expect("files");
    let mut count = 0;
    read_audit(directory, &AuditFilter::default(), None, &mut |_| {
        count += 1;
        ControlFlow::Continue(())
    })
    .expect("a file is read");
    assert!(count <= data.split(|byte| *byte == b'\n').count());
}
