//! The canonical request: the bytes whose hash is signed.

use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};

use super::{SignatureError, SignedRequest, hex};

/// A signature that leaves one of these out could be moved to another server or time.
const ALWAYS_SIGNED: [&str; 2] = ["host", "x-amz-date"];

/// Besides [`ALWAYS_SIGNED`], every `x-amz-` header that was sent must be signed, as on AWS; among them the operation.
pub(super) fn check_signed_headers(headers: &HeaderMap, signed: &[&str]) -> Result<(), SignatureError> {
    let sent = headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    for name in ALWAYS_SIGNED.into_iter().chain(sent) {
        if !signed.contains(&name) {
            return Err(SignatureError::UnsignedHeader(name.to_owned()));
        }
    }
    single(headers, "host")?;
    single(headers, "x-amz-target")?;
    Ok(())
}

/// The one value of a header that decides something; two values could be read differently by signer and server.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SignatureError::Incomplete(format!("The header '{name}' must be sent once.")));
    }
    value.to_str().map(Some).map_err(|_| SignatureError::Incomplete(format!("The header '{name}' must be ASCII text.")))
}

pub(super) fn request(request: &SignedRequest, signed_headers: &[&str]) -> Vec<u8> {
    let mut canonical = b"POST\n/\n\n".to_vec();
    for name in signed_headers {
        canonical.extend_from_slice(name.as_bytes());
        canonical.push(b':');
        for (i, value) in request.headers.get_all(*name).iter().enumerate() {
            if i > 0 {
                canonical.push(b',');
            }
            append_folded(value.as_bytes(), &mut canonical);
        }
        canonical.push(b'\n');
    }
    canonical.push(b'\n');
    canonical.extend_from_slice(signed_headers.join(";").as_bytes());
    canonical.push(b'\n');
    canonical.extend_from_slice(hex(&Sha256::digest(request.body)).as_bytes());
    canonical
}

/// Without spaces around, and with one space for each run of them inside.
fn append_folded(value: &[u8], out: &mut Vec<u8>) {
    let mut words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    out.extend_from_slice(words.next().unwrap_or_default());
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}
