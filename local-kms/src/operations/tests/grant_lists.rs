//! Listing grants.

use serde_json::{Value, json};

use super::principals::{ALICE, BOB};
use super::{Fixture, text};

const VOLUME: &str = "arn:aws:iam::111122223333:user/envol-volume";

fn ids(page: &Value) -> Vec<String> {
    page["Grants"].as_array().unwrap().iter().map(|grant| text(&grant["GrantId"])).collect()
}

/// All pages of two, and how many there were.
fn paged(fixture: &Fixture, operation: &str, mut request: Value) -> (Vec<String>, usize) {
    request["Limit"] = json!(2);
    let (mut listed, mut pages) = (Vec::new(), 0);
    loop {
        let page = fixture.ok(operation, &request);
        listed.extend(ids(&page));
        pages += 1;
        assert_eq!(page["Truncated"], json!(page.get("NextMarker").is_some()));
        match page.get("NextMarker") {
            Some(marker) => request["Marker"] = marker.clone(),
            None => return (listed, pages),
        }
    }
}

#[test]
fn a_grant_is_shown_as_aws_shows_one_and_never_by_its_token() {
    let (fixture, key) = Fixture::with_alice();
    let constraints = json!({ "EncryptionContextSubset": { "aws:ebs:id": "vol-1" } });
    let request = json!({
        "KeyId": key, "GranteePrincipal": ALICE, "RetiringPrincipal": "ec2.us-east-1.amazonaws.com",
        "Operations": ["Decrypt"], "Constraints": constraints,
    });
    let made = fixture.ok("CreateGrant", &request);
    let response = fixture.last_record()["responseElements"].clone();
    assert_eq!(response, json!({ "grantId": made["GrantId"], "keyId": Fixture::arn(&key) }));
    let page = fixture.ok("ListGrants", &json!({ "KeyId": key }));
    assert_eq!(
        page,
        json!({ "Truncated": false, "Grants": [{
            "KeyId": Fixture::arn(&key), "GrantId": made["GrantId"], "Name": "", "CreationDate": 1_795_309_424.0,
            "GranteePrincipal": ALICE, "RetiringPrincipal": "ec2.us-east-1.amazonaws.com",
            "IssuingAccount": "arn:aws:iam::111122223333:root", "Operations": ["Decrypt"], "Constraints": constraints,
        }] })
    );
    assert!(!fixture.audit_text().contains(&text(&made["GrantToken"])));
}

#[test]
fn pages_cover_the_grants_of_a_key_once() {
    let (fixture, key) = Fixture::with_alice();
    let other = fixture.create_key();
    let make = |key: &str, grantee: &str| {
        let request = json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["Decrypt"] });
        text(&fixture.ok("CreateGrant", &request)["GrantId"])
    };
    let mut of_alice: Vec<String> = (0..3).map(|_| make(&key, ALICE)).collect();
    let mut of_volume: Vec<String> = (0..2).map(|_| make(&key, VOLUME)).collect();
    make(&other, ALICE);
    of_alice.sort();
    of_volume.sort();
    let mut all = [of_alice.clone(), of_volume.clone()].concat();
    all.sort();
    assert_eq!(paged(&fixture, "ListGrants", json!({ "KeyId": key })), (all, 3));
    assert_eq!(
        paged(&fixture, "ListGrants", json!({ "KeyId": key, "GranteePrincipal": ALICE })),
        (of_alice.clone(), 2)
    );
    let of = |grantee: &str, grant: &str| {
        ids(&fixture.ok("ListGrants", &json!({ "KeyId": key, "GranteePrincipal": grantee, "GrantId": grant })))
    };
    assert_eq!(of(ALICE, &of_alice[0]), [of_alice[0].clone()]);
    assert_eq!(of(VOLUME, &of_alice[0]), Vec::<String>::new());
    assert_eq!(
        ids(&fixture.ok("ListGrants", &json!({ "KeyId": key, "GrantId": of_volume[1] }))),
        [of_volume[1].clone()]
    );
}

#[test]
fn retirable_grants_are_those_of_all_keys() {
    let (fixture, key) = Fixture::with_alice();
    let keys = [key, fixture.create_key(), fixture.create_key()];
    let mut expected = Vec::new();
    for key in &keys {
        for retiring in [ALICE, BOB] {
            let request = json!({
                "KeyId": key, "GranteePrincipal": VOLUME, "Operations": ["Decrypt"], "RetiringPrincipal": retiring,
            });
            let id = text(&fixture.ok("CreateGrant", &request)["GrantId"]);
            if retiring == ALICE {
                expected.push(id);
            }
        }
    }
    let (mut listed, pages) = paged(&fixture, "ListRetirableGrants", json!({ "RetiringPrincipal": ALICE }));
    listed.sort();
    expected.sort();
    assert_eq!((listed, pages), (expected, 2));
    let nobodys = json!({ "RetiringPrincipal": "arn:aws:iam::111122223333:user/nobody" });
    assert_eq!(fixture.ok("ListRetirableGrants", &nobodys)["Grants"], json!([]));
}

#[test]
fn a_page_out_of_bounds_is_refused() {
    let (fixture, key) = Fixture::with_alice();
    for (operation, mut request) in
        [("ListGrants", json!({ "KeyId": key })), ("ListRetirableGrants", json!({ "RetiringPrincipal": ALICE }))]
    {
        for (member, value, code) in [
            ("Limit", json!(0), "ValidationException"),
            ("Limit", json!(101), "ValidationException"),
            ("Marker", json!("AWE"), "InvalidMarkerException"),
        ] {
            let mut request = request.clone();
            request[member] = value;
            assert_eq!(fixture.code(operation, &request), code, "{operation} {request}");
        }
        request["Limit"] = json!(100);
        fixture.ok(operation, &request);
    }
    assert_eq!(fixture.code("ListRetirableGrants", &json!({})), "ValidationException");
    assert_eq!(fixture.code("ListRetirableGrants", &json!({ "RetiringPrincipal": "alice" })), "InvalidArnException");
}
