//! Verifies Signature Version 4: who signed this request, and that nothing it signed was changed since.
//!
//! Source: AWS IAM User Guide, "Create a signed AWS API request".

mod authorization;
mod canonical;
mod error;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use authorization::Authorization;
pub(crate) use error::SignatureError;

/// How far the clock in a request may be from ours, either way.
const ALLOWED_SKEW: SignedDuration = SignedDuration::from_mins(5);
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// A request as it arrived. Path and query are fixed: KMS answers `POST /` only.
pub(crate) struct SignedRequest<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// What credentials must be scoped to.
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// Whoever signed `request`. `identify` gives the secret of an access key id that exists (with the session token that
/// was sent beside it), and what the caller wants to know of its owner.
pub(crate) fn verify<T>(
    request: &SignedRequest,
    scope: &Scope,
    now: Timestamp,
    identify: impl FnOnce(&str, Option<&str>) -> Result<(Zeroizing<String>, T), SignatureError>,
) -> Result<T, SignatureError> {
    let authorization = Authorization::parse(request.headers)?;
    let date_text = canonical::single(request.headers, "x-amz-date")?.ok_or_else(|| {
        SignatureError::Incomplete("Authorization header requires existence of an 'X-Amz-Date' header.".into())
    })?;
    let date = parse_date(date_text)?;
    authorization.check_scope(scope, date_text)?;
    canonical::check_signed_headers(request.headers, &authorization.signed_headers)?;
    check_skew(date_text, date, now)?;
    let token = canonical::single(request.headers, "x-amz-security-token")?;
    let (secret, owner) = identify(authorization.access_key_id, token)?;

    let canonical_request = canonical::request(request, &authorization.signed_headers);
    let string_to_sign = [
        b"AWS4-HMAC-SHA256\n".as_slice(),
        date_text.as_bytes(),
        b"\n",
        authorization.scope.as_bytes(),
        b"\n",
        hex(&Sha256::digest(&canonical_request)).as_bytes(),
    ]
    .concat();
    let key = signing_key(&secret, &authorization);
    let expected = hex(&hmac(&*key, &string_to_sign));
    if bool::from(expected.as_bytes().ct_eq(authorization.signature.as_bytes())) {
        Ok(owner)
    } else {
        Err(SignatureError::Mismatch)
    }
}

fn signing_key(secret: &str, authorization: &Authorization) -> Zeroizing<[u8; 32]> {
    let initial = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = Zeroizing::new(hmac(initial.as_bytes(), authorization.date.as_bytes()));
    for part in [authorization.region, authorization.service, "aws4_request"] {
        key = Zeroizing::new(hmac(&*key, part.as_bytes()));
    }
    key
}

fn parse_date(text: &str) -> Result<Timestamp, SignatureError> {
    let parsed = DateTime::strptime(DATE_FORMAT, text).ok().and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let date = parsed.map(|date| date.timestamp()).filter(|date| format_date(*date) == text);
    date.ok_or_else(|| {
        SignatureError::Incomplete("Date must be in ISO-8601 'basic format', for example 20261122T010344Z.".into())
    })
}

fn format_date(date: Timestamp) -> String {
    date.strftime(DATE_FORMAT).to_string()
}

fn check_skew(date_text: &str, date: Timestamp, now: Timestamp) -> Result<(), SignatureError> {
    let (earliest, latest) = (now - ALLOWED_SKEW, now + ALLOWED_SKEW);
    let now = format_date(now);
    if date < earliest {
        let earliest = format_date(earliest);
        Err(SignatureError::Expired(format!("{date_text} is now earlier than {earliest} ({now} - 5 min.)")))
    } else if date > latest {
        let latest = format_date(latest);
        Err(SignatureError::NotYetCurrent(format!("{date_text} is still later than {latest} ({now} + 5 min.)")))
    } else {
        Ok(())
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
