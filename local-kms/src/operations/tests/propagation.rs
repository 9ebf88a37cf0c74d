//! Changes that travel slowly: who relies on one at once must not, and a grant token is the way out.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Fixture;
use super::principals::ALICE;

/// Longer than any test.
const SLOW: Duration = Duration::from_secs(3600);

fn describes(fixture: &Fixture, key: &str, tokens: &[serde_json::Value]) -> bool {
    fixture.may(ALICE, "DescribeKey", &json!({ "KeyId": key, "GrantTokens": tokens }))
}

#[test]
fn a_fresh_grant_is_known_by_its_token_only() {
    let (fixture, key) = Fixture::with_alice();
    fixture.kms.state.set_lag(SLOW);
    let request = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["DescribeKey"] });
    let token = fixture.ok("CreateGrant", &request)["GrantToken"].clone();
    assert!(!describes(&fixture, &key, &[]));
    assert!(describes(&fixture, &key, &[token]));
    fixture.kms.state.set_lag(Duration::ZERO);
    assert!(describes(&fixture, &key, &[]));
}

#[test]
fn a_revoked_grant_and_a_disabled_key_go_on_for_a_while() {
    let (fixture, key) = Fixture::with_alice();
    let request = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["DescribeKey", "Encrypt"] });
    let grant = fixture.ok("CreateGrant", &request);
    let encrypt = json!({ "KeyId": key, "Plaintext": "c2VjcmV0" });
    fixture.kms.state.set_lag(SLOW);
    fixture.ok("RevokeGrant", &json!({ "KeyId": key, "GrantId": grant["GrantId"] }));
    fixture.ok("DisableKey", &json!({ "KeyId": key }));
    assert!(describes(&fixture, &key, &[]));
    assert!(fixture.call_as(ALICE, "Encrypt", &encrypt).is_ok());
    fixture.kms.state.set_lag(Duration::ZERO);
    assert!(!describes(&fixture, &key, &[grant["GrantToken"].clone()]), "its token does not bring it back");
    assert_eq!(fixture.code("Encrypt", &encrypt), "DisabledException");
}

#[test]
fn a_change_arrives_when_its_time_is_over() {
    let (fixture, key) = Fixture::with_alice();
    let delay = Duration::from_millis(300);
    fixture.kms.state.set_lag(delay);
    let changed = Instant::now();
    fixture.ok("DisableKey", &json!({ "KeyId": key }));
    let encrypt = json!({ "KeyId": key, "Plaintext": "c2VjcmV0" });
    while fixture.call("Encrypt", &encrypt).is_ok() {
        assert!(changed.elapsed() < Duration::from_secs(30), "it never arrives");
        std::thread::yield_now();
    }
    assert!(changed.elapsed() >= delay, "it arrived too soon");
    assert_eq!(fixture.code("Encrypt", &encrypt), "DisabledException");
}
