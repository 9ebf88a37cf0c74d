//! Requests signed by AWS's own signer, and what may not be done to them.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Scope, SignatureError, SignedRequest, verify};

const ACCESS_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
const TOKEN: &str = "a-session-token";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const BODY: &[u8] = br#"{"KeyId":"alias/x"}"#;

/// What a request is signed with; the default is what the server expects.
struct Signer<'a> {
    secret: &'a str,
    region: &'a str,
    service: &'a str,
    token: Option<&'a str>,
    at: Timestamp,
}

impl Default for Signer<'_> {
    fn default() -> Self {
        Self { secret: SECRET, region: "us-east-1", service: "kms", token: None, at: now() }
    }
}

fn now() -> Timestamp {
    "2026-11-22T01:03:44Z".parse().unwrap()
}

fn kms_headers() -> Vec<(String, String)> {
    [
        ("host", "127.0.0.1:4599"),
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "TrentService.DescribeKey"),
        ("x-amz-user-agent", "aws-sdk-rust/1.3 os/linux"),
        ("user-agent", "not signed"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

impl Signer<'_> {
    fn sign(&self, headers: &[(String, String)], body: &[u8]) -> HeaderMap {
        let credentials = Credentials::new(ACCESS_KEY_ID, self.secret, self.token.map(str::to_owned), None, "test");
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::from(self.at))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new("POST", "http://127.0.0.1:4599/", pairs, SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let (added, _) = instructions.into_parts();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        for header in added {
            map.insert(header.name(), HeaderValue::from_str(header.value()).unwrap());
        }
        map
    }

    fn signed(&self) -> HeaderMap {
        self.sign(&kms_headers(), BODY)
    }
}

/// Who signed: the access key id.
fn check_at(headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<String, SignatureError> {
    let scope = Scope { region: "us-east-1", service: "kms" };
    verify(&SignedRequest { headers, body }, &scope, now, |id, token| {
        let known = id == ACCESS_KEY_ID && token.is_none_or(|token| token == TOKEN);
        if known { Ok((SECRET.to_owned().into(), id.to_owned())) } else { Err(SignatureError::UnrecognizedClient) }
    })
}

fn check(headers: &HeaderMap) -> Result<String, SignatureError> {
    check_at(headers, BODY, now())
}

/// Replaces `from` in the Authorization header, which must contain it.
fn with_authorization(from: &str, to: &str) -> HeaderMap {
    let mut headers = Signer::default().signed();
    assert_eq!(check(&headers), Ok(ACCESS_KEY_ID.to_owned()));
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(authorization.contains(from), "{authorization}");
    let authorization = authorization.replace(from, to);
    headers.insert("authorization", HeaderValue::from_str(&authorization).unwrap());
    headers
}

fn code(outcome: Result<String, SignatureError>) -> &'static str {
    outcome.unwrap_err().code()
}

#[test]
fn the_signature_of_the_sdk_is_accepted() {
    assert_eq!(check(&Signer::default().signed()), Ok(ACCESS_KEY_ID.to_owned()));
}

#[test]
fn another_secret_is_refused() {
    assert_eq!(check(&Signer { secret: "another", ..Signer::default() }.signed()), Err(SignatureError::Mismatch));
}

#[test]
fn an_access_key_that_does_not_exist_is_refused() {
    let headers = with_authorization(ACCESS_KEY_ID, "AKIAAAAAAAAAAAAAAAAA");
    assert_eq!(check(&headers), Err(SignatureError::UnrecognizedClient));
}

#[test]
fn a_session_token_that_was_not_issued_is_refused() {
    let with_token = |token| Signer { token: Some(token), ..Signer::default() }.signed();
    assert_eq!(check(&with_token(TOKEN)), Ok(ACCESS_KEY_ID.to_owned()));
    assert_eq!(check(&with_token("another")), Err(SignatureError::UnrecognizedClient));
}

#[test]
fn a_changed_body_or_signed_header_is_refused() {
    let headers = Signer::default().signed();
    assert_eq!(check_at(&headers, b"{}", now()), Err(SignatureError::Mismatch));
    for (name, value) in
        [("x-amz-target", "TrentService.Decrypt"), ("host", "example.com"), ("content-type", "text/plain")]
    {
        let mut changed = headers.clone();
        changed.insert(name, HeaderValue::from_static(value));
        assert_eq!(check(&changed), Err(SignatureError::Mismatch), "{name}");
    }
}

#[test]
fn a_header_that_is_not_signed_may_change() {
    let mut headers = Signer::default().signed();
    headers.insert("user-agent", HeaderValue::from_static("a proxy"));
    headers.insert("via", HeaderValue::from_static("a proxy"));
    assert_eq!(check(&headers), Ok(ACCESS_KEY_ID.to_owned()));
}

#[test]
fn a_changed_signature_is_refused() {
    let headers = Signer::default().signed();
    let authorization = headers["authorization"].to_str().unwrap();
    let signature = authorization.rsplit('=').next().unwrap().to_owned();
    let first = if signature.starts_with('0') { "1" } else { "0" };
    for wrong in [format!("{first}{}", &signature[1..]), signature[1..].to_owned(), String::new()] {
        assert_eq!(check(&with_authorization(&signature, &wrong)), Err(SignatureError::Mismatch), "{wrong}");
    }
}

#[test]
fn credentials_for_elsewhere_are_refused() {
    let region = check(&Signer { region: "eu-west-1", ..Signer::default() }.signed()).unwrap_err().to_string();
    assert_eq!(region, "Credential should be scoped to a valid region, not 'eu-west-1'.");
    let service = check(&Signer { service: "s3", ..Signer::default() }.signed()).unwrap_err().to_string();
    assert_eq!(service, "Credential should be scoped to correct service: 'kms'.");
    for (from, to) in [("aws4_request", "aws4"), ("/20261122/", "/20261121/"), ("/20261122/", "/2026/")] {
        assert_eq!(code(check(&with_authorization(from, to))), "InvalidSignatureException", "{to}");
    }
}

#[test]
fn five_minutes_of_skew_are_allowed_and_not_a_second_more() {
    let headers = Signer::default().signed();
    let second = SignedDuration::from_secs(1);
    let late = now() + super::ALLOWED_SKEW;
    assert_eq!(check_at(&headers, BODY, late), Ok(ACCESS_KEY_ID.to_owned()));
    assert_eq!(
        check_at(&headers, BODY, late + second).unwrap_err().to_string(),
        "Signature expired: 20261122T010344Z is now earlier than 20261122T010345Z (20261122T010845Z - 5 min.)"
    );
    let early = now() - super::ALLOWED_SKEW;
    assert_eq!(check_at(&headers, BODY, early), Ok(ACCESS_KEY_ID.to_owned()));
    assert_eq!(
        check_at(&headers, BODY, early - second).unwrap_err().to_string(),
        "Signature not yet current: 20261122T010344Z is still later than 20261122T010343Z (20261122T005843Z + 5 min.)"
    );
}

#[test]
fn no_authorization_is_missing_authentication() {
    let mut headers = Signer::default().signed();
    headers.remove("authorization");
    assert_eq!(check(&headers), Err(SignatureError::MissingToken));
}

#[test]
fn a_malformed_authorization_is_incomplete() {
    for (from, to) in [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("AWS4-HMAC-SHA256", "Basic"),
        ("Credential=", "Cred="),
        ("SignedHeaders=", "Headers="),
        ("Signature=", "Sig="),
        (", Signature", ", Signature=0, Signature"),
        ("/kms/", "/"),
        ("content-type;host", "host;content-type"),
        ("content-type;host", "content-type;host;host"),
        ("content-type;host", "content-type;Host"),
    ] {
        assert_eq!(code(check(&with_authorization(from, to))), "IncompleteSignatureException", "{from} -> {to}");
    }
    let mut headers = Signer::default().signed();
    headers.insert("authorization", HeaderValue::from_static(""));
    assert_eq!(code(check(&headers)), "IncompleteSignatureException");
}

#[test]
fn a_date_in_another_form_or_none_is_incomplete() {
    for date in ["2026-11-22T01:03:44Z", "20261122T010344", "20261322T010344Z", " 20261122T010344Z", ""] {
        let mut headers = Signer::default().signed();
        headers.insert("x-amz-date", HeaderValue::from_str(date).unwrap());
        assert_eq!(code(check(&headers)), "IncompleteSignatureException", "{date}");
    }
    let mut headers = Signer::default().signed();
    headers.remove("x-amz-date");
    assert_eq!(code(check(&headers)), "IncompleteSignatureException");
}

#[test]
fn headers_that_decide_must_be_signed_and_sent_once() {
    let unsigned = |error: Result<String, _>| matches!(error, Err(SignatureError::UnsignedHeader(_)));
    for name in ["host;", "x-amz-target;", "x-amz-date;"] {
        assert!(unsigned(check(&with_authorization(name, ""))), "{name}");
    }
    let mut headers = Signer::default().signed();
    headers.insert("x-amz-meta", HeaderValue::from_static("smuggled"));
    assert!(unsigned(check(&headers)));

    for name in ["authorization", "x-amz-date", "x-amz-target", "host"] {
        let mut headers = Signer::default().signed();
        headers.append(name, HeaderValue::from_static("again"));
        assert_eq!(code(check(&headers)), "IncompleteSignatureException", "{name}");
    }
}

proptest! {
    #[test]
    fn whatever_the_sdk_signs_is_accepted_and_nothing_else(
        secret in "[A-Za-z0-9/+]{40}",
        body in prop::collection::vec(any::<u8>(), 0..300),
        more in prop::collection::btree_map("x-[a-z]{1,8}", "[!-~]([ -~]{0,20}[!-~])?", 0..5),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut headers = kms_headers();
        headers.extend(more);
        let signed = Signer { secret: &secret, ..Signer::default() }.sign(&headers, &body);
        let scope = Scope { region: "us-east-1", service: "kms" };
        let check = |body: &[u8], secret: &str| {
            let identify = |id: &str, _: Option<&str>| Ok((secret.to_owned().into(), id.to_owned()));
            verify(&SignedRequest { headers: &signed, body }, &scope, now(), identify)
        };
        prop_assert_eq!(check(&body, &secret), Ok(ACCESS_KEY_ID.to_owned()));
        prop_assert_eq!(check(&body, SECRET), Err(SignatureError::Mismatch));
        let mut changed = body.clone();
        match changed.len() * 8 {
            0 => changed.push(0),
            bits => {
                let bit = bit.index(bits);
                changed[bit / 8] ^= 1 << (bit % 8);
            }
        }
        prop_assert_eq!(check(&changed, &secret), Err(SignatureError::Mismatch));
    }

    #[test]
    fn no_authorization_header_makes_the_parser_panic(text in "[ -~]{0,120}", prefixed in any::<bool>()) {
        let mut headers = Signer::default().signed();
        let text = if prefixed { format!("AWS4-HMAC-SHA256 {text}") } else { text };
        headers.insert("authorization", HeaderValue::from_str(&text).unwrap());
        prop_assert!(check(&headers).is_err());
    }
}
